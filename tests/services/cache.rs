//! The cache (10).

use std::time::Duration;

use lucid::store::StoreError;
use lucid::store::cache::{Key, LEASE, Message, OnFault};
use serde_json::json;

use super::{Bench, fields};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_value_is_set_read_and_gone_when_its_time_is_over() {
    Bench::cache().run(async |stores, _| {
        let key = Key::new("cache", "manifest", "1").unwrap();
        assert!(
            stores
                .cache
                .set(&key, "größe", Duration::from_secs(1), false)
                .await
                .unwrap()
        );
        let found = stores.cache.get(&key).await.unwrap().unwrap();
        assert_eq!((found.text.as_str(), found.ttl), ("größe", Some(1)));
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert!(stores.cache.get(&key).await.unwrap().is_none());
        assert!(!stores.cache.exists(&key).await.unwrap());
    });
}

#[test]
fn only_one_of_many_sets_a_value_that_is_not_there() {
    Bench::cache().run(async |stores, _| {
        let key = Key::new("cache", "once", "1").unwrap();
        let sets = (0..20).map(|n| {
            let (stores, key) = (stores.clone(), key.clone());
            async move {
                stores
                    .cache
                    .set(&key, &n.to_string(), MINUTE, true)
                    .await
                    .unwrap()
            }
        });
        let done = futures_util::future::join_all(sets).await;
        assert_eq!(done.iter().filter(|set| **set).count(), 1);
    });
}

#[test]
fn keys_lie_in_their_databases_and_are_listed_and_removed_by_pattern_alone() {
    Bench::cache().run(async |stores, appliance| {
        for (service, entity) in [
            ("session", "x"),
            ("auth", "jwt"),
            ("node", "metrics"),
            ("cache", "block"),
        ] {
            for n in 0..30 {
                let key = Key::new(service, entity, &n.to_string()).unwrap();
                stores.cache.set(&key, "v", MINUTE, false).await.unwrap();
            }
        }
        let mut other = appliance.redis();
        let () = redis::cmd("SET")
            .arg("mine")
            .arg(1)
            .query(&mut other)
            .unwrap();
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page = stores.cache.keys("*", 25, cursor.as_deref()).await.unwrap();
            seen.extend(page.keys.into_iter().map(|key| key.name));
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 120);
        assert_eq!(stores.cache.flush("lucid:node:*").await.unwrap().keys, 30);
        assert_eq!(stores.cache.flush("*").await.unwrap().keys, 90);
        let mine: i64 = redis::cmd("GET").arg("mine").query(&mut other).unwrap();
        assert_eq!(mine, 1);
    });
}

#[test]
fn a_session_is_made_read_touched_extended_listed_and_ended() {
    Bench::cache().run(async |stores, _| {
        let cache = &stores.cache;
        let data = fields(json!({ "ip": "::1", "empty": [] }));
        let made = cache
            .create_session("t1", "u1", data.clone(), Duration::from_secs(5))
            .await
            .unwrap();
        let twice = cache
            .create_session("t1", "u2", data.clone(), MINUTE)
            .await
            .unwrap_err();
        assert!(matches!(twice, StoreError::Exists { .. }), "{twice}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(cache.touch_session("t1").await.unwrap());
        let found = cache.session("t1").await.unwrap().unwrap();
        assert!(found.last_activity > made.last_activity && found.ttl <= 5);
        assert_eq!(found.data, data);
        assert!(cache.extend_session("t1", MINUTE).await.unwrap());
        assert!(cache.session("t1").await.unwrap().unwrap().ttl > 50);
        assert_eq!(cache.sessions_of("u1").await.unwrap(), ["t1"]);
        assert!(cache.delete_session("t1").await.unwrap());
        assert!(!cache.delete_session("t1").await.unwrap());
        assert!(!cache.touch_session("t1").await.unwrap());
        assert!(cache.sessions_of("u1").await.unwrap().is_empty());
    });
}

#[test]
fn a_session_that_ended_by_itself_leaves_the_list_of_its_user() {
    Bench::cache().run(async |stores, _| {
        let cache = &stores.cache;
        cache
            .create_session("short", "u1", fields(json!({})), Duration::from_secs(1))
            .await
            .unwrap();
        cache
            .create_session("long", "u1", fields(json!({})), MINUTE)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(cache.sessions_of("u1").await.unwrap(), ["long"]);
    });
}

#[test]
fn many_who_touch_one_session_at_once_lose_none_of_its_data() {
    Bench::cache().run(async |stores, _| {
        let data = fields(json!({ "cart": [1, 2, 3] }));
        stores
            .cache
            .create_session("t1", "u1", data.clone(), MINUTE)
            .await
            .unwrap();
        let touches = (0..4).map(|_| {
            let stores = stores.clone();
            async move { stores.cache.touch_session("t1").await }
        });
        for done in futures_util::future::join_all(touches).await {
            assert!(done.unwrap());
        }
        assert_eq!(
            stores.cache.session("t1").await.unwrap().unwrap().data,
            data
        );
    });
}

#[test]
fn a_rate_limit_lets_in_what_it_says_counts_no_refusals_and_recovers() {
    Bench::cache().run(async |stores, _| {
        let window = Duration::from_secs(2);
        let ask = async || {
            let verdict = stores
                .cache
                .rate_limit("user", "u1", 5, window, true, OnFault::Open)
                .await;
            verdict.unwrap()
        };
        let mut allowed = 0;
        for _ in 0..12 {
            allowed += u32::from(ask().await.allowed);
        }
        assert_eq!(allowed, 5);
        let refused = ask().await;
        assert!(!refused.allowed && refused.count == 5 && refused.remaining == 0);
        assert!(refused.retry_after <= window && !refused.retry_after.is_zero());
        tokio::time::sleep(refused.retry_after + Duration::from_millis(50)).await;
        assert!(ask().await.allowed);
    });
}

#[test]
fn a_lock_has_one_holder_a_growing_fence_and_ends_with_its_lease() {
    Bench::cache().run(async |stores, _| {
        let cache = &stores.cache;
        let none = Duration::ZERO;
        let first = cache
            .lock("payment", Duration::from_millis(400), none)
            .await
            .unwrap()
            .unwrap();
        assert!(cache.lock("payment", LEASE, none).await.unwrap().is_none());
        assert!(!cache.release("payment", "another token").await.unwrap());
        assert!(
            cache
                .renew("payment", &first.token, Duration::from_millis(400))
                .await
                .unwrap()
        );
        let began = std::time::Instant::now();
        let second = cache
            .lock("payment", LEASE, Duration::from_secs(3))
            .await
            .unwrap()
            .unwrap();
        assert!(
            began.elapsed() >= Duration::from_millis(200),
            "{:?}",
            began.elapsed()
        );
        assert!(second.fence > first.fence);
        assert!(!cache.renew("payment", &first.token, LEASE).await.unwrap());
        assert!(cache.release("payment", &second.token).await.unwrap());
    });
}

#[test]
fn a_subscription_survives_a_restart_of_the_cache_and_says_so() {
    Bench::cache().run(async |stores, appliance| {
        let channel = "lucid:events:session".to_owned();
        let mut listening = stores
            .cache
            .subscribe(std::slice::from_ref(&channel))
            .await
            .unwrap();
        assert_eq!(stores.cache.publish(&channel, "one").await.unwrap(), 1);
        let arrived = Message::Arrived {
            channel: channel.clone(),
            text: "one".into(),
        };
        assert_eq!(listening.next().await.unwrap(), arrived);
        super::said(appliance, &["datastore", "restart", "cache"]);
        let resumed = tokio::time::timeout(Duration::from_secs(20), listening.next()).await;
        assert_eq!(resumed.unwrap().unwrap(), Message::Resumed);
        stores.cache.publish(&channel, "two").await.unwrap();
        let again = tokio::time::timeout(Duration::from_secs(10), listening.next())
            .await
            .unwrap();
        assert!(matches!(again, Some(Message::Arrived { text, .. }) if text == "two"));
        assert!(stores.cache.publish("other", "x").await.is_err());
    });
}

#[test]
fn a_cache_that_is_down_fails_open_or_closed_as_is_asked_and_at_once() {
    Bench::cache().run(async |stores, appliance| {
        super::said(appliance, &["datastore", "stop", "cache"]);
        let began = std::time::Instant::now();
        let ask = async |on_fault| {
            let verdict = stores
                .cache
                .rate_limit("ip", "::1", 5, MINUTE, true, on_fault)
                .await;
            verdict.unwrap().allowed
        };
        assert!(ask(OnFault::Open).await);
        assert!(!ask(OnFault::Closed).await);
        let key = Key::new("cache", "a", "1").unwrap();
        assert!(matches!(
            stores.cache.get(&key).await,
            Err(StoreError::Down { .. })
        ));
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    });
}

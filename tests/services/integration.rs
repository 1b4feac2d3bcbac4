//! Services together (15 with those of `tests/api` and `tests/api_contract.rs`).

use std::time::{Duration, Instant};

use lucid::store::cache::Key;
use lucid::store::documents::{Query, Update};
use lucid::store::feed::Feed;
use lucid::store::search::Wanted;
use lucid::store::{StoreError, Stores};
use serde_json::json;

use super::{Bench, fields, said, session};

fn all_sessions() -> Wanted {
    Wanted {
        index: "lucid-sessions".into(),
        size: 10,
        ..Wanted::default()
    }
}

async fn total(stores: &Stores) -> u64 {
    stores.search.refresh("lucid-sessions").await.unwrap();
    stores.search.search(&all_sessions()).await.unwrap().total
}

async fn until(stores: &Stores, wanted: u64) {
    let began = Instant::now();
    loop {
        let found = total(stores).await;
        if found == wanted {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(40),
            "{found} of {wanted}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Sessions of one user.
async fn put(stores: &Stores, ids: &[&str]) {
    let sessions: Vec<_> = ids.iter().map(|id| session(id, "u1")).collect();
    stores
        .documents
        .insert("sessions", &sessions)
        .await
        .unwrap();
}

/// A feed of this test alone; that of the appliance is off with its API.
fn feed(stores: &Stores, dir: &std::path::Path) -> tokio::task::JoinHandle<()> {
    tokio::spawn(Feed::new(stores.clone(), dir.join("feed.json")).run())
}

#[test]
fn what_was_there_before_the_feed_is_searched() {
    Bench::all().run(async |stores, appliance| {
        let many: Vec<_> = (0..50).map(|n| session(&format!("s{n}"), "u1")).collect();
        stores.documents.insert("sessions", &many).await.unwrap();
        let feed = feed(stores, appliance.root());
        until(stores, 50).await;
        feed.abort();
    });
}

#[test]
fn changes_and_removals_reach_the_index_in_order() {
    Bench::all().run(async |stores, appliance| {
        let feed = feed(stores, appliance.root());
        put(stores, &["a", "b"]).await;
        until(stores, 2).await;
        for status in ["paused", "completed"] {
            let update = Update {
                filter: fields(json!({ "session_id": "a" })),
                update: fields(json!({ "$set": { "status": status } })),
                ..Update::default()
            };
            stores.documents.update("sessions", &update).await.unwrap();
        }
        stores
            .documents
            .delete("sessions", &fields(json!({ "session_id": "b" })), false)
            .await
            .unwrap();
        until(stores, 1).await;
        let found = stores.search.search(&all_sessions()).await.unwrap();
        assert_eq!(found.hits[0]["status"], "completed");
        feed.abort();
    });
}

#[test]
fn a_feed_that_was_ended_goes_on_where_it_was() {
    Bench::all().run(async |stores, appliance| {
        let first = feed(stores, appliance.root());
        put(stores, &["a"]).await;
        until(stores, 1).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        first.abort();
        put(stores, &["b"]).await;
        // Only what came since is put in: what is taken out by hand stays away.
        let id = stores.search.search(&all_sessions()).await.unwrap().hits[0]["_id"].clone();
        stores
            .search
            .remove("lucid-sessions", id.as_str().unwrap())
            .await
            .unwrap();
        let second = feed(stores, appliance.root());
        until(stores, 1).await;
        let found = stores.search.search(&all_sessions()).await.unwrap();
        assert_eq!(found.hits[0]["session_id"], "b");
        second.abort();
    });
}

#[test]
fn a_feed_whose_place_is_unreadable_puts_everything_in_anew() {
    Bench::all().run(async |stores, appliance| {
        put(stores, &["a"]).await;
        let file = appliance.root().join("feed.json");
        std::fs::write(&file, b"{ half").unwrap();
        let feed = feed(stores, appliance.root());
        until(stores, 1).await;
        feed.abort();
    });
}

#[test]
fn a_search_engine_that_is_away_is_waited_for_and_nothing_is_lost() {
    Bench::all().run(async |stores, appliance| {
        let feed = feed(stores, appliance.root());
        put(stores, &["a"]).await;
        until(stores, 1).await;
        said(appliance, &["datastore", "stop", "search"]);
        put(stores, &["b"]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        said(appliance, &["datastore", "start", "search"]);
        until(stores, 2).await;
        feed.abort();
    });
}

#[test]
fn secrets_and_addresses_do_not_reach_the_index() {
    Bench::all().run(async |stores, appliance| {
        let user = fields(json!({ "user_id": "u1", "email": "a@b.org", "status": "active", "password_hash": "h" }));
        stores.documents.insert("users", &[user]).await.unwrap();
        let feed = feed(stores, appliance.root());
        let users = Wanted { index: "lucid-users".into(), ..all_sessions() };
        let began = Instant::now();
        let found = loop {
            stores.search.refresh("lucid-users").await.unwrap();
            let found = stores.search.search(&users).await.unwrap();
            if found.total == 1 {
                break found;
            }
            assert!(began.elapsed() < Duration::from_secs(40));
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        assert!(found.hits[0].contains_key("user_id"));
        assert!(!found.hits[0].contains_key("email") && !found.hits[0].contains_key("password_hash"));
        feed.abort();
    });
}

#[test]
fn services_go_on_over_rotated_passwords_of_all_datastores() {
    Bench::all().run(async |_, appliance| {
        // Addresses are asked for anew, as the API does.
        let root = appliance.root().to_path_buf();
        let access: lucid::store::Access = std::sync::Arc::new(move |role| {
            let output = std::process::Command::new(super::common::LUCID)
                .arg("--root")
                .arg(&root)
                .args(["credentials", "show", role.name()])
                .output()
                .unwrap();
            Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
        });
        let stores = Stores::new(&access);
        let key = Key::new("cache", "a", "1").unwrap();
        for round in 0..2 {
            if round == 1 {
                for role in ["document", "cache"] {
                    said(appliance, &["credentials", "rotate", role]);
                }
                said(appliance, &["datastore", "stop", "search"]);
                said(appliance, &["credentials", "rotate", "search"]);
                said(appliance, &["datastore", "start", "search"]);
            }
            stores
                .cache
                .set(&key, "v", Duration::from_secs(60), false)
                .await
                .unwrap();
            stores
                .documents
                .count("sessions", &fields(json!({})))
                .await
                .unwrap();
            stores.search.indices().await.unwrap();
        }
    });
}

#[test]
fn one_service_that_is_down_leaves_the_others_alone() {
    Bench::all().run(async |stores, appliance| {
        said(appliance, &["datastore", "stop", "cache"]);
        let key = Key::new("cache", "a", "1").unwrap();
        assert!(matches!(
            stores.cache.get(&key).await,
            Err(StoreError::Down { .. })
        ));
        put(stores, &["a"]).await;
        let query = Query {
            limit: 1,
            ..Query::default()
        };
        assert_eq!(
            stores
                .documents
                .find("sessions", &query)
                .await
                .unwrap()
                .len(),
            1
        );
        stores.search.health().await.unwrap();
        said(appliance, &["datastore", "start", "cache"]);
        stores
            .cache
            .set(&key, "v", Duration::from_secs(60), false)
            .await
            .unwrap();
    });
}

//! How fast (10): bounds far above what a quiet machine takes, and far below what a fault would. Figures
//! are measured by `scripts/bench services`.

use std::time::{Duration, Instant};

use lucid::store::cache::{Key, OnFault};
use lucid::store::documents::Query;
use lucid::store::search::{Text, Wanted};
use serde_json::json;

use super::{Bench, fields, session};

const MINUTE: Duration = Duration::from_secs(60);

/// The 95th of a hundred of `count` calls, in milliseconds.
async fn p95(count: usize, call: impl AsyncFn(usize)) -> f64 {
    let mut taken = Vec::with_capacity(count);
    for n in 0..count {
        let began = Instant::now();
        call(n).await;
        taken.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    taken.sort_by(f64::total_cmp);
    taken[count * 95 / 100]
}

#[track_caller]
fn below(found: f64, most: f64) {
    assert!(found < most, "{found:.1} ms is not below {most} ms");
}

async fn thousand(stores: &lucid::store::Stores) {
    let many: Vec<_> = (0..1000)
        .map(|n| session(&format!("s{n}"), &format!("u{}", n % 10)))
        .collect();
    stores.documents.insert("sessions", &many).await.unwrap();
}

#[test]
fn a_document_is_read_by_its_id_within_10_ms() {
    Bench::documents().run(async |stores, _| {
        thousand(stores).await;
        let found = p95(300, async |n| {
            stores
                .documents
                .get("sessions", &format!("s{n}"))
                .await
                .unwrap();
        });
        below(found.await, 10.0);
    });
}

#[test]
fn a_query_with_an_index_answers_within_100_ms() {
    Bench::documents().run(async |stores, _| {
        thousand(stores).await;
        let found = p95(100, async |n| {
            let query = Query {
                filter: fields(json!({ "user_id": format!("u{}", n % 10) })),
                limit: 100,
                ..Query::default()
            };
            stores.documents.find("sessions", &query).await.unwrap();
        });
        below(found.await, 100.0);
    });
}

#[test]
fn five_hundred_documents_are_written_within_10_s() {
    Bench::documents().run(async |stores, _| {
        let began = Instant::now();
        for n in 0..500 {
            stores
                .documents
                .insert("sessions", &[session(&format!("w{n}"), "u")])
                .await
                .unwrap();
        }
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
    });
}

#[test]
fn two_hundred_at_once_over_the_pool_all_succeed() {
    Bench::documents().run(async |stores, _| {
        thousand(stores).await;
        let reads = (0..200).map(|n| {
            let stores = stores.clone();
            async move { stores.documents.get("sessions", &format!("s{n}")).await }
        });
        let done = futures_util::future::join_all(reads).await;
        assert!(done.iter().all(Result::is_ok));
    });
}

#[test]
fn values_are_set_and_read_within_10_ms() {
    Bench::cache().run(async |stores, _| {
        let set = p95(500, async |n| {
            let key = Key::new("cache", "p", &n.to_string()).unwrap();
            stores.cache.set(&key, "v", MINUTE, false).await.unwrap();
        });
        below(set.await, 10.0);
        let get = p95(500, async |n| {
            let key = Key::new("cache", "p", &n.to_string()).unwrap();
            stores.cache.get(&key).await.unwrap();
        });
        below(get.await, 10.0);
    });
}

#[test]
fn a_session_is_made_within_10_ms() {
    Bench::cache().run(async |stores, _| {
        let found = p95(300, async |n| {
            let id = format!("token-{n}");
            stores
                .cache
                .create_session(&id, "u1", fields(json!({})), MINUTE)
                .await
                .unwrap();
        });
        below(found.await, 10.0);
    });
}

#[test]
fn a_rate_limit_is_checked_within_10_ms() {
    Bench::cache().run(async |stores, _| {
        let found = p95(300, async |n| {
            let who = format!("u{}", n % 7);
            stores
                .cache
                .rate_limit("user", &who, 1000, MINUTE, true, OnFault::Closed)
                .await
                .unwrap();
        });
        below(found.await, 10.0);
    });
}

#[test]
fn a_thousand_documents_are_indexed_within_10_s() {
    Bench::search().run(async |stores, _| {
        let many: Vec<_> = (0..1000)
            .map(|n| (format!("s{n}"), session(&format!("s{n}"), "u1")))
            .collect();
        let began = Instant::now();
        let done = stores.search.index("lucid-sessions", &many).await.unwrap();
        assert_eq!(done.done, 1000);
        stores.search.refresh("lucid-sessions").await.unwrap();
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
    });
}

#[test]
fn a_search_answers_within_100_ms() {
    Bench::search().run(async |stores, _| {
        let many: Vec<_> = (0..1000)
            .map(|n| {
                let mut one = session(&format!("s{n}"), "u1");
                one.insert("name".into(), format!("recording number{}", n % 50).into());
                (format!("s{n}"), one)
            })
            .collect();
        stores.search.index("lucid-sessions", &many).await.unwrap();
        stores.search.refresh("lucid-sessions").await.unwrap();
        let found = p95(100, async |n| {
            let wanted = Wanted {
                index: "lucid-sessions".into(),
                text: Some(Text {
                    words: format!("number{}", n % 50),
                    fields: Vec::new(),
                }),
                size: 10,
                ..Wanted::default()
            };
            assert_eq!(stores.search.search(&wanted).await.unwrap().total, 20);
        });
        below(found.await, 100.0);
    });
}

#[test]
fn all_three_services_together_answer_within_100_ms() {
    Bench::all().run(async |stores, _| {
        thousand(stores).await;
        let key = Key::new("cache", "p", "1").unwrap();
        stores.cache.set(&key, "v", MINUTE, false).await.unwrap();
        let found = p95(60, async |n| {
            stores
                .documents
                .get("sessions", &format!("s{n}"))
                .await
                .unwrap();
            stores.cache.get(&key).await.unwrap();
            stores.search.health().await.unwrap();
        });
        below(found.await, 100.0);
    });
}

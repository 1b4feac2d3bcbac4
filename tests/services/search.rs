//! Search (12).

use lucid::store::search::{Range, Text, Wanted};
use lucid::store::{StoreError, Stores};
use serde_json::{Value, json};

use super::{Bench, fields};

/// Five blocks and five sessions.
async fn fill(stores: &Stores) {
    let sessions = (0..5).map(|n| {
        let document = json!({
            "session_id": format!("s{n}"), "user_id": format!("u{}", n % 2),
            "name": format!("recording of desktop number{n}"), "status": if n == 0 { "error" } else { "active" },
            "created_at": format!("2026-11-0{}T00:00:00Z", n + 1), "total_size": n * 1000,
        });
        (format!("s{n}"), fields(document))
    });
    let sessions: Vec<_> = sessions.collect();
    let done = stores
        .search
        .index("lucid-sessions", &sessions)
        .await
        .unwrap();
    assert_eq!((done.done, done.failed.len()), (5, 0), "{done:?}");
    let blocks = (0..5).map(|n| {
        let document = json!({
            "block_height": n * 10, "block_hash": format!("{n:064}"), "miner_id": "m1",
            "timestamp": "2026-11-01T00:00:00Z",
        });
        (format!("b{n}"), fields(document))
    });
    let blocks: Vec<_> = blocks.collect();
    stores.search.index("lucid-blocks", &blocks).await.unwrap();
    for index in ["lucid-sessions", "lucid-blocks"] {
        stores.search.refresh(index).await.unwrap();
    }
}

fn sessions() -> Wanted {
    Wanted {
        index: "lucid-sessions".into(),
        size: 10,
        ..Wanted::default()
    }
}

fn words(words: &str, fields: &[&str]) -> Text {
    Text {
        words: words.into(),
        fields: fields.iter().map(|&field| field.to_owned()).collect(),
    }
}

#[test]
fn words_are_found_in_texts() {
    Bench::search().run(async |stores, _| {
        fill(stores).await;
        let found = stores
            .search
            .search(&Wanted {
                text: Some(words("desktop number3", &[])),
                ..sessions()
            })
            .await
            .unwrap();
        assert_eq!(found.total, 1);
        assert_eq!(found.hits[0]["session_id"], "s3");
        assert!(found.max_score.is_some());
    });
}

#[test]
fn misspelt_words_are_found_in_named_fields() {
    Bench::search().run(async |stores, _| {
        fill(stores).await;
        let found = stores
            .search
            .search(&Wanted {
                text: Some(words("recordng", &["name"])),
                ..sessions()
            })
            .await
            .unwrap();
        assert_eq!(found.total, 5);
    });
}

#[test]
fn a_text_with_broken_syntax_is_searched_and_no_error() {
    Bench::search().run(async |stores, _| {
        fill(stores).await;
        for text in ["\"desktop", "((", "a AND", "+ - |", "*", "a:b", "\\"] {
            stores
                .search
                .search(&Wanted {
                    text: Some(words(text, &[])),
                    ..sessions()
                })
                .await
                .unwrap();
        }
    });
}

#[test]
fn filters_are_exact_and_lists_are_any_of() {
    Bench::search().run(async |stores, _| {
        fill(stores).await;
        let of = |field: &str, value: Value| Wanted {
            equal: vec![(field.into(), value)],
            ..sessions()
        };
        assert_eq!(
            stores
                .search
                .search(&of("user_id", json!("u0")))
                .await
                .unwrap()
                .total,
            3
        );
        assert_eq!(
            stores
                .search
                .search(&of("session_id", json!(["s1", "s2", "none"])))
                .await
                .unwrap()
                .total,
            2
        );
        assert_eq!(
            stores
                .search
                .search(&of("user_id", json!("u")))
                .await
                .unwrap()
                .total,
            0
        );
    });
}

#[test]
fn ranges_hold_both_ends_for_numbers_and_moments() {
    Bench::search().run(async |stores, _| {
        fill(stores).await;
        let range = |field: &str, from: Value, to: Value, index: &str| Wanted {
            index: index.into(),
            ranges: vec![Range {
                field: field.into(),
                from: Some(from),
                to: Some(to),
            }],
            ..sessions()
        };
        let heights = range("block_height", json!(10), json!(30), "lucid-blocks");
        assert_eq!(stores.search.search(&heights).await.unwrap().total, 3);
        let dates = range(
            "created_at",
            json!("2026-11-02T00:00:00Z"),
            json!("2026-11-03T00:00:00Z"),
            "lucid-sessions",
        );
        assert_eq!(stores.search.search(&dates).await.unwrap().total, 2);
    });
}

#[test]
fn hits_come_in_order_and_in_pages() {
    Bench::search().run(async |stores, _| {
        fill(stores).await;
        let page = |from| Wanted {
            sort: vec![("created_at".into(), "desc".into())],
            size: 2,
            from,
            ..sessions()
        };
        let ids = async |from| {
            let found = stores.search.search(&page(from)).await.unwrap();
            assert_eq!(found.total, 5);
            let ids = found
                .hits
                .iter()
                .map(|hit| hit["session_id"].as_str().unwrap().to_owned());
            ids.collect::<Vec<_>>()
        };
        assert_eq!(ids(0).await, ["s4", "s3"]);
        assert_eq!(ids(4).await, ["s0"]);
    });
}

#[test]
fn a_document_is_replaced_under_its_id_and_removed() {
    Bench::search().run(async |stores, _| {
        fill(stores).await;
        let changed = fields(json!({ "session_id": "s1", "user_id": "other" }));
        stores
            .search
            .index("lucid-sessions", &[("s1".into(), changed)])
            .await
            .unwrap();
        assert!(stores.search.remove("lucid-sessions", "s2").await.unwrap());
        assert!(!stores.search.remove("lucid-sessions", "s2").await.unwrap());
        stores.search.refresh("lucid-sessions").await.unwrap();
        assert_eq!(stores.search.search(&sessions()).await.unwrap().total, 4);
        let other = Wanted {
            equal: vec![("user_id".into(), json!("other"))],
            ..sessions()
        };
        assert_eq!(stores.search.search(&other).await.unwrap().total, 1);
    });
}

#[test]
fn a_document_that_the_index_cannot_take_keeps_no_other_out() {
    Bench::search().run(async |stores, _| {
        let bad = fields(json!({ "session_id": "bad", "created_at": "no moment" }));
        let good = fields(json!({ "session_id": "good", "created_at": "2026-11-01T00:00:00Z" }));
        let done = stores
            .search
            .index(
                "lucid-sessions",
                &[("bad".into(), bad), ("good".into(), good)],
            )
            .await
            .unwrap();
        assert_eq!(
            (done.done, done.failed[0].0.as_str()),
            (1, "bad"),
            "{done:?}"
        );
        stores.search.refresh("lucid-sessions").await.unwrap();
        assert_eq!(stores.search.search(&sessions()).await.unwrap().total, 1);
    });
}

#[test]
fn aggregations_count_and_named_ones_need_no_body() {
    Bench::search().run(async |stores, _| {
        fill(stores).await;
        let sum = fields(json!({ "size": { "sum": { "field": "total_size" } } }));
        let answer = stores
            .search
            .aggregate(
                &Wanted {
                    size: 0,
                    ..sessions()
                },
                &sum,
            )
            .await
            .unwrap();
        assert_eq!(answer["size"]["value"], 10_000.0);
        let named = stores
            .search
            .analytics("sessions_by_status", &sessions())
            .await
            .unwrap();
        let buckets = named["sessions_by_status"]["buckets"].as_array().unwrap();
        assert_eq!(
            (buckets[0]["key"].as_str(), buckets[0]["doc_count"].as_u64()),
            (Some("active"), Some(4))
        );
        assert!(
            stores
                .search
                .analytics("nothing", &sessions())
                .await
                .is_err()
        );
    });
}

#[test]
fn values_that_begin_so_are_suggested() {
    Bench::search().run(async |stores, _| {
        fill(stores).await;
        let found = stores
            .search
            .suggest("lucid-sessions", "status", "a", 5)
            .await
            .unwrap();
        assert_eq!(found, ["active"]);
        assert!(
            stores
                .search
                .suggest("lucid-sessions", "status", "z", 5)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(
            stores
                .search
                .suggest("lucid-sessions", "status", "", 5)
                .await
                .is_err()
        );
    });
}

#[test]
fn aliases_of_both_schemes_read_the_same_and_nothing_else_is_read() {
    Bench::search().run(async |stores, _| {
        fill(stores).await;
        let under = |index: &str| Wanted {
            index: index.into(),
            ..sessions()
        };
        assert_eq!(
            stores
                .search
                .search(&under("lucid_sessions"))
                .await
                .unwrap()
                .total,
            5
        );
        assert_eq!(
            stores.search.search(&under("lucid-*")).await.unwrap().total,
            10
        );
        for other in [
            "*",
            "_all",
            ".security",
            "lucid-sessions,other",
            "lucid-sessions/_doc",
        ] {
            let error = stores.search.search(&under(other)).await.unwrap_err();
            assert!(matches!(error, StoreError::Invalid(_)), "{other}: {error}");
        }
    });
}

#[test]
fn indices_and_health_are_told_and_a_stopped_engine_is_down_at_once() {
    Bench::search().run(async |stores, appliance| {
        fill(stores).await;
        let indices = stores.search.indices().await.unwrap();
        assert!(
            indices
                .iter()
                .any(|index| index.name.starts_with("lucid-sessions-") && index.documents == 5)
        );
        assert_eq!(stores.search.health().await.unwrap().status, "green");
        super::said(appliance, &["datastore", "stop", "search"]);
        let began = std::time::Instant::now();
        let error = stores.search.health().await.unwrap_err();
        assert!(matches!(error, StoreError::Down { .. }), "{error}");
        assert!(began.elapsed() < std::time::Duration::from_secs(4));
    });
}

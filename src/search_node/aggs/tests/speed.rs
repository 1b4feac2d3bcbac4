use std::time::Instant;

use serde_json::{Value, json};

use super::host::Index;
use crate::search_node::aggs::{Aggs, Host};

/// Run by hand in a release build: `cargo test --release -- --ignored aggs --nocapture`.
#[test]
#[ignore = "measures time"]
fn hot_aggregations_take_less_than_10_ms_for_100_000_documents() {
    let doc = |n: u64| {
        let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        json!({"tag": format!("t{}", mixed % 200), "n": mixed % 1000, "x": mixed as f64 / 7.0,
            "at": 1_700_000_000_000 + (mixed % 31_536_000) * 1000, "text": format!("u{mixed}")})
    };
    let docs: Vec<Value> = (0..100_000).map(doc).collect();
    let index = Index::new("index", &[docs]);
    let stats = || json!({"s": {"stats": {"field": "x"}}});
    for (name, agg) in [
        ("terms", json!({"terms": {"field": "tag"}, "aggs": stats()})),
        (
            "terms of numbers",
            json!({"terms": {"field": "n"}, "aggs": stats()}),
        ),
        (
            "days",
            json!({"date_histogram": {"field": "at", "calendar_interval": "day"}, "aggs": stats()}),
        ),
        (
            "months",
            json!({"date_histogram": {"field": "at", "calendar_interval": "month"}, "aggs": stats()}),
        ),
        (
            "days in Berlin",
            json!({"date_histogram": {"field": "at", "calendar_interval": "day",
            "time_zone": "Europe/Berlin"}, "aggs": stats()}),
        ),
        (
            "days by terms",
            json!({"terms": {"field": "tag"}, "aggs": {"d": {"date_histogram": {
            "field": "at", "calendar_interval": "month"}, "aggs": stats()}}}),
        ),
        ("100000 terms", json!({"terms": {"field": "text.keyword"}})),
        (
            "cardinality",
            json!({"cardinality": {"field": "text.keyword"}}),
        ),
        ("percentiles", json!({"percentiles": {"field": "x"}})),
        (
            "composite",
            json!({"composite": {"size": 100, "sources": [{"t": {"terms": {"field": "tag"}}},
            {"d": {"date_histogram": {"field": "at", "calendar_interval": "day"}}}]}}),
        ),
    ] {
        let aggs = Aggs::parse(&json!({"it": agg})).unwrap();
        let mut best = f64::INFINITY;
        for _ in 0..10 {
            let began = Instant::now();
            let partial = index.collect(&aggs).unwrap();
            let answer = aggs.finish(partial, &[&index as &dyn Host]).unwrap();
            best = best.min(began.elapsed().as_secs_f64() * 1000.0);
            assert!(answer["it"].is_object());
        }
        println!("{name}: {best:.2} ms");
    }
}

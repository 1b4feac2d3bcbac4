use serde_json::{Value, json};

use super::host::Index;
use super::{one, wrong};

#[test]
fn ranges_hold_their_start_and_not_their_end() {
    let index = Index::of(json!([{"n": 50}, {"n": [49, 10]}, {"n": 100}, {"f": 0.1}, {"f": 0.2}]));
    let ranges = json!([{"from": 50, "to": 100}, {"to": 50}, {"from": 100, "key": "many"}]);
    let subs = json!({"s": {"sum": {"field": "n"}}});
    let answer = one(
        &index,
        &json!({"range": {"field": "n", "ranges": ranges}, "aggs": subs}),
    );
    assert_eq!(
        answer.to_string(),
        r#"{"buckets":[{"key":"*-50.0","to":50.0,"doc_count":1,"s":{"value":59.0}},{"key":"50.0-100.0","from":50.0,"to":100.0,"doc_count":1,"s":{"value":50.0}},{"key":"many","from":100.0,"doc_count":1,"s":{"value":100.0}}]}"#
    );
    let keyed = one(
        &index,
        &json!({"range": {"field": "n", "keyed": true, "ranges": ranges}}),
    );
    assert_eq!(
        keyed["buckets"]["many"],
        json!({"from": 100.0, "doc_count": 1})
    );
    // 0.1 as a single float is more than 0.1.
    let body = json!({"field": "f", "ranges": [{"from": 0.1, "to": 0.2}]});
    assert_eq!(
        one(&index, &json!({"range": body}))["buckets"][0]["doc_count"],
        1
    );
    let body = json!({"field": "nowhere", "ranges": [{"from": 1e7}]});
    assert_eq!(
        one(&index, &json!({"range": body}))["buckets"],
        json!([{"key": "1.0E7-*", "from": 1e7, "doc_count": 0}])
    );
}

#[test]
fn date_ranges_take_date_math_formats_and_zones() {
    let index = Index::of(json!([
        {"at": "2025-05-14T10:00:00Z"}, {"at": "2025-05-13T22:30:00Z"}, {"at": "2025-04-01"},
    ]));
    let body = json!({
        "field": "at", "format": "yyyy-MM-dd", "time_zone": "+02:00",
        "ranges": [{"from": "now/d"}, {"from": "2025-04-01", "to": "now/d"}, {"to": "2025-03-01"}],
    });
    assert_eq!(
        one(&index, &json!({"date_range": body}))["buckets"],
        json!([
            {"key": "*-2025-03-01", "to": 1_740_780_000_000.0, "to_as_string": "2025-03-01",
                "doc_count": 0},
            {"key": "2025-04-01-2025-05-14", "from": 1_743_458_400_000.0,
                "from_as_string": "2025-04-01", "to": 1_747_173_600_000.0,
                "to_as_string": "2025-05-14", "doc_count": 1},
            {"key": "2025-05-14-*", "from": 1_747_173_600_000.0, "from_as_string": "2025-05-14",
                "doc_count": 2},
        ])
    );
    let missing = json!({"field": "day", "missing": "2025-05-14", "keyed": true,
        "ranges": [{"from": "2025-05-14", "key": "late"}]});
    let answer = one(&index, &json!({"date_range": missing}));
    assert_eq!(answer["buckets"]["late"]["doc_count"], 3);
}

#[test]
fn ranges_that_mean_nothing_are_refused() {
    let index = Index::of(json!([{"n": 1}]));
    for ranges in [
        json!([]),
        json!([{"from": "a"}]),
        json!([{"from": 1, "until": 2}]),
        json!("all"),
        Value::Null,
    ] {
        wrong(&index, &json!({"range": {"field": "n", "ranges": ranges}}));
    }
    let body = json!({"field": "at", "ranges": [{"from": "yesterday"}]});
    assert!(wrong(&index, &json!({"date_range": body})).contains("yesterday"));
    assert!(wrong(&index, &json!({"range": {"field": "tag", "ranges": [{}]}})).contains("[range]"));
}

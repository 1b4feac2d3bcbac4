use serde_json::{Value, json};

use super::host::Index;
use super::wrong;
use crate::search_node::aggs::Aggs;

#[test]
fn types_that_are_not_there_are_refused_by_name() {
    for kind in [
        "bucket_sort",
        "derivative",
        "significant_terms",
        "geo_bounds",
        "rare_terms",
        "ip_range",
    ] {
        let failure = Aggs::parse(&json!({"it": {kind: {}}})).unwrap_err();
        assert_eq!(failure.kind, "unsupported_operation_exception");
        assert!(
            failure
                .reason
                .contains(&format!("aggregation [it] of type [{kind}]"))
        );
    }
    let failure = Aggs::parse(&json!({"it": {"termz": {}}})).unwrap_err();
    assert_eq!((failure.status, failure.kind), (400, "parsing_exception"));
    assert_eq!(failure.reason, "Unknown aggregation type [termz]");
}

#[test]
fn parameters_that_are_not_there_are_refused_by_name() {
    let index = Index::of(json!([{"n": 1}]));
    for kind in [
        "terms",
        "avg",
        "cardinality",
        "missing",
        "percentiles",
        "stats",
    ] {
        let why = wrong(&index, &json!({kind: {"field": "n", "fields": "n"}}));
        assert!(
            why.contains(&format!("[{kind}] unknown field [fields]")),
            "{why}"
        );
    }
    for agg in [
        json!({"global": {"x": 1}}),
        json!({"nested": {"path": "items", "x": 1}}),
        json!({"filters": {"filters": [{"term": {"tag": "a"}}], "x": 1}}),
        json!({"top_hits": {"x": 1}}),
        json!({"terms": {"field": "n", "script": "1"}}),
        json!({"terms": {"field": "_id"}}),
        json!({"terms": {"field": "n", "format": "0"}}),
        json!({"terms": {"field": "tag", "format": "yyyy"}}),
        json!({"terms": {"field": "n", "size": 0}}),
        json!({"terms": {"field": "n", "order": {"_count": "up"}}}),
        json!({"terms": {"field": "n", "order": {"_count": "asc", "_key": "asc"}}}),
        json!({"top_hits": {"size": 101}}),
        json!({"top_hits": {"sort": {"n": {"mode": "avg"}}}}),
        json!({"top_hits": {"sort": [{"text": "asc"}]}}),
        json!({"filter": {"what": {}}}),
        json!({"filters": {"filters": {}}}),
    ] {
        wrong(&index, &agg);
    }
}

#[test]
fn aggregations_have_one_type_and_a_proper_name() {
    for (aggs, why) in [
        (json!([]), "START_OBJECT"),
        (json!({"a": []}), "[a]"),
        (json!({"a": {}}), "Missing definition"),
        (json!({"a": {"meta": {}}}), "Missing definition"),
        (
            json!({"a": {"avg": {"field": "n"}, "sum": {"field": "n"}}}),
            "[avg] and [sum]",
        ),
        (
            json!({"a[0]": {"avg": {"field": "n"}}}),
            "Invalid aggregation name [a[0]]",
        ),
        (
            json!({"a": {"avg": {"field": "n"}, "aggs": {"b": {"avg": {"field": "n"}}}}}),
            "sub-aggregations",
        ),
        (
            json!({"a": {"terms": {"field": "n"}, "aggs": {}, "aggregations": {}}}),
            "two sub",
        ),
        (
            json!({"a": {"terms": {"field": "n"}, "aggs": {"g": {"global": {}}}}}),
            "global",
        ),
        (json!({"a": {"terms": {"field": "n"}, "meta": 1}}), "[meta]"),
        (json!({"a": {"terms": "n"}}), "[terms]"),
    ] {
        let failure = Aggs::parse(&aggs).unwrap_err();
        assert_eq!(failure.status, 400);
        assert!(failure.to_string().contains(why), "{failure}");
    }
}

#[test]
fn depth_and_number_of_aggregations_have_an_end() {
    let nest = |depth: usize| {
        let mut aggs = json!({"avg": {"field": "n"}});
        for _ in 1..depth {
            aggs = json!({"filter": {"term": {"tag": "a"}}, "aggs": {"a": aggs}});
        }
        json!({"a": aggs})
    };
    assert!(Aggs::parse(&nest(10)).is_ok());
    assert!(Aggs::parse(&nest(11)).is_err());
    let many = |count: usize| -> Value {
        let one = |n: usize| (format!("a{n}"), json!({"avg": {"field": "n"}}));
        Value::Object((0..count).map(one).collect())
    };
    assert!(Aggs::parse(&many(1000)).is_ok());
    assert!(Aggs::parse(&many(1001)).is_err());
}

#[test]
fn memory_has_an_end() {
    // Each document in 1024 buckets, each of which has 1024 more.
    let docs = (0..50).map(|n| json!({"n": n})).collect();
    let index = Index::new("index", &[docs]);
    let ranges: Vec<Value> = (0..1024).map(|_| json!({"from": 0})).collect();
    let body = || json!({"field": "n", "ranges": ranges});
    let aggs = json!({"range": body(), "aggs": {"r": {"range": body(), "aggs": {"r": {"range": body()}}}}});
    let why = wrong(&index, &aggs);
    assert!(why.contains("circuit_breaking_exception"), "{why}");
}

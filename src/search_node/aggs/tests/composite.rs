use serde_json::{Value, json};

use super::host::Index;
use super::{one, over, wrong};

fn docs() -> Vec<Value> {
    vec![
        json!({"tag": "b", "n": 1, "at": "2025-01-01T05:00:00Z", "x": 1.5, "on": true}),
        json!({"tag": ["a", "b"], "n": 2, "at": "2025-01-02T05:00:00Z", "x": 12}),
        json!({"tag": "a", "n": 1, "at": "2025-01-01T07:00:00Z"}),
        json!({"n": 7, "at": "2025-02-01"}),
        json!({"tag": "b", "n": 1, "on": false}),
    ]
}

/// All pages, with the keys of their buckets.
fn pages(indices: &[&Index], sources: &Value, size: usize) -> Vec<(Value, u64)> {
    let mut body = json!({"sources": sources, "size": size});
    let mut all = Vec::new();
    loop {
        let answer = over(indices, &json!({"it": {"composite": body}})).unwrap();
        let buckets = answer["it"]["buckets"].as_array().unwrap();
        assert!(buckets.len() <= size);
        if buckets.is_empty() {
            assert_eq!(answer["it"].get("after_key"), None);
            return all;
        }
        assert_eq!(answer["it"]["after_key"], buckets.last().unwrap()["key"]);
        for bucket in buckets {
            let count = bucket["doc_count"].as_u64().unwrap();
            all.push((bucket["key"].clone(), count));
        }
        body["after"] = answer["it"]["after_key"].clone();
    }
}

#[test]
fn pages_together_have_all_combinations_in_order() {
    let docs = docs();
    let whole = Index::new("whole", std::slice::from_ref(&docs));
    let split = Index::new("split", &[docs[..2].to_vec(), docs[2..3].to_vec()]);
    let rest = Index::new("rest", &[docs[3..].to_vec()]);
    let sources = json!([
        {"t": {"terms": {"field": "tag", "missing_bucket": true, "order": "desc"}}},
        {"n": {"terms": {"field": "n"}}},
    ]);
    let expected = [
        (json!({"t": "b", "n": 1}), 2),
        (json!({"t": "b", "n": 2}), 1),
        (json!({"t": "a", "n": 1}), 1),
        (json!({"t": "a", "n": 2}), 1),
        (json!({"t": null, "n": 7}), 1),
    ];
    for size in 1..7 {
        assert_eq!(pages(&[&whole], &sources, size), expected, "{size}");
        assert_eq!(pages(&[&split, &rest], &sources, size), expected, "{size}");
    }
}

#[test]
fn missing_values_come_where_they_are_asked_for() {
    let index = Index::new("index", &[docs()]);
    let of = |more: Value| {
        let mut terms = json!({"field": "tag", "missing_bucket": true});
        terms
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let keys = pages(&[&index], &json!([{"t": {"terms": terms}}]), 2).into_iter();
        keys.map(|(key, _)| key["t"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of(json!({})), [json!(null), json!("a"), json!("b")]);
    assert_eq!(
        of(json!({"missing_order": "last"})),
        [json!("a"), json!("b"), json!(null)]
    );
    assert_eq!(
        of(json!({"order": "desc", "missing_order": "first"})),
        [json!(null), json!("b"), json!("a")]
    );
    // Without it such documents are in no bucket.
    assert_eq!(
        of(json!({"missing_bucket": false})),
        [json!("a"), json!("b")]
    );
}

#[test]
fn sources_are_histograms_too() {
    let index = Index::new("index", &[docs()]);
    let days = json!([{"d": {"date_histogram": {"field": "at", "calendar_interval": "1d"}}},
        {"x": {"histogram": {"field": "x", "interval": 10}}}]);
    assert_eq!(
        pages(&[&index], &days, 1),
        [
            (json!({"d": 1_735_689_600_000_i64, "x": 0.0}), 1),
            (json!({"d": 1_735_776_000_000_i64, "x": 10.0}), 1)
        ]
    );
    let months = json!([{"m": {"date_histogram": {"field": "at", "calendar_interval": "month",
        "format": "yyyy-MM", "time_zone": "-01:00"}}}]);
    assert_eq!(pages(&[&index], &months, 1), [(json!({"m": "2025-01"}), 4)]);
    let flags = json!([{"f": {"terms": {"field": "on"}}}]);
    assert_eq!(
        pages(&[&index], &flags, 1),
        [(json!({"f": false}), 1), (json!({"f": true}), 1)]
    );
    let nowhere = json!([{"f": {"terms": {"field": "nowhere"}}}]);
    assert_eq!(pages(&[&index], &nowhere, 1), []);
    let dates = json!([{"d": {"terms": {"field": "at"}}}]);
    assert_eq!(pages(&[&index], &dates, 3).len(), 4);
}

#[test]
fn buckets_have_aggregations_in_them() {
    let index = Index::new("index", &[docs()]);
    let composite = json!({"size": 1, "sources": [{"t": {"terms": {"field": "tag"}}}]});
    let answer = one(
        &index,
        &json!({"composite": composite, "aggs": {"s": {"sum": {"field": "n"}}}}),
    );
    assert_eq!(
        answer.to_string(),
        r#"{"after_key":{"t":"a"},"buckets":[{"key":{"t":"a"},"doc_count":2,"s":{"value":3.0}}]}"#
    );
}

#[test]
fn composites_that_mean_nothing_are_refused() {
    let index = Index::new("index", &[docs()]);
    let tag = || json!({"t": {"terms": {"field": "tag"}}});
    for body in [
        json!({}),
        json!({"sources": []}),
        json!({"sources": [tag(), tag()]}),
        json!({"sources": [tag()], "size": 0}),
        json!({"sources": [tag()], "size": 70_000}),
        json!({"sources": [tag()], "after": {}}),
        json!({"sources": [tag()], "after": {"x": 1}}),
        json!({"sources": [tag()], "after": {"t": null}}),
        json!({"sources": [{"t": {"geotile_grid": {"field": "n"}}}]}),
        json!({"sources": [{"t": {"terms": {"field": "n", "size": 2}}}]}),
        json!({"sources": [{"t": {"terms": {"field": "n", "missing_order": "last"}}}]}),
        json!({"sources": [{"t": {"histogram": {"field": "n", "interval": 0}}}]}),
        json!({"sources": [{"t": {"histogram": {"field": "tag", "interval": 1}}}]}),
        json!({"sources": [{"t": {"terms": {"field": "n"}}}], "after": {"t": "x"}}),
    ] {
        wrong(&index, &json!({"composite": body}));
    }
    let within =
        json!({"terms": {"field": "tag"}, "aggs": {"c": {"composite": {"sources": [tag()]}}}});
    assert!(wrong(&index, &within).contains("[composite]"));
}

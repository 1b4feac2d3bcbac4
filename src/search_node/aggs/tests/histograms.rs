use serde_json::{Value, json};

use super::host::Index;
use super::{counts, one, over, wrong};

fn dates() -> Index {
    Index::of(json!([
        {"at": "2025-01-01T23:30:00Z", "day": "2025-01-01", "n": 1},
        {"at": ["2025-01-01T01:00:00Z", "2025-01-01T02:00:00Z"], "n": 2},
        {"at": "2025-01-04T00:00:00Z", "n": 3},
        {"n": 4},
    ]))
}

fn keys(answer: &Value) -> Vec<(String, u64)> {
    let buckets = answer["buckets"].as_array().unwrap().iter();
    let key = |bucket: &Value| bucket["key_as_string"].as_str().unwrap().to_owned();
    buckets
        .map(|bucket| (key(bucket), bucket["doc_count"].as_u64().unwrap()))
        .collect()
}

fn histogram(more: &Value) -> Value {
    let mut body = json!({"field": "at", "calendar_interval": "day", "format": "MM-dd HH:mm"});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({"date_histogram": body})
}

fn pairs(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
    pairs
        .iter()
        .map(|(key, count)| ((*key).to_owned(), *count))
        .collect()
}

#[test]
fn empty_buckets_lie_between_those_with_documents() {
    let subs = json!({"s": {"sum": {"field": "n"}}});
    let day = json!({"field": "at", "calendar_interval": "day"});
    let answer = one(&dates(), &json!({"date_histogram": day, "aggs": subs}));
    assert_eq!(
        answer.to_string(),
        r#"{"buckets":[{"key_as_string":"2025-01-01T00:00:00.000Z","key":1735689600000,"doc_count":2,"s":{"value":3.0}},{"key_as_string":"2025-01-02T00:00:00.000Z","key":1735776000000,"doc_count":0,"s":{"value":0.0}},{"key_as_string":"2025-01-03T00:00:00.000Z","key":1735862400000,"doc_count":0,"s":{"value":0.0}},{"key_as_string":"2025-01-04T00:00:00.000Z","key":1735948800000,"doc_count":1,"s":{"value":3.0}}]}"#
    );
    let some = one(&dates(), &histogram(&json!({"min_doc_count": 1})));
    assert_eq!(
        keys(&some),
        pairs(&[("01-01 00:00", 2), ("01-04 00:00", 1)])
    );
}

#[test]
fn zones_and_offsets_move_buckets() {
    let zone = one(
        &dates(),
        &histogram(&json!({"time_zone": "+01:00", "min_doc_count": 1})),
    );
    assert_eq!(
        keys(&zone),
        pairs(&[("01-01 00:00", 1), ("01-02 00:00", 1), ("01-04 00:00", 1)])
    );
    let offset = one(
        &dates(),
        &histogram(&json!({"offset": "+90m", "min_doc_count": 1})),
    );
    assert_eq!(
        keys(&offset),
        pairs(&[("12-31 01:30", 1), ("01-01 01:30", 2), ("01-03 01:30", 1)])
    );
    let berlin = json!({"time_zone": "Europe/Berlin", "calendar_interval": "month"});
    assert_eq!(
        keys(&one(&dates(), &histogram(&berlin))),
        pairs(&[("01-01 00:00", 3)])
    );
}

#[test]
fn bounds_widen_and_narrow_the_histogram() {
    let wide = json!({"extended_bounds": {"min": 1_735_600_000_000_i64, "max": "2025-01-05||+12h"},
        "format": "yyyy-MM-dd"});
    let answer = keys(&one(&dates(), &histogram(&wide)));
    assert_eq!(answer.first().unwrap(), &("2024-12-30".to_owned(), 0));
    assert_eq!(answer.last().unwrap(), &("2025-01-05".to_owned(), 0));
    assert_eq!(answer.len(), 7);
    let narrow = json!({"hard_bounds": {"min": "2025-01-02", "max": "2025-01-05"},
        "format": "yyyy-MM-dd"});
    assert_eq!(
        keys(&one(&dates(), &histogram(&narrow))),
        pairs(&[("2025-01-04", 1)])
    );
    let empty = json!({"field": "nowhere", "format": "yyyy-MM-dd",
        "extended_bounds": {"min": "2025-01-01", "max": "2025-01-02"}});
    assert_eq!(
        keys(&one(&dates(), &histogram(&empty))),
        pairs(&[("2025-01-01", 0), ("2025-01-02", 0)])
    );
    let swapped = json!({"extended_bounds": {"min": 5, "max": 1}});
    assert!(wrong(&dates(), &histogram(&swapped)).contains("cannot be greater than"));
}

#[test]
fn histograms_are_keyed_and_ordered_as_asked() {
    let keyed = one(
        &dates(),
        &histogram(&json!({"keyed": true, "format": "dd"})),
    );
    let buckets = keyed["buckets"].as_object().unwrap();
    assert_eq!(buckets.keys().collect::<Vec<_>>(), ["01", "02", "03", "04"]);
    assert_eq!(buckets["01"]["key_as_string"], "01");
    let order = json!({"order": {"_count": "desc"}, "format": "dd"});
    assert_eq!(
        keys(&one(&dates(), &histogram(&order))),
        pairs(&[("01", 2), ("04", 1), ("02", 0), ("03", 0)])
    );
    let order = json!({"order": {"_key": "desc"}, "format": "dd", "min_doc_count": 1});
    assert_eq!(
        keys(&one(&dates(), &histogram(&order))),
        pairs(&[("04", 1), ("01", 2)])
    );
    let missing = json!({"missing": "2025-01-02||/M", "format": "yyyy-MM-dd", "min_doc_count": 3});
    assert_eq!(
        keys(&one(&dates(), &histogram(&missing))),
        pairs(&[("2025-01-01", 3)])
    );
}

#[test]
fn formats_of_fields_show_keys_and_numbers_are_dates_too() {
    let day = json!({"date_histogram": {"field": "day", "fixed_interval": "1d"}});
    assert_eq!(keys(&one(&dates(), &day)), pairs(&[("2025-01-01", 1)]));
    let numbers = json!({"date_histogram": {"field": "n", "fixed_interval": "2ms"}});
    assert_eq!(
        one(&dates(), &numbers)["buckets"],
        json!([{"key": 0, "doc_count": 1}, {"key": 2, "doc_count": 2}, {"key": 4, "doc_count": 1}])
    );
}

#[test]
fn intervals_without_length_are_refused() {
    for more in [
        json!({"fixed_interval": "1d"}),
        json!({"interval": "day"}),
        json!({"calendar_interval": "2d"}),
        json!({"calendar_interval": null, "fixed_interval": "0s"}),
        json!({"calendar_interval": null, "fixed_interval": "1M"}),
        json!({"calendar_interval": null}),
        json!({"offset": "soon"}),
        json!({"time_zone": "Mars/Olympus"}),
        json!({"field": "tag"}),
        json!({"format": "qqqq"}),
        json!({"hard_bounds": {"from": 1}}),
        json!({"calendar_interval": null, "fixed_interval": "1ms", "min_doc_count": 0}),
    ] {
        wrong(&dates(), &histogram(&more));
    }
}

fn numbers() -> Index {
    Index::of(json!([{"x": -0.5, "n": 1}, {"x": [0.0, 4.9], "n": 2}, {"x": 11.0}, {"n": 20}]))
}

#[test]
fn numbers_fall_into_intervals() {
    let answer = one(
        &numbers(),
        &json!({"histogram": {"field": "x", "interval": 5}}),
    );
    assert_eq!(
        answer.to_string(),
        r#"{"buckets":[{"key":-5.0,"doc_count":1},{"key":0.0,"doc_count":1},{"key":5.0,"doc_count":0},{"key":10.0,"doc_count":1}]}"#
    );
    let body = json!({"field": "x", "interval": 5, "offset": 2, "min_doc_count": 1, "missing": 3});
    assert_eq!(
        counts(&one(&numbers(), &json!({"histogram": body}))),
        [(json!(-3.0), 2), (json!(2.0), 2), (json!(7.0), 1)]
    );
    let body = json!({"field": "n", "interval": 10, "keyed": true,
        "extended_bounds": {"min": -5, "max": 31}, "hard_bounds": {"min": -10, "max": 40}});
    let answer = one(&numbers(), &json!({"histogram": body}));
    let buckets = answer["buckets"].as_object().unwrap();
    assert_eq!(
        buckets.keys().collect::<Vec<_>>(),
        ["-10.0", "0.0", "10.0", "20.0", "30.0"]
    );
    let body = json!({"field": "x", "interval": 5, "hard_bounds": {"min": 0, "max": 5}});
    assert_eq!(
        counts(&one(&numbers(), &json!({"histogram": body}))),
        [(json!(0.0), 1)]
    );
}

#[test]
fn hostile_intervals_and_bounds_are_errors() {
    for body in [
        json!({"interval": 0}),
        json!({"interval": -1}),
        json!({"interval": "NaN"}),
        json!({}),
        json!({"interval": 1e-320}),
        json!({"interval": 1e-9}),
        json!({"interval": 1, "extended_bounds": {"min": -1e300, "max": 1e300}}),
        json!({"interval": 1, "extended_bounds": {"min": 3, "max": 1}}),
        json!({"interval": 1, "extended_bounds": {"max": 9}, "hard_bounds": {"max": 8}}),
    ] {
        let mut body = body;
        body["field"] = json!("x");
        wrong(&numbers(), &json!({"histogram": body}));
    }
    let far = Index::of(json!([{"x": -1e308}, {"x": 1e308}, {"x": 0}]));
    let body = json!({"histogram": {"field": "x", "interval": 10, "min_doc_count": 1}});
    assert!(over(&[&far], &json!({"it": body})).is_ok());
    let body = json!({"histogram": {"field": "x", "interval": 10}});
    assert!(wrong(&far, &body).contains("65536"));
}

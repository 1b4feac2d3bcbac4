use serde_json::{Value, json};

use super::host::Index;
use super::{one, wrong};

fn index() -> Index {
    Index::of(json!([
        {"n": 1, "x": 0.5, "on": true, "at": "2025-01-01T00:00:00Z", "tag": ["a", "a"]},
        {"n": [2, 2], "on": false, "at": "2025-01-03T00:00:00Z", "tag": "b"},
        {"n": 5, "x": 2.5, "ip": "10.0.0.1"},
        {},
    ]))
}

fn value(field: &str, kind: &str) -> Value {
    one(&index(), &json!({kind: {"field": field}}))
}

#[test]
fn metrics_have_the_members_of_elasticsearch() {
    assert_eq!(value("n", "avg"), json!({"value": 2.5}));
    assert_eq!(value("n", "sum"), json!({"value": 10.0}));
    assert_eq!(value("n", "min"), json!({"value": 1.0}));
    assert_eq!(value("n", "max"), json!({"value": 5.0}));
    assert_eq!(value("n", "value_count"), json!({"value": 4}));
    assert_eq!(value("tag", "value_count"), json!({"value": 2}));
    assert_eq!(value("ip", "value_count"), json!({"value": 1}));
    assert_eq!(value("n", "cardinality"), json!({"value": 3}));
    assert_eq!(value("tag", "cardinality"), json!({"value": 2}));
    assert_eq!(
        value("n", "stats").to_string(),
        r#"{"count":4,"min":1.0,"max":5.0,"avg":2.5,"sum":10.0}"#
    );
    assert_eq!(
        value("x", "extended_stats"),
        json!({
            "count": 2, "min": 0.5, "max": 2.5, "avg": 1.5, "sum": 3.0,
            "sum_of_squares": 6.5,
            "variance": 1.0, "variance_population": 1.0, "variance_sampling": 2.0,
            "std_deviation": 1.0, "std_deviation_population": 1.0,
            "std_deviation_sampling": std::f64::consts::SQRT_2,
            "std_deviation_bounds": {
                "upper": 3.5, "lower": -0.5, "upper_population": 3.5, "lower_population": -0.5,
                "upper_sampling": 1.5 + 2.0 * std::f64::consts::SQRT_2,
                "lower_sampling": 1.5 - 2.0 * std::f64::consts::SQRT_2,
            }
        })
    );
}

#[test]
fn dates_and_booleans_are_shown_as_texts_too() {
    assert_eq!(
        value("at", "max"),
        json!({"value": 1_735_862_400_000.0, "value_as_string": "2025-01-03T00:00:00.000Z"})
    );
    assert_eq!(
        value("at", "stats")["avg_as_string"],
        "2025-01-02T00:00:00.000Z"
    );
    assert_eq!(
        value("on", "max"),
        json!({"value": 1.0, "value_as_string": "true"})
    );
    let format = one(&index(), &json!({"min": {"field": "at", "format": "yyyy"}}));
    assert_eq!(format["value_as_string"], "2025");
}

#[test]
fn metrics_of_nothing_are_null() {
    for field in ["nowhere", "f"] {
        for kind in ["avg", "min", "max"] {
            assert_eq!(value(field, kind), json!({"value": null}));
        }
        assert_eq!(value(field, "sum"), json!({"value": 0.0}));
        assert_eq!(value(field, "cardinality"), json!({"value": 0}));
        assert_eq!(
            value(field, "stats"),
            json!({"count": 0, "min": null, "max": null, "avg": null, "sum": 0.0})
        );
        let extended = value(field, "extended_stats");
        assert_eq!(
            extended["std_deviation_bounds"]["lower_sampling"],
            Value::Null
        );
        assert_eq!(value(field, "percentiles")["values"]["50.0"], Value::Null);
    }
    // One value has no variance between samples.
    let index = Index::of(json!([{"n": 3}]));
    let one_value = one(&index, &json!({"extended_stats": {"field": "n"}}));
    assert_eq!(one_value["variance_sampling"], "NaN");
}

#[test]
fn missing_counts_for_documents_without_a_value() {
    let of = |body: Value| one(&index(), &body)["value"].clone();
    assert_eq!(of(json!({"sum": {"field": "x", "missing": 10}})), 23.0);
    assert_eq!(
        of(json!({"avg": {"field": "nowhere", "missing": "4"}})),
        4.0
    );
    assert_eq!(
        of(json!({"cardinality": {"field": "tag", "missing": "z"}})),
        3
    );
    let max = json!({"max": {"field": "at", "missing": "2030-01-01"}});
    assert_eq!(
        one(&index(), &max)["value_as_string"],
        "2030-01-01T00:00:00.000Z"
    );
}

#[test]
fn percentiles_are_exact_for_few_values() {
    let docs: Vec<Value> = (1..=100).map(|n| json!({"n": n, "at": n})).collect();
    let index = Index::new("index", &[docs]);
    let answer = one(
        &index,
        &json!({"percentiles": {"field": "n", "percents": [50, 99.9, 100]}}),
    );
    let values = answer["values"].as_object().unwrap();
    assert_eq!(values.keys().collect::<Vec<_>>(), ["50.0", "99.9", "100.0"]);
    assert_eq!(values["50.0"], 50.5);
    assert_eq!(values["100.0"], 100.0);
    let answer = one(
        &index,
        &json!({"percentiles": {"field": "at", "percents": 0, "keyed": false}}),
    );
    assert_eq!(
        answer["values"],
        json!([{"key": 0.0, "value": 1.0, "value_as_string": "1970-01-01T00:00:00.001Z"}])
    );
    let ranks = json!({"percentile_ranks": {"field": "n", "values": [1000, 50]}});
    assert_eq!(
        one(&index, &ranks)["values"],
        json!({"50.0": 49.0, "1000.0": 100.0})
    );
}

#[test]
fn metrics_refuse_what_is_no_number() {
    let index = index();
    for field in ["tag", "ip"] {
        let why = wrong(&index, &json!({"avg": {"field": field}}));
        assert!(
            why.contains("is not supported for aggregation [avg]"),
            "{why}"
        );
    }
    let why = wrong(&index, &json!({"avg": {"field": "text"}}));
    assert!(
        why.contains("[text]") && why.contains("keyword field instead"),
        "{why}"
    );
    let why = wrong(&index, &json!({"value_count": {"field": "hidden"}}));
    assert!(why.contains("[hidden]"), "{why}");
    let why = wrong(&index, &json!({"sum": {"field": "n", "format": "0.00"}}));
    assert!(why.contains("[format]"), "{why}");
    for body in [
        json!({"percentiles": {"field": "n", "percents": [101]}}),
        json!({"percentiles": {"field": "n", "percents": []}}),
        json!({"percentiles": {"field": "n", "hdr": {}}}),
        json!({"percentile_ranks": {"field": "n"}}),
        json!({"extended_stats": {"field": "n", "sigma": -1}}),
        json!({"avg": {}}),
        json!({"avg": {"field": "n", "script": {}}}),
        json!({"avg": {"field": "n", "missing": "NaN"}}),
    ] {
        wrong(&index, &body);
    }
}

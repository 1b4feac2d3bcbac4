use serde_json::json;

use super::host::Index;
use super::{counts, one, over, wrong};

fn index() -> Index {
    Index::new(
        "index",
        &[
            vec![
                json!({"tag": "b", "n": 1, "x": 1.5, "on": true, "ip": "10.0.0.1", "at": "2025-01-01"}),
                json!({"tag": ["a", "b", "a"], "n": [2, 2], "x": -1.5, "on": false}),
            ],
            vec![
                json!({"tag": "c", "n": 1, "x": 1.5, "on": true, "ip": ["::1", "10.0.0.1"]}),
                json!({"n": 10}),
                json!({"tag": "b", "n": -3}),
            ],
        ],
    )
}

#[test]
fn buckets_are_ordered_by_count_then_key_and_the_rest_is_counted() {
    let answer = one(&index(), &json!({"terms": {"field": "tag", "size": 2}}));
    assert_eq!(
        answer,
        json!({
            "doc_count_error_upper_bound": 0,
            "sum_other_doc_count": 1,
            "buckets": [{"key": "b", "doc_count": 3}, {"key": "a", "doc_count": 1}]
        })
    );
    // Members are in Elasticsearch's order too.
    let text = one(
        &index(),
        &json!({"terms": {"field": "on"}, "meta": {"m": 1}}),
    )
    .to_string();
    assert_eq!(
        text,
        r#"{"meta":{"m":1},"doc_count_error_upper_bound":0,"sum_other_doc_count":0,"buckets":[{"key":1,"key_as_string":"true","doc_count":2},{"key":0,"key_as_string":"false","doc_count":1}]}"#
    );
}

#[test]
fn each_kind_of_field_has_keys_of_its_own() {
    let index = index();
    let of = |field: &str| {
        let order = json!({"_key": "asc"});
        counts(&one(
            &index,
            &json!({"terms": {"field": field, "order": order}}),
        ))
    };
    assert_eq!(
        of("n"),
        [(json!(-3), 1), (json!(1), 2), (json!(2), 1), (json!(10), 1)]
    );
    assert_eq!(of("x"), [(json!(-1.5), 1), (json!(1.5), 2)]);
    assert_eq!(of("ip"), [(json!("::1"), 1), (json!("10.0.0.1"), 2)]);
    assert_eq!(of("_index"), [(json!("index"), 5)]);
    assert_eq!(of("nowhere"), []);
    assert_eq!(of("items"), []);
    let dates = one(&index, &json!({"terms": {"field": "at"}}));
    assert_eq!(
        dates["buckets"],
        json!([{"key": 1_735_689_600_000_i64, "key_as_string": "2025-01-01T00:00:00.000Z", "doc_count": 1}])
    );
}

#[test]
fn order_goes_by_numbers_of_aggregations_in_the_buckets() {
    let index = index();
    let of = |order: serde_json::Value| {
        let subs = json!({
            "m": {"max": {"field": "n"}},
            "s": {"stats": {"field": "x"}},
            "f": {"filter": {"term": {"tag": "b"}}, "aggs": {"deep.er": {"sum": {"field": "n"}}}},
            "p": {"percentiles": {"field": "n"}},
        });
        let answer = one(
            &index,
            &json!({"terms": {"field": "tag", "order": order}, "aggs": subs}),
        );
        let keys = counts(&answer).into_iter();
        keys.map(|(key, _)| key.as_str().unwrap().to_owned())
            .collect::<String>()
    };
    assert_eq!(of(json!({"m": "desc"})), "abc");
    assert_eq!(of(json!([{"m.value": "asc"}, {"_key": "desc"}])), "cba");
    assert_eq!(of(json!({"s.avg": "asc"})), "abc");
    assert_eq!(of(json!({"s[max]": "desc"})), "bca");
    assert_eq!(of(json!({"f": "desc"})), "bac");
    // a: 2 and 2; b: 1, 2 and 2, -3; c: none of them is b too.
    assert_eq!(of(json!({"f>deep.er": "desc"})), "abc");
    assert_eq!(of(json!({"f>deep.er.value": "asc"})), "cba");
    assert_eq!(of(json!({"p.99": "desc"})), "abc");
    for path in ["gone", "m.sum", "s", "p>m", "f>gone", "p"] {
        let agg = json!({
            "terms": {"field": "tag", "order": {path: "asc"}},
            "aggs": {"m": {"max": {"field": "n"}}, "s": {"stats": {"field": "n"}},
                "p": {"percentiles": {"field": "n"}}, "f": {"filter": {"term": {"tag": "b"}}}},
        });
        let why = wrong(&index, &agg);
        assert!(
            why.contains(&format!("Invalid aggregation order path [{path}]")),
            "{why}"
        );
    }
}

#[test]
fn terms_that_no_found_document_has_are_there_with_min_doc_count_0() {
    let index = index();
    let aggs = json!({
        "t": {"terms": {"field": "tag", "min_doc_count": 0}, "aggs": {"n": {"avg": {"field": "n"}}}},
        "i": {"terms": {"field": "ip", "min_doc_count": 0}},
        "n": {"terms": {"field": "n", "min_doc_count": 0, "missing": 7}},
        "m": {"terms": {"field": "tag", "min_doc_count": 2}},
    });
    let aggs = crate::search_node::aggs::Aggs::parse(&aggs).unwrap();
    let partial = index.collect_where(&aggs, |doc| doc == 1).unwrap();
    let answer = aggs.finish(partial, &[&index]).unwrap();
    assert_eq!(
        answer["t"]["buckets"],
        json!([
            {"key": "a", "doc_count": 1, "n": {"value": 2.0}},
            {"key": "b", "doc_count": 1, "n": {"value": 2.0}},
            {"key": "c", "doc_count": 0, "n": {"value": null}},
        ])
    );
    assert_eq!(
        counts(&answer["i"]),
        [(json!("::1"), 0), (json!("10.0.0.1"), 0)]
    );
    assert_eq!(counts(&answer["n"]).len(), 4);
    assert_eq!(answer["m"]["buckets"], json!([]));
    assert_eq!(answer["m"]["sum_other_doc_count"], 0);
}

#[test]
fn missing_stands_for_documents_without_a_value() {
    let index = index();
    let of = |field: &str, missing: serde_json::Value| {
        let terms = json!({"field": field, "missing": missing, "order": {"_key": "asc"}});
        counts(&one(&index, &json!({"terms": terms})))
    };
    assert_eq!(
        of("tag", json!("B?")),
        [
            (json!("B?"), 1),
            (json!("a"), 1),
            (json!("b"), 3),
            (json!("c"), 1)
        ]
    );
    assert_eq!(of("tag", json!("c"))[2], (json!("c"), 2));
    assert_eq!(
        of("x", json!("7")),
        [(json!(-1.5), 1), (json!(1.5), 2), (json!(7.0), 2)]
    );
    assert_eq!(of("on", json!(false))[0], (json!(0), 3));
    assert_eq!(of("ip", json!("1.1.1.1"))[1], (json!("1.1.1.1"), 3));
    assert_eq!(of("nowhere", json!("none")), [(json!("none"), 5)]);
    // A kind whose column is in no segment.
    assert_eq!(of("day", json!("2025-02-01"))[0].1, 5);
    assert!(wrong(&index, &json!({"terms": {"field": "n", "missing": "x"}})).contains("[n]"));
}

#[test]
fn include_and_exclude_choose_terms() {
    let index = index();
    let of = |field: &str, include: serde_json::Value, exclude: serde_json::Value| {
        let terms = json!({"field": field, "include": include, "exclude": exclude});
        counts(&one(&index, &json!({"terms": terms}))).len()
    };
    let none = || json!(null);
    assert_eq!(of("tag", json!(["a", "b", "z"]), none()), 2);
    assert_eq!(of("tag", json!("[a-b]"), json!(["a"])), 1);
    assert_eq!(of("tag", json!(".*"), json!("c|a")), 1);
    assert_eq!(of("tag", none(), json!("\\b")), 2);
    assert_eq!(of("n", json!([1, 10]), none()), 2);
    assert_eq!(of("n", none(), json!(["1"])), 3);
    assert_eq!(of("ip", json!(["10.0.0.1"]), none()), 1);
    let refused = |include: serde_json::Value, field: &str| {
        wrong(
            &index,
            &json!({"terms": {"field": field, "include": include}}),
        )
    };
    assert!(refused(json!("1.*"), "n").contains("array of values"));
    assert!(refused(json!("a&b"), "tag").contains("operator [&]"));
    assert!(refused(json!({"partition": 0, "num_partitions": 2}), "tag").contains("partitions"));
    assert!(refused(json!("["), "tag").contains("pattern"));
}

#[test]
fn values_of_one_type_in_two_indices_come_together() {
    let keywords = Index::new("a", &[vec![json!({"tag": "x", "n": 1})]]);
    let other = json!({"properties": {"tag": {"type": "keyword"}, "n": {"type": "double"}}});
    let doubles = vec![json!({"tag": "x", "n": 1.0}), json!({"tag": "w", "n": 0.5})];
    let second = Index::with("b", &other, &[doubles]);
    let terms = |field: &str| json!({"it": {"terms": {"field": field, "order": {"_key": "asc"}}}});
    let answer = over(&[&keywords, &second], &terms("tag")).unwrap();
    assert_eq!(counts(&answer["it"]), [(json!("w"), 1), (json!("x"), 2)]);
    let answer = over(&[&keywords, &second], &terms("n")).unwrap();
    assert_eq!(counts(&answer["it"]), [(json!(0.5), 1), (json!(1.0), 2)]);
    let third = json!({"properties": {"n": {"type": "keyword"}}});
    let third = Index::with("c", &third, &[vec![json!({"n": "one"})]]);
    let failure = over(&[&keywords, &third], &terms("n")).unwrap_err();
    assert!(failure.reason.contains("two different types"), "{failure}");
}

#[test]
fn a_terms_aggregation_shows_few_of_very_many_terms() {
    let docs = (0..70_000)
        .map(|n| json!({"tag": format!("t{n}"), "n": n}))
        .collect();
    let index = Index::new("index", &[docs, vec![json!({"tag": "t5", "n": 1})]]);
    let subs = json!({"s": {"stats": {"field": "n"}}});
    let answer = one(
        &index,
        &json!({"terms": {"field": "tag", "size": 1}, "aggs": subs}),
    );
    assert_eq!(answer["buckets"][0]["key"], "t5");
    assert_eq!(answer["buckets"][0]["s"]["sum"], 6.0);
    assert_eq!(answer["sum_other_doc_count"], 69_999);
    let failure = over(
        &[&index],
        &json!({"it": {"terms": {"field": "tag", "size": 69_000}}}),
    );
    let failure = failure.unwrap_err();
    assert_eq!(failure.kind, "too_many_buckets_exception");
    assert_eq!(failure.status, 400);
    assert!(failure.reason.contains("[65536]"), "{failure}");
}

use serde_json::json;

use super::host::Index;
use super::{counts, one, wrong};

fn index() -> Index {
    Index::of(json!([
        {"tag": "red", "items": [
            {"name": "cup", "price": 2, "parts": [{"size": 1}, {"size": 2}]},
            {"name": "cup", "price": 4},
        ]},
        {"tag": "blue"},
        {"tag": "blue", "items": [
            {"name": "jar", "price": 8, "parts": {"size": 5}},
            {"name": "cup", "price": 1, "parts": [{"size": 7}]},
        ]},
    ]))
}

#[test]
fn instances_of_nested_objects_are_documents_of_their_own() {
    let index = index();
    let items =
        |aggs: serde_json::Value| one(&index, &json!({"nested": {"path": "items"}, "aggs": aggs}));
    let answer = items(json!({
        "names": {"terms": {"field": "items.name"}, "aggs": {"p": {"sum": {"field": "items.price"}}}},
        "cups": {"filter": {"term": {"items.name": "cup"}}},
        "outside": {"value_count": {"field": "tag"}},
    }));
    assert_eq!(answer["doc_count"], 4);
    assert_eq!(
        answer["names"]["buckets"],
        json!([{"key": "cup", "doc_count": 3, "p": {"value": 7.0}},
            {"key": "jar", "doc_count": 1, "p": {"value": 8.0}}])
    );
    assert_eq!(answer["cups"]["doc_count"], 3);
    assert_eq!(answer["outside"]["value"], 0);
    // Not from outside of them.
    let names = one(&index, &json!({"terms": {"field": "items.name"}}));
    assert_eq!(counts(&names), []);
}

#[test]
fn objects_in_nested_objects_belong_to_their_instance() {
    let deep = json!({"nested": {"path": "items.parts"}, "aggs": {
        "s": {"sum": {"field": "items.parts.size"}}}});
    let answer = one(&index(), &deep);
    assert_eq!(answer, json!({"doc_count": 4, "s": {"value": 15.0}}));
    let by_name = json!({"nested": {"path": "items"}, "aggs": {
        "names": {"terms": {"field": "items.name"}, "aggs": {"parts": deep}}}});
    let buckets = &one(&index(), &by_name)["names"]["buckets"];
    assert_eq!(
        buckets[0]["parts"],
        json!({"doc_count": 3, "s": {"value": 10.0}})
    );
    assert_eq!(
        buckets[1]["parts"],
        json!({"doc_count": 1, "s": {"value": 5.0}})
    );
}

#[test]
fn reverse_nested_counts_each_document_once() {
    let answer = one(
        &index(),
        &json!({"nested": {"path": "items"}, "aggs": {
        "names": {"terms": {"field": "items.name"}, "aggs": {
            "docs": {"reverse_nested": {}, "aggs": {"tags": {"terms": {"field": "tag"}}}}}}}}),
    );
    let cups = &answer["names"]["buckets"][0];
    assert_eq!(cups["doc_count"], 3);
    assert_eq!(cups["docs"]["doc_count"], 2);
    assert_eq!(
        counts(&cups["docs"]["tags"]),
        [(json!("blue"), 1), (json!("red"), 1)]
    );
    let answer = one(
        &index(),
        &json!({"nested": {"path": "items.parts"}, "aggs": {
        "items": {"reverse_nested": {"path": "items"}, "aggs": {
            "p": {"sum": {"field": "items.price"}}}}}}),
    );
    assert_eq!(
        answer["items"],
        json!({"doc_count": 3, "p": {"value": 11.0}})
    );
}

#[test]
fn nested_needs_a_nested_object() {
    let index = index();
    assert_eq!(
        one(&index, &json!({"nested": {"path": "gone"}})),
        json!({"doc_count": 0})
    );
    assert!(wrong(&index, &json!({"reverse_nested": {}})).contains("[nested]"));
    assert!(wrong(&index, &json!({"nested": {}})).contains("[path]"));
    let hits = json!({"nested": {"path": "items"}, "aggs": {"h": {"top_hits": {}}}});
    assert!(wrong(&index, &hits).contains("[top_hits]"));
    let mapping = json!({"properties": {"o": {"properties": {"n": {"type": "long"}}}}});
    let plain = Index::with("plain", &mapping, &[vec![json!({"o": {"n": 1}})]]);
    let why = wrong(&plain, &json!({"nested": {"path": "o"}}));
    assert!(why.contains("[o] is not nested"), "{why}");
}

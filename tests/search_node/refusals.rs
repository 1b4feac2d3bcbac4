//! Bad input: refused with its name, with nothing changed.

use serde_json::json;

use crate::common::search::Node;

#[test]
fn bad_input_is_refused_with_its_name_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    let strict = json!({"aliases": {"other-name": {}},
        "mappings": {"dynamic": "strict", "properties": {"n": {"type": "integer"}}}});
    node.call("PUT", "/a", strict);
    for (method, path, body, kind, said) in [
        (
            "PUT",
            "/a/_doc/1",
            json!({"x": 1}),
            "strict_dynamic_mapping_exception",
            "[x]",
        ),
        (
            "PUT",
            "/a/_doc/1",
            json!({"n": "many"}),
            "document_parsing_exception",
            "[n]",
        ),
        (
            "PUT",
            "/A",
            json!({}),
            "invalid_index_name_exception",
            "lowercase",
        ),
        (
            "PUT",
            "/a",
            json!({}),
            "resource_already_exists_exception",
            "[a/",
        ),
        (
            "POST",
            "/a/_search",
            json!({"query": {"knn": {}}}),
            "unsupported_operation_exception",
            "[knn]",
        ),
        (
            "POST",
            "/a/_search",
            json!({"query": {"nonsense": {}}}),
            "parsing_exception",
            "[nonsense]",
        ),
        (
            "POST",
            "/a/_search",
            json!({"size": 20000}),
            "illegal_argument_exception",
            "10000",
        ),
        (
            "GET",
            "/b/_doc/1",
            json!({}),
            "index_not_found_exception",
            "[b]",
        ),
        (
            "DELETE",
            "/*",
            json!({}),
            "illegal_argument_exception",
            "Wildcard",
        ),
        (
            "PUT",
            "/b",
            json!({"settings": {"number_of_shards": 3}}),
            "unsupported_operation_exception",
            "one shard",
        ),
        (
            "PUT",
            "/_slm/policy/x",
            json!({}),
            "unsupported_operation_exception",
            "_slm",
        ),
        (
            "PUT",
            "/b",
            json!({"settings": {"index.lifecycle.parse_origination_date": true}}),
            "unsupported_operation_exception",
            "lifecycle",
        ),
        (
            "PUT",
            "/a/_doc/1?wait_for_active_shards=2",
            json!({"n": 1}),
            "illegal_argument_exception",
            "one copy",
        ),
        (
            "PUT",
            "/a/_doc/1?format=yaml",
            json!({"n": 1}),
            "unsupported_operation_exception",
            "format=yaml",
        ),
        (
            "PUT",
            "/_mapping",
            json!({"properties": {}}),
            "illegal_argument_exception",
            "no handler",
        ),
        (
            "POST",
            "/*/_close",
            json!({}),
            "illegal_argument_exception",
            "name the indices",
        ),
        (
            "DELETE",
            "/missing,?ignore_unavailable=true",
            json!({}),
            "illegal_argument_exception",
            "name the indices",
        ),
        (
            "DELETE",
            "/missing,_all?ignore_unavailable=true",
            json!({}),
            "illegal_argument_exception",
            "name the indices",
        ),
        (
            "DELETE",
            "/missing,other-name?ignore_unavailable=true",
            json!({}),
            "illegal_argument_exception",
            "matches an alias",
        ),
        (
            "POST",
            "/_aliases",
            json!({"actions": [{"remove_index": {"index": "*"}}]}),
            "illegal_argument_exception",
            "name the indices",
        ),
        (
            "POST",
            "/_aliases",
            json!({"actions": [{"remove_index": {"index": "_all"}}]}),
            "illegal_argument_exception",
            "name the indices",
        ),
        (
            "POST",
            "/_aliases",
            json!({"actions": [{"remove_index": {"index": "other-name"}}]}),
            "illegal_argument_exception",
            "matches an alias",
        ),
        (
            "POST",
            "/a/_update/1?retry_on_conflict=3&if_seq_no=0&if_primary_term=1",
            json!({"doc": {"n": 1}}),
            "action_request_validation_exception",
            "can not be retried",
        ),
    ] {
        let (status, found, reason) = node.refused(method, path, body);
        assert_eq!(found, kind, "{method} {path}: {status} {reason}");
        assert!(reason.contains(said), "{method} {path}: {reason}");
    }
    let lines = "{\"index\":{\"_id\":\"1\"}}\n{\"n\":1}\n{\"index\":{\"_id\":\"2\"}}\n{\"x\":1}\n";
    let (status, answer) = node
        .send(
            "boss",
            "POST",
            "/a/_bulk?refresh=true",
            Some(lines.to_owned()),
        )
        .unwrap();
    assert_eq!((status, &answer["errors"]), (200, &json!(true)), "{answer}");
    assert_eq!(answer["items"][0]["index"]["status"], 201);
    assert_eq!(answer["items"][1]["index"]["status"], 400);
    let update = "{\"update\":{\"_id\":\"1\",\"retry_on_conflict\":9,\"if_seq_no\":7,\"if_primary_term\":1}}\n{\"doc\":{\"n\":2}}\n";
    let (_, answer) = node
        .send("boss", "POST", "/a/_bulk", Some(update.to_owned()))
        .unwrap();
    assert_eq!(answer["items"][0]["update"]["status"], 400, "{answer}");
    assert_eq!(node.call("GET", "/a/_count", json!({}))["count"], 1);
}

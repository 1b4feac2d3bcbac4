//! Rollovers by hand, and names with dates.

use serde_json::json;

use super::{get, is_there, put};
use crate::common::search::Node;

#[test]
fn a_rollover_by_hand_swaps_the_alias_when_its_conditions_are_met() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call(
        "PUT",
        "/c-000001",
        json!({"aliases": {"c": {"is_write_index": true}}}),
    );
    let body = json!({"conditions": {"max_docs": 1, "min_age": "1ms"}, "settings": {"number_of_replicas": 0},
        "mappings": {"properties": {"n": {"type": "long"}}}, "aliases": {"also": {}}});
    let not_yet = node.call("POST", "/c/_rollover", body.clone());
    assert_eq!(not_yet["rolled_over"], false);
    assert_eq!(not_yet["acknowledged"], false);
    assert_eq!(not_yet["conditions"]["[max_docs: 1]"], false);
    put(&node, "c", "1");
    let dry = node.call("POST", "/c/_rollover?dry_run=true", body.clone());
    assert_eq!(dry["dry_run"], true);
    assert_eq!(dry["new_index"], "c-000002");
    assert_eq!(dry["conditions"]["[max_docs: 1]"], true);
    assert!(!is_there(&node, "c-000002"));
    let done = node.call("POST", "/c/_rollover", body);
    assert_eq!(done["rolled_over"], true);
    assert_eq!(done["acknowledged"], true);
    assert_eq!(done["old_index"], "c-000001");
    let new = get(&node, "/c-000002");
    assert_eq!(
        new["c-000002"]["mappings"]["properties"]["n"]["type"],
        "long"
    );
    assert_eq!(
        new["c-000002"]["settings"]["index"]["number_of_replicas"],
        "0"
    );
    assert!(new["c-000002"]["aliases"]["also"].is_object());
    node.call("POST", "/c/_rollover/named", json!({}));
    let (status, _, reason) = node.refused("POST", "/c/_rollover", json!({}));
    assert_eq!(status, 400);
    assert!(reason.contains("does not match pattern"), "{reason}");
    for (path, body, said) in [
        ("/c-000001/_rollover", json!({}), "[concrete index]"),
        ("/nothing/_rollover", json!({}), "does not exist"),
        (
            "/c/_rollover",
            json!({"conditions": {"max_cats": 1}}),
            "max_cats",
        ),
        (
            "/c/_rollover",
            json!({"conditions": {"min_docs": 1}}),
            "at least one max_*",
        ),
        ("/c/_rollover", json!({"when": "now"}), "when"),
        ("/c/_rollover/c-000001", json!({}), "already exists"),
    ] {
        let (status, _, reason) = node.refused("POST", path, body);
        assert_eq!(status, 400, "{reason}");
        assert!(reason.contains(said), "{reason}");
    }
    // An alias of one index that takes writes by itself moves.
    node.call("PUT", "/d-1", json!({"aliases": {"d": {}}}));
    node.call("POST", "/d/_rollover", json!({}));
    let of_d = get(&node, "/_alias/d");
    assert!(
        of_d["d-1"].is_null() && of_d["d-000002"].is_object(),
        "{of_d}"
    );
    // A template that gives every index the alias would let both be written to.
    node.call(
        "PUT",
        "/_index_template/e",
        json!({"index_patterns": ["e-*"], "template": {"aliases": {"e": {}}}}),
    );
    node.call("PUT", "/e-000001", json!({}));
    let (_, _, reason) = node.refused("POST", "/e/_rollover", json!({}));
    assert!(reason.contains("duplicated alias [[e]]"), "{reason}");
}

#[test]
fn names_with_dates_are_taken_everywhere_and_months_follow_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    let answer = node.call(
        "PUT",
        "/%3Clogs-%7Bnow%2Fd%7D-000001%3E",
        json!({"aliases": {"logs": {"is_write_index": true}}}),
    );
    let name = answer["index"].as_str().unwrap().to_owned();
    assert!(
        name.starts_with("logs-20") && name.ends_with("-000001"),
        "{name}"
    );
    let settings = get(&node, &format!("/{name}/_settings?flat_settings=true"));
    assert_eq!(
        settings[&name]["settings"]["index.provided_name"],
        "<logs-{now/d}-000001>"
    );
    put(&node, "%3Clogs-%7Bnow%2Fd%7D-000001%3E", "1");
    let found = get(&node, "/%3Clogs-%7Bnow%2Fd%7D-000001%3E/_search");
    assert_eq!(found["hits"]["total"]["value"], 1);
    assert_eq!(
        get(&node, "/%3Clogs-%7Bnow%2Fd%7D-000001%3E/_doc/1")["found"],
        true
    );
    let rolled = node.call("POST", "/logs/_rollover", json!({}));
    let next = rolled["new_index"].as_str().unwrap().to_owned();
    assert_eq!(next, name.replace("-000001", "-000002"));
    put(&node, "%3Cauto-%7Bnow%2FM%7Byyyy%7D%7D%3E", "1");
    let (status, kind, _) = node.refused("PUT", "/%3Cbad-%7Bnow%3E", json!({}));
    assert_eq!((status, kind.as_str()), (400, "parse_exception"));

    // A name that comes of a date and is an alias is not taken for the indices behind it.
    let year = "/%3Calias-%7Bnow%2Fy%7Byyyy%7D%7D%3E";
    let named = node.call("PUT", year, json!({}))["index"].clone();
    let named = named.as_str().unwrap();
    node.call("DELETE", year, json!({}));
    node.call("PUT", "/kept", json!({"aliases": { named: {} }}));
    let (status, _, reason) = node.refused("DELETE", year, json!({}));
    assert_eq!(status, 400);
    assert!(reason.contains("matches an alias"), "{reason}");

    let month = node.call("PUT", "/%3Cm-%7Bnow%2FM%7Byyyy.MM%7D%7D%3E", json!({}));
    let month = month["index"].as_str().unwrap().to_owned();
    node.call("DELETE", &format!("/{month}"), json!({}));
    node.call(
        "PUT",
        "/m-2020.01",
        json!({"aliases": {"m": {"is_write_index": true}}}),
    );
    let roll = || node.call("POST", "/m/_rollover", json!({}))["new_index"].clone();
    assert_eq!(roll(), month);
    assert_eq!(roll(), format!("{month}-000002"));
    assert_eq!(roll(), format!("{month}-000003"));
}

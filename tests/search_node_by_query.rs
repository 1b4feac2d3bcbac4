//! Changing, deleting and copying what a query finds, over HTTP.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::time::{Duration, Instant};

use common::search::Node;
use serde_json::{Value, json};

/// Indexes `count` documents, every third of them of kind `c`.
fn fill(node: &Node, index: &str, count: usize) {
    let lines: Vec<String> = (0..count)
        .map(|n| {
            let kind = ["a", "b", "c"][n % 3];
            format!("{{\"index\":{{\"_id\":\"{n}\"}}}}\n{{\"n\":{n},\"kind\":\"{kind}\"}}\n")
        })
        .collect();
    let path = format!("/{index}/_bulk?refresh=true");
    let (status, answer) = node
        .send("boss", "POST", &path, Some(lines.concat()))
        .unwrap();
    assert_eq!(
        (status, &answer["errors"]),
        (200, &json!(false)),
        "{answer}"
    );
}

fn count(node: &Node, index: &str) -> u64 {
    let answer = node.call("GET", &format!("/{index}/_count"), json!({}));
    answer["count"].as_u64().unwrap()
}

fn mapped(node: &Node, index: &str) {
    let mappings = json!({"properties": {"n": {"type": "integer"}, "kind": {"type": "keyword"}}});
    node.call("PUT", &format!("/{index}"), json!({"mappings": mappings}));
}

#[test]
fn what_a_query_finds_is_deleted_in_batches_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path());
    mapped(&node, "a");
    fill(&node, "a", 300);
    let answer = node.call(
        "POST",
        "/a/_delete_by_query?scroll_size=7&refresh=true",
        json!({"query": {"term": {"kind": "c"}}}),
    );
    assert_eq!(answer["total"], 100, "{answer}");
    assert_eq!(answer["deleted"], 100, "{answer}");
    assert_eq!(answer["batches"], 15, "{answer}");
    assert_eq!(answer["failures"], json!([]));
    assert_eq!(answer.get("updated"), None);
    assert_eq!(count(&node, "a"), 200);
    let some = json!({"query": {"match_all": {}}, "max_docs": 5});
    let path = "/a/_delete_by_query?refresh=true&timeout=1m&search_timeout=20s";
    let answer = node.call("POST", path, some);
    assert_eq!(
        (&answer["total"], &answer["deleted"]),
        (&json!(5), &json!(5))
    );
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    let node = Node::start(dir.path());
    assert_eq!(count(&node, "a"), 195, "deletions are durable");
}

#[test]
fn an_update_by_query_brings_documents_under_the_mapping_of_now() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call(
        "PUT",
        "/a",
        json!({"mappings": {"dynamic": false, "properties": {"n": {"type": "integer"}}}}),
    );
    fill(&node, "a", 30);
    let search = json!({"query": {"term": {"kind": "b"}}});
    let found = |node: &Node| {
        node.call("POST", "/a/_search", search.clone())["hits"]["total"]["value"].clone()
    };
    assert_eq!(found(&node), 0);
    node.call(
        "PUT",
        "/a/_mapping",
        json!({"properties": {"kind": {"type": "keyword"}}}),
    );
    let answer = node.call("POST", "/a/_update_by_query?refresh=true", json!({}));
    assert_eq!(
        (&answer["total"], &answer["updated"]),
        (&json!(30), &json!(30)),
        "{answer}"
    );
    assert_eq!(found(&node), 10);
    let got = node.call("GET", "/a/_doc/3", json!({}));
    assert_eq!(got["_version"], 2);
}

#[test]
fn a_reindex_copies_what_is_asked_for_and_says_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    mapped(&node, "a");
    fill(&node, "a", 60);
    node.call(
        "PUT",
        "/b/_doc/1?refresh=true",
        json!({"n": -1, "kind": "old"}),
    );
    let body = json!({
        "source": {"index": "a", "query": {"term": {"kind": "b"}}, "_source": ["n"], "size": 8},
        "dest": {"index": "b", "op_type": "create"},
        "conflicts": "proceed",
    });
    let answer = node.call("POST", "/_reindex?refresh=true", body);
    assert_eq!(answer["total"], 20, "{answer}");
    assert_eq!(answer["created"], 19, "{answer}");
    assert_eq!(answer["version_conflicts"], 1, "{answer}");
    assert_eq!(count(&node, "b"), 20);
    assert_eq!(
        node.call("GET", "/b/_doc/4", json!({}))["_source"],
        json!({"n": 4})
    );
    assert_eq!(
        node.call("GET", "/b/_doc/1", json!({}))["_source"]["kind"],
        "old"
    );
    let aborts = json!({"source": {"index": "a"}, "dest": {"index": "b", "op_type": "create"}});
    let (status, answer) = node.try_call("POST", "/_reindex", Some(aborts)).unwrap();
    assert_eq!(status, 409, "{answer}");
    assert!(
        answer["failures"][0]["cause"]["type"] == "version_conflict_engine_exception",
        "{answer}"
    );
    let external = json!({
        "source": {"index": "a"},
        "dest": {"index": "fresh", "version_type": "external"},
    });
    node.call(
        "PUT",
        "/a/_doc/0?refresh=true",
        json!({"n": 0, "kind": "new"}),
    );
    node.call("POST", "/_reindex?refresh=true", external);
    assert_eq!(node.call("GET", "/fresh/_doc/0", json!({}))["_version"], 2);
}

#[test]
fn a_slow_task_is_seen_sped_up_and_ended() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    mapped(&node, "a");
    fill(&node, "a", 200);
    let start = |rate: &str| -> String {
        let path = format!(
            "/a/_update_by_query?wait_for_completion=false&scroll_size=10&requests_per_second={rate}"
        );
        let answer = node.call("POST", &path, json!({}));
        answer["task"].as_str().unwrap().to_owned()
    };
    let task = start("5");
    let shown = node.call("GET", &format!("/_tasks/{task}"), json!({}));
    assert_eq!(shown["completed"], false, "{shown}");
    let listed = node.call("GET", "/_tasks?actions=*byquery", json!({}));
    assert!(listed.to_string().contains(&task), "{listed}");
    let path = format!("/_update_by_query/{task}/_rethrottle?requests_per_second=-1");
    node.call("POST", &path, json!({}));
    let path = format!("/_tasks/{task}?wait_for_completion=true&timeout=20s");
    let shown = node.call("GET", &path, json!({}));
    assert_eq!(shown["completed"], true, "{shown}");
    assert_eq!(shown["response"]["updated"], 200, "{shown}");

    node.call("POST", "/a/_refresh", json!({}));
    let task = start("5");
    let began = Instant::now();
    let path = format!("/_tasks/{task}/_cancel?wait_for_completion=true");
    node.call("POST", &path, json!({}));
    assert!(began.elapsed() < Duration::from_secs(10));
    let shown = node.call("GET", &format!("/_tasks/{task}"), json!({}));
    assert_eq!(shown["response"]["canceled"], "by user request", "{shown}");
    assert!(
        shown["response"]["updated"].as_u64().unwrap() < 200,
        "{shown}"
    );
}

#[test]
fn what_cannot_be_done_is_refused_by_name_with_nothing_done() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    mapped(&node, "a");
    fill(&node, "a", 9);
    let all = json!({"query": {"match_all": {}}});
    let to = |dest: Value| json!({"source": {"index": "a"}, "dest": dest});
    for (path, body, status, text) in [
        ("/a/_delete_by_query", json!({}), 400, "query is missing"),
        ("/a/_delete_by_query?slices=2", all.clone(), 400, "slices=2"),
        (
            "/a/_delete_by_query?conflicts=maybe",
            all.clone(),
            400,
            "maybe",
        ),
        (
            "/a/_delete_by_query?search_timeout=soon",
            all.clone(),
            400,
            "soon",
        ),
        (
            "/a/_delete_by_query?max_docs=0",
            all.clone(),
            400,
            "max_docs",
        ),
        (
            "/a/_delete_by_query?wait_for_completion=perhaps",
            all.clone(),
            400,
            "perhaps",
        ),
        (
            "/a/_delete_by_query?requests_per_second=0",
            all.clone(),
            400,
            "requests_per_second",
        ),
        ("/missing/_delete_by_query", all.clone(), 404, "missing"),
        (
            "/a/_update_by_query",
            json!({"script": {"source": "ctx._source.n++"}}),
            400,
            "[script]",
        ),
        ("/a/_update_by_query?pipeline=p", json!({}), 400, "pipeline"),
        (
            "/_reindex",
            to(json!({"index": "a"})),
            400,
            "cannot write into an index",
        ),
        (
            "/_reindex",
            to(json!({"index": "b", "pipeline": "p"})),
            400,
            "[pipeline]",
        ),
        ("/_reindex", to(json!({})), 400, "[index]"),
        ("/_reindex", to(json!({"index": "UPPER"})), 400, "UPPER"),
        (
            "/_reindex",
            json!({"source": {"index": "a", "remote": {"host": "x"}}, "dest": {"index": "b"}}),
            400,
            "[remote]",
        ),
        (
            "/_reindex",
            json!({"source": {"index": "a"}, "dest": {"index": "b"}, "colour": 1}),
            400,
            "colour",
        ),
    ] {
        let (found, answer) = node.try_call("POST", path, Some(body)).unwrap();
        assert_eq!(found, status, "{path} {answer}");
        assert!(
            answer["error"].to_string().contains(text),
            "{path} {answer}"
        );
    }
    let (status, answer) = node.try_call("GET", "/_tasks/nonsense", None).unwrap();
    assert_eq!(status, 400, "{answer}");
    let (status, answer) = node.try_call("GET", "/_tasks/other:7", None).unwrap();
    assert_eq!(status, 404, "{answer}");
    assert_eq!(node.call("GET", "/_tasks", json!({}))["nodes"], json!({}));
    assert_eq!(count(&node, "a"), 9);
}

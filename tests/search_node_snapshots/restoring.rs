//! Restoring: names, closed indices, other nodes, the place in a lifecycle.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{
    blobs, count, files, fill, keyword_index, kill, register, restore, snapshot, start, tempdir,
    wait_until,
};
use crate::common::search::Node;

#[test]
fn an_index_is_restored_under_another_name_while_the_first_one_goes_on_being_written() {
    let dir = tempdir();
    let node = start(dir.path(), &json!({}));
    keyword_index(&node, "logs-1");
    node.call("PUT", "/logs-1/_alias/all-logs", json!({}));
    fill(&node, "logs-1", 0, 100);
    let over = AtomicBool::new(false);
    let written = AtomicU64::new(100);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let n = written.load(Ordering::Relaxed);
                let path = format!("/logs-1/_doc/{n}");
                let (status, answer) = node.try_call("PUT", &path, Some(json!({"n": n}))).unwrap();
                assert_eq!(status, 201, "{answer}");
                written.store(n + 1, Ordering::Relaxed);
            }
        });
        for round in 0..3 {
            let before = written.load(Ordering::Relaxed);
            let name = format!("s{round}");
            snapshot(&node, &name, json!({"indices": "logs-*"}));
            let after = written.load(Ordering::Relaxed) + 1;
            let made = restore(
                &node,
                &name,
                json!({"indices": ["logs-1"], "rename_pattern": "logs-(.+)",
                    "rename_replacement": format!("back{round}-$1"),
                    "index_settings": {"index.refresh_interval": "9s"},
                    "ignore_index_settings": ["index.number_of_replicas"]}),
            );
            let restored = format!("back{round}-1");
            assert_eq!(made["indices"], json!([restored]));
            let found = count(&node, &restored);
            assert!(
                (before..=after).contains(&found),
                "{before} {found} {after}"
            );
            let shown = node.call("GET", &format!("/{restored}"), json!({}))[&restored].clone();
            let settings = &shown["settings"]["index"];
            assert_eq!(settings["refresh_interval"], "9s");
            assert!(settings["number_of_replicas"].is_null(), "{settings}");
            assert_eq!(shown["mappings"]["properties"]["t"]["type"], "keyword");
            assert!(shown["aliases"]["all-logs"].is_object());
            // It takes documents, numbered after those that it has.
            let put = node.call("PUT", &format!("/{restored}/_doc/new"), json!({"n": 1}));
            assert!(put["_seq_no"].as_u64().unwrap() >= found, "{put}");
        }
        over.store(true, Ordering::Relaxed);
    });
    let all = written.load(Ordering::Relaxed);
    assert_eq!(count(&node, "logs-1"), all);
}

#[test]
fn what_was_deleted_comes_back_with_its_templates_and_outlives_kill_9() {
    let dir = tempdir();
    let node = start(dir.path(), &json!({}));
    keyword_index(&node, "a");
    fill(&node, "a", 0, 40);
    let template =
        json!({"index_patterns": ["t-*"], "template": {"settings": {"number_of_replicas": 0}}});
    node.call("PUT", "/_index_template/t", template);
    let policy =
        json!({"policy": {"phases": {"delete": {"min_age": "90d", "actions": {"delete": {}}}}}});
    node.call("PUT", "/_ilm/policy/p", policy);
    node.call("PUT", "/b/_doc/1", json!({"x": "y"}));
    node.call("POST", "/b/_close", json!({}));
    // What is in the log alone is in it too.
    node.call("PUT", "/a/_doc/last", json!({"n": 41}));
    let made = snapshot(&node, "s", json!({}));
    assert_eq!(made["indices"], json!(["a", "b"]));
    node.call("DELETE", "/a", json!({}));
    node.call("DELETE", "/b", json!({}));
    node.call("DELETE", "/_index_template/t", json!({}));
    node.call("DELETE", "/_ilm/policy/p", json!({}));
    restore(&node, "s", json!({"include_global_state": true}));
    node.call("GET", "/_index_template/t", json!({}));
    let shown = node.call("GET", "/_ilm/policy/p", json!({}));
    assert_eq!(shown["p"]["policy"]["phases"]["delete"]["min_age"], "90d");
    node.call("PUT", "/a/_doc/after", json!({"n": 42}));
    kill(node);
    let node = Node::start_with_repositories(&dir.path().join("one"), &dir.path().join("repos"));
    assert_eq!(count(&node, "a"), 42);
    for id in ["39", "last", "after"] {
        let found = node.call("GET", &format!("/a/_doc/{id}"), json!({}));
        assert_eq!(found["found"], true, "{id}");
    }
    assert_eq!(count(&node, "b"), 1, "restored indices are open");
    let search = json!({"query": {"range": {"n": {"gte": 38}}}});
    let found = node.call("POST", "/a/_search", search);
    assert_eq!(found["hits"]["total"]["value"], 4);
    // The registration outlived it too.
    let shown = node.call("GET", "/_snapshot", json!({}));
    assert_eq!(shown["r"]["settings"]["location"], "r");
}

#[test]
fn another_node_reads_the_repository_and_changes_nothing_in_it() {
    let dir = tempdir();
    let node = start(dir.path(), &json!({}));
    keyword_index(&node, "a");
    fill(&node, "a", 0, 20);
    snapshot(&node, "s", json!({}));
    let other = Node::start_with_repositories(&dir.path().join("two"), &dir.path().join("repos"));
    register(&other, "r", &json!({"readonly": true}));
    let before = (
        blobs(dir.path()),
        files(&dir.path().join("repos/r/snapshots")),
    );
    restore(&other, "s", json!({}));
    assert_eq!(count(&other, "a"), 20);
    let verified = other.call("POST", "/_snapshot/r/_verify_integrity", json!({}));
    assert_eq!(verified["results"]["result"], "pass", "{verified}");
    for (method, path) in [
        ("PUT", "/_snapshot/r/new"),
        ("DELETE", "/_snapshot/r/s"),
        ("POST", "/_snapshot/r/_cleanup"),
    ] {
        let (status, kind, reason) = other.refused(method, path, json!({}));
        assert_eq!((status, kind.as_str()), (400, "repository_exception"));
        assert!(reason.contains("readonly"), "{reason}");
    }
    assert_eq!(
        before,
        (
            blobs(dir.path()),
            files(&dir.path().join("repos/r/snapshots"))
        )
    );
    // The first node has the directory to itself while it writes.
    let uuid = |node: &Node| node.call("GET", "/_snapshot/r", json!({}))["r"]["uuid"].clone();
    assert_eq!(uuid(&node), uuid(&other));
}

#[test]
fn a_closed_index_gives_way_to_the_restored_one() {
    let dir = tempdir();
    let node = start(dir.path(), &json!({}));
    keyword_index(&node, "a");
    fill(&node, "a", 0, 20);
    snapshot(&node, "s", json!({}));
    fill(&node, "a", 20, 30);
    node.call("POST", "/a/_close", json!({}));
    restore(&node, "s", json!({}));
    assert_eq!(count(&node, "a"), 20);
    assert_eq!(files(&dir.path().join("one/data/indices")).len(), 1);
    fill(&node, "a", 100, 110);
    kill(node);
    let node = Node::start_with_repositories(&dir.path().join("one"), &dir.path().join("repos"));
    assert_eq!(count(&node, "a"), 30);
    let health = node.call("GET", "/_cluster/health", json!({}));
    assert_eq!(health["status"], "green");
}

/// An index `logs-000001` that was rolled over by a policy, and its successor.
fn roll_over(node: &Node) -> Value {
    let poll = json!({"persistent": {"indices.lifecycle.poll_interval": "1s"}});
    node.call("PUT", "/_cluster/settings", poll);
    let phases = json!({"hot": {"actions": {"rollover": {"max_docs": 1}}},
        "delete": {"min_age": "90d", "actions": {"delete": {}}}});
    node.call(
        "PUT",
        "/_ilm/policy/p",
        json!({"policy": {"phases": phases}}),
    );
    let settings = json!({"number_of_replicas": 0, "refresh_interval": "100ms",
        "index.lifecycle.name": "p", "index.lifecycle.rollover_alias": "logs"});
    node.call(
        "PUT",
        "/_index_template/logs",
        json!({"index_patterns": ["logs-*"], "template": {"settings": settings}}),
    );
    let aliases = json!({"logs": {"is_write_index": true}});
    node.call("PUT", "/logs-000001", json!({ "aliases": aliases }));
    node.call("PUT", "/logs/_doc/1?refresh=true", json!({"n": 1}));
    let mut shown = Value::Null;
    wait_until("the rollover", || {
        shown = explain(node);
        shown["phase"] == "hot" && shown["step"] == "complete"
    });
    shown
}

fn explain(node: &Node) -> Value {
    let shown = node.call("GET", "/logs-000001/_ilm/explain", json!({}));
    shown["indices"]["logs-000001"].clone()
}

#[test]
fn a_restored_index_is_as_old_in_its_lifecycle_as_it_was() {
    let dir = tempdir();
    let node = start(dir.path(), &json!({}));
    let before = roll_over(&node);
    assert!(before["lifecycle_date_millis"] != before["index_creation_date_millis"]);
    snapshot(&node, "s", json!({"indices": "logs-*"}));
    node.call("DELETE", "/logs-000001", json!({}));
    let policy = |node: &Node| {
        let mut shown = node.call("GET", "/_ilm/policy/p", json!({}))["p"].clone();
        shown["in_use_by"] = Value::Null;
        shown
    };
    let same = policy(&node);
    restore(
        &node,
        "s",
        json!({"indices": "logs-000001", "include_global_state": true}),
    );
    assert_eq!(policy(&node), same, "nothing of it had changed");
    for at in 0..2 {
        let after = explain(&node);
        for key in [
            "lifecycle_date_millis",
            "phase",
            "step",
            "phase_time_millis",
        ] {
            assert_eq!(before[key], after[key], "{key} {at}: {after}");
        }
        std::thread::sleep(Duration::from_millis(1500));
    }
    // A policy that is another one now comes back with a version of its own.
    let other = json!({"delete": {"min_age": "9d", "actions": {"delete": {}}}});
    node.call(
        "PUT",
        "/_ilm/policy/p",
        json!({"policy": {"phases": other}}),
    );
    let body = json!({"indices": "none*", "include_global_state": true});
    restore(&node, "s", body);
    let restored = policy(&node);
    assert_eq!(restored["policy"], same["policy"]);
    assert_eq!(restored["version"], 3);
}

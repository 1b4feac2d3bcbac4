//! Taking and deleting snapshots: what is written, what is freed, what goes on meanwhile.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    begin_slowly, blobs, count, files, fill, keyword_index, register, restore, snapshot, start,
    status, status_state, tempdir, wait_until,
};
use crate::common::search::Node;

#[test]
fn a_snapshot_writes_only_what_is_new_and_says_so() {
    let dir = tempdir();
    let node = start(dir.path(), &json!({}));
    keyword_index(&node, "a");
    fill(&node, "a", 0, 50);
    let made = snapshot(&node, "one", json!({"metadata": {"by": "me"}}));
    assert_eq!(made["metadata"]["by"], "me");
    assert_eq!(made["indices"], json!(["a"]));
    assert_eq!(
        made["shards"],
        json!({"total": 1, "failed": 0, "successful": 1})
    );
    let first = blobs(dir.path());
    let sizes = |blobs: &BTreeMap<PathBuf, u64>| json!({"file_count": blobs.len(), "size_in_bytes": blobs.values().sum::<u64>()});
    let stats = status(&node, "one")["stats"].clone();
    assert!(!first.is_empty());
    assert_eq!(stats["incremental"], sizes(&first));
    assert_eq!(stats["total"], sizes(&first));

    snapshot(&node, "two", json!({}));
    assert_eq!(blobs(dir.path()), first, "nothing had changed");
    let stats = status(&node, "two")["stats"].clone();
    assert_eq!(
        stats["incremental"],
        json!({"file_count": 0, "size_in_bytes": 0})
    );
    assert_eq!(stats["total"], sizes(&first));

    fill(&node, "a", 50, 60);
    node.call("DELETE", "/a/_doc/7", json!({}));
    snapshot(&node, "three", json!({}));
    let mut new = blobs(dir.path());
    new.retain(|path, _| !first.contains_key(path));
    let third = status(&node, "three");
    // A segment with the new documents, and the first one's live documents.
    assert_eq!(new.len(), 2);
    assert_eq!(third["stats"]["incremental"], sizes(&new));
    assert_eq!(
        third["indices"]["a"]["shards"]["0"]["stage"], "DONE",
        "{third}"
    );

    let list = node.call("GET", "/_snapshot/r/_all?order=desc", json!({}));
    let names: Vec<&str> = list["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["snapshot"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["three", "two", "one"]);
    let page = node.call(
        "GET",
        "/_snapshot/r/t*?verbose=false&sort=name&size=1",
        json!({}),
    );
    assert_eq!((&page["total"], &page["remaining"]), (&json!(2), &json!(1)));
    assert_eq!(page["snapshots"][0]["snapshot"], "three");
    assert!(page["snapshots"][0]["start_time"].is_null());
    let table = node.call("GET", "/_cat/snapshots/r?format=json", json!({}));
    assert_eq!(table.as_array().unwrap().len(), 3);
    assert_eq!(table[0]["status"], "SUCCESS");
    let table = node.call("GET", "/_cat/repositories?format=json", json!({}));
    assert_eq!(table, json!([{"id": "r", "type": "fs"}]));
}

#[test]
fn a_deleted_snapshot_frees_only_what_nothing_uses() {
    let dir = tempdir();
    let node = start(dir.path(), &json!({}));
    keyword_index(&node, "a");
    keyword_index(&node, "b");
    fill(&node, "a", 0, 20);
    fill(&node, "b", 0, 20);
    snapshot(&node, "both", json!({}));
    let both = blobs(dir.path());
    snapshot(&node, "only-a", json!({"indices": "a"}));
    assert_eq!(blobs(dir.path()), both);
    node.call("DELETE", "/_snapshot/r/both", json!({}));
    let left = blobs(dir.path());
    assert_eq!(left.len(), both.len() / 2);
    let (status, kind, _) = node.refused("GET", "/_snapshot/r/both", json!({}));
    assert_eq!((status, kind.as_str()), (404, "snapshot_missing_exception"));
    let (status, _, _) = node.refused("DELETE", "/_snapshot/r/both", json!({}));
    assert_eq!(status, 404);
    node.call("DELETE", "/a", json!({}));
    restore(&node, "only-a", json!({}));
    assert_eq!(count(&node, "a"), 20);
    node.call("DELETE", "/_snapshot/r/only-*,x*", json!({}));
    assert!(blobs(dir.path()).is_empty());
    // Forgetting a repository deletes nothing.
    snapshot(&node, "again", json!({}));
    let kept = blobs(dir.path());
    node.call("DELETE", "/_snapshot/r", json!({}));
    let (status, kind, _) = node.refused("GET", "/_snapshot/r/again", json!({}));
    assert_eq!(
        (status, kind.as_str()),
        (404, "repository_missing_exception")
    );
    assert_eq!(blobs(dir.path()), kept);
    register(&node, "r", &json!({}));
    assert_eq!(status_state(&node, "again"), "SUCCESS");
}

#[test]
fn one_operation_writes_at_a_time_and_a_deletion_calls_a_snapshot_off() {
    let dir = tempdir();
    let node = start(dir.path(), &json!({"max_snapshot_bytes_per_sec": "60kb"}));
    begin_slowly(&node, dir.path());
    let current = node.call("GET", "/_snapshot/r/_current", json!({}));
    assert_eq!(current["snapshots"][0]["state"], "IN_PROGRESS", "{current}");
    let running = node.call("GET", "/_snapshot/_status", json!({}))["snapshots"][0].clone();
    assert_eq!(running["state"], "STARTED");
    let size = |of: &str| running["stats"][of]["size_in_bytes"].as_u64().unwrap();
    assert!(
        size("processed") < size("incremental") || running["shards_stats"]["initializing"] != 0
    );
    assert_eq!(running["shards_stats"]["total"], 3);
    for (path, wanted, kind) in [
        (
            "/_snapshot/r/other",
            503,
            "concurrent_snapshot_execution_exception",
        ),
        ("/_snapshot/r/slow", 400, "invalid_snapshot_name_exception"),
    ] {
        let (status, found, reason) = node.refused("PUT", path, json!({}));
        assert_eq!((status, found.as_str()), (wanted, kind), "{reason}");
    }
    let (status, kind, _) = node.refused("POST", "/_snapshot/r/_cleanup", json!({}));
    assert_eq!(status, 503, "{kind}");
    let (status, kind, _) = node.refused("DELETE", "/_snapshot/r", json!({}));
    assert_eq!(
        (status, kind.as_str()),
        (409, "repository_conflict_exception")
    );
    // Nor does another node write to it.
    let two = Node::start_with_repositories(&dir.path().join("two"), &dir.path().join("repos"));
    register(&two, "same", &json!({"location": "r"}));
    let (status, _, reason) = two.refused("PUT", "/_snapshot/same/s", json!({}));
    assert_eq!(status, 503, "{reason}");
    // Another repository is another matter, and writes are not held up.
    register(&node, "q", &json!({}));
    node.call("PUT", "/_snapshot/q/s?wait_for_completion=true", json!({}));
    fill(&node, "a", 300, 310);
    // A list with a name that is not there calls nothing off.
    let (status, kind, _) = node.refused("DELETE", "/_snapshot/r/slow,missing", json!({}));
    assert_eq!((status, kind.as_str()), (404, "snapshot_missing_exception"));
    let current = node.call("GET", "/_snapshot/r/_current", json!({}));
    assert_eq!(current["total"], 1);
    node.call("DELETE", "/_snapshot/r/slow", json!({}));
    assert!(blobs(dir.path()).is_empty(), "{:?}", blobs(dir.path()));
    let (status, _, reason) = node.refused("GET", "/_snapshot/r/slow", json!({}));
    assert!(status == 404 && reason.contains("aborted"), "{reason}");
    let current = node.call("GET", "/_snapshot/r/_current", json!({}));
    assert_eq!(current["total"], 0);
}

#[test]
fn a_snapshot_goes_on_when_its_client_leaves_and_ends_with_the_node() {
    let dir = tempdir();
    let mut node = start(dir.path(), &json!({"max_snapshot_bytes_per_sec": "200kb"}));
    for index in ["a", "b"] {
        keyword_index(&node, index);
        fill(&node, index, 0, 300);
    }
    node.runtime.block_on(async {
        let request = node
            .http
            .put(format!(
                "{}/_snapshot/r/s?wait_for_completion=true",
                node.base
            ))
            .basic_auth("boss", Some("correct horse"))
            .timeout(Duration::from_millis(300));
        assert!(request.send().await.is_err());
    });
    wait_until("the snapshot", || {
        let list = node.call("GET", "/_snapshot/r/_all", json!({}));
        list["snapshots"][0]["state"] == "SUCCESS"
    });
    fill(&node, "a", 300, 900);
    node.call("PUT", "/_snapshot/r/t", json!({}));
    let pid = i32::try_from(node.child.id()).unwrap();
    let began = Instant::now();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    assert!(node.child.wait().unwrap().success());
    assert!(began.elapsed() < Duration::from_secs(4));
    assert_eq!(files(&dir.path().join("repos/r/snapshots")).len(), 1);
}

#[test]
fn an_index_that_goes_during_a_snapshot_of_a_pattern_is_left_out() {
    let dir = tempdir();
    let node = start(dir.path(), &json!({"max_snapshot_bytes_per_sec": "60kb"}));
    begin_slowly(&node, dir.path());
    node.call("DELETE", "/c", json!({}));
    wait_until("its end", || {
        node.call("GET", "/_snapshot/r/_current", json!({}))["total"] == 0
    });
    let made = node.call("GET", "/_snapshot/r/slow", json!({}))["snapshots"][0].clone();
    assert_eq!(made["state"], "SUCCESS", "{made}");
    assert_eq!(made["indices"], json!(["a", "b"]));
    // One that was asked for by name is missed.
    let body = json!({"indices": "a,b"});
    node.call("DELETE", "/_snapshot/r/slow", json!({}));
    node.call("PUT", "/_snapshot/r/slow", body);
    node.call("DELETE", "/b", json!({}));
    wait_until("its end", || {
        node.call("GET", "/_snapshot/r/_current", json!({}))["total"] == 0
    });
    let (status, _, reason) = node.refused("GET", "/_snapshot/r/slow", json!({}));
    assert!(status == 404 && reason.contains("[b]"), "{reason}");
}

#[test]
fn an_alias_that_moves_during_a_snapshot_is_in_it_once() {
    let dir = tempdir();
    let node = start(dir.path(), &json!({"max_snapshot_bytes_per_sec": "60kb"}));
    for index in ["a", "b"] {
        keyword_index(&node, index);
        fill(&node, index, 0, 200);
    }
    let move_alias = || {
        let actions = json!([{"remove": {"index": "a", "alias": "x"}},
            {"add": {"index": "b", "alias": "x"}}]);
        node.call("POST", "/_aliases", json!({ "actions": actions }));
    };
    node.call("PUT", "/a/_alias/x", json!({}));
    node.call("PUT", "/_snapshot/r/s", json!({}));
    wait_until("a first blob", || {
        blobs(dir.path())
            .keys()
            .any(|path| path.extension().is_none())
    });
    move_alias();
    wait_until("its end", || {
        node.call("GET", "/_snapshot/r/_current", json!({}))["total"] == 0
    });
    node.call("DELETE", "/a", json!({}));
    node.call("DELETE", "/b", json!({}));
    restore(&node, "s", json!({}));
    let found = node.call("GET", "/_alias/x", json!({}));
    let indices: Vec<&String> = found.as_object().unwrap().keys().collect();
    assert_eq!(indices, ["a"]);
}

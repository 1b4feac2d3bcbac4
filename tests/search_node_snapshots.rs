//! Snapshots of the search node over HTTP, in repositories on real file systems.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::Mount;
use common::search::Node;
use serde_json::{Value, json};

/// A node in `one` with the repository `r` in `repos/r`, both in `dir`.
fn start(dir: &Path, settings: &Value) -> Node {
    let node = Node::start_with_repositories(&dir.join("one"), &dir.join("repos"));
    register(&node, "r", settings);
    node
}

fn register(node: &Node, name: &str, settings: &Value) {
    let mut settings = settings.clone();
    if settings["location"].is_null() {
        settings["location"] = name.into();
    }
    let body = json!({"type": "fs", "settings": settings});
    node.call("PUT", &format!("/_snapshot/{name}"), body);
}

fn tempdir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["one", "two", "repos"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    dir
}

/// Writes documents `from..to` with about 1 KB each that does not pack well.
fn fill(node: &Node, index: &str, from: u64, to: u64) {
    let lines: Vec<String> = (from..to)
        .map(|n| {
            let mut state = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
            let words = (0..60).map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                format!("{state:016x}")
            });
            let text = words.collect::<Vec<_>>().concat();
            format!("{{\"index\":{{\"_id\":\"{n}\"}}}}\n{{\"n\":{n},\"t\":\"{text}\"}}\n")
        })
        .collect();
    let path = format!("/{index}/_bulk?refresh=true");
    let (status, answer) = node
        .send("boss", "POST", &path, Some(lines.concat()))
        .unwrap();
    assert!(status == 200 && answer["errors"] == false, "{status}");
}

fn keyword_index(node: &Node, index: &str) {
    let mappings = json!({"properties": {"n": {"type": "long"},
        "t": {"type": "keyword", "index": false, "doc_values": false}}});
    let body = json!({"settings": {"number_of_replicas": 0}, "mappings": mappings});
    node.call("PUT", &format!("/{index}"), body);
}

fn count(node: &Node, index: &str) -> u64 {
    node.call("POST", &format!("/{index}/_refresh"), json!({}));
    let counted = node.call("GET", &format!("/{index}/_count"), json!({}));
    counted["count"].as_u64().unwrap()
}

/// Makes a snapshot and waits for it.
fn snapshot(node: &Node, name: &str, body: Value) -> Value {
    let path = format!("/_snapshot/r/{name}?wait_for_completion=true");
    let made = node.call("PUT", &path, body);
    assert_eq!(made["snapshot"]["state"], "SUCCESS", "{made}");
    made["snapshot"].clone()
}

fn restore(node: &Node, name: &str, body: Value) -> Value {
    let path = format!("/_snapshot/r/{name}/_restore?wait_for_completion=true");
    node.call("POST", &path, body)["snapshot"].clone()
}

/// Files in a directory with their length.
fn files(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| (entry.path(), entry.metadata().unwrap().len()))
        .collect()
}

fn blobs(dir: &Path) -> BTreeMap<PathBuf, u64> {
    files(&dir.join("repos/r/blobs"))
}

fn status(node: &Node, name: &str) -> Value {
    let answer = node.call("GET", &format!("/_snapshot/r/{name}/_status"), json!({}));
    answer["snapshots"][0].clone()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Changes one bit of a file.
fn flip(path: &Path, at: u64) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn kill(mut node: Node) {
    node.child.kill().unwrap();
    node.child.wait().unwrap();
}

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

fn status_state(node: &Node, name: &str) -> String {
    status(node, name)["state"].as_str().unwrap().to_owned()
}

/// Begins a snapshot that takes about ten seconds, and waits until a part of it is there.
fn begin_slowly(node: &Node, dir: &Path) {
    for index in ["a", "b", "c"] {
        keyword_index(node, index);
        fill(node, index, 0, 300);
    }
    let began = node.call("PUT", "/_snapshot/r/slow", json!({}));
    assert_eq!(began, json!({"accepted": true}));
    wait_until("a first blob", || {
        blobs(dir).keys().any(|path| path.extension().is_none())
    });
}

#[test]
fn kill_9_in_the_middle_leaves_no_snapshot_and_a_cleanup_frees_the_rest() {
    let dir = tempdir();
    let node = start(dir.path(), &json!({"max_snapshot_bytes_per_sec": "60kb"}));
    begin_slowly(&node, dir.path());
    kill(node);
    let left = blobs(dir.path());
    assert!(!left.is_empty());
    let node = Node::start_with_repositories(&dir.path().join("one"), &dir.path().join("repos"));
    let list = node.call("GET", "/_snapshot/r/_all", json!({}));
    assert_eq!(list["total"], 0);
    let (status, kind, _) = node.refused("GET", "/_snapshot/r/slow", json!({}));
    assert_eq!((status, kind.as_str()), (404, "snapshot_missing_exception"));
    let found = node.call("POST", "/_snapshot/r/_verify_integrity", json!({}));
    assert_eq!(
        found["results"]["status"]["unused_blobs"]["total"],
        left.len()
    );
    let freed = node.call("POST", "/_snapshot/r/_cleanup", json!({}));
    assert_eq!(
        freed["results"],
        json!({"deleted_blobs": left.len(), "deleted_bytes": left.values().sum::<u64>()})
    );
    assert!(blobs(dir.path()).is_empty());
    // The repository goes on to work.
    register(&node, "r", &json!({}));
    snapshot(&node, "slow", json!({}));
    assert_eq!(status_state(&node, "slow"), "SUCCESS");
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
fn a_damaged_blob_is_named_and_nothing_is_restored() {
    let dir = tempdir();
    let node = start(dir.path(), &json!({}));
    for (index, docs) in [("a", 20), ("b", 30)] {
        keyword_index(&node, index);
        fill(&node, index, 0, docs);
    }
    snapshot(&node, "s", json!({}));
    let whole = blobs(dir.path());
    node.call("DELETE", "/a", json!({}));
    node.call("POST", "/b/_close", json!({}));
    snapshot(&node, "b", json!({"indices": "b"}));
    let b = node.call("GET", "/_snapshot/r/b/_status", json!({}));
    let bytes = b["snapshots"][0]["stats"]["total"]["size_in_bytes"].clone();
    let (path, _) = whole.iter().find(|(_, length)| bytes == **length).unwrap();
    let hash = path.file_name().unwrap().to_str().unwrap();
    flip(path, 5000);

    let dirs = || files(&dir.path().join("one/data/indices")).len();
    let before = dirs();
    let path = "/_snapshot/r/s/_restore?wait_for_completion=true";
    let (status, kind, reason) = node.refused("POST", path, json!({}));
    assert_eq!((status, kind.as_str()), (500, "snapshot_restore_exception"));
    for part in [
        "[r:s/",
        "index [b]",
        ".segment]",
        hash,
        "nothing was restored",
    ] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert_eq!(dirs(), before, "something is left behind");
    let (status, _, _) = node.refused("GET", "/a", json!({}));
    assert_eq!(status, 404, "a was restored alone");
    node.call("POST", "/b/_open", json!({}));
    assert_eq!(count(&node, "b"), 30, "the closed index is as it was");
    let (status, kind, reason) = node.refused("POST", path, json!({"indices": "b"}));
    assert_eq!((status, kind.as_str()), (500, "snapshot_restore_exception"));
    assert!(
        reason.contains("because an open index with same name already exists in the cluster"),
        "{reason}"
    );
    restore(&node, "s", json!({"indices": "a"}));
    assert_eq!(count(&node, "a"), 20);
    // A restore that nobody waits for says so too, and it is one that nobody takes for a snapshot.
    let body = json!({"indices": "b", "rename_pattern": "b", "rename_replacement": "d"});
    node.call("POST", "/_snapshot/r/b/_restore", body);
    let mut restores = Value::Null;
    wait_until("its failure", || {
        let answer = node.call("GET", "/_snapshot/_status", json!({}));
        restores = answer["restores"].clone();
        restores[0]["snapshot"] == "b" && restores[0]["state"] == "FAILED"
    });
    assert_eq!(restores.as_array().unwrap().len(), 1, "{restores}");
    assert_eq!(restores[0]["indices"], json!(["d"]));
    let reason = restores[0]["reason"].as_str().unwrap();
    assert!(reason.contains(hash), "{reason}");

    let found = node.call("POST", "/_snapshot/r/_verify_integrity", json!({}));
    assert_eq!(found["results"]["result"], "fail");
    assert_eq!(found["results"]["total_anomalies"], 2, "{found}");
    for (at, name) in ["b", "s"].into_iter().enumerate() {
        let entry = &found["log"][at];
        assert_eq!(entry["snapshot"]["snapshot"], name);
        assert_eq!(
            (&entry["index"]["name"], &entry["blob_name"]),
            (&json!("b"), &json!(hash))
        );
    }
    let aside = format!("{hash}.damaged");
    assert!(dir.path().join("repos/r/blobs").join(&aside).exists());
    assert_eq!(
        found["results"]["status"]["unused_blobs"]["total"], 1,
        "{found}"
    );
    // The index still has the file: another snapshot makes the earlier ones whole.
    snapshot(&node, "again", json!({"indices": "b"}));
    let body = json!({"indices": "b", "rename_pattern": "b", "rename_replacement": "c"});
    restore(&node, "s", body);
    assert_eq!(count(&node, "c"), 30);
    let freed = node.call("POST", "/_snapshot/r/_cleanup", json!({}));
    assert_eq!(freed["results"]["deleted_blobs"], 1);
    let found = node.call("POST", "/_snapshot/r/_verify_integrity", json!({}));
    assert_eq!(found["results"]["result"], "pass", "{found}");
    std::fs::remove_file(dir.path().join("repos/r/blobs").join(hash)).unwrap();
    let found = node.call("POST", "/_snapshot/r/_verify_integrity", json!({}));
    let text = found["log"][0]["anomaly"].as_str().unwrap();
    assert!(text.ends_with("is missing"), "{text}");
}

#[test]
fn kill_9_in_the_middle_of_a_restore_leaves_nothing_of_it() {
    let dir = tempdir();
    let node = start(
        dir.path(),
        &json!({"max_restore_bytes_per_sec": "60kb", "max_snapshot_bytes_per_sec": "0"}),
    );
    keyword_index(&node, "a");
    fill(&node, "a", 0, 300);
    snapshot(&node, "s", json!({}));
    let body = json!({"rename_pattern": "a", "rename_replacement": "b"});
    let began = node.call("POST", "/_snapshot/r/s/_restore", body.clone());
    assert_eq!(began, json!({"accepted": true}));
    let running = node.call("GET", "/_snapshot/r/_status", json!({}))["restores"][0].clone();
    assert_eq!(
        (&running["state"], &running["indices"]),
        (&json!("STARTED"), &json!(["b"]))
    );
    let indices = dir.path().join("one/data/indices");
    wait_until("a directory", || files(&indices).len() == 2);
    let (status, _, _) = node.refused("GET", "/b", json!({}));
    assert_eq!(status, 404, "seen before it is whole");
    let (status, kind, _) = node.refused("DELETE", "/_snapshot/r/s", json!({}));
    assert_eq!(
        (status, kind.as_str()),
        (503, "concurrent_snapshot_execution_exception")
    );
    kill(node);
    let node = Node::start_with_repositories(&dir.path().join("one"), &dir.path().join("repos"));
    assert_eq!(files(&indices).len(), 1);
    register(&node, "r", &json!({}));
    restore(&node, "s", body);
    assert_eq!((count(&node, "a"), count(&node, "b")), (300, 300));
}

#[test]
fn after_kill_9_at_any_moment_every_snapshot_that_is_listed_is_whole() {
    let dir = tempdir();
    let mut node = start(dir.path(), &json!({}));
    keyword_index(&node, "a");
    let mut docs = 0;
    let mut seen = 0;
    for round in 0..6 {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(node.child.id()).unwrap());
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(400 + 130 * round));
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        });
        let mut made: Vec<String> = Vec::new();
        for turn in 0.. {
            let body = format!("{{\"index\":{{}}}}\n{{\"n\":{docs}}}\n").repeat(50);
            let written = node.send("boss", "POST", "/a/_bulk", Some(body));
            let name = format!("s{round}-{turn}");
            let path = format!("/_snapshot/r/{name}?wait_for_completion=true");
            let snapshot = written.and_then(|_| node.try_call("PUT", &path, None));
            let Some((status, answer)) = snapshot else {
                break;
            };
            assert_eq!(status, 200, "{answer}");
            docs += 50;
            made.push(name);
            if turn % 3 == 2 {
                let path = format!("/_snapshot/r/{}", made.remove(0));
                if node.try_call("DELETE", &path, None).is_none() {
                    break;
                }
            }
        }
        killer.join().unwrap();
        node.child.wait().unwrap();
        node = Node::start_with_repositories(&dir.path().join("one"), &dir.path().join("repos"));
        let list = node.call("GET", "/_snapshot/r/_all", json!({}));
        for name in &made {
            let mut listed = list["snapshots"].as_array().unwrap().iter();
            assert!(listed.any(|s| s["snapshot"] == **name), "{name} is gone");
        }
        let found = node.call("POST", "/_snapshot/r/_verify_integrity", json!({}));
        assert_eq!(found["results"]["result"], "pass", "{found}");
        seen += found["results"]["status"]["snapshots"]["verified"]
            .as_u64()
            .unwrap();
        node.call("POST", "/_snapshot/r/_cleanup", json!({}));
        let found = node.call("POST", "/_snapshot/r/_verify_integrity", json!({}));
        let results = &found["results"];
        assert_eq!(results["result"], "pass", "{found}");
        assert_eq!(results["status"]["unused_blobs"]["total"], 0);
    }
    assert!(seen > 10, "{seen}");
    let last = node.call("GET", "/_snapshot/r/_all?order=desc&size=1", json!({}));
    let last = last["snapshots"][0]["snapshot"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = json!({"rename_pattern": "a", "rename_replacement": "b"});
    restore(&node, &last, body);
    assert!(count(&node, "b") >= 50);
}

#[test]
fn a_restore_that_has_no_room_leaves_the_node_as_it_was() {
    let dir = tempdir();
    let _mount = Mount::tmpfs(&dir.path().join("one"), "24M");
    let node = start(dir.path(), &json!({}));
    keyword_index(&node, "a");
    for part in 0..3 {
        fill(&node, "a", part * 1000, (part + 1) * 1000);
    }
    snapshot(&node, "s", json!({}));
    let filler = dir.path().join("one/filler");
    let file = std::fs::File::create(&filler).unwrap();
    let flags = nix::fcntl::FallocateFlags::empty();
    let mut size = 24 << 20;
    while nix::fcntl::fallocate(&file, flags, 0, size).is_err() {
        size -= 64 << 10;
    }
    // Room for the reserve, and for less than the index.
    file.set_len(u64::try_from(size).unwrap() - (5 << 20))
        .unwrap();
    let body = json!({"rename_pattern": "a", "rename_replacement": "b"});
    let path = "/_snapshot/r/s/_restore?wait_for_completion=true";
    let (status, kind, reason) = node.refused("POST", path, body.clone());
    assert_eq!(
        (status, kind.as_str()),
        (429, "cluster_block_exception"),
        "{reason}"
    );
    assert_eq!(files(&dir.path().join("one/data/indices")).len(), 1);
    std::fs::remove_file(&filler).unwrap();
    drop(file);
    restore(&node, "s", body);
    assert_eq!((count(&node, "a"), count(&node, "b")), (3000, 3000));
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

#[test]
fn an_index_that_cannot_be_opened_is_never_left_out_in_silence() {
    let dir = tempdir();
    let node = start(dir.path(), &json!({}));
    keyword_index(&node, "a");
    fill(&node, "a", 0, 10);
    snapshot(&node, "before", json!({}));
    keyword_index(&node, "b");
    let uuid =
        node.call("GET", "/a/_settings", json!({}))["a"]["settings"]["index"]["uuid"].clone();
    kill(node);
    let index = dir
        .path()
        .join("one/data/indices")
        .join(uuid.as_str().unwrap());
    std::fs::remove_file(index.join("index.json")).unwrap();
    let node = Node::start_with_repositories(&dir.path().join("one"), &dir.path().join("repos"));
    let path = "/_snapshot/r/s?wait_for_completion=true";
    for body in [
        json!({}),
        json!({"indices": "a"}),
        json!({"indices": "a*,b"}),
    ] {
        let (status, kind, reason) = node.refused("PUT", path, body);
        assert_eq!((status, kind.as_str()), (500, "snapshot_exception"));
        assert!(reason.contains("[a]"), "{reason}");
    }
    let made = node.call("PUT", path, json!({"partial": true}))["snapshot"].clone();
    assert_eq!(made["state"], "PARTIAL");
    assert_eq!(made["failures"][0]["index"], "a");
    assert_eq!(
        made["shards"],
        json!({"total": 2, "failed": 1, "successful": 1})
    );
    let restored = "/_snapshot/r/s/_restore";
    let body = json!({"rename_pattern": "^", "rename_replacement": "x"});
    let (status, kind, reason) = node.refused("POST", restored, body);
    assert_eq!((status, kind.as_str()), (500, "snapshot_restore_exception"));
    assert!(reason.contains("[a] wasn't fully snapshotted"), "{reason}");
    // The way out of the fault: delete it, and bring it back.
    node.call("DELETE", "/a", json!({}));
    restore(&node, "before", json!({}));
    assert_eq!(count(&node, "a"), 10);
}

#[test]
fn locations_outside_path_repo_and_what_is_not_supported_are_refused_by_name() {
    let dir = tempdir();
    let node = start(dir.path(), &json!({}));
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    std::os::unix::fs::symlink(&out, dir.path().join("repos/link")).unwrap();
    for location in [
        out.to_str().unwrap(),
        "../out",
        "link",
        "link/deep",
        "/",
        "",
    ] {
        let body = json!({"type": "fs", "settings": {"location": location}});
        let (status, kind, reason) = node.refused("PUT", "/_snapshot/x", body);
        assert_eq!(
            (status, kind.as_str()),
            (400, "repository_exception"),
            "{location}: {reason}"
        );
    }
    assert!(files(&out).is_empty());
    let with = |key: &str, value: Value| {
        let mut settings = json!({"location": "x"});
        settings[key] = value;
        json!({"type": "fs", "settings": settings})
    };
    for (body, word) in [
        (json!({"type": "s3", "settings": {}}), "s3"),
        (with("chunk_size", json!("1mb")), "chunk_size"),
        (with("surprise", json!(1)), "surprise"),
        (with("compress", json!("maybe")), "compress"),
        (
            with("max_snapshot_bytes_per_sec", json!("fast")),
            "max_snapshot_bytes_per_sec",
        ),
        (json!({"settings": {"location": "x"}}), "type"),
        (json!([]), "type"),
    ] {
        let (status, _, reason) = node.refused("PUT", "/_snapshot/x", body);
        assert!(status == 400 && reason.contains(word), "{status} {reason}");
    }
    assert!(!dir.path().join("repos/x").exists());
    node.call("PUT", "/a/_doc/1", json!({}));
    for (body, word) in [
        (json!({"feature_states": ["x"]}), "feature_states"),
        (json!({"surprise": 1}), "surprise"),
        (json!({"indices": 7}), "indices"),
        (json!({"indices": "missing"}), "missing"),
        (json!({"metadata": {"x": "y".repeat(2000)}}), "1024"),
    ] {
        let (status, _, reason) = node.refused("PUT", "/_snapshot/r/s", body);
        assert!(
            (400..=404).contains(&status) && reason.contains(word),
            "{status} {reason}"
        );
    }
    for name in ["Upper", "_x", "a%20b", "a%2Cb", "a%23"] {
        let (status, kind, reason) =
            node.refused("PUT", &format!("/_snapshot/r/{name}"), json!({}));
        assert_eq!(
            (status, kind.as_str()),
            (400, "invalid_snapshot_name_exception"),
            "{reason}"
        );
    }
    snapshot(
        &node,
        "s",
        json!({"feature_states": [], "ignore_unavailable": true, "indices": "a,missing"}),
    );
    let (status, kind, reason) = node.refused("PUT", "/_snapshot/r/s", json!({}));
    assert_eq!(
        (status, kind.as_str()),
        (400, "invalid_snapshot_name_exception")
    );
    assert!(
        reason.ends_with("snapshot with the same name already exists"),
        "{reason}"
    );
    let path = "/_snapshot/r/s/_restore";
    for (body, word) in [
        (json!({"partial": true}), "partial"),
        (json!({"surprise": 1}), "surprise"),
        (json!({"rename_pattern": "a"}), "rename_replacement"),
        (
            json!({"rename_pattern": "(", "rename_replacement": "b"}),
            "rename_pattern",
        ),
        (
            json!({"rename_pattern": "a", "rename_replacement": "B"}),
            "lowercase",
        ),
        (json!({"indices": "missing"}), "missing"),
        (
            json!({"indices": "a", "index_settings": {"number_of_shards": 2}}),
            "number_of_shards",
        ),
    ] {
        let (status, _, reason) = node.refused("POST", path, body);
        assert!(status >= 400 && reason.contains(word), "{status} {reason}");
    }
    for (method, path) in [
        ("PUT", "/_snapshot/r/u"),
        ("POST", "/_snapshot/r/_cleanup"),
        ("POST", "/_snapshot/_search"),
        ("POST", path),
    ] {
        let (status, _) = node.send("guest", method, path, None).unwrap();
        assert_eq!(status, 403, "{method} {path}");
    }
    let (status, list) = node
        .send("guest", "GET", "/_snapshot/r/_all", None)
        .unwrap();
    assert_eq!((status, &list["total"]), (200, &json!(1)));
    let verified = node.call("POST", "/_snapshot/r/_verify", json!({}));
    assert_eq!(verified["nodes"].as_object().unwrap().len(), 1);
}

#[test]
fn a_full_repository_is_told_before_anything_is_written_and_room_is_enough() {
    let dir = tempdir();
    let root = dir.path().join("repos");
    let _mount = Mount::tmpfs(&root, "6M");
    let node = start(dir.path(), &json!({}));
    keyword_index(&node, "small");
    fill(&node, "small", 0, 200);
    keyword_index(&node, "zlarge");
    for part in 0..4 {
        fill(&node, "zlarge", part * 1000, (part + 1) * 1000);
    }
    // The small one fits and is written; the large one does not fit: both are gone again.
    let path = "/_snapshot/r/s?wait_for_completion=true";
    let (status, kind, reason) = node.refused("PUT", path, json!({}));
    assert_eq!((status, kind.as_str()), (429, "cluster_block_exception"));
    assert!(reason.contains("repository [r]"), "{reason}");
    assert!(blobs(dir.path()).is_empty());
    assert!(files(&root.join("r/snapshots")).is_empty());
    snapshot(&node, "s", json!({"indices": "small"}));
    // Room that vanishes while a snapshot is written leaves nothing behind either.
    node.call("DELETE", "/_snapshot/r/s", json!({}));
    register(&node, "r", &json!({"max_snapshot_bytes_per_sec": "100kb"}));
    node.call("PUT", "/_snapshot/r/t", json!({"indices": "small"}));
    wait_until("a part", || !blobs(dir.path()).is_empty());
    let filler = root.join("filler");
    let full = |size: u64| {
        let file = std::fs::File::create(&filler).unwrap();
        let size = i64::try_from(size).unwrap();
        nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, size).is_ok()
    };
    let mut size = 6 << 20;
    while !full(size) {
        size -= 16 << 10;
    }
    wait_until("the failure", || {
        let current = node.call("GET", "/_snapshot/r/_current", json!({}));
        current["total"] == 0
    });
    let (status, _, reason) = node.refused("GET", "/_snapshot/r/t", json!({}));
    assert!(status == 404 && reason.contains("disk full"), "{reason}");
    assert!(blobs(dir.path()).is_empty(), "{:?}", blobs(dir.path()));
    std::fs::remove_file(&filler).unwrap();
    register(&node, "r", &json!({}));
    snapshot(&node, "t", json!({"indices": "small"}));
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

#[test]
fn damaged_live_documents_are_not_taken_into_a_snapshot() {
    let dir = tempdir();
    let node = start(dir.path(), &json!({}));
    keyword_index(&node, "a");
    fill(&node, "a", 0, 20);
    node.call("POST", "/a/_flush", json!({}));
    node.call("DELETE", "/a/_doc/7", json!({}));
    node.call("POST", "/a/_flush", json!({}));
    let indices = files(&dir.path().join("one/data/indices"));
    let (index, _) = indices.first_key_value().unwrap();
    let mut all = files(&index.join("0"));
    all.retain(|path, _| path.extension().is_some_and(|end| end == "live"));
    let (live, _) = all.first_key_value().unwrap();
    flip(live, 6);
    let path = "/_snapshot/r/s?wait_for_completion=true";
    let (status, _, reason) = node.refused("PUT", path, json!({}));
    let name = live.file_name().unwrap().to_str().unwrap();
    assert_eq!(status, 500);
    for part in ["index [a]", name, "is damaged"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert!(blobs(dir.path()).is_empty());
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

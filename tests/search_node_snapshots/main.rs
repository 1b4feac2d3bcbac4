//! Snapshots of the search node over HTTP, in repositories on real file systems.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod refusals;
mod restoring;
mod taking;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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

//! What the search node does when its files, its disk or its documents are not as they should be.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::search::Node;
use serde_json::{Value, json};

/// Ends the node without a chance to save.
fn cut(mut node: Node) {
    node.child.kill().unwrap();
    node.child.wait().unwrap();
}

fn health(node: &Node) -> String {
    let health = node.call("GET", "/_cluster/health", json!({}));
    health["status"].as_str().unwrap().to_owned()
}

fn count(node: &Node, index: &str) -> u64 {
    let counted = node.call("GET", &format!("/{index}/_count"), json!({}));
    counted["count"].as_u64().unwrap()
}

/// Settings of an index without copies, so that a whole one is green.
fn alone(mappings: &Value) -> Value {
    json!({"settings": {"number_of_replicas": 0}, "mappings": mappings})
}

/// The only file in `data` with this name.
fn find(data: &Path, name: &str) -> PathBuf {
    let found = Command::new("find")
        .arg(data)
        .args(["-name", name])
        .output();
    let found = String::from_utf8(found.unwrap().stdout).unwrap();
    PathBuf::from(found.trim())
}

#[test]
fn documents_that_a_later_mapping_would_refuse_come_back_after_kill_9_and_are_saved() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call("PUT", "/a", alone(&json!({"dynamic": false})));
    node.call("PUT", "/a/_doc/1", json!({"n": "abc", "m": 1}));
    let more = json!({"dynamic": "strict", "properties": {"n": {"type": "long"}}});
    node.call("PUT", "/a/_mapping", more);
    node.call("PUT", "/a/_doc/2", json!({"n": 7}));
    cut(node);
    let node = Node::start(dir.path());
    assert_eq!(health(&node), "green");
    let found = node.call("GET", "/a/_doc/1", json!({}));
    assert_eq!(found["_source"], json!({"n": "abc", "m": 1}));
    assert_eq!(count(&node, "a"), 2);
    node.call("POST", "/a/_flush", json!({}));
    let seven = json!({"query": {"term": {"n": 7}}});
    let found = node.call("POST", "/a/_search", seven);
    assert_eq!(found["hits"]["hits"][0]["_id"], "2");
}

#[test]
fn nested_objects_keep_their_documents_when_others_are_added_before_them() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    let properties = json!({"a": {"properties": {"x": {"type": "long"}}},
        "z": {"type": "nested", "properties": {"n": {"type": "long"}}}});
    node.call("PUT", "/a", alone(&json!({ "properties": properties })));
    node.call("PUT", "/a/_doc/1?refresh=true", json!({"z": [{"n": 1}]}));
    let more = json!({"properties": {"a": {"properties": {"b": {"type": "nested"}}}}});
    node.call("PUT", "/a/_mapping", more);
    let hits = |node: &Node, path: &str| {
        let nested = json!({"nested": {"path": path, "query": {"match_all": {}}}});
        let found = node.call("POST", "/a/_search", json!({ "query": nested }));
        found["hits"]["total"]["value"].clone()
    };
    assert_eq!((hits(&node, "z"), hits(&node, "a.b")), (json!(1), json!(0)));
    cut(node);
    let node = Node::start(dir.path());
    assert_eq!((hits(&node, "z"), hits(&node, "a.b")), (json!(1), json!(0)));
}

#[test]
fn a_missing_or_changed_description_of_an_index_erases_nothing_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call("PUT", "/a", alone(&json!({})));
    node.call("PUT", "/a/_doc/1", json!({"n": 1}));
    node.call("POST", "/a/_flush", json!({}));
    cut(node);
    let commit = find(&dir.path().join("data"), "commit.json");
    let whole = std::fs::read(&commit).unwrap();
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    let segment = find(&dir.path().join("data"), "*.segment");
    for content in [None, Some(&damaged)] {
        std::fs::remove_file(&commit).unwrap();
        if let Some(content) = content {
            lucid::fsx::write_atomic(&commit, content, 0o600).unwrap();
        } else {
            assert!(!commit.exists());
        }
        let node = Node::start(dir.path());
        assert_eq!(health(&node), "red");
        let (status, _, reason) = node.refused("GET", "/a/_doc/1", json!({}));
        assert_eq!(status, 503, "{reason}");
        assert!(
            reason.contains("commit.json") && reason.contains("backup"),
            "{reason}"
        );
        assert!(segment.exists());
        cut(node);
        lucid::fsx::write_atomic(&commit, &whole, 0o600).unwrap();
    }
    let node = Node::start(dir.path());
    assert_eq!((health(&node), count(&node, "a")), ("green".to_owned(), 1));
}

#[test]
fn without_its_state_a_node_with_indices_does_not_start_and_keeps_them() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call("PUT", "/a", alone(&json!({})));
    node.call("PUT", "/a/_doc/1", json!({"n": 1}));
    cut(node);
    let state = dir.path().join("data/state.json");
    let kept = dir.path().join("state.json");
    std::fs::rename(&state, &kept).unwrap();
    let refused = Command::new(common::LUCID)
        .args(["search-node", "--config"])
        .arg(dir.path().join("node.toml"))
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("state.json is missing"), "{said}");
    std::fs::rename(&kept, &state).unwrap();
    let node = Node::start(dir.path());
    assert_eq!(count(&node, "a"), 1);
}

#[test]
fn names_of_a_thousand_parts_are_refused_and_the_node_stays() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    let deep = vec!["a"; 20_000].join(".");
    let (status, kind, _) = node.refused("PUT", "/a/_doc/1", json!({ deep: 1 }));
    assert_eq!((status, kind.as_str()), (400, "document_parsing_exception"));
    let version = "/a/_doc/1?version_type=external&version=18446744073709551615";
    let (status, _, reason) = node.refused("PUT", version, json!({}));
    assert_eq!(status, 400, "{reason}");
    node.call("PUT", "/a/_doc/1", json!({"n": 1}));
}

#[test]
fn memory_is_bounded_without_refreshes_and_when_the_log_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    let body = json!({"settings": {"number_of_replicas": 0, "refresh_interval": "-1"},
        "mappings": {"dynamic": false}});
    node.call("PUT", "/a", body);
    // 16 MiB a quarter of the memory: an index is saved from there on.
    let text = "x".repeat(64 << 10);
    for round in 0..24 {
        let lines: Vec<String> = (0..32)
            .map(|item| {
                format!("{{\"index\":{{\"_id\":\"{round}-{item}\"}}}}\n{{\"t\":\"{text}\"}}\n")
            })
            .collect();
        loop {
            let (status, answer) = node
                .send("boss", "POST", "/a/_bulk", Some(lines.concat()))
                .unwrap();
            assert_eq!(status, 200, "{answer}");
            if answer["errors"] == false {
                break;
            }
            let refused = answer["items"].as_array().unwrap().iter();
            let refused = refused
                .filter(|item| item["index"]["status"] == 429)
                .count();
            assert!(refused > 0, "{answer}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
    let stats = node.call("GET", "/_stats", json!({}));
    let flushed = stats["_all"]["total"]["flush"]["total"].as_u64().unwrap();
    assert!(flushed >= 2, "{stats}");
    cut(node);
    let node = Node::start(dir.path());
    node.call("POST", "/a/_refresh", json!({}));
    assert_eq!(count(&node, "a"), 24 * 32);
}

#[test]
fn on_a_full_disk_writes_are_refused_and_deleting_an_index_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mount = Mount::new(&data);
    let node = Node::start(dir.path());
    node.call("PUT", "/a", alone(&json!({})));
    node.call("PUT", "/b", alone(&json!({})));
    node.call("PUT", "/b/_doc/1", json!({"n": 1}));
    // Texts that cannot be packed.
    let mut seed = 1_u64;
    let mut noise = || {
        let draw = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'!' + u8::try_from(seed >> 60).unwrap() * 5)
        };
        let text: String = std::iter::repeat_with(draw).take(200_000).collect();
        text.replace(['"', '\\'], "_")
    };
    let mut full = false;
    for _ in 0..600 {
        let (status, answer) = node
            .try_call("POST", "/a/_doc", Some(json!({ "t": noise() })))
            .unwrap();
        if status == 429 {
            let reason = answer["error"]["reason"].to_string();
            full = reason.contains("disk full");
            if full {
                break;
            }
        }
    }
    assert!(full, "the disk never filled");
    // Whatever is left of the space is taken by somebody else.
    let rest = std::fs::File::create(data.join("rest"));
    let _ = rest.and_then(|mut file| std::io::copy(&mut std::io::repeat(1), &mut file));
    node.call("DELETE", "/a", json!({}));
    std::fs::remove_file(data.join("rest")).unwrap();
    node.call("PUT", "/b/_doc/2?refresh=true", json!({"n": 2}));
    assert_eq!(count(&node, "b"), 2);
    cut(node);
    drop(mount);
}

/// A small file system in memory.
struct Mount(PathBuf);

impl Mount {
    fn new(at: &Path) -> Self {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs"])
            .arg(at)
            .status();
        assert!(mounted.unwrap().success(), "mounting needs root");
        Self(at.to_path_buf())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn an_alias_takes_the_name_of_the_index_that_goes_in_the_same_moment() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call("PUT", "/old", alone(&json!({})));
    node.call("PUT", "/new", alone(&json!({})));
    node.call("PUT", "/new/_doc/1?refresh=true", json!({"n": 1}));
    let swap = json!({"actions": [
        {"remove_index": {"index": "old"}}, {"add": {"index": "new", "alias": "old"}}]});
    node.call("POST", "/_aliases", swap);
    assert_eq!(count(&node, "old"), 1);
    let refused = json!({"actions": [
        {"remove_index": {"index": "new"}}, {"add": {"index": "new", "alias": "x"}}]});
    node.refused("POST", "/_aliases", refused);
    assert_eq!(
        count(&node, "old"),
        1,
        "nothing of a refused request is done"
    );
}

#[test]
fn on_a_full_disk_a_policy_still_deletes_what_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mount = Mount::new(&data);
    let node = Node::start(dir.path());
    let often = json!({"persistent": {"indices.lifecycle.poll_interval": "1s",
        "indices.lifecycle.steady_clock": "0s"}});
    node.call("PUT", "/_cluster/settings", often);
    let phases =
        json!({"hot": {"actions": {}}, "delete": {"min_age": "3s", "actions": {"delete": {}}}});
    let policy = json!({"policy": {"phases": phases}});
    node.call("PUT", "/_ilm/policy/brief", policy);
    let settings = json!({"number_of_replicas": 0, "index.lifecycle.name": "brief"});
    node.call("PUT", "/a", json!({ "settings": settings }));
    node.call("PUT", "/a/_doc/1", json!({"n": 1}));
    std::thread::sleep(std::time::Duration::from_secs(1));
    let rest = std::fs::File::create(data.join("rest"));
    let _ = rest.and_then(|mut file| std::io::copy(&mut std::io::repeat(1), &mut file));
    let began = std::time::Instant::now();
    while node.try_call("HEAD", "/a", None).unwrap().0 == 200 {
        let elapsed = began.elapsed();
        assert!(elapsed < std::time::Duration::from_secs(20), "it is kept");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    cut(node);
    drop(mount);
}

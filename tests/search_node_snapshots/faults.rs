//! Kills, damage and full disks: nothing half done, nothing left out in silence.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    begin_slowly, blobs, count, files, fill, flip, keyword_index, kill, register, restore,
    snapshot, start, status_state, tempdir, wait_until,
};
use crate::common::Mount;
use crate::common::search::Node;

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

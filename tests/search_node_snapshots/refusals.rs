//! What is refused, by name.

use serde_json::{Value, json};

use super::{files, snapshot, start, tempdir};

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

use super::*;

/// A node that trusts its clock, with the index `i` that policy `p` is to delete.
fn doomed(dir: &std::path::Path) -> (Arc<Node>, Arc<Index>) {
    let node = Node::open(dir, "c", "n", 64 << 20, &[]).unwrap();
    let steady = json!({"persistent": {"indices.lifecycle.steady_clock": "0s"}});
    node.put_cluster_settings(&steady, false).unwrap();
    put_policy(&node, "0ms");
    let settings = json!({"settings": {POLICY: "p"}});
    let index = node.create("i", &settings).unwrap();
    (node, index)
}

fn put_policy(node: &Node, min_age: &str) {
    let policy = json!({"phases": {"delete": {"min_age": min_age, "actions": {"delete": {}}}}});
    node.put_policy("p", &policy).unwrap();
}

#[test]
fn nothing_is_deleted_after_its_withdrawal() {
    let dir = tempfile::tempdir().unwrap();
    let (node, index) = doomed(dir.path());
    let delete = |between: &dyn Fn()| {
        let (entry, stored) = node.look(&index, "p").unwrap();
        let looked = Looked {
            entry: &entry,
            policy: "p",
            stored: stored.as_ref(),
            clock: node.clock(),
        };
        between();
        node.perform(&index, &looked, &Work::Delete).unwrap()
    };
    let is_kept = |between: &dyn Fn()| {
        assert!(matches!(delete(between), Performed::NotYet));
        assert!(node.look(&index, "p").is_some());
    };
    let set = |policy: Value| {
        index
            .change_settings(&json!({ POLICY: policy }), false)
            .unwrap();
    };
    is_kept(&|| node.stop_lifecycle(true).unwrap());
    node.stop_lifecycle(false).unwrap();
    is_kept(&|| put_policy(&node, "1d"));
    is_kept(&|| set(Value::Null));
    set("p".into());
    is_kept(&|| {
        let moved = node.note(&index, None, &Progress::new(1));
        assert!(moved.unwrap());
    });
    assert!(matches!(delete(&|| ()), Performed::Gone));
    assert!(node.look(&index, "p").is_none());
}

#[test]
fn what_is_written_to_again_is_neither_deleted_nor_made_read_only() {
    let dir = tempfile::tempdir().unwrap();
    let (node, index) = doomed(dir.path());
    let writes = |flag: bool| {
        let change = node.change(|state| {
            let entry = state.indices.get_mut("i").unwrap();
            entry.rolled.insert("a".to_owned(), 1);
            let alias = entry.aliases.entry("a".to_owned()).or_default();
            alias.is_write_index = Some(flag);
            Ok(())
        });
        change.unwrap();
    };
    writes(true);
    for _ in 0..2 {
        node.lifecycle_pass();
        let (entry, stored) = node.look(&index, "p").unwrap();
        let failed = entry.lifecycle.clone().unwrap().failed.unwrap();
        assert!(failed.reason.contains("write index of alias [a]"));
        let looked = Looked {
            entry: &entry,
            policy: "p",
            stored: stored.as_ref(),
            clock: node.clock(),
        };
        assert!(node.perform(&index, &looked, &Work::ReadOnly).is_err());
    }
    writes(false);
    node.lifecycle_pass();
    assert!(node.look(&index, "p").is_none());
}

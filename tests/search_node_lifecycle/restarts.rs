//! Restarts and kills in the middle.

use std::time::Duration;

use serde_json::json;

use super::{explain, get, is_there, often, policy, put, wait};
use crate::common::search::Node;

#[test]
fn a_restart_in_the_middle_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path());
    often(&node);
    policy(
        &node,
        "p",
        &json!({
            "hot": {"actions": {"rollover": {"max_age": "1s"}}},
            "warm": {"min_age": "2s", "actions": {"readonly": {}}},
            "delete": {"min_age": "6s", "actions": {"delete": {}}},
        }),
    );
    node.call(
        "PUT",
        "/a-000001",
        json!({"aliases": {"a": {"is_write_index": true}}, "settings": {
            "index.lifecycle.name": "p", "index.lifecycle.rollover_alias": "a"}}),
    );
    put(&node, "a", "1");
    wait("no rollover", || is_there(&node, "a-000002").then_some(()));
    let before = wait("nothing noted", || {
        let shown = explain(&node, "a-000001");
        (shown["step"] == "complete").then_some(shown)
    });
    for _ in 0..3 {
        node.child.kill().unwrap();
        node.child.wait().unwrap();
        node = Node::start(dir.path());
        std::thread::sleep(Duration::from_millis(300));
    }
    let shown = explain(&node, "a-000001");
    assert_eq!(
        shown["lifecycle_date_millis"],
        before["lifecycle_date_millis"]
    );
    // No index more than one rollover makes: it has no policy of its own.
    assert!(!is_there(&node, "a-000003"));
    assert_eq!(
        explain(&node, "a-000002"),
        json!({"index": "a-000002", "managed": false})
    );
    wait("it is not deleted", || {
        (!is_there(&node, "a-000001")).then_some(())
    });
    let interval = get(&node, "/_cluster/settings?flat_settings=true");
    assert_eq!(
        interval["persistent"]["indices.lifecycle.poll_interval"],
        "1s"
    );
}

#[test]
fn kills_at_any_moment_leave_one_index_to_write_to_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..6_u64 {
        let mut node = Node::start(dir.path());
        if round == 0 {
            often(&node);
            let rollover = json!({"hot": {"actions": {"rollover": {"max_docs": 1}}},
                "warm": {"actions": {"forcemerge": {"max_num_segments": 1}}},
                "cold": {"actions": {"readonly": {}}}});
            policy(&node, "p", &rollover);
            node.call(
                "PUT",
                "/_index_template/k",
                json!({"index_patterns": ["k-*"], "template": {"settings": {
                    "number_of_replicas": 0, "refresh_interval": "50ms",
                    "index.lifecycle.name": "p", "index.lifecycle.rollover_alias": "k"}}}),
            );
            node.call(
                "PUT",
                "/k-000001",
                json!({"aliases": {"k": {"is_write_index": true}}}),
            );
        }
        let pid = nix::unistd::Pid::from_raw(i32::try_from(node.child.id()).unwrap());
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(900 + 270 * round));
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        });
        loop {
            let id = acknowledged.len().to_string();
            let path = format!("/k/_doc/{round}-{id}");
            match node.try_call("PUT", &path, Some(json!({"n": 1}))) {
                Some((201, _)) => acknowledged.push(format!("{round}-{id}")),
                // It rolled over while the write was on its way to the old index.
                Some((403, _)) => {}
                Some(other) => panic!("{other:?}"),
                None => break,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        killer.join().unwrap();
        node.child.wait().unwrap();
    }
    let node = Node::start(dir.path());
    node.call("POST", "/_ilm/stop", json!({}));
    node.call("POST", "/k/_refresh", json!({}));
    let ids =
        json!({"query": {"ids": {"values": acknowledged}}, "size": 0, "track_total_hits": true});
    let found = node.call("POST", "/k/_search", ids);
    assert_eq!(found["hits"]["total"]["value"], acknowledged.len());
    let aliases = get(&node, "/_alias/k");
    let aliases = aliases.as_object().unwrap();
    assert!(aliases.len() > 2, "{aliases:?}");
    let writers = aliases
        .values()
        .filter(|of| of["aliases"]["k"]["is_write_index"] == true);
    assert_eq!(writers.count(), 1, "{aliases:?}");
    let errors = get(&node, "/k/_ilm/explain?only_errors=true");
    assert_eq!(errors["indices"], json!({}));
}

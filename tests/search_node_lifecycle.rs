//! Lifecycle policies and rollovers of the search node, over HTTP.
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

/// Looks again and again until `check` finds what it wants.
fn wait<T>(what: &str, check: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn often(node: &Node) {
    node.call(
        "PUT",
        "/_cluster/settings",
        json!({"persistent": {"indices.lifecycle.poll_interval": "1s",
            "indices.lifecycle.steady_clock": "0s"}}),
    );
}

fn policy(node: &Node, name: &str, phases: &Value) {
    let body = json!({"policy": {"phases": phases}});
    let answer = node.call("PUT", &format!("/_ilm/policy/{name}"), body);
    assert_eq!(answer["acknowledged"], true);
}

fn get(node: &Node, path: &str) -> Value {
    let (status, answer) = node.try_call("GET", path, None).unwrap();
    assert!(status < 300, "GET {path}: {status} {answer}");
    answer
}

fn is_there(node: &Node, index: &str) -> bool {
    node.try_call("HEAD", &format!("/{index}"), None).unwrap().0 == 200
}

fn explain(node: &Node, index: &str) -> Value {
    get(node, &format!("/{index}/_ilm/explain"))["indices"][index].clone()
}

fn put(node: &Node, index: &str, id: &str) {
    let path = format!("/{index}/_doc/{id}?refresh=true");
    node.call("PUT", &path, json!({"n": 1}));
}

/// Waits until an index is in `phase` at `step`.
fn at(node: &Node, index: &str, phase: &str, step: &str) -> Value {
    wait(&format!("{index} does not come to {phase}/{step}"), || {
        let (status, answer) = node.try_call("GET", &format!("/{index}/_ilm/explain"), None)?;
        assert_eq!(status, 200, "{answer}");
        let shown = answer["indices"][index].clone();
        (shown["phase"] == phase && shown["step"] == step).then_some(shown)
    })
}

#[test]
fn an_index_lives_through_all_phases_from_its_rollover_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    often(&node);
    policy(
        &node,
        "short",
        &json!({
            "hot": {"actions": {"rollover": {"max_docs": 5}, "set_priority": {"priority": 100}}},
            "warm": {"min_age": "2s", "actions": {"forcemerge": {"max_num_segments": 1}}},
            "cold": {"min_age": "5s", "actions": {"readonly": {}, "set_priority": {"priority": 0}}},
            "delete": {"min_age": "9s", "actions": {"delete": {}}},
        }),
    );
    node.call(
        "PUT",
        "/_index_template/logs",
        json!({"index_patterns": ["logs-*"], "template": {"settings": {
            "number_of_replicas": 0, "refresh_interval": "100ms",
            "index.lifecycle.name": "short", "index.lifecycle.rollover_alias": "logs"}}}),
    );
    node.call(
        "PUT",
        "/logs-000001",
        json!({"aliases": {"logs": {"is_write_index": true}}}),
    );
    let hot = at(&node, "logs-000001", "hot", "check-rollover-ready");
    assert_eq!(hot["managed"], true);
    assert_eq!(hot["policy"], "short");
    assert_eq!(hot["action"], "rollover");
    let phase = &hot["phase_execution"];
    assert_eq!(phase["version"], 1);
    assert_eq!(
        phase["phase_definition"]["actions"]["rollover"]["max_docs"],
        5
    );
    for id in 0..6 {
        put(&node, "logs", &id.to_string());
        node.call("POST", "/logs-000001/_flush", json!({}));
    }
    let segments = |index: &str| {
        let stats = get(&node, &format!("/{index}/_stats"));
        stats["indices"][index]["total"]["segments"]["count"].as_u64()
    };
    assert!(segments("logs-000001").unwrap() > 1);
    wait("no index follows", || {
        is_there(&node, "logs-000002").then_some(())
    });
    let aliases = get(&node, "/_alias/logs");
    assert_eq!(
        aliases["logs-000001"]["aliases"]["logs"]["is_write_index"],
        false
    );
    assert_eq!(
        aliases["logs-000002"]["aliases"]["logs"]["is_write_index"],
        true
    );
    at(&node, "logs-000002", "hot", "check-rollover-ready");
    put(&node, "logs", "new");
    assert_eq!(get(&node, "/logs-000002/_doc/new")["found"], true);

    let warm = at(&node, "logs-000001", "warm", "complete");
    assert!(warm["lifecycle_date_millis"].as_i64() > warm["index_creation_date_millis"].as_i64());
    assert_eq!(segments("logs-000001"), Some(1));
    let settings = get(&node, "/logs-000001/_settings?flat_settings=true");
    let settings = &settings["logs-000001"]["settings"];
    assert_eq!(settings["index.lifecycle.indexing_complete"], "true");
    assert_eq!(settings["index.priority"], "100");

    at(&node, "logs-000001", "cold", "complete");
    let (status, kind, _) = node.refused("PUT", "/logs-000001/_doc/late", json!({"n": 1}));
    assert_eq!((status, kind.as_str()), (403, "cluster_block_exception"));
    let settings = get(&node, "/logs-000001/_settings?flat_settings=true");
    let settings = &settings["logs-000001"]["settings"];
    assert_eq!(settings["index.blocks.write"], "true");
    assert_eq!(settings["index.priority"], "0");
    assert!(
        get(&node, "/_cat/indices?format=json")
            .as_array()
            .unwrap()
            .len()
            == 2
    );

    wait("it is not deleted", || {
        (!is_there(&node, "logs-000001")).then_some(())
    });
    assert_eq!(get(&node, "/logs/_doc/new")["found"], true);
    // One that is still written to stays as it is, however old it is.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(explain(&node, "logs-000002")["phase"], "hot");
    put(&node, "logs", "newer");
}

#[test]
fn what_is_complete_without_a_known_rollover_is_as_old_as_that_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call(
        "PUT",
        "/c-000001",
        json!({"settings": {"index.lifecycle.name": "p", "index.lifecycle.rollover_alias": "c",
            "index.lifecycle.indexing_complete": true}}),
    );
    std::thread::sleep(Duration::from_secs(2));
    often(&node);
    policy(
        &node,
        "p",
        &json!({
            "hot": {"actions": {"rollover": {"max_age": "1d"}}},
            "delete": {"min_age": "1h", "actions": {"delete": {}}},
        }),
    );
    let hot = at(&node, "c-000001", "hot", "complete");
    let date = |key: &str| hot[key].as_i64().unwrap();
    let later = date("lifecycle_date_millis") - date("index_creation_date_millis");
    assert!(later >= 2000, "{hot}");
}

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

#[test]
fn what_comes_by_age_waits_until_the_clock_has_run_evenly() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call(
        "PUT",
        "/_cluster/settings",
        json!({"persistent": {"indices.lifecycle.poll_interval": "1s"}}),
    );
    policy(
        &node,
        "p",
        &json!({
            "hot": {"actions": {"rollover": {"max_age": "1s", "max_docs": 5}}},
            "delete": {"min_age": "1s", "actions": {"delete": {}}},
        }),
    );
    policy(
        &node,
        "q",
        &json!({"delete": {"min_age": "1s", "actions": {"delete": {}}}}),
    );
    policy(&node, "r", &json!({"warm": {"actions": {"readonly": {}}}}));
    node.call(
        "PUT",
        "/d-000001",
        json!({"aliases": {"d": {"is_write_index": true}}, "settings": {
            "index.lifecycle.name": "p", "index.lifecycle.rollover_alias": "d"}}),
    );
    put(&node, "d", "1");
    let by = |policy: &str| json!({"settings": {"index.lifecycle.name": policy}});
    node.call("PUT", "/e", by("q"));
    node.call("PUT", "/f", by("r"));
    for (index, phase, step) in [
        ("d-000001", "hot", "check-rollover-ready"),
        ("e", "new", "complete"),
        ("f", "warm", "readonly"),
    ] {
        let shown = wait(&format!("{index} does not tell why it waits"), || {
            let shown = explain(&node, index);
            shown["step_info"]["message"].is_string().then_some(shown)
        });
        let message = shown["step_info"]["message"].as_str().unwrap();
        assert!(
            message.contains("of the [3600s] that [indices.lifecycle.steady_clock]"),
            "{message}"
        );
        assert_eq!(
            (&shown["phase"], &shown["step"]),
            (&phase.into(), &step.into())
        );
    }
    std::thread::sleep(Duration::from_secs(2));
    assert!(is_there(&node, "e") && !is_there(&node, "d-000002"));
    // What is counted needs no clock.
    for id in 2..7 {
        put(&node, "d", &id.to_string());
    }
    wait("no rollover", || is_there(&node, "d-000002").then_some(()));
    often(&node);
    for index in ["d-000001", "e"] {
        wait(&format!("{index} is kept"), || {
            (!is_there(&node, index)).then_some(())
        });
    }
    assert_eq!(at(&node, "f", "warm", "complete")["step_info"], json!(null));
}

#[test]
fn a_step_that_fails_is_named_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    often(&node);
    policy(
        &node,
        "p",
        &json!({"hot": {"actions": {"rollover": {"max_docs": 1}}}}),
    );
    node.call(
        "PUT",
        "/b-000001",
        json!({"settings": {"index.lifecycle.name": "p"}}),
    );
    node.call("PUT", "/unmanaged", json!({}));
    let failed = at(&node, "b-000001", "hot", "ERROR");
    assert_eq!(failed["failed_step"], "check-rollover-ready");
    assert_eq!(failed["is_auto_retryable_error"], true);
    assert_eq!(failed["step_info"]["type"], "illegal_argument_exception");
    let reason = failed["step_info"]["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.contains("index.lifecycle.rollover_alias"),
        "{reason}"
    );
    wait("it is not tried again", || {
        (explain(&node, "b-000001")["failed_step_retry_count"].as_u64()? > 0).then_some(())
    });
    let errors = get(&node, "/_all/_ilm/explain?only_errors=true");
    assert_eq!(errors["indices"].as_object().unwrap().len(), 1);
    let managed = get(&node, "/*/_ilm/explain?only_managed=true");
    assert!(managed["indices"]["unmanaged"].is_null());
    let all = get(&node, "/*/_ilm/explain");
    assert_eq!(all["indices"]["unmanaged"]["managed"], false);

    node.call(
        "PUT",
        "/b-000001/_settings",
        json!({"index.lifecycle.rollover_alias": "b"}),
    );
    node.call(
        "POST",
        "/_aliases",
        json!({"actions": [{"add": {"index": "b-000001", "alias": "b", "is_write_index": true}}]}),
    );
    put(&node, "b", "1");
    wait("no rollover", || is_there(&node, "b-000002").then_some(()));
    at(&node, "b-000001", "hot", "complete");
    let (status, _, reason) = node.refused("POST", "/b-000001/_ilm/retry", json!({}));
    assert_eq!(status, 400);
    assert!(reason.contains("has not encountered an error"), "{reason}");
}

#[test]
fn a_policy_in_use_is_kept_and_its_versions_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    let hot = json!({"hot": {"actions": {"set_priority": {"priority": 1}}}});
    policy(&node, "p", &hot);
    policy(&node, "p", &hot);
    let shown = get(&node, "/_ilm/policy/p");
    assert_eq!(shown["p"]["version"], 1, "the same policy is no change");
    policy(
        &node,
        "p",
        &json!({"hot": {"actions": {}}, "warm": {"min_age": "1d"}}),
    );
    node.call(
        "PUT",
        "/i",
        json!({"settings": {"index.lifecycle.name": "p"}}),
    );
    node.call(
        "PUT",
        "/_index_template/t",
        json!({"index_patterns": ["t-*"], "template": {"settings": {"index.lifecycle.name": "p"}}}),
    );
    let shown = get(&node, "/_ilm/policy");
    assert_eq!(shown["p"]["version"], 2);
    assert!(shown["p"]["modified_date"].as_str().unwrap().ends_with('Z'));
    assert_eq!(shown["p"]["policy"]["phases"]["warm"]["min_age"], "1d");
    assert_eq!(
        shown["p"]["in_use_by"],
        json!({"indices": ["i"], "data_streams": [], "composable_templates": ["t"]})
    );
    let (status, kind, reason) = node.refused("DELETE", "/_ilm/policy/p", json!({}));
    assert_eq!((status, kind.as_str()), (400, "illegal_argument_exception"));
    assert!(
        reason.contains("in use by one or more indices: [i]"),
        "{reason}"
    );
    let removed = node.call("POST", "/i/_ilm/remove", json!({}));
    assert_eq!(
        removed,
        json!({"has_failures": false, "failed_indexes": []})
    );
    assert_eq!(explain(&node, "i")["managed"], false);
    node.call("DELETE", "/_ilm/policy/p", json!({}));
    let (status, kind, _) = node.refused("GET", "/_ilm/policy/p", json!({}));
    assert_eq!(
        (status, kind.as_str()),
        (404, "resource_not_found_exception")
    );

    node.call(
        "PUT",
        "/j",
        json!({"settings": {"index.lifecycle.name": "gone"}}),
    );
    let lost = explain(&node, "j");
    assert_eq!(lost["step_info"]["reason"], "policy [gone] does not exist");
    let errors = get(&node, "/_all/_ilm/explain?only_errors=true");
    assert_eq!(errors["indices"]["j"]["managed"], true);
}

#[test]
fn nothing_happens_while_it_is_stopped_and_indices_are_moved_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    often(&node);
    assert_eq!(get(&node, "/_ilm/status")["operation_mode"], "RUNNING");
    node.call("POST", "/_ilm/stop", json!({}));
    wait("it does not stop", || {
        (get(&node, "/_ilm/status")["operation_mode"] == "STOPPED").then_some(())
    });
    policy(
        &node,
        "p",
        &json!({
            "hot": {"actions": {"set_priority": {"priority": 7}}},
            "cold": {"min_age": "90d", "actions": {"readonly": {}}},
        }),
    );
    node.call(
        "PUT",
        "/i",
        json!({"settings": {"index.lifecycle.name": "p"}}),
    );
    std::thread::sleep(Duration::from_millis(1500));
    assert!(explain(&node, "i")["phase"].is_null());
    node.call("POST", "/_ilm/start", json!({}));
    at(&node, "i", "hot", "complete");

    let at_new = json!({"phase": "new", "action": "complete", "name": "complete"});
    let to_cold = json!({"phase": "cold"});
    let (status, _, reason) = node.refused(
        "POST",
        "/_ilm/move/i",
        json!({"current_step": at_new, "next_step": to_cold}),
    );
    assert_eq!(status, 400);
    assert!(reason.contains("is not on current step"), "{reason}");
    let at_hot = json!({"phase": "hot", "action": "complete", "name": "complete"});
    let (_, _, reason) = node.refused(
        "POST",
        "/_ilm/move/i",
        json!({"current_step": at_hot, "next_step": {"phase": "warm"}}),
    );
    assert!(reason.contains("does not exist"), "{reason}");
    node.call(
        "POST",
        "/_ilm/move/i",
        json!({"current_step": at_hot, "next_step": to_cold}),
    );
    at(&node, "i", "cold", "complete");
    let (status, _, _) = node.refused("PUT", "/i/_doc/1", json!({"n": 1}));
    assert_eq!(status, 403);
}

#[test]
fn a_rollover_by_hand_swaps_the_alias_when_its_conditions_are_met() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call(
        "PUT",
        "/c-000001",
        json!({"aliases": {"c": {"is_write_index": true}}}),
    );
    let body = json!({"conditions": {"max_docs": 1, "min_age": "1ms"}, "settings": {"number_of_replicas": 0},
        "mappings": {"properties": {"n": {"type": "long"}}}, "aliases": {"also": {}}});
    let not_yet = node.call("POST", "/c/_rollover", body.clone());
    assert_eq!(not_yet["rolled_over"], false);
    assert_eq!(not_yet["acknowledged"], false);
    assert_eq!(not_yet["conditions"]["[max_docs: 1]"], false);
    put(&node, "c", "1");
    let dry = node.call("POST", "/c/_rollover?dry_run=true", body.clone());
    assert_eq!(dry["dry_run"], true);
    assert_eq!(dry["new_index"], "c-000002");
    assert_eq!(dry["conditions"]["[max_docs: 1]"], true);
    assert!(!is_there(&node, "c-000002"));
    let done = node.call("POST", "/c/_rollover", body);
    assert_eq!(done["rolled_over"], true);
    assert_eq!(done["acknowledged"], true);
    assert_eq!(done["old_index"], "c-000001");
    let new = get(&node, "/c-000002");
    assert_eq!(
        new["c-000002"]["mappings"]["properties"]["n"]["type"],
        "long"
    );
    assert_eq!(
        new["c-000002"]["settings"]["index"]["number_of_replicas"],
        "0"
    );
    assert!(new["c-000002"]["aliases"]["also"].is_object());
    node.call("POST", "/c/_rollover/named", json!({}));
    let (status, _, reason) = node.refused("POST", "/c/_rollover", json!({}));
    assert_eq!(status, 400);
    assert!(reason.contains("does not match pattern"), "{reason}");
    for (path, body, said) in [
        ("/c-000001/_rollover", json!({}), "[concrete index]"),
        ("/nothing/_rollover", json!({}), "does not exist"),
        (
            "/c/_rollover",
            json!({"conditions": {"max_cats": 1}}),
            "max_cats",
        ),
        (
            "/c/_rollover",
            json!({"conditions": {"min_docs": 1}}),
            "at least one max_*",
        ),
        ("/c/_rollover", json!({"when": "now"}), "when"),
        ("/c/_rollover/c-000001", json!({}), "already exists"),
    ] {
        let (status, _, reason) = node.refused("POST", path, body);
        assert_eq!(status, 400, "{reason}");
        assert!(reason.contains(said), "{reason}");
    }
    // An alias of one index that takes writes by itself moves.
    node.call("PUT", "/d-1", json!({"aliases": {"d": {}}}));
    node.call("POST", "/d/_rollover", json!({}));
    let of_d = get(&node, "/_alias/d");
    assert!(
        of_d["d-1"].is_null() && of_d["d-000002"].is_object(),
        "{of_d}"
    );
    // A template that gives every index the alias would let both be written to.
    node.call(
        "PUT",
        "/_index_template/e",
        json!({"index_patterns": ["e-*"], "template": {"aliases": {"e": {}}}}),
    );
    node.call("PUT", "/e-000001", json!({}));
    let (_, _, reason) = node.refused("POST", "/e/_rollover", json!({}));
    assert!(reason.contains("duplicated alias [[e]]"), "{reason}");
}

#[test]
fn names_with_dates_are_taken_everywhere_and_months_follow_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    let answer = node.call(
        "PUT",
        "/%3Clogs-%7Bnow%2Fd%7D-000001%3E",
        json!({"aliases": {"logs": {"is_write_index": true}}}),
    );
    let name = answer["index"].as_str().unwrap().to_owned();
    assert!(
        name.starts_with("logs-20") && name.ends_with("-000001"),
        "{name}"
    );
    let settings = get(&node, &format!("/{name}/_settings?flat_settings=true"));
    assert_eq!(
        settings[&name]["settings"]["index.provided_name"],
        "<logs-{now/d}-000001>"
    );
    put(&node, "%3Clogs-%7Bnow%2Fd%7D-000001%3E", "1");
    let found = get(&node, "/%3Clogs-%7Bnow%2Fd%7D-000001%3E/_search");
    assert_eq!(found["hits"]["total"]["value"], 1);
    assert_eq!(
        get(&node, "/%3Clogs-%7Bnow%2Fd%7D-000001%3E/_doc/1")["found"],
        true
    );
    let rolled = node.call("POST", "/logs/_rollover", json!({}));
    let next = rolled["new_index"].as_str().unwrap().to_owned();
    assert_eq!(next, name.replace("-000001", "-000002"));
    put(&node, "%3Cauto-%7Bnow%2FM%7Byyyy%7D%7D%3E", "1");
    let (status, kind, _) = node.refused("PUT", "/%3Cbad-%7Bnow%3E", json!({}));
    assert_eq!((status, kind.as_str()), (400, "parse_exception"));

    // A name that comes of a date and is an alias is not taken for the indices behind it.
    let year = "/%3Calias-%7Bnow%2Fy%7Byyyy%7D%7D%3E";
    let named = node.call("PUT", year, json!({}))["index"].clone();
    let named = named.as_str().unwrap();
    node.call("DELETE", year, json!({}));
    node.call("PUT", "/kept", json!({"aliases": { named: {} }}));
    let (status, _, reason) = node.refused("DELETE", year, json!({}));
    assert_eq!(status, 400);
    assert!(reason.contains("matches an alias"), "{reason}");

    let month = node.call("PUT", "/%3Cm-%7Bnow%2FM%7Byyyy.MM%7D%7D%3E", json!({}));
    let month = month["index"].as_str().unwrap().to_owned();
    node.call("DELETE", &format!("/{month}"), json!({}));
    node.call(
        "PUT",
        "/m-2020.01",
        json!({"aliases": {"m": {"is_write_index": true}}}),
    );
    let roll = || node.call("POST", "/m/_rollover", json!({}))["new_index"].clone();
    assert_eq!(roll(), month);
    assert_eq!(roll(), format!("{month}-000002"));
    assert_eq!(roll(), format!("{month}-000003"));
}

#[test]
fn settings_of_the_cluster_are_shown_reset_and_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path());
    let all = get(
        &node,
        "/_cluster/settings?include_defaults=true&flat_settings=true",
    );
    assert_eq!(all["persistent"], json!({}));
    assert_eq!(all["defaults"]["indices.lifecycle.poll_interval"], "10m");
    let answer = node.call(
        "PUT",
        "/_cluster/settings",
        json!({"persistent": {"indices": {"lifecycle": {"poll_interval": "5s"}}},
               "transient": {"indices.lifecycle.poll_interval": "2s"}}),
    );
    assert_eq!(answer["acknowledged"], true);
    let shown = get(&node, "/_cluster/settings");
    assert_eq!(
        shown["transient"]["indices"]["lifecycle"]["poll_interval"],
        "2s"
    );
    for (body, said) in [
        (
            json!({"persistent": {"indices.lifecycle.poll_interval": "10ms"}}),
            ">= [1s]",
        ),
        (
            json!({"transient": {"cluster.routing.x": 1}}),
            "transient setting [cluster.routing.x]",
        ),
        (json!({"forever": {}}), "forever"),
        (json!({}), "no settings to update"),
    ] {
        let (status, _, reason) = node.refused("PUT", "/_cluster/settings", body);
        assert_eq!(status, 400);
        assert!(reason.contains(said), "{reason}");
    }
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    node = Node::start(dir.path());
    let shown = get(&node, "/_cluster/settings?flat_settings=true");
    assert_eq!(shown["persistent"]["indices.lifecycle.poll_interval"], "5s");
    assert_eq!(shown["transient"], json!({}), "those end with the node");
    node.call(
        "PUT",
        "/_cluster/settings",
        json!({"persistent": {"indices.lifecycle.poll_interval": null}}),
    );
    assert_eq!(get(&node, "/_cluster/settings")["persistent"], json!({}));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    for (phases, said) in [
        (json!({"frozen": {}}), "[frozen]"),
        (
            json!({"warm": {"actions": {"shrink": {"number_of_shards": 1}}}}),
            "[shrink]",
        ),
    ] {
        let body = json!({"policy": {"phases": phases}});
        let (status, kind, reason) = node.refused("PUT", "/_ilm/policy/p", body);
        assert_eq!(
            (status, kind.as_str()),
            (400, "unsupported_operation_exception")
        );
        assert!(reason.contains(said), "{reason}");
    }
    let (_, _, reason) = node.refused(
        "PUT",
        "/x",
        json!({"settings": {"index.lifecycle.parse_origination_date": true}}),
    );
    assert!(
        reason.contains("index.lifecycle.parse_origination_date"),
        "{reason}"
    );
    node.call(
        "PUT",
        "/old",
        json!({"settings": {"index.lifecycle.name": "p", "index.lifecycle.origination_date": 1_000}}),
    );
    assert_eq!(explain(&node, "old")["lifecycle_date_millis"], 1000);
}

//! Phases: by age, by hand, with steps that fail and clocks that jump.

use std::time::Duration;

use serde_json::json;

use super::{at, explain, get, is_there, often, policy, put, wait};
use crate::common::search::Node;

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

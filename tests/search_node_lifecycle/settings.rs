//! Policies and settings of the cluster: kept, shown, refused.

use serde_json::json;

use super::{explain, get, policy};
use crate::common::search::Node;

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

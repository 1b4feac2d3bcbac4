use super::*;

fn phases(body: &Value) -> Outcome<Policy> {
    Policy::parse(&json!({"phases": body}))
}

#[test]
fn a_policy_is_shown_with_its_defaults_and_reads_the_same_again() {
    let policy = phases(&json!({
        "delete": {"min_age": "90d", "actions": {"delete": {}}},
        "hot": {"actions": {"rollover": {"max_docs": "5", "max_age": "31d"},
                            "set_priority": {"priority": 100}}},
        "warm": {"min_age": "7d", "actions": {"forcemerge": {"max_num_segments": 1},
                                              "migrate": {"enabled": false}}},
        "cold": {"min_age": "30d", "actions": {"readonly": {}, "set_priority": {"priority": null}}},
    }))
    .unwrap();
    let shown = policy.json();
    assert_eq!(shown["phases"]["hot"]["min_age"], "0ms");
    assert_eq!(shown["phases"]["hot"]["actions"]["rollover"]["max_docs"], 5);
    assert_eq!(
        shown["phases"]["delete"]["actions"]["delete"]["delete_searchable_snapshot"],
        true
    );
    assert_eq!(Policy::parse(&shown).unwrap(), policy);
    assert_eq!(policy.after("new").unwrap().name, "hot");
    assert_eq!(policy.after("warm").unwrap().name, "cold");
    assert_eq!(policy.after("delete"), None);
    assert_eq!(
        policy.phase("hot").unwrap().keys(),
        [
            ("set_priority", "set_priority"),
            ("rollover", "check-rollover-ready"),
            ("rollover", "set-indexing-complete")
        ]
    );
}

#[test]
fn what_this_node_does_not_do_is_refused_by_name() {
    for (body, said) in [
        (json!({"frozen": {"actions": {}}}), "[frozen]"),
        (json!({"tepid": {"actions": {}}}), "[tepid]"),
        (
            json!({"hot": {"actions": {"shrink": {"number_of_shards": 1}}}}),
            "[shrink]",
        ),
        (json!({"warm": {"actions": {"migrate": {}}}}), "[migrate]"),
        (json!({"warm": {"actions": {"unfollow": {}}}}), "[unfollow]"),
        (
            json!({"cold": {"actions": {"searchable_snapshot": {}}}}),
            "[searchable_snapshot]",
        ),
        (
            json!({"hot": {"actions": {"downsample": {}}}}),
            "[downsample]",
        ),
        (
            json!({"delete": {"actions": {"wait_for_snapshot": {}}}}),
            "[wait_for_snapshot]",
        ),
        (
            json!({"warm": {"actions": {"allocate": {"require": {"box": "hot"}}}}}),
            "[require]",
        ),
        (
            json!({"warm": {"actions": {"forcemerge": {"max_num_segments": 1, "index_codec": "best_compression"}}}}),
            "index_codec",
        ),
    ] {
        let failure = phases(&body).unwrap_err();
        assert!(failure.reason.contains(said), "{failure}");
    }
}

#[test]
fn a_policy_that_makes_no_sense_is_refused() {
    for (body, said) in [
        (
            json!({"warm": {"actions": {"rollover": {"max_docs": 1}}}}),
            "invalid action [rollover]",
        ),
        (
            json!({"hot": {"actions": {"delete": {}}}}),
            "invalid action [delete]",
        ),
        (
            json!({"hot": {"actions": {"dance": {}}}}),
            "unknown action [dance]",
        ),
        (
            json!({"hot": {"actions": {"readonly": {}}}}),
            "accompanying [rollover]",
        ),
        (
            json!({"hot": {"actions": {"rollover": {}}}}),
            "at least one max_*",
        ),
        (json!({"warm": {"min_age": "late"}}), "min_age"),
        (json!({"warm": {"max_age": "1d"}}), "max_age"),
        (
            json!({"warm": {"actions": {"forcemerge": {}}}}),
            "max_num_segments",
        ),
        (
            json!({"warm": {"actions": {"forcemerge": {"max_num_segments": 0}}}}),
            "max_num_segments",
        ),
        (json!({"warm": {"actions": {"readonly": {"x": 1}}}}), "[x]"),
        (
            json!({"warm": {"actions": {"set_priority": {}}}}),
            "priority",
        ),
        (
            json!({"warm": {"actions": {"set_priority": {"priority": -1}}}}),
            "priority",
        ),
        (
            json!({"warm": {"actions": {"allocate": {}}}}),
            "number_of_replicas",
        ),
    ] {
        let failure = phases(&body).unwrap_err();
        assert!(failure.reason.contains(said), "{failure}");
    }
    assert!(Policy::parse(&json!({})).is_err());
    assert!(Policy::parse(&json!([])).is_err());
}

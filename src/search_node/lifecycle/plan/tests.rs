use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::search_node::lifecycle::Work;

const DAY: u64 = 86_400_000;

fn stored(version: u64, phases: &Value) -> Stored {
    let policy = Policy::parse(&json!({"phases": phases})).unwrap();
    Stored {
        version,
        modified: 7,
        policy: policy.json(),
    }
}

fn sessions() -> Stored {
    stored(
        1,
        &json!({
            "hot": {"actions": {"rollover": {"max_age": "31d"}, "set_priority": {"priority": 100}}},
            "warm": {"min_age": "7d", "actions": {"forcemerge": {"max_num_segments": 1}}},
            "cold": {"min_age": "30d", "actions": {"readonly": {}}},
            "delete": {"min_age": "90d", "actions": {"delete": {}}},
        }),
    )
}

/// Goes on as far as the age allows; every step but the rollover succeeds at once.
fn run(mut progress: Progress, stored: &Stored, age: u64) -> (Progress, Vec<&'static str>) {
    let mut done = Vec::new();
    for _ in 0..50 {
        match next(&progress, "p", Some(stored), age, 1).unwrap() {
            Next::Wait => return (progress, done),
            Next::Move(to) => progress = *to,
            Next::Do(step) if matches!(step.work, Work::Rollover(_)) => {
                return (progress, done);
            }
            Next::Do(step) => {
                done.push(step.name);
                progress = progress.done(1).unwrap();
            }
        }
    }
    panic!("it goes on for ever: {progress:?}");
}

#[test]
fn an_index_waits_in_hot_until_it_is_rolled_over_however_old_it_is() {
    let (progress, done) = run(Progress::new(0), &sessions(), 900 * DAY);
    assert_eq!(done, ["set_priority"]);
    assert_eq!(
        (progress.phase.as_str(), progress.step.as_str()),
        ("hot", "check-rollover-ready")
    );
}

#[test]
fn phases_come_in_order_each_at_its_age() {
    let policy = sessions();
    let (hot, _) = run(Progress::new(0), &policy, 0);
    let rolled = hot.done(1).unwrap();
    let (rolled, done) = run(rolled, &policy, 0);
    assert_eq!(done, ["set-indexing-complete"]);
    assert_eq!(rolled.action, "complete");
    let (warm, done) = run(rolled.clone(), &policy, 7 * DAY);
    assert_eq!((warm.phase.as_str(), done), ("warm", vec!["forcemerge"]));
    let (cold, done) = run(warm, &policy, 30 * DAY);
    assert_eq!((cold.phase.as_str(), done), ("cold", vec!["readonly"]));
    let (_, done) = run(rolled, &policy, 90 * DAY);
    assert_eq!(done, ["forcemerge", "readonly", "delete"]);
}

#[test]
fn a_failed_step_is_tried_again_and_counted() {
    let policy = sessions();
    let (hot, _) = run(Progress::new(0), &policy, 0);
    let failed = hot.fail(&Failure::illegal("no alias"), 5);
    assert!(failed.is_failed());
    let Next::Move(again) = next(&failed, "p", Some(&policy), 0, 6).unwrap() else {
        panic!("{failed:?}");
    };
    assert_eq!(again.step, "check-rollover-ready");
    let failed = again.fail(&Failure::illegal("no alias"), 7);
    assert_eq!(failed.failed.unwrap().retries, 1);
    let over = again.done(8).unwrap();
    assert_eq!(over.failed, None);
}

#[test]
fn a_phase_stays_as_it_was_unless_the_new_one_has_the_same_steps() {
    let (hot, _) = run(Progress::new(0), &sessions(), 0);
    let sooner = stored(
        2,
        &json!({"hot": {"actions": {"rollover": {"max_age": "1d"}, "set_priority": {"priority": 100}}}}),
    );
    let Next::Move(refreshed) = next(&hot, "p", Some(&sooner), 0, 1).unwrap() else {
        panic!("the new age is not taken");
    };
    assert_eq!(refreshed.cached.as_ref().unwrap().version, 2);
    let other = stored(
        3,
        &json!({"hot": {"actions": {"rollover": {"max_age": "1d"}}}}),
    );
    assert!(matches!(
        next(&refreshed, "p", Some(&other), 0, 1).unwrap(),
        Next::Do(_)
    ));
    // Also when the policy is gone, the phase goes on to its end.
    assert!(matches!(next(&hot, "p", None, 0, 1).unwrap(), Next::Do(_)));
    assert!(next(&Progress::new(0), "p", None, 0, 1).is_err());
}

#[test]
fn an_index_is_moved_to_steps_that_there_are() {
    let policy = sessions();
    let new = Progress::new(0);
    let moved = new
        .moved("p", Some(&policy), ("warm", None, None), 1)
        .unwrap();
    assert_eq!(moved.step, "forcemerge");
    let at = ("hot", Some("rollover"), Some("set-indexing-complete"));
    let moved = new.moved("p", Some(&policy), at, 1).unwrap();
    assert_eq!(moved.step, "set-indexing-complete");
    let at = ("cold", Some("complete"), None);
    assert_eq!(
        new.moved("p", Some(&policy), at, 1).unwrap().action,
        "complete"
    );
    for at in [
        ("frozen", None, None),
        ("hot", Some("delete"), None),
        ("warm", Some("forcemerge"), Some("readonly")),
    ] {
        assert!(new.moved("p", Some(&policy), at, 1).is_err(), "{at:?}");
    }
}

proptest! {
    #[test]
    fn no_phase_comes_before_its_age_and_none_twice(ages in proptest::collection::vec(0..100_u64, 1..8)) {
        let policy = sessions();
        let (hot, _) = run(Progress::new(0), &policy, 0);
        let mut progress = hot.done(1).unwrap();
        let mut all = Vec::new();
        let mut oldest = 0;
        for age in ages {
            let (next, done) = run(progress, &policy, age * DAY);
            progress = next;
            oldest = oldest.max(age);
            all.extend(done);
            for (step, least) in [("forcemerge", 7), ("readonly", 30), ("delete", 90)] {
                let times = all.iter().filter(|name| **name == step).count();
                prop_assert_eq!(times, usize::from(oldest >= least));
            }
        }
    }

    #[test]
    fn a_state_of_any_kind_is_read_without_a_panic(
        phase in "hot|warm|[a-z]{0,6}",
        action in "rollover|complete|[a-z]{0,6}",
        step in "ERROR|check-rollover-ready|[a-zA-Z]{0,6}",
    ) {
        let (hot, _) = run(Progress::new(0), &sessions(), 0);
        let progress = Progress { phase, action, step, ..hot };
        let _ = next(&progress, "p", Some(&sessions()), 0, 0);
        let _ = progress.done(0);
    }
}

//! What an index is to do next.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::policy::{Phase, Policy, Step, Stored};
use crate::search_node::failure::{Failure, Outcome};

/// The phase of an index that is in none yet.
const NEW: &str = "new";

/// The action and the step of an index whose phase is done.
const COMPLETE: &str = "complete";

/// The step of an index on which a step failed.
const ERROR: &str = "ERROR";

/// Where an index is; times are in milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Phase, `new` for none yet.
    pub phase: String,
    /// When it came into the phase.
    pub phase_time: i64,
    /// Action, `complete` when the phase is done.
    pub action: String,
    /// When it came to the action.
    pub action_time: i64,
    /// Step that is next, `ERROR` after one that failed.
    pub step: String,
    /// When it came to the step.
    pub step_time: i64,
    /// What its age counts from instead of its creation: its rollover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// The phase as it was when the index came into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<Cached>,
    /// The step that failed last, until it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
}

/// A phase as it was when an index came into it: a change of the policy meets those that follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cached {
    /// Name of the policy.
    pub policy: String,
    /// Its version.
    pub version: u64,
    /// When it was changed, in milliseconds since the epoch.
    pub modified: i64,
    /// The phase.
    pub phase: Value,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failed {
    /// Its name.
    pub step: String,
    /// Type of the error.
    pub kind: String,
    /// Cause.
    pub reason: String,
    /// How often it was tried again.
    pub retries: u64,
}

/// What is next for an index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
    /// Nothing yet.
    Wait,
    /// It is somewhere else now.
    Move(Box<Progress>),
    /// This is to be done; [`Progress::done`] says where it leads.
    Do(Step),
}

/// What is next for an index of the policy `name` and of the given age, in milliseconds.
///
/// # Errors
/// 400: the policy or the step does not exist.
pub(crate) fn next(
    progress: &Progress,
    name: &str,
    policy: Option<&Stored>,
    age: u64,
    now: i64,
) -> Outcome<Next> {
    if progress.is_failed() {
        return Ok(Next::Move(Box::new(progress.retried(now))));
    }
    if progress.action == COMPLETE {
        let stored = policy.ok_or_else(|| no_policy(name))?;
        let policy = Policy::parse(&stored.policy)?;
        return Ok(match policy.after(&progress.phase) {
            Some(phase) if age >= phase.min_age => {
                Next::Move(Box::new(progress.entered(name, stored, phase, now)))
            }
            _ => Next::Wait,
        });
    }
    if let Some(refreshed) = progress.refreshed(name, policy)? {
        return Ok(Next::Move(Box::new(refreshed)));
    }
    let (phase, at) = progress.place()?;
    match phase.steps.into_iter().nth(at) {
        Some(step) => Ok(Next::Do(step)),
        None => Ok(Next::Wait),
    }
}

/// 400: no such policy.
fn no_policy(name: &str) -> Failure {
    Failure::illegal(format!("policy [{name}] does not exist"))
}

impl Progress {
    /// Of an index that is in no phase yet.
    pub(crate) fn new(now: i64) -> Self {
        Self {
            phase: NEW.to_owned(),
            phase_time: now,
            action: COMPLETE.to_owned(),
            action_time: now,
            step: COMPLETE.to_owned(),
            step_time: now,
            since: None,
            cached: None,
            failed: None,
        }
    }

    /// Whether a step failed and is to be tried again.
    pub(crate) fn is_failed(&self) -> bool {
        self.step == ERROR && self.failed.is_some()
    }

    /// In `phase`, at its first step.
    fn entered(&self, policy: &str, stored: &Stored, phase: &Phase, now: i64) -> Self {
        Self {
            phase: phase.name.to_owned(),
            phase_time: now,
            cached: Some(Cached {
                policy: policy.to_owned(),
                version: stored.version,
                modified: stored.modified,
                phase: phase.json.clone(),
            }),
            ..self.at(phase.steps.first(), now)
        }
    }

    /// At `step` of the same phase; behind its last one for `None`.
    fn at(&self, step: Option<&Step>, now: i64) -> Self {
        let (action, name) = step.map_or((COMPLETE, COMPLETE), |step| (step.action, step.name));
        Self {
            action: action.to_owned(),
            action_time: if action == self.action {
                self.action_time
            } else {
                now
            },
            step: name.to_owned(),
            step_time: now,
            failed: None,
            ..self.clone()
        }
    }

    /// The phase that it is in, and the number of its step.
    fn place(&self) -> Outcome<(Phase, usize)> {
        let lost = || {
            Failure::illegal(format!(
                "step [{}] of action [{}] in phase [{}] does not exist any more; POST \
                 /_ilm/move/INDEX leads to another",
                self.step, self.action, self.phase
            ))
        };
        let cached = self.cached.as_ref().ok_or_else(lost)?;
        let phase = Phase::parse(&self.phase, &cached.phase)?;
        let at = phase
            .keys()
            .iter()
            .position(|(action, step)| *action == self.action && *step == self.step)
            .ok_or_else(lost)?;
        Ok((phase, at))
    }

    /// With the phase as a newer version of the policy has it, when that has the same steps.
    fn refreshed(&self, name: &str, policy: Option<&Stored>) -> Outcome<Option<Self>> {
        let (Some(stored), Some(cached)) = (policy, &self.cached) else {
            return Ok(None);
        };
        if cached.policy != name || cached.version >= stored.version {
            return Ok(None);
        }
        let policy = Policy::parse(&stored.policy)?;
        let old = Phase::parse(&self.phase, &cached.phase)?;
        let same = policy
            .phase(&self.phase)
            .filter(|new| new.keys() == old.keys());
        Ok(same.map(|new| Self {
            cached: Some(Cached {
                policy: name.to_owned(),
                version: stored.version,
                modified: stored.modified,
                phase: new.json.clone(),
            }),
            ..self.clone()
        }))
    }

    /// After the step that it is at.
    pub(crate) fn done(&self, now: i64) -> Outcome<Self> {
        let (phase, at) = self.place()?;
        Ok(self.at(phase.steps.get(at + 1), now))
    }

    /// After the step that it is at failed.
    pub(crate) fn fail(&self, failure: &Failure, now: i64) -> Self {
        let again = self
            .failed
            .as_ref()
            .filter(|failed| failed.step == self.step);
        Self {
            step: ERROR.to_owned(),
            step_time: now,
            failed: Some(Failed {
                step: self.step.clone(),
                kind: failure.kind.to_owned(),
                reason: failure.reason.clone(),
                retries: again.map_or(0, |failed| failed.retries),
            }),
            ..self.clone()
        }
    }

    /// At the step that failed, once more.
    pub(crate) fn retried(&self, now: i64) -> Self {
        let mut next = self.clone();
        if let Some(failed) = &mut next.failed {
            failed.retries = failed.retries.saturating_add(1);
            next.step = failed.step.clone();
            next.step_time = now;
        }
        next
    }

    /// At a step that somebody asks for: a phase, and an action and a step of it or the first.
    ///
    /// # Errors
    /// 400: the policy has no such step.
    pub(crate) fn moved(
        &self,
        name: &str,
        stored: Option<&Stored>,
        (phase, action, step): (&str, Option<&str>, Option<&str>),
        now: i64,
    ) -> Outcome<Self> {
        let stored = stored.ok_or_else(|| no_policy(name))?;
        let policy = Policy::parse(&stored.policy)?;
        let missing = || {
            Failure::illegal(format!(
                "step [{{\"phase\":\"{phase}\",\"action\":\"{}\",\"name\":\"{}\"}}] with policy \
                 [{name}] does not exist",
                action.unwrap_or("*"),
                step.unwrap_or("*")
            ))
        };
        let target = policy.phase(phase).ok_or_else(missing)?;
        let entered = self.entered(name, stored, target, now);
        let Some(action) = action else {
            return Ok(entered);
        };
        if action == COMPLETE && step.is_none_or(|step| step == COMPLETE) {
            return Ok(entered.at(None, now));
        }
        let found = target
            .steps
            .iter()
            .find(|known| known.action == action && step.is_none_or(|step| step == known.name))
            .ok_or_else(missing)?;
        Ok(Self {
            action_time: now,
            ..entered.at(Some(found), now)
        })
    }
}

#[cfg(test)]
mod tests {
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
        fn a_state_of_any_kind_is_read_without_a_panic(phase in "[a-z]{0,6}", action in "[a-z]{0,6}", step in "[a-zA-Z]{0,6}") {
            let progress = Progress { phase, action, step, ..Progress::new(0) };
            let _ = next(&progress, "p", Some(&sessions()), 0, 0);
            let _ = progress.done(0);
        }
    }
}

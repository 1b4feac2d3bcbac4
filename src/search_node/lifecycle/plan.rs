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
pub(crate) fn no_policy(name: &str) -> Failure {
    Failure::illegal(format!("policy [{name}] does not exist"))
}

impl Cached {
    fn of(policy: &str, stored: &Stored, phase: &Phase) -> Self {
        Self {
            policy: policy.to_owned(),
            version: stored.version,
            modified: stored.modified,
            phase: phase.json.clone(),
        }
    }
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
            cached: Some(Cached::of(policy, stored, phase)),
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
            cached: Some(Cached::of(name, stored, new)),
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
mod tests;

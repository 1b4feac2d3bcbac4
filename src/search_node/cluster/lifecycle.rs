//! What acts on lifecycle policies, at a pace of its own.
//!
//! Where an index is stands in the state, on the disk, before the next step begins. Every step can
//! be done again, so that a kill between a step and its note does no harm.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use super::rollover::figures;
use super::settings::Operation;
use super::state::{Entry, State};
use super::steady::{Clock, Steady};
use super::upkeep::merge;
use super::{Index, Node, Rollover, now_millis, whole};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::lifecycle::{Conditions, Next, Progress, Stored, Work, next};

/// The setting that names an index's policy.
pub(super) const POLICY: &str = "index.lifecycle.name";

/// The alias that its rollover is about.
const ROLLOVER_ALIAS: &str = "index.lifecycle.rollover_alias";

/// Whether nothing is written to an index any more.
const INDEXING_COMPLETE: &str = "index.lifecycle.indexing_complete";

/// What an index's age counts from, whatever happened to it.
const ORIGINATION_DATE: &str = "index.lifecycle.origination_date";

/// Steps of one index in one pass; the longest way through a policy has fewer.
const MAX_STEPS: usize = 64;

/// The start of 2025: a clock that is behind it was not set yet, as after the start of a board that
/// has none that goes on. Ages mean nothing then, and a deletion cannot be taken back.
pub(super) const PLAUSIBLE: i64 = 1_735_689_600_000;

/// When policies are looked at.
#[derive(Debug)]
pub(in crate::search_node) struct Executor {
    /// Somebody changed something that may lead to a step.
    kicked: AtomicBool,
    /// A pass is at work.
    busy: AtomicBool,
    /// The node stops.
    halted: AtomicBool,
    /// When the last pass began.
    last: Mutex<Instant>,
    /// How evenly the clock runs.
    pub(super) steady: Mutex<Steady>,
}

/// What became of a step.
enum Performed {
    /// It is done.
    Done,
    /// It is done; the index's age counts from this time.
    RolledOver(i64),
    /// Its time has not come.
    NotYet,
    /// The index is deleted.
    Gone,
}

/// What a step is done for.
struct Looked<'a> {
    /// The index in the state.
    entry: &'a Entry,
    /// Name of its policy.
    policy: &'a str,
    /// The policy.
    stored: Option<&'a Stored>,
    /// The clock.
    clock: Clock,
}

impl Looked<'_> {
    /// Whether `state` has nothing else about the index and its policy than what was looked at.
    fn is_still_so(&self, index: &Index, state: &State) -> bool {
        let entry = state.indices.get(&index.name);
        !state.lifecycle_stopped
            && policy_of(index).as_deref() == Some(self.policy)
            && state.policies.get(self.policy) == self.stored
            && entry.is_some_and(|entry| {
                entry.uuid == self.entry.uuid && entry.lifecycle == self.entry.lifecycle
            })
    }
}

impl Executor {
    pub(super) fn new() -> Self {
        Self {
            kicked: AtomicBool::new(true),
            busy: AtomicBool::new(false),
            halted: AtomicBool::new(false),
            last: Mutex::new(Instant::now()),
            steady: Mutex::new(Steady::new(Instant::now(), now_millis())),
        }
    }

    /// Lets the next pass come soon.
    pub(in crate::search_node) fn kick(&self) {
        self.kicked.store(true, Ordering::Relaxed);
    }

    /// Ends a pass after the step at work.
    pub(in crate::search_node) fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }

    /// Whether a pass is at work.
    pub(in crate::search_node) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }
}

/// The policy that an index follows.
pub(in crate::search_node) fn policy_of(index: &Index) -> Option<String> {
    index.settings().flat.get(POLICY).cloned()
}

/// What the age of an index counts from, in milliseconds since the epoch: a date that was given,
/// else its rollover, else its creation.
pub(in crate::search_node) fn age_of(index: &Index, progress: Option<&Progress>) -> i64 {
    let settings = index.settings();
    let given = settings.flat.get(ORIGINATION_DATE);
    given
        .and_then(|text| text.parse().ok())
        .filter(|date| *date >= 0)
        .or_else(|| progress.and_then(|progress| progress.since))
        .unwrap_or(index.created)
}

impl Node {
    /// Whether it is time for a pass; to be asked often, so that no jump of the clock is missed.
    pub(in crate::search_node) fn is_lifecycle_due(&self) -> bool {
        self.clock();
        let interval = self.poll_interval();
        let executor = &self.lifecycle;
        let mut last = executor.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = executor.kicked.swap(false, Ordering::Relaxed) || last.elapsed() >= interval;
        if due {
            *last = Instant::now();
        }
        due
    }

    /// Leads every index that follows a policy as far as it may go now.
    pub(in crate::search_node) fn lifecycle_pass(&self) {
        if now_millis() < PLAUSIBLE {
            tracing::warn!("lifecycles wait: the clock is not set");
            return;
        }
        self.lifecycle.busy.store(true, Ordering::Relaxed);
        for index in self.indices() {
            if let Err(failure) = whole(|| self.lead(&index)) {
                tracing::warn!("lifecycle of index [{}]: {failure}", index.name);
            }
        }
        self.lifecycle.busy.store(false, Ordering::Relaxed);
    }

    /// Lets the next pass come soon after a change of settings, and waits for a deletion at work
    /// that did not see it: none is done after the change is acknowledged.
    pub(in crate::search_node) fn settle_lifecycle(&self) {
        drop(self.changing.lock().unwrap_or_else(PoisonError::into_inner));
        self.lifecycle.kick();
    }

    fn is_lifecycle_stopped(&self) -> bool {
        self.lifecycle.halted.load(Ordering::Relaxed) || self.read().state.lifecycle_stopped
    }

    /// An index in the state, and its policy; none when it was deleted.
    fn look(&self, index: &Index, policy: &str) -> Option<(Entry, Option<Stored>)> {
        let inner = self.read();
        let entry = inner.state.indices.get(&index.name)?;
        (entry.uuid == index.uuid)
            .then(|| (entry.clone(), inner.state.policies.get(policy).cloned()))
    }

    fn lead(&self, index: &Arc<Index>) -> Outcome<()> {
        // On a full disk nothing can be noted, and a deletion makes room.
        let mut unnoted: Option<Progress> = None;
        for _ in 0..MAX_STEPS {
            let Some(policy) = policy_of(index) else {
                return Ok(());
            };
            if self.is_lifecycle_stopped() {
                return Ok(());
            }
            let Some((entry, stored)) = self.look(index, &policy) else {
                return Ok(());
            };
            let clock = self.clock();
            let now = clock.now;
            let current = unnoted
                .take()
                .or_else(|| entry.lifecycle.clone())
                .unwrap_or_else(|| Progress {
                    // One that was made before the clock was right is of no known age.
                    since: (index.created < PLAUSIBLE).then_some(now),
                    ..Progress::new(now)
                });
            let age = now.saturating_sub(age_of(index, Some(&current)));
            // What an index comes to by its age alone waits for a clock that runs evenly.
            let age = u64::try_from(age)
                .ok()
                .filter(|_| clock.is_steady())
                .unwrap_or(0);
            let looked = Looked {
                entry: &entry,
                policy: &policy,
                stored: stored.as_ref(),
                clock,
            };
            let after = match next(&current, &policy, stored.as_ref(), age, now) {
                // What it shows then is that there is no such policy.
                Err(_) if stored.is_none() => return Ok(()),
                Err(failure) => current.fail(&failure, now),
                Ok(Next::Wait) if entry.lifecycle.is_none() => current.clone(),
                Ok(Next::Wait) => return Ok(()),
                Ok(Next::Move(to)) => *to,
                Ok(Next::Do(step)) => match whole(|| self.perform(index, &looked, &step.work)) {
                    Ok(Performed::NotYet | Performed::Gone) => return Ok(()),
                    Ok(Performed::Done) => current.done(now)?,
                    Ok(Performed::RolledOver(at)) => Progress {
                        since: Some(at),
                        ..current.done(now)?
                    },
                    Err(failure) => {
                        tracing::warn!(
                            "lifecycle of index [{}]: step [{}]: {failure}",
                            index.name,
                            step.name
                        );
                        current.fail(&failure, now)
                    }
                },
            };
            let failed = after.is_failed();
            match self.note(index, entry.lifecycle.as_ref(), &after) {
                Ok(true) => {}
                // Somebody else led it elsewhere in this moment.
                Ok(false) => return Ok(()),
                Err(failure) if failure.is_full() && !failed => unnoted = Some(after),
                Err(failure) => return Err(failure),
            }
            if failed {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Notes where an index is now; false when it is not where it was `before`.
    fn note(&self, index: &Index, before: Option<&Progress>, after: &Progress) -> Outcome<bool> {
        self.change(|state| {
            let entry = state.indices.get_mut(&index.name);
            let entry = entry
                .filter(|entry| entry.uuid == index.uuid && entry.lifecycle.as_ref() == before);
            Ok(entry
                .map(|entry| entry.lifecycle = Some(after.clone()))
                .is_some())
        })
    }

    fn perform(&self, index: &Arc<Index>, looked: &Looked<'_>, work: &Work) -> Outcome<Performed> {
        let set = |key: &str, value: Value| {
            index.change_settings(&json!({ key: value }), false)?;
            Ok(Performed::Done)
        };
        match work {
            Work::ReadOnly | Work::Delete if !looked.clock.is_steady() => Ok(Performed::NotYet),
            Work::Priority(priority) => set("index.priority", json!(priority)),
            Work::ReadOnly => {
                check_writer(looked.entry)?;
                set("index.blocks.write", json!(true))
            }
            Work::Replicas(replicas) => set("index.number_of_replicas", json!(replicas)),
            Work::Complete => set(INDEXING_COMPLETE, json!(true)),
            Work::Rollover(conditions) => self.follow(index, looked, conditions),
            Work::Merge(segments) => {
                index.check(Operation::Read)?;
                self.save(index)?;
                merge(index, *segments)?;
                Ok(Performed::Done)
            }
            Work::Delete => self.remove(index, looked),
        }
    }

    /// Deletes an index, unless something that speaks against it was acknowledged since it was
    /// looked at.
    fn remove(&self, index: &Index, looked: &Looked<'_>) -> Outcome<Performed> {
        let delete = || {
            self.change(|state| {
                let is_due = looked.is_still_so(index, state);
                if is_due {
                    if let Some(entry) = state.indices.get(&index.name) {
                        check_writer(entry)?;
                    }
                    state.indices.remove(&index.name);
                }
                Ok(is_due)
            })
        };
        Ok(if self.with_reserve(delete)? {
            Performed::Gone
        } else {
            Performed::NotYet
        })
    }

    /// The rollover of an index by its policy.
    fn follow(
        &self,
        index: &Arc<Index>,
        looked: &Looked<'_>,
        conditions: &Conditions,
    ) -> Outcome<Performed> {
        let (name, entry) = (&index.name, looked.entry);
        let settings = index.settings();
        let get = |key: &str| settings.flat.get(key).filter(|value| !value.is_empty());
        if get(INDEXING_COMPLETE).is_some_and(|value| value == "true") {
            // Without a known rollover its documents may be as new as those of its last day.
            let at = entry.rolled.values().max().copied();
            return Ok(Performed::RolledOver(at.unwrap_or_else(now_millis)));
        }
        let alias = get(ROLLOVER_ALIAS).ok_or_else(|| {
            Failure::illegal(format!(
                "setting [{ROLLOVER_ALIAS}] for index [{name}] is empty or not defined"
            ))
        })?;
        if let Some(at) = entry.rolled.get(alias) {
            return Ok(Performed::RolledOver(*at));
        }
        if !entry.aliases.contains_key(alias) {
            return Err(Failure::illegal(format!(
                "{ROLLOVER_ALIAS} [{alias}] does not point to index [{name}]"
            )));
        }
        if self.writer_name(alias)? != *name {
            return Err(Failure::illegal(format!(
                "index [{name}] is not the write index for alias [{alias}]"
            )));
        }
        let figures = looked.clock.trusted(figures(index, looked.clock.now));
        let empty =
            figures.docs == 0 && !conditions.has_min_docs() && self.rolls_only_with_documents();
        if empty || !conditions.are_met(figures) {
            return Ok(Performed::NotYet);
        }
        let rolled = self.roll_over(&Rollover {
            alias: alias.clone(),
            conditions: conditions.clone(),
            ..Rollover::default()
        })?;
        tracing::info!("[{}] follows [{name}] behind [{alias}]", rolled.new);
        let Some((entry, _)) = self.look(index, "") else {
            return Ok(Performed::Gone);
        };
        Ok(match entry.rolled.get(alias) {
            Some(at) => Performed::RolledOver(*at),
            None => Performed::NotYet,
        })
    }
}

/// 400 for an index that was rolled over and is written to again: what comes after a rollover is
/// not for it.
fn check_writer(entry: &Entry) -> Outcome<()> {
    let mut aliases = entry.aliases.iter();
    let writes = aliases.find(|(_, alias)| alias.is_write_index == Some(true));
    match writes {
        Some((alias, _)) if !entry.rolled.is_empty() => Err(Failure::illegal(format!(
            "index is the write index of alias [{alias}]; let the alias write to another index, or \
             take the policy from this one"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;

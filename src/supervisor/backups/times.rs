//! When backups are made, read back, rehearsed and removed.

use std::time::Duration;

use jiff::Timestamp;
use rustic_core::KeepOptions;

use super::super::handle::Handle;
use super::state::State;
use crate::config::{Backup, crontab};
use crate::status::now_rfc3339;

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(30);
/// Which backups stay.
pub(super) fn keep(settings: &Backup) -> KeepOptions {
    let count = |number: u32| i32::try_from(number).ok().filter(|number| *number > 0);
    let mut keep = KeepOptions::default();
    keep.keep_last = Some(1);
    keep.keep_within = Some(rustic_core::jiff::Span::new().days(i64::from(settings.keep_days)));
    keep.keep_daily = count(settings.keep_daily);
    keep.keep_weekly = count(settings.keep_weekly);
    keep.keep_monthly = count(settings.keep_monthly);
    keep
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Backup,
    Verify,
    Drill,
}

impl Due {
    const ALL: [Self; 3] = [Self::Backup, Self::Verify, Self::Drill];

    const fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Verify => "verify",
            Self::Drill => "drill",
        }
    }

    fn expression(self, settings: &Backup) -> &str {
        match self {
            Self::Backup => &settings.schedule,
            Self::Verify => &settings.verify,
            Self::Drill => &settings.drill,
        }
    }
}

/// The first time after `last` that an expression means.
pub(super) fn next(expression: &str, zone: &str, last: Timestamp) -> Option<Timestamp> {
    if expression.is_empty() {
        return None;
    }
    let found = crontab(expression, zone).ok()?;
    // The library counts with another version of the same clock.
    let last = cronexpr::MakeTimestamp::from_second(last.as_second()).ok()?;
    let next = found.find_next(last).ok()?;
    Timestamp::from_second(next.timestamp().as_second()).ok()
}

/// What is due now, the longest first, given when each was last begun. What was missed is made up for
/// once.
fn due(settings: &Backup, state: &State, since: Timestamp, now: Timestamp) -> Vec<Due> {
    let at = |one: Due| {
        let last = state.begun.get(one.name()).and_then(|at| at.parse().ok());
        // A clock that was ahead must not hold everything back for as long.
        let last = last.filter(|last| *last <= now).unwrap_or(since);
        next(one.expression(settings), &settings.timezone, last)
            .filter(|next| *next <= now)
            .map(|next| (next, one))
    };
    let mut found: Vec<_> = Due::ALL.into_iter().filter_map(at).collect();
    // Backups that take longer than their period hold nothing else up.
    found.sort_unstable();
    found.into_iter().map(|(_, one)| one).collect()
}

impl Handle {
    async fn begin_due(&self, what: Due) {
        let names: Vec<_> = self
            .backups
            .repositories()
            .into_iter()
            .map(|one| one.name)
            .collect();
        match what {
            Due::Backup => {
                let begun = self.create_backup(None).await;
                self.begun(what, begun).await;
            }
            Due::Verify => {
                for name in &names {
                    let begun = self.verify_backups(Some(name)).await;
                    self.begun(what, begun).await;
                    let append_only = self
                        .backups
                        .repository(Some(name))
                        .is_ok_and(|one| one.append_only);
                    if !append_only {
                        self.wait_for(self.prune_backups(Some(name)).await).await;
                    }
                }
            }
            Due::Drill => {
                for name in &names {
                    let begun = self.drill(Some(name), "latest").await;
                    self.begun(what, begun).await;
                }
            }
        }
    }

    /// Notes what was begun; what could not begin is tried again.
    async fn begun(
        &self,
        what: Due,
        begun: Result<super::super::jobs::Job, super::super::handle::CommandError>,
    ) {
        if begun.is_ok() {
            self.backups.note(|state| {
                state.begun.insert(what.name().to_owned(), now_rfc3339());
            });
        }
        self.wait_for(begun).await;
    }

    /// Until the job ends; what came of it is told by the job.
    async fn wait_for(
        &self,
        begun: Result<super::super::jobs::Job, super::super::handle::CommandError>,
    ) {
        let job = match begun {
            Ok(job) => job,
            Err(error) => {
                tracing::debug!("{error}");
                return;
            }
        };
        let runs = |jobs: &[super::super::jobs::Job]| {
            jobs.iter()
                .any(|one| one.id == job.id && one.ended.is_none())
        };
        while self.jobs().await.is_ok_and(|jobs| runs(&jobs)) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Looks what is due, as long as the supervisor runs: only while the clock can be trusted, nothing
/// asks to hold work back, and every datastore is there.
pub(in crate::supervisor) async fn run(handle: Handle) {
    let since = Timestamp::now();
    let mut waited: Option<(Due, Timestamp)> = None;
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = handle.hub.snapshot();
        let settings = handle.backups.plan().config.backup.clone();
        let may = settings.enabled
            && status.board.clock_set
            && status.background_paused.is_none()
            && status.datastores.iter().all(|one| one.state.serves());
        if !may {
            continue;
        }
        let now = Timestamp::now();
        let Some(first) = due(&settings, &handle.backups.state(), since, now)
            .into_iter()
            .next()
        else {
            waited = None;
            continue;
        };
        let begins = match waited {
            Some((what, at)) if what == first => at,
            _ => {
                let at =
                    now + jiff::SignedDuration::from_secs(by_chance(settings.jitter.0.as_secs()));
                waited = Some((first, at));
                at
            }
        };
        if now >= begins {
            waited = None;
            handle.begin_due(first).await;
        }
    }
}

/// Some number of seconds below `most`.
fn by_chance(most: u64) -> i64 {
    let mut bytes = [0_u8; 8];
    // Without chance the whole time is waited.
    let drawn = match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes) % (most + 1),
        Err(_) => most,
    };
    i64::try_from(drawn).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn settings() -> Backup {
        Backup {
            timezone: "Europe/Berlin".to_owned(),
            ..Backup::default()
        }
    }

    #[test]
    fn a_run_that_was_missed_is_made_up_for_once() {
        let mut state = State::default();
        let since = at("2026-11-27T10:10:00Z");
        assert_eq!(
            due(&settings(), &state, since, at("2026-11-27T10:59:59Z")),
            []
        );
        assert_eq!(
            due(&settings(), &state, since, at("2026-11-27T11:00:00Z")),
            [Due::Backup]
        );
        for one in Due::ALL {
            state
                .begun
                .insert(one.name().to_owned(), "2026-11-20T00:30:00Z".to_owned());
        }
        // A week later, everything once.
        let now = at("2026-11-27T10:30:00Z");
        let mut all = due(&settings(), &state, since, now);
        // The drill of a Sunday is longest overdue but for the first hour.
        assert_eq!(all.first(), Some(&Due::Backup));
        all.sort_unstable();
        assert_eq!(all, Due::ALL);
        for one in Due::ALL {
            state.begun.insert(one.name().to_owned(), now.to_string());
        }
        assert_eq!(
            due(&settings(), &state, since, at("2026-11-27T10:59:00Z")),
            []
        );
    }

    #[test]
    fn times_are_those_of_the_zone_and_an_empty_one_never_comes() {
        // Two in the morning in Berlin is one o'clock in winter, and midnight in summer.
        let winter = next("0 2 * * *", "Europe/Berlin", at("2026-12-01T12:00:00Z"));
        assert_eq!(winter, Some(at("2026-12-02T01:00:00Z")));
        let summer = next("0 2 * * *", "Europe/Berlin", at("2026-07-01T12:00:00Z"));
        assert_eq!(summer, Some(at("2026-07-02T00:00:00Z")));
        assert_eq!(next("", "", at("2026-07-01T12:00:00Z")), None);
    }

    #[test]
    fn a_clock_that_was_ahead_holds_nothing_back() {
        let mut state = State::default();
        state
            .begun
            .insert("backup".to_owned(), "2036-01-01T00:00:00Z".to_owned());
        let since = at("2026-11-27T10:10:00Z");
        assert_eq!(
            due(&settings(), &state, since, at("2026-11-27T11:00:30Z")),
            [Due::Backup]
        );
    }
}

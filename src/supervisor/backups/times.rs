//! When backups are made, read back, rehearsed and removed.

use std::time::Duration;

use jiff::Timestamp;
use rustic_core::KeepOptions;

use super::super::alerts::{clear, clear_others, raise};
use super::super::handle::Handle;
use super::state::{Record, State};
use crate::config::{Backup, crontab};
use crate::status::{Alert, Backup as Shown, Severity, now_rfc3339};

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(30);
/// A backup that is older than so many of its periods is told.
const OLD: u32 = 3;
/// Likewise a drill.
const OLD_DRILL: u32 = 2;
const ALERTS: &str = "backup:";
const KEY_ALERT: &str = "backup:key";

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
fn next(expression: &str, zone: &str, last: Timestamp) -> Option<Timestamp> {
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
    /// Puts what is known of backups into the status, and opens and closes their alerts: also those
    /// of what went wrong before a restart.
    pub(in crate::supervisor) fn tell_backups(&self) {
        let plan = self.backups.plan();
        let settings = &plan.config.backup;
        let now = Timestamp::now();
        self.backups.note(|state| {
            for one in &settings.repositories {
                let since = &mut state.record(&one.name).since;
                since.get_or_insert_with(|| now.to_string());
            }
        });
        let state = self.backups.state();
        let records: Vec<_> = settings
            .repositories
            .iter()
            .filter_map(|one| Some((one.name.as_str(), state.repositories.get(&one.name)?)))
            .collect();
        // The oldest of the newest, and none where one has none: a place that gets no backups is no
        // second place.
        let last = if records.iter().all(|(_, one)| one.last_good_at.is_some()) {
            records
                .iter()
                .filter_map(|(_, one)| one.last_good_at.clone())
                .min()
        } else {
            None
        };
        let drills = records.iter().filter_map(|(_, one)| one.drilled.as_ref());
        let begun = state.begun.get("backup").and_then(|at| at.parse().ok());
        let next_at = next(&settings.schedule, &settings.timezone, begun.unwrap_or(now))
            .filter(|_| settings.enabled)
            .map(|next| next.max(now).to_string());
        let mut results = records
            .iter()
            .filter_map(|(_, one)| one.last_result.clone());
        self.hub.set_backup(Shown {
            last,
            next: next_at,
            last_result: results.next_back(),
            // One that failed is no drill that a person may count on.
            last_drill: drills
                .filter(|one| one.well)
                .map(|one| one.at.clone())
                .max(),
        });
        let any = records.iter().any(|(_, one)| one.last_good.is_some());
        self.show_alert(
            KEY_ALERT,
            (any && state.key_shown.is_none()).then(|| {
                Alert::new(
                    KEY_ALERT,
                    Severity::Warning,
                    "backup",
                    "nobody has written down the key of the backups; without it they cannot be \
                     restored when this disk is lost",
                    "`lucid backup key show` prints twelve words: keep them on paper",
                )
            }),
        );
        let mut known = vec![KEY_ALERT.to_owned()];
        for (name, record) in records {
            known.extend(self.judge(settings, name, record, now));
        }
        clear_others(&self.hub, ALERTS, &known);
    }

    fn show_alert(&self, id: &str, alert: Option<Alert>) {
        match alert {
            Some(alert) => {
                raise(&self.hub, alert);
            }
            None => clear(&self.hub, id, "backup"),
        }
    }

    /// Answers the ids of the alerts that it looked after.
    fn judge(&self, settings: &Backup, name: &str, record: &Record, now: Timestamp) -> Vec<String> {
        let id = |what: &str| format!("{ALERTS}{what}:{name}");
        let said = || record.last_result.clone().unwrap_or_default();
        self.show_alert(
            &id("failed"),
            record.failed.then(|| {
                Alert::new(
                    id("failed"),
                    Severity::Warning,
                    "backup",
                    format!("the backup to {name} failed: {}", said()),
                    "mend that and run `lucid backup create`; older backups stay as they are",
                )
            }),
        );
        for (what, outcome) in [("verify", &record.verified), ("drill", &record.drilled)] {
            let bad = outcome.as_ref().filter(|outcome| !outcome.well);
            self.show_alert(
                &id(what),
                bad.map(|outcome| {
                    Alert::new(
                        id(what),
                        Severity::Critical,
                        "backup",
                        format!(
                            "the {what} of repository {name} failed: {}",
                            outcome.message
                        ),
                        "make a new backup to another place now, then look at the disk: `lucid \
                         volume health`",
                    )
                }),
            );
        }
        let time = |text: &Option<String>| {
            text.as_deref()
                .and_then(|text| text.parse::<Timestamp>().ok())
        };
        let last = time(&record.last_good_at);
        let from = last.or(time(&record.since)).filter(|from| *from <= now);
        let is_old = |from: Timestamp, expression: &str, periods: u32| {
            let mut at = Some(from);
            for _ in 0..periods {
                at = at.and_then(|at| next(expression, &settings.timezone, at));
            }
            settings.enabled && at.is_some_and(|at| at < now)
        };
        let old = from.is_some_and(|from| is_old(from, &settings.schedule, OLD));
        self.show_alert(
            &id("old"),
            old.then(|| {
                let last = last.map_or_else(
                    || "there was never a good backup".to_owned(),
                    |last| format!("the last good backup is of {last}"),
                );
                Alert::new(
                    id("old"),
                    Severity::Critical,
                    "backup",
                    format!("repository {name}: {last}"),
                    "`lucid backup list` says what failed; `lucid backup create` makes one now",
                )
            }),
        );
        let drilled = record.drilled.as_ref().and_then(|one| one.at.parse().ok());
        let drilled = drilled.or(time(&record.since));
        let overdue = drilled.is_some_and(|at| is_old(at, &settings.drill, OLD_DRILL));
        self.show_alert(
            &id("no-drill"),
            overdue.then(|| {
                Alert::new(
                    id("no-drill"),
                    Severity::Warning,
                    "backup",
                    format!("no backup of repository {name} was rehearsed for long"),
                    "`lucid backup drill` does it now",
                )
            }),
        );
        ["failed", "verify", "drill", "old", "no-drill"]
            .into_iter()
            .map(id)
            .collect()
    }

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

/// Tells how backups are, whatever any of them does meanwhile.
pub(in crate::supervisor) async fn watch(handle: Handle) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let handle = handle.clone();
        let told = tokio::task::spawn_blocking(move || handle.tell_backups());
        let _ = told.await;
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

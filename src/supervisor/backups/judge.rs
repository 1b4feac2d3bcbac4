//! How backups are: in the status, and as alerts.

use std::time::Duration;

use jiff::Timestamp;

use super::super::alerts::{clear, clear_others, raise};
use super::super::handle::Handle;
use super::state::Record;
use super::times::next;
use crate::config::Backup;
use crate::status::{Alert, Backup as Shown, Severity};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(30);
/// A backup that is older than so many of its periods is told.
const OLD: u32 = 3;
/// Likewise a drill.
const OLD_DRILL: u32 = 2;
const ALERTS: &str = "backup:";
const KEY_ALERT: &str = "backup:key";

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

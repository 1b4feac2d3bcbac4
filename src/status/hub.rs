//! Where the snapshot is held, changed and watched.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use tokio::sync::watch;

use super::{
    Alert, ApplianceState, Backup, BoardSummary, Datastore, Panel, Status, Tuning, TuningState,
    Work, now_rfc3339,
};

/// Looks at each new snapshot.
type Observer = Box<dyn Fn(&Status) + Send + Sync>;

/// Holds the snapshot; cheap to clone, every clone publishes into the same one.
#[derive(Clone)]
pub struct StatusHub {
    sender: watch::Sender<Status>,
    started: Instant,
    observers: Arc<RwLock<Vec<Observer>>>,
    works: Arc<AtomicU64>,
}

impl fmt::Debug for StatusHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusHub").finish_non_exhaustive()
    }
}

/// Work that runs; it ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    hub: StatusHub,
    id: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.hub
            .update(|status| status.work.retain(|work| work.id != self.id));
    }
}

impl StatusHub {
    /// A hub for a supervisor that starts now.
    pub fn new(board: BoardSummary) -> Self {
        let status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: ApplianceState::Starting,
            since: now_rfc3339(),
            uptime_seconds: 0,
            board,
            datastores: Vec::new(),
            tuning: Tuning {
                state: TuningState::Off,
                knobs: Vec::new(),
            },
            volumes: Vec::new(),
            backup: Backup::default(),
            panel: Panel {
                driver: "none".to_owned(),
                pattern: "none".to_owned(),
                ..Panel::default()
            },
            feed: None,
            work: Vec::new(),
            background_paused: None,
            alerts: Vec::new(),
        };
        Self {
            sender: watch::Sender::new(status),
            started: Instant::now(),
            observers: Arc::default(),
            works: Arc::default(),
        }
    }

    /// Changes the snapshot; the summary follows by itself. Readers wake only on a real change.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        self.sender.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            if status.state != ApplianceState::Stopping {
                status.state = status.derive();
            }
            if status.state != before.state {
                status.since = now_rfc3339();
            }
            let changed = *status != before;
            if changed {
                let observers = self
                    .observers
                    .read()
                    .unwrap_or_else(PoisonError::into_inner);
                observers.iter().for_each(|observe| observe(status));
            }
            changed
        });
    }

    /// A view of the snapshot whose readers wake only when that view changes, not at each
    /// measurement. `of` must be quick and must not use the hub.
    pub fn view<T: Clone + PartialEq + Send + Sync + 'static>(
        &self,
        of: impl Fn(&Status) -> T + Send + Sync + 'static,
    ) -> watch::Receiver<T> {
        let (sender, receiver) = watch::channel(of(&self.sender.borrow()));
        // Within the hub's own lock, in the order of `update`: no change falls between.
        self.sender.send_if_modified(|status| {
            sender.send_replace(of(status));
            let mut observers = self
                .observers
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            observers.push(Box::new(move |status| {
                let now = of(status);
                sender.send_if_modified(|seen| {
                    let changed = *seen != now;
                    *seen = now;
                    changed
                });
            }));
            false
        });
        receiver
    }

    /// What is known of backups.
    pub fn set_backup(&self, backup: Backup) {
        self.update(|status| status.backup = backup);
    }

    /// Tells that `kind` runs on `subject` until the answer is dropped: the panel then asks to
    /// leave the power on.
    pub fn begin_work(&self, kind: &str, subject: &str) -> Running {
        let id = self.works.fetch_add(1, Ordering::Relaxed);
        self.update(|status| {
            status.work.push(Work {
                id,
                kind: kind.to_owned(),
                subject: subject.to_owned(),
                since: now_rfc3339(),
            });
        });
        Running {
            hub: self.clone(),
            id,
        }
    }

    /// Changes one datastore's entry; does nothing if it is not there.
    pub fn update_datastore(&self, name: &str, change: impl FnOnce(&mut Datastore)) {
        self.update(|status| {
            if let Some(datastore) = status.datastores.iter_mut().find(|d| d.name == name) {
                change(datastore);
            }
        });
    }

    /// Marks the appliance as stopping; the summary stays so from then on.
    pub fn set_stopping(&self) {
        self.update(|status| status.state = ApplianceState::Stopping);
    }

    /// Opens an alert, or refreshes its text keeping the time it was opened. Returns whether it
    /// is new.
    pub fn raise(&self, alert: Alert) -> bool {
        let mut new = true;
        self.update(|status| {
            if let Some(open) = status.alerts.iter_mut().find(|a| a.id == alert.id) {
                new = false;
                let since = std::mem::take(&mut open.since);
                *open = Alert { since, ..alert };
            } else {
                status.alerts.push(alert);
            }
        });
        new
    }

    /// Closes the alert with this id. Returns whether it was open.
    pub fn clear(&self, id: &str) -> bool {
        let mut cleared = false;
        self.update(|status| {
            let before = status.alerts.len();
            status.alerts.retain(|a| a.id != id);
            cleared = status.alerts.len() != before;
        });
        cleared
    }

    /// The snapshot now, with the uptime filled in.
    pub fn snapshot(&self) -> Status {
        let mut status = self.sender.borrow().clone();
        status.uptime_seconds = self.started.elapsed().as_secs();
        status
    }

    /// Wakes on every change.
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.sender.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{DatastoreState, Severity, fixture};

    #[test]
    fn health_is_never_claimed_while_a_datastore_is_not_ready() {
        use DatastoreState as D;
        let hub = fixture::hub();
        for (state, expected) in [
            (D::Ready, ApplianceState::Ready),
            (D::Starting, ApplianceState::Starting),
            (D::Preparing, ApplianceState::Starting),
            (D::Degraded, ApplianceState::Degraded),
            (D::Backoff, ApplianceState::Degraded),
            (D::Stopped, ApplianceState::Degraded),
            (D::Failed, ApplianceState::Failed),
            (D::Blocked, ApplianceState::Failed),
        ] {
            hub.update(|s| {
                s.datastores = vec![
                    fixture::datastore("document", D::Ready),
                    fixture::datastore("cache", state),
                ];
            });
            assert_eq!(hub.snapshot().state, expected, "{state:?}");
        }
    }

    #[test]
    fn a_critical_alert_degrades_and_its_end_restores() {
        let hub = fixture::hub();
        hub.update(|s| s.datastores = vec![fixture::datastore("cache", DatastoreState::Ready)]);
        assert!(hub.raise(Alert::new("x", Severity::Critical, "disk", "m", "a")));
        assert!(!hub.raise(Alert::new("x", Severity::Critical, "disk", "m2", "a")));
        assert_eq!(hub.snapshot().state, ApplianceState::Degraded);
        assert!(hub.clear("x"));
        assert_eq!(hub.snapshot().state, ApplianceState::Ready);
    }

    #[test]
    fn an_update_that_changes_nothing_wakes_nobody() {
        let hub = fixture::hub();
        let mut reader = hub.subscribe();
        reader.mark_unchanged();
        hub.update(|_| {});
        assert!(!reader.has_changed().unwrap());
        hub.update(|s| s.board.clock_set = false);
        assert!(reader.has_changed().unwrap());
    }
}

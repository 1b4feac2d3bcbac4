//! Snapshots that are due.

use std::time::Duration;

use super::Volumes;
use crate::status::{Alert, Severity, StatusHub};
use crate::supervisor::alerts::{clear, raise};

/// The alert of snapshots that are due and cannot be taken.
const ALERT: &str = "volume:schedule";
const INTERVAL: Duration = Duration::from_secs(60);

impl Volumes {
    /// Takes up what was cut off and, where it may, takes snapshots that are due. Blocks.
    fn tend(&self, hub: &StatusHub, may_snapshot: bool) {
        let Ok(manager) = self.manager() else {
            return;
        };
        manager.tend();
        if !may_snapshot {
            return;
        }
        let mut failed = None;
        for told in manager.keep_schedules() {
            match told {
                Ok(done) => tracing::info!("{done}"),
                Err(error) => failed = Some(error.to_string()),
            }
        }
        match failed {
            Some(error) => {
                raise(
                    hub,
                    Alert::new(
                        ALERT,
                        Severity::Warning,
                        "volumes",
                        format!("a scheduled snapshot failed: {error}"),
                        "it is tried again every minute; see `lucid volume list`",
                    ),
                );
            }
            None => clear(hub, ALERT, "volumes"),
        }
    }
}

/// Once a minute; snapshots only while the clock can be trusted and nothing asks to hold work back.
pub(in crate::supervisor) async fn keep_schedules(hub: StatusHub, volumes: Volumes) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = hub.snapshot();
        let may = status.board.clock_set && status.background_paused.is_none();
        let (volumes, hub) = (volumes.clone(), hub.clone());
        let kept = tokio::task::spawn_blocking(move || volumes.tend(&hub, may));
        let _ = kept.await;
    }
}

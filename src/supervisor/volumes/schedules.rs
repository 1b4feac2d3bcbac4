//! Snapshots that are due.

use std::time::Duration;

use super::Volumes;
use crate::status::{Alert, Severity, StatusHub};
use crate::supervisor::alerts::{clear, raise};

/// The alert of snapshots that are due and cannot be taken.
const ALERT: &str = "volume:schedule";
const INTERVAL: Duration = Duration::from_secs(60);

impl Volumes {
    /// Takes snapshots that are due. Blocks.
    fn keep_schedules(&self, hub: &StatusHub) {
        let Ok(manager) = self.manager() else {
            return;
        };
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

/// Takes snapshots that are due, once a minute, while the clock can be trusted and nothing asks to
/// hold work back.
pub(in crate::supervisor) async fn keep_schedules(hub: StatusHub, volumes: Volumes) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = hub.snapshot();
        if !status.board.clock_set || status.background_paused.is_some() {
            continue;
        }
        let (volumes, hub) = (volumes.clone(), hub.clone());
        let kept = tokio::task::spawn_blocking(move || volumes.keep_schedules(&hub));
        let _ = kept.await;
    }
}

//! What volumes, pool and disks look like: into the status, as alerts where something is wrong; and
//! snapshots that are due.

use std::time::Duration;

use super::{ALERT, DAMAGED, Volumes, clear, clear_others, raise};
use crate::status::{self, Alert, Severity, StatusHub};
use crate::volume::{Guard, HealthReport, HealthVerdict, Info};

/// The alert of snapshots that are due and cannot be taken.
const SCHEDULE_ALERT: &str = "volume:schedule";
const SCHEDULE_INTERVAL: Duration = Duration::from_secs(60);

impl Volumes {
    /// What the status shows. Blocks, for as long as the file system takes.
    pub(in crate::supervisor) fn look(&self, hub: &StatusHub) -> Vec<Info> {
        match self.manager() {
            Ok(manager) => {
                clear(hub, ALERT);
                if let Err(error) = manager.sample() {
                    tracing::warn!("the history of volumes cannot be written: {error}");
                }
                let all = manager.list();
                let names = all.iter().map(|info| &info.entry.name);
                let known: Vec<_> = names.map(|name| format!("{DAMAGED}{name}")).collect();
                clear_others(hub, DAMAGED, &known);
                all
            }
            Err(problem) => {
                let action = "see `journalctl -u lucid`; datastores run, volumes cannot be changed";
                // A pool that is not there has an alert of its own.
                if Guard::new(&self.paths).check().is_ok() {
                    raise(
                        hub,
                        Alert::new(ALERT, Severity::Warning, "volumes", problem, action),
                    );
                }
                Vec::new()
            }
        }
    }

    /// Space that the pool as a whole lacks. Blocks.
    pub(in crate::supervisor) fn look_at_pool(&self, hub: &StatusHub) {
        let Ok(manager) = self.manager() else {
            return;
        };
        let mut open = Vec::new();
        for (id, critical, message, action) in manager.pool_faults() {
            let severity = if critical {
                Severity::Critical
            } else {
                Severity::Warning
            };
            raise(hub, Alert::new(id, severity, "pool", message, action));
            open.push(id);
        }
        for id in ["pool:space", "pool:metadata"] {
            if !open.contains(&id) {
                clear(hub, id);
            }
        }
    }

    /// Opens and closes alerts by what the disks said when they were last asked. Blocks.
    pub(in crate::supervisor) fn look_at_devices(&self, hub: &StatusHub) {
        let devices = match HealthReport::read(&self.paths) {
            Ok(report) => report.map_or_else(Vec::new, |report| report.devices),
            Err(error) => {
                tracing::warn!("{error}");
                return;
            }
        };
        // A disk that is no more here needs nobody.
        let known: Vec<_> = devices
            .iter()
            .map(|device| format!("device:{}", device.device))
            .collect();
        clear_others(hub, "device:", &known);
        for device in devices {
            let id = format!("device:{}", device.device);
            let severity = match device.verdict {
                // Silence takes back nothing that a disk said before.
                HealthVerdict::Unknown => continue,
                HealthVerdict::Healthy => {
                    clear(hub, &id);
                    continue;
                }
                HealthVerdict::Warning => Severity::Warning,
                HealthVerdict::Critical => Severity::Critical,
            };
            let message = format!("disk {}: {}", device.device, device.reasons.join("; "));
            let action = "see `lucid volume health`; have a backup, and replace the disk in time";
            raise(
                hub,
                Alert::new(id, severity, &device.device, message, action),
            );
        }
    }

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
            Some(error) => raise(
                hub,
                Alert::new(
                    SCHEDULE_ALERT,
                    Severity::Warning,
                    "volumes",
                    format!("a scheduled snapshot failed: {error}"),
                    "it is tried again every minute; see `lucid volume list`",
                ),
            ),
            None => clear(hub, SCHEDULE_ALERT),
        }
    }
}

/// A volume as the status shows it.
pub(in crate::supervisor) fn shown(info: &Info) -> status::Volume {
    status::Volume {
        name: info.entry.name.to_string(),
        kind: info.entry.kind.to_string(),
        state: info.state.to_owned(),
        used_bytes: info.used_bytes,
        quota_bytes: info.entry.quota,
        percent: info.percent,
        mounted: info.state != "missing",
        growth_bytes_per_day: info.growth.bytes_per_day,
        full_in_seconds: info.growth.full_in_seconds,
    }
}

/// Takes snapshots that are due, once a minute, while the clock can be trusted and nothing asks to
/// hold work back.
pub(in crate::supervisor) async fn keep_schedules(hub: StatusHub, volumes: Volumes) {
    let mut ticks = tokio::time::interval(SCHEDULE_INTERVAL);
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

//! What volumes, pool and disks look like: into the status, and as alerts where something is wrong.

use super::{ALERT, DAMAGED, Volumes};
use crate::config::Role;
use crate::status::{self, Alert, Severity, StatusHub};
use crate::supervisor::alerts::{clear, clear_others, raise, severity};
use crate::units::{ByteSize, human_bytes};
use crate::volume::{Guard, HealthReport, HealthVerdict, Info, of_directory};

impl Volumes {
    /// Volumes for the status: those of the pool, and the directories of datastores that have none.
    /// Opens and closes their alerts. Blocks, for as long as the file system takes.
    pub(in crate::supervisor) fn look(
        &self,
        hub: &StatusHub,
        roles: &[Role],
    ) -> Vec<status::Volume> {
        let mut all = self.listed(hub);
        for role in roles {
            let known = all
                .iter()
                .any(|info| info.entry.name.owner() == Some(*role));
            if !known {
                all.extend(of_directory(&self.paths, *role, &self.settings));
            }
        }
        for info in &all {
            self.tell_space(hub, info);
        }
        for prefix in ["space:", DAMAGED] {
            let names = all
                .iter()
                .map(|info| format!("{prefix}{}", info.entry.name));
            clear_others(hub, prefix, &names.collect::<Vec<_>>());
        }
        self.look_at_pools(hub);
        self.look_at_devices(hub);
        all.iter().map(shown).collect()
    }

    fn listed(&self, hub: &StatusHub) -> Vec<Info> {
        match self.manager() {
            Ok(manager) => {
                clear(hub, ALERT, "volumes");
                let all = manager.list();
                if let Err(error) = manager.sample(&all) {
                    tracing::warn!("the history of volumes cannot be written: {error}");
                }
                all
            }
            Err(problem) => {
                let action = "see `lucid volume check` and `journalctl -k`; datastores run, volumes \
                              cannot be changed";
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

    fn thresholds(&self) -> (u8, u8) {
        (
            self.settings.warning_percent,
            self.settings.critical_percent,
        )
    }

    /// Opens or closes the alert of a volume that fills up.
    fn tell_space(&self, hub: &StatusHub, info: &Info) {
        let name = &info.entry.name;
        let id = format!("space:{name}");
        let Some(percent) = info.percent else {
            return;
        };
        let Some(severity) = severity(hub, &id, percent, self.thresholds()) else {
            clear(hub, &id, name.as_str());
            return;
        };
        let (message, action) = match info.entry.quota {
            Some(quota) => {
                let forecast = info.growth.full_in_seconds;
                let forecast = forecast.map_or_else(String::new, |seconds| {
                    format!("; at this rate it is full in {} h", seconds / 3600)
                });
                let message = format!(
                    "volume {name} uses {percent} % of its quota of {}{forecast}",
                    human_bytes(quota)
                );
                let action = match info.larger_quota {
                    Some(larger) => format!(
                        "delete what is not needed, or enlarge it: lucid volume resize {name} {}",
                        ByteSize(larger)
                    ),
                    None => "delete what is not needed: its quota is as large as the pool and \
                             volume.max_quota allow"
                        .to_owned(),
                };
                (message, action)
            }
            None => (
                format!("the file system of volume {name} is {percent} % full"),
                "delete what is not needed, or enlarge the file system".to_owned(),
            ),
        };
        raise(
            hub,
            Alert::new(id, severity, name.as_str(), message, action),
        );
    }

    /// Opens and closes the alerts of what a pool as a whole lacks.
    fn look_at_pools(&self, hub: &StatusHub) {
        let Ok(manager) = self.manager() else {
            return;
        };
        let mut open = Vec::new();
        for pool in manager.pools() {
            let (name, path) = match &pool {
                None => ("data".to_owned(), self.paths.data()),
                Some(pool) => (pool.to_string(), self.paths.pool(pool.as_str())),
            };
            // Of a verification; only the next one takes it back.
            open.push(super::damaged_pool(pool.as_ref()));
            if let Some(space) = manager.pool_space(pool.as_ref()) {
                let id = format!("pool:space:{name}");
                let found = if space.free < space.reserve {
                    Some(Severity::Critical)
                } else {
                    severity(hub, &id, space.percent(), self.thresholds())
                };
                if let Some(severity) = found {
                    let message = format!(
                        "pool {name} is {} % full: {} are left of {}",
                        space.percent(),
                        human_bytes(space.free),
                        human_bytes(space.total)
                    );
                    let action =
                        "delete snapshots or volumes that are not needed: lucid volume list";
                    raise(hub, Alert::new(&id, severity, &name, message, action));
                    open.push(id);
                }
            }
            if let Some(message) = manager.metadata_fault(pool.as_ref()) {
                let id = format!("pool:metadata:{name}");
                let action = format!(
                    "free whole chunks with `btrfs balance start -dusage=20 {}`, then delete what is \
                     not needed",
                    path.display()
                );
                let message = format!("pool {name}: {message}");
                raise(
                    hub,
                    Alert::new(&id, Severity::Critical, &name, message, action),
                );
                open.push(id);
            }
        }
        clear_others(hub, "pool:", &open);
    }

    /// Opens and closes alerts by what the disks said when they were last asked. Blocks.
    fn look_at_devices(&self, hub: &StatusHub) {
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
                    clear(hub, &id, &device.device);
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
}

/// A volume as the status shows it.
fn shown(info: &Info) -> status::Volume {
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

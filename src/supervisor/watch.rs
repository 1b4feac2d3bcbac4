//! What is watched besides the engines: disk space, the wall clock, the board's signals.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nix::sys::statvfs::statvfs;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::signals::{self, Alarm};
use super::volumes::{self, Volumes};
use crate::board::Signals;
use crate::config::{Role, Volume as Settings};
use crate::journal::{self, Event};
use crate::paths::Paths;
use crate::status::{Alert, Severity, StatusHub, Volume};
use crate::units::{ByteSize, human_bytes};

/// Signals, space and clock change slowly; one wake-up looks at all of them.
const INTERVAL: Duration = Duration::from_secs(10);
/// A first start makes its directories before this.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// A step of the wall clock below this is ordinary slewing by a time daemon.
const CLOCK_STEP: Duration = Duration::from_secs(5);
/// Shares of a full file system that open an alert, and how far below one it closes.
#[derive(Debug, Clone, Copy)]
struct Thresholds {
    warning: f64,
    critical: f64,
}

impl From<&Settings> for Thresholds {
    fn from(settings: &Settings) -> Self {
        Self {
            warning: settings.warning_percent.into(),
            critical: settings.critical_percent.into(),
        }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self::from(&Settings::default())
    }
}

const HYSTERESIS_PERCENT: f64 = 2.0;

/// Looks every ten seconds until dropped, at volumes, clock and board.
pub(super) async fn run(
    hub: StatusHub,
    paths: Paths,
    board_root: Option<PathBuf>,
    volumes: Volumes,
) {
    let mut ticks = interval_at(Instant::now() + FIRST_LOOK, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clock = Clock::now();
    let data = paths.data();
    let thresholds = Thresholds::from(volumes.settings());
    let mut alarm = board_root.as_deref().and_then(Alarm::open);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = alarmed(&mut alarm) => {}
        }
        if let Some(step) = clock.stepped() {
            let direction = if step.forward { "forward" } else { "back" };
            let message = format!(
                "the wall clock moved {direction} by {} s; nothing is timed by it, but timestamps \
                 of records are",
                step.by.as_secs()
            );
            journal::emit(Event::ClockJumped, "appliance", &message);
        }
        // Before the disks: a voltage that drops does not wait for a slow one.
        let root = board_root.clone();
        let felt = tokio::task::spawn_blocking(move || root.map(|root| Signals::read(&root)));
        if let Ok(Some(signals)) = felt.await
            && signals::publish(&hub, &signals)
        {
            tokio::spawn(signals::flush(data.clone()));
        }
        let paths = paths.clone();
        // A reload may have switched datastores on and off.
        let known = hub.snapshot().datastores;
        let enabled = |role: &Role| known.iter().any(|d| d.name == role.name());
        let roles: Vec<Role> = Role::ALL.into_iter().filter(enabled).collect();
        // A file system that hangs must not stop the runtime.
        let (look_hub, looked) = (hub.clone(), volumes.clone());
        let look = tokio::task::spawn_blocking(move || {
            let known = looked.look(&look_hub);
            let mut all: Vec<Volume> = known.iter().map(volumes::shown).collect();
            // Directories of datastores that are no volumes: an earlier layout, or no pool.
            for role in roles {
                if !all.iter().any(|volume| volume.name == role.volume()) {
                    all.push(volume(&paths, role));
                }
            }
            looked.look_at_pool(&look_hub);
            looked.look_at_devices(&look_hub);
            all
        });
        let Ok(volumes) = look.await else {
            continue;
        };
        for volume in &volumes {
            space_alert(&hub, volume, &thresholds);
        }
        let gone = |alert: &Alert| {
            let name = alert.id.strip_prefix("space:");
            name.is_some_and(|name| !volumes.iter().any(|volume| volume.name == name))
        };
        for alert in hub.snapshot().alerts.into_iter().filter(gone) {
            hub.clear(&alert.id);
        }
        hub.update(|status| status.volumes = volumes);
    }
}

async fn alarmed(alarm: &mut Option<Alarm>) {
    match alarm {
        Some(alarm) => alarm.changed().await,
        None => std::future::pending().await,
    }
}

/// A directory of the data file system: without quotas its space is that of the file system.
fn volume(paths: &Paths, role: Role) -> Volume {
    let path = paths.data().join(role.volume());
    let percent = statvfs(&path).ok().map(|stat| {
        let used = stat.blocks().saturating_sub(stat.blocks_free());
        let total = used + stat.blocks_available();
        if total == 0 {
            0.0
        } else {
            (used as f64 / total as f64 * 1000.0).round() / 10.0
        }
    });
    let state = match percent {
        None => "missing",
        Some(percent) if percent >= Thresholds::default().critical => "critical",
        Some(percent) if percent >= Thresholds::default().warning => "warning",
        Some(_) => "healthy",
    };
    Volume {
        name: role.volume().to_owned(),
        kind: role.volume().to_owned(),
        state: state.to_owned(),
        used_bytes: None,
        quota_bytes: None,
        percent,
        mounted: is_mount(&path),
        growth_bytes_per_day: None,
        full_in_seconds: None,
    }
}

/// Whether `path` is on another file system than its parent.
fn is_mount(path: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &std::path::Path| std::fs::metadata(path).ok().map(|meta| meta.dev());
    path.parent()
        .is_some_and(|parent| device(parent) != device(path))
}

fn space_alert(hub: &StatusHub, volume: &Volume, thresholds: &Thresholds) {
    let id = format!("space:{}", volume.name);
    let Some(percent) = volume.percent else {
        return;
    };
    let open = hub
        .snapshot()
        .alerts
        .into_iter()
        .find(|alert| alert.id == id);
    let margin = if open.is_some() {
        HYSTERESIS_PERCENT
    } else {
        0.0
    };
    if percent < thresholds.warning - margin {
        if hub.clear(&id) {
            journal::emit(
                Event::AlertCleared,
                &volume.name,
                "there is enough space again",
            );
        }
        return;
    }
    let severity = if percent >= thresholds.critical - margin && percent >= thresholds.warning {
        if percent >= thresholds.critical || open.is_some_and(|a| a.severity == Severity::Critical)
        {
            Severity::Critical
        } else {
            Severity::Warning
        }
    } else {
        Severity::Warning
    };
    let (message, action) = match volume.quota_bytes {
        Some(quota) => {
            let forecast = volume.full_in_seconds.map_or_else(String::new, |seconds| {
                format!("; at this rate it is full in {} h", seconds / 3600)
            });
            (
                format!(
                    "volume {} uses {percent} % of its quota of {}{forecast}",
                    volume.name,
                    human_bytes(quota)
                ),
                format!(
                    "delete what is not needed, or enlarge it: lucid volume resize {} {}",
                    volume.name,
                    ByteSize(quota.saturating_mul(2))
                ),
            )
        }
        None => (
            format!(
                "the file system of volume {} is {percent} % full",
                volume.name
            ),
            "delete what is not needed, or enlarge the file system".to_owned(),
        ),
    };
    if hub.raise(Alert::new(id, severity, &volume.name, &message, &action)) {
        journal::emit(
            Event::AlertRaised,
            &volume.name,
            &format!("{message}; {action}"),
        );
    }
}

/// Compares the wall clock with the monotonic one.
#[derive(Debug)]
struct Clock {
    wall: SystemTime,
    monotonic: Instant,
}

#[derive(Debug, PartialEq, Eq)]
struct ClockStep {
    by: Duration,
    forward: bool,
}

impl Clock {
    fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            monotonic: Instant::now(),
        }
    }

    /// The step since the last call, if there was one.
    fn stepped(&mut self) -> Option<ClockStep> {
        let now = Self::now();
        let expected = self.wall + now.monotonic.duration_since(self.monotonic);
        let actual = now.wall;
        *self = now;
        step(expected, actual)
    }
}

fn step(expected: SystemTime, actual: SystemTime) -> Option<ClockStep> {
    let (by, forward) = match actual.duration_since(expected) {
        Ok(by) => (by, true),
        Err(error) => (error.duration(), false),
    };
    (by >= CLOCK_STEP).then_some(ClockStep { by, forward })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::fixture::{self, hub};

    #[test]
    fn a_step_of_the_wall_clock_is_seen_in_both_directions_and_slewing_is_not() {
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        assert_eq!(
            step(now, now + hour),
            Some(ClockStep {
                by: hour,
                forward: true
            })
        );
        assert_eq!(
            step(now, now - hour),
            Some(ClockStep {
                by: hour,
                forward: false
            })
        );
        assert_eq!(step(now, now + Duration::from_secs(1)), None);
    }

    #[test]
    fn space_alerts_open_at_their_thresholds_and_close_below_them() {
        let hub = hub();
        let severity = |percent: f64| {
            let volume = fixture::volume("redis", "", Some(percent));
            space_alert(&hub, &volume, &Thresholds::default());
            hub.snapshot().alerts.first().map(|alert| alert.severity)
        };
        assert_eq!(severity(79.9), None);
        assert_eq!(severity(80.0), Some(Severity::Warning));
        assert_eq!(
            severity(79.0),
            Some(Severity::Warning),
            "closed within the hysteresis"
        );
        assert_eq!(severity(90.0), Some(Severity::Critical));
        assert_eq!(
            severity(89.0),
            Some(Severity::Critical),
            "eased within the hysteresis"
        );
        assert_eq!(severity(87.0), Some(Severity::Warning));
        assert_eq!(severity(77.9), None);
    }

    #[test]
    fn a_missing_data_directory_is_told_as_missing() {
        let volume = volume(&Paths::new("/nonexistent"), Role::Cache);
        assert_eq!((volume.state.as_str(), volume.percent), ("missing", None));
    }
}

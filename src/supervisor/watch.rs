//! What is watched besides the engines: disk space, the wall clock, the board's signals.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nix::sys::statvfs::statvfs;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::signals::{self, Alarm};
use crate::board::Signals;
use crate::config::Role;
use crate::journal::{self, Event};
use crate::paths::Paths;
use crate::status::{Alert, Severity, StatusHub, Volume};

/// Signals, space and clock change slowly; one wake-up looks at all of them.
const INTERVAL: Duration = Duration::from_secs(10);
/// A first start makes its directories before this.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// A step of the wall clock below this is ordinary slewing by a time daemon.
const CLOCK_STEP: Duration = Duration::from_secs(5);
/// Shares of a full file system that open an alert, and how far below one it closes.
const WARNING_PERCENT: f64 = 80.0;
const CRITICAL_PERCENT: f64 = 90.0;
const HYSTERESIS_PERCENT: f64 = 2.0;

/// Looks every ten seconds until dropped, at the volumes of the enabled datastores.
pub(super) async fn run(hub: StatusHub, paths: Paths, board_root: Option<PathBuf>) {
    let mut ticks = interval_at(Instant::now() + FIRST_LOOK, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clock = Clock::now();
    let data = paths.data();
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
        let (paths, root) = (paths.clone(), board_root.clone());
        // A reload may have switched datastores on and off.
        let known = hub.snapshot().datastores;
        let enabled = |role: &Role| known.iter().any(|d| d.name == role.name());
        let roles: Vec<Role> = Role::ALL.into_iter().filter(enabled).collect();
        for gone in Role::ALL.iter().filter(|role| !enabled(role)) {
            hub.clear(&format!("space:{}", gone.volume()));
        }
        // A file system that hangs must not stop the runtime.
        let look = tokio::task::spawn_blocking(move || {
            let volumes = roles
                .iter()
                .map(|role| volume(&paths, *role))
                .collect::<Vec<_>>();
            (volumes, root.map(|root| Signals::read(&root)))
        });
        let Ok((volumes, signals)) = look.await else {
            continue;
        };
        for volume in &volumes {
            space_alert(&hub, volume);
        }
        hub.update(|status| status.volumes = volumes);
        if signals.is_some_and(|signals| signals::publish(&hub, &signals)) {
            tokio::spawn(signals::flush(data.clone()));
        }
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
        Some(percent) if percent >= CRITICAL_PERCENT => "critical",
        Some(percent) if percent >= WARNING_PERCENT => "warning",
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
    }
}

/// Whether `path` is on another file system than its parent.
fn is_mount(path: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &std::path::Path| std::fs::metadata(path).ok().map(|meta| meta.dev());
    path.parent()
        .is_some_and(|parent| device(parent) != device(path))
}

fn space_alert(hub: &StatusHub, volume: &Volume) {
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
    if percent < WARNING_PERCENT - margin {
        if hub.clear(&id) {
            journal::emit(
                Event::AlertCleared,
                &volume.name,
                "there is enough space again",
            );
        }
        return;
    }
    let severity = if percent >= CRITICAL_PERCENT - margin && percent >= WARNING_PERCENT {
        if percent >= CRITICAL_PERCENT || open.is_some_and(|a| a.severity == Severity::Critical) {
            Severity::Critical
        } else {
            Severity::Warning
        }
    } else {
        Severity::Warning
    };
    let message = format!(
        "the file system of volume {} is {percent} % full",
        volume.name
    );
    let action = "delete what is not needed, or enlarge the file system";
    if hub.raise(Alert::new(id, severity, &volume.name, &message, action)) {
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
    use crate::status::BoardSummary;

    fn hub() -> StatusHub {
        StatusHub::new(BoardSummary {
            model: "test".to_owned(),
            memory_bytes: 0,
            page_size: 4096,
            temperature_celsius: None,
            throttled: None,
            undervoltage: None,
            fan_rpm: None,
            clock_set: true,
            simulated: true,
        })
    }

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
            let volume = Volume {
                name: "redis".to_owned(),
                kind: "redis".to_owned(),
                state: String::new(),
                used_bytes: None,
                quota_bytes: None,
                percent: Some(percent),
                mounted: false,
            };
            space_alert(&hub, &volume);
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

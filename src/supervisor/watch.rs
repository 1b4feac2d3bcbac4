//! What is watched besides the engines: disk space, the wall clock, the board's signals.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::signals::{self, Alarm};
use super::volumes::Volumes;
use crate::board::Signals;
use crate::config::Role;
use crate::journal::{self, Event};
use crate::paths::Paths;
use crate::status::StatusHub;

/// Signals, space and clock change slowly; one wake-up looks at all of them.
const INTERVAL: Duration = Duration::from_secs(10);
/// A first start makes its directories before this.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// A step of the wall clock below this is ordinary slewing by a time daemon.
const CLOCK_STEP: Duration = Duration::from_secs(5);
/// How long a look at the volumes is waited for; it goes on beside the next round.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

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
    let mut pending = None;
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
        // A reload may have switched datastores on and off.
        let known = hub.snapshot().datastores;
        let enabled = |role: &Role| known.iter().any(|d| d.name == role.name());
        let roles: Vec<Role> = Role::ALL.into_iter().filter(enabled).collect();
        // A file system that hangs must stop neither the runtime nor the board's signals, and is
        // asked by one thread.
        let mut look = pending.take().unwrap_or_else(|| {
            let (looked, at) = (volumes.clone(), hub.clone());
            tokio::task::spawn_blocking(move || looked.look(&at, &roles))
        });
        match timeout(LOOK_LIMIT, &mut look).await {
            Ok(Ok(volumes)) => hub.update(|status| status.volumes = volumes),
            Ok(Err(error)) => tracing::error!("the look at volumes ended: {error}"),
            Err(_) => pending = Some(look),
        }
    }
}

async fn alarmed(alarm: &mut Option<Alarm>) {
    match alarm {
        Some(alarm) => alarm.changed().await,
        None => std::future::pending().await,
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
}

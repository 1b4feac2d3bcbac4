//! Whether the clock is to be trusted: ages count by it, and a deletion cannot be taken back.
//!
//! A clock that jumped is set again later, or was wrong before. What cannot be taken back waits
//! until it has run as the monotonic clock does for a while.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::cluster_settings::STEADY_CLOCK;
use super::lifecycle::{PLAUSIBLE, age_of};
use super::rollover::figures;
use super::{Index, Node, now_millis};
use crate::search_node::lifecycle::{Figures, Next, Progress, Stored, Work, next};

/// A difference of the two clocks that is a jump, in milliseconds.
const JUMP: u64 = 60_000;

/// The wall clock beside the monotonic one.
#[derive(Debug)]
pub(super) struct Steady {
    /// A moment of the monotonic clock.
    at: Instant,
    /// The wall clock at that moment, in milliseconds since the epoch.
    wall: i64,
    /// Since when both run alike.
    since: Instant,
}

/// What the clock says, and what that is worth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// Milliseconds since the epoch.
    pub now: i64,
    /// How long it has run evenly.
    ran: Duration,
    /// How long it must have.
    wanted: Duration,
}

impl Steady {
    pub(super) fn new(at: Instant, wall: i64) -> Self {
        let since = at;
        Self { at, wall, since }
    }

    /// How long both clocks have run alike.
    fn look(&mut self, at: Instant, wall: i64) -> Duration {
        let passed = at.saturating_duration_since(self.at).as_millis();
        let expected =
            i64::try_from(passed).map_or(i64::MAX, |passed| self.wall.saturating_add(passed));
        if wall.abs_diff(expected) > JUMP {
            tracing::warn!("the clock jumped by [{}] ms", wall.saturating_sub(expected));
            *self = Self::new(at, wall);
        }
        at.saturating_duration_since(self.since)
    }
}

impl Clock {
    /// Whether ages mean something.
    pub(super) fn is_steady(self) -> bool {
        self.ran >= self.wanted
    }

    /// The figures of an index as far as they are known for sure.
    pub(super) fn trusted(self, figures: Figures) -> Figures {
        let age = if self.is_steady() { figures.age } else { 0 };
        Figures { age, ..figures }
    }
}

impl Node {
    /// Looks at the clock.
    pub(super) fn clock(&self) -> Clock {
        let wanted = self.steady_clock();
        let steady = &self.lifecycle.steady;
        let mut steady = steady.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now_millis();
        let ran = steady.look(Instant::now(), now);
        Clock { now, ran, wanted }
    }

    /// Why an index that is due for a step waits, when that is the clock.
    pub(in crate::search_node) fn waits_for_clock(
        &self,
        index: &Index,
        policy: &str,
        stored: Option<&Stored>,
        progress: &Progress,
    ) -> Option<String> {
        let clock = self.clock();
        if clock.now < PLAUSIBLE {
            return Some("waits until the clock is set".to_owned());
        }
        if clock.is_steady() || progress.is_failed() {
            return None;
        }
        let age = clock.now.saturating_sub(age_of(index, Some(progress)));
        let age = u64::try_from(age).unwrap_or(0);
        let at = |age| next(progress, policy, stored, age, clock.now).ok();
        let due = at(age)?;
        let waits = match &due {
            Next::Do(step) => match &step.work {
                Work::ReadOnly | Work::Delete => true,
                Work::Rollover(conditions) => {
                    let figures = figures(index, clock.now);
                    conditions.are_met(figures) && !conditions.are_met(clock.trusted(figures))
                }
                _ => false,
            },
            _ => at(0)? != due,
        };
        waits.then(|| {
            format!(
                "waits for the clock, which has run evenly for [{}s] of the [{}s] that \
                 [{STEADY_CLOCK}] asks for since the node started or the clock jumped",
                clock.ran.as_secs(),
                clock.wanted.as_secs()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_steady_from_its_last_jump_on() {
        const HOUR: u64 = 3600;
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let wall = |seconds: u64| i64::try_from(seconds).unwrap() * 1000;
        let mut steady = Steady::new(start, 0);
        let mut look = |real: u64, shown: u64| steady.look(after(real), wall(shown)).as_secs();
        assert_eq!(look(10, 10), 10);
        assert_eq!(look(20, 79), 20, "59 seconds are no jump");
        assert_eq!(look(HOUR, HOUR + 60), HOUR);
        let ahead = 365 * 24 * HOUR;
        assert_eq!(look(HOUR + 1, HOUR + ahead), 0);
        assert_eq!(look(HOUR + 11, HOUR + ahead + 10), 10);
        assert_eq!(look(HOUR + 21, HOUR + 21), 0, "set right again");
        assert_eq!(look(2 * HOUR + 21, 2 * HOUR + 21), HOUR);
    }
}

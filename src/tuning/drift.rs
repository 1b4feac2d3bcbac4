//! When to repair a knob that another program keeps changing.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Drifts are counted within this window; a knob at rest for as long has stopped flapping.
const WINDOW: Duration = Duration::from_mins(10);
/// More repairs than this within the window are flapping.
const REPAIRS: usize = 3;
/// A flapping knob is repaired at most this often, so that two programs do not race.
const PAUSE: Duration = Duration::from_mins(1);

/// What to do about one drifted knob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Set it again and say so.
    Repair,
    /// It flaps from now on: set it again and open an alert.
    RepairAndAlert,
    /// It flaps and its pause is over: set it again without another event.
    RepairQuietly,
    /// It flaps and was repaired less than a minute ago.
    Wait,
}

/// Counts repairs per knob. Pure: time is given.
#[derive(Debug, Default)]
pub struct DriftTracker {
    knobs: BTreeMap<String, History>,
}

#[derive(Debug, Default)]
struct History {
    repairs: VecDeque<Instant>,
    last_drift: Option<Instant>,
    flapping: bool,
}

impl DriftTracker {
    /// Decides about a knob found drifted at `now`. Every decision but [`Decision::Wait`] counts
    /// as a repair, whether it then succeeds or not: a repair that fails must not be tried at
    /// every check either.
    pub fn drifted(&mut self, knob: &str, now: Instant) -> Decision {
        let history = self.knobs.entry(knob.to_owned()).or_default();
        history.last_drift = Some(now);
        while let Some(oldest) = history.repairs.front()
            && now.duration_since(*oldest) > WINDOW
        {
            history.repairs.pop_front();
        }
        let decision = if history.flapping {
            let recent = history.repairs.back();
            if recent.is_some_and(|last| now.duration_since(*last) < PAUSE) {
                return Decision::Wait;
            }
            Decision::RepairQuietly
        } else if history.repairs.len() >= REPAIRS {
            history.flapping = true;
            Decision::RepairAndAlert
        } else {
            Decision::Repair
        };
        history.repairs.push_back(now);
        decision
    }

    /// Knobs that flapped and did not drift for ten minutes: their alert is over.
    pub fn calmed(&mut self, now: Instant) -> Vec<String> {
        let mut calmed = Vec::new();
        self.knobs.retain(|name, history| {
            let rested = history
                .last_drift
                .is_none_or(|last| now.duration_since(last) > WINDOW);
            if rested && history.flapping {
                calmed.push(name.clone());
            }
            !rested
        });
        calmed
    }

    /// Knobs that flap now.
    pub fn flapping(&self) -> impl Iterator<Item = &str> {
        self.knobs
            .iter()
            .filter(|(_, history)| history.flapping)
            .map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Decision::{Repair, RepairAndAlert, RepairQuietly, Wait};
    use super::*;

    const CHECK: Duration = Duration::from_secs(15);

    #[test]
    fn a_fourth_drift_within_ten_minutes_is_flapping_and_then_repaired_once_a_minute() {
        let mut tracker = DriftTracker::default();
        let start = Instant::now();
        let decisions: Vec<_> = (0..9)
            .map(|i| tracker.drifted("vm.swappiness", start + CHECK * i))
            .collect();
        assert_eq!(
            decisions,
            [
                Repair,
                Repair,
                Repair,
                RepairAndAlert,
                Wait,
                Wait,
                Wait,
                RepairQuietly,
                Wait
            ]
        );
        assert_eq!(tracker.flapping().collect::<Vec<_>>(), ["vm.swappiness"]);
    }

    #[test]
    fn rare_drifts_never_flap() {
        let mut tracker = DriftTracker::default();
        let start = Instant::now();
        for i in 0..50 {
            let now = start + Duration::from_secs(201) * i;
            assert_eq!(tracker.drifted("x", now), Repair, "{i}");
        }
    }

    #[test]
    fn ten_quiet_minutes_end_flapping_once() {
        let mut tracker = DriftTracker::default();
        let start = Instant::now();
        for i in 0..4 {
            tracker.drifted("x", start + CHECK * i);
        }
        let last = start + CHECK * 3;
        assert!(tracker.calmed(last + WINDOW).is_empty());
        assert_eq!(tracker.calmed(last + WINDOW + CHECK), ["x"]);
        assert!(tracker.calmed(last + WINDOW + CHECK * 2).is_empty());
        assert_eq!(tracker.drifted("x", last + WINDOW * 2), Repair);
    }

    #[test]
    fn knobs_are_counted_apart() {
        let mut tracker = DriftTracker::default();
        let now = Instant::now();
        for knob in ["a", "b", "c", "d", "e"] {
            assert_eq!(tracker.drifted(knob, now), Repair);
        }
    }
}

//! What a press means: a state machine without a clock of its own. Times count from any fixed
//! moment; the kernel's own time stamps of the button go in, so that a busy supervisor cannot turn
//! a short press into a long one.

use std::time::Duration;

use super::pattern::Pattern;

/// From here on a press shuts down.
pub(super) const SHUTDOWN_AFTER: Duration = Duration::from_secs(3);
/// From here on it releases the data disk.
pub(super) const REMOVAL_AFTER: Duration = Duration::from_secs(8);
/// From here on it means nothing: whoever holds it has changed their mind, or it is stuck.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(15);
/// After the release, until it is done: a press within this takes it back.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// What the button can ask for. Nothing of it destroys anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Stop everything and switch off.
    PowerOff,
    /// Stop everything, so that the data disk can be pulled.
    ReleaseDataDisk,
}

/// What came of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing to do.
    Nothing,
    /// Say which box this is, and how it is.
    Tell,
    /// The action is asked for, now.
    Do(Action),
    /// It was taken back: by a second press, or by holding on.
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Held {
        since: Duration,
    },
    Counting {
        action: Action,
        until: Duration,
    },
    /// Down, and without meaning until released.
    Spent,
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Gesture {
    state: State,
}

impl Default for Gesture {
    fn default() -> Self {
        Self { state: State::Idle }
    }
}

impl Gesture {
    /// The button went down.
    pub(super) fn press(&mut self, at: Duration) -> Step {
        match self.state {
            State::Idle => {
                self.state = State::Held { since: at };
                Step::Nothing
            }
            State::Counting { until, action } if at >= until => {
                // The grace was over before the press, and nobody had looked yet.
                self.state = State::Held { since: at };
                Step::Do(action)
            }
            // Taken back; or a release was lost, and nobody knows what was meant.
            State::Counting { .. } | State::Held { .. } | State::Spent => {
                self.state = State::Spent;
                Step::Cancelled
            }
        }
    }

    /// What is down now means nothing until it is released.
    pub(super) fn spend(&mut self) {
        self.state = State::Spent;
    }

    /// The button came up.
    pub(super) fn release(&mut self, at: Duration) -> Step {
        let State::Held { since } = self.state else {
            if self.state == State::Spent {
                self.state = State::Idle;
            }
            return Step::Nothing;
        };
        let held = at.saturating_sub(since);
        let (state, step) = if held < SHUTDOWN_AFTER {
            (State::Idle, Step::Tell)
        } else if held < GIVE_UP_AFTER {
            let action = if held < REMOVAL_AFTER {
                Action::PowerOff
            } else {
                Action::ReleaseDataDisk
            };
            let until = at + GRACE;
            (State::Counting { action, until }, Step::Nothing)
        } else {
            (State::Idle, Step::Cancelled)
        };
        self.state = state;
        step
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Duration) -> Step {
        match self.state {
            State::Held { since } if now.saturating_sub(since) >= GIVE_UP_AFTER => {
                self.state = State::Spent;
                Step::Cancelled
            }
            State::Counting { action, until } if now >= until => {
                self.state = State::Idle;
                Step::Do(action)
            }
            _ => Step::Nothing,
        }
    }

    /// What the lights show at `now`, where the button has a say.
    pub(super) fn pattern(&self, now: Duration) -> Option<Pattern> {
        match self.state {
            State::Idle | State::Spent => None,
            State::Held { since } => Some(match now.saturating_sub(since) {
                held if held < SHUTDOWN_AFTER => Pattern::Pressed,
                held if held < REMOVAL_AFTER => Pattern::ArmedShutdown,
                _ => Pattern::ArmedRemoval,
            }),
            State::Counting { action, .. } => Some(match action {
                Action::ReleaseDataDisk => Pattern::ArmedRemoval,
                Action::PowerOff => Pattern::ArmedShutdown,
            }),
        }
    }

    /// When to look again, if nothing happens before.
    pub(super) fn deadline(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Idle | State::Spent => None,
            State::Held { since } => [SHUTDOWN_AFTER, REMOVAL_AFTER, GIVE_UP_AFTER]
                .into_iter()
                .map(|limit| since + limit)
                .find(|at| *at > now),
            State::Counting { until, .. } => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_short_press_asks_only_to_be_told() {
        let mut gesture = Gesture::default();
        assert_eq!(gesture.press(s(10)), Step::Nothing);
        assert_eq!(gesture.pattern(s(10)), Some(Pattern::Pressed));
        assert_eq!(gesture.release(s(12)), Step::Tell);
        assert_eq!(gesture.pattern(s(12)), None);
        assert_eq!(gesture.deadline(s(12)), None);
    }

    #[test]
    fn three_seconds_shut_down_after_a_grace_that_shows() {
        let mut gesture = Gesture::default();
        gesture.press(s(10));
        assert_eq!(gesture.deadline(s(10)), Some(s(13)));
        assert_eq!(gesture.tick(s(13)), Step::Nothing);
        assert_eq!(gesture.pattern(s(13)), Some(Pattern::ArmedShutdown));
        assert_eq!(gesture.release(s(14)), Step::Nothing);
        assert_eq!(gesture.pattern(s(15)), Some(Pattern::ArmedShutdown));
        assert_eq!(gesture.deadline(s(15)), Some(s(19)));
        assert_eq!(gesture.tick(s(18)), Step::Nothing);
        assert_eq!(gesture.tick(s(19)), Step::Do(Action::PowerOff));
        assert_eq!(gesture.tick(s(20)), Step::Nothing);
    }

    #[test]
    fn eight_seconds_release_the_data_disk() {
        let mut gesture = Gesture::default();
        gesture.press(s(0));
        assert_eq!(gesture.pattern(s(8)), Some(Pattern::ArmedRemoval));
        assert_eq!(gesture.release(s(9)), Step::Nothing);
        assert_eq!(gesture.pattern(s(9)), Some(Pattern::ArmedRemoval));
        assert_eq!(gesture.tick(s(14)), Step::Do(Action::ReleaseDataDisk));
    }

    #[test]
    fn a_second_press_within_the_grace_takes_it_back() {
        let mut gesture = Gesture::default();
        gesture.press(s(0));
        gesture.release(s(4));
        assert_eq!(gesture.press(s(6)), Step::Cancelled);
        assert_eq!(gesture.pattern(s(6)), None);
        assert_eq!(gesture.release(s(30)), Step::Nothing);
        assert_eq!(gesture.tick(s(40)), Step::Nothing);
    }

    #[test]
    fn a_button_that_is_held_on_means_nothing() {
        let mut gesture = Gesture::default();
        gesture.press(s(0));
        assert_eq!(gesture.tick(s(15)), Step::Cancelled);
        assert_eq!(gesture.pattern(s(15)), None);
        assert_eq!(gesture.release(s(99)), Step::Nothing);
        // Nobody looked in between.
        gesture.press(s(100));
        assert_eq!(gesture.release(s(120)), Step::Cancelled);
    }

    #[derive(Debug, Clone)]
    enum Event {
        Press,
        Release,
        Tick,
    }

    proptest! {
        #[test]
        fn nothing_but_a_long_press_and_a_quiet_grace_stops_the_appliance(
            events in proptest::collection::vec(
                (prop_oneof![Just(Event::Press), Just(Event::Release), Just(Event::Tick)], 0u64..6000),
                0..60,
            )
        ) {
            let mut gesture = Gesture::default();
            let mut now = Duration::ZERO;
            let (mut pressed, mut released) = (None, None);
            for (event, wait) in events {
                now += Duration::from_millis(wait);
                let step = match event {
                    Event::Press => gesture.press(now),
                    Event::Release => gesture.release(now),
                    Event::Tick => gesture.tick(now),
                };
                if let Step::Do(_) = step {
                    let (down, up): (Duration, Duration) = (pressed.unwrap(), released.unwrap());
                    let held = up.checked_sub(down).unwrap();
                    prop_assert!(held >= SHUTDOWN_AFTER && held < GIVE_UP_AFTER);
                    prop_assert!(now.checked_sub(up).unwrap() >= GRACE);
                }
                match event {
                    Event::Press => (pressed, released) = (Some(now), None),
                    Event::Release => if released.is_none() { released = Some(now) },
                    Event::Tick => {}
                }
                if let Some(next) = gesture.deadline(now) {
                    prop_assert!(next > now || gesture.tick(now) != Step::Nothing);
                }
            }
        }
    }
}

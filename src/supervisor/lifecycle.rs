//! When to start again after an engine ended: backoff, crash loop, and what does not count.
//!
//! Pure: time comes in as an argument, randomness as a function.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config;

/// A run shorter than this never restarts at once, so that nothing can spin.
const SPIN_GUARD: Duration = Duration::from_secs(1);

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Exit code or a signal of its own making, such as SIGSEGV or SIGABRT.
    Crash,
    /// SIGKILL by the kernel's OOM killer.
    OutOfMemory,
    /// SIGKILL or SIGTERM by somebody else: no fault of the engine.
    KilledFromOutside,
    /// Killed by the supervisor because it did not answer.
    Hung,
}

/// A run that ended unasked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) lasted: Duration,
    pub(super) was_ready: bool,
    pub(super) cause: Cause,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Start at once.
    Now,
    /// Start after this wait.
    After(Duration),
    /// A person is needed; try once after this wait.
    CrashLoop(Duration),
}

/// Remembers failures and decides.
#[derive(Debug)]
pub(super) struct Restarts {
    policy: config::Supervisor,
    failures: VecDeque<Instant>,
    in_a_row: u32,
}

impl Restarts {
    pub(super) fn new(policy: config::Supervisor) -> Self {
        Self {
            policy,
            failures: VecDeque::new(),
            in_a_row: 0,
        }
    }

    /// Forgets all failures: a person started the datastore.
    pub(super) fn reset(&mut self) {
        self.failures.clear();
        self.in_a_row = 0;
    }

    /// Decides after a run that ended at `now`; `jitter` gives a number in 0..1.
    pub(super) fn after(&mut self, run: Run, now: Instant, jitter: impl Fn() -> f64) -> Next {
        if run.was_ready && run.lasted >= self.policy.stable_after.0 {
            self.reset();
        }
        let served = run.was_ready && run.lasted >= SPIN_GUARD;
        if run.cause == Cause::KilledFromOutside && run.was_ready {
            return if served {
                Next::Now
            } else {
                Next::After(self.policy.backoff_min.0)
            };
        }
        self.in_a_row += 1;
        self.failures.push_back(now);
        let window = self.policy.crash_loop_window.0;
        while self
            .failures
            .front()
            .is_some_and(|first| now.duration_since(*first) > window)
        {
            self.failures.pop_front();
        }
        let limit = self.policy.crash_loop_failures;
        if self.failures.len() >= limit as usize {
            // Older ones are not needed: one more failure after the retry is again a crash loop.
            while self.failures.len() >= limit as usize {
                self.failures.pop_front();
            }
            return Next::CrashLoop(self.policy.crash_loop_retry.0);
        }
        // The retry of a crash loop comes after the window, but is still the same crash loop.
        if self.in_a_row >= limit && !run.was_ready {
            return Next::CrashLoop(self.policy.crash_loop_retry.0);
        }
        if self.in_a_row == 1 && served {
            return Next::Now;
        }
        let doublings = (self.in_a_row - 1).min(30);
        let full = self.policy.backoff_min.0.saturating_mul(1 << doublings);
        let full = full.min(self.policy.backoff_max.0);
        // Between a half and the whole, so that datastores that fail together part ways.
        let wait = full.div_f64(2.0) + full.mul_f64(jitter().clamp(0.0, 1.0) / 2.0);
        Next::After(wait.max(self.policy.backoff_min.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::Span;

    const CRASH_AT_START: Run = Run {
        lasted: Duration::from_millis(5),
        was_ready: false,
        cause: Cause::Crash,
    };

    fn served(seconds: u64, cause: Cause) -> Run {
        Run {
            lasted: Duration::from_secs(seconds),
            was_ready: true,
            cause,
        }
    }

    fn restarts() -> Restarts {
        Restarts::new(config::Supervisor::default())
    }

    #[test]
    fn the_first_crash_of_an_engine_that_served_restarts_it_at_once() {
        let now = Instant::now();
        assert_eq!(
            restarts().after(served(90, Cause::Crash), now, || 0.5),
            Next::Now
        );
        assert_eq!(
            restarts().after(served(2, Cause::Crash), now, || 0.5),
            Next::Now
        );
    }

    #[test]
    fn waits_double_up_to_the_maximum() {
        let policy = config::Supervisor {
            crash_loop_failures: 100,
            ..Default::default()
        };
        let mut restarts = Restarts::new(policy);
        let now = Instant::now();
        let waits: Vec<_> = (0..12)
            .map(|_| restarts.after(CRASH_AT_START, now, || 1.0))
            .collect();
        assert_eq!(waits[0], Next::After(Duration::from_millis(100)));
        assert_eq!(waits[1], Next::After(Duration::from_millis(200)));
        assert_eq!(waits[11], Next::After(Duration::from_secs(30)));
    }

    #[test]
    fn five_failures_in_five_minutes_are_a_crash_loop_and_each_failed_retry_is_one_again() {
        let mut restarts = restarts();
        let mut now = Instant::now();
        for _ in 0..4 {
            assert!(matches!(
                restarts.after(CRASH_AT_START, now, || 0.0),
                Next::After(_)
            ));
            now += Duration::from_secs(10);
        }
        let retry = Duration::from_secs(300);
        for _ in 0..3 {
            assert_eq!(
                restarts.after(CRASH_AT_START, now, || 0.0),
                Next::CrashLoop(retry)
            );
            now += Duration::from_secs(301);
        }
    }

    #[test]
    fn failures_far_apart_are_no_crash_loop() {
        let mut restarts = restarts();
        let mut now = Instant::now();
        for _ in 0..20 {
            let next = restarts.after(served(120, Cause::Crash), now, || 0.0);
            assert_eq!(next, Next::Now);
            now += Duration::from_secs(120);
        }
    }

    #[test]
    fn kills_from_outside_are_no_crash_loop_and_restart_at_once() {
        let mut restarts = restarts();
        let now = Instant::now();
        for _ in 0..20 {
            let next = restarts.after(served(2, Cause::KilledFromOutside), now, || 0.0);
            assert_eq!(next, Next::Now);
        }
    }

    #[test]
    fn the_oom_killer_counts_as_a_failure() {
        let mut restarts = restarts();
        let now = Instant::now();
        let last = (0..5)
            .map(|_| restarts.after(served(2, Cause::OutOfMemory), now, || 0.0))
            .last();
        assert!(matches!(last, Some(Next::CrashLoop(_))));
    }

    #[test]
    fn a_person_who_starts_it_again_gets_a_clean_slate() {
        let mut restarts = restarts();
        let now = Instant::now();
        for _ in 0..5 {
            restarts.after(CRASH_AT_START, now, || 0.0);
        }
        restarts.reset();
        assert!(matches!(
            restarts.after(CRASH_AT_START, now, || 0.0),
            Next::After(_)
        ));
    }

    proptest! {
        #[test]
        fn no_wait_is_outside_its_bounds_and_nothing_spins(
            runs in proptest::collection::vec(
                (0u64..200_000, any::<bool>(), 0usize..4, 0u64..400, 0.0f64..1.0), 1..60),
            min in 10u64..60_000,
            factor in 1u64..100,
        ) {
            let policy = config::Supervisor {
                backoff_min: Span(Duration::from_millis(min)),
                backoff_max: Span(Duration::from_millis(min * factor)),
                ..Default::default()
            };
            let mut restarts = Restarts::new(policy.clone());
            let mut now = Instant::now();
            for (lasted, was_ready, cause, gap, jitter) in runs {
                let cause = [Cause::Crash, Cause::OutOfMemory, Cause::KilledFromOutside, Cause::Hung]
                    [cause];
                let run = Run { lasted: Duration::from_millis(lasted), was_ready, cause };
                now += run.lasted + Duration::from_secs(gap);
                match restarts.after(run, now, || jitter) {
                    Next::Now => prop_assert!(was_ready && run.lasted >= SPIN_GUARD),
                    Next::After(wait) => {
                        prop_assert!(wait >= policy.backoff_min.0);
                        prop_assert!(wait <= policy.backoff_max.0);
                    }
                    Next::CrashLoop(wait) => prop_assert_eq!(wait, policy.crash_loop_retry.0),
                }
            }
        }
    }
}

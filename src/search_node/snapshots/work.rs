//! Work that can be called off, and that keeps to a rate.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::search_node::failure::{Failure, Outcome};

/// Whether work is called off, and why.
#[derive(Debug, Default)]
pub(in crate::search_node) struct Work {
    reason: Mutex<Option<Failure>>,
    wake: Condvar,
}

impl Work {
    /// Calls it off; what it does next fails with `why`.
    pub(in crate::search_node) fn cancel(&self, why: Failure) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.wake.notify_all();
    }

    /// Refuses to go on when it was called off.
    pub(in crate::search_node) fn check(&self) -> Outcome<()> {
        self.pause(Duration::ZERO)
    }

    /// Waits, unless it is called off.
    fn pause(&self, time: Duration) -> Outcome<()> {
        let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .wake
            .wait_timeout_while(reason, time, |reason| reason.is_none());
        let (reason, _) = waited.unwrap_or_else(PoisonError::into_inner);
        reason.clone().map_or(Ok(()), Err)
    }
}

/// See the module.
#[derive(Debug)]
pub(in crate::search_node) struct Pace<'a> {
    work: &'a Work,
    /// Bytes each second; `None` is as fast as it goes.
    rate: Option<u64>,
    began: Instant,
    /// When the next bytes may be moved, counted from the beginning.
    due: Duration,
}

impl<'a> Pace<'a> {
    /// Of `work`, at most `rate` bytes each second.
    pub(in crate::search_node) fn new(work: &'a Work, rate: Option<u64>) -> Self {
        Self {
            work,
            rate,
            began: Instant::now(),
            due: Duration::ZERO,
        }
    }

    /// To be called for every `bytes` that were moved: waits when that was too fast, and fails
    /// when the work was called off.
    pub(super) fn moved(&mut self, bytes: u64) -> Outcome<()> {
        let elapsed = self.began.elapsed();
        if let Some(rate) = self.rate {
            // Time in which nothing was moved is not made up for.
            self.due =
                self.due.max(elapsed) + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        }
        self.work.pause(self.due.saturating_sub(elapsed))
    }

    /// Fails when the work was called off; for what is only read.
    pub(super) fn check(&self) -> Outcome<()> {
        self.work.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_and_work_that_is_called_off_ends() {
        let work = Work::default();
        let mut pace = Pace::new(&work, Some(1000));
        let began = Instant::now();
        pace.moved(100).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(95));
        // Half a second without a move saves nothing up.
        work.pause(Duration::from_millis(500)).unwrap();
        let began = Instant::now();
        pace.moved(100).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(95));
        work.cancel(Failure::internal("stop"));
        // Ten minutes of waiting end at once.
        assert_eq!(pace.moved(600_000).unwrap_err().reason, "stop");
        assert!(pace.check().is_err());
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

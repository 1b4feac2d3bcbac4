//! How far work on a repository is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustic_core::{Progress, ProgressBars, ProgressType, RusticProgress};

/// Bytes done and in all, for whoever shows them.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    done: AtomicU64,
    total: AtomicU64,
    /// Nobody knows how much there is in all.
    unknown: AtomicBool,
}

impl Meter {
    /// Bytes done, and in all; 0 as long as nobody knows that.
    pub fn get(&self) -> (u64, u64) {
        let done = self.0.done.load(Ordering::Relaxed);
        if self.0.unknown.load(Ordering::Relaxed) {
            return (done, 0);
        }
        (done, self.0.total.load(Ordering::Relaxed).max(done))
    }

    /// Counts what was done besides.
    pub(super) fn add(&self, bytes: u64) {
        self.0.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Says whether somebody knows how much there is in all.
    pub(super) fn open_ended(&self, open: bool) {
        self.0.unknown.store(open, Ordering::Relaxed);
    }

    /// Counts what is to be done.
    pub(super) fn add_total(&self, bytes: u64) {
        self.0.total.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Counting(Meter);

impl RusticProgress for Counting {
    fn is_hidden(&self) -> bool {
        false
    }
    fn set_length(&self, bytes: u64) {
        self.0.add_total(bytes);
    }
    fn set_title(&self, _title: &str) {}
    fn inc(&self, bytes: u64) {
        self.0.0.done.fetch_add(bytes, Ordering::Relaxed);
    }
    fn finish(&self) {}
}

impl ProgressBars for Meter {
    fn progress(&self, kind: ProgressType, _prefix: &str) -> Progress {
        match kind {
            ProgressType::Bytes => Progress::new(Counting(self.clone())),
            ProgressType::Spinner | ProgressType::Counter => Progress::hidden(),
        }
    }
}

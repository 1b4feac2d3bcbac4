//! How many bytes a second go to a repository and come from it, over all its streams.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What is sent or read at once at most, in bytes, where there is a bound: short of what a slow line
/// takes in a second, so that others come between.
pub(super) const PIECE: usize = 32 << 10;

/// A bound, or none.
#[derive(Debug, Default)]
pub(super) struct Rate {
    per_second: Option<u64>,
    /// When the next byte may go.
    free: Mutex<Option<Instant>>,
}

impl Rate {
    /// So many bytes a second; any number without one.
    pub(super) fn new(per_second: Option<u64>) -> Self {
        Self {
            per_second,
            free: Mutex::default(),
        }
    }

    /// The bound in bytes a second.
    pub(super) const fn bound(&self) -> Option<u64> {
        self.per_second
    }

    /// Gives so many bytes their turn, and says how long it is to that. What nobody used is not saved
    /// up.
    fn turn(&self, bytes: usize) -> Duration {
        let Some(per_second) = self.per_second else {
            return Duration::ZERO;
        };
        let now = Instant::now();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = free.map_or(now, |free| free.max(now));
        #[allow(clippy::cast_precision_loss)]
        let takes = Duration::from_secs_f64(bytes as f64 / per_second.max(1) as f64);
        *free = Some(begin + takes);
        begin + takes - now
    }

    /// Waits until so many bytes may have gone. Blocks the thread, which is the library's, not the
    /// runtime's.
    #[allow(clippy::disallowed_methods)]
    pub(super) fn wait(&self, bytes: usize) {
        for turn in pieces(bytes).map(|bytes| self.turn(bytes)) {
            if turn.is_zero() {
                return;
            }
            std::thread::sleep(turn);
        }
    }

    /// As [`Self::wait`], and blocks nobody.
    pub(super) async fn pass(&self, bytes: usize) {
        let turn = self.turn(bytes);
        if !turn.is_zero() {
            tokio::time::sleep(turn).await;
        }
    }
}

/// So many bytes, a piece at a time: others come between.
fn pieces(bytes: usize) -> impl Iterator<Item = usize> {
    (0..bytes)
        .step_by(PIECE)
        .map(move |from| PIECE.min(bytes - from))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_streams_together_keep_to_the_bound_and_save_nothing_up() {
        let rate = Arc::new(Rate::new(Some(1000)));
        tokio::time::sleep(Duration::from_mins(1)).await;
        let began = Instant::now();
        let mut streams = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let rate = Arc::clone(&rate);
            streams.spawn(async move {
                for _ in 0..10 {
                    rate.pass(100).await;
                }
            });
        }
        streams.join_all().await;
        let took = began.elapsed();
        let wanted = Duration::from_secs(4);
        assert!(
            took >= wanted && took < wanted + Duration::from_millis(50),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_bound_nobody_waits() {
        let rate = Rate::new(None);
        let began = Instant::now();
        rate.pass(usize::MAX).await;
        rate.wait(usize::MAX);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}

//! How often: a bucket for each client, which fills up with time; and who guesses at keys waits.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Clients that are remembered at once.
const REMEMBERED: usize = 4096;
/// Wrong keys within a minute that are forgiven.
const GUESSES: f64 = 10.0;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// Buckets that hold `burst` and gain `per_minute`.
#[derive(Debug)]
pub(super) struct Buckets {
    per_minute: f64,
    burst: f64,
    clients: Mutex<HashMap<String, Bucket>>,
}

impl Buckets {
    pub(super) fn new(per_minute: u32, burst: u32) -> Self {
        Self {
            per_minute: per_minute.into(),
            burst: burst.into(),
            clients: Mutex::default(),
        }
    }

    /// For those who guess at keys.
    pub(super) fn of_guesses() -> Self {
        Self {
            per_minute: GUESSES,
            burst: GUESSES,
            clients: Mutex::default(),
        }
    }

    /// Takes one for `client`; how long to wait where there is none. No limit is no wait.
    pub(super) fn take(&self, client: &str, now: Instant) -> Result<(), Duration> {
        self.change(client, now, 1.0)
    }

    /// Whether one could be taken.
    pub(super) fn look(&self, client: &str, now: Instant) -> Result<(), Duration> {
        self.change(client, now, 0.0)
    }

    fn change(&self, client: &str, now: Instant, cost: f64) -> Result<(), Duration> {
        if self.per_minute == 0.0 {
            return Ok(());
        }
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= REMEMBERED && !clients.contains_key(client) {
            // Those whose buckets are full again need not be remembered.
            let full = Duration::from_secs_f64(60.0 * self.burst / self.per_minute);
            clients.retain(|_, bucket| now.saturating_duration_since(bucket.at) < full);
            if clients.len() >= REMEMBERED {
                clients.clear();
            }
        }
        let bucket = clients.entry(client.to_owned()).or_insert(Bucket {
            left: self.burst,
            at: now,
        });
        let gained =
            now.saturating_duration_since(bucket.at).as_secs_f64() * self.per_minute / 60.0;
        bucket.left = (bucket.left + gained).min(self.burst);
        bucket.at = now;
        if bucket.left < 1.0 {
            let missing = (1.0 - bucket.left) * 60.0 / self.per_minute;
            return Err(Duration::from_secs_f64(missing));
        }
        bucket.left -= cost;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_burst_and_then_its_rate() {
        let buckets = Buckets::new(60, 3);
        let now = Instant::now();
        for _ in 0..3 {
            assert!(buckets.take("a", now).is_ok());
        }
        let wait = buckets.take("a", now).unwrap_err();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert!(buckets.take("b", now).is_ok());
        let later = now + Duration::from_millis(1100);
        assert!(buckets.take("a", later).is_ok());
        assert!(buckets.take("a", later).is_err());
    }

    #[test]
    fn no_limit_is_no_limit_and_strangers_are_not_remembered_for_ever() {
        let free = Buckets::new(0, 0);
        assert!((0..10_000).all(|_| free.take("a", Instant::now()).is_ok()));
        let buckets = Buckets::new(60, 1);
        let now = Instant::now();
        for n in 0..3 * REMEMBERED {
            let _ = buckets.take(&n.to_string(), now);
        }
        assert!(buckets.clients.lock().unwrap().len() <= REMEMBERED);
    }
}

//! Locks with a lease: whoever holds one knows its token, renews it while at work, and shows a number
//! that only grows to what the lock protects, so that a holder who slept too long is recognised there.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE;
use redis::Script;

use super::key::Key;
use super::{Cache, refused};
use crate::store::StoreError;

/// How long a lock is held where nothing else is said.
pub const LEASE: Duration = Duration::from_secs(30);
/// Between two tries, at most.
const PAUSE: Duration = Duration::from_millis(100);

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What is locked.
    pub name: String,
    /// Who knows it holds the lock.
    pub token: String,
    /// Greater than that of every holder before.
    pub fence: u64,
}

static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') then
             return redis.call('INCR', KEYS[2])
         end
         return 0",
    )
});

static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
         return redis.call('PEXPIRE', KEYS[1], ARGV[2])",
    )
});

static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
         return redis.call('DEL', KEYS[1])",
    )
});

fn millis(lease: Duration) -> Result<String, StoreError> {
    if lease < Duration::from_millis(100) || lease > Duration::from_secs(3600) {
        return Err(StoreError::invalid("lease", "range", "100 ms to an hour"));
    }
    Ok(lease.as_millis().to_string())
}

fn key(name: &str) -> Result<Key, StoreError> {
    Key::new("lock", "name", name)
}

impl Cache {
    /// Takes a lock for `lease`, waiting for it at most `wait`. `None` where another one has it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn lock(
        &self,
        name: &str,
        lease: Duration,
        wait: Duration,
    ) -> Result<Option<Held>, StoreError> {
        let (key, fence) = (key(name)?, Key::new("lock", "fence", name)?);
        let lease = millis(lease)?;
        let mut random = [0_u8; 20];
        getrandom::fill(&mut random).map_err(refused)?;
        let (random, spread) = random.split_at(16);
        let token = URL_SAFE.encode(random);
        let until = Instant::now() + wait;
        for number in 0_usize.. {
            let number_of_holder: u64 = self
                .connections
                .script(
                    key.database,
                    &TAKE,
                    &[&key.name, &fence.name],
                    &[&token, &lease],
                )
                .await?;
            if number_of_holder > 0 {
                return Ok(Some(Held {
                    name: name.to_owned(),
                    token,
                    fence: number_of_holder,
                }));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // Those who wait do not come at the same moment.
            let spread = spread.get(number % spread.len()).copied().unwrap_or(0);
            let pause = PAUSE.mul_f64(0.5 + f64::from(spread) / 512.0);
            tokio::time::sleep(pause.min(left)).await;
        }
        Ok(None)
    }

    /// Holds a lock for `lease` from now on. `false` where it is held no longer.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn renew(
        &self,
        name: &str,
        token: &str,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let key = key(name)?;
        let done: i64 = self
            .connections
            .script(
                key.database,
                &RENEW,
                &[&key.name],
                &[token, &millis(lease)?],
            )
            .await?;
        Ok(done == 1)
    }

    /// Gives a lock back. `false` where it was held no longer.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn release(&self, name: &str, token: &str) -> Result<bool, StoreError> {
        let key = key(name)?;
        let done: i64 = self
            .connections
            .script(key.database, &RELEASE, &[&key.name], &[token])
            .await?;
        Ok(done == 1)
    }
}

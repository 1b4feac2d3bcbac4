//! Rate limits over a sliding window. Calls that are turned down do not count, so that whoever waits is
//! let in again; two calls within the same moment are two.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use super::Cache;
use super::key::Key;
use crate::store::StoreError;

/// What holds while the cache cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFault {
    /// Calls are let in.
    Open,
    /// Calls are turned down: for logins and whatever changes much.
    Closed,
}

/// What comes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is let in.
    pub allowed: bool,
    /// Calls within a window.
    pub limit: u64,
    /// How many more are let in now.
    pub remaining: u64,
    /// Calls that count now.
    pub count: u64,
    /// After how long a call that is turned down would be let in; zero for one that was let in.
    pub retry_after: Duration,
}

/// The cache's own clock counts, in microseconds. A number of the key makes each member another one.
static CHECK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local now = time[1] * 1000000 + time[2]
         local window, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
         redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
         local count = redis.call('ZCARD', KEYS[1])
         if ARGV[3] == '1' and count < limit then
             local last = redis.call('ZRANGE', KEYS[1], -1, -1)[1]
             local number = last and tonumber(string.match(last, ':(%d+)$')) or 0
             redis.call('ZADD', KEYS[1], now, string.format('%.0f:%d', now, number + 1))
             redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
             return {1, count + 1, 0}
         end
         if count < limit then return {1, count, 0} end
         local oldest = redis.call('ZRANGE', KEYS[1], count - limit, count - limit, 'WITHSCORES')
         return {0, count, math.max(1, oldest[2] + window - now)}",
    )
});

impl Cache {
    /// Asks for one call of `who` (`kind` such as `user`, `ip` or `endpoint`) within a window; it counts
    /// where it is let in and `counts` is set.
    ///
    /// # Errors
    /// [`StoreError::Invalid`]; a cache that does not answer is no error, but what `on_fault` says.
    pub async fn rate_limit(
        &self,
        kind: &str,
        who: &str,
        limit: u64,
        window: Duration,
        counts: bool,
        on_fault: OnFault,
    ) -> Result<Verdict, StoreError> {
        if limit == 0 || window.is_zero() || window > Duration::from_secs(86_400) {
            let message = "a limit of 1 at least, within 1 s to a day";
            return Err(StoreError::invalid("limit", "range", message));
        }
        let key = Key::new("ratelimit", kind, who)?;
        let answer = self
            .connections
            .script::<(u64, u64, u64)>(
                key.database,
                &CHECK,
                &[&key.name],
                &[
                    &window.as_micros().to_string(),
                    &limit.to_string(),
                    if counts { "1" } else { "0" },
                ],
            )
            .await;
        match answer {
            Ok((allowed, count, wait)) => Ok(Verdict {
                allowed: allowed == 1,
                limit,
                remaining: limit.saturating_sub(count),
                count,
                retry_after: Duration::from_micros(wait),
            }),
            Err(StoreError::Down { .. } | StoreError::Slow { .. }) => Ok(Verdict {
                allowed: on_fault == OnFault::Open,
                limit,
                remaining: 0,
                count: 0,
                retry_after: Duration::from_secs(1),
            }),
            Err(error) => Err(error),
        }
    }
}

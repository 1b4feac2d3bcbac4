//! What is in the cache, and how it is: never by KEYS, and never beyond Lucid's own keys.

use std::collections::HashMap;

use redis::cmd;

use super::key::{Key, pattern};
use super::{Cache, DATABASES};
use crate::store::StoreError;

/// Keys that are looked at in one step.
const STEP: u64 = 500;
/// Steps of a page; a page may be short, and is continued from its cursor.
const STEPS: u32 = 200;

/// A key in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Whole name.
    pub name: String,
    /// `string`, `zset` and so on.
    pub kind: String,
    /// Seconds; absent where it stays for good.
    pub ttl: Option<u64>,
    /// What the cache needs for it, in bytes.
    pub bytes: Option<u64>,
    /// Members of a set that counts, such as a rate limit.
    pub members: Option<u64>,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What was found.
    pub keys: Vec<KeyInfo>,
    /// Where to go on; absent at the end.
    pub cursor: Option<String>,
}

/// What a flush removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushed {
    /// Keys.
    pub keys: u64,
}

/// `2-17`: the logical database, and the engine's cursor in it.
fn cursor(text: &str) -> Result<(i64, u64), StoreError> {
    let parsed = text
        .split_once('-')
        .and_then(|(database, at)| Some((database.parse().ok()?, at.parse().ok()?)));
    match parsed {
        Some((database, at)) if DATABASES.contains(&database) => Ok((database, at)),
        _ => Err(StoreError::invalid(
            "cursor",
            "pattern",
            format!("{text:?} is none: pass the one of the last answer"),
        )),
    }
}

impl Cache {
    /// Keys that match a pattern, about `limit` of them, from a cursor on.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn keys(
        &self,
        wanted: &str,
        limit: usize,
        from: Option<&str>,
    ) -> Result<Page, StoreError> {
        let pattern = pattern(wanted)?;
        let (mut database, mut at) = from.map_or(Ok((0, 0)), cursor)?;
        let mut names: Vec<Key> = Vec::new();
        let mut next = None;
        for step in 0.. {
            if names.len() >= limit || step >= STEPS {
                next = Some(format!("{database}-{at}"));
                break;
            }
            let mut scan = cmd("SCAN");
            scan.arg(at)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(STEP);
            let (then, found): (u64, Vec<Vec<u8>>) = self.connections.run(database, &scan).await?;
            for name in found {
                // One that is no text is none of Lucid's.
                if let Ok(name) = String::from_utf8(name) {
                    names.push(Key { name, database });
                }
            }
            at = then;
            if at == 0 {
                database += 1;
                if !DATABASES.contains(&database) {
                    break;
                }
            }
        }
        let mut keys = Vec::with_capacity(names.len());
        for database in DATABASES {
            let here: Vec<&Key> = names
                .iter()
                .filter(|key| key.database == database)
                .collect();
            if here.is_empty() {
                continue;
            }
            let mut ask = redis::pipe();
            for key in &here {
                ask.cmd("TYPE").arg(&key.name).cmd("TTL").arg(&key.name);
                ask.cmd("MEMORY").arg("USAGE").arg(&key.name);
            }
            let told: Vec<redis::Value> = self.connections.together(database, &ask).await?;
            for (key, told) in here.iter().zip(told.chunks(3)) {
                let [kind, ttl, bytes] = told else { continue };
                let kind: String = redis::from_redis_value(kind.clone()).unwrap_or_default();
                // It went meanwhile.
                if kind == "none" {
                    continue;
                }
                let ttl: i64 = redis::from_redis_value(ttl.clone()).unwrap_or(-1);
                keys.push(KeyInfo {
                    name: key.name.clone(),
                    kind,
                    ttl: u64::try_from(ttl).ok(),
                    bytes: redis::from_redis_value(bytes.clone()).unwrap_or(None),
                    members: None,
                });
            }
        }
        Ok(Page { keys, cursor: next })
    }

    /// Keys of rate limits, with the calls that count for each.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn rate_limits(&self, limit: usize) -> Result<Vec<KeyInfo>, StoreError> {
        let mut page = self.keys("lucid:ratelimit:*", limit, None).await?;
        page.keys.retain(|key| key.kind == "zset");
        let mut count = redis::pipe();
        for key in &page.keys {
            count.cmd("ZCARD").arg(&key.name);
        }
        if !page.keys.is_empty() {
            let counts: Vec<u64> = self.connections.together(0, &count).await?;
            for (key, count) in page.keys.iter_mut().zip(counts) {
                key.members = Some(count);
            }
        }
        Ok(page.keys)
    }

    /// Removes every key of Lucid that matches a pattern, and no other.
    ///
    /// # Errors
    /// [`StoreError`]; what was removed until then stays so.
    pub async fn flush(&self, wanted: &str) -> Result<Flushed, StoreError> {
        let pattern = pattern(wanted)?;
        let mut flushed = Flushed { keys: 0 };
        for database in DATABASES {
            let mut at = 0_u64;
            loop {
                let mut scan = cmd("SCAN");
                scan.arg(at)
                    .arg("MATCH")
                    .arg(&pattern)
                    .arg("COUNT")
                    .arg(STEP);
                let (then, found): (u64, Vec<Vec<u8>>) =
                    self.connections.run(database, &scan).await?;
                if !found.is_empty() {
                    let mut unlink = cmd("UNLINK");
                    unlink.arg(found);
                    flushed.keys += self.connections.run::<u64>(database, &unlink).await?;
                }
                at = then;
                if at == 0 {
                    break;
                }
            }
        }
        Ok(flushed)
    }

    /// The engine's own numbers (`INFO`).
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn info(&self) -> Result<HashMap<String, String>, StoreError> {
        let text: String = self.connections.run(0, &cmd("INFO")).await?;
        Ok(text
            .lines()
            .filter_map(|line| line.trim().split_once(':'))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect())
    }
}

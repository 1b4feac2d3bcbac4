//! Values under keys.

use std::time::Duration;

use redis::cmd;

use super::key::Key;
use super::{Cache, refused};
use crate::store::StoreError;

/// How long a value stays where nothing else is said: an hour.
pub const DEFAULT_TTL: Duration = Duration::from_secs(3600);
/// Longest value, in bytes.
const LARGEST: usize = 16 << 20;

/// A value, and how long it stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The value.
    pub text: String,
    /// Seconds; absent where it stays for good.
    pub ttl: Option<u64>,
}

fn seconds(ttl: Duration) -> Result<u64, StoreError> {
    match ttl.as_secs() {
        0 => Err(StoreError::invalid("ttl", "minimum", "1 s at least")),
        // Redis counts milliseconds in 63 bits.
        seconds if seconds > 10 * 365 * 86_400 => {
            Err(StoreError::invalid("ttl", "maximum", "ten years at most"))
        }
        seconds => Ok(seconds),
    }
}

impl Cache {
    /// Sets a value for `ttl`. With `only_new` a value that is there stays, and `false` is answered.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn set(
        &self,
        key: &Key,
        value: &str,
        ttl: Duration,
        only_new: bool,
    ) -> Result<bool, StoreError> {
        if value.len() > LARGEST {
            let message = format!("{} bytes; {LARGEST} at most", value.len());
            return Err(StoreError::invalid("value", "maxLength", message));
        }
        let mut command = cmd("SET");
        command
            .arg(&key.name)
            .arg(value)
            .arg("EX")
            .arg(seconds(ttl)?);
        if only_new {
            command.arg("NX");
        }
        let answer: Option<String> = self.connections.run(key.database, &command).await?;
        Ok(answer.is_some())
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn get(&self, key: &Key) -> Result<Option<Value>, StoreError> {
        let mut both = redis::pipe();
        both.atomic();
        both.cmd("GET").arg(&key.name).cmd("TTL").arg(&key.name);
        let (value, ttl): (Option<Vec<u8>>, i64) =
            self.connections.together(key.database, &both).await?;
        let Some(value) = value else {
            return Ok(None);
        };
        let text = String::from_utf8(value).map_err(|_| refused("the value is no text"))?;
        Ok(Some(Value {
            text,
            ttl: u64::try_from(ttl).ok(),
        }))
    }

    /// Removes keys; answers how many were there.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn delete(&self, keys: &[Key]) -> Result<u64, StoreError> {
        let mut count = 0;
        for database in super::DATABASES {
            let names: Vec<&str> = keys
                .iter()
                .filter(|key| key.database == database)
                .map(|key| key.name.as_str())
                .collect();
            if !names.is_empty() {
                let mut command = cmd("UNLINK");
                command.arg(names);
                count += self.connections.run::<u64>(database, &command).await?;
            }
        }
        Ok(count)
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        let mut command = cmd("EXISTS");
        command.arg(&key.name);
        self.connections.run(key.database, &command).await
    }
}

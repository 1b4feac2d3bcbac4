//! Sessions of users: JSON objects under tokens, with the time of the last use, and a set for each user.
//!
//! Every change is one step for the cache. A session is rewritten only where it is still the one that
//! was read: of two who touch it at once, the second tries again.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Script, cmd};
use serde_json::{Map, Value};

use super::key::Key;
use super::{Cache, refused};
use crate::store::StoreError;

/// The life of an access token.
pub const DEFAULT_TTL: Duration = Duration::from_secs(900);
/// How often a session that others change meanwhile is tried.
const TRIES: u32 = 8;
/// Fields that are the service's own.
const OWN: [&str; 3] = ["user_id", "created_at", "last_activity"];

/// A session.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Its token.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub last_activity: String,
    /// What the caller keeps in it.
    pub data: Map<String, Value>,
    /// Seconds that it has left.
    pub ttl: u64,
}

/// Makes a session, and lets the user's set live at least as long.
static CREATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if not redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2], 'NX') then return 0 end
         redis.call('SADD', KEYS[2], ARGV[3])
         if redis.call('TTL', KEYS[2]) < tonumber(ARGV[2]) then
             redis.call('EXPIRE', KEYS[2], ARGV[2])
         end
         return 1",
    )
});

/// Writes a session that is still the one that was read; it stays as long as before.
static REPLACE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local now = redis.call('GET', KEYS[1])
         if not now then return -1 end
         if now ~= ARGV[1] then return 0 end
         redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
         return 1",
    )
});

/// Gives a session more time, and its user's set.
static EXTEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('EXPIRE', KEYS[1], ARGV[1]) == 0 then return 0 end
         redis.call('SADD', KEYS[2], ARGV[2])
         if redis.call('TTL', KEYS[2]) < tonumber(ARGV[1]) then
             redis.call('EXPIRE', KEYS[2], ARGV[1])
         end
         return 1",
    )
});

/// Sessions of a set that are there; the others leave it.
static LIVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local live = {}
         for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
             if redis.call('EXISTS', ARGV[1] .. id) == 1 then
                 live[#live + 1] = id
             else
                 redis.call('SREM', KEYS[1], id)
             end
         end
         return live",
    )
});

fn key(id: &str) -> Result<Key, StoreError> {
    Key::new("session", "token", id)
}

fn of_user(user_id: &str) -> Result<Key, StoreError> {
    Key::new("session", "user", user_id)
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

impl Cache {
    /// Makes a session of `user_id` that lives for `ttl`.
    ///
    /// # Errors
    /// [`StoreError::Exists`] where the token is in use; [`StoreError::Invalid`] where `data` names a
    /// field of the service.
    pub async fn create_session(
        &self,
        id: &str,
        user_id: &str,
        data: Map<String, Value>,
        ttl: Duration,
    ) -> Result<Session, StoreError> {
        if let Some(own) = OWN.iter().find(|own| data.contains_key(**own)) {
            let message = "is set by the service; choose another name";
            return Err(StoreError::invalid(own, "reserved", message));
        }
        let (session, user) = (key(id)?, of_user(user_id)?);
        let now = now();
        let mut whole = Map::new();
        whole.insert("user_id".to_owned(), user_id.into());
        whole.insert("created_at".to_owned(), now.clone().into());
        whole.insert("last_activity".to_owned(), now.clone().into());
        whole.extend(data.clone());
        let (text, seconds) = (Value::Object(whole).to_string(), ttl.as_secs().max(1));
        let made: i64 = self
            .connections
            .script(
                session.database,
                &CREATE,
                &[&session.name, &user.name],
                &[&text, &seconds.to_string(), id],
            )
            .await?;
        if made == 0 {
            return Err(StoreError::Exists {
                what: "session",
                name: id.to_owned(),
            });
        }
        Ok(Session {
            id: id.to_owned(),
            user_id: user_id.to_owned(),
            created_at: now.clone(),
            last_activity: now,
            data,
            ttl: seconds,
        })
    }

    /// A session.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn session(&self, id: &str) -> Result<Option<Session>, StoreError> {
        let found = self.get(&key(id)?).await?;
        let Some(found) = found else {
            return Ok(None);
        };
        let mut data = parse(&found.text)?;
        let mut text = |name: &str| {
            let value = data.remove(name);
            value
                .and_then(|value| value.as_str().map(str::to_owned))
                .unwrap_or_default()
        };
        Ok(Some(Session {
            id: id.to_owned(),
            user_id: text("user_id"),
            created_at: text("created_at"),
            last_activity: text("last_activity"),
            ttl: found.ttl.unwrap_or(0),
            data,
        }))
    }

    /// Notes that a session was used just now; it lives as long as before. `false` where it is gone.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn touch_session(&self, id: &str) -> Result<bool, StoreError> {
        let session = key(id)?;
        for _ in 0..TRIES {
            let mut read = cmd("GET");
            read.arg(&session.name);
            let before: Option<String> = self.connections.run(session.database, &read).await?;
            let Some(before) = before else {
                return Ok(false);
            };
            let mut whole = parse(&before)?;
            whole.insert("last_activity".to_owned(), now().into());
            let after = Value::Object(whole).to_string();
            let done: i64 = self
                .connections
                .script(
                    session.database,
                    &REPLACE,
                    &[&session.name],
                    &[&before, &after],
                )
                .await?;
            match done {
                1 => return Ok(true),
                -1 => return Ok(false),
                _ => {}
            }
        }
        Err(StoreError::Conflict(format!(
            "session {id:?} is changed by others all the time; try again"
        )))
    }

    /// Lets a session live for `ttl` from now on. `false` where it is gone.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn extend_session(&self, id: &str, ttl: Duration) -> Result<bool, StoreError> {
        let Some(found) = self.session(id).await? else {
            return Ok(false);
        };
        let (session, user) = (key(id)?, of_user(&found.user_id)?);
        let seconds = ttl.as_secs().max(1).to_string();
        let done: i64 = self
            .connections
            .script(
                session.database,
                &EXTEND,
                &[&session.name, &user.name],
                &[&seconds, id],
            )
            .await?;
        Ok(done == 1)
    }

    /// Ends a session. `false` where there was none.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn delete_session(&self, id: &str) -> Result<bool, StoreError> {
        let session = key(id)?;
        let user = match self.session(id).await? {
            Some(found) => of_user(&found.user_id)?,
            None => return Ok(false),
        };
        let mut both = redis::pipe();
        both.atomic();
        both.cmd("UNLINK").arg(&session.name);
        both.cmd("SREM").arg(&user.name).arg(id).ignore();
        let (gone,): (i64,) = self.connections.together(session.database, &both).await?;
        Ok(gone == 1)
    }

    /// Tokens of the sessions that a user has now.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn sessions_of(&self, user_id: &str) -> Result<Vec<String>, StoreError> {
        let user = of_user(user_id)?;
        let prefix = key("x")?.name;
        let prefix = prefix.trim_end_matches('x');
        let mut live: Vec<String> = self
            .connections
            .script(user.database, &LIVE, &[&user.name], &[prefix])
            .await?;
        live.sort();
        Ok(live)
    }
}

fn parse(text: &str) -> Result<Map<String, Value>, StoreError> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err(refused("the session is no JSON object; delete it")),
    }
}

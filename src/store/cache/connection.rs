//! Connections to the cache: one for each logical database, made when it is wanted, and made again
//! when it broke.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, IntoConnectionInfo, Script};
use tokio::sync::Mutex;

use super::super::{Access, StoreError};
use super::{DATABASES, refused};
use crate::config::Role;

/// It runs on this machine.
const CONNECT: Duration = Duration::from_secs(2);
/// A command that waits longer does so behind one that blocks the engine.
const ANSWER: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Connections {
    access: Access,
    open: [Mutex<Option<MultiplexedConnection>>; DATABASES.len()],
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connections")
    }
}

pub(super) fn down(cause: impl std::fmt::Display) -> StoreError {
    StoreError::Down {
        store: Role::Cache,
        cause: cause.to_string(),
    }
}

/// Whether the connection is of no use any more.
fn is_broken(error: &redis::RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped() || error.is_timeout()
}

fn explain(error: &redis::RedisError) -> StoreError {
    if error.is_timeout() {
        StoreError::Slow {
            store: Role::Cache,
            seconds: ANSWER.as_secs(),
        }
    } else if is_broken(error) || matches!(error.code(), Some("LOADING" | "MASTERDOWN")) {
        down(error)
    } else {
        match error.code() {
            Some("OOM") => refused(
                "it is full (maxmemory): delete keys, give them times to live, or give the cache \
                 more memory",
            ),
            Some("NOPERM") => {
                StoreError::Forbidden(format!("the cache does not allow it: {error}"))
            }
            Some("WRONGTYPE") => {
                StoreError::Conflict("the key holds a value of another type".to_owned())
            }
            _ => refused(error),
        }
    }
}

/// A client of logical database `database`.
pub(super) fn client(access: &Access, database: i64) -> Result<redis::Client, StoreError> {
    let uri = access(Role::Cache).map_err(down)?;
    let info = uri.as_str().into_connection_info().map_err(down)?;
    let settings = info.redis_settings().clone().set_db(database);
    redis::Client::open(info.set_redis_settings(settings)).map_err(down)
}

/// What is asked.
enum Ask<'a> {
    Command(&'a Cmd),
    Pipeline(&'a redis::Pipeline),
    Script(&'a redis::ScriptInvocation<'a>),
}

impl Connections {
    pub(super) fn new(access: Access) -> Self {
        Self {
            access,
            open: [const { Mutex::const_new(None) }; DATABASES.len()],
        }
    }

    /// A client of logical database `database`.
    pub(super) fn client(&self, database: i64) -> Result<redis::Client, StoreError> {
        client(&self.access, database)
    }

    /// How to connect.
    pub(super) fn access(&self) -> Access {
        Access::clone(&self.access)
    }

    async fn connect(&self, database: i64) -> Result<MultiplexedConnection, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        self.client(database)?
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(down)
    }

    async fn connection(&self, database: i64) -> Result<(MultiplexedConnection, bool), StoreError> {
        let slot = usize::try_from(database)
            .ok()
            .and_then(|index| self.open.get(index));
        let slot =
            slot.ok_or_else(|| refused(format!("{database} is none of Lucid's databases")))?;
        let mut open = slot.lock().await;
        if let Some(open) = &*open {
            return Ok((open.clone(), true));
        }
        let made = self.connect(database).await?;
        *open = Some(made.clone());
        Ok((made, false))
    }

    async fn forget(&self, database: i64) {
        let slot = usize::try_from(database)
            .ok()
            .and_then(|index| self.open.get(index));
        if let Some(slot) = slot {
            *slot.lock().await = None;
        }
    }

    /// Asks; once more over a new connection where an old one turns out to be broken.
    async fn ask<T: FromRedisValue>(&self, database: i64, ask: Ask<'_>) -> Result<T, StoreError> {
        loop {
            let (mut connection, is_old) = self.connection(database).await?;
            let answer = match &ask {
                Ask::Command(command) => command.query_async(&mut connection).await,
                Ask::Pipeline(commands) => commands.query_async(&mut connection).await,
                Ask::Script(call) => call.invoke_async(&mut connection).await,
            };
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let lost = is_broken(&error) || error.code() == Some("NOAUTH");
            if lost {
                self.forget(database).await;
            }
            // An engine that was started again has dropped its old connections. What may have been done
            // already, and was not answered in time, is not done twice.
            if lost && is_old && !error.is_timeout() {
                continue;
            }
            return Err(explain(&error));
        }
    }

    /// Runs one command.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        database: i64,
        command: &Cmd,
    ) -> Result<T, StoreError> {
        self.ask(database, Ask::Command(command)).await
    }

    /// Runs several commands as one, which nothing comes between.
    pub(super) async fn together<T: FromRedisValue>(
        &self,
        database: i64,
        commands: &redis::Pipeline,
    ) -> Result<T, StoreError> {
        self.ask(database, Ask::Pipeline(commands)).await
    }

    /// Runs a script with keys and arguments.
    pub(super) async fn script<T: FromRedisValue>(
        &self,
        database: i64,
        script: &Script,
        keys: &[&str],
        arguments: &[&str],
    ) -> Result<T, StoreError> {
        let mut call = script.prepare_invoke();
        for key in keys {
            call.key(*key);
        }
        for argument in arguments {
            call.arg(*argument);
        }
        self.ask(database, Ask::Script(&call)).await
    }
}

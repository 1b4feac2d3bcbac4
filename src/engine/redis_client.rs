//! Client of Redis and Valkey: one connection, in the logical database of the probes.

use std::net::IpAddr;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, ServerErrorKind, cmd,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::redis_config::password_hash;
use super::redis_info::Info;
use super::{Client, Context, EngineError, Fault, HEALTH_CACHE_DB, Login, nonce};
use crate::config::AppendFsync;

/// Key that write probes write, and read probes read.
const CANARY: &str = "lucid:health:canary";

/// Lifetime of the canary in seconds; the probe removes it, this is for one that was cut short.
const CANARY_TTL: u32 = 30;

/// See the module.
#[derive(Debug)]
pub(super) struct RedisClient {
    engine: &'static str,
    address: (IpAddr, u16),
    supervisor: Login,
    appendfsync: AppendFsync,
    /// `evicted_keys` at the last look.
    evicted: Option<u64>,
    /// Taken out during a call, so that one that fails or is given up leaves none behind.
    connection: Option<MultiplexedConnection>,
}

impl RedisClient {
    pub(super) fn new(engine: &'static str, ctx: &Context) -> Self {
        Self {
            engine,
            address: ctx.local_addr(),
            supervisor: ctx.credentials.supervisor.clone(),
            appendfsync: ctx.config.datastore.cache.appendfsync,
            evicted: None,
            connection: None,
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let (ip, port) = self.address;
        let settings = RedisConnectionInfo::default()
            .set_username(&self.supervisor.user)
            .set_password(&self.supervisor.password)
            .set_db(HEALTH_CACHE_DB)
            .set_skip_set_lib_name();
        let info = ConnectionAddr::Tcp(ip.to_string(), port)
            .into_connection_info()?
            .set_redis_settings(settings);
        // The caller has the deadline.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        ::redis::Client::open(info)?
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    fn error(&self, operation: &'static str, error: &RedisError) -> EngineError {
        if error.kind() == ErrorKind::Server(ServerErrorKind::BusyLoading) {
            return EngineError::Loading {
                engine: self.engine,
                progress: String::new(),
            };
        }
        if error.kind() == ErrorKind::AuthenticationFailed {
            let cause = format!(
                "it refuses the password of {:?}: it was started with another credential file; \
                 restart it",
                self.supervisor.user
            );
            return self.call(operation, cause);
        }
        let cause = match (error.code(), error.detail()) {
            (Some(code), Some(detail)) => format!("{code} {detail}"),
            _ => error.to_string(),
        };
        let answered = matches!(error.kind(), ErrorKind::Server(_)) || error.code().is_some();
        EngineError::Call {
            engine: self.engine,
            operation,
            cause,
            answered,
        }
    }

    fn call(&self, operation: &'static str, cause: String) -> EngineError {
        EngineError::Call {
            engine: self.engine,
            operation,
            cause,
            answered: true,
        }
    }

    /// Runs `work` on the kept connection or a new one, and keeps it only if `work` succeeds.
    async fn with<T>(
        &mut self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, EngineError> {
        let connection = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.connect().await,
        };
        let result = match connection {
            Ok(mut connection) => {
                let result = work(&mut connection).await;
                if result.is_ok() {
                    self.connection = Some(connection);
                }
                result
            }
            Err(e) => Err(e),
        };
        result.map_err(|e| self.error(operation, &e))
    }

    async fn write_and_read(&mut self) -> Result<(), EngineError> {
        const OPERATION: &str = "writing the canary";
        let written = nonce();
        let value = written.as_str();
        let read: Option<String> = self
            .with(OPERATION, async |connection| {
                let () = set(value).query_async(connection).await?;
                let read = cmd("GET").arg(CANARY).query_async(connection).await?;
                let () = cmd("UNLINK").arg(CANARY).query_async(connection).await?;
                Ok(read)
            })
            .await?;
        if read.as_deref() != Some(value) {
            let cause = "an acknowledged value was not there to read".to_owned();
            return Err(self.call(OPERATION, cause));
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<Vec<Fault>, EngineError> {
        let text: String = self
            .with("reading its state", async |connection| {
                let mut info = cmd("INFO");
                info.arg("persistence").arg("stats").arg("memory");
                info.query_async(connection).await
            })
            .await?;
        let info = Info::parse(&text);
        if let Some(progress) = info.loading() {
            return Err(EngineError::Loading {
                engine: self.engine,
                progress,
            });
        }
        let faults = info.faults(self.evicted);
        self.evicted = Some(info.evicted());
        Ok(faults)
    }

    /// With `appendfsync always` an answer to a write means that the append-only file is on the
    /// disk up to it. Every version from 7.0 on can be switched while it runs; `WAITAOF`
    /// exists only from 7.2 on.
    async fn flush(&mut self) -> Result<(), EngineError> {
        let switch = self.appendfsync != AppendFsync::Always;
        let value = nonce();
        let value = value.as_str();
        self.with("bringing its file to the disk", async |connection| {
            if switch {
                let () = appendfsync("always").query_async(connection).await?;
            }
            let written: Result<(), _> = set(value).query_async(connection).await;
            if switch {
                let () = appendfsync("everysec").query_async(connection).await?;
            }
            written
        })
        .await
    }
}

fn set(value: &str) -> Cmd {
    let mut set = cmd("SET");
    set.arg(CANARY).arg(value).arg("EX").arg(CANARY_TTL);
    set
}

fn appendfsync(value: &str) -> Cmd {
    let mut config = cmd("CONFIG");
    config.arg("SET").arg("appendfsync").arg(value);
    config
}

impl Client for RedisClient {
    /// The accounts stand in the rendered ACL file; this only sees that the supervisor's works.
    fn bootstrap(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.with("logging in", async |connection| {
            cmd("PING").query_async(connection).await
        })
        .boxed()
    }

    fn read_probe(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.with("reading the canary", async |connection| {
            let _: Option<String> = cmd("GET").arg(CANARY).query_async(connection).await?;
            Ok(())
        })
        .boxed()
    }

    fn write_probe(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.write_and_read().boxed()
    }

    fn faults(&mut self) -> BoxFuture<'_, Result<Vec<Fault>, EngineError>> {
        self.look().boxed()
    }

    fn quiesce(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.flush().boxed()
    }

    /// Replaces every password of the account; connections that are logged in stay.
    fn set_password<'a>(&'a mut self, login: &'a Login) -> BoxFuture<'a, Result<(), EngineError>> {
        async move {
            let hash = format!("#{}", password_hash(&login.password));
            let hash = hash.as_str();
            self.with("setting a password", async |connection| {
                let mut acl = cmd("ACL");
                acl.arg("SETUSER")
                    .arg(&login.user)
                    .arg("resetpass")
                    .arg(hash);
                let () = acl.query_async(connection).await?;
                Ok(())
            })
            .await?;
            if self.supervisor.user == login.user {
                self.supervisor.password.clone_from(&login.password);
                self.connection = None;
            }
            Ok(())
        }
        .boxed()
    }
}

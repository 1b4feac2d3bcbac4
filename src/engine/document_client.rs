//! Client of the document store, for both engines: they speak the same protocol.
//!
//! A probe goes through the storage engine: `ping` is answered by a server whose WiredTiger has
//! panicked, a read or a write is not.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{
    Acknowledgment, AuthMechanism, ClientOptions, Credential, ReadConcern, ServerAddress,
    ServerMonitoringMode, WriteConcern,
};

use super::{Client, Context, Credentials, EngineError, Fault, HEALTH_DATABASE, Login, nonce};

/// Collection of the health database.
const COLLECTION: &str = "probes";
/// The document that read probes read.
pub(super) const CANARY: &str = "canary";

/// How long a driver looks for the server, in milliseconds. It runs on this machine: either it
/// accepts at once, or it is not there.
const SELECTION_MS: u64 = 1500;

/// How often the driver's own monitor asks the server, in seconds. Probes notice earlier; each
/// check wakes both sides.
const HEARTBEAT_S: u64 = 60;

/// How `quiesce` brings everything to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quiesce {
    /// A journaled write: the journal is sequential, so all before it is on the disk as well.
    JournaledWrite,
    /// The `fsync` command.
    Fsync,
}

/// See the module.
#[derive(Debug)]
pub(super) struct DocumentClient {
    engine: &'static str,
    address: ServerAddress,
    pub(super) endpoint: String,
    pub(super) credentials: Credentials,
    /// Name of the replica set to initiate.
    pub(super) replica_set: Option<String>,
    quiesce: Quiesce,
    /// Taken out during a call, so that one that fails or is given up leaves none behind.
    pub(super) connection: Option<mongodb::Client>,
}

impl DocumentClient {
    pub(super) fn new(
        engine: &'static str,
        ctx: &Context,
        replica_set: Option<String>,
        quiesce: Quiesce,
    ) -> Self {
        let (ip, port) = ctx.local_addr();
        Self {
            engine,
            address: ServerAddress::Tcp {
                host: ip.to_string(),
                port: Some(port),
            },
            endpoint: ctx.endpoint(),
            credentials: ctx.credentials.clone(),
            replica_set,
            quiesce,
            connection: None,
        }
    }

    /// A driver for `login`, or without one. Connects with the first operation.
    pub(super) fn driver(&self, login: Option<&Login>) -> Result<mongodb::Client, Error> {
        let mut options = ClientOptions::default();
        options.hosts = vec![self.address.clone()];
        options.app_name = Some("lucid".to_owned());
        options.direct_connection = Some(true);
        options.max_pool_size = Some(1);
        options.min_pool_size = Some(0);
        options.max_connecting = Some(1);
        options.server_selection_timeout = Some(Duration::from_millis(SELECTION_MS));
        options.connect_timeout = Some(Duration::from_millis(SELECTION_MS));
        options.heartbeat_freq = Some(Duration::from_secs(HEARTBEAT_S));
        // Streaming keeps a second request open all the time; one a minute is enough.
        options.server_monitoring_mode = Some(ServerMonitoringMode::Poll);
        // A probe that only succeeds at the second try would hide what it is there to find.
        options.retry_writes = Some(false);
        options.retry_reads = Some(false);
        options.credential = login.map(|login| {
            let mut credential = Credential::default();
            credential.username = Some(login.user.clone());
            credential.password = Some(login.password.clone());
            credential.source = Some("admin".to_owned());
            credential.mechanism = Some(AuthMechanism::ScramSha256);
            credential
        });
        mongodb::Client::with_options(options)
    }

    pub(super) fn error(&self, operation: &'static str, error: &Error) -> EngineError {
        // A refused login is no answer of the storage engine: WiredTiger cannot look accounts up
        // after a panic, and the accounts of a running store do not change by themselves.
        let answered = matches!(
            error.kind.as_ref(),
            ErrorKind::Command(_)
                | ErrorKind::Write(_)
                | ErrorKind::InsertMany(_)
                | ErrorKind::Custom(_)
        );
        let cause = describe(error);
        EngineError::Call {
            engine: self.engine,
            operation,
            cause,
            answered,
        }
    }

    pub(super) fn call(&self, operation: &'static str, cause: String) -> EngineError {
        EngineError::Call {
            engine: self.engine,
            operation,
            cause,
            answered: true,
        }
    }

    /// Whether the server takes connections at all. The driver itself would look for it again
    /// only every 500 ms, and tell a refused connection in half a page.
    pub(super) async fn reach(&self, operation: &'static str) -> Result<(), EngineError> {
        tokio::net::TcpStream::connect(&self.endpoint)
            .await
            .map(drop)
            .map_err(|e| EngineError::Call {
                engine: self.engine,
                operation,
                cause: e.to_string(),
                answered: false,
            })
    }

    /// Runs `work` on the kept connection or a new one, and keeps it only if `work` succeeds.
    async fn with<T>(
        &mut self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mongodb::Client) -> Result<T, Error>,
    ) -> Result<T, EngineError> {
        let driver = if let Some(driver) = self.connection.take() {
            driver
        } else {
            self.reach(operation).await?;
            self.driver(Some(&self.credentials.supervisor))
                .map_err(|e| self.error(operation, &e))?
        };
        let result = work(&driver).await;
        match result {
            Ok(value) => {
                self.connection = Some(driver);
                Ok(value)
            }
            Err(e) => Err(self.error(operation, &e)),
        }
    }
}

impl Client for DocumentClient {
    fn bootstrap(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.make_accounts().boxed()
    }

    fn read_probe(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.with("reading the canary", async |driver| {
            let probes = collection(driver);
            probes.find_one(doc! {"_id": CANARY}).await.map(drop)
        })
        .boxed()
    }

    fn write_probe(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.with("writing the canary", async |driver| {
            let probes = collection(driver);
            let id = nonce();
            probes.insert_one(doc! {"_id": &id, "probe": true}).await?;
            let found = probes.find_one(doc! {"_id": &id}).await?;
            let removed = probes.delete_one(doc! {"_id": &id}).await?;
            if found.is_none() || removed.deleted_count != 1 {
                return Err(Error::custom(
                    "an acknowledged document was not there to read",
                ));
            }
            Ok(())
        })
        .boxed()
    }

    /// None that these engines could tell: what fails shows in the probes.
    fn faults(&mut self) -> BoxFuture<'_, Result<Vec<Fault>, EngineError>> {
        std::future::ready(Ok(Vec::new())).boxed()
    }

    fn quiesce(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
        match self.quiesce {
            Quiesce::JournaledWrite => self.write_probe(),
            Quiesce::Fsync => self
                .with("fsync", async |driver| {
                    let admin = driver.database("admin");
                    admin.run_command(doc! {"fsync": 1}).await.map(drop)
                })
                .boxed(),
        }
    }

    fn set_password<'a>(&'a mut self, login: &'a Login) -> BoxFuture<'a, Result<(), EngineError>> {
        async move {
            self.with("setting a password", async |driver| {
                let command = doc! {"updateUser": &login.user, "pwd": &login.password};
                driver
                    .database("admin")
                    .run_command(command)
                    .await
                    .map(drop)
            })
            .await?;
            for known in [
                &mut self.credentials.supervisor,
                &mut self.credentials.client,
            ] {
                if known.user == login.user {
                    known.password.clone_from(&login.password);
                }
            }
            // The driver would open its next connection with the old password.
            self.connection = None;
            Ok(())
        }
        .boxed()
    }
}

/// The probes' collection; a write is answered when it is in the journal on the disk.
pub(super) fn collection(driver: &mongodb::Client) -> Collection<Document> {
    let mut options = mongodb::options::CollectionOptions::default();
    let mut concern = WriteConcern::default();
    concern.w = Some(Acknowledgment::Nodes(1));
    concern.journal = Some(true);
    options.write_concern = Some(concern);
    options.read_concern = Some(ReadConcern::local());
    driver
        .database(HEALTH_DATABASE)
        .collection_with_options(COLLECTION, options)
}

/// What the server or the connection said, without the driver's wrapping.
fn describe(error: &Error) -> String {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => format!("{} (code {})", command.message, command.code),
        ErrorKind::Authentication { message, .. } | ErrorKind::ServerSelection { message, .. } => {
            message.clone()
        }
        ErrorKind::Io(io) => io.to_string(),
        ErrorKind::Custom(custom) => custom
            .downcast_ref::<&str>()
            .map_or_else(|| error.to_string(), |text| (*text).to_owned()),
        _ => error.to_string(),
    }
}

/// Ends the driver's tasks and connections now; dropping it leaves them to end by themselves.
pub(super) async fn close(driver: mongodb::Client) {
    driver.shutdown().immediate(true).await;
}

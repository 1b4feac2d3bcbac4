//! The driver: made when it is wanted, made anew when the account is another one.

use std::time::Duration;

use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::{Acknowledgment, ClientOptions, WriteConcern};
use mongodb::{Client, Database};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::config::Role;
use crate::schema::documents::DATABASE;
use crate::store::{Access, StoreError};

/// It runs on this machine: either it accepts at once, or it is not there.
const SELECTION: Duration = Duration::from_secs(2);
/// A login takes its time on a board that is busy: its proof is slow on purpose.
const CONNECT: Duration = Duration::from_secs(10);
/// Beyond what the server allows itself.
const ANSWER: Duration = Duration::from_secs(25);
/// Connections: a board has four cores, and each needs memory in the engine.
const POOL: u32 = 32;
const IDLE: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Connection {
    access: Access,
    open: Mutex<Option<(String, Client)>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

pub(super) fn down(cause: impl std::fmt::Display) -> StoreError {
    StoreError::Down {
        store: Role::Document,
        cause: cause.to_string(),
    }
}

/// Codes of errors, after MongoDB's `error_codes.yml`.
mod code {
    pub(super) const NAMESPACE_NOT_FOUND: i32 = 26;
    pub(super) const INDEX_NOT_FOUND: i32 = 27;
    pub(super) const MAX_TIME: i32 = 50;
    pub(super) const NAMESPACE_EXISTS: i32 = 48;
    pub(super) const NOT_FOUND_COMMAND: i32 = 59;
    pub(super) const INDEX_CONFLICTS: [i32; 2] = [85, 86];
    pub(super) const VALIDATION: i32 = 121;
    pub(super) const DUPLICATE: [i32; 2] = [11000, 11001];
    pub(super) const UNAUTHORIZED: i32 = 13;
    pub(super) const AUTHENTICATION: i32 = 18;
}

/// What a failure of the driver means to a caller.
pub(in crate::store) fn explain(error: &Error) -> StoreError {
    let (number, message) = match &*error.kind {
        ErrorKind::Command(refused) => (refused.code, refused.message.clone()),
        ErrorKind::Write(WriteFailure::WriteError(refused)) => {
            (refused.code, refused.message.clone())
        }
        ErrorKind::InsertMany(refused) => {
            let first = refused
                .write_errors
                .as_ref()
                .and_then(|errors| errors.first());
            match first {
                Some(first) => (first.code, first.message.clone()),
                None => (0, error.to_string()),
            }
        }
        ErrorKind::ServerSelection { .. }
        | ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::Authentication { .. }
        | ErrorKind::Shutdown => {
            tracing::debug!("the document store: {error}");
            return down("it is not there, or just starting");
        }
        _ => (0, error.to_string()),
    };
    match number {
        code::NAMESPACE_NOT_FOUND => StoreError::not_found("collection", &message),
        code::INDEX_NOT_FOUND => StoreError::not_found("index", &message),
        code::MAX_TIME => slow(),
        code::NAMESPACE_EXISTS => StoreError::Exists {
            what: "collection",
            name: message,
        },
        code::VALIDATION => StoreError::invalid("", "validator", message),
        number if code::DUPLICATE.contains(&number) => StoreError::Exists {
            what: "document",
            name: key_of(&message),
        },
        number if code::INDEX_CONFLICTS.contains(&number) => StoreError::Conflict(message),
        code::UNAUTHORIZED | code::AUTHENTICATION => {
            StoreError::Forbidden(format!("the document store does not allow it: {message}"))
        }
        code::NOT_FOUND_COMMAND => StoreError::Unsupported {
            engine: "the document engine".to_owned(),
            what: "such command",
            way: "mongod has it: datastore.document.engine",
        },
        _ => StoreError::Refused {
            store: Role::Document,
            cause: message,
        },
    }
}

/// What a message about a duplicate says of the key alone: neither names of hosts nor of files.
fn key_of(message: &str) -> String {
    message.split_once("dup key:").map_or_else(
        || "with this key".to_owned(),
        |(_, key)| key.trim().to_owned(),
    )
}

pub(super) fn slow() -> StoreError {
    StoreError::Slow {
        store: Role::Document,
        seconds: ANSWER.as_secs(),
    }
}

impl Connection {
    pub(super) fn new(access: Access) -> Self {
        Self {
            access,
            open: Mutex::new(None),
        }
    }

    /// The database of the platform.
    pub(super) async fn database(&self) -> Result<Database, StoreError> {
        Ok(self.client().await?.database(DATABASE))
    }

    /// A driver for the client account.
    pub(super) async fn client(&self) -> Result<Client, StoreError> {
        let uri = (self.access)(Role::Document).map_err(down)?;
        let mut open = self.open.lock().await;
        if let Some((_, client)) = open.as_ref().filter(|(of, _)| *of == uri) {
            return Ok(client.clone());
        }
        let mut options = ClientOptions::parse(&uri).await.map_err(down)?;
        options.app_name = Some("lucid".to_owned());
        options.server_selection_timeout = Some(SELECTION);
        options.connect_timeout = Some(CONNECT);
        options.max_pool_size = Some(POOL);
        options.max_idle_time = Some(IDLE);
        options.retry_reads = Some(true);
        options.retry_writes = Some(true);
        options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).build());
        let client = Client::with_options(options).map_err(down)?;
        *open = Some((uri, client.clone()));
        Ok(client)
    }
}

/// Waits for an answer of the driver, but not for ever.
pub(super) async fn answered<T>(
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, StoreError> {
    match timeout(ANSWER, work).await {
        Ok(done) => done.map_err(|error| explain(&error)),
        Err(_) => Err(slow()),
    }
}

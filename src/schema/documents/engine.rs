//! The document store, as far as collections are made in it.

use std::time::Duration;

use mongodb::bson::Document;
use mongodb::options::ClientOptions;
use tokio::time::timeout;

use super::SchemaError;

/// It runs on this machine: either it accepts at once, or it is not there.
const SELECTION: Duration = Duration::from_secs(3);
/// An index over everything that a board holds.
const LIMIT: Duration = Duration::from_secs(600);

/// What the store said; a cause where it refused.
pub(super) type Told = Result<(), String>;

/// One database of the store.
pub(super) struct Engine {
    database: mongodb::Database,
}

impl Engine {
    pub(super) async fn connect(uri: &str, database: &str) -> Result<Self, SchemaError> {
        let mut options = ClientOptions::parse(uri)
            .await
            .map_err(|error| SchemaError::Address(error.to_string()))?;
        options.server_selection_timeout = Some(SELECTION);
        options.connect_timeout = Some(SELECTION);
        options.app_name = Some("lucid-schema".to_owned());
        let client = mongodb::Client::with_options(options)
            .map_err(|error| SchemaError::Address(error.to_string()))?;
        Ok(Self {
            database: client.database(database),
        })
    }

    /// The collections that are there.
    pub(super) async fn list(&self) -> Result<Vec<Document>, String> {
        let command = mongodb::bson::doc! { "listCollections": 1 };
        self.all(command).await
    }

    /// The indexes of a collection.
    pub(super) async fn indexes(&self, collection: &str) -> Result<Vec<Document>, String> {
        let command = mongodb::bson::doc! { "listIndexes": collection };
        self.all(command).await
    }

    async fn all(&self, command: Document) -> Result<Vec<Document>, String> {
        let read = async {
            let mut cursor = self.database.run_cursor_command(command).await?;
            let mut found = Vec::new();
            while cursor.advance().await? {
                found.push(cursor.deserialize_current()?);
            }
            Ok::<_, mongodb::error::Error>(found)
        };
        match timeout(LIMIT, read).await {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(_) => Err("it does not answer in time".to_owned()),
        }
    }

    /// Runs a command, unless nothing is to be changed.
    pub(super) async fn run(&self, command: Document, dry_run: bool) -> Told {
        if dry_run {
            return Ok(());
        }
        match timeout(LIMIT, self.database.run_command(command)).await {
            Ok(answer) => answer.map(drop).map_err(|error| match *error.kind {
                mongodb::error::ErrorKind::Command(refused) => refused.message,
                other => other.to_string(),
            }),
            Err(_) => Err("it does not answer in time".to_owned()),
        }
    }
}

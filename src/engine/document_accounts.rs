//! First start of a document store: replica set, accounts, canary.

use std::time::Duration;

use mongodb::Database;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind};

use super::document_client::{CANARY, DocumentClient, close, collection};
use super::{EngineError, Login};

/// Pause between looks for an elected primary, in milliseconds.
const ELECTION_POLL_MS: u64 = 100;

/// Error codes of the server, from MongoDB's `error_codes.yml`.
mod code {
    pub(super) const UNAUTHORIZED: i32 = 13;
    pub(super) const AUTHENTICATION_FAILED: i32 = 18;
    pub(super) const ALREADY_INITIALIZED: i32 = 23;
    pub(super) const NOT_YET_INITIALIZED: i32 = 94;
    pub(super) const USER_ALREADY_EXISTS: i32 = 51003;
}

impl DocumentClient {
    /// See [`super::Client::bootstrap`]. What a start that was cut short left out is made up.
    pub(super) async fn make_accounts(&mut self) -> Result<(), EngineError> {
        const OPERATION: &str = "making the accounts";
        let supervisor = self.credentials.supervisor.clone();
        let known = self
            .driver(Some(&supervisor))
            .map_err(|e| self.error(OPERATION, &e))?;
        match self.set_up(&known).await {
            Ok(()) => {}
            Err(e) if is_refused(&e) => {
                close(known).await;
                self.first_account(&supervisor).await?;
                let known = self
                    .driver(Some(&supervisor))
                    .map_err(|e| self.error(OPERATION, &e))?;
                self.set_up(&known)
                    .await
                    .map_err(|e| self.error(OPERATION, &e))?;
                self.connection = Some(known);
                return Ok(());
            }
            Err(e) => return Err(self.error(OPERATION, &e)),
        }
        self.connection = Some(known);
        Ok(())
    }

    /// As the supervisor: replica set, client account, canary. Every step may be there already.
    async fn set_up(&self, known: &mongodb::Client) -> Result<(), Error> {
        let admin = known.database("admin");
        self.initiate(&admin).await?;
        let client = &self.credentials.client;
        let found = admin
            .run_command(doc! {"usersInfo": {"user": &client.user, "db": "admin"}})
            .await?;
        let exists = found
            .get_array("users")
            .is_ok_and(|users| !users.is_empty());
        if !exists {
            admin
                .run_command(create_user(client, client_roles()))
                .await?;
        } else if !self.accepts(client).await? {
            // A rotation was cut short: the credential file is what clients are shown.
            admin
                .run_command(doc! {"updateUser": &client.user, "pwd": &client.password})
                .await?;
        }
        let probes = collection(known);
        probes.delete_many(doc! {"_id": {"$ne": CANARY}}).await?;
        probes
            .update_one(doc! {"_id": CANARY}, doc! {"$setOnInsert": {"probe": true}})
            .upsert(true)
            .await?;
        Ok(())
    }

    /// Whether `login` gets in.
    async fn accepts(&self, login: &Login) -> Result<bool, Error> {
        let driver = self.driver(Some(login))?;
        let answer = driver.database("admin").run_command(doc! {"ping": 1}).await;
        close(driver).await;
        match answer {
            Ok(_) => Ok(true),
            Err(e) if is_refused(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Over the localhost exception: while a server has no user, a connection from the machine
    /// itself may make the first one. With a replica set, it must be initiated before that.
    async fn first_account(&self, supervisor: &Login) -> Result<(), EngineError> {
        const OPERATION: &str = "making the first account";
        let open = self.driver(None).map_err(|e| self.error(OPERATION, &e))?;
        let admin = open.database("admin");
        let result = async {
            self.initiate(&admin).await?;
            admin
                .run_command(create_user(supervisor, vec!["root"]))
                .await
        }
        .await;
        close(open).await;
        match result {
            Ok(_) => Ok(()),
            Err(e)
                if matches!(
                    server_code(&e),
                    Some(code::UNAUTHORIZED | code::USER_ALREADY_EXISTS)
                ) =>
            {
                Err(self.call(
                    OPERATION,
                    format!(
                        "the store already has accounts, and refuses {:?} with the password of \
                         this appliance's credential file: the file does not belong to this data \
                         directory. Put back the credential file that was made with this data, \
                         or move the data away to begin with an empty store. If both belong \
                         together, the storage engine has failed: see its last lines, and restart",
                        supervisor.user
                    ),
                ))
            }
            Err(e) => Err(self.error(OPERATION, &e)),
        }
    }

    /// Makes the replica set of one member if there is none, and waits until it takes writes.
    async fn initiate(&self, admin: &Database) -> Result<(), Error> {
        let Some(name) = &self.replica_set else {
            return Ok(());
        };
        let hello = admin.run_command(doc! {"hello": 1}).await?;
        if writable(&hello) {
            return Ok(());
        }
        if hello.get_str("setName").is_err() {
            let config = doc! {"_id": name, "members": [{"_id": 0, "host": &self.endpoint}]};
            let answer = admin.run_command(doc! {"replSetInitiate": config}).await;
            match answer {
                Ok(_) => {}
                Err(e) if server_code(&e) == Some(code::ALREADY_INITIALIZED) => {}
                Err(e) => return Err(e),
            }
        }
        // Ends with the caller's deadline at the latest.
        while !writable(&admin.run_command(doc! {"hello": 1}).await?) {
            tokio::time::sleep(Duration::from_millis(ELECTION_POLL_MS)).await;
        }
        Ok(())
    }
}

fn create_user(login: &Login, roles: Vec<&str>) -> Document {
    doc! {
        "createUser": &login.user,
        "pwd": &login.password,
        "roles": roles,
        "mechanisms": ["SCRAM-SHA-256"],
    }
}

/// Data and indexes of every database, and what a driver's monitoring asks for; no accounts,
/// no server administration.
fn client_roles() -> Vec<&'static str> {
    vec![
        "readWriteAnyDatabase",
        "dbAdminAnyDatabase",
        "clusterMonitor",
    ]
}

fn writable(hello: &Document) -> bool {
    hello.get_bool("isWritablePrimary").unwrap_or(false)
}

fn server_code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// Whether the server knows no such user or password, or wants one, or is not yet the replica
/// set member that could tell.
fn is_refused(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Authentication { .. })
        || matches!(
            server_code(error),
            Some(code::UNAUTHORIZED | code::AUTHENTICATION_FAILED | code::NOT_YET_INITIALIZED)
        )
}

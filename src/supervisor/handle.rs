//! What other rooms may ask of a running supervisor.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot};

use super::backups::Backups;
use super::datastore::{Command, Handle as DatastoreHandle};
use super::jobs::Jobs;
use super::output::Lines;
use super::setup::SetupError;
use super::volumes::Volumes;
use crate::config::Role;
use crate::status::StatusHub;

/// What a datastore can be told through [`Handle::act`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start it; forgets earlier failures.
    Start,
    /// Stop it until told otherwise.
    Stop,
    /// Stop and start it; forgets earlier failures.
    Restart,
}

/// Why a command was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No such datastore runs here.
    #[error("datastore {0} is not enabled; set datastore.{0}.enabled = true in lucid.toml")]
    NotEnabled(Role),
    /// Its task is ending.
    #[error("datastore {0} is shutting down")]
    Ending(Role),
    /// The engine or a file refused.
    #[error("{0}")]
    Refused(String),
    /// No such thing.
    #[error("{0}")]
    NotFound(String),
    /// A value that cannot be, or a confirmation that is missing.
    #[error("{0}")]
    Invalid(String),
    /// The changed configuration is not valid; the running one stays.
    #[error("the running configuration stays: {0}")]
    Config(#[from] SetupError),
}

/// The running datastores' ends.
pub(super) type Datastores = Arc<Mutex<BTreeMap<Role, DatastoreHandle>>>;

/// The supervisor's public interface inside the process: what the API and the page use.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) hub: StatusHub,
    pub(super) datastores: Datastores,
    pub(super) reload: mpsc::Sender<oneshot::Sender<Result<(), SetupError>>>,
    /// Asks the supervisor to stop.
    pub(super) end: Arc<Notify>,
    pub(super) volumes: Volumes,
    pub(super) jobs: Jobs,
    pub(super) backups: Backups,
    /// Whether this system is Lucid's image, whose units release the data disk.
    pub(super) is_image: bool,
    /// Whether the data lies on a disk of its own.
    pub(super) has_disk: bool,
    /// Datastores whose volume is being exchanged: nobody may start them meanwhile.
    pub(super) exchanging: Arc<Mutex<BTreeSet<Role>>>,
}

impl Handle {
    /// The status snapshot.
    pub fn hub(&self) -> &StatusHub {
        &self.hub
    }

    fn datastore(&self, role: Role) -> Result<DatastoreHandle, CommandError> {
        let datastores = self
            .datastores
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        datastores
            .get(&role)
            .cloned()
            .ok_or(CommandError::NotEnabled(role))
    }

    /// Passes `action` on; the status tells how it goes.
    ///
    /// # Errors
    /// [`CommandError::NotEnabled`] and [`CommandError::Ending`].
    pub async fn act(&self, role: Role, action: Action) -> Result<(), CommandError> {
        let command = match action {
            Action::Start => Command::Start,
            Action::Stop => Command::Stop,
            Action::Restart => Command::Restart,
        };
        if action != Action::Stop && self.is_exchanging(role) {
            return Err(CommandError::Refused(format!(
                "the volume of {role} is being exchanged; it is started again after that"
            )));
        }
        self.tell(role, command).await
    }

    pub(super) fn is_exchanging(&self, role: Role) -> bool {
        let exchanging = self.exchanging.lock();
        exchanging
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&role)
    }

    pub(super) async fn tell(&self, role: Role, command: Command) -> Result<(), CommandError> {
        let datastore = self.datastore(role)?;
        datastore
            .commands
            .send(command)
            .await
            .map_err(|_| CommandError::Ending(role))
    }

    /// What the engine of `role` wrote.
    ///
    /// # Errors
    /// [`CommandError::NotEnabled`].
    pub fn lines(&self, role: Role) -> Result<Lines, CommandError> {
        self.datastore(role).map(|datastore| datastore.lines)
    }

    /// Gives the client account of `role` a new password, in the engine and on disk.
    ///
    /// # Errors
    /// [`CommandError`]; the old password then still holds.
    pub async fn rotate(&self, role: Role) -> Result<(), CommandError> {
        let (answer, result) = oneshot::channel();
        self.tell(role, Command::Rotate(answer)).await?;
        result
            .await
            .map_err(|_| CommandError::Ending(role))?
            .map_err(CommandError::Refused)
    }

    /// Reads the configuration again and restarts what it concerns.
    ///
    /// # Errors
    /// [`CommandError::Config`]; nothing changes then.
    pub async fn reload(&self) -> Result<(), CommandError> {
        let (answer, result) = oneshot::channel();
        let ended = || CommandError::Refused("the supervisor is shutting down".to_owned());
        self.reload.send(answer).await.map_err(|_| ended())?;
        Ok(result.await.map_err(|_| ended())??)
    }
}

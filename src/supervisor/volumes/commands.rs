//! What is asked of volumes while the appliance runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::super::alerts::{clear, raise};
use super::super::datastore::Command;
use super::super::handle::{CommandError, Handle};
use super::super::jobs::{Job, Progress};
use super::{DAMAGED, damaged_pool};
use crate::config::Role;
use crate::status::{Alert, Severity};
use crate::units::human_bytes;
use crate::volume::{Manager, Name, OpError, Origin, Performance, Snapshot};

/// How long a command waits for others before it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Flushing what an engine holds back.
const QUIESCE: Duration = Duration::from_secs(30);

impl From<OpError> for CommandError {
    fn from(error: OpError) -> Self {
        match error {
            OpError::Unknown(_) | OpError::NoSnapshot { .. } => Self::NotFound(error.to_string()),
            OpError::Size { .. } | OpError::Confirm { .. } => Self::Invalid(error.to_string()),
            error => Self::Refused(error.to_string()),
        }
    }
}

impl Handle {
    /// Runs `work` on the volumes, off the runtime.
    ///
    /// # Errors
    /// [`CommandError`] with what the volumes say.
    pub async fn with_volumes<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Manager) -> Result<T, OpError> + Send + 'static,
    ) -> Result<T, CommandError> {
        let volumes = self.volumes.clone();
        // A disk that hangs takes these threads, and no others of the runtime.
        let permit = timeout(PATIENCE, Arc::clone(&volumes.threads).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(CommandError::Refused(
                "volumes do not answer; look at the disk: journalctl -k, lucid volume health"
                    .to_owned(),
            ));
        };
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let manager = volumes.manager().map_err(CommandError::Refused)?;
            Ok(work(&manager)?)
        });
        done.await
            .map_err(|error| CommandError::Refused(error.to_string()))?
    }

    /// Takes a snapshot; with `quiesce` the volume's engine first brings what it holds to the
    /// disk, so that it starts from the snapshot without a recovery.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn snapshot(&self, name: Name, quiesce: bool) -> Result<Snapshot, CommandError> {
        if quiesce && let Some(role) = name.owner() {
            self.quiesce(role).await?;
        }
        self.with_volumes(move |volumes| volumes.snapshot(&name, Origin::Manual))
            .await
    }

    pub(super) async fn quiesce(&self, role: Role) -> Result<(), CommandError> {
        let (answer, answered) = oneshot::channel();
        self.tell(role, Command::Quiesce(answer)).await?;
        match timeout(QUIESCE, answered).await {
            Ok(Ok(result)) => result.map_err(CommandError::Refused),
            _ => Err(CommandError::Refused(format!(
                "{role} did not flush within {} s; take the snapshot without --quiesce",
                QUIESCE.as_secs()
            ))),
        }
    }

    /// Watches the disk of a volume for `span`, and what its datastore causes there.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn performance(
        &self,
        name: Name,
        span: Duration,
    ) -> Result<Performance, CommandError> {
        let status = self.hub.snapshot();
        let owner = name.owner();
        let pid = status
            .datastores
            .iter()
            .find(|d| owner.is_some_and(|role| role.name() == d.name))
            .and_then(|d| d.pid);
        let looked = name.clone();
        let before = self.with_volumes(move |volumes| volumes.counters(&looked, pid));
        let (device, before) = before.await?;
        let began = Instant::now();
        tokio::time::sleep(span).await;
        let after = self.with_volumes(move |volumes| volumes.counters(&name, pid));
        let (now, after) = after.await?;
        if now != device {
            return Err(CommandError::Refused(
                "the volume came to another disk meanwhile; ask again".to_owned(),
            ));
        }
        Ok(after.since(&before, began.elapsed(), device))
    }

    /// Reads the whole pool and compares it with its checksums; damage is named and alerted.
    ///
    /// # Errors
    /// [`CommandError`] where it cannot begin.
    pub async fn verify(&self, name: Name) -> Result<Job, CommandError> {
        let hub = self.hub.clone();
        self.begin("verify", name, move |volumes, name, progress| {
            let mut told = |done, total| {
                progress.set(done, total);
                !progress.is_cancelled()
            };
            let verdict = volumes
                .verify(name, &mut told)
                .map_err(|error| error.to_string())?;
            let id = format!("{DAMAGED}{name}");
            let lies_on = volumes.info(name).ok().and_then(|info| info.entry.pool);
            let of_pool = damaged_pool(lies_on.as_ref());
            let read = human_bytes(verdict.scrubbed_bytes);
            if verdict.uncorrectable == 0 {
                clear(&hub, &id, name.as_str());
                clear(&hub, &of_pool, "pool");
                return Ok(match verdict.corrected {
                    0 => format!("{read} read, all as written"),
                    corrected => format!(
                        "{read} read; {corrected} blocks were wrong and were put right from their \
                         second copy: look at the disk, journalctl -k"
                    ),
                });
            }
            let files: Vec<_> = verdict
                .damaged
                .iter()
                .map(|file| file.display().to_string())
                .collect();
            let blocks = verdict.uncorrectable;
            let (id, message, action) = if files.is_empty() {
                (
                    of_pool,
                    format!(
                        "{blocks} blocks of the pool are damaged, none of them in files of volume \
                         {name}"
                    ),
                    "verify the other volumes (lucid volume verify NAME) and look at the disk: \
                     journalctl -k, lucid volume health",
                )
            } else {
                (
                    id,
                    format!(
                        "{blocks} blocks of the pool are damaged; of volume {name}: {}",
                        files.join(", ")
                    ),
                    "take these files from a snapshot that has them whole, and look at the disk: \
                     journalctl -k, lucid volume health",
                )
            };
            raise(
                &hub,
                Alert::new(id, Severity::Critical, name.as_str(), &message, action),
            );
            Err(message)
        })
        .await
    }

    /// Puts the pieces of a volume's files together.
    ///
    /// # Errors
    /// [`CommandError`] where it cannot begin, with the cost where snapshots share its files.
    pub async fn defragment(&self, name: Name, unshare: bool) -> Result<Job, CommandError> {
        let looked = name.clone();
        // What is refused is told at once, not by a job.
        self.with_volumes(move |volumes| volumes.may_defragment(&looked, unshare))
            .await?;
        self.begin("defragment", name, move |volumes, name, progress| {
            let mut go_on = || !progress.is_cancelled();
            let done = volumes.defragment(name, unshare, &mut go_on);
            done.map(|()| "done".to_owned())
                .map_err(|error| error.to_string())
        })
        .await
    }

    pub(super) async fn begin(
        &self,
        kind: &'static str,
        name: Name,
        work: impl FnOnce(&Manager, &Name, &Progress) -> Result<String, String> + Send + 'static,
    ) -> Result<Job, CommandError> {
        let looked = name.clone();
        let volumes = self
            .with_volumes(move |volumes| volumes.info(&looked).map(|_| volumes.clone()))
            .await?;
        if let Some(reason) = self.hub.snapshot().background_paused {
            return Err(CommandError::Refused(format!(
                "{kind} is held back: {reason}; start it again when that is over"
            )));
        }
        let subject = name.to_string();
        let jobs = self.jobs.clone();
        let started = tokio::task::spawn_blocking(move || {
            jobs.start(kind, &subject, move |progress| {
                work(&volumes, &name, progress)
            })
        });
        let started = started.await;
        started
            .map_err(|error| CommandError::Refused(error.to_string()))?
            .map_err(CommandError::Refused)
    }
}

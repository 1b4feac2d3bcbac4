//! One volume into a file, and back.

use std::path::PathBuf;

use tokio::runtime::Handle as Runtime;

use super::super::handle::{CommandError, Handle};
use super::super::jobs::{Job, Progress};
use crate::units::human_bytes;
use crate::volume::{Archive, Manager, Name, OpError};

/// Tells a job how far it is; what is read twice counts twice.
fn counting(progress: &Progress, total: u64) -> impl FnMut(u64) -> bool {
    let mut done = 0;
    move |bytes| {
        done += bytes;
        progress.set(done, total.max(done));
        !progress.is_cancelled()
    }
}

impl Handle {
    /// Archives a volume into a file, as a job; its datastore flushes first.
    ///
    /// # Errors
    /// [`CommandError`] where it cannot begin.
    pub async fn backup_volume(&self, name: Name, file: PathBuf) -> Result<Job, CommandError> {
        let owner = self.enabled_owner(&name);
        if let Some(role) = owner {
            self.quiesce(role).await?;
        }
        self.begin("backup", name, move |volumes, name, progress| {
            let mut go_on = counting(progress, 0);
            let archive = volumes.backup(name, &file, &mut go_on);
            let archive = archive.map_err(|error| error.to_string())?;
            Ok(format!(
                "{} of volume {name} are in {} ({}), compared",
                human_bytes(archive.bytes),
                file.display(),
                human_bytes(archive.archive_bytes)
            ))
        })
        .await
    }

    /// Puts an archive in the place of a volume, as a job; where there is no such volume, it is
    /// made. `confirm` repeats the name of one that is there; its state is kept as a snapshot.
    ///
    /// # Errors
    /// [`CommandError`] where it cannot begin.
    pub async fn restore_volume(
        &self,
        name: Name,
        file: PathBuf,
        confirm: Option<&str>,
    ) -> Result<Job, CommandError> {
        let (looked, from) = (name.clone(), file.clone());
        let confirmed = confirm == Some(name.as_str());
        let made = self.with_volumes(move |volumes| {
            let archive = Archive::read(&from)?;
            match volumes.info(&looked) {
                Ok(_) if confirmed => Ok(false),
                Ok(_) => Err(OpError::Confirm {
                    what: format!(
                        "the present state of volume {looked} would be replaced (and kept as a \
                         snapshot) by that of {}, and its datastore stopped meanwhile",
                        archive.taken
                    ),
                    name: looked,
                }),
                Err(OpError::Unknown(_)) => volumes
                    .create(&looked, archive.kind, archive.quota, None)
                    .map(|_| true),
                Err(error) => Err(error),
            }
        });
        let made = made.await?;
        let (handle, runtime) = (self.clone(), Runtime::current());
        let again = name.clone();
        let begun = self
            .begin("restore", name, move |volumes, name, progress| {
                let restored = handle.put_back(volumes, name, &file, progress, &runtime);
                if made && restored.is_err() {
                    volumes.unmake_empty(name);
                }
                restored.map_err(|error| error.to_string())
            })
            .await;
        if made && begun.is_err() {
            self.with_volumes(move |volumes| {
                volumes.unmake_empty(&again);
                Ok(())
            })
            .await?;
        }
        begun
    }

    /// Runs on the job's own thread.
    fn put_back(
        &self,
        volumes: &Manager,
        name: &Name,
        file: &std::path::Path,
        progress: &Progress,
        runtime: &Runtime,
    ) -> Result<String, CommandError> {
        let total = Archive::read(file)?.archive_bytes;
        let taken = volumes.import(name, file, &mut counting(progress, total))?;
        let rolled_back = self.roll_back(name.clone(), taken.id.clone());
        let kept = runtime.block_on(rolled_back)?;
        Ok(format!(
            "volume {name} is as in {}; what it replaced is kept as {}",
            file.display(),
            kept.id
        ))
    }
}

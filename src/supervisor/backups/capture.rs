//! Makes backups.

use super::super::handle::{CommandError, Handle};
use super::super::jobs::{Job, Progress};
use super::commands::{id_of, scratch, unexpected};
use super::{places, sources};
use crate::backup::Place;
use crate::backup::manifest::Manifest;
use crate::backup::request::{Answer, Create, Work};
use crate::config::BackupRepository;
use crate::status::now_rfc3339;
use crate::units::human_bytes;

impl Handle {
    /// Makes a backup in every repository, or in the one that is named; a job.
    ///
    /// # Errors
    /// [`CommandError`] where it cannot begin.
    pub async fn create_backup(&self, repository: Option<&str>) -> Result<Job, CommandError> {
        let to = match repository {
            Some(name) => vec![self.backups.repository(Some(name))?],
            None => self.backups.repositories(),
        };
        if to.is_empty() {
            self.backups.repository(None)?;
        }
        let names: Vec<_> = to.iter().map(|one| one.name.clone()).collect();
        self.begin_backup("backup", &names.join(", "), move |handle, progress, _| {
            handle.back_up(&to, progress)
        })
        .await
    }

    /// Runs on the job's own thread.
    fn back_up(&self, to: &[BackupRepository], progress: &Progress) -> Result<String, String> {
        let taken = now_rfc3339();
        let mut said = Vec::new();
        let mut failed = Vec::new();
        for one in to {
            match self.back_up_to(one, &taken, progress) {
                Ok(message) => said.push(format!("{}: {message}", one.name)),
                Err(message) => failed.push(format!("{}: {message}", one.name)),
            }
            if progress.is_cancelled() {
                break;
            }
        }
        if failed.is_empty() {
            Ok(said.join("; "))
        } else {
            failed.extend(said);
            Err(failed.join("; "))
        }
    }

    fn back_up_to(
        &self,
        to: &BackupRepository,
        taken: &str,
        progress: &Progress,
    ) -> Result<String, String> {
        let done = self.capture(to, taken, progress);
        let (record, result) = match done {
            Ok(manifest) => {
                let message = format!(
                    "backup {} holds {} in {} parts, {} of that new; checked",
                    manifest.id,
                    human_bytes(manifest.bytes()),
                    manifest.parts.len(),
                    human_bytes(manifest.added())
                );
                (Some(manifest), Ok(message))
            }
            Err(message) => (None, Err(message)),
        };
        self.backups.note(|state| {
            let known = state.record(&to.name);
            // Somebody's wish is no failure.
            known.failed = result.is_err() && !progress.is_cancelled();
            known.last_result = Some(result.clone().unwrap_or_else(|message| message));
            if let Some(manifest) = record {
                known.last_good = Some(manifest.id);
                known.last_good_at = Some(manifest.taken);
            }
        });
        self.tell_backups();
        result
    }

    fn capture(
        &self,
        to: &BackupRepository,
        taken: &str,
        progress: &Progress,
    ) -> Result<Manifest, String> {
        let text = |error: CommandError| error.to_string();
        let plan = self.backups.plan();
        let manager = self.volumes.manager()?;
        let place = self.backups.place(to).map_err(text)?;
        if let Place::Directory { path } = &place {
            places::is_mounted(&plan.paths, path)?;
        }
        places::ensure_volume(&manager, &plan.paths, &place).map_err(|error| error.to_string())?;
        // The key first: it is in the backup, and told.
        self.backups.key(true).map_err(text)?;
        let stores = sources::stores(&plan, &self.hub.snapshot()).map_err(text)?;
        let volumes = sources::volumes(&manager).map_err(|error| error.to_string())?;
        let system = sources::System::gather(&plan.paths).map_err(|error| error.to_string())?;
        let mut files = volumes.files.clone();
        files.push(system.files());
        let shares = plan.config.backup.verify_share;
        let mut share = 0;
        self.backups.note(|state| {
            let record = state.record(&to.name);
            share = record.share % shares;
            record.share = (share + 1) % shares;
        });
        let work = Work::Create(Create {
            id: id_of(taken),
            taken: taken.to_owned(),
            stores,
            files,
            scratch: scratch(&plan.paths),
            rest: f64::from(plan.config.backup.rest_percent) / 100.0,
            share: Some((share, shares)),
        });
        match self.backups.run(to, work, progress)? {
            Answer::Created { manifest, .. } => Ok(manifest),
            other => Err(unexpected(&other)),
        }
    }
}

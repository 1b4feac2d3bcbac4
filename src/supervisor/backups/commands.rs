//! What is asked of backups while the appliance runs.

use serde::Serialize;
use tokio::runtime::Handle as Runtime;

use super::super::handle::{CommandError, Handle};
use super::super::jobs::{Job, Progress};
use super::state::{Outcome, Record};
use super::{Backups, process, sources};
use crate::backup::Place;
use crate::backup::manifest::Manifest;
use crate::backup::request::{Answer, Rebuild, Request, Target, Work};
use crate::config::BackupRepository;
use crate::paths::Paths;
use crate::status::now_rfc3339;
use crate::units::human_bytes;

/// Directory of the data disk for what is on the way, below the place of the system's own files.
const SCRATCH: &str = "backup-scratch";

/// A repository with its backups.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// Name in the configuration.
    pub repository: String,
    /// Where it lies.
    pub place: String,
    /// Why it could not be read.
    pub problem: Option<String>,
    /// Whether nothing is removed from it.
    pub append_only: bool,
    /// What came of the last work.
    #[serde(flatten)]
    pub record: Record,
    /// Oldest first.
    pub backups: Vec<Manifest>,
}

/// An id that sorts by time: `20261127T020000Z`.
pub(super) fn id_of(taken: &str) -> String {
    let whole = taken.split('.').next().unwrap_or_default();
    let plain: String = whole.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{}Z", plain.trim_end_matches('Z'))
}

/// Where what is on the way lies.
pub(super) fn scratch(paths: &Paths) -> std::path::PathBuf {
    paths.data().join(format!(".{SCRATCH}"))
}

impl Backups {
    /// A request for a repository.
    pub(super) fn request(
        &self,
        of: &BackupRepository,
        work: Work,
    ) -> Result<Request, CommandError> {
        let makes = matches!(work, Work::Create(_));
        let place = self.place(of)?;
        Ok(Request {
            key: self.key(makes)?.words().to_owned(),
            host: host(&self.plan().paths),
            // Where there was one, another is not made quietly: its disk may be away.
            make: makes && self.state().is_new(&of.name),
            append_only: of.append_only,
            bandwidth: of.bandwidth.map(|bytes| bytes.0),
            place,
            work,
        })
    }

    /// Memory for work with scratch engines, or without.
    pub(super) fn memory(&self, with_engines: bool) -> u64 {
        let plan = self.plan();
        let own = plan.config.backup.memory.0;
        let largest = plan
            .memory
            .shares
            .iter()
            .map(|share| share.memory.max)
            .max();
        own + if with_engines {
            largest.unwrap_or(0)
        } else {
            0
        }
    }

    pub(super) fn run(
        &self,
        of: &BackupRepository,
        work: Work,
        progress: &Progress,
    ) -> Result<Answer, String> {
        let with_engines = matches!(work, Work::Drill(_) | Work::Rebuild(_) | Work::Insert(_));
        let request = self.request(of, work).map_err(|error| error.to_string())?;
        process::run(&self.plan(), &request, self.memory(with_engines), progress)
    }
}

/// Name of this appliance in repositories: boards of one name are told apart.
pub(super) fn host(paths: &Paths) -> String {
    let name = nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let machine = paths.root().join("etc/machine-id");
    let machine = crate::fsx::read_text(&machine, 100).unwrap_or_default();
    match machine.get(..8) {
        Some(machine) => format!("{name}-{machine}"),
        None => name,
    }
}

pub(super) fn unexpected(answer: &Answer) -> String {
    format!("the process for backups answered something else: {answer:?}")
}

impl Handle {
    /// Begins `work` as a job, one at a time.
    pub(super) async fn begin_backup(
        &self,
        kind: &'static str,
        subject: &str,
        work: impl FnOnce(&Self, &Progress, &Runtime) -> Result<String, String> + Send + 'static,
    ) -> Result<Job, CommandError> {
        let can_wait = !matches!(kind, "restore" | "backup-unlock");
        if let Some(reason) = self.hub.snapshot().background_paused.filter(|_| can_wait) {
            return Err(CommandError::Refused(format!(
                "{kind} is held back: {reason}; start it again when that is over"
            )));
        }
        let turn = self.backups.turn(kind).map_err(CommandError::Refused)?;
        let (handle, runtime) = (self.clone(), Runtime::current());
        let (jobs, subject) = (self.jobs.clone(), subject.to_owned());
        let started = tokio::task::spawn_blocking(move || {
            let named = subject.clone();
            jobs.start(kind, &subject, move |progress| {
                let _turn = turn;
                let _shown = handle.hub.begin_work(kind, &named);
                work(&handle, progress, &runtime)
            })
        });
        started
            .await
            .map_err(|error| CommandError::Refused(error.to_string()))?
            .map_err(CommandError::Refused)
    }

    /// All repositories with their backups. Waits for them; nothing else does.
    ///
    /// # Errors
    /// [`CommandError`] where other work on backups runs.
    pub async fn list_backups(&self) -> Result<Vec<Listed>, CommandError> {
        let handle = self.clone();
        let listed = tokio::task::spawn_blocking(move || {
            let state = handle.backups.state();
            let list = |one: BackupRepository| {
                let place = handle.backups.place(&one);
                // One that nothing was put into yet is no fault.
                let fresh = state.is_new(&one.name)
                    && matches!(&place, Ok(Place::Directory { path }) if !path.exists());
                let answer = handle.backups.run(&one, Work::List, &Progress::default());
                let record = state.repositories.get(&one.name).cloned();
                let mut listed = Listed {
                    place: place.map_or_else(|error| error.to_string(), |place| place.to_string()),
                    repository: one.name,
                    problem: None,
                    append_only: one.append_only,
                    record: record.unwrap_or_default(),
                    backups: Vec::new(),
                };
                match answer {
                    Ok(Answer::Backups {
                        backups,
                        problems,
                        append_only,
                    }) => {
                        listed.backups = backups;
                        listed.problem = (!problems.is_empty()).then(|| problems.join("; "));
                        listed.append_only = append_only;
                    }
                    Ok(other) => listed.problem = Some(unexpected(&other)),
                    Err(problem) => listed.problem = Some(problem).filter(|_| !fresh),
                }
                listed
            };
            handle
                .backups
                .repositories()
                .into_iter()
                .map(list)
                .collect()
        });
        listed
            .await
            .map_err(|error| CommandError::Refused(error.to_string()))
    }

    /// Reads a whole repository back, as a job.
    ///
    /// # Errors
    /// [`CommandError`] where it cannot begin.
    pub async fn verify_backups(&self, repository: Option<&str>) -> Result<Job, CommandError> {
        let of = self.backups.repository(repository)?;
        let name = of.name.clone();
        self.begin_backup("backup-verify", &name, move |handle, progress, _| {
            let answer = handle
                .backups
                .run(&of, Work::Verify { share: None }, progress);
            let result = answer.and_then(|answer| match answer {
                Answer::Verified { checked } => Ok(format!(
                    "every one of {} packs with {} was read, and is as it was written",
                    checked.read,
                    human_bytes(checked.bytes)
                )),
                other => Err(unexpected(&other)),
            });
            handle.judged(&of.name, "verify", &result, progress);
            result
        })
        .await
    }

    /// Restores a backup into scratch engines and compares, as a job.
    ///
    /// # Errors
    /// [`CommandError`] where it cannot begin.
    pub async fn drill(&self, repository: Option<&str>, backup: &str) -> Result<Job, CommandError> {
        let of = self.backups.repository(repository)?;
        let (name, backup) = (of.name.clone(), backup.to_owned());
        self.begin_backup("drill", &name, move |handle, progress, _| {
            let result = handle.rehearse(&of, backup, progress);
            handle.judged(&of.name, "drill", &result, progress);
            result
        })
        .await
    }

    fn rehearse(
        &self,
        of: &BackupRepository,
        backup: String,
        progress: &Progress,
    ) -> Result<String, String> {
        let plan = self.backups.plan();
        let scratch = scratch(&plan.paths);
        let mut stores = Vec::new();
        for common in plan.config.enabled() {
            let store = sources::store(&plan, common.role).map_err(|error| error.to_string())?;
            stores.push(Target {
                data: scratch.join(common.role.name()),
                store,
            });
        }
        let work = Work::Drill(Rebuild {
            backup,
            stores,
            scratch,
            files: Vec::new(),
            until: None,
        });
        match self.backups.run(of, work, progress)? {
            Answer::Drilled {
                backup,
                compared,
                seconds,
            } => Ok(format!(
                "backup {backup} restores ({seconds:.0} s): {}",
                compared.join("; ")
            )),
            other => Err(unexpected(&other)),
        }
    }

    /// Remembers, shows and alerts what a verification or a drill came to.
    fn judged(
        &self,
        repository: &str,
        what: &str,
        result: &Result<String, String>,
        progress: &Progress,
    ) {
        if progress.is_cancelled() {
            return;
        }
        let (well, message) = match result {
            Ok(message) => (true, message.clone()),
            Err(message) => (false, message.clone()),
        };
        let outcome = Outcome {
            at: now_rfc3339(),
            well,
            message,
        };
        self.backups.note(|state| {
            let record = state.record(repository);
            if what == "drill" {
                record.drilled = Some(outcome);
            } else {
                record.verified = Some(outcome);
            }
        });
        self.tell_backups();
    }

    /// Removes backups that are older than the configuration keeps, as a job.
    ///
    /// # Errors
    /// [`CommandError`] where it cannot begin.
    pub async fn prune_backups(&self, repository: Option<&str>) -> Result<Job, CommandError> {
        let of = self.backups.repository(repository)?;
        let name = of.name.clone();
        self.begin_backup("backup-prune", &name, move |handle, progress, _| {
            let keep = super::times::keep(&handle.backups.plan().config.backup);
            match handle.backups.run(
                &of,
                Work::Forget {
                    keep: Box::new(keep),
                },
                progress,
            )? {
                Answer::Forgotten { backups } if backups.is_empty() => {
                    Ok("no backup is old enough to go".to_owned())
                }
                Answer::Forgotten { backups } => Ok(format!(
                    "{} backups were removed: {}",
                    backups.len(),
                    backups.join(", ")
                )),
                other => Err(unexpected(&other)),
            }
        })
        .await
    }

    /// Ends the claims of other programs on a repository, as a job.
    ///
    /// # Errors
    /// [`CommandError`] where it cannot begin.
    pub async fn unlock_backups(&self, repository: Option<&str>) -> Result<Job, CommandError> {
        let of = self.backups.repository(repository)?;
        let name = of.name.clone();
        self.begin_backup(
            "backup-unlock",
            &name,
            move |handle, progress, _| match handle.backups.run(&of, Work::Unlock, progress)? {
                Answer::Unlocked { claims } => Ok(format!("{claims} claims were ended")),
                other => Err(unexpected(&other)),
            },
        )
        .await
    }

    /// Notes that somebody has the key, or takes the one of another appliance.
    ///
    /// # Errors
    /// [`CommandError`]; the key is as it was then.
    pub async fn change_key(&self, words: Option<String>) -> Result<(), CommandError> {
        let handle = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let backups = &handle.backups;
            if let Some(words) = words {
                let key = crate::backup::Key::parse(&words)
                    .map_err(|error| CommandError::Invalid(error.to_string()))?;
                let file = super::key_file(&backups.plan().paths);
                if file.exists() {
                    let aside = file.with_extension(format!("key-{}", id_of(&now_rfc3339())));
                    std::fs::rename(&file, &aside)
                        .map_err(|error| CommandError::Refused(error.to_string()))?;
                }
                key.write(&file)
                    .map_err(|error| CommandError::Refused(error.to_string()))?;
            }
            backups.note(|state| state.key_shown = Some(now_rfc3339()));
            handle.tell_backups();
            Ok(())
        });
        done.await
            .map_err(|error| CommandError::Refused(error.to_string()))?
    }
}

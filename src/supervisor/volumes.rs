//! The volumes of a running appliance: opened when the pool is there, shown in the status, and
//! changed with their datastores' consent.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::datastore::Command;
use super::handle::{Action, CommandError, Handle};
use super::jobs::{Job, Progress};
use crate::config::{Role, Volume as Settings};
use crate::journal::{self, Event};
use crate::paths::Paths;
use crate::status::{self, Alert, DatastoreState, Severity, StatusHub};
use crate::units::human_bytes;
use crate::volume::{
    Guard, HealthReport, HealthVerdict, Info, Manager, Name, OpError, Origin, Snapshot,
};

/// The alert of volumes that cannot be managed.
const ALERT: &str = "volume:catalog";
/// The alert of snapshots that are due and cannot be taken.
const SCHEDULE_ALERT: &str = "volume:schedule";
/// Alerts of volumes with damaged files begin so.
const DAMAGED: &str = "volume:damaged:";
const SCHEDULE_INTERVAL: Duration = Duration::from_secs(60);
/// Longer than any `supervisor.stop_timeout`: a datastore is stopped within this, or the rollback is
/// given up.
const SETTLE: Duration = Duration::from_secs(660);
/// Flushing what an engine holds back.
const QUIESCE: Duration = Duration::from_secs(30);

/// The manager, where the pool is there.
#[derive(Debug, Clone)]
pub(super) struct Volumes {
    paths: Paths,
    settings: Settings,
    manager: Arc<Mutex<Option<Manager>>>,
}

impl Volumes {
    pub(super) fn new(paths: &Paths, settings: &Settings) -> Self {
        Self {
            paths: paths.clone(),
            settings: settings.clone(),
            manager: Arc::default(),
        }
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The manager; opens it at the first call after the pool came. Blocks.
    pub(super) fn manager(&self) -> Result<Manager, String> {
        let mut manager = self.manager.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(fault) = Guard::new(&self.paths).check() {
            // What lies underneath is not the pool.
            *manager = None;
            return Err(format!("{}; {}", fault.message, fault.remedy));
        }
        if manager.is_none() {
            let opened = Manager::open(&self.paths, &self.settings);
            *manager = Some(opened.map_err(|error| error.to_string())?);
        }
        manager.clone().ok_or_else(String::new)
    }

    /// Opens the volumes and makes those of the datastores that have none yet. Blocks.
    pub(super) fn prepare(&self, roles: &[Role]) -> Result<(), String> {
        let manager = self.manager()?;
        for role in roles {
            if !self.paths.has_data(role.name()).exists() {
                manager.ensure(*role).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// What the status shows. Blocks, for as long as the file system takes.
    pub(super) fn look(&self, hub: &StatusHub) -> Vec<Info> {
        match self.manager() {
            Ok(manager) => {
                clear(hub, ALERT);
                if let Err(error) = manager.sample() {
                    tracing::warn!("the history of volumes cannot be written: {error}");
                }
                let all = manager.list();
                let names = all.iter().map(|info| &info.entry.name);
                let known: Vec<_> = names.map(|name| format!("{DAMAGED}{name}")).collect();
                clear_others(hub, DAMAGED, &known);
                all
            }
            Err(problem) => {
                let action = "see `journalctl -u lucid`; datastores run, volumes cannot be changed";
                // A pool that is not there has an alert of its own.
                if Guard::new(&self.paths).check().is_ok() {
                    raise(
                        hub,
                        Alert::new(ALERT, Severity::Warning, "volumes", problem, action),
                    );
                }
                Vec::new()
            }
        }
    }

    /// Space that the pool as a whole lacks. Blocks.
    pub(super) fn look_at_pool(&self, hub: &StatusHub) {
        let Ok(manager) = self.manager() else {
            return;
        };
        let mut open = Vec::new();
        for (id, critical, message, action) in manager.pool_faults() {
            let severity = if critical {
                Severity::Critical
            } else {
                Severity::Warning
            };
            raise(hub, Alert::new(id, severity, "pool", message, action));
            open.push(id);
        }
        for id in ["pool:space", "pool:metadata"] {
            if !open.contains(&id) {
                clear(hub, id);
            }
        }
    }

    /// Opens and closes alerts by what the disks said when they were last asked. Blocks.
    pub(super) fn look_at_devices(&self, hub: &StatusHub) {
        let devices = match HealthReport::read(&self.paths) {
            Ok(report) => report.map_or_else(Vec::new, |report| report.devices),
            Err(error) => {
                tracing::warn!("{error}");
                return;
            }
        };
        // A disk that is no more here needs nobody.
        let known: Vec<_> = devices
            .iter()
            .map(|device| format!("device:{}", device.device))
            .collect();
        clear_others(hub, "device:", &known);
        for device in devices {
            let id = format!("device:{}", device.device);
            let severity = match device.verdict {
                // Silence takes back nothing that a disk said before.
                HealthVerdict::Unknown => continue,
                HealthVerdict::Healthy => {
                    clear(hub, &id);
                    continue;
                }
                HealthVerdict::Warning => Severity::Warning,
                HealthVerdict::Critical => Severity::Critical,
            };
            let message = format!("disk {}: {}", device.device, device.reasons.join("; "));
            let action = "see `lucid volume health`; have a backup, and replace the disk in time";
            raise(
                hub,
                Alert::new(id, severity, &device.device, message, action),
            );
        }
    }

    /// Takes snapshots that are due. Blocks.
    fn keep_schedules(&self, hub: &StatusHub) {
        let Ok(manager) = self.manager() else {
            return;
        };
        let mut failed = None;
        for told in manager.keep_schedules() {
            match told {
                Ok(done) => tracing::info!("{done}"),
                Err(error) => failed = Some(error.to_string()),
            }
        }
        match failed {
            Some(error) => raise(
                hub,
                Alert::new(
                    SCHEDULE_ALERT,
                    Severity::Warning,
                    "volumes",
                    format!("a scheduled snapshot failed: {error}"),
                    "it is tried again every minute; see `lucid volume list`",
                ),
            ),
            None => clear(hub, SCHEDULE_ALERT),
        }
    }
}

fn raise(hub: &StatusHub, alert: Alert) {
    let (subject, text) = (
        alert.subject.clone(),
        format!("{}; {}", alert.message, alert.action),
    );
    if hub.raise(alert) {
        journal::emit(Event::AlertRaised, &subject, &text);
    }
}

/// Closes alerts that begin with `prefix` and are not in `known`.
fn clear_others(hub: &StatusHub, prefix: &str, known: &[String]) {
    for alert in hub.snapshot().alerts {
        if alert.id.starts_with(prefix) && !known.contains(&alert.id) {
            clear(hub, &alert.id);
        }
    }
}

fn clear(hub: &StatusHub, id: &str) {
    if hub.clear(id) {
        journal::emit(Event::AlertCleared, "volumes", &format!("{id} is over"));
    }
}

/// A volume as the status shows it.
pub(super) fn shown(info: &Info) -> status::Volume {
    status::Volume {
        name: info.entry.name.to_string(),
        kind: info.entry.kind.to_string(),
        state: info.state.to_owned(),
        used_bytes: info.used_bytes,
        quota_bytes: info.entry.quota,
        percent: info.percent,
        mounted: info.state != "missing",
        growth_bytes_per_day: info.growth.bytes_per_day,
        full_in_seconds: info.growth.full_in_seconds,
    }
}

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
        let done = tokio::task::spawn_blocking(move || {
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
        if quiesce && let Some(role) = owner(&name) {
            self.quiesce(role).await?;
        }
        self.with_volumes(move |volumes| volumes.snapshot(&name, Origin::Manual))
            .await
    }

    async fn quiesce(&self, role: Role) -> Result<(), CommandError> {
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

    /// Puts a snapshot in the place of a volume. A datastore that uses it is stopped before and
    /// started after, whoever goes away meanwhile.
    ///
    /// # Errors
    /// [`CommandError`]; the volume is as it was then.
    pub async fn rollback(&self, name: Name, id: String) -> Result<Snapshot, CommandError> {
        // A wrong name stops no datastore.
        let (looked, wanted) = (name.clone(), id.clone());
        self.with_volumes(move |volumes| volumes.find(&looked, &wanted).map(drop))
            .await?;
        let handle = self.clone();
        let done = tokio::spawn(async move {
            let _work = handle.hub.begin_work("rollback", name.as_str());
            match owner(&name) {
                Some(role) => handle.rollback_stopped(role, name, id).await,
                None => {
                    handle
                        .with_volumes(move |volumes| volumes.rollback(&name, &id))
                        .await
                }
            }
        });
        done.await
            .map_err(|error| CommandError::Refused(error.to_string()))?
    }

    async fn rollback_stopped(
        &self,
        role: Role,
        name: Name,
        id: String,
    ) -> Result<Snapshot, CommandError> {
        let _exchange = self.exchange(role)?;
        let ran = self.runs(role);
        if ran {
            self.act(role, Action::Stop).await?;
        }
        let stopped = if ran {
            self.settled(role, DatastoreState::Stopped).await
        } else {
            Ok(())
        };
        let done = match stopped {
            Ok(()) => {
                self.with_volumes(move |volumes| volumes.rollback(&name, &id))
                    .await
            }
            Err(error) => Err(error),
        };
        if ran {
            self.tell(role, Command::Start).await?;
        }
        done
    }

    /// Nobody starts the datastore while the answer lives.
    fn exchange(&self, role: Role) -> Result<Exchange, CommandError> {
        let mut exchanging = self
            .exchanging
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !exchanging.insert(role) {
            return Err(CommandError::Refused(format!(
                "the volume of {role} is being rolled back already"
            )));
        }
        Ok(Exchange {
            exchanging: Arc::clone(&self.exchanging),
            role,
        })
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
            let read = human_bytes(verdict.scrubbed_bytes);
            if verdict.uncorrectable == 0 {
                clear(&hub, &id);
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
            let message = if files.is_empty() {
                format!(
                    "{} blocks of the pool are damaged, none of them in files of volume {name}",
                    verdict.uncorrectable
                )
            } else {
                format!(
                    "{} blocks of the pool are damaged; of volume {name}: {}",
                    verdict.uncorrectable,
                    files.join(", ")
                )
            };
            let action = "restore these files from a backup or a snapshot, and look at the disk: \
                          journalctl -k";
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

    async fn begin(
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

    /// Long work, newest first.
    ///
    /// # Errors
    /// [`CommandError::Refused`] while the supervisor ends.
    pub async fn jobs(&self) -> Result<Vec<Job>, CommandError> {
        let jobs = self.jobs.clone();
        let listed = tokio::task::spawn_blocking(move || jobs.list());
        listed
            .await
            .map_err(|error| CommandError::Refused(error.to_string()))
    }

    /// Asks a job to end.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] where none of this id runs.
    pub async fn cancel(&self, id: String) -> Result<(), CommandError> {
        let (jobs, wanted) = (self.jobs.clone(), id.clone());
        let cancelled = tokio::task::spawn_blocking(move || jobs.cancel(&wanted));
        match cancelled.await {
            Ok(true) => Ok(()),
            _ => Err(CommandError::NotFound(format!(
                "no job {id:?} runs; `lucid job list` shows all"
            ))),
        }
    }

    fn runs(&self, role: Role) -> bool {
        let status = self.hub.snapshot();
        let mut datastores = status.datastores.iter();
        datastores.any(|d| d.name == role.name() && d.state != DatastoreState::Stopped)
    }

    async fn settled(&self, role: Role, wanted: DatastoreState) -> Result<(), CommandError> {
        let mut changes = self.hub.subscribe();
        let reached = changes.wait_for(|status| {
            let mut datastores = status.datastores.iter();
            datastores.any(|d| d.name == role.name() && d.state == wanted)
        });
        match timeout(SETTLE, reached).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(CommandError::Refused(format!(
                "datastore {role} did not stop within {} s; `lucid status` shows why",
                SETTLE.as_secs()
            ))),
        }
    }
}

/// See [`Handle::exchange`].
#[derive(Debug)]
struct Exchange {
    exchanging: Arc<Mutex<BTreeSet<Role>>>,
    role: Role,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.exchanging
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.role);
    }
}

/// Takes snapshots that are due, once a minute, while the clock can be trusted and nothing asks to
/// hold work back.
pub(super) async fn keep_schedules(hub: StatusHub, volumes: Volumes) {
    let mut ticks = tokio::time::interval(SCHEDULE_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = hub.snapshot();
        if !status.board.clock_set || status.background_paused.is_some() {
            continue;
        }
        let (volumes, hub) = (volumes.clone(), hub.clone());
        let kept = tokio::task::spawn_blocking(move || volumes.keep_schedules(&hub));
        let _ = kept.await;
    }
}

fn owner(name: &Name) -> Option<Role> {
    Role::ALL
        .into_iter()
        .find(|role| role.volume() == name.as_str())
}

//! Lifecycle of the datastores: spawn and adopt, probe, limit, restart, stop in order.
//!
//! Each datastore is a task of its own ([`datastore`]) that publishes into the status snapshot.
//! This module owns them all: it starts them, passes commands on, reloads the configuration,
//! answers systemd, and ends them in order. It never waits on an engine itself.

pub(crate) mod alerts;
mod backups;
mod console;
pub mod credentials;
mod datastore;
mod handle;
mod hardware_watchdog;
mod held_data;
mod jobs;
mod lifecycle;
mod limits;
mod lock;
mod notify;
mod output;
mod ownership;
mod ports;
mod power;
mod prepare;
mod probe;
mod process;
mod records;
mod registry;
mod report;
pub mod rescue;
mod setup;
mod signals;
mod storage;
mod view;
mod volumes;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use backups::{
    Listed as ListedBackups, Scope as RestoreScope, Wanted as WantedRestore,
    key_file as backup_key_file,
};
pub use handle::{Action, CommandError, Handle};
pub use jobs::{Job, JobState};
pub use lock::{Lock, LockError};
pub use output::{Line, Lines};
pub use power::PowerError;
pub use prepare::{Plan, client_uri};
pub use setup::{SetupError, plan};

use crate::config::Role;
use crate::journal::{self, Event};
use crate::status::StatusHub;
use crate::tuning;
use console::Console;
use datastore::{Actor, Command};
use handle::Datastores;
use hardware_watchdog::HardwareWatchdog;
use registry::Registry;
use volumes::Volumes;

/// Opening the volumes of a pool that answers.
const VOLUMES_LIMIT: Duration = Duration::from_secs(30);

/// Why the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Asked to stop; engines are stopped.
    Stopped,
    /// Asked to leave engines to the next supervisor.
    HandedOver,
}

/// Devices of the board that the supervisor drives itself; none by default.
#[derive(Debug, Clone, Default)]
pub struct Devices {
    /// The hardware watchdog, such as `/dev/watchdog0`.
    pub watchdog: Option<PathBuf>,
    /// A terminal that shows the state, such as `/dev/console`.
    pub console: Option<PathBuf>,
}

/// How to make the plan again on a reload.
pub type Replan = Box<dyn Fn() -> Result<Plan, SetupError> + Send + Sync>;

/// The daemon.
pub struct Supervisor {
    plan: Arc<Plan>,
    hub: StatusHub,
    registry: Registry,
    datastores: Datastores,
    tasks: JoinSet<Role>,
    replan: Arc<Replan>,
    reloads: mpsc::Receiver<oneshot::Sender<Result<(), SetupError>>>,
    handle: Handle,
    tuner: Option<tuning::Tuner>,
    board_root: Option<PathBuf>,
    devices: Devices,
}

impl Supervisor {
    /// A supervisor for `plan`. `tuner` is absent where knobs are left alone; `board_root` is
    /// where the board's signals are read, absent when they are simulated.
    pub fn new(
        plan: Plan,
        hub: StatusHub,
        tuner: Option<tuning::Tuner>,
        board_root: Option<PathBuf>,
        replan: Replan,
        devices: Devices,
    ) -> Self {
        let registry = Registry::open(plan.paths.engines_state(), &notify::stored());
        let plan = Arc::new(plan);
        let (reload, reloads) = mpsc::channel(1);
        let datastores = Datastores::default();
        let handle = Handle {
            hub: hub.clone(),
            datastores: Arc::clone(&datastores),
            reload,
            end: Arc::new(Notify::new()),
            volumes: Volumes::new(&plan.paths, &plan.config.volume),
            jobs: jobs::Jobs::new(&plan.paths),
            backups: backups::Backups::new(&plan),
            exchanging: Arc::default(),
            is_image: plan.paths.image_mark().exists(),
            has_disk: !plan.config.data.disk.is_empty(),
        };
        Self {
            plan,
            hub,
            registry,
            datastores,
            tasks: JoinSet::new(),
            replan: Arc::new(replan),
            reloads,
            handle,
            tuner,
            board_root,
            devices,
        }
    }

    /// For the API.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until a signal ends it: SIGTERM and SIGINT stop the engines, SIGUSR2 leaves them to
    /// the next supervisor, SIGHUP reloads. In rescue no datastore starts by itself, until the
    /// board is restarted.
    ///
    /// # Errors
    /// Only where signals cannot be received at all.
    pub async fn run(mut self, rescue: bool) -> std::io::Result<Ended> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut leave = signal(SignalKind::user_defined2())?;
        let message = format!(
            "lucid {} on {}, root {}",
            env!("CARGO_PKG_VERSION"),
            self.plan.board.model,
            self.plan.paths.root().display()
        );
        journal::emit(Event::SupervisorStarted, "appliance", &message);
        let hardware = self.devices.watchdog.take().and_then(|path| {
            let opened = HardwareWatchdog::open(&path);
            opened
                .inspect_err(|error| tracing::error!("{error}; a hang will not reset the board"))
                .ok()
                .map(Arc::new)
        });
        // Fed from the first moment on: what comes before the engines may take longer than the
        // watchdog waits.
        let mut helpers = JoinSet::new();
        let periods = [
            notify::watchdog_interval(),
            hardware.as_ref().map(|hardware| hardware.timeout()),
        ];
        if let Some(period) = periods.into_iter().flatten().min() {
            helpers.spawn(report::watchdog(
                period,
                Arc::clone(&self.datastores),
                hardware.clone(),
            ));
        }
        let tuning = match self.tuner.take() {
            Some(tuner) => {
                let interval = self.plan.config.tuning.check_interval.0;
                Some(setup::Tuning::apply(tuner, &self.hub, interval).await)
            }
            None => None,
        };
        self.stop_orphans().await;
        let roles: Vec<Role> = self
            .plan
            .config
            .enabled()
            .map(|common| common.role)
            .collect();
        self.prepare_volumes(&roles).await;
        if rescue {
            rescue::enter(&self.hub, &self.registry, &roles).await;
        }
        for role in &roles {
            self.start(*role);
        }
        helpers.spawn(watch::run(
            self.hub.clone(),
            self.plan.paths.clone(),
            self.board_root.clone(),
            self.handle.volumes.clone(),
        ));
        helpers.spawn(volumes::keep_schedules(
            self.hub.clone(),
            self.handle.volumes.clone(),
        ));
        helpers.spawn(backups::run(self.handle.clone()));
        helpers.spawn(backups::watch(self.handle.clone()));
        helpers.spawn(storage::run(
            self.hub.clone(),
            self.plan.paths.clone(),
            Arc::clone(&self.datastores),
        ));
        let console = self.devices.console.take().and_then(|path| {
            Console::open(&path)
                .inspect_err(|error| tracing::warn!("cannot open {}: {error}", path.display()))
                .ok()
        });
        helpers.spawn(report::tell_states(self.hub.clone(), console));
        let ended = loop {
            tokio::select! {
                _ = terminate.recv() => break Ended::Stopped,
                _ = interrupt.recv() => break Ended::Stopped,
                () = self.handle.end.notified() => break Ended::Stopped,
                _ = leave.recv() => break Ended::HandedOver,
                _ = hangup.recv() => {
                    // The result is in the journal; there is nobody else to tell.
                    let _ = self.reload(tuning.as_ref()).await;
                }
                Some(answer) = self.reloads.recv() => {
                    let result = self.reload(tuning.as_ref()).await;
                    let _ = answer.send(result);
                }
                Some(ended) = self.tasks.join_next() => self.ended(ended),
            }
        };
        self.handle.jobs.cancel_all();
        self.finish(ended, (&mut terminate, &mut interrupt)).await;
        helpers.shutdown().await;
        // A hand-over leaves it armed: the next supervisor feeds it.
        if let Some(hardware) = hardware.filter(|_| ended == Ended::Stopped) {
            hardware.disarm();
        }
        if let Some(tuning) = tuning {
            tuning
                .finish(ended == Ended::Stopped && self.plan.config.tuning.revert_on_stop)
                .await;
        }
        Ok(ended)
    }

    /// A volume that cannot be made keeps no engine from starting on a directory: what is wrong
    /// shows in the status, by the look that follows.
    async fn prepare_volumes(&self, roles: &[Role]) {
        let (volumes, roles) = (self.handle.volumes.clone(), roles.to_vec());
        let prepared = tokio::task::spawn_blocking(move || volumes.prepare(&roles));
        match timeout(VOLUMES_LIMIT, prepared).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(problem))) => tracing::warn!("volumes: {problem}"),
            _ => tracing::error!("volumes: the data pool does not answer"),
        }
    }

    fn start(&mut self, role: Role) {
        let (actor, handle) = Actor::new(
            role,
            Arc::clone(&self.plan),
            self.hub.clone(),
            self.registry.clone(),
        );
        self.datastores
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(role, handle);
        self.tasks.spawn(async move {
            actor.run().await;
            role
        });
    }

    /// A datastore's task ends on its own only when its role was disabled. A panic ends the whole
    /// program (by a hook that `cli::main` sets); systemd starts it again and it adopts.
    fn ended(&mut self, ended: Result<Role, tokio::task::JoinError>) {
        match ended {
            Ok(role) => {
                self.datastores
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&role);
                // Switched on again while it was still stopping.
                if self.plan.config.enabled().any(|common| common.role == role) {
                    self.start(role);
                }
            }
            Err(error) => tracing::error!("a datastore's task failed: {error}"),
        }
    }

    /// Engines that an earlier supervisor left for roles that are no longer enabled.
    async fn stop_orphans(&self) {
        let enabled: Vec<Role> = self
            .plan
            .config
            .enabled()
            .map(|common| common.role)
            .collect();
        for record in self.registry.orphans(&enabled) {
            if let Some(process) = process::Process::adopt(record.pid, record.start_time) {
                journal::emit(
                    Event::DatastoreStopped,
                    record.role.name(),
                    "it is not enabled any more",
                );
                process.signal_group(nix::sys::signal::Signal::SIGTERM);
                let limit = self.plan.config.supervisor.stop_timeout.0;
                if timeout(limit, process.exited()).await.is_err() {
                    process.signal_group(nix::sys::signal::Signal::SIGKILL);
                }
            }
            self.registry.set(record.role, None);
        }
    }

    async fn reload(&mut self, tuning: Option<&setup::Tuning>) -> Result<(), SetupError> {
        notify::reloading();
        let replan = Arc::clone(&self.replan);
        let made = tokio::task::spawn_blocking(move || replan()).await;
        let result = match made {
            Ok(Ok(plan)) => {
                let plan = Arc::new(plan);
                if let Some(tuning) = tuning {
                    tuning.replan(Arc::clone(&plan), &self.hub).await;
                }
                self.apply(plan).await;
                journal::emit(
                    Event::ConfigReloaded,
                    "appliance",
                    "configuration read again",
                );
                Ok(())
            }
            Ok(Err(error)) => {
                let message = format!("the running configuration stays: {error}");
                journal::emit(Event::ConfigRejected, "appliance", &message);
                Err(error)
            }
            Err(error) => Err(SetupError::Internal(error.to_string())),
        };
        notify::ready();
        result
    }

    async fn apply(&mut self, plan: Arc<Plan>) {
        let wanted: Vec<Role> = plan.config.enabled().map(|common| common.role).collect();
        self.plan = Arc::clone(&plan);
        self.handle.backups.replan(&plan);
        let running = self
            .datastores
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for (role, datastore) in &running {
            let command = if wanted.contains(role) {
                Command::Reconfigure(Arc::clone(&plan))
            } else {
                Command::Shutdown
            };
            let _ = datastore.commands.send(command).await;
        }
        for role in wanted {
            if !running.contains_key(&role) {
                self.start(role);
            }
        }
    }

    /// Stops the datastores in reverse start order, or leaves them. A second signal does not
    /// wait for the order any more.
    async fn finish(
        &mut self,
        ended: Ended,
        (terminate, interrupt): (
            &mut tokio::signal::unix::Signal,
            &mut tokio::signal::unix::Signal,
        ),
    ) {
        let datastores = std::mem::take(
            &mut *self
                .datastores
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        if ended == Ended::HandedOver {
            journal::emit(
                Event::SupervisorHandover,
                "appliance",
                "engines go on running",
            );
            for datastore in datastores.values() {
                let _ = datastore.commands.send(Command::Leave).await;
            }
            while self.tasks.join_next().await.is_some() {}
            return;
        }
        notify::stopping();
        self.hub.set_stopping();
        journal::emit(
            Event::SupervisorStopping,
            "appliance",
            "stopping the datastores",
        );
        for (role, datastore) in datastores.iter().rev() {
            let _ = datastore.commands.send(Command::Shutdown).await;
            tracing::debug!("waiting for {role}");
            tokio::select! {
                _ = self.tasks.join_next() => {}
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        for datastore in datastores.values() {
            let _ = datastore.commands.send(Command::Shutdown).await;
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

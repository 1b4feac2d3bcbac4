//! One datastore: its lifecycle from preparing to stopped, as a task of its own.
//!
//! The task never waits on the engine without also listening to commands and to the watchdog's
//! question, so a stuck engine delays nobody, itself included.

mod command;
mod end;
mod run;
mod start;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

use super::lifecycle::Restarts;
use super::output::{Lines, Tail};
use super::prepare::{self, Blocked, Plan, Prepared, Purpose};
use super::process::{Exit, Process};
use super::registry::Registry;
use super::view::View;
use crate::config::Role;
use crate::journal::{self, Event};
use crate::status::{DatastoreState, StatusHub};

/// How often a missing precondition is looked at again.
const BLOCKED_RETRY: Duration = Duration::from_secs(3);
/// Preparing reads a few files and asks a program for its version.
const PREPARE_LIMIT: Duration = Duration::from_secs(20);

/// What a datastore is told. Answers say whether the command was taken, not that it is done.
#[derive(Debug)]
pub(super) enum Command {
    Start,
    Stop,
    Restart,
    /// A new configuration: restart only if this datastore is concerned.
    Reconfigure(Arc<Plan>),
    /// Stop for good.
    Shutdown,
    /// Leave the engine running and end.
    Leave,
    /// Change the client's password.
    Rotate(oneshot::Sender<Result<(), String>>),
    /// Stop until told to start; unlike a stop by a person, forgotten by the next supervisor. The
    /// answer comes when nothing runs any more.
    Hold(oneshot::Sender<()>),
    /// The end of a hold: start, unless a person wants it stopped.
    Release,
    /// Bring what the engine holds back to the disk.
    Quiesce(oneshot::Sender<Result<(), String>>),
}

/// The ends that the supervisor keeps.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) pings: mpsc::Sender<oneshot::Sender<()>>,
    pub(super) lines: Lines,
}

/// The task.
pub(super) struct Actor {
    role: Role,
    plan: Arc<Plan>,
    view: View,
    registry: Registry,
    commands: mpsc::Receiver<Command>,
    pings: mpsc::Receiver<oneshot::Sender<()>>,
    lines: Lines,
    restarts: Restarts,
    /// Kept over restarts, so that a crash costs no second look at program and files. Only from
    /// a full preparation: one that merely describes has written no files.
    prepared: Option<Arc<Prepared>>,
    /// The adopted engine runs with another configuration than the plan's.
    outdated: bool,
    /// Where the running engine's OOM kills are counted, and how many there were at its launch.
    cgroup: Option<PathBuf>,
    oom_kills: u64,
    /// Kept over restarts: closing its inotify descriptor waits for the kernel, for up to tens of
    /// milliseconds that a restart does not have.
    tail: Option<Tail>,
    /// A look at files that did not come back in time: no second one is sent after it.
    pending: Option<JoinHandle<Result<Prepared, Blocked>>>,
}

/// Where the task stands between two waits.
enum Step {
    Stopped,
    Prepare,
    /// With the reason of an unplanned restart. It is told after the launch: every moment before
    /// it is one that clients wait.
    Launch(Arc<Prepared>, Option<String>),
    Running(Box<Process>, Arc<Prepared>),
    Wait {
        state: DatastoreState,
        reason: String,
        until: tokio::time::Instant,
    },
    Ended,
}

/// How the supervision of a running engine ended.
enum Outcome {
    Exited(Exit),
    Hung(String),
    NotReady(String),
    Stop(Wanted),
    Leave,
}

/// What to do once the engine has stopped on request.
enum Wanted {
    Stopped,
    Held(oneshot::Sender<()>),
    Started(Option<Arc<Plan>>),
    Ended,
}

impl Actor {
    pub(super) fn new(
        role: Role,
        plan: Arc<Plan>,
        hub: StatusHub,
        registry: Registry,
    ) -> (Self, Handle) {
        let (command_sender, commands) = mpsc::channel(16);
        let (ping_sender, pings) = mpsc::channel(4);
        let lines = Lines::new(plan.config.log.keep);
        let handle = Handle {
            commands: command_sender,
            pings: ping_sender,
            lines: lines.clone(),
        };
        let restarts = Restarts::new(plan.config.supervisor.clone());
        let view = View::new(role, &plan, hub);
        let actor = Self {
            role,
            plan,
            view,
            registry,
            commands,
            pings,
            lines,
            restarts,
            prepared: None,
            outdated: false,
            cgroup: None,
            oom_kills: 0,
            tail: None,
            pending: None,
        };
        (actor, handle)
    }

    /// Runs until shut down or told to leave.
    pub(super) async fn run(mut self) {
        let first = if self.registry.is_stopped(self.role) {
            Step::Stopped
        } else {
            Step::Prepare
        };
        let mut step = self.adopt_recorded().await.unwrap_or(first);
        loop {
            step = match step {
                Step::Stopped => self.stopped().await,
                Step::Prepare => self.prepare().await,
                Step::Launch(prepared, reason) => self.launch(prepared, reason.as_deref()),
                Step::Running(process, prepared) => self.running(*process, prepared).await,
                Step::Wait {
                    state,
                    reason,
                    until,
                } => self.wait(state, &reason, until).await,
                Step::Ended => break,
            };
        }
        self.view.closed();
    }

    /// Awaits `future` while answering the watchdog.
    async fn attended<T>(
        pings: &mut mpsc::Receiver<oneshot::Sender<()>>,
        future: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(future);
        loop {
            tokio::select! {
                output = &mut future => return output,
                Some(ping) = pings.recv() => { let _ = ping.send(()); }
            }
        }
    }

    async fn prepare_with(
        &mut self,
        plan: Arc<Plan>,
        purpose: Purpose,
    ) -> Result<Arc<Prepared>, Blocked> {
        let blocked = |reason: &str| Blocked {
            reason: reason.to_owned(),
            remedy: "look for a hanging disk or network file system with `dmesg`".to_owned(),
            adoptable: None,
        };
        if self
            .pending
            .as_ref()
            .is_some_and(|pending| !pending.is_finished())
        {
            return Err(blocked("a file system does not answer"));
        }
        let role = self.role;
        let mut work = tokio::task::spawn_blocking(move || prepare::prepare(&plan, role, purpose));
        let result = Self::attended(&mut self.pings, timeout(PREPARE_LIMIT, &mut work)).await;
        match result {
            Ok(Ok(result)) => result.map(Arc::new),
            Ok(Err(_)) => Err(blocked("preparing ended unexpectedly")),
            Err(_) => {
                self.pending = Some(work);
                Err(blocked("preparing took longer than 20 s"))
            }
        }
    }

    async fn stopped(&mut self) -> Step {
        self.view.stopped();
        loop {
            tokio::select! {
                Some(ping) = self.pings.recv() => { let _ = ping.send(()); }
                command = self.commands.recv() => match command {
                    Some(Command::Start | Command::Restart) => {
                        self.registry.set_stopped(self.role, false);
                        self.restarts.reset();
                        return Step::Prepare;
                    }
                    Some(Command::Stop) => self.registry.set_stopped(self.role, true),
                    Some(Command::Hold(answer)) => { let _ = answer.send(()); }
                    // Whoever stopped it before or meanwhile wants it stopped.
                    Some(Command::Release) if self.registry.is_stopped(self.role) => {}
                    Some(Command::Release) => return Step::Prepare,
                    Some(Command::Reconfigure(plan)) => self.take_plan(plan),
                    Some(Command::Rotate(answer)) => self.rotate_stopped(answer).await,
                    // It holds nothing back.
                    Some(Command::Quiesce(answer)) => { let _ = answer.send(Ok(())); }
                    Some(Command::Shutdown | Command::Leave) | None => return Step::Ended,
                },
            }
        }
    }

    fn take_plan(&mut self, plan: Arc<Plan>) {
        self.restarts = Restarts::new(plan.config.supervisor.clone());
        self.view.replan(&plan);
        self.plan = plan;
        self.prepared = None;
    }

    async fn prepare(&mut self) -> Step {
        self.view.preparing();
        match self
            .prepare_with(Arc::clone(&self.plan), Purpose::Start)
            .await
        {
            Ok(prepared) => {
                if prepared.new_credentials {
                    let message = format!(
                        "made credentials; `lucid credentials show {}` prints them",
                        self.role
                    );
                    journal::emit(Event::CredentialsCreated, self.role.name(), &message);
                }
                self.view.prepared(&prepared);
                self.prepared = Some(Arc::clone(&prepared));
                Step::Launch(prepared, None)
            }
            Err(blocked) => self.blocked(blocked).await,
        }
    }

    async fn blocked(&mut self, blocked: Blocked) -> Step {
        if let Some(pid) = blocked.adoptable
            && let Some(step) = self.adopt_stray(pid).await
        {
            return step;
        }
        let reason = format!("{}; {}", blocked.reason, blocked.remedy);
        Step::Wait {
            state: DatastoreState::Blocked,
            reason,
            until: tokio::time::Instant::now() + BLOCKED_RETRY,
        }
    }

    async fn wait(
        &mut self,
        state: DatastoreState,
        reason: &str,
        until: tokio::time::Instant,
    ) -> Step {
        self.view.waiting(state, reason);
        loop {
            tokio::select! {
                () = sleep_until(until) => return Step::Prepare,
                Some(ping) = self.pings.recv() => { let _ = ping.send(()); }
                command = self.commands.recv() => match command {
                    Some(Command::Start | Command::Restart) => {
                        self.restarts.reset();
                        return Step::Prepare;
                    }
                    Some(Command::Stop) => {
                        self.registry.set_stopped(self.role, true);
                        return Step::Stopped;
                    }
                    Some(Command::Hold(answer)) => {
                        let _ = answer.send(());
                        return Step::Stopped;
                    }
                    Some(Command::Release) => {}
                    Some(Command::Reconfigure(plan)) => {
                        self.take_plan(plan);
                        return Step::Prepare;
                    }
                    Some(Command::Rotate(answer)) => self.rotate_stopped(answer).await,
                    // It holds nothing back.
                    Some(Command::Quiesce(answer)) => { let _ = answer.send(Ok(())); }
                    Some(Command::Shutdown | Command::Leave) | None => return Step::Ended,
                },
            }
        }
    }
}

//! One datastore: its lifecycle from preparing to stopped, as a task of its own.
//!
//! The task never waits on the engine without also listening to commands and to the watchdog's
//! question, so a stuck engine delays nobody, itself included.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{sleep, sleep_until, timeout};

use super::lifecycle::{Cause, Next, Restarts, Run};
use super::limits::oom_kills;
use super::output::{self, Lines, Tail, Writer};
use super::prepare::{self, Blocked, Plan, Prepared, Purpose};
use super::probe;
use super::process::{Exit, Launch, Process};
use super::records::Record;
use super::registry::Registry;
use super::view::View;
use super::{credentials, notify};
use crate::config::{EngineKind, Role};
use crate::engine::{self, Credentials, EngineError};
use crate::journal::{self, Event, Level};
use crate::status::{DatastoreState, StatusHub};

/// How often a missing precondition is looked at again.
const BLOCKED_RETRY: Duration = Duration::from_secs(3);
/// Preparing reads a few files and asks a program for its version.
const PREPARE_LIMIT: Duration = Duration::from_secs(20);
/// After SIGKILL only a process in uninterruptible I/O stays.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How long an adopted engine may take to pass its first probe.
const ADOPTED_LIMIT: Duration = Duration::from_secs(15);
/// How often memory use is sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

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
    oom_kills: u64,
}

/// Where the task stands between two waits.
enum Step {
    Stopped,
    Prepare,
    Launch(Arc<Prepared>),
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
            oom_kills: 0,
        };
        (actor, handle)
    }

    /// Runs until shut down or told to leave.
    pub(super) async fn run(mut self) {
        let mut step = self.adopt_recorded().await.unwrap_or(Step::Prepare);
        loop {
            step = match step {
                Step::Stopped => self.stopped().await,
                Step::Prepare => self.prepare().await,
                Step::Launch(prepared) => self.launch(prepared).await,
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
        let role = self.role;
        let work = tokio::task::spawn_blocking(move || prepare::prepare(&plan, role, purpose));
        let result = Self::attended(&mut self.pings, timeout(PREPARE_LIMIT, work)).await;
        let blocked = |reason: &str| Blocked {
            reason: reason.to_owned(),
            remedy: "look for a hanging disk or network file system with `dmesg`".to_owned(),
            adoptable: None,
        };
        match result {
            Ok(Ok(result)) => result.map(Arc::new),
            Ok(Err(_)) => Err(blocked("preparing ended unexpectedly")),
            Err(_) => Err(blocked("preparing took longer than 20 s")),
        }
    }

    /// Takes over the engine that an earlier supervisor left.
    async fn adopt_recorded(&mut self) -> Option<Step> {
        let record = self.registry.recorded(self.role)?;
        let process = Process::adopt(record.pid, record.start_time)?;
        match self
            .prepare_with(Arc::clone(&self.plan), Purpose::Describe)
            .await
        {
            Ok(prepared) => Some(self.adopted(process, prepared, &record)),
            Err(blocked) => {
                // Without its description it can be neither probed nor restarted as it was:
                // stopping it cleanly keeps its data and leads to a clear `blocked`.
                journal::emit(Event::DatastoreBlocked, self.role.name(), &blocked.reason);
                process.signal_group(Signal::SIGTERM);
                self.await_exit(&process).await;
                None
            }
        }
    }

    fn adopted(&mut self, process: Process, prepared: Arc<Prepared>, record: &Record) -> Step {
        let message = format!(
            "took over {} {} (process {})",
            record.engine.name(),
            record.version,
            process.pid()
        );
        journal::emit(Event::DatastoreAdopted, self.role.name(), &message);
        // Started from another configuration: restarted as soon as it is known to be up.
        self.outdated = record.fingerprint != prepared.fingerprint;
        self.register(&process, &prepared, &record.fingerprint);
        Step::Running(Box::new(process), prepared)
    }

    async fn stopped(&mut self) -> Step {
        self.view.stopped();
        loop {
            tokio::select! {
                Some(ping) = self.pings.recv() => { let _ = ping.send(()); }
                command = self.commands.recv() => match command {
                    Some(Command::Start | Command::Restart) => {
                        self.restarts.reset();
                        return Step::Prepare;
                    }
                    Some(Command::Stop) => {}
                    Some(Command::Reconfigure(plan)) => self.take_plan(plan),
                    Some(Command::Rotate(answer)) => self.rotate_stopped(answer),
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
                Step::Launch(prepared)
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

    /// An engine of this root that no record tells of: the supervisor died right after its
    /// launch.
    async fn adopt_stray(&mut self, pid: i32) -> Option<Step> {
        let start_time = procfs::process::Process::new(pid)
            .and_then(|process| process.stat())
            .ok()?
            .starttime;
        let process = Process::adopt(pid, start_time)?;
        let prepared = self
            .prepare_with(Arc::clone(&self.plan), Purpose::Describe)
            .await
            .ok()?;
        let record = Record {
            role: self.role,
            engine: prepared.engine.kind(),
            version: prepared.context.detected.version.text.clone(),
            pid,
            start_time,
            fingerprint: prepared.fingerprint.clone(),
        };
        Some(self.adopted(process, prepared, &record))
    }

    async fn launch(&mut self, prepared: Arc<Prepared>) -> Step {
        let enforced = self.plan.limits.enforce(self.role, prepared.context.memory);
        let path = self.plan.paths.engine_output(self.role.name());
        let launched = output::open_for_engine(&path)
            .map_err(|error| error.to_string())
            .and_then(|output| {
                Process::launch(&Launch {
                    program: &prepared.context.detected.binary,
                    spec: &prepared.spec,
                    directory: &prepared.context.data_dir,
                    output: &output,
                    run_as: prepared.run_as,
                    cgroup: enforced.procs,
                    oom_score_adj: oom_score_adj(self.role),
                })
                .map_err(|error| error.to_string())
            });
        self.oom_kills = oom_kills(enforced.path.as_deref());
        match launched {
            Ok(process) => {
                self.register(&process, &prepared, &prepared.fingerprint);
                self.view.starting(process.pid());
                self.view
                    .limits(enforced.missing.as_deref(), self.plan.board.is_pi());
                Step::Running(Box::new(process), prepared)
            }
            Err(reason) => {
                self.prepared = None;
                let run = Run {
                    lasted: Duration::ZERO,
                    was_ready: false,
                    cause: Cause::Crash,
                };
                self.decide(run, &reason)
            }
        }
    }

    fn register(&self, process: &Process, prepared: &Prepared, fingerprint: &str) {
        notify::store(self.role, process.pidfd());
        self.registry.set(
            self.role,
            Some(Record {
                role: self.role,
                engine: prepared.engine.kind(),
                version: prepared.context.detected.version.text.clone(),
                pid: process.pid(),
                start_time: process.start_time(),
                fingerprint: fingerprint.to_owned(),
            }),
        );
    }

    async fn running(&mut self, process: Process, prepared: Arc<Prepared>) -> Step {
        let kind = prepared.engine.kind();
        let writer = Writer {
            datastore: self.role.name(),
            engine: kind.name(),
            level: line_level(kind),
        };
        let path = self.plan.paths.engine_output(self.role.name());
        let mut tail = match Tail::open(&path, &self.plan.config.log, self.lines.clone()) {
            Ok(tail) => Some(tail),
            Err(error) => {
                tracing::warn!("the output of {kind:?} is lost: {error}");
                None
            }
        };
        let mut was_ready = false;
        let outcome = self
            .supervise(&process, &prepared, tail.as_mut(), writer, &mut was_ready)
            .await;
        let lasted = process.since().elapsed();
        let step = match outcome {
            Outcome::Leave => return Step::Ended,
            Outcome::Stop(wanted) => {
                self.stop(&process, &prepared, tail.as_mut(), writer).await;
                match wanted {
                    Wanted::Stopped => Step::Stopped,
                    Wanted::Started(None) => Step::Prepare,
                    Wanted::Started(Some(plan)) => {
                        self.take_plan(plan);
                        Step::Prepare
                    }
                    Wanted::Ended => Step::Ended,
                }
            }
            Outcome::Exited(exit) => {
                // Helpers that it left behind hold its files and port.
                process.signal_group(Signal::SIGKILL);
                if let Some(tail) = tail.as_mut() {
                    tail.finish(writer);
                }
                let (cause, reason) = self.judge(exit, kind);
                self.exited(
                    Run {
                        lasted,
                        was_ready,
                        cause,
                    },
                    &reason,
                )
            }
            Outcome::Hung(reason) => {
                journal::emit(Event::DatastoreHung, self.role.name(), &reason);
                self.kill(&process).await;
                self.prepared = None;
                self.exited(
                    Run {
                        lasted,
                        was_ready,
                        cause: Cause::Hung,
                    },
                    &reason,
                )
            }
            Outcome::NotReady(reason) => {
                journal::emit(Event::DatastoreHung, self.role.name(), &reason);
                self.kill(&process).await;
                self.exited(
                    Run {
                        lasted,
                        was_ready: false,
                        cause: Cause::Hung,
                    },
                    &reason,
                )
            }
        };
        if !matches!(step, Step::Launch(_)) {
            notify::forget(self.role);
            self.registry.set(self.role, None);
        }
        step
    }

    /// Cause and plain words of an exit.
    fn judge(&self, exit: Exit, kind: EngineKind) -> (Cause, String) {
        let last: Vec<String> = self
            .lines
            .last(20)
            .into_iter()
            .map(|line| line.text)
            .collect();
        let oom = oom_kills(None) > self.oom_kills;
        let cause = match exit {
            Exit::Signal(9) if oom => Cause::OutOfMemory,
            Exit::Signal(9 | 15) => Cause::KilledFromOutside,
            _ => Cause::Crash,
        };
        let mut reason = format!("{} {exit}", kind.name());
        if cause == Cause::OutOfMemory {
            reason += " of the OOM killer: memory ran out; give it more in lucid.toml ([memory], \
                       datastore.*.memory) or use a board with more RAM";
        } else if cause == Cause::Crash {
            if let Some(advice) = engine::of(kind).advise(&last) {
                reason = format!("{reason}: {}; {}", advice.cause, advice.remedy);
            } else if let Some(words) = last.last() {
                reason = format!("{reason}; last words: {words}");
            }
        }
        (cause, reason)
    }

    fn exited(&mut self, run: Run, reason: &str) -> Step {
        if !run.was_ready {
            // Whatever kept it from becoming ready, the next start looks at everything again.
            self.prepared = None;
        }
        self.decide(run, reason)
    }

    fn decide(&mut self, run: Run, reason: &str) -> Step {
        let jitter = || {
            let mut byte = [0u8; 1];
            // Without randomness the middle is as good as any.
            getrandom::fill(&mut byte).map_or(0.5, |()| f64::from(byte[0]) / 255.0)
        };
        match self.restarts.after(run, Instant::now(), jitter) {
            Next::Now => {
                let step = self.prepared.clone().map_or(Step::Prepare, Step::Launch);
                self.view.restarted(reason);
                step
            }
            Next::After(wait) => {
                self.view.restarted(reason);
                Step::Wait {
                    state: DatastoreState::Backoff,
                    reason: reason.to_owned(),
                    until: tokio::time::Instant::now() + wait,
                }
            }
            Next::CrashLoop(wait) => {
                self.view.restarted(reason);
                Step::Wait {
                    state: DatastoreState::Failed,
                    reason: format!(
                        "crash loop: {reason}; correct the cause, then run `lucid datastore \
                         restart {}`; tried again every {}",
                        self.role, self.plan.config.supervisor.crash_loop_retry
                    ),
                    until: tokio::time::Instant::now() + wait,
                }
            }
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
                    Some(Command::Stop) => return Step::Stopped,
                    Some(Command::Reconfigure(plan)) => {
                        self.take_plan(plan);
                        return Step::Prepare;
                    }
                    Some(Command::Rotate(answer)) => self.rotate_stopped(answer),
                    Some(Command::Shutdown | Command::Leave) | None => return Step::Ended,
                },
            }
        }
    }

    async fn supervise(
        &mut self,
        process: &Process,
        prepared: &Arc<Prepared>,
        mut tail: Option<&mut Tail>,
        writer: Writer,
        was_ready: &mut bool,
    ) -> Outcome {
        let (ip, port) = prepared.context.local_addr();
        let target = probe::Target {
            engine: prepared.engine.kind().name(),
            address: (ip, port).into(),
            settings: self.plan.config.probe.clone(),
        };
        let (sender, mut probes) = mpsc::channel(4);
        let client = prepared.engine.client(&prepared.context);
        let _prober = AbortOnDrop(tokio::spawn(probe::run(client, target, sender)).abort_handle());
        // An adopted engine has started long ago: it answers soon, says that it loads, or hangs.
        let start_limit = if process.is_adopted() {
            ADOPTED_LIMIT.min(self.plan.config.supervisor.start_timeout.0)
        } else {
            self.plan.config.supervisor.start_timeout.0
        };
        let mut deadline = tokio::time::Instant::now() + start_limit;
        let mut last_error = String::from("its port does not answer");
        let mut failures = 0;
        let mut sample = tokio::time::interval(SAMPLE_INTERVAL);
        loop {
            tokio::select! {
                exit = process.exited() => return Outcome::Exited(exit),
                () = tail_forever(tail.as_deref_mut(), writer) => {}
                Some(ping) = self.pings.recv() => { let _ = ping.send(()); }
                _ = sample.tick() => self.view.sample(process.pid()),
                () = sleep_until(deadline), if !*was_ready => {
                    return Outcome::NotReady(format!(
                        "not ready within {} s: {last_error}", start_limit.as_secs()
                    ));
                }
                Some(event) = probes.recv() => match event {
                    probe::Event::NotYet(error) => {
                        last_error = error.to_string();
                        if error.is_loading() {
                            // It says itself that it makes progress.
                            deadline = tokio::time::Instant::now() + start_limit;
                        }
                        self.view.not_yet(&error);
                    }
                    probe::Event::Ready(latency) => {
                        *was_ready = true;
                        failures = 0;
                        self.view.ready(latency, process.since().elapsed());
                        if std::mem::take(&mut self.outdated) {
                            return Outcome::Stop(Wanted::Started(None));
                        }
                    }
                    probe::Event::Passed(latency) => {
                        failures = 0;
                        self.view.passed(latency);
                    }
                    probe::Event::Faults(faults) => self.view.faults(&faults),
                    probe::Event::Failed(error) => {
                        failures += 1;
                        self.view.failed(&error, failures);
                        if error.is_fatal() || (failures >= self.plan.config.probe.failures && !error.is_answer()) {
                            return Outcome::Hung(hung_reason(&error, failures));
                        }
                    }
                },
                command = self.commands.recv() => {
                    if let Some(outcome) = self.command(command, prepared).await {
                        return outcome;
                    }
                }
            }
        }
    }

    async fn command(
        &mut self,
        command: Option<Command>,
        prepared: &Arc<Prepared>,
    ) -> Option<Outcome> {
        match command {
            Some(Command::Start) => None,
            Some(Command::Stop) => Some(Outcome::Stop(Wanted::Stopped)),
            Some(Command::Restart) => {
                self.restarts.reset();
                Some(Outcome::Stop(Wanted::Started(None)))
            }
            Some(Command::Shutdown) | None => Some(Outcome::Stop(Wanted::Ended)),
            Some(Command::Leave) => Some(Outcome::Leave),
            Some(Command::Reconfigure(plan)) => {
                match self
                    .prepare_with(Arc::clone(&plan), Purpose::Describe)
                    .await
                {
                    // The record, not `prepared`: a rotation changes what the engine runs with.
                    Ok(new) if self.registry.runs_with(self.role, &new.fingerprint) => {
                        self.take_plan(plan);
                        None
                    }
                    Ok(_) => Some(Outcome::Stop(Wanted::Started(Some(plan)))),
                    Err(blocked) => {
                        let message = format!(
                            "the new configuration cannot run, the old one stays: {}; {}",
                            blocked.reason, blocked.remedy
                        );
                        journal::emit(Event::ConfigRejected, self.role.name(), &message);
                        None
                    }
                }
            }
            Some(Command::Rotate(answer)) => {
                let result = self.rotate(prepared).await;
                let _ = answer.send(result);
                None
            }
        }
    }

    /// A new client password: first into the file, then into the engine; a failure puts the old
    /// file back. After a crash in between, the next start makes the engine follow the file.
    async fn rotate(&mut self, prepared: &Arc<Prepared>) -> Result<(), String> {
        let old = prepared.context.credentials.clone();
        let mut new = old.clone();
        new.client.password = credentials::password().map_err(|error| error.to_string())?;
        let paths = self.plan.paths.clone();
        let role = self.role;
        let save = move |paths: crate::paths::Paths, credentials: Credentials| {
            tokio::task::spawn_blocking(move || credentials::save(&paths, role, &credentials))
        };
        let saved = save(paths.clone(), new.clone()).await;
        saved
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let mut client = prepared.engine.client(&prepared.context);
        let limit = self.plan.config.probe.timeout.0;
        let call = timeout(limit, client.set_password(&new.client));
        let result = match Self::attended(&mut self.pings, call).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!(
                "the engine did not answer within {} ms",
                limit.as_millis()
            )),
        };
        if result.is_err() {
            let _ = save(paths, old).await;
            return result;
        }
        journal::emit(
            Event::CredentialsRotated,
            self.role.name(),
            "the client's password changed",
        );
        // Running and file agree; only the description has to be made anew.
        if let Ok(prepared) = self
            .prepare_with(Arc::clone(&self.plan), Purpose::Describe)
            .await
        {
            self.registry
                .refingerprint(self.role, &prepared.fingerprint);
            self.prepared = None;
        }
        Ok(())
    }

    fn rotate_stopped(&self, answer: oneshot::Sender<Result<(), String>>) {
        let _ = answer.send(Err(format!(
            "{} is not running; start it with `lucid datastore start {}`",
            self.role, self.role
        )));
    }

    async fn stop(
        &mut self,
        process: &Process,
        prepared: &Prepared,
        tail: Option<&mut Tail>,
        writer: Writer,
    ) {
        self.view.stopping();
        process.signal_group(prepared.spec.stop_signal);
        let limit = self.plan.config.supervisor.stop_timeout.0;
        let exit = Self::attended(&mut self.pings, timeout(limit, process.exited())).await;
        if exit.is_err() {
            let message = format!(
                "did not stop within {} s and is killed; acknowledged writes are in its journal",
                limit.as_secs()
            );
            journal::emit(Event::DatastoreHung, self.role.name(), &message);
            self.kill(process).await;
        }
        process.signal_group(Signal::SIGKILL);
        if let Some(tail) = tail {
            tail.finish(writer);
        }
        journal::emit(Event::DatastoreStopped, self.role.name(), "stopped");
    }

    async fn kill(&mut self, process: &Process) {
        process.signal_group(Signal::SIGKILL);
        self.await_exit(process).await;
    }

    async fn await_exit(&mut self, process: &Process) {
        if Self::attended(&mut self.pings, timeout(KILL_LIMIT, process.exited()))
            .await
            .is_err()
        {
            let message = format!(
                "process {} does not end: it waits for a device; look at `dmesg`",
                process.pid()
            );
            journal::emit(Event::DatastoreHung, self.role.name(), &message);
            // Its port and files are still taken; starting another one now would only fail.
            Self::attended(&mut self.pings, sleep(KILL_LIMIT)).await;
        }
    }
}

/// Ends the task when the supervision ends.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn tail_forever(tail: Option<&mut Tail>, writer: Writer) {
    if let Some(tail) = tail {
        tail.run(writer).await;
    }
    std::future::pending::<()>().await;
}

fn hung_reason(error: &EngineError, failures: u32) -> String {
    if error.is_fatal() {
        format!("{error}; it is killed and restarted")
    } else {
        format!("{failures} probes in a row failed ({error}); it is killed and restarted")
    }
}

fn line_level(kind: EngineKind) -> fn(&str) -> Level {
    match kind {
        EngineKind::Secantus => |line| engine::of(EngineKind::Secantus).line_level(line),
        EngineKind::Mongod => |line| engine::of(EngineKind::Mongod).line_level(line),
        EngineKind::Redis => |line| engine::of(EngineKind::Redis).line_level(line),
        EngineKind::Valkey => |line| engine::of(EngineKind::Valkey).line_level(line),
        EngineKind::Elasticsearch => |line| engine::of(EngineKind::Elasticsearch).line_level(line),
    }
}

/// Who dies first when the machine's memory runs out: what can be rebuilt before what cannot, the
/// supervisor last.
const fn oom_score_adj(role: Role) -> i32 {
    match role {
        Role::Document => 200,
        Role::Cache => 300,
        Role::Search => 400,
    }
}

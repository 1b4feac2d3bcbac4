//! A running engine: probes, output, commands, until it ends one way or another.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep_until;

use super::super::held_data;
use super::super::lifecycle::{Cause, Run};
use super::super::output::{Tail, Writer};
use super::super::prepare::Prepared;
use super::super::process::Process;
use super::super::{notify, probe};
use super::{Actor, Outcome, Step, Wanted};
use crate::engine::EngineError;
use crate::journal::{self, Event};

/// How long an adopted engine may take to pass its first probe.
const ADOPTED_LIMIT: Duration = Duration::from_secs(15);
/// How often memory use is sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

impl Actor {
    pub(super) async fn running(&mut self, process: Process, prepared: Arc<Prepared>) -> Step {
        let writer = Writer {
            datastore: self.role.name(),
            engine: prepared.engine,
        };
        let mut tail = self.tail();
        let mut was_ready = false;
        let outcome = self
            .supervise(&process, &prepared, tail.as_mut(), writer, &mut was_ready)
            .await;
        let lasted = process.since().elapsed();
        let step = match outcome {
            Outcome::Leave => return Step::Ended,
            Outcome::Stop(wanted) => {
                if matches!(wanted, Wanted::Stopped) {
                    self.registry.set_stopped(self.role, true);
                }
                self.stop(&process, &prepared, tail.as_mut(), writer).await;
                match wanted {
                    Wanted::Stopped => Step::Stopped,
                    Wanted::Held(answer) => {
                        let _ = answer.send(());
                        Step::Stopped
                    }
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
                let (cause, reason) = self.judge(exit, prepared.engine.kind());
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
        self.tail = tail;
        if !matches!(step, Step::Launch(..)) {
            notify::forget(self.role);
            self.registry.set(self.role, None);
        }
        step
    }

    /// The reader of the engine's output: that of the last run, or a new one.
    fn tail(&mut self) -> Option<Tail> {
        let settings = &self.plan.config.log;
        if let Some(mut tail) = self.tail.take() {
            tail.set_rate(settings);
            return Some(tail);
        }
        let path = self.plan.paths.engine_output(self.role.name());
        Tail::open(&path, settings, self.lines.clone())
            .inspect_err(|error| {
                tracing::warn!("the output of datastore {} is lost: {error}", self.role);
            })
            .ok()
    }

    /// From now on an empty volume is a lost one.
    fn remember_data(&self) {
        let marker = self.plan.paths.has_data(self.role.name());
        tokio::task::spawn_blocking(move || {
            if !marker.exists()
                && let Err(error) = held_data::mark(&marker)
            {
                tracing::error!("{error}; a lost volume would not be noticed");
            }
        });
    }

    async fn supervise(
        &mut self,
        process: &Process,
        prepared: &Arc<Prepared>,
        mut tail: Option<&mut Tail>,
        writer: Writer,
        was_ready: &mut bool,
    ) -> Outcome {
        let settings = watch::Sender::new(self.plan.config.probe.clone());
        let (ip, port) = prepared.context.local_addr();
        let target = probe::Target {
            engine: prepared.engine.kind().name(),
            address: (ip, port).into(),
            settings: settings.subscribe(),
        };
        let (sender, mut probes) = mpsc::channel(4);
        let client = prepared.engine.client(&prepared.context);
        let _prober = AbortOnDrop(tokio::spawn(probe::run(client, target, sender)).abort_handle());
        // An adopted engine has started long ago: it answers soon, says that it loads, or hangs.
        // Unless it was launched just before the last supervisor ended.
        let start_limit = self.plan.config.supervisor.start_timeout.0;
        let start_limit = match process.age() {
            Some(age) => start_limit
                .saturating_sub(age)
                .max(ADOPTED_LIMIT.min(start_limit)),
            None => start_limit,
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
                    if std::mem::take(&mut self.outdated) {
                        // With another port or password it cannot be probed, and is not hung.
                        return Outcome::Stop(Wanted::Started(None));
                    }
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
                        self.remember_data();
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
                    if let Some(outcome) = self.command(command, prepared, *was_ready).await {
                        return outcome;
                    }
                    settings.send_replace(self.plan.config.probe.clone());
                }
            }
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

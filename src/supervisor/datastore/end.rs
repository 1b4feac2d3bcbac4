//! The end of a run: what caused it, what follows, and stopping on request.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::time::{sleep, timeout};

use super::super::lifecycle::{Cause, Next, Run};
use super::super::limits::oom_kills;
use super::super::output::{Tail, Writer};
use super::super::prepare::Prepared;
use super::super::process::{Exit, Process};
use super::{Actor, Step};
use crate::config::EngineKind;
use crate::engine;
use crate::journal::{self, Event};
use crate::status::DatastoreState;

/// After SIGKILL only a process in uninterruptible I/O stays.
const KILL_LIMIT: Duration = Duration::from_secs(10);

impl Actor {
    /// Cause and plain words of an exit.
    pub(super) fn judge(&self, exit: Exit, kind: EngineKind) -> (Cause, String) {
        let last: Vec<String> = self
            .lines
            .last(20)
            .into_iter()
            .map(|line| line.text)
            .collect();
        let oom = oom_kills(self.cgroup.as_deref()) > self.oom_kills;
        let cause = match exit {
            Exit::Signal(9) | Exit::Adopted if oom => Cause::OutOfMemory,
            Exit::Signal(9 | 15) => Cause::KilledFromOutside,
            _ => Cause::Crash,
        };
        let mut reason = format!("{} {exit}", kind.name());
        if cause == Cause::OutOfMemory {
            reason = format!(
                "{} was ended by the OOM killer: memory ran out; give it more in lucid.toml \
                 ([memory], datastore.{}.memory) or use a board with more RAM",
                kind.name(),
                self.role
            );
        } else if cause == Cause::Crash {
            if let Some(advice) = engine::of(kind).advise(&last) {
                reason = format!("{reason}: {}; {}", advice.cause, advice.remedy);
            } else if let Some(words) = last.last() {
                reason = format!("{reason}; last words: {words}");
            }
        }
        (cause, reason)
    }

    pub(super) fn exited(&mut self, run: Run, reason: &str) -> Step {
        if !run.was_ready {
            // Whatever kept it from becoming ready, the next start looks at everything again.
            self.prepared = None;
        }
        self.decide(run, reason)
    }

    pub(super) fn decide(&mut self, run: Run, reason: &str) -> Step {
        let jitter = || {
            let mut byte = [0u8; 1];
            // Without randomness the middle is as good as any.
            getrandom::fill(&mut byte).map_or(0.5, |()| f64::from(byte[0]) / 255.0)
        };
        match self.restarts.after(run, Instant::now(), jitter) {
            Next::Now => {
                if let Some(prepared) = self.prepared.clone() {
                    Step::Launch(prepared, Some(reason.to_owned()))
                } else {
                    self.view.restarted(reason);
                    Step::Prepare
                }
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

    pub(super) async fn stop(
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

    pub(super) async fn kill(&mut self, process: &Process) {
        process.signal_group(Signal::SIGKILL);
        self.await_exit(process).await;
    }

    pub(super) async fn await_exit(&mut self, process: &Process) {
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

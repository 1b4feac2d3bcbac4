//! How an engine comes under supervision: launched, or taken over running.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Uid;
use tokio::time::sleep;

use super::super::lifecycle::{Cause, Run};
use super::super::limits::oom_kills;
use super::super::prepare::{Blocked, Prepared, Purpose};
use super::super::process::{Launch, Process};
use super::super::records::Record;
use super::super::{held_data, ownership};
use super::super::{notify, output};
use super::{Actor, Step};
use crate::config::Role;
use crate::journal::{self, Event};

/// Looks at the program of an adopted engine before it is given up, and the wait in between.
const DESCRIBE_RETRIES: u32 = 3;
const DESCRIBE_WAIT: Duration = Duration::from_secs(2);

impl Actor {
    /// Takes over the engine that an earlier supervisor left.
    pub(super) async fn adopt_recorded(&mut self) -> Option<Step> {
        let record = self.registry.recorded(self.role)?;
        let process = Process::adopt(record.pid, record.start_time)?;
        let mut described = self.describe().await;
        for _ in 0..DESCRIBE_RETRIES {
            if described.is_ok() {
                break;
            }
            // A package upgrade may be under way, or the machine busy.
            Self::attended(&mut self.pings, sleep(DESCRIBE_WAIT)).await;
            described = self.describe().await;
        }
        match described {
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

    async fn describe(&mut self) -> Result<Arc<Prepared>, Blocked> {
        self.prepare_with(Arc::clone(&self.plan), Purpose::Describe)
            .await
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
        // Values of the plan may have changed, and what is missing must be told again.
        self.view.prepared(&prepared);
        self.view.adopted(process.pid());
        self.oom_kills = oom_kills(None);
        if !self.outdated {
            // A smaller limit under a running engine would end it; it comes with the restart.
            let enforced = self.plan.limits.enforce(self.role, prepared.context.memory);
            self.oom_kills = oom_kills(enforced.path.as_deref());
            self.view.limits(&enforced, self.plan.board.is_pi());
            self.cgroup = enforced.path;
        }
        self.register(&process, &prepared, &record.fingerprint);
        Step::Running(Box::new(process), prepared)
    }

    /// An engine of this root that no record tells of: the supervisor died right after its
    /// launch.
    pub(super) async fn adopt_stray(&mut self, pid: i32) -> Option<Step> {
        let found = procfs::process::Process::new(pid).ok()?;
        let stat = found.stat().ok()?;
        let start_time = stat.starttime;
        let owner = ownership::run_as(self.role)
            .ok()?
            .map_or(Uid::effective(), |run_as| run_as.uid);
        // Ours lead a group and run as the engine's user; anybody may write into a file.
        if stat.pgrp != pid || found.uid().ok()? != owner.as_raw() {
            return None;
        }
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

    pub(super) fn launch(&mut self, prepared: Arc<Prepared>, restarted: Option<&str>) -> Step {
        self.outdated = false;
        if held_data::lost_volume(&self.plan.paths, &prepared.context) {
            // A quick restart skips the preparation, which tells what is wrong.
            self.prepared = None;
            if let Some(reason) = restarted {
                self.view.restarted(reason);
            }
            return Step::Prepare;
        }
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
                    cgroup: enforced.procs.as_ref(),
                    oom_score_adj: oom_score_adj(self.role),
                })
                .map_err(|error| error.to_string())
            });
        if let Some(reason) = restarted {
            self.view.restarted(reason);
        }
        self.oom_kills = oom_kills(enforced.path.as_deref());
        self.cgroup.clone_from(&enforced.path);
        match launched {
            Ok(process) => {
                self.register(&process, &prepared, &prepared.fingerprint);
                self.view.starting(process.pid());
                self.view.limits(&enforced, self.plan.board.is_pi());
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

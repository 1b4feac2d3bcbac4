//! How one datastore shows: every change of state goes to the status snapshot and the journal
//! together.

use std::time::Duration;

use super::limits::Enforced;
use super::prepare::{Plan, Prepared};
use crate::config::Role;
use crate::engine::{EngineError, Fault};
use crate::journal::{self, Event};
use crate::status::{Alert, Datastore, DatastoreState, Probe, Severity, StatusHub, now_rfc3339};

/// Publishes for one role.
#[derive(Debug)]
pub(super) struct View {
    role: Role,
    hub: StatusHub,
    /// The reason told last, so that a repeated check does not fill the journal.
    told: Option<String>,
    /// Faults told last, as one text.
    faults: Option<String>,
    /// Whether a limit that is not in force is a fault here; see [`View::limits`].
    limit_fault: Option<String>,
    answered: Option<String>,
}

impl View {
    pub(super) fn new(role: Role, plan: &Plan, hub: StatusHub) -> Self {
        let view = Self {
            role,
            hub,
            told: None,
            faults: None,
            limit_fault: None,
            answered: None,
        };
        let entry = Datastore {
            name: role.name().to_owned(),
            engine: String::new(),
            engine_version: None,
            state: DatastoreState::Preparing,
            pid: None,
            endpoint: String::new(),
            restarts: 0,
            rss_bytes: None,
            memory_max_bytes: None,
            probe: None,
            reason: None,
        };
        view.hub.update(|status| {
            status.datastores.push(entry);
            let order = |d: &Datastore| Role::ALL.iter().position(|role| role.name() == d.name);
            status.datastores.sort_by_key(order);
        });
        view.replan(plan);
        view
    }

    pub(super) fn replan(&self, plan: &Plan) {
        let common = plan.config.common(self.role);
        let endpoint = common
            .listen
            .first()
            .map(|ip| std::net::SocketAddr::new(*ip, common.port).to_string())
            .unwrap_or_default();
        let memory = plan.memory.of(self.role).map(|memory| memory.max);
        self.update(|d| {
            if d.engine != common.engine.name() {
                common.engine.name().clone_into(&mut d.engine);
                d.engine_version = None;
            }
            d.endpoint = endpoint;
            d.memory_max_bytes = memory;
        });
    }

    fn update(&self, change: impl FnOnce(&mut Datastore)) {
        self.hub.update_datastore(self.role.name(), change);
    }

    fn emit(&self, event: Event, message: &str) {
        journal::emit(event, self.role.name(), message);
    }

    fn id(&self, what: &str) -> String {
        format!("{what}:{}", self.role)
    }

    fn raise(&self, what: &str, severity: Severity, message: &str, action: &str) {
        let alert = Alert::new(self.id(what), severity, self.role.name(), message, action);
        if self.hub.raise(alert) {
            self.emit(Event::AlertRaised, &format!("{message}; {action}"));
        }
    }

    fn clear(&self, what: &str) {
        if self.hub.clear(&self.id(what)) {
            self.emit(Event::AlertCleared, &format!("{what} is over"));
        }
    }

    fn gone(d: &mut Datastore, state: DatastoreState, reason: Option<String>) {
        d.state = state;
        d.pid = None;
        d.rss_bytes = None;
        d.probe = None;
        d.reason = reason;
    }

    /// The entry goes away with its task.
    pub(super) fn closed(&mut self) {
        self.forget_troubles();
        let name = self.role.name();
        self.update(|d| Self::gone(d, DatastoreState::Stopped, None));
        self.hub.update(|status| {
            if status.state != crate::status::ApplianceState::Stopping {
                status.datastores.retain(|d| d.name != name);
            }
        });
    }

    pub(super) fn stopped(&mut self) {
        self.forget_troubles();
        let reason = format!(
            "stopped on request; `lucid datastore start {}` starts it",
            self.role
        );
        self.update(|d| Self::gone(d, DatastoreState::Stopped, Some(reason)));
    }

    /// Alerts of a run do not outlive it.
    fn forget_troubles(&mut self) {
        self.told = None;
        self.faults = None;
        self.answered = None;
        for what in ["down", "fault", "limit-not-enforced"] {
            self.clear(what);
        }
    }

    pub(super) fn preparing(&self) {
        self.update(|d| {
            // While blocked or failed each new look must not hide the reason.
            if !matches!(d.state, DatastoreState::Blocked | DatastoreState::Failed) {
                Self::gone(d, DatastoreState::Preparing, d.reason.clone());
            }
        });
    }

    pub(super) fn prepared(&self, prepared: &Prepared) {
        let version = prepared.context.detected.version.text.clone();
        self.update(|d| d.engine_version = Some(version));
        for warning in &prepared.warnings {
            tracing::warn!(lucid_datastore = self.role.name(), "{warning}");
        }
    }

    pub(super) fn starting(&mut self, pid: i32) {
        self.faults = None;
        self.answered = None;
        self.update(|d| {
            d.state = DatastoreState::Starting;
            d.pid = Some(pid);
            d.probe = None;
        });
        self.emit(
            Event::DatastoreStarting,
            &format!("launched as process {pid}"),
        );
    }

    /// It runs already; whether it is ready the probes tell.
    pub(super) fn adopted(&self, pid: i32) {
        self.update(|d| {
            d.state = DatastoreState::Starting;
            d.pid = Some(pid);
            d.probe = None;
        });
    }

    /// A memory limit that is not in force is a fault on a Raspberry Pi, where the kernel command
    /// line mends it; elsewhere, on a builder's machine, it is a warning. So is any other limit.
    pub(super) fn limits(&mut self, enforced: &Enforced, is_pi: bool) {
        let fault = enforced.memory_missing.as_ref().filter(|_| is_pi);
        self.limit_fault = fault.map(|missing| format!("memory limit not in force: {missing}"));
        let severity = if fault.is_some() {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let missing: Vec<&str> = [&enforced.memory_missing, &enforced.others_missing]
            .into_iter()
            .filter_map(Option::as_deref)
            .collect();
        if missing.is_empty() {
            self.clear("limit-not-enforced");
            return;
        }
        let missing = missing.join("; ");
        let new = self.hub.raise(Alert::new(
            self.id("limit-not-enforced"),
            severity,
            self.role.name(),
            format!("limits of {} are not in force: {missing}", self.role),
            "a runaway engine could take the machine's memory; see README, Memory limits",
        ));
        if new {
            self.emit(Event::LimitNotEnforced, &missing);
        }
    }

    pub(super) fn not_yet(&self, error: &EngineError) {
        self.probe_failed(error);
        let reason = format!("not ready yet: {error}");
        self.update(|d| d.reason = Some(reason));
    }

    fn probe_failed(&self, error: &EngineError) {
        let probe = Probe {
            ok: false,
            latency_ms: None,
            at: now_rfc3339(),
            error: Some(error.to_string()),
        };
        self.update(|d| d.probe = Some(probe));
    }

    fn probe_passed(latency: Duration) -> Probe {
        let latency_ms = (latency.as_secs_f64() * 1e6).round() / 1e3;
        Probe {
            ok: true,
            latency_ms: Some(latency_ms),
            at: now_rfc3339(),
            error: None,
        }
    }

    pub(super) fn ready(&mut self, latency: Duration, since_launch: Duration) {
        self.told = None;
        self.clear("down");
        self.update(|d| d.probe = Some(Self::probe_passed(latency)));
        self.settle();
        let message = format!("ready {} ms after launch", since_launch.as_millis());
        self.emit(Event::DatastoreReady, &message);
    }

    pub(super) fn passed(&mut self, latency: Duration) {
        self.update(|d| d.probe = Some(Self::probe_passed(latency)));
        if self.answered.take().is_some() {
            self.settle();
        }
    }

    /// A probe that failed `failures` times in a row.
    pub(super) fn failed(&mut self, error: &EngineError, failures: u32) {
        self.probe_failed(error);
        // One late answer is no news; an engine that says no, or says nothing twice, is.
        if error.is_answer() || failures > 1 {
            self.answered = Some(error.to_string());
            self.settle();
        }
    }

    pub(super) fn faults(&mut self, faults: &[Fault]) {
        if faults.is_empty() {
            self.faults = None;
        } else {
            let texts: Vec<_> = faults
                .iter()
                .map(|fault| format!("{}; {}", fault.message, fault.remedy))
                .collect();
            self.faults = Some(texts.join("; "));
        }
        self.settle();
    }

    /// `ready` or `degraded`, by all that is known.
    fn settle(&mut self) {
        let reasons: Vec<&str> = [&self.answered, &self.faults, &self.limit_fault]
            .into_iter()
            .filter_map(Option::as_deref)
            .collect();
        if reasons.is_empty() {
            self.clear("fault");
            self.update(|d| {
                d.state = DatastoreState::Ready;
                d.reason = None;
            });
            self.told = None;
            return;
        }
        let reason = reasons.join("; ");
        self.update(|d| {
            d.state = DatastoreState::Degraded;
            d.reason = Some(reason.clone());
        });
        if self.told.as_ref() != Some(&reason) {
            self.emit(Event::DatastoreDegraded, &reason);
            self.raise(
                "fault",
                Severity::Warning,
                &reason,
                "see the remedy in the message",
            );
            self.told = Some(reason);
        }
    }

    pub(super) fn restarted(&self, reason: &str) {
        self.update(|d| {
            Self::gone(d, DatastoreState::Backoff, Some(reason.to_owned()));
            d.restarts += 1;
        });
        self.emit(Event::DatastoreExited, reason);
    }

    /// Not running and not stopped: `backoff`, `failed` or `blocked`.
    pub(super) fn waiting(&mut self, state: DatastoreState, reason: &str) {
        self.update(|d| Self::gone(d, state, Some(reason.to_owned())));
        if self.told.as_deref() == Some(reason) {
            return;
        }
        self.told = Some(reason.to_owned());
        match state {
            DatastoreState::Failed | DatastoreState::Blocked => {
                let (event, action) = if state == DatastoreState::Failed {
                    (
                        Event::DatastoreFailed,
                        "correct the cause, then restart the datastore",
                    )
                } else {
                    (
                        Event::DatastoreBlocked,
                        "mend what is named; it then starts by itself",
                    )
                };
                self.emit(event, reason);
                self.raise("down", Severity::Critical, reason, action);
            }
            _ => self.emit(Event::DatastoreBackoff, reason),
        }
    }

    pub(super) fn stopping(&self) {
        self.update(|d| d.state = DatastoreState::Stopping);
    }

    pub(super) fn sample(&self, pid: i32) {
        let resident = procfs::process::Process::new(pid)
            .and_then(|process| process.statm())
            .map(|statm| statm.resident * procfs::page_size())
            .ok();
        self.update(|d| {
            d.pid = Some(pid);
            d.rss_bytes = resident;
        });
    }
}

//! Backups of a running appliance: what goes in is prepared here ([`sources`]), a process of its own
//! does the work ([`process`]), commands ([`commands`], [`restore`]) and times ([`times`]) begin it,
//! and what came of it is remembered and shown ([`state`]).

mod capture;
mod commands;
mod judge;
mod places;
mod process;
mod restore;
mod sources;
mod state;
mod times;
mod wanted;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) use judge::watch;
pub(super) use times::run;

pub use commands::Listed;
pub use wanted::{Scope, Wanted};

use super::prepare::Plan;
use crate::config::BackupRepository;
use crate::paths::Paths;
use state::State;

/// What backups need of the appliance; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Backups {
    plan: Arc<Mutex<Arc<Plan>>>,
    /// One at a time works on repositories; the second is told of the first.
    busy: Arc<Mutex<Option<&'static str>>>,
    /// Absent until the data disk is there.
    state: Arc<Mutex<Option<State>>>,
}

/// While it lives, no other work on backups begins.
#[derive(Debug)]
struct Turn(Arc<Mutex<Option<&'static str>>>);

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Backups {
    pub(super) fn new(plan: &Arc<Plan>) -> Self {
        Self {
            state: Arc::default(),
            plan: Arc::new(Mutex::new(Arc::clone(plan))),
            busy: Arc::default(),
        }
    }

    /// Takes over a changed configuration.
    pub(super) fn replan(&self, plan: &Arc<Plan>) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(plan);
    }

    fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn turn(&self, what: &'static str) -> Result<Turn, String> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = *busy {
            return Err(format!(
                "{other} runs; `lucid job list` shows how far it is. Begin again after that"
            ));
        }
        *busy = Some(what);
        Ok(Turn(Arc::clone(&self.busy)))
    }

    /// Changes what is remembered, on disk as well.
    fn note(&self, change: impl FnOnce(&mut State)) {
        let paths = self.plan().paths.clone();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = State::known(&mut state, &paths);
        let mut new = known.clone();
        change(&mut new);
        if new != *known {
            *known = new;
            known.save(&paths);
        }
    }

    fn state(&self) -> State {
        let paths = self.plan().paths.clone();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        State::known(&mut state, &paths).clone()
    }

    fn repositories(&self) -> Vec<BackupRepository> {
        self.plan().config.backup.repositories.clone()
    }
}

/// Where the key lies.
pub fn key_file(paths: &Paths) -> PathBuf {
    paths.credentials().join("backup.key")
}

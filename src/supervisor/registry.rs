//! The records file, shared by all datastores and written off the runtime.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::records::{Record, Records, boot_id};
use crate::config::Role;

/// Cheap to clone; every clone changes the same file.
#[derive(Debug, Clone)]
pub(super) struct Registry {
    path: Arc<PathBuf>,
    records: Arc<Mutex<Records>>,
    /// Serialises writers, so that the last change is the last one on disk.
    writing: Arc<Mutex<()>>,
}

impl Registry {
    /// Reads what an earlier supervisor of this boot left. `stored` are the pids that systemd's
    /// FD store vouches for: where it knows a role, a record of another pid is stale.
    pub(super) fn open(path: PathBuf, stored: &[(Role, i32)]) -> Self {
        let mut records = Records::load(&path, &boot_id());
        records.engines.retain(|record| {
            stored
                .iter()
                .find(|(role, _)| *role == record.role)
                .is_none_or(|(_, pid)| *pid == record.pid)
        });
        Self {
            path: Arc::new(path),
            records: Arc::new(Mutex::new(records)),
            writing: Arc::default(),
        }
    }

    pub(super) fn recorded(&self, role: Role) -> Option<Record> {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(role)
            .cloned()
    }

    /// Engines recorded for roles that `keep` does not name.
    pub(super) fn orphans(&self, keep: &[Role]) -> Vec<Record> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records
            .engines
            .iter()
            .filter(|record| !keep.contains(&record.role))
            .cloned()
            .collect()
    }

    /// Changes the record of `role`; the file follows in the background.
    pub(super) fn set(&self, role: Role, record: Option<Record>) {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set(role, record);
        self.save();
    }

    /// Whether a person stopped `role` and has not started it since.
    pub(super) fn is_stopped(&self, role: Role) -> bool {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.stopped.contains(&role)
    }

    /// Remembers over supervisors that a person stopped `role`, or started it again.
    pub(super) fn set_stopped(&self, role: Role, stopped: bool) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = if stopped {
            records.stopped.insert(role)
        } else {
            records.stopped.remove(&role)
        };
        drop(records);
        if changed {
            self.save();
        }
    }

    /// Whether the engine of `role` was started with `fingerprint`.
    pub(super) fn runs_with(&self, role: Role, fingerprint: &str) -> bool {
        self.recorded(role)
            .is_some_and(|record| record.fingerprint == fingerprint)
    }

    /// The engine of `role` now counts as started with `fingerprint`.
    pub(super) fn refingerprint(&self, role: Role, fingerprint: &str) {
        if let Some(mut record) = self.recorded(role) {
            fingerprint.clone_into(&mut record.fingerprint);
            self.set(role, Some(record));
        }
    }

    fn save(&self) {
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let _one_at_a_time = this.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let records = this
                .records
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if let Err(error) = records.save(&this.path) {
                tracing::error!(
                    "{error}; if the supervisor crashes now, running engines are found by their \
                     ports only"
                );
            }
        });
    }
}

//! Which engines run, on disk, so that the next supervisor adopts them instead of starting
//! second ones.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::{EngineKind, Role};
use crate::fsx::{self, FsError};

/// One running engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) role: Role,
    pub(super) engine: EngineKind,
    pub(super) version: String,
    pub(super) pid: i32,
    /// With the pid and the boot it names a process.
    pub(super) start_time: u64,
    /// Hash of everything the engine was started with; another one means a restart is due.
    pub(super) fingerprint: String,
}

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Records {
    /// Boot that the pids belong to.
    pub(super) boot_id: String,
    pub(super) engines: Vec<Record>,
    /// Stopped by a person, until started again: the next supervisor must not start them.
    #[serde(default)]
    pub(super) stopped: BTreeSet<Role>,
}

/// The kernel's id of this boot; empty where /proc does not tell.
pub(super) fn boot_id() -> String {
    fsx::read_text(Path::new("/proc/sys/kernel/random/boot_id"), 64)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

impl Records {
    /// Reads the file; one of another boot, a torn or a missing one holds nothing.
    pub(super) fn load(path: &Path, boot_id: &str) -> Self {
        fsx::read_text(path, 64 * 1024)
            .ok()
            .and_then(|text| serde_json::from_str::<Self>(&text).ok())
            .filter(|records| records.boot_id == boot_id)
            .unwrap_or_else(|| Self {
                boot_id: boot_id.to_owned(),
                ..Self::default()
            })
    }

    /// Writes the file.
    pub(super) fn save(&self, path: &Path) -> Result<(), FsError> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        fsx::write_volatile(path, &text, 0o600)
    }

    /// The record of `role`.
    pub(super) fn get(&self, role: Role) -> Option<&Record> {
        self.engines.iter().find(|record| record.role == role)
    }

    /// Puts `record` in place of an earlier one of its role, or removes that of `role`.
    pub(super) fn set(&mut self, role: Role, record: Option<Record>) {
        self.engines.retain(|old| old.role != role);
        self.engines.extend(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_another_boot_or_a_torn_file_hold_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engines.json");
        let mut records = Records::load(&path, "boot-a");
        records.set(
            Role::Cache,
            Some(Record {
                role: Role::Cache,
                engine: EngineKind::Redis,
                version: "7.0.15".to_owned(),
                pid: 42,
                start_time: 7,
                fingerprint: "f".to_owned(),
            }),
        );
        records.save(&path).unwrap();
        assert_eq!(Records::load(&path, "boot-a"), records);
        assert!(Records::load(&path, "boot-b").engines.is_empty());
        fsx::write_atomic(&path, b"{\"boot_id\":", 0o600).unwrap();
        assert!(Records::load(&path, "boot-a").engines.is_empty());
    }
}

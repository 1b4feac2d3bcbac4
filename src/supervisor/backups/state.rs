//! What is remembered of backups over a restart: on the data disk, beside what it is about.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fsx;
use crate::paths::Paths;

const MAX_BYTES: u64 = 1 << 20;

/// What came of backups.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// When the key was shown to somebody, RFC 3339.
    pub(super) key_shown: Option<String>,
    /// When work of each kind was last begun, RFC 3339.
    pub(super) begun: BTreeMap<String, String>,
    /// By repository.
    pub(super) repositories: BTreeMap<String, Record>,
}

/// What came of backups to one repository.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// When it was first configured, RFC 3339.
    pub since: Option<String>,
    /// Which share of the data is read back next.
    pub share: u32,
    /// Id of the last backup that was made and checked.
    pub last_good: Option<String>,
    /// When it was taken, RFC 3339.
    pub last_good_at: Option<String>,
    /// What came of the last one, in words.
    pub last_result: Option<String>,
    /// Whether it failed.
    pub failed: bool,
    /// What came of the last whole verification, and when.
    pub verified: Option<Outcome>,
    /// What came of the last drill.
    pub drilled: Option<Outcome>,
}

/// What came of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// RFC 3339.
    pub at: String,
    /// Whether all was well.
    pub well: bool,
    /// In words.
    pub message: String,
}

fn file(paths: &Paths) -> PathBuf {
    paths.system().join("backup.json")
}

impl State {
    pub(super) fn load(paths: &Paths) -> Self {
        let found = fsx::read_json(&file(paths), MAX_BYTES);
        found
            .inspect_err(|error| tracing::warn!("{error}; ages of backups are not known"))
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// What is remembered; read when the data disk is there, and not before.
    pub(super) fn known<'a>(slot: &'a mut Option<Self>, paths: &Paths) -> &'a mut Self {
        if slot.is_none() && !paths.system().is_dir() {
            // Nothing is written over what a disk has that comes later.
            return slot.insert(Self::default());
        }
        slot.get_or_insert_with(|| Self::load(paths))
    }

    /// Without the data disk there is nothing to remember it on.
    pub(super) fn save(&self, paths: &Paths) {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        let path = file(paths);
        if let Err(error) = fsx::write_atomic(&path, &text, 0o644) {
            tracing::warn!("{error}; it is known until the next restart");
        }
    }

    /// Whether no backup ever went to this repository.
    pub(super) fn is_new(&self, repository: &str) -> bool {
        let known = self.repositories.get(repository);
        known.is_none_or(|known| known.last_good.is_none())
    }

    pub(super) fn record(&mut self, repository: &str) -> &mut Record {
        self.repositories.entry(repository.to_owned()).or_default()
    }
}

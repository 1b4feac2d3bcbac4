//! What volumes there are: one file on the pool itself, so that it moves with the data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::OpError;
use super::name::{Kind, Name};
use super::reserve;
use crate::fsx::{self, FsError};
use crate::paths::Paths;
use crate::units::Span;

/// A catalog is small: a line a volume.
const MAX_BYTES: u64 = 1 << 20;

/// When snapshots are taken, and how many of them stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Time between two.
    pub every: Span,
    /// How many scheduled ones stay.
    pub keep: u32,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name, unique.
    pub name: Name,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The pool that it lies on; absent for the one that holds the catalog.
    #[serde(default)]
    pub pool: Option<Name>,
    /// Bytes that it may refer to; absent where the pool cannot limit.
    #[serde(rename = "quota_bytes")]
    pub quota: Option<u64>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Snapshots by time.
    pub schedule: Option<Schedule>,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Catalog {
    pub(super) volumes: Vec<Entry>,
}

/// What is being done, written down before it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "op")]
pub(super) enum Intent {
    /// The directory is made; the catalog has it when it is done.
    Create {
        name: Name,
        #[serde(default)]
        pool: Option<Name>,
    },
    /// The directory was or will be renamed to `grave` and removed.
    Delete {
        name: Name,
        #[serde(default)]
        pool: Option<Name>,
        grave: String,
    },
    /// `staging` is to take the place of a volume; what it replaces becomes the snapshot `kept`.
    Rollback {
        name: Name,
        #[serde(default)]
        pool: Option<Name>,
        staging: String,
        /// Number of the subvolume that is replaced.
        replaced: u64,
        kept: String,
    },
    /// A volume that was copied to another pool takes the place of the former one.
    Switch(Switch),
}

/// From one pool to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Switch {
    pub(super) name: Name,
    pub(super) from: Option<Name>,
    pub(super) to: Option<Name>,
}

fn file(paths: &Paths) -> PathBuf {
    paths.system().join("volumes.json")
}

fn intent_file(paths: &Paths) -> PathBuf {
    paths.system().join("volume-intent.json")
}

/// Those whose pool was away when they were to be finished.
fn waiting_file(paths: &Paths) -> PathBuf {
    paths.system().join("volume-intents-waiting.json")
}

fn write<T: Serialize>(paths: &Paths, path: &std::path::Path, value: &T) -> Result<(), OpError> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(std::io::Error::other)
        .map_err(FsError::wrap("write", path))?;
    if let Some(dir) = path.parent() {
        fsx::create_dir(dir, 0o755)?;
    }
    Ok(reserve::with(paths, || {
        fsx::write_atomic(path, &text, 0o644)
    })?)
}

impl Catalog {
    pub(super) fn load(paths: &Paths) -> Result<Self, OpError> {
        Ok(fsx::read_json(&file(paths), MAX_BYTES)?.unwrap_or_default())
    }

    pub(super) fn save(&self, paths: &Paths) -> Result<(), OpError> {
        write(paths, &file(paths), self)
    }

    pub(super) fn get(&self, name: &Name) -> Result<&Entry, OpError> {
        self.volumes
            .iter()
            .find(|entry| entry.name == *name)
            .ok_or_else(|| OpError::Unknown(name.clone()))
    }

    pub(super) fn get_mut(&mut self, name: &Name) -> Result<&mut Entry, OpError> {
        self.volumes
            .iter_mut()
            .find(|entry| entry.name == *name)
            .ok_or_else(|| OpError::Unknown(name.clone()))
    }
}

impl Intent {
    pub(super) fn load(paths: &Paths) -> Result<Option<Self>, OpError> {
        Ok(fsx::read_json(&intent_file(paths), MAX_BYTES)?)
    }

    pub(super) fn save(&self, paths: &Paths) -> Result<(), OpError> {
        write(paths, &intent_file(paths), self)
    }

    /// The pools that it needs, beside the data pool.
    pub(super) fn pools(&self) -> Vec<&Name> {
        let (one, two) = match self {
            Self::Create { pool, .. } | Self::Delete { pool, .. } | Self::Rollback { pool, .. } => {
                (pool.as_ref(), None)
            }
            Self::Switch(switch) => (switch.from.as_ref(), switch.to.as_ref()),
        };
        one.into_iter().chain(two).collect()
    }

    pub(super) fn load_waiting(paths: &Paths) -> Result<Vec<Self>, OpError> {
        Ok(fsx::read_json(&waiting_file(paths), MAX_BYTES)?.unwrap_or_default())
    }

    pub(super) fn save_waiting(paths: &Paths, waiting: &[Self]) -> Result<(), OpError> {
        let path = waiting_file(paths);
        if waiting.is_empty() {
            return remove(paths, &path);
        }
        write(paths, &path, &waiting)
    }

    pub(super) fn done(paths: &Paths) -> Result<(), OpError> {
        remove(paths, &intent_file(paths))
    }
}

fn remove(paths: &Paths, path: &std::path::Path) -> Result<(), OpError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FsError::wrap("remove", path)(error).into())
        }
        _ => Ok(fsx::sync_dir(&paths.system()).map_err(FsError::wrap("flush", path))?),
    }
}

//! What a snapshot consists of.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::blobs::Blob;

/// Version of what is written; larger ones are not read.
pub(in crate::search_node) const FORMAT: u64 = 1;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::search_node) struct Description {
    /// Version of this description.
    pub format: u64,
    /// Name.
    pub snapshot: String,
    /// Identity, which no other snapshot ever has.
    pub uuid: String,
    /// The cluster that it is of.
    pub cluster_uuid: String,
    /// When it was begun, in milliseconds since the epoch.
    pub started: i64,
    /// When it was complete, in milliseconds since the epoch.
    pub ended: i64,
    /// What is in it besides indices, by kind; `None` when that was not wanted.
    pub global: Option<BTreeMap<String, Value>>,
    /// What its maker wrote to it.
    #[serde(default)]
    pub metadata: Option<Value>,
    /// Indices by name.
    pub indices: BTreeMap<String, SavedIndex>,
    /// Indices that could not be taken, and why.
    #[serde(default)]
    pub failures: BTreeMap<String, String>,
}

/// An index in a snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::search_node) struct SavedIndex {
    /// Settings, mapping and the rest of its definition.
    pub definition: Value,
    /// Aliases by name.
    pub aliases: Value,
    /// Where it was in its lifecycle.
    #[serde(default)]
    pub lifecycle: Option<Value>,
    /// When another index took its place, by alias, in milliseconds since the epoch.
    #[serde(default)]
    pub rolled: BTreeMap<String, i64>,
    /// Which file is what.
    pub commit: Value,
    /// Its files.
    pub files: Vec<SavedFile>,
    /// How many of them were new to the repository.
    pub new_files: u64,
    /// Bytes of those.
    pub new_bytes: u64,
    /// When its turn came, in milliseconds since the epoch.
    pub started: i64,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// A file of an index.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::search_node) struct SavedFile {
    /// Its name in the index.
    pub name: String,
    /// SHA-256 of its content.
    pub hash: String,
    /// Length.
    pub bytes: u64,
}

impl SavedFile {
    /// Its content.
    pub(in crate::search_node) fn blob(&self) -> Blob {
        Blob {
            hash: self.hash.clone(),
            bytes: self.bytes,
        }
    }
}

impl SavedIndex {
    /// Bytes of all its files.
    pub(in crate::search_node) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

impl Description {
    /// `SUCCESS`, or `PARTIAL` when an index is missing.
    pub(in crate::search_node) fn state(&self) -> &'static str {
        if self.failures.is_empty() {
            "SUCCESS"
        } else {
            "PARTIAL"
        }
    }

    /// Every index's files, with the index's name.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &SavedFile)> {
        self.indices
            .iter()
            .flat_map(|(name, index)| index.files.iter().map(move |file| (name.as_str(), file)))
    }

    /// The blobs that it needs.
    pub(super) fn hashes(&self) -> BTreeSet<&str> {
        self.files().map(|(_, file)| file.hash.as_str()).collect()
    }
}

//! What the node knows besides its documents, and its file.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::settings::Flat;
use crate::search_node::failure::Outcome;
use crate::search_node::lifecycle::{Progress, Stored};
use crate::search_node::snapshots::Registration;
use crate::search_node::stored;

/// The file's name.
pub(super) const NAME: &str = "state.json";

/// What to do when it cannot be read.
pub(super) const REMEDY: &str = "restore the volume from a backup; to begin without any index, move the \
                      data directory away";

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// Identity of the cluster, made at the first start.
    pub cluster_uuid: String,
    /// Indices by name.
    pub indices: BTreeMap<String, Entry>,
    /// Composable index templates by name.
    #[serde(default)]
    pub templates: BTreeMap<String, Value>,
    /// Component templates by name.
    #[serde(default)]
    pub components: BTreeMap<String, Value>,
    /// API keys by id.
    #[serde(default)]
    pub api_keys: BTreeMap<String, Value>,
    /// Repositories of snapshots by name.
    #[serde(default)]
    pub repositories: BTreeMap<String, Registration>,
    /// Lifecycle policies by name.
    #[serde(default)]
    pub policies: BTreeMap<String, Stored>,
    /// Whether nobody acts on the policies.
    #[serde(default)]
    pub lifecycle_stopped: bool,
    /// Settings of the cluster that last.
    #[serde(default)]
    pub persistent: Flat,
    /// Settings of the cluster until the node stops; they come first.
    #[serde(skip)]
    pub transient: Flat,
}

/// An index in the state.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its identity, and the name of its directory.
    pub uuid: String,
    /// Whether it is closed.
    #[serde(default)]
    pub closed: bool,
    /// Its aliases.
    #[serde(default)]
    pub aliases: BTreeMap<String, Alias>,
    /// Where it is in its lifecycle; none before it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Progress>,
    /// When another index took its place, by alias, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rolled: BTreeMap<String, i64>,
}

/// An alias of one index.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Alias {
    /// A query that searches through the alias are limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Value>,
    /// Whether writes to the alias go to this index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_write_index: Option<bool>,
    /// Whether wildcards pass over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_hidden: Option<bool>,
}

impl State {
    /// Reads the state in `dir`; `None` when there is none yet.
    pub(crate) fn load(dir: &Path) -> Outcome<Option<Self>> {
        stored::load(&dir.join(NAME), REMEDY)
    }

    /// Whether an index has an alias of this name.
    pub(crate) fn is_alias(&self, name: &str) -> bool {
        let mut entries = self.indices.values();
        entries.any(|entry| entry.aliases.contains_key(name))
    }

    /// Saves the state, atomically.
    pub(crate) fn save(&self, dir: &Path) -> Outcome<()> {
        stored::save(&dir.join(NAME), self)
    }
}

//! What the node knows besides its documents, and its file.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fsx;
use crate::search_node::failure::{Failure, Outcome};

/// The file's name.
const NAME: &str = "state.json";

/// Larger states are none.
const MAX_STATE: u64 = 64 << 20;

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
    /// Reads the state in `dir`; the default when there is none.
    pub(crate) fn load(dir: &Path) -> Outcome<Self> {
        let path = dir.join(NAME);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fsx::read_text(&path, MAX_STATE)?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::internal(format!(
                "{}: {error}; restore the volume from a backup",
                path.display()
            ))
        })
    }

    /// Saves the state, atomically.
    pub(crate) fn save(&self, dir: &Path) -> Outcome<()> {
        let text = serde_json::to_vec(self).map_err(|e| Failure::internal(e.to_string()))?;
        fsx::write_atomic(&dir.join(NAME), &text, 0o600)?;
        Ok(())
    }
}

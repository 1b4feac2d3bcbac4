//! The roles that datastores have, and the programs that can play them.

use serde::{Deserialize, Serialize};

/// The three roles; the order is the start order, and stopping runs backwards.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// MongoDB wire protocol.
    Document,
    /// Redis protocol.
    Cache,
    /// Elasticsearch REST.
    Search,
}

impl Role {
    /// Every role, in start order.
    pub const ALL: [Role; 3] = [Role::Document, Role::Cache, Role::Search];

    /// Name in configuration, status and journal.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Document => "document",
            Role::Cache => "cache",
            Role::Search => "search",
        }
    }

    /// Name of the volume that holds its data, as in the volume types of the platform.
    pub const fn volume(self) -> &'static str {
        match self {
            Role::Document => "mongodb",
            Role::Cache => "redis",
            Role::Search => "elasticsearch",
        }
    }

    /// System user that its engine runs as when the supervisor is root.
    pub const fn user(self) -> &'static str {
        match self {
            Role::Document => "lucid-document",
            Role::Cache => "lucid-cache",
            Role::Search => "lucid-search",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// The programs that can play a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// `secantusd-rs`, the default document store.
    Secantus,
    /// Official MongoDB, supplied by the user.
    Mongod,
    /// Redis.
    Redis,
    /// Valkey.
    Valkey,
    /// `lucid search-node`, the default search engine: this very program.
    #[serde(rename = "lucid")]
    SearchNode,
    /// Elasticsearch, supplied by the user.
    Elasticsearch,
}

impl EngineKind {
    /// Name in status and journal; the configuration has the same one, and `lucid` for the search
    /// node.
    pub const fn name(self) -> &'static str {
        match self {
            EngineKind::Secantus => "secantus",
            EngineKind::Mongod => "mongod",
            EngineKind::Redis => "redis",
            EngineKind::Valkey => "valkey",
            EngineKind::SearchNode => "lucid-search-node",
            EngineKind::Elasticsearch => "elasticsearch",
        }
    }

    /// The role it can play.
    pub const fn role(self) -> Role {
        match self {
            EngineKind::Secantus | EngineKind::Mongod => Role::Document,
            EngineKind::Redis | EngineKind::Valkey => Role::Cache,
            EngineKind::SearchNode | EngineKind::Elasticsearch => Role::Search,
        }
    }
}

//! `lucid.toml`: one file, one typed and validated value.

mod load;
mod memory;
mod rules;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use load::{ConfigError, Problem};
pub use memory::{EngineMemory, MemoryPlan, PlanError, Share};

use crate::units::{ByteSize, Span};

/// The documented default file, printed by `lucid config default`.
pub const DEFAULT_FILE: &str = include_str!("default.toml");

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

/// The whole configuration. Every key is documented in `default.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the data lies.
    pub data: Data,
    /// Which datastores run, and how.
    pub datastore: Datastores,
    /// How memory is shared.
    pub memory: Memory,
    /// Kernel knobs.
    pub tuning: Tuning,
    /// Lifecycle.
    pub supervisor: Supervisor,
    /// How engines are watched.
    pub probe: ProbeSettings,
    /// What engines write.
    pub log: Log,
}

/// `[data]`: read by `lucid volume prepare`, at the start of the board.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// Name of the disk that holds the data, as in `/dev/disk/by-id`; empty for the data
    /// partition of the medium that the board starts from.
    pub disk: String,
    /// The same name once more: what the disk holds may be erased when the pool is made.
    pub erase: String,
}

/// One table a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Datastores {
    /// MongoDB wire protocol.
    pub document: Document,
    /// Redis protocol.
    pub cache: Cache,
    /// Elasticsearch REST.
    pub search: Search,
}

/// What every datastore has. Flattening is avoided: with it unknown keys would go unnoticed.
#[derive(Debug, Clone, PartialEq)]
pub struct Common<'a> {
    /// Role.
    pub role: Role,
    /// Whether it runs.
    pub enabled: bool,
    /// Program.
    pub engine: EngineKind,
    /// Path of the program; searched when absent.
    pub binary: Option<&'a std::path::Path>,
    /// Port.
    pub port: u16,
    /// Addresses to listen on.
    pub listen: &'a [std::net::IpAddr],
    /// Fixed `memory.max` instead of a planned one.
    pub memory: Option<ByteSize>,
}

/// `[datastore.document]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    /// Whether it runs.
    pub enabled: bool,
    /// `secantus` or `mongod`.
    pub engine: EngineKind,
    /// Path of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary: Option<std::path::PathBuf>,
    /// TCP port.
    pub port: u16,
    /// Addresses to listen on.
    pub listen: Vec<std::net::IpAddr>,
    /// Fixed `memory.max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Replica set name for mongod.
    pub replica_set: String,
    /// How long secantus keeps its oplog, for change streams and point-in-time restore.
    pub oplog_retention: Span,
}

/// `[datastore.cache]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Whether it runs.
    pub enabled: bool,
    /// `redis` or `valkey`.
    pub engine: EngineKind,
    /// Path of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary: Option<std::path::PathBuf>,
    /// TCP port.
    pub port: u16,
    /// Addresses to listen on.
    pub listen: Vec<std::net::IpAddr>,
    /// Fixed `memory.max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Upper bound of Redis' `maxmemory`; the plan may give less.
    pub maxmemory: ByteSize,
    /// Redis' `maxmemory-policy`.
    pub maxmemory_policy: String,
    /// Redis' `appendfsync`.
    pub appendfsync: AppendFsync,
}

/// When Redis flushes its append-only file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppendFsync {
    /// Before every answer: nothing acknowledged is lost, at a cost in writes.
    Always,
    /// Once a second: at most about one second is lost.
    Everysec,
}

/// `[datastore.search]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Search {
    /// Whether it runs.
    pub enabled: bool,
    /// `lucid` or `elasticsearch`.
    pub engine: EngineKind,
    /// Path of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary: Option<std::path::PathBuf>,
    /// TCP port.
    pub port: u16,
    /// Addresses to listen on.
    pub listen: Vec<std::net::IpAddr>,
    /// Where its certificate comes from.
    pub tls: SearchTls,
    /// Certificates in PEM, for [`SearchTls::Given`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<std::path::PathBuf>,
    /// The private key in PEM, for [`SearchTls::Given`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<std::path::PathBuf>,
    /// Fixed `memory.max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
}

/// TLS of the search engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchTls {
    /// None: it is reached from this machine alone.
    Off,
    /// With a certificate that the engine makes.
    Generated,
    /// With a certificate of the owner's.
    Given,
}

impl SearchTls {
    /// As it stands in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            SearchTls::Off => "off",
            SearchTls::Generated => "generated",
            SearchTls::Given => "given",
        }
    }
}

/// `[memory]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Kept for the operating system and the supervisor; by the board's RAM when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve: Option<ByteSize>,
    /// Share of each role in what the reserve leaves.
    pub weights: BTreeMap<Role, u32>,
}

/// `[tuning]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tuning {
    /// Whether knobs are set at all.
    pub enabled: bool,
    /// Whether a clean stop puts the knobs back.
    pub revert_on_stop: bool,
    /// How often knobs are read back.
    pub check_interval: Span,
    /// Whether a compressed swap device in RAM is made.
    pub zram: bool,
    /// Knobs left alone, by name.
    pub skip: Vec<String>,
}

/// `[supervisor]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Supervisor {
    /// How long a start may take until readiness.
    pub start_timeout: Span,
    /// How long an engine may take to stop before it is killed.
    pub stop_timeout: Span,
    /// First wait after a failure.
    pub backoff_min: Span,
    /// Longest wait after a failure.
    pub backoff_max: Span,
    /// A run this long forgets earlier failures.
    pub stable_after: Span,
    /// Failures within `crash_loop_window` that make a crash loop.
    pub crash_loop_failures: u32,
    /// See `crash_loop_failures`.
    pub crash_loop_window: Span,
    /// How often a crash loop is tried again.
    pub crash_loop_retry: Span,
}

/// `[probe]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeSettings {
    /// Time between reads of the canary.
    pub interval: Span,
    /// Time between writes of the canary; each costs a flush on the data disk.
    pub write_interval: Span,
    /// A probe that takes longer has failed.
    pub timeout: Span,
    /// Failures in a row after which an engine is hung, killed and restarted.
    pub failures: u32,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Lines a second that an engine may write in the long run.
    pub lines_per_second: u32,
    /// Lines it may write at once.
    pub burst: u32,
    /// Lines kept in memory for `lucid logs`.
    pub keep: u32,
}

const LOOPBACK: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

impl Default for Document {
    fn default() -> Self {
        Self {
            enabled: true,
            engine: EngineKind::Secantus,
            binary: None,
            port: 27017,
            listen: vec![LOOPBACK],
            memory: None,
            replica_set: "rs0".to_owned(),
            oplog_retention: seconds(3600),
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            enabled: true,
            engine: EngineKind::Redis,
            binary: None,
            port: 6379,
            listen: vec![LOOPBACK],
            memory: None,
            maxmemory: ByteSize(2 * crate::units::GIB),
            maxmemory_policy: "allkeys-lru".to_owned(),
            appendfsync: AppendFsync::Everysec,
        }
    }
}

impl Default for Search {
    fn default() -> Self {
        Self {
            enabled: true,
            engine: EngineKind::SearchNode,
            binary: None,
            port: 9200,
            listen: vec![LOOPBACK],
            tls: SearchTls::Off,
            certificate: None,
            key: None,
            memory: None,
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        let weights = [(Role::Document, 50), (Role::Cache, 30), (Role::Search, 20)];
        Self {
            reserve: None,
            weights: weights.into(),
        }
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            enabled: true,
            revert_on_stop: true,
            check_interval: seconds(15),
            zram: true,
            skip: Vec::new(),
        }
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Self {
            start_timeout: seconds(120),
            stop_timeout: seconds(30),
            backoff_min: Span(Duration::from_millis(100)),
            backoff_max: seconds(30),
            stable_after: seconds(60),
            crash_loop_failures: 5,
            crash_loop_window: seconds(300),
            crash_loop_retry: seconds(300),
        }
    }
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            interval: seconds(1),
            write_interval: seconds(30),
            timeout: seconds(2),
            failures: 3,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            lines_per_second: 50,
            burst: 500,
            keep: 500,
        }
    }
}

const fn seconds(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}

impl Config {
    /// What every datastore has, for `role`.
    pub fn common(&self, role: Role) -> Common<'_> {
        macro_rules! common {
            ($table:expr) => {
                Common {
                    role,
                    enabled: $table.enabled,
                    engine: $table.engine,
                    binary: $table.binary.as_deref(),
                    port: $table.port,
                    listen: &$table.listen,
                    memory: $table.memory,
                }
            };
        }
        match role {
            Role::Document => common!(self.datastore.document),
            Role::Cache => common!(self.datastore.cache),
            Role::Search => common!(self.datastore.search),
        }
    }

    /// Enabled roles in start order.
    pub fn enabled(&self) -> impl Iterator<Item = Common<'_>> {
        Role::ALL
            .into_iter()
            .map(|role| self.common(role))
            .filter(|common| common.enabled)
    }
}

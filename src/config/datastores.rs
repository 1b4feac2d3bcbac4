//! `[datastore.*]`: one table a role.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{EngineKind, Role, seconds};
use crate::units::{ByteSize, GIB, Span};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

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
    pub binary: Option<&'a Path>,
    /// Port.
    pub port: u16,
    /// Addresses to listen on.
    pub listen: &'a [IpAddr],
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
    pub binary: Option<PathBuf>,
    /// TCP port.
    pub port: u16,
    /// Addresses to listen on.
    pub listen: Vec<IpAddr>,
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
    pub binary: Option<PathBuf>,
    /// TCP port.
    pub port: u16,
    /// Addresses to listen on.
    pub listen: Vec<IpAddr>,
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
    pub binary: Option<PathBuf>,
    /// TCP port.
    pub port: u16,
    /// Addresses to listen on.
    pub listen: Vec<IpAddr>,
    /// Where its certificate comes from.
    pub tls: SearchTls,
    /// Certificates in PEM, for [`SearchTls::Given`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The private key in PEM, for [`SearchTls::Given`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
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
            oplog_retention: seconds(3 * 3600),
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
            maxmemory: ByteSize(2 * GIB),
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

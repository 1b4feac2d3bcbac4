//! Engines: the programs that play the roles.
//!
//! An [`Engine`] is a description without state: where its program is, what it needs from the
//! board, which files and arguments start it, how its output is read. A [`Client`] is a
//! connection to a running one: probes, first-start accounts, quiesce, password rotation.
//! This room touches the engine's own files and port, nothing else; it starts no process.

mod advice;
mod detect;
mod document_accounts;
mod document_client;
mod elastic_client;
mod elastic_config;
mod elasticsearch;
mod error;
#[cfg(test)]
mod fixtures;
mod mongod;
mod preflight;
mod redis;
mod redis_client;
mod redis_config;
mod redis_info;
mod search_node;
mod secantus;
mod wiredtiger;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;

use crate::board::Board;
use crate::config::{Config, EngineKind, EngineMemory, Role};
use crate::journal::Level;

pub use error::EngineError;

/// Database of the document store that probes write to.
pub const HEALTH_DATABASE: &str = "lucid_health";

/// Logical database of the cache that probes write to; 0 to 3 belong to the platform.
pub const HEALTH_CACHE_DB: i64 = 15;

/// Index of the search engine that probes write to.
pub const HEALTH_INDEX: &str = ".lucid-health";

/// What an engine can do beyond its role's basics. What is not listed is refused by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// Text indexes in the document store.
    TextIndex,
    /// Hashed indexes.
    HashedIndex,
    /// Multi-document transactions.
    Transactions,
    /// Change streams.
    ChangeStreams,
    /// A replica set of more than this node.
    ReplicaSet,
    /// `mapReduce`.
    MapReduce,
    /// A physical copy while writers go on.
    HotPhysicalBackup,
    /// Freeze writes for a snapshot below (`fsyncLock`).
    FreezeWrites,
    /// Rebuild a past point in time.
    PointInTime,
}

/// A program found on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// Its path.
    pub binary: PathBuf,
    /// As it says itself, such as `7.0.15`.
    pub version: Version,
}

/// A dotted version; what follows the numbers is kept for display.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Version {
    /// Major, minor, patch; missing parts are 0.
    pub number: (u32, u32, u32),
    /// The whole text.
    pub text: String,
}

/// One result of preflight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable name of the rule, such as `mongod-needs-armv8.2`.
    pub rule: &'static str,
    /// Whether starting is refused.
    pub blocks: bool,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub remedy: String,
}

/// A file that an engine reads; the supervisor writes it atomically before the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedFile {
    /// Absolute path.
    pub path: PathBuf,
    /// Content.
    pub content: String,
    /// Mode; 0600 for secrets. Owner is the engine's user.
    pub mode: u32,
}

/// Transparent huge pages of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThpPolicy {
    /// `prctl(PR_SET_THP_DISABLE)` before exec.
    Off,
    /// As the system default says.
    System,
}

/// How to start the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSpec {
    /// Arguments after the program name.
    pub args: Vec<OsString>,
    /// Variables set for it; everything else is cleared but `PATH`, `LANG` and `TZ`.
    pub env: Vec<(OsString, OsString)>,
    /// Open files wanted (`RLIMIT_NOFILE`); bounded by the hard limit.
    pub nofile: u64,
    /// Huge pages.
    pub thp: ThpPolicy,
    /// Signal that asks it to stop cleanly.
    pub stop_signal: nix::sys::signal::Signal,
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Login {
    /// Account name.
    pub user: String,
    /// Password: letters and digits only, so that it needs no quoting anywhere.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .field("password", &"***")
            .finish()
    }
}

/// The two accounts of a datastore.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Credentials {
    /// For probes, backups and administration; never shown.
    pub supervisor: Login,
    /// For clients; `lucid credentials show` prints it as a URI.
    pub client: Login,
}

/// Everything an engine's description may depend on.
#[derive(Debug, Clone)]
pub struct Context {
    /// Role.
    pub role: Role,
    /// The whole configuration.
    pub config: Config,
    /// Program found.
    pub detected: Detected,
    /// Share of memory.
    pub memory: EngineMemory,
    /// Online processors.
    pub cpus: usize,
    /// Where its rendered files go.
    pub conf_dir: PathBuf,
    /// Its volume. The engine is started with this as working directory and must use
    /// relative paths where it can: parents may be closed to its user.
    pub data_dir: PathBuf,
    /// Accounts.
    pub credentials: Credentials,
}

impl Context {
    /// Address that local clients connect to.
    pub fn local_addr(&self) -> (IpAddr, u16) {
        let common = self.config.common(self.role);
        let listen = common.listen;
        let local = listen
            .iter()
            .find(|ip| ip.is_loopback() || ip.is_unspecified());
        let ip = match local.or(listen.first()) {
            // A socket bound to `::` need not take IPv4: Redis sets IPV6_V6ONLY.
            Some(IpAddr::V6(ip)) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            Some(ip) if !ip.is_unspecified() => *ip,
            _ => Ipv4Addr::LOCALHOST.into(),
        };
        (ip, common.port)
    }

    /// `host:port` that local clients connect to, as it stands in a URI.
    pub fn endpoint(&self) -> String {
        let (ip, port) = self.local_addr();
        std::net::SocketAddr::new(ip, port).to_string()
    }
}

/// What an engine's last words mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The cause in plain words.
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

/// A fault of an engine that nevertheless serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Stable name, such as `bgsave-failing`.
    pub id: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// The description of an engine. Implementations are stateless; see [`of`].
pub trait Engine: Send + Sync + std::fmt::Debug {
    /// Which one.
    fn kind(&self) -> EngineKind;

    /// Beyond the basics.
    fn capabilities(&self) -> &'static [Capability];

    /// Finds the program: `configured` alone if given, else `search` in order, and asks for its
    /// version. Blocks for at most 5 s; call it off the runtime.
    fn detect(
        &self,
        configured: Option<&Path>,
        search: &[PathBuf],
    ) -> Result<Detected, EngineError>;

    /// Checks the board against what this version needs, before a SIGILL does.
    fn preflight(&self, detected: &Detected, board: &Board) -> Vec<Finding>;

    /// Whether the engine can listen on the addresses that are configured; `None` when it can. Pure.
    fn check_listen(&self, config: &Config) -> Option<Finding>;

    /// Looks for a state of the data directory in which this engine would start with an empty
    /// store, or overwrite one, without a word. Reads a few directory entries; blocks, so call
    /// it off the runtime. Called before every start; `None` for an empty directory.
    fn check_data(&self, data_dir: &Path) -> Option<Finding>;

    /// Configuration files. Pure.
    fn render(&self, ctx: &Context) -> Vec<RenderedFile>;

    /// Command line. Pure.
    fn command(&self, ctx: &Context) -> CommandSpec;

    /// A client for the running engine; connects lazily.
    fn client(&self, ctx: &Context) -> Box<dyn Client>;

    /// URI for the client account, as `lucid credentials show` prints it.
    fn uri(&self, ctx: &Context) -> String;

    /// Level of one output line.
    fn line_level(&self, line: &str) -> Level;

    /// What a line says besides its level, where the engine writes that as a word of its own.
    fn line_text<'a>(&self, line: &'a str) -> &'a str {
        line
    }

    /// What the last lines before an exit mean, if they are known.
    fn advise(&self, last_lines: &[String]) -> Option<Advice>;
}

/// A connection to one running engine. After an error the next call connects anew.
///
/// Calls have no deadline of their own: the caller sets one and drops the future.
pub trait Client: Send {
    /// Makes the accounts if they are not there yet; idempotent. Called once a start, before the
    /// first write probe.
    fn bootstrap(&mut self) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Reads the canary back: cheap, goes through the storage engine, writes nothing.
    fn read_probe(&mut self) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Writes, reads back and removes a canary: the readiness probe.
    fn write_probe(&mut self) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Faults of an engine that serves: failing BGSAVE, AOF errors, evictions.
    fn faults(&mut self) -> BoxFuture<'_, Result<Vec<Fault>, EngineError>>;

    /// Brings what is acknowledged to the disk, as far as the engine has a way; before a stop
    /// or a snapshot.
    fn quiesce(&mut self) -> BoxFuture<'_, Result<(), EngineError>>;

    /// Sets a new password for `account` in the running engine (the file follows by the caller).
    fn set_password<'a>(&'a mut self, login: &'a Login) -> BoxFuture<'a, Result<(), EngineError>>;
}

/// The description of `kind`.
pub fn of(kind: EngineKind) -> &'static dyn Engine {
    match kind {
        EngineKind::Secantus => &secantus::Secantus,
        EngineKind::Mongod => &mongod::Mongod,
        EngineKind::Redis => &redis::REDIS,
        EngineKind::Valkey => &redis::VALKEY,
        EngineKind::SearchNode => &search_node::SearchNode,
        EngineKind::Elasticsearch => &elasticsearch::Elasticsearch,
    }
}

/// Names of a datastore's accounts: the supervisor's and the client's.
///
/// The cache's client is `default`, so that programs which send a password without a name get
/// in as well.
pub const fn account_names(role: Role) -> (&'static str, &'static str) {
    match role {
        Role::Cache => ("lucid-supervisor", "default"),
        Role::Document | Role::Search => ("lucid-supervisor", "lucid"),
    }
}

/// A text that no other probe of this machine has written: clock and a counter.
fn nonce() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{nanos:x}-{}-{count}", std::process::id())
}

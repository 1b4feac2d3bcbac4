//! Engines: the programs that play the roles.
//!
//! An [`Engine`] is a description without state: where its program is, what it needs from the
//! board, which files and arguments start it, how its output is read. A [`Client`] is a
//! connection to a running one: probes, first-start accounts, quiesce, password rotation.
//! This room touches the engine's own files and port, nothing else; it starts no process.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::board::Board;
use crate::config::{Config, EngineKind, EngineMemory, Role};
use crate::journal::Level;

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
#[derive(Debug, Clone, PartialEq, Eq)]
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
            Some(ip) if !ip.is_unspecified() => *ip,
            _ => IpAddr::from([127, 0, 0, 1]),
        };
        (ip, common.port)
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

/// Why an engine's description could not be made, or an engine did not answer.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No program was found.
    #[error("{engine}: no program found (searched {searched}); {remedy}")]
    NotFound {
        /// Engine.
        engine: &'static str,
        /// Places searched, joined.
        searched: String,
        /// Way out.
        remedy: String,
    },
    /// The program cannot be executed or does not say its version.
    #[error("{engine}: {} cannot be used: {cause}; {remedy}", binary.display())]
    Unusable {
        /// Engine.
        engine: &'static str,
        /// Program.
        binary: PathBuf,
        /// Cause, such as "is built for aarch64, this machine is x86_64".
        cause: String,
        /// Way out.
        remedy: String,
    },
    /// A probe or administrative call failed.
    #[error("{engine}: {operation} failed: {cause}")]
    Call {
        /// Engine.
        engine: &'static str,
        /// What was tried.
        operation: &'static str,
        /// What the engine or the connection said.
        cause: String,
    },
    /// A call took longer than its deadline.
    #[error("{engine}: {operation} did not answer within {} ms", limit.as_millis())]
    Timeout {
        /// Engine.
        engine: &'static str,
        /// What was tried.
        operation: &'static str,
        /// The deadline.
        limit: Duration,
    },
    /// The engine cannot do this.
    #[error("{engine} cannot {what}; {alternative}")]
    Unsupported {
        /// Engine.
        engine: &'static str,
        /// What was asked.
        what: &'static str,
        /// What does it instead.
        alternative: &'static str,
    },
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
    let _ = kind;
    unimplemented!()
}

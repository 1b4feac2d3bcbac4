//! Official MongoDB, supplied by the user, 7.0 or newer.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::detect::Program;
use super::document_client::{DocumentClient, Quiesce};
use super::secantus::document_uri;
use super::{
    Advice, Capability, Client, CommandSpec, Context, Detected, Engine, EngineError, Finding,
    RenderedFile, ThpPolicy, preflight, wiredtiger,
};
use crate::board::Board;
use crate::config::{Config, EngineKind};
use crate::journal::Level;
use crate::units::MIB;

const PROGRAM: Program = Program {
    engine: "mongod",
    name: "mongod",
    says: "db version",
    remedy: "install MongoDB 7.0 from its maker's packages, set datastore.document.binary to it, \
             or use engine = \"secantus\"",
};

/// Connections taken at most. The maker's default of 65,536 would need 64 GB for their stacks;
/// a pool of 100 for each of ten programs is what a board can serve.
const MAX_CONNECTIONS: u32 = 1000;

/// The smallest cache that the server takes, in MiB.
const MIN_CACHE_MIB: u64 = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Mongod;

impl Engine for Mongod {
    fn kind(&self) -> EngineKind {
        EngineKind::Mongod
    }

    /// No `mapReduce`: server-side JavaScript is switched off.
    fn capabilities(&self) -> &'static [Capability] {
        &[
            Capability::TextIndex,
            Capability::HashedIndex,
            Capability::Transactions,
            Capability::ChangeStreams,
            Capability::ReplicaSet,
            Capability::FreezeWrites,
        ]
    }

    fn detect(
        &self,
        configured: Option<&Path>,
        search: &[PathBuf],
    ) -> Result<Detected, EngineError> {
        PROGRAM.detect(configured, search)
    }

    fn preflight(&self, detected: &Detected, board: &Board) -> Vec<Finding> {
        let version = &detected.version;
        [
            preflight::minimum(
                "mongod",
                version,
                (7, 0, 0),
                "the platform is specified for 7.0",
            ),
            preflight::mongod_armv8_2(version, board),
            preflight::mongod_avx(version, board),
            preflight::mongod_address_bits(version, board),
            preflight::mongod_rseq(version, board),
            preflight::memory("mongod", preflight::MONGOD_MEMORY, board),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn check_listen(&self, config: &Config) -> Option<Finding> {
        preflight::loopback("mongod", &config.datastore.document.listen)
    }

    fn check_data(&self, data_dir: &Path) -> Option<Finding> {
        wiredtiger::check_data("mongod", data_dir)
    }

    /// `mongod.conf`, and with a replica set the key file that authorization then asks for.
    fn render(&self, ctx: &Context) -> Vec<RenderedFile> {
        let mut files = vec![RenderedFile {
            path: ctx.conf_dir.join("mongod.conf"),
            content: configuration(ctx),
            mode: 0o600,
        }];
        if replica_set(ctx).is_some() {
            files.push(RenderedFile {
                path: ctx.conf_dir.join("mongod.key"),
                content: key(&ctx.credentials.supervisor.password),
                mode: 0o600,
            });
        }
        files
    }

    /// `GLIBC_TUNABLES`: see [`preflight::mongod_rseq`]. Always set from 8.0 on, because a
    /// kernel is changed without asking the engine; it costs tcmalloc its per-CPU caches.
    fn command(&self, ctx: &Context) -> CommandSpec {
        let modern = ctx.detected.version.number.0 >= 8;
        let env = modern.then(|| ("GLIBC_TUNABLES".into(), "glibc.pthread.rseq=1".into()));
        CommandSpec {
            args: vec!["--config".into(), ctx.conf_dir.join("mongod.conf").into()],
            env: env.into_iter().collect(),
            // The maker's recommendation.
            nofile: 64_000,
            thp: if modern {
                ThpPolicy::System
            } else {
                ThpPolicy::Off
            },
            stop_signal: nix::sys::signal::Signal::SIGTERM,
        }
    }

    fn client(&self, ctx: &Context) -> Box<dyn Client> {
        let set = replica_set(ctx).map(str::to_owned);
        Box::new(DocumentClient::new("mongod", ctx, set, Quiesce::Fsync))
    }

    fn uri(&self, ctx: &Context) -> String {
        document_uri(ctx)
    }

    /// One JSON object a line, with the severity in `s`.
    fn line_level(&self, line: &str) -> Level {
        let severity = line
            .split_once("\"s\":\"")
            .and_then(|(_, rest)| rest.chars().next());
        match severity {
            Some('F' | 'E') => Level::Error,
            Some('W') => Level::Warn,
            Some('D') => Level::Debug,
            Some(_) => Level::Info,
            None if line.starts_with("Error") || line.contains("unrecognised option") => {
                Level::Error
            }
            None => wiredtiger::line_level(line).unwrap_or(Level::Info),
        }
    }

    fn advise(&self, last_lines: &[String]) -> Option<Advice> {
        wiredtiger::advise(last_lines)
    }
}

fn replica_set(ctx: &Context) -> Option<&str> {
    let name = ctx.config.datastore.document.replica_set.as_str();
    (!name.is_empty()).then_some(name)
}

/// Valid for 7.0 and newer: without `storage.journal.enabled` (gone since 6.1), `net.http` (3.6),
/// `enableMajorityReadConcern` (fixed since 5.0), and with `replSetName`, not `replSet`.
///
/// Values are the platform's; deviations: connections (see [`MAX_CONNECTIONS`]), the cache from
/// the memory plan, no log file (the journal has it), no `fork`. FTDC is off because it writes
/// to the disk once a second for ever, and the unix socket because it would lie in `/tmp`.
fn configuration(ctx: &Context) -> String {
    let document = &ctx.config.datastore.document;
    let listen: Vec<_> = document.listen.iter().map(IpAddr::to_string).collect();
    let ipv6 = document.listen.iter().any(IpAddr::is_ipv6);
    let cache = (ctx.memory.cache / MIB).max(MIN_CACHE_MIB) as f64 / 1024.0;
    let mut text = format!(
        "# Written by lucid at every start; changes are lost.
net:
  port: {port}
  bindIp: \"{listen}\"
  ipv6: {ipv6}
  maxIncomingConnections: {MAX_CONNECTIONS}
  wireObjectCheck: true
  unixDomainSocket:
    enabled: false
storage:
  dbPath: \".\"
  directoryPerDB: true
  wiredTiger:
    engineConfig:
      cacheSizeGB: {cache:.3}
      journalCompressor: zlib
      directoryForIndexes: true
    collectionConfig:
      blockCompressor: zlib
    indexConfig:
      prefixCompression: true
operationProfiling:
  mode: slowOp
  slowOpThresholdMs: 100
setParameter:
  authenticationMechanisms: SCRAM-SHA-256
  diagnosticDataCollectionEnabled: false
  transactionLifetimeLimitSeconds: 86400
security:
  authorization: enabled
  javascriptEnabled: false
",
        port = document.port,
        listen = listen.join(","),
    );
    if let Some(name) = replica_set(ctx) {
        let key = ctx.conf_dir.join("mongod.key");
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "  keyFile: \"{}\"
replication:
  replSetName: \"{name}\"
  oplogSizeMB: 1024
",
            key.display()
        );
    }
    text
}

/// The key file's content: a fixed derivation of the supervisor's password, so that it needs no
/// storage of its own. Hexadecimal digits are of the base64 set that the server asks for, and
/// 64 of them lie within its 6 to 1024.
fn key(password: &str) -> String {
    let digest = Sha256::digest(format!("lucid mongod key file\n{password}"));
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{context, pi4};
    use super::*;
    use crate::config::Role;

    fn rendered(ctx: &Context) -> String {
        Mongod.render(ctx).remove(0).content
    }

    #[test]
    fn the_configuration_has_no_directive_that_stops_7_0() {
        let ctx = context(Role::Document, EngineKind::Mongod);
        let text = rendered(&ctx);
        for gone in [
            "journal:",
            "http:",
            "replSet:",
            "enableMajorityReadConcern",
            "fork",
            "maxTimeMS",
        ] {
            assert!(!text.contains(gone), "{gone} in\n{text}");
        }
        for part in [
            "bindIp: \"127.0.0.1\"",
            "cacheSizeGB: 0.250",
            "authorization: enabled",
            "keyFile: \"/run/lucid/conf/x/mongod.key\"",
            "replSetName: \"rs0\"",
        ] {
            assert!(text.contains(part), "{part} missing in\n{text}");
        }
        assert!(!text.contains("password"), "{text}");
    }

    #[test]
    fn the_key_file_is_secret_stable_and_follows_the_password() {
        let ctx = context(Role::Document, EngineKind::Mongod);
        let file = Mongod.render(&ctx).remove(1);
        assert_eq!((file.mode, file.content.len()), (0o600, 64));
        assert_eq!(file.content, key("sv-password"));
        assert_ne!(file.content, key("other"));
    }

    #[test]
    fn without_a_replica_set_there_is_no_key_file() {
        let mut ctx = context(Role::Document, EngineKind::Mongod);
        ctx.config.datastore.document.replica_set.clear();
        assert_eq!(Mongod.render(&ctx).len(), 1);
        assert!(!rendered(&ctx).contains("repl"));
    }

    #[test]
    fn mongod_8_gets_its_environment_and_huge_pages() {
        let mut ctx = context(Role::Document, EngineKind::Mongod);
        assert_eq!(Mongod.command(&ctx).thp, ThpPolicy::Off);
        assert!(Mongod.command(&ctx).env.is_empty());
        ctx.detected.version.number = (8, 0, 4);
        let spec = Mongod.command(&ctx);
        assert_eq!(spec.thp, ThpPolicy::System);
        assert_eq!(
            spec.env,
            [("GLIBC_TUNABLES".into(), "glibc.pthread.rseq=1".into())]
        );
    }

    #[test]
    fn a_pi_4_is_refused() {
        let ctx = context(Role::Document, EngineKind::Mongod);
        let findings = Mongod.preflight(&ctx.detected, &pi4());
        assert!(
            findings
                .iter()
                .any(|f| f.rule == "mongod-needs-armv8.2" && f.blocks)
        );
    }

    #[test]
    fn lines_have_their_level() {
        let line =
            |s: &str| format!("{{\"t\":{{\"$date\":\"x\"}},\"s\":\"{s}\",  \"c\":\"STORAGE\"}}");
        assert_eq!(Mongod.line_level(&line("E")), Level::Error);
        assert_eq!(Mongod.line_level(&line("W")), Level::Warn);
        assert_eq!(Mongod.line_level(&line("I")), Level::Info);
        assert_eq!(
            Mongod.line_level("Error parsing YAML config file"),
            Level::Error
        );
    }
}

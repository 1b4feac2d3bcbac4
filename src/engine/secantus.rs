//! `secantusd-rs`: the default document store.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::detect::Program;
use super::document_client::{DocumentClient, Quiesce};
use super::{
    Advice, Capability, Client, CommandSpec, Context, Detected, Engine, EngineError, Finding,
    RenderedFile, ThpPolicy, preflight, wiredtiger,
};
use crate::board::Board;
use crate::config::{Config, EngineKind};
use crate::journal::Level;
use crate::units::MIB;

/// The version that was measured: its losses, limits and messages are what this file relies on.
const PINNED: &str = "0.5.3-beta.196";

/// Size of one journal file. Each is allocated in full, so the program's default of 128 MB is
/// the size of an empty store, and the least that must be free on the disk at every moment.
const LOG_FILE_MAX: &str = "16MB";

/// Rows of the oplog kept at most; the program's default, stated so that it stays.
const OPLOG_MAX_ENTRIES: u32 = 100_000;

const PROGRAM: Program = Program {
    engine: "secantus",
    name: "secantusd-rs",
    says: "secantusd-rs",
    remedy: "install it with `cargo install secantus-mdb --version 0.5.3-beta.196 --locked \
             --ignore-rust-version`, or set datastore.document.binary to it",
};

/// See the module.
#[derive(Debug)]
pub(super) struct Secantus;

/// How often an empty entry goes into the oplog. It moves the resume tokens of quiet change
/// streams along, which must happen within the retention; each is one flushed write, so a
/// quarter of the retention, between one minute and 15: at most 96 a day at the default of 1 h.
/// The oplog itself is pruned by the server without it, every 10 s.
fn heartbeat(retention: Duration) -> u64 {
    (retention.as_secs() / 4).clamp(60, 900)
}

impl Engine for Secantus {
    fn kind(&self) -> EngineKind {
        EngineKind::Secantus
    }

    /// Text and hashed indexes are refused by the server with error 67, `mapReduce` answers
    /// an empty result, `fsyncLock` fails with error 9.
    fn capabilities(&self) -> &'static [Capability] {
        &[
            Capability::Transactions,
            Capability::ChangeStreams,
            Capability::HotPhysicalBackup,
            Capability::PointInTime,
        ]
    }

    fn detect(
        &self,
        configured: Option<&Path>,
        search: &[PathBuf],
    ) -> Result<Detected, EngineError> {
        PROGRAM.detect(configured, search)
    }

    /// `secantus-untested-version`: another version than the one whose durability was measured.
    fn preflight(&self, detected: &Detected, _board: &Board) -> Vec<Finding> {
        let version = &detected.version;
        let old = preflight::minimum(
            "secantus",
            version,
            (0, 5, 3),
            "it lacks the flush on commit that Lucid relies on",
        );
        let other = (old.is_none() && version.text != PINNED).then(|| Finding {
            rule: "secantus-untested-version",
            blocks: false,
            message: format!(
                "secantus {} is not the version that was tested, {PINNED}",
                version.text
            ),
            remedy: format!("install version {PINNED}"),
        });
        old.into_iter().chain(other).collect()
    }

    fn check_listen(&self, config: &Config) -> Option<Finding> {
        let listen = &config.datastore.document.listen;
        preflight::one_address("secantus", listen)
            .or_else(|| preflight::loopback("secantus", listen))
    }

    fn check_data(&self, data_dir: &Path) -> Option<Finding> {
        wiredtiger::check_data("secantus", data_dir)
    }

    /// Everything is on the command line; the file is there so that none is searched for in the
    /// working directory, the home and `/etc`.
    fn render(&self, ctx: &Context) -> Vec<RenderedFile> {
        vec![RenderedFile {
            path: ctx.conf_dir.join("secantusd.toml"),
            content: "# Written by lucid. Empty on purpose: the command line says everything.\n"
                .to_owned(),
            mode: 0o644,
        }]
    }

    fn command(&self, ctx: &Context) -> CommandSpec {
        let document = &ctx.config.datastore.document;
        let host = match document.listen.first() {
            // The program joins host and port itself, so that IPv6 needs its brackets here.
            Some(IpAddr::V6(ip)) => format!("[{ip}]"),
            Some(IpAddr::V4(ip)) => ip.to_string(),
            None => "127.0.0.1".to_owned(),
        };
        let retention = document.oplog_retention.0;
        let config = ctx.conf_dir.join("secantusd.toml");
        let mut args: Vec<OsString> = vec!["--config".into(), config.into()];
        // Without --sync-on-commit, 107 of 26,958 writes with j:true were lost on kill -9.
        args.extend(["--auth", "--sync-on-commit"].map(Into::into));
        // No --write-tickets: writers that wait outside the storage engine cannot share a flush,
        // which is what a commit costs on an SD card or a USB disk.
        for (name, value) in [
            ("--host", host),
            ("--port", document.port.to_string()),
            ("--storage-path", ".".to_owned()),
            ("--log-level", "INFO".to_owned()),
            (
                "--cache-size",
                format!("{}M", (ctx.memory.cache / MIB).max(1)),
            ),
            ("--log-file-max", LOG_FILE_MAX.to_owned()),
            (
                "--oplog-retention-seconds",
                retention.as_secs().max(1).to_string(),
            ),
            ("--oplog-max-entries", OPLOG_MAX_ENTRIES.to_string()),
            ("--noop-heartbeat-seconds", heartbeat(retention).to_string()),
        ] {
            args.extend([name.into(), value.into()]);
        }
        CommandSpec {
            args,
            env: Vec::new(),
            // MongoDB's recommendation; connections and WiredTiger's files need them.
            nofile: 64_000,
            thp: ThpPolicy::Off,
            stop_signal: nix::sys::signal::Signal::SIGTERM,
        }
    }

    fn client(&self, ctx: &Context) -> Box<dyn Client> {
        // The set that it names itself is always there, so that none is initiated.
        Box::new(DocumentClient::new(
            "secantus",
            ctx,
            None,
            Quiesce::JournaledWrite,
        ))
    }

    fn uri(&self, ctx: &Context) -> String {
        document_uri(ctx)
    }

    /// Its logger writes `[2026-01-01T00:00:00Z ERROR module] text`.
    fn line_level(&self, line: &str) -> Level {
        if let Some(level) = wiredtiger::line_level(line) {
            return level;
        }
        let word = line
            .strip_prefix('[')
            .and_then(|rest| rest.split_whitespace().nth(1));
        match word {
            Some("ERROR") => Level::Error,
            Some("WARN") => Level::Warn,
            Some("DEBUG" | "TRACE") => Level::Debug,
            // Its own last words and those of a panic stand without a prefix.
            None if line.starts_with("secantusd-rs:") || line.contains("panicked at") => {
                Level::Error
            }
            None if line.contains("failed") => Level::Warn,
            _ => Level::Info,
        }
    }

    fn advise(&self, last_lines: &[String]) -> Option<Advice> {
        wiredtiger::advise(last_lines)
    }
}

/// URI of the client account. `directConnection`: the set's member names itself by an address
/// that only this machine knows.
pub(super) fn document_uri(ctx: &Context) -> String {
    let client = &ctx.credentials.client;
    format!(
        "mongodb://{}:{}@{}/?authSource=admin&directConnection=true",
        client.user,
        client.password,
        ctx.endpoint()
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{context, pi4};
    use super::*;
    use crate::config::Role;

    #[test]
    fn the_command_line_flushes_authenticates_and_stays_in_its_directory() {
        let ctx = context(Role::Document, EngineKind::Secantus);
        let spec = Secantus.command(&ctx);
        let args: Vec<_> = spec.args.iter().map(|arg| arg.to_string_lossy()).collect();
        let line = args.join(" ");
        for part in [
            "--sync-on-commit",
            "--auth",
            "--host 127.0.0.1",
            "--storage-path .",
            "--cache-size 64M",
            "--oplog-retention-seconds 10800",
            "--noop-heartbeat-seconds 900",
        ] {
            assert!(line.contains(part), "{part} missing in {line}");
        }
        assert!(!line.contains("sv-password") && !line.contains("cl-password"));
    }

    #[test]
    fn ipv6_gets_its_brackets() {
        let mut ctx = context(Role::Document, EngineKind::Secantus);
        ctx.config.datastore.document.listen = vec!["::1".parse().unwrap()];
        assert!(Secantus.command(&ctx).args.contains(&"[::1]".into()));
        assert!(Secantus.uri(&ctx).contains("@[::1]:27017/"));
    }

    #[test]
    fn heartbeats_stay_within_the_retention_and_spare_the_disk() {
        for (hours, seconds) in [(0, 60), (1, 900), (24, 900)] {
            assert_eq!(heartbeat(Duration::from_secs(hours * 3600)), seconds);
        }
    }

    #[test]
    fn lines_have_their_level() {
        for (line, level) in [
            (
                "[2026-11-22T17:12:11Z INFO  secantusd_rs] loaded config",
                Level::Info,
            ),
            (
                "[2026-11-22T17:12:11Z WARN  secantusd_rs] oplog prune failed",
                Level::Warn,
            ),
            (
                "[2026-11-22T17:12:11Z ERROR secantus_server] broken",
                Level::Error,
            ),
            ("secantusd-rs listening on 127.0.0.1:27017", Level::Info),
            ("secantusd-rs: failed to open storage at .", Level::Error),
            ("[1:2][3:0x4], c: [WT_VERB_DEFAULT][ERROR]: x", Level::Error),
        ] {
            assert_eq!(Secantus.line_level(line), level, "{line}");
        }
    }

    #[test]
    fn another_version_is_a_warning_and_an_older_one_a_refusal() {
        let detected = |text: &str| Detected {
            binary: PathBuf::new(),
            version: super::super::detect::parse_version(text).unwrap(),
        };
        let board = pi4();
        assert_eq!(Secantus.preflight(&detected(PINNED), &board), []);
        let findings = Secantus.preflight(&detected("0.6.0"), &board);
        assert!(findings.len() == 1 && !findings[0].blocks);
        let findings = Secantus.preflight(&detected("0.4.9"), &board);
        assert!(findings.len() == 1 && findings[0].blocks);
    }
}

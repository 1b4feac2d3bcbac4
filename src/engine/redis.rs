//! Redis and Valkey: one description, two programs.

use std::path::{Path, PathBuf};

use super::detect::Program;
use super::redis_client::RedisClient;
use super::redis_config::{MAX_CLIENTS, configuration, users};
use super::{
    Advice, Capability, Client, CommandSpec, Context, Detected, Engine, EngineError, Finding,
    RenderedFile, ThpPolicy, advice, preflight,
};
use crate::board::Board;
use crate::config::{Config, EngineKind};
use crate::journal::Level;

/// See the module.
#[derive(Debug)]
pub(super) struct Redis {
    kind: EngineKind,
    program: Program,
    /// The oldest version that the rendered files are valid for.
    least: (u32, u32, u32),
}

/// Redis, from 7.0 on.
pub(super) const REDIS: Redis = Redis {
    kind: EngineKind::Redis,
    program: Program {
        engine: "redis",
        name: "redis-server",
        says: "Redis server",
        remedy: "install the package redis-server, or set datastore.cache.binary",
    },
    least: (7, 0, 0),
};

/// Valkey; its first version continues Redis 7.2.
pub(super) const VALKEY: Redis = Redis {
    kind: EngineKind::Valkey,
    program: Program {
        engine: "valkey",
        name: "valkey-server",
        says: "Valkey server",
        remedy: "install the package valkey-server, or set datastore.cache.binary",
    },
    least: (7, 2, 0),
};

/// Descriptors that Redis keeps for itself beside clients (`CONFIG_MIN_RESERVED_FDS`).
const RESERVED_FILES: u64 = 32;

/// The append-only file's directory; the program's default.
const AOF_DIR: &str = "appendonlydir";

/// Cause and remedy by last words; texts of Redis 7.0 and 8.0 and Valkey 8.1.
const WORDS: &[(&[&str], &str, &str)] = &[
    (
        &["No space left on device", "Disk quota exceeded"],
        "the volume is full",
        "free space on it or make it larger; the data in memory was written up to the last \
         complete command",
    ),
    (
        &[
            "Bad file format reading the append only file",
            "Unexpected end of file reading the \
           append only file",
            "Unrecoverable error reading the append only file",
        ],
        "the append-only file is damaged",
        "copy the volume's appendonlydir, then run redis-check-aof --fix on its manifest file \
         (it cuts off what follows the damage), or restore the last good backup",
    ),
    (
        &["Can't handle RDB format version"],
        "the data was written by a newer version of the engine",
        "start it with the version that wrote it, or a newer one",
    ),
    (
        &[
            "Wrong signature trying to load DB from file",
            "Short read or OOM loading DB",
            "RDB CRC error",
            "Wrong RDB checksum",
            "Bad file format reading",
            "Terminating server after rdb file reading failure",
            "Internal error in RDB reading",
        ],
        "the snapshot that the data begins with is damaged",
        "check it with redis-check-rdb, check the disk (`journalctl -k`, `smartctl -a`), and \
         restore the last good backup",
    ),
    (
        &["Address already in use"],
        "the port is taken by another program",
        "stop that program (`ss -ltnp` names it), or set another `port`",
    ),
    (
        &[
            "Cannot assign requested address",
            "Failed listening on port",
        ],
        "an address in `listen` is not one of this machine's",
        "set addresses that the machine has, or \"0.0.0.0\"",
    ),
    (
        &[
            "FATAL CONFIG FILE ERROR",
            "Fatal error, can't open config file",
            "Aborting Redis startup because of ACL errors",
            "Aborting Valkey startup because of ACL errors",
        ],
        "the rendered configuration is not valid for this version",
        "the lines before name the directive; use redis 7.0 or newer, or valkey 8",
    ),
    (
        &[
            "Out Of Memory",
            "Out of memory",
            "Cannot allocate memory",
            "Can't allocate",
        ],
        "there is not enough memory",
        "raise the datastore's share (`lucid config show --effective`), or lower its maxmemory",
    ),
    (
        &["Permission denied", "Can't open or create append-only dir"],
        "files in the volume do not belong to the engine's user",
        "give the volume back to user lucid-cache: `chown -R` on the volume's directory",
    ),
    (
        &["Read-only file system"],
        "the volume is read-only: the kernel does that after disk errors",
        "check the disk (`journalctl -k`, `smartctl -a`), then start the datastore again",
    ),
    (
        &["Unsupported system page size"],
        "its allocator is built for smaller memory pages than this kernel has",
        "use the distribution's build, or boot a kernel with 4K pages",
    ),
    (
        &["crashed by signal", "BUG REPORT START", "ASSERTION FAILED"],
        "the engine crashed by a fault of its own or of the memory",
        "its report stands in the lines before; test the memory, update the engine",
    ),
];

impl Engine for Redis {
    fn kind(&self) -> EngineKind {
        self.kind
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[Capability::HotPhysicalBackup]
    }

    fn detect(
        &self,
        configured: Option<&Path>,
        search: &[PathBuf],
    ) -> Result<Detected, EngineError> {
        self.program.detect(configured, search)
    }

    /// Only the version: a build whose allocator does not fit the page size already aborts when
    /// it is asked for it.
    fn preflight(&self, detected: &Detected, _board: &Board) -> Vec<Finding> {
        let why = "access rules for single subcommands and the append-only directory came with it";
        preflight::minimum(self.program.engine, &detected.version, self.least, why)
            .into_iter()
            .collect()
    }

    fn check_listen(&self, _config: &Config) -> Option<Finding> {
        None
    }

    /// `dump-without-aof`: with append-only mode on, the engine loads the append-only file alone;
    /// where there is none it begins empty, and its next snapshot overwrites `dump.rdb`.
    /// `aof-without-manifest`: without the manifest it takes the directory's files for foreign.
    fn check_data(&self, data_dir: &Path) -> Option<Finding> {
        let engine = self.program.engine;
        let aof = data_dir.join(AOF_DIR);
        let manifest = aof.join("appendonly.aof.manifest");
        if manifest.exists() {
            return None;
        }
        let finding = |rule, what: String, remedy: &str| Finding {
            rule,
            blocks: true,
            message: format!("{what}; {engine} would begin with an empty store"),
            remedy: remedy.to_owned(),
        };
        let files = std::fs::read_dir(&aof).map_or(0, Iterator::count);
        if files > 0 {
            return Some(finding(
                "aof-without-manifest",
                format!("{} has files but no manifest", aof.display()),
                "restore the manifest or the last good backup; to begin empty, move the \
                 directory away",
            ));
        }
        let dump = data_dir.join("dump.rdb");
        dump.exists().then(|| {
            finding(
                "dump-without-aof",
                format!("{} is there without an append-only file", dump.display()),
                "start the program by hand once with `--appendonly no`, say `CONFIG SET \
                 appendonly yes` and `SHUTDOWN`; to begin empty, move dump.rdb away",
            )
        })
    }

    fn render(&self, ctx: &Context) -> Vec<RenderedFile> {
        let acl = ctx.conf_dir.join("users.acl");
        vec![
            RenderedFile {
                path: ctx.conf_dir.join("redis.conf"),
                content: configuration(ctx, &acl),
                mode: 0o644,
            },
            RenderedFile {
                path: acl,
                content: users(&ctx.credentials),
                mode: 0o600,
            },
        ]
    }

    fn command(&self, ctx: &Context) -> CommandSpec {
        CommandSpec {
            args: vec![ctx.conf_dir.join("redis.conf").into()],
            env: Vec::new(),
            nofile: MAX_CLIENTS + RESERVED_FILES,
            thp: ThpPolicy::Off,
            stop_signal: nix::sys::signal::Signal::SIGTERM,
        }
    }

    fn client(&self, ctx: &Context) -> Box<dyn Client> {
        Box::new(RedisClient::new(self.program.engine, ctx))
    }

    fn uri(&self, ctx: &Context) -> String {
        let client = &ctx.credentials.client;
        format!(
            "redis://{}:{}@{}/0",
            client.user,
            client.password,
            ctx.endpoint()
        )
    }

    /// `1234:M 22 Nov 2026 17:00:00.123 # text`, with `.` debug, `-` verbose, `*` notice and
    /// `#` warning, which stands for errors as well.
    fn line_level(&self, line: &str) -> Level {
        let bad = |line: &str| {
            [
                "rror",
                "atal",
                "FATAL",
                "BUG REPORT",
                "crashed",
                "Can't",
                "No space",
            ]
            .iter()
            .any(|word| line.contains(word))
        };
        match line.split_whitespace().nth(5) {
            Some("." | "-") => Level::Debug,
            Some("*") => Level::Info,
            Some("#") if bad(line) => Level::Error,
            Some("#") => Level::Warn,
            _ if line.contains("FATAL CONFIG") || line.contains("BUG REPORT") => Level::Error,
            _ => Level::Info,
        }
    }

    fn advise(&self, last_lines: &[String]) -> Option<Advice> {
        advice::find(WORDS, last_lines)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::context;
    use super::*;
    use crate::config::{AppendFsync, Role};

    fn ctx() -> Context {
        context(Role::Cache, EngineKind::Redis)
    }

    #[test]
    fn the_configuration_follows_the_plan_and_keeps_no_password() {
        let mut ctx = ctx();
        ctx.config.datastore.cache.appendfsync = AppendFsync::Always;
        ctx.config
            .datastore
            .cache
            .listen
            .push("::1".parse().unwrap());
        let files = REDIS.render(&ctx);
        let text = &files[0].content;
        for line in [
            "port 6379",
            "bind 127.0.0.1 ::1",
            "maxmemory 67108864",
            "maxmemory-policy allkeys-lru",
            "appendfsync always",
            "io-threads 2",
            "dir .",
            "aclfile \"/run/lucid/conf/x/users.acl\"",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} missing in\n{text}"
            );
        }
        assert!(!text.contains("ziplist") && !text.contains("rename-command"));
        assert_eq!(files[1].mode, 0o600);
        for file in &files {
            assert!(!file.content.contains("-password"), "{}", file.content);
        }
    }

    #[test]
    fn lines_have_their_level() {
        for (line, level) in [
            (
                "1:M 22 Nov 2026 17:00:00.123 * Ready to accept connections",
                Level::Info,
            ),
            (
                "1:M 22 Nov 2026 17:00:00.123 # Error writing to file: x",
                Level::Error,
            ),
            (
                "1:M 22 Nov 2026 17:00:00.123 # WARNING overcommit_memory is off",
                Level::Warn,
            ),
            (
                "1:M 22 Nov 2026 17:00:00.123 - Accepted 127.0.0.1:4",
                Level::Debug,
            ),
            (
                "*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***",
                Level::Error,
            ),
            ("", Level::Info),
        ] {
            assert_eq!(REDIS.line_level(line), level, "{line}");
        }
    }

    #[test]
    fn data_that_would_be_ignored_is_not_started_upon() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| crate::fsx::write_atomic(&dir.path().join(name), b"x", 0o600);
        let rule = || REDIS.check_data(dir.path()).map(|finding| finding.rule);
        assert_eq!(rule(), None);
        write("dump.rdb").unwrap();
        assert_eq!(rule(), Some("dump-without-aof"));
        crate::fsx::create_dir(&dir.path().join(AOF_DIR), 0o700).unwrap();
        assert_eq!(rule(), Some("dump-without-aof"));
        write("appendonlydir/appendonly.aof.1.base.rdb").unwrap();
        assert_eq!(rule(), Some("aof-without-manifest"));
        write("appendonlydir/appendonly.aof.manifest").unwrap();
        assert_eq!(rule(), None);
    }

    #[test]
    fn last_words_are_understood() {
        for (line, part) in [
            (
                "1:M 22 Nov 2026 17:00:00.123 # Bad file format reading the append only file appendonly.aof.1.incr.aof: make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>",
                "append-only file is damaged",
            ),
            (
                "1:M 22 Nov 2026 17:00:00.123 # Can't handle RDB format version 12",
                "newer version",
            ),
            (
                "1:M 22 Nov 2026 17:00:00.123 # Warning: Could not create server TCP listening socket 127.0.0.1:6379: bind: Address already in use",
                "port is taken",
            ),
            (
                "1:M 22 Nov 2026 17:00:00.123 # Short read or OOM loading DB. Unrecoverable error, aborting now.",
                "snapshot",
            ),
        ] {
            let advice = REDIS.advise(&[line.to_owned()]).unwrap();
            assert!(advice.cause.contains(part), "{line}: {advice:?}");
        }
    }
}

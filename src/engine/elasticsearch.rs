//! Elasticsearch, supplied by the user, 8.11 or newer.
//!
//! Accounts live in its file realm: two files beside its configuration that this room renders
//! like any other, so that no first-start password has to be passed around.

use std::path::{Path, PathBuf};

use super::detect::{Program, check_file, parse_version};
use super::elastic_client::{ElasticClient, search_uri};
use super::elastic_config::{LOG4J, ROLES, configuration, jvm_options, user_roles, users};
use super::{
    Advice, Capability, Client, CommandSpec, Context, Detected, Engine, EngineError, Finding,
    RenderedFile, ThpPolicy, advice, preflight, search_node,
};
use crate::board::Board;
use crate::config::{Config, EngineKind};
use crate::journal::Level;

const PROGRAM: Program = Program {
    engine: "elasticsearch",
    name: "elasticsearch",
    says: "",
    remedy: "unpack Elasticsearch 8.11 or newer and set datastore.search.binary to its \
             bin/elasticsearch",
};

/// Cause and remedy by last words.
const WORDS: &[(&[&str], &str, &str)] = &[
    (
        &["No space left on device", "flood stage disk watermark"],
        "the volume is full, or fuller than Elasticsearch accepts (95 %)",
        "free space on it or make it larger",
    ),
    (
        &["max virtual memory areas vm.max_map_count"],
        "vm.max_map_count is below 262144",
        "leave kernel tuning on (`lucid tune check`), or set it by hand",
    ),
    (
        &["failed to obtain node lock", "LockObtainFailedException"],
        "another process has this data open",
        "stop the other program; `fuser` on node.lock in the volume names it",
    ),
    (
        &["Address already in use", "BindException"],
        "the port is taken by another program, or the address is not this machine's",
        "stop that program (`ss -ltnp` names it), or set another `port` or `listen`",
    ),
    (
        &[
            "OutOfMemoryError",
            "Cannot allocate memory",
            "insufficient memory",
        ],
        "there is not enough memory",
        "raise the datastore's share (`lucid config show --effective`), or disable another one",
    ),
    (
        &["AccessDeniedException", "Permission denied"],
        "files in the volume or the program do not belong to the engine's user",
        "give the volume back to user lucid-search: `chown -R` on the volume's directory",
    ),
    (
        &[
            "can not run elasticsearch as root",
            "can not be run as root",
        ],
        "Elasticsearch refuses to run as root",
        "run the supervisor as root with the system user lucid-search, or not as root at all",
    ),
    (
        &["unknown setting", "unknown secure setting"],
        "the rendered configuration is not valid for this version",
        "use Elasticsearch 8.11 to 9.x; the line names the setting",
    ),
    (
        &["does not support all of the following CPU features"],
        "its native launcher is built for a newer processor",
        "use Elasticsearch 9.3, or 9.5 or newer; or take the execute permission from its \
         lib/tools/server-launcher/server-launcher, then it starts through Java",
    ),
    (
        &["CorruptIndexException", "corrupted", "checksum failed"],
        "an index is damaged",
        "check the disk (`journalctl -k`, `smartctl -a`), then restore the last good backup",
    ),
    (
        &["cannot upgrade a node", "cannot downgrade a node"],
        "the data was written by another version",
        "start it with the version that wrote it, and follow its upgrade path",
    ),
];

/// See the module.
#[derive(Debug)]
pub(super) struct Elasticsearch;

/// What in `dir` only Elasticsearch writes.
pub(super) fn trace(dir: &Path) -> Option<&'static str> {
    ["node.lock", "_state", "nodes"]
        .into_iter()
        .find(|name| dir.join(name).exists())
}

impl Engine for Elasticsearch {
    fn kind(&self) -> EngineKind {
        EngineKind::Elasticsearch
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[]
    }

    /// The version is that of `lib/elasticsearch-VERSION.jar`: `--version` starts a JVM, which
    /// takes longer on a small board than a look may.
    fn detect(
        &self,
        configured: Option<&Path>,
        search: &[PathBuf],
    ) -> Result<Detected, EngineError> {
        let binary = PROGRAM.locate(configured, search)?;
        let unusable =
            |cause: String, remedy: &str| PROGRAM.unusable(&binary, cause, remedy.to_owned());
        let real = std::fs::canonicalize(&binary)
            .map_err(|e| unusable(format!("it cannot be followed: {e}"), PROGRAM.remedy))?;
        let home = real
            .parent()
            .and_then(Path::parent)
            .unwrap_or(Path::new("/"));
        let lib = home.join("lib");
        let entries = std::fs::read_dir(&lib).map_err(|e| {
            unusable(
                format!("{} cannot be read: {e}", lib.display()),
                PROGRAM.remedy,
            )
        })?;
        let version = entries
            .filter_map(Result::ok)
            .find_map(|entry| {
                let name = entry.file_name();
                let name = name.to_str()?;
                let version = name.strip_prefix("elasticsearch-")?.strip_suffix(".jar")?;
                version
                    .starts_with(|c: char| c.is_ascii_digit())
                    .then(|| parse_version(version))?
            })
            .ok_or_else(|| {
                let cause = format!("{} has no elasticsearch-VERSION.jar", lib.display());
                unusable(cause, PROGRAM.remedy)
            })?;
        let java = home.join("jdk/bin/java");
        if java.exists() {
            check_file(&java, std::env::consts::ARCH)
                .map_err(|(cause, remedy)| PROGRAM.unusable(&java, cause, remedy))?;
        }
        Ok(Detected { binary, version })
    }

    fn preflight(&self, detected: &Detected, board: &Board) -> Vec<Finding> {
        let version = &detected.version;
        [
            preflight::minimum(
                "elasticsearch",
                version,
                (8, 11, 0),
                "the platform is specified for 8.11",
            ),
            preflight::elasticsearch_lse(version, board),
            preflight::memory("elasticsearch", preflight::ELASTICSEARCH_MEMORY, board),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn check_listen(&self, config: &Config) -> Option<Finding> {
        preflight::search_loopback(
            "elasticsearch",
            &config.datastore.search.listen,
            "put a TLS proxy before it for other machines",
        )
    }

    /// `search-data-of-lucid`: it would begin with an empty cluster beside it.
    fn check_data(&self, data_dir: &Path) -> Option<Finding> {
        search_node::trace(data_dir).map(|entry| {
            preflight::foreign_data(
                "search-data-of-lucid",
                data_dir,
                entry,
                "Lucid's own search engine",
                "lucid",
            )
        })
    }

    /// All that it reads from `ES_PATH_CONF`; it adds its keystore there itself, so the
    /// directory must be writable for its user.
    fn render(&self, ctx: &Context) -> Vec<RenderedFile> {
        let file = |name: &str, content: String, mode: u32| RenderedFile {
            path: ctx.conf_dir.join(name),
            content,
            mode,
        };
        vec![
            file("elasticsearch.yml", configuration(ctx), 0o600),
            file("jvm.options", jvm_options(ctx), 0o644),
            file("log4j2.properties", LOG4J.to_owned(), 0o644),
            file("roles.yml", ROLES.to_owned(), 0o600),
            file("users", users(&ctx.credentials), 0o600),
            file("users_roles", user_roles(&ctx.credentials), 0o600),
        ]
    }

    fn command(&self, ctx: &Context) -> CommandSpec {
        CommandSpec {
            args: Vec::new(),
            env: vec![("ES_PATH_CONF".into(), ctx.conf_dir.clone().into())],
            // Its own recommendation, checked at its start.
            nofile: 65_535,
            thp: ThpPolicy::System,
            stop_signal: nix::sys::signal::Signal::SIGTERM,
        }
    }

    fn client(&self, ctx: &Context) -> Box<dyn Client> {
        Box::new(ElasticClient::new(self.kind().name(), ctx))
    }

    fn uri(&self, ctx: &Context) -> String {
        search_uri(ctx)
    }

    /// `[2026-01-01T00:00:00,000][ERROR][logger] text`.
    fn line_level(&self, line: &str) -> Level {
        let level = line.split("][").nth(1).map(str::trim);
        match level.map(|level| level.split(']').next().unwrap_or(level).trim()) {
            Some("ERROR" | "FATAL") => Level::Error,
            Some("WARN" | "CRITICAL") => Level::Warn,
            Some("DEBUG" | "TRACE") => Level::Debug,
            _ if line.starts_with("ERROR:") || line.starts_with("Exception in") => Level::Error,
            _ => Level::Info,
        }
    }

    fn advise(&self, last_lines: &[String]) -> Option<Advice> {
        advice::find(WORDS, last_lines)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{context, pi4};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use sha2::Sha512;

    use super::*;
    use crate::config::Role;

    fn ctx() -> Context {
        context(Role::Search, EngineKind::Elasticsearch)
    }

    #[test]
    fn passwords_are_hashed_stable_and_match_a_known_vector() {
        let files = Elasticsearch.render(&ctx());
        assert!(files.iter().all(|file| !file.content.contains("-password")));
        let users = files
            .iter()
            .find(|file| file.path.ends_with("users"))
            .unwrap();
        assert_eq!(users.mode, 0o600);
        assert!(users.content.starts_with("lucid-supervisor:{PBKDF2}10000$"));
        let hash = users
            .content
            .lines()
            .next()
            .unwrap()
            .split('$')
            .nth(2)
            .unwrap();
        assert_eq!(BASE64.decode(hash).unwrap().len(), 32);
        // PBKDF2-HMAC-SHA-512 of password/salt after one round, a published test vector.
        let mut known = [0u8; 4];
        pbkdf2::pbkdf2_hmac::<Sha512>(b"password", b"salt", 1, &mut known);
        assert_eq!(known, [0x86, 0x7f, 0x70, 0xcf]);
    }

    #[test]
    fn the_version_is_that_of_the_library() {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["bin", "lib"] {
            crate::fsx::create_dir(&dir.path().join(sub), 0o755).unwrap();
        }
        let binary = dir.path().join("bin/elasticsearch");
        crate::fsx::write_atomic(&binary, b"#!/bin/bash\n", 0o755).unwrap();
        let error = Elasticsearch.detect(Some(&binary), &[]).unwrap_err();
        assert!(error.to_string().contains("VERSION.jar"), "{error}");
        for name in ["elasticsearch-core-9.9.9.jar", "elasticsearch-8.11.3.jar"] {
            crate::fsx::write_atomic(&dir.path().join("lib").join(name), b"", 0o644).unwrap();
        }
        let found = Elasticsearch.detect(Some(&binary), &[]).unwrap();
        assert_eq!(found.version.text, "8.11.3");
    }

    #[test]
    fn small_boards_old_versions_and_open_networks_are_refused() {
        let mut ctx = ctx();
        ctx.detected.version.number = (8, 10, 4);
        let mut board = pi4();
        board.memory_bytes /= 2;
        let findings = Elasticsearch.preflight(&ctx.detected, &board);
        let rules: Vec<_> = findings.iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, ["engine-too-old", "board-needs-more-memory"]);
        let mut config = Config::default();
        config.datastore.search.listen = vec!["0.0.0.0".parse().unwrap()];
        assert!(
            Elasticsearch
                .check_listen(&config)
                .is_some_and(|finding| finding.blocks)
        );
    }

    #[test]
    fn lines_have_their_level() {
        for (line, level) in [
            (
                "[2026-01-01T00:00:00,000][INFO ][o.e.n.Node] started",
                Level::Info,
            ),
            (
                "[2026-01-01T00:00:00,000][WARN ][o.e.c.r.a] disk",
                Level::Warn,
            ),
            (
                "[2026-01-01T00:00:00,000][ERROR][o.e.b.E] fatal",
                Level::Error,
            ),
            ("ERROR: Elasticsearch exited unexpectedly", Level::Error),
        ] {
            assert_eq!(Elasticsearch.line_level(line), level, "{line}");
        }
    }
}

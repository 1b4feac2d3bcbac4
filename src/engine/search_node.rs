//! `lucid search-node`: the default search engine, a process of this very program.
//!
//! Its protocol is Elasticsearch's, so that client and URI are the same. Accounts stand in its
//! configuration file, as those of Elasticsearch stand in files of its own.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::detect::parse_version;
use super::elastic_client::{ElasticClient, search_uri};
use super::elastic_config::password_hash;
use super::{
    Advice, Capability, Client, CommandSpec, Context, Detected, Engine, EngineError, Finding,
    RenderedFile, ThpPolicy, Version, advice, elasticsearch, preflight,
};
use crate::board::Board;
use crate::config::{Config, EngineKind, SearchTls};
use crate::journal::Level;

/// The program that runs, which is the search node's as well, by the kernel's link to it: it is of
/// the supervisor's version even while the file is being replaced, and may be run by a user who may
/// not enter the directory that it lies in.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Name of its configuration file.
const FILE: &str = "search-node.toml";

/// What only a data directory of the search node has at its top.
const OWN_ENTRIES: [&str; 2] = ["state.json", "log"];

/// Cause and remedy by last words.
const WORDS: &[(&[&str], &str, &str)] = &[
    (
        &[
            "No space left on device",
            "Disk quota exceeded",
            "disk full",
        ],
        "the volume is full",
        "free space on it or make it larger; what was acknowledged is read back at the next start",
    ),
    (
        &["Address already in use"],
        "the port is taken by another program",
        "stop that program (`ss -ltnp` names it), or set another `port`",
    ),
    (
        &["Cannot assign requested address"],
        "the address in `listen` is not one of this machine's",
        "set an address that the machine has",
    ),
    (
        &["restore the volume from a backup"],
        "the file that lists its indices does not hold what was written to it",
        "check the disk (`journalctl -k`, `smartctl -a`); keep a copy of the volume before any \
         repair",
    ),
    (
        &["log could not be flushed"],
        "the disk did not take the write-ahead log, so that nothing more could be acknowledged",
        "check the disk (`journalctl -k`, `smartctl -a`); what was acknowledged before is read \
         back at the next start",
    ),
    (
        &["Permission denied", "Operation not permitted"],
        "files in the volume do not belong to the engine's user",
        "give the volume back to user lucid-search: `chown -R` on the volume's directory",
    ),
    (
        &["Read-only file system"],
        "the volume is read-only: the kernel does that after disk errors",
        "check the disk (`journalctl -k`, `smartctl -a`), then start the datastore again",
    ),
    (
        &["Too many open files"],
        "the limit of open files is too low",
        "raise LimitNOFILE= of the lucid service",
    ),
    (
        &["Cannot allocate memory", "memory allocation of"],
        "there is not enough memory",
        "raise the datastore's share (`lucid config show --effective`), or disable another one",
    ),
];

/// See the module.
#[derive(Debug)]
pub(super) struct SearchNode;

/// What in `dir` only a search node writes.
pub(super) fn trace(dir: &Path) -> Option<&'static str> {
    OWN_ENTRIES.into_iter().find(|name| dir.join(name).exists())
}

impl Engine for SearchNode {
    fn kind(&self) -> EngineKind {
        EngineKind::SearchNode
    }

    fn capabilities(&self) -> &'static [Capability] {
        &[]
    }

    /// The running program; it is not asked for the version that it has itself.
    fn detect(
        &self,
        _configured: Option<&Path>,
        _search: &[PathBuf],
    ) -> Result<Detected, EngineError> {
        let text = env!("CARGO_PKG_VERSION");
        let version = parse_version(text).unwrap_or_else(|| Version {
            number: (0, 0, 0),
            text: text.to_owned(),
        });
        Ok(Detected {
            binary: PathBuf::from(OWN_PROGRAM),
            version,
        })
    }

    /// It was built for whatever runs the supervisor, and the memory plan judges the rest.
    fn preflight(&self, _detected: &Detected, _board: &Board) -> Vec<Finding> {
        Vec::new()
    }

    fn check_listen(&self, config: &Config) -> Option<Finding> {
        let search = &config.datastore.search;
        if search.tls != SearchTls::Off {
            return None;
        }
        preflight::search_loopback(
            "lucid-search-node",
            &search.listen,
            "set datastore.search.tls = \"generated\" for other machines",
        )
    }

    /// `search-data-of-elasticsearch`: it would serve no index, and write among foreign files.
    fn check_data(&self, data_dir: &Path) -> Option<Finding> {
        elasticsearch::trace(data_dir).map(|entry| {
            preflight::foreign_data(
                "search-data-of-elasticsearch",
                data_dir,
                entry,
                "Elasticsearch",
                "elasticsearch",
            )
        })
    }

    fn render(&self, ctx: &Context) -> Vec<RenderedFile> {
        vec![RenderedFile {
            path: ctx.conf_dir.join(FILE),
            content: configuration(ctx),
            mode: 0o600,
        }]
    }

    fn command(&self, ctx: &Context) -> CommandSpec {
        CommandSpec {
            args: vec![
                "search-node".into(),
                "--config".into(),
                ctx.conf_dir.join(FILE).into(),
            ],
            env: Vec::new(),
            // Every segment of every index is a file.
            nofile: 65_535,
            thp: ThpPolicy::Off,
            stop_signal: nix::sys::signal::Signal::SIGTERM,
        }
    }

    fn client(&self, ctx: &Context) -> Box<dyn Client> {
        Box::new(ElasticClient::new(self.kind().name(), ctx))
    }

    fn uri(&self, ctx: &Context) -> String {
        search_uri(ctx)
    }

    /// `LEVEL message`, the level right-aligned. A panic and what ends the program stand without a level.
    fn line_level(&self, line: &str) -> Level {
        match line.split_whitespace().next() {
            Some("ERROR" | "lucid:") => Level::Error,
            Some("WARN") => Level::Warn,
            Some("DEBUG") => Level::Debug,
            _ if line.contains("panicked at") => Level::Error,
            _ => Level::Info,
        }
    }

    fn line_text<'a>(&self, line: &'a str) -> &'a str {
        match line.trim_start().split_once(' ') {
            Some(("ERROR" | "WARN" | "INFO" | "DEBUG", text)) => text,
            _ => line,
        }
    }

    fn advise(&self, last_lines: &[String]) -> Option<Advice> {
        advice::find(WORDS, last_lines)
    }
}

/// What it is told. Only paths need quoting: names are fixed, hashes are base64, addresses numbers.
fn configuration(ctx: &Context) -> String {
    let search = &ctx.config.datastore.search;
    let listen: Vec<_> = search
        .listen
        .iter()
        .map(|ip| format!("\"{}\"", SocketAddr::new(*ip, search.port)))
        .collect();
    let mut text = format!(
        "# Written by lucid at every start; changes are lost.
listen = [{listen}]
data = \".\"
path_repo = [\"snapshots\"]
cluster_name = \"lucid-cluster\"
node_name = \"lucid-node\"
memory_bytes = {memory}
",
        listen = listen.join(", "),
        memory = ctx.memory.cache,
    );
    match (search.tls, &search.certificate, &search.key) {
        (SearchTls::Off, ..) => {}
        (SearchTls::Given, Some(certificate), Some(key)) => {
            let path = |path: &Path| toml::Value::from(path.to_string_lossy().into_owned());
            let (certificate, key) = (path(certificate), path(key));
            let _ = write!(text, "\n[tls]\ncertificate = {certificate}\nkey = {key}\n");
        }
        (SearchTls::Generated | SearchTls::Given, ..) => text.push_str("\n[tls]\n"),
    }
    let credentials = &ctx.credentials;
    for (login, role) in [
        (&credentials.supervisor, "admin"),
        (&credentials.client, "writer"),
    ] {
        let _ = write!(
            text,
            "\n[[user]]\nname = \"{}\"\npassword_hash = \"{}\"\nrole = \"{role}\"\n",
            login.user,
            password_hash(login)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::context;
    use super::*;
    use crate::config::Role;

    fn ctx() -> Context {
        context(Role::Search, EngineKind::SearchNode)
    }

    #[test]
    fn it_is_this_very_program() {
        let found = SearchNode.detect(None, &[]).unwrap();
        assert_eq!(found.binary, Path::new("/proc/self/exe"));
        assert_eq!(found.version.text, env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn the_file_that_is_rendered_says_everything_and_no_password() {
        let mut ctx = ctx();
        let mut addresses = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        std::mem::swap(&mut ctx.config.datastore.search.listen, &mut addresses);
        let files = SearchNode.render(&ctx);
        let [file] = files.as_slice() else {
            panic!("{files:?}");
        };
        assert_eq!(
            (file.path.as_path(), file.mode),
            (Path::new("/run/lucid/conf/x/search-node.toml"), 0o600)
        );
        assert!(!file.content.contains("-password"), "{}", file.content);
        let table: toml::Table = toml::from_str(&file.content).unwrap();
        let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
        let listen: Vec<_> = table["listen"]
            .as_array()
            .unwrap()
            .iter()
            .map(text)
            .collect();
        assert_eq!(listen, ["127.0.0.1:9200", "[::1]:9200"]);
        assert_eq!(text(&table["data"]), ".");
        assert_eq!(text(&table["path_repo"][0]), "snapshots");
        assert_eq!(table["memory_bytes"].as_integer(), Some(64 << 20));
        let users = table["user"].as_array().unwrap();
        let of = |key: &str| {
            users
                .iter()
                .map(|user| text(&user[key]))
                .collect::<Vec<_>>()
        };
        assert_eq!(of("name"), ["lucid-supervisor", "lucid"]);
        assert_eq!(of("role"), ["admin", "writer"]);
        let hashes = of("password_hash");
        assert!(hashes.iter().all(|hash| hash.starts_with("{PBKDF2}10000$")));
        assert_ne!(hashes[0], hashes[1]);
        assert_eq!(
            SearchNode.render(&ctx),
            files,
            "another text at every start"
        );
    }

    #[test]
    fn tls_is_rendered_as_it_is_configured() {
        let mut ctx = ctx();
        let table = |ctx: &Context| -> toml::Table { toml::from_str(&configuration(ctx)).unwrap() };
        assert!(!table(&ctx).contains_key("tls"));
        ctx.config.datastore.search.tls = SearchTls::Generated;
        assert!(table(&ctx)["tls"].as_table().unwrap().is_empty());
        let search = &mut ctx.config.datastore.search;
        search.tls = SearchTls::Given;
        search.certificate = Some("/etc/lucid/a \"b\".pem".into());
        search.key = Some("/etc/lucid/key.pem".into());
        let tls = &table(&ctx)["tls"];
        assert_eq!(tls["certificate"].as_str(), Some("/etc/lucid/a \"b\".pem"));
        assert_eq!(tls["key"].as_str(), Some("/etc/lucid/key.pem"));
    }

    #[test]
    fn the_command_names_the_file_and_needs_no_knob_of_the_kernel() {
        let spec = SearchNode.command(&ctx());
        let file = "/run/lucid/conf/x/search-node.toml";
        assert_eq!(spec.args, ["search-node", "--config", file]);
        assert_eq!((spec.nofile, spec.thp), (65_535, ThpPolicy::Off));
        assert_eq!(
            SearchNode.uri(&ctx()),
            "http://lucid:cl-password@127.0.0.1:9200/"
        );
    }

    #[test]
    fn open_networks_are_refused_without_tls() {
        let mut config = Config::default();
        config.datastore.search.listen = vec!["::1".parse().unwrap()];
        assert_eq!(SearchNode.check_listen(&config), None);
        config.datastore.search.listen = vec!["0.0.0.0".parse().unwrap()];
        let finding = SearchNode.check_listen(&config).unwrap();
        assert!(finding.blocks && finding.message.starts_with("lucid-search-node"));
        assert!(
            finding.remedy.contains("tls = \"generated\""),
            "{}",
            finding.remedy
        );
        config.datastore.search.tls = SearchTls::Generated;
        assert_eq!(SearchNode.check_listen(&config), None);
    }

    #[test]
    fn neither_search_engine_takes_what_the_other_one_wrote() {
        let other = elasticsearch::Elasticsearch;
        for (entries, of_elasticsearch) in [
            (&["_state"][..], true),
            (&["nodes"], true),
            (&["node.lock"], true),
            (&["indices", "node.lock"], true),
            (&["state.json"], false),
            (&["log"], false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for entry in entries {
                crate::fsx::create_dir(&dir.path().join(entry), 0o755).unwrap();
            }
            let (ours, theirs) = (
                SearchNode.check_data(dir.path()),
                other.check_data(dir.path()),
            );
            assert_eq!(ours.is_some(), of_elasticsearch, "{entries:?}");
            assert_eq!(theirs.is_some(), !of_elasticsearch, "{entries:?}");
            let finding = ours.or(theirs).unwrap();
            let way_out = if of_elasticsearch {
                "\"elasticsearch\""
            } else {
                "\"lucid\""
            };
            assert!(
                finding.blocks && finding.remedy.contains(way_out),
                "{finding:?}"
            );
        }
        for dir in [
            Path::new("/nonexistent"),
            tempfile::tempdir().unwrap().path(),
        ] {
            assert_eq!(SearchNode.check_data(dir), None);
            assert_eq!(other.check_data(dir), None);
        }
    }

    #[test]
    fn lines_have_their_level() {
        for (line, level) in [
            (" INFO ready after 12 ms", Level::Info),
            (" WARN the last record of the log is torn", Level::Warn),
            ("ERROR segment 1 is damaged", Level::Error),
            ("DEBUG merged 3 segments", Level::Debug),
            ("lucid: Address already in use (os error 98)", Level::Error),
            (
                "thread 'search' (7) panicked at src/x.rs:1:2:",
                Level::Error,
            ),
            ("note: run with `RUST_BACKTRACE=1`", Level::Info),
        ] {
            assert_eq!(SearchNode.line_level(line), level, "{line}");
        }
        assert_eq!(SearchNode.line_text(" INFO ready"), "ready");
        assert_eq!(SearchNode.line_text("lucid: no"), "lucid: no");
    }

    #[test]
    fn last_words_are_translated() {
        for (line, cause) in [
            ("ERROR disk full: nothing was written", "full"),
            ("lucid: Address already in use (os error 98)", "port"),
            ("ERROR the write-ahead log could not be flushed (x)", "disk"),
            (
                "lucid: .: exception: ./state.json: EOF; restore the volume from a backup",
                "indices",
            ),
        ] {
            let advice = SearchNode.advise(&[line.to_owned()]).unwrap();
            assert!(advice.cause.contains(cause), "{line}: {advice:?}");
        }
        for line in [
            "INFO stopping",
            "WARN the last record is torn, or is damaged; it was never acknowledged",
        ] {
            assert_eq!(SearchNode.advise(&[line.to_owned()]), None, "{line}");
        }
    }
}

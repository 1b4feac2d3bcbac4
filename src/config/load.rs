//! Reading and checking `lucid.toml`. Every fault names file, line, key, what stands there and
//! what may stand there; all faults of a file are told at once where the file can be read.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Config, Role};
use crate::fsx::{self, FsError};
use crate::units::{ByteSize, MIB, Span};

/// A configuration file is small; anything larger is a mistake.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// One fault of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, counted from 1; absent when the key is not in the file.
    pub line: Option<usize>,
    /// Dotted key; empty when the text is not TOML at all.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub allowed: String,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and cannot be read.
    #[error(transparent)]
    Read(#[from] FsError),
    /// The file was given by name and is not there.
    #[error("{}: there is no such file; write one with `lucid config default > {}`",
        .0.display(), .0.display())]
    Missing(PathBuf),
    /// The content is not valid.
    #[error("{}", Listing(file, problems))]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Its faults.
        problems: Vec<Problem>,
    },
}

struct Listing<'a>(&'a Path, &'a [Problem]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.1.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.0.display())?;
            if let Some(line) = problem.line {
                write!(f, ":{line}")?;
            }
            if !problem.key.is_empty() {
                write!(f, ": {}", problem.key)?;
            }
            write!(f, ": found {}; allowed: {}", problem.found, problem.allowed)?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads `file`; where it is not there and `must_exist` is false, the defaults hold.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault found.
    pub fn load(file: &Path, must_exist: bool) -> Result<Self, ConfigError> {
        match fsx::read_text(file, MAX_FILE_BYTES) {
            Ok(text) => Self::parse(&text, file),
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => {
                if must_exist {
                    Err(ConfigError::Missing(file.to_path_buf()))
                } else {
                    Ok(Self::default())
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads `text`, which stands in `file`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let source = Source::new(text);
        let problems = match toml::from_str::<Self>(text) {
            Ok(config) => {
                let problems = source.check(&config);
                if problems.is_empty() {
                    return Ok(config);
                }
                problems
            }
            Err(error) => vec![source.explain(&error)],
        };
        Err(ConfigError::Invalid {
            file: file.to_path_buf(),
            problems,
        })
    }
}

/// The text with its tree of positions.
struct Source<'a> {
    text: &'a str,
    tree: Option<Spanned<DeTable<'a>>>,
}

impl<'a> Source<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            tree: DeTable::parse(text).ok(),
        }
    }

    fn line(&self, offset: usize) -> usize {
        let end = offset.min(self.text.len());
        self.text.as_bytes()[..end]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1
    }

    /// A parser's or deserializer's error with the key around its position.
    fn explain(&self, error: &toml::de::Error) -> Problem {
        let span = error.span().unwrap_or(0..0);
        let key = self.tree.as_ref().map_or_else(String::new, |tree| {
            let mut path = Vec::new();
            key_at(tree.get_ref(), span.start, &mut path);
            path.join(".")
        });
        let found = self.text.get(span.clone()).unwrap_or_default().trim();
        let found = match found.lines().next() {
            Some(line) if line.len() <= 80 => line.to_owned(),
            Some(line) => line.chars().take(80).collect::<String>() + "…",
            None => "nothing".to_owned(),
        };
        let message = error.message().replace('\n', ", ");
        // Many messages repeat what was found; keep only their advice.
        let advice = message
            .split_once("; write ")
            .or_else(|| {
                message
                    .strip_prefix("unknown field ")?
                    .split_once(", expected ")
            })
            .or_else(|| {
                message
                    .strip_prefix("unknown variant ")?
                    .split_once(", expected ")
            });
        let allowed = advice.map_or_else(|| message.clone(), |(_, allowed)| allowed.to_owned());
        Problem {
            line: Some(self.line(span.start)),
            key,
            found,
            allowed,
        }
    }

    /// Line and text of a dotted key, where the file has it.
    fn locate(&self, key: &str) -> Option<(usize, String)> {
        let mut table = self.tree.as_ref()?.get_ref();
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            let value = table.iter().find(|(name, _)| name.get_ref() == part)?.1;
            if parts.peek().is_none() {
                let text = self.text.get(value.span()).unwrap_or_default();
                return Some((self.line(value.span().start), text.to_owned()));
            }
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => return None,
            }
        }
        None
    }

    /// Rules that types alone do not carry.
    fn check(&self, config: &Config) -> Vec<Problem> {
        let mut rules = Rules {
            source: self,
            problems: Vec::new(),
        };
        rules.datastores(config);
        rules.document(config);
        rules.cache(config);
        rules.memory(config);
        rules.times(config);
        rules.problems
    }
}

/// Names of tables and keys around `offset`, outermost first.
fn key_at(table: &DeTable<'_>, offset: usize, path: &mut Vec<String>) -> bool {
    for (name, value) in table {
        let inside = value.span().contains(&offset) || name.span().contains(&offset);
        let mut inner = vec![name.get_ref().to_string()];
        let deeper = match value.get_ref() {
            DeValue::Table(table) => key_at(table, offset, &mut inner),
            _ => false,
        };
        if inside || deeper {
            path.append(&mut inner);
            return true;
        }
    }
    false
}

struct Rules<'a> {
    source: &'a Source<'a>,
    problems: Vec<Problem>,
}

impl Rules<'_> {
    fn require(&mut self, holds: bool, key: &str, found: &str, allowed: impl Into<String>) {
        if holds {
            return;
        }
        let (line, found) = match self.source.locate(key) {
            Some((line, text)) => (Some(line), text),
            None => (None, format!("{found} (default)")),
        };
        self.problems.push(Problem {
            line,
            key: key.to_owned(),
            found,
            allowed: allowed.into(),
        });
    }

    fn span(&mut self, key: &str, value: Span, min: &str, max: &str) {
        let within = |bound: &str, test: fn(Span, Span) -> bool| {
            bound.parse::<Span>().is_ok_and(|bound| test(value, bound))
        };
        let holds = within(min, |v, b| v >= b) && within(max, |v, b| v <= b);
        self.require(holds, key, &value.to_string(), format!("{min} to {max}"));
    }

    fn datastores(&mut self, config: &Config) {
        self.require(
            config.enabled().next().is_some(),
            "datastore.document.enabled",
            "false",
            "at least one datastore must be enabled",
        );
        for role in Role::ALL {
            let common = config.common(role);
            let key = |name: &str| format!("datastore.{role}.{name}");
            self.require(
                common.engine.role() == role,
                &key("engine"),
                common.engine.name(),
                engines_of(role),
            );
            self.require(common.port != 0, &key("port"), "0", "1 to 65535");
            self.require(
                !common.listen.is_empty(),
                &key("listen"),
                "[]",
                "at least one address, such as [\"127.0.0.1\"]",
            );
            if let Some(binary) = common.binary {
                self.require(
                    binary.is_absolute(),
                    &key("binary"),
                    &binary.to_string_lossy(),
                    "an absolute path",
                );
            }
        }
        let enabled: Vec<_> = config.enabled().collect();
        for (index, common) in enabled.iter().enumerate() {
            if let Some(other) = enabled[..index].iter().find(|o| o.port == common.port) {
                self.require(
                    false,
                    &format!("datastore.{}.port", common.role),
                    &common.port.to_string(),
                    format!("a port that datastore.{} does not use", other.role),
                );
            }
        }
    }

    fn document(&mut self, config: &Config) {
        let document = &config.datastore.document;
        self.require(
            !document.replica_set.is_empty()
                && document.replica_set.len() <= 64
                && document
                    .replica_set
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
            "datastore.document.replica_set",
            &document.replica_set,
            "1 to 64 letters, digits, - or _",
        );
        self.span(
            "datastore.document.oplog_retention",
            document.oplog_retention,
            "1m",
            "30d",
        );
    }

    fn cache(&mut self, config: &Config) {
        let cache = &config.datastore.cache;
        self.require(
            MAXMEMORY_POLICIES.contains(&cache.maxmemory_policy.as_str()),
            "datastore.cache.maxmemory_policy",
            &cache.maxmemory_policy,
            MAXMEMORY_POLICIES.join(", "),
        );
        self.require(
            cache.maxmemory >= ByteSize(16 * MIB),
            "datastore.cache.maxmemory",
            &cache.maxmemory.to_string(),
            "16M or more",
        );
    }

    fn memory(&mut self, config: &Config) {
        if let Some(reserve) = config.memory.reserve {
            self.require(
                reserve >= ByteSize(64 * MIB),
                "memory.reserve",
                &reserve.to_string(),
                "64M or more; the operating system needs it",
            );
        }
        for (role, weight) in &config.memory.weights {
            self.require(
                (1..=1000).contains(weight),
                &format!("memory.weights.{role}"),
                &weight.to_string(),
                "1 to 1000",
            );
        }
    }

    fn times(&mut self, config: &Config) {
        let supervisor = &config.supervisor;
        self.span(
            "tuning.check_interval",
            config.tuning.check_interval,
            "1s",
            "1h",
        );
        self.span(
            "supervisor.start_timeout",
            supervisor.start_timeout,
            "1s",
            "1h",
        );
        self.span(
            "supervisor.stop_timeout",
            supervisor.stop_timeout,
            "1s",
            "10m",
        );
        self.span(
            "supervisor.backoff_min",
            supervisor.backoff_min,
            "10ms",
            "1m",
        );
        self.span(
            "supervisor.backoff_max",
            supervisor.backoff_max,
            "100ms",
            "1h",
        );
        self.require(
            supervisor.backoff_min <= supervisor.backoff_max,
            "supervisor.backoff_min",
            &supervisor.backoff_min.to_string(),
            format!("at most supervisor.backoff_max, {}", supervisor.backoff_max),
        );
        self.span(
            "supervisor.stable_after",
            supervisor.stable_after,
            "1s",
            "1h",
        );
        self.span(
            "supervisor.crash_loop_window",
            supervisor.crash_loop_window,
            "1s",
            "1d",
        );
        self.span(
            "supervisor.crash_loop_retry",
            supervisor.crash_loop_retry,
            "1s",
            "1d",
        );
        self.require(
            (2..=100).contains(&supervisor.crash_loop_failures),
            "supervisor.crash_loop_failures",
            &supervisor.crash_loop_failures.to_string(),
            "2 to 100",
        );
        self.span("probe.interval", config.probe.interval, "100ms", "1m");
        self.span(
            "probe.write_interval",
            config.probe.write_interval,
            "1s",
            "1h",
        );
        self.span("probe.timeout", config.probe.timeout, "100ms", "1m");
        for (key, value, max) in [
            ("probe.failures", config.probe.failures, 100),
            ("log.lines_per_second", config.log.lines_per_second, 100_000),
            ("log.burst", config.log.burst, 100_000),
        ] {
            self.require(
                (1..=max).contains(&value),
                key,
                &value.to_string(),
                format!("1 to {max}"),
            );
        }
        self.require(
            (10..=10_000).contains(&config.log.keep),
            "log.keep",
            &config.log.keep.to_string(),
            "10 to 10000",
        );
    }
}

/// Policies of Redis 7 and 8 (`maxmemory-policy` in their `redis.conf`).
const MAXMEMORY_POLICIES: [&str; 8] = [
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
];

fn engines_of(role: Role) -> &'static str {
    match role {
        Role::Document => "\"secantus\" or \"mongod\"",
        Role::Cache => "\"redis\" or \"valkey\"",
        Role::Search => "\"elasticsearch\"",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::DEFAULT_FILE;

    fn problem(text: &str) -> String {
        Config::parse(text, Path::new("/etc/lucid/lucid.toml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_documented_default_file_is_the_default() {
        let parsed = Config::parse(DEFAULT_FILE, Path::new("default.toml")).unwrap();
        assert_eq!(parsed, Config::default());
    }

    #[test]
    fn the_documented_default_file_names_every_key() {
        let text = toml::to_string(&Config::default()).unwrap();
        let optional = ["binary =", "memory =", "reserve ="];
        let keys = text
            .lines()
            .filter_map(|line| line.split_once(" =").map(|(key, _)| key));
        for key in keys.filter(|key| !Role::ALL.iter().any(|role| role.name() == *key)) {
            assert!(
                DEFAULT_FILE
                    .lines()
                    .any(|line| line.starts_with(&format!("{key} ="))),
                "{key} is not documented"
            );
        }
        for key in optional {
            assert!(
                DEFAULT_FILE.contains(&format!("# {key}")),
                "{key} is not documented"
            );
        }
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(
            Config::parse("", Path::new("x")).unwrap(),
            Config::default()
        );
    }

    #[test]
    fn a_fault_names_file_line_key_what_was_found_and_what_is_allowed() {
        for (text, parts) in [
            (
                "[probe]\n\ninterval = \"fast\"\n",
                ["lucid.toml:3", "probe.interval", "fast", "30s"],
            ),
            (
                "[datastore.cache]\nport = 0\n",
                ["lucid.toml:2", "datastore.cache.port", "0", "1 to"],
            ),
            (
                "[datastore.cache]\nprot = 1\n",
                ["lucid.toml:2", "cache.prot", "prot", "port"],
            ),
            (
                "[memory]\nweights = { cache = 0 }\n",
                [":2", "memory.weights.cache", "0", "1000"],
            ),
            ("[log]\nkeep = true\n", [":2", "log.keep", "true", "u32"]),
            (
                "[datastore.cache]\nengine = \"mongod\"",
                [":2", "datastore.cache.engine", "mongod", "valkey"],
            ),
            (
                "[datastore.cache]\nport = 27017",
                [":2", "datastore.cache.port", "27017", "document"],
            ),
            (
                "[datastore.cache]\nlisten = [\"here\"]",
                [":2", "cache.listen", "here", "IP address"],
            ),
            ("x = = 1", ["lucid.toml:1", "", "=", "expected"]),
        ] {
            let message = problem(text);
            for part in parts {
                assert!(message.contains(part), "{part:?} is missing in: {message}");
            }
        }
    }

    #[test]
    fn every_fault_of_a_readable_file_is_told_at_once() {
        let message = problem("[datastore.cache]\nport = 0\n[probe]\nfailures = 0\n");
        assert_eq!(message.lines().count(), 2, "{message}");
    }

    #[test]
    fn a_file_given_by_name_must_exist() {
        let file = Path::new("/nonexistent/lucid.toml");
        assert!(matches!(
            Config::load(file, true),
            Err(ConfigError::Missing(_))
        ));
        assert_eq!(Config::load(file, false).unwrap(), Config::default());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "[\\[\\]a-z.=\" 0-9\n{},']{0,200}") {
            if let Err(error) = Config::parse(&text, Path::new("x")) {
                prop_assert!(error.to_string().contains("found"));
            }
        }
    }
}

//! Reading and checking `lucid.toml`. Every fault names file, line, key, what stands there and
//! what may stand there; all faults of a file are told at once where the file can be read.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Config, rules};
use crate::fsx::{self, FsError};

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
                let problems = rules::check(&source, &config);
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
pub(super) struct Source<'a> {
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
    pub(super) fn locate(&self, key: &str) -> Option<(usize, String)> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{DEFAULT_FILE, Role};

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
        let optional = ["binary =", "memory =", "reserve =", "button ="];
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
                "[datastore.search]\nengine = \"redis\"",
                [":2", "datastore.search.engine", "redis", "\"lucid\" or"],
            ),
            (
                "[datastore.search]\ntls = \"given\"\nkey = \"/k\"",
                [
                    "",
                    "datastore.search.certificate",
                    "default",
                    "an absolute path",
                ],
            ),
            (
                "[datastore.search]\nkey = \"/k\"",
                [":2", "datastore.search.key", "/k", "\"given\""],
            ),
            (
                "[datastore.search]\nengine = \"elasticsearch\"\ntls = \"generated\"",
                [":3", "datastore.search.tls", "generated", "\"off\" with"],
            ),
            (
                "[datastore.cache]\nport = 27017",
                [":2", "datastore.cache.port", "27017", "document"],
            ),
            (
                "[datastore.cache]\nlisten = [\"here\"]",
                [":2", "cache.listen", "here", "IP address"],
            ),
            (
                "[panel]\npins = [17, 0]",
                [":2", "panel.pins", "GPIO 0 is reserved", "EEPROM"],
            ),
            (
                "[panel]\nbutton = 50",
                [":2", "panel.button", "50", "not on the header"],
            ),
            (
                "[panel]\npins = [17, 17]",
                [":2", "panel.pins", "[17, 17]", "each once"],
            ),
            (
                "[panel]\nleds = [\"../x\"]",
                [":2", "panel.leds", "../x", "/sys/class/leds"],
            ),
            (
                "[panel]\nbrightness = 0",
                [":2", "panel.brightness", "0", "1 to 100"],
            ),
            (
                "[panel]\nnight_from = \"25:00\"",
                [":2", "panel.night_from", "25:00", "22:30"],
            ),
            (
                "[panel]\nnight_from = \"22:00\"",
                ["", "panel.night_to", "default", "both empty"],
            ),
            (
                "[panel]\ndriver = \"laser\"",
                [":2", "panel.driver", "laser", "rppal"],
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
    fn a_bandwidth_of_a_repository_is_within_its_bounds() {
        let with = |bandwidth: &str| {
            let place = "[[backup.repositories]]\nname = \"a\"\npath = \"b\"\n";
            format!("{place}bandwidth = \"{bandwidth}\"\n")
        };
        for wrong in ["65535", "11G"] {
            let message = problem(&with(wrong));
            assert!(
                message.contains("backup.repositories.bandwidth"),
                "{message}"
            );
            assert!(message.contains("64K to 10G"), "{message}");
        }
        for right in ["64K", "10G"] {
            Config::parse(&with(right), Path::new("x")).unwrap();
        }
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

//! What a volume is called, and what it is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::Role;

/// Names on the pool that are no volumes.
const RESERVED: [&str; 2] = ["system", "snapshots"];
const LONGEST: usize = 63;

/// The name of a volume: a directory of the pool, and of nothing else. Letters without case and
/// accents, digits and hyphens, so that no name looks like another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is no name for a volume: {why}; a name has 1 to {LONGEST} of the characters a-z, 0-9 \
     and -, and begins with a letter"
)]
pub struct NameError {
    found: String,
    why: &'static str,
}

impl Name {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The datastore whose volume this is.
    pub fn owner(&self) -> Option<Role> {
        Role::ALL
            .into_iter()
            .find(|role| role.volume() == self.as_str())
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |why| {
            Err(NameError {
                found: text.chars().take(LONGEST + 1).collect(),
                why,
            })
        };
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.len() > LONGEST {
            return refuse("it is too long");
        }
        if !text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return refuse("it has other characters");
        }
        if !text.starts_with(|c: char| c.is_ascii_lowercase()) || text.ends_with('-') {
            return refuse("it begins or ends with a sign that it may not");
        }
        if RESERVED.contains(&text) {
            return refuse("the appliance keeps its own files there");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a volume holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Data of the document store.
    Mongodb,
    /// Data of the cache.
    Redis,
    /// Data of search.
    Elasticsearch,
    /// Sessions.
    Sessions,
    /// Chunks.
    Chunks,
    /// Merkle trees.
    Merkle,
    /// Blocks of the chain.
    Blocks,
    /// Log files.
    Logs,
    /// Backups.
    Backups,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Mongodb,
        Self::Redis,
        Self::Elasticsearch,
        Self::Sessions,
        Self::Chunks,
        Self::Merkle,
        Self::Blocks,
        Self::Logs,
        Self::Backups,
    ];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mongodb => "mongodb",
            Self::Redis => "redis",
            Self::Elasticsearch => "elasticsearch",
            Self::Sessions => "sessions",
            Self::Chunks => "chunks",
            Self::Merkle => "merkle",
            Self::Blocks => "blocks",
            Self::Logs => "logs",
            Self::Backups => "backups",
        }
    }

    /// Whether files in it may be removed by age and pattern. An engine's files never are, and of
    /// the chain's data nobody can tell what is still needed.
    pub const fn may_be_cleaned(self) -> bool {
        matches!(self, Self::Logs | Self::Chunks | Self::Backups)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
                format!(
                    "{text:?} is no kind of volume; there are {}",
                    names.join(", ")
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_leave_the_pool_or_look_like_others_are_refused() {
        for wrong in [
            "",
            ".",
            "..",
            "../etc",
            "a/b",
            "A",
            "ｃache",
            "сache",
            "a b",
            "-a",
            "a-",
            "1a",
            "a\0",
            "system",
            "snapshots",
            ".hidden",
            "a_b",
            &"a".repeat(64),
        ] {
            let error = wrong.parse::<Name>().unwrap_err().to_string();
            assert!(error.contains("a-z"), "{wrong:?}: {error}");
        }
        for right in ["a", "mongodb", "chunks-2", &"a".repeat(63)] {
            assert_eq!(right.parse::<Name>().unwrap().as_str(), right);
        }
    }

    #[test]
    fn there_are_nine_kinds_and_an_unknown_one_is_told_with_them() {
        assert_eq!(Kind::ALL.len(), 9);
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("disk".parse::<Kind>().unwrap_err().contains("merkle"));
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_one_plain_component_of_a_path(text in "\\PC{0,70}") {
            if let Ok(name) = text.parse::<Name>() {
                let path = std::path::Path::new(name.as_str());
                prop_assert_eq!(path.components().count(), 1);
                prop_assert!(matches!(path.components().next(), Some(std::path::Component::Normal(_))));
            }
        }
    }
}

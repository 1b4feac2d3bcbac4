//! Why a service did not do what was asked.

use crate::config::Role;

/// A rule that a value breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Where, with dots.
    pub path: String,
    /// Which rule, in one word.
    pub rule: String,
    /// What holds, and what was found.
    pub message: String,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nobody answers, or nobody can be asked.
    #[error("the {store} datastore does not answer: {cause}")]
    Down {
        /// Which.
        store: Role,
        /// Why.
        cause: String,
    },
    /// It did not answer in time.
    #[error("the {store} datastore did not answer within {seconds} s; ask for less, or later")]
    Slow {
        /// Which.
        store: Role,
        /// The limit.
        seconds: u64,
    },
    /// Something that is not there.
    #[error("there is no {what} {name:?}")]
    NotFound {
        /// `collection`, `session` and so on.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Something that is there already.
    #[error("{what} {name:?} is there already")]
    Exists {
        /// `collection`, `document` and so on.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// What was given breaks rules.
    #[error("{}", told(.0))]
    Invalid(Vec<Broken>),
    /// It is not allowed.
    #[error("{0}")]
    Forbidden(String),
    /// It cannot be done as things are.
    #[error("{0}")]
    Conflict(String),
    /// The engine has no such thing.
    #[error("{engine} has no {what}: {way}")]
    Unsupported {
        /// The engine.
        engine: String,
        /// What it lacks.
        what: &'static str,
        /// What to do.
        way: &'static str,
    },
    /// The engine refused.
    #[error("the {store} datastore refused: {cause}")]
    Refused {
        /// Which.
        store: Role,
        /// Its words.
        cause: String,
    },
}

fn told(broken: &[Broken]) -> String {
    let lines: Vec<String> = broken
        .iter()
        .map(|one| {
            if one.path.is_empty() {
                one.message.clone()
            } else {
                format!("{}: {}", one.path, one.message)
            }
        })
        .collect();
    lines.join("; ")
}

impl StoreError {
    /// One broken rule.
    pub fn invalid(path: &str, rule: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Broken {
            path: path.to_owned(),
            rule: rule.to_owned(),
            message: message.into(),
        }])
    }

    /// Something that is not there.
    pub fn not_found(what: &'static str, name: &str) -> Self {
        Self::NotFound {
            what,
            name: name.to_owned(),
        }
    }
}

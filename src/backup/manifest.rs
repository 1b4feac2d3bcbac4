//! What a backup holds: its parts, with the counts and hashes that a drill compares.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What this version writes, and the newest that it reads.
pub const VERSION: u32 = 3;

/// One backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Such as `20261127T020000Z`.
    pub id: String,
    /// When it was begun, RFC 3339.
    pub taken: String,
    /// Name of the appliance.
    pub host: String,
    /// Version of Lucid.
    pub lucid: String,
    /// Engine and version by datastore.
    pub engines: BTreeMap<String, EngineVersion>,
    /// Its parts.
    pub parts: Vec<Part>,
}

/// What served a datastore then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineVersion {
    /// Such as `secantus`.
    pub engine: String,
    /// As it says itself.
    pub version: String,
}

/// One part: a restic snapshot of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// `document`, `cache`, `search`, `system`, or `volume:NAME`.
    pub name: String,
    /// Id of the restic snapshot.
    pub snapshot: String,
    /// What was read, in bytes.
    pub bytes: u64,
    /// What of it was new in the repository and was written, in bytes.
    pub added: u64,
    /// How long it took.
    pub seconds: f64,
    /// What is in it.
    pub facts: Facts,
}

/// What a part is known by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Facts {
    /// A dump of documents.
    Document {
        /// Accounts, without the appliance's own.
        #[serde(default)]
        users: u64,
        /// Roles that somebody made.
        #[serde(default)]
        roles: u64,
        /// Every collection and view.
        collections: Vec<Collection>,
        /// Of which moment they are; absent where the store does not tell.
        #[serde(default)]
        moment: Option<Moment>,
        /// The moment from which on every change up to this backup is in it as well.
        #[serde(default)]
        log_from: Option<(u32, u32)>,
        /// The last note of the store's log before the moment.
        #[serde(default)]
        tip: Option<Tip>,
    },
    /// The file that the cache wrote.
    Cache {
        /// Keys, whatever their time to live.
        keys: u64,
        /// SHA-256 of the file.
        sha256: String,
    },
    /// A snapshot of the search engine in a repository of its own.
    Search {
        /// Name of that snapshot.
        snapshot: String,
        /// Documents by index, as counted before and after the snapshot.
        indices: BTreeMap<String, [u64; 2]>,
    },
    /// Files.
    Files {
        /// How many.
        files: u64,
        /// Kind of the volume; absent where it is none.
        #[serde(default)]
        volume: Option<String>,
        /// Its quota in bytes.
        #[serde(default)]
        quota: Option<u64>,
        /// Mode, user and group of its own directory.
        #[serde(default)]
        owner: Option<(u32, u32, u32)>,
    },
}

/// Times of the store's log (seconds since 1970, and a number), between which a dump is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Everything up to this is in it.
    pub before: (u32, u32),
    /// Nothing after this is.
    pub after: (u32, u32),
}

/// A note of the store's log, by which the same log is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// Its time.
    pub time: (u32, u32),
    /// SHA-256 of it, in hex.
    pub sha256: String,
}

/// A collection or a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// Database.
    pub db: String,
    /// Its name there.
    pub name: String,
    /// Documents in its file; 0 for a view.
    pub count: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// Sum of the documents' SHA-256, which their order does not change.
    pub hash: String,
    /// What changed since that file was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    /// When it was read for a backup, RFC 3339: later ones take it from there as long as the store's
    /// log does not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<String>,
}

/// Documents of a collection that are as the difference says, whatever its file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// How many it names.
    pub named: u64,
    /// How many of them are there.
    pub count: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// Sum of their SHA-256.
    pub hash: String,
}

impl Collection {
    /// When it was read.
    pub(super) fn read(&self) -> Option<jiff::Timestamp> {
        self.read.as_deref()?.parse().ok()
    }
}

impl Manifest {
    /// The part of this name.
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// What was read for it, in bytes.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// What was written for it, in bytes.
    pub fn added(&self) -> u64 {
        self.parts.iter().map(|part| part.added).sum()
    }
}

//! What the supervisor asks of the process that does it, and what that answers: JSON, one line each.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use rustic_core::KeepOptions;
use serde::{Deserialize, Serialize};

use super::Place;
use super::manifest::{Facts, Manifest};
use crate::config::{Config, EngineKind, EngineMemory, Role, SearchTls};
use crate::engine::{Context, Credentials, Detected, Version};

/// One piece of work.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Where the repository is.
    pub place: Place,
    /// Its key, as words.
    pub key: String,
    /// Name of this appliance.
    pub host: String,
    /// A repository is made where there is none.
    pub make: bool,
    /// Nothing is ever removed from a repository that is made now.
    pub append_only: bool,
    /// Bytes that go to it and come from it in a second at most.
    #[serde(default)]
    pub bandwidth: Option<u64>,
    /// What to do.
    pub work: Work,
}

/// What to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Work {
    /// Makes a backup, and checks the repository.
    Create(Create),
    /// Lists all backups.
    List,
    /// Reads the repository and compares every hash.
    Verify {
        /// Reads of the packs this share alone: the first of as many as the second says.
        share: Option<(u32, u32)>,
    },
    /// Removes old backups.
    Forget {
        /// Which ones stay.
        keep: Box<KeepOptions>,
    },
    /// Ends the claims of programs that are no more.
    Unlock,
    /// Restores into scratch engines and compares.
    Drill(Rebuild),
    /// Restores into directories that take the place of volumes then.
    Rebuild(Rebuild),
    /// Puts files of a part into a directory.
    Fetch(Fetch),
    /// Puts collections, indices or keys into the running engines.
    Insert(Box<Insert>),
}

/// See [`Work::Create`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Create {
    /// Id of the backup; its time.
    pub id: String,
    /// When it was begun, RFC 3339.
    pub taken: String,
    /// The datastores.
    pub stores: Vec<Store>,
    /// Directories that nobody changes meanwhile.
    pub files: Vec<Files>,
    /// A directory of the data disk for what is on the way.
    pub scratch: PathBuf,
    /// Rest after work, as a share of the time that the work took.
    pub rest: f64,
    /// Of the packs that are read back, this share: the first of as many as the second says.
    pub share: Option<(u32, u32)>,
}

/// A directory that becomes a part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Files {
    /// Name of the part.
    pub part: String,
    /// Where it lies now.
    pub path: PathBuf,
    /// Kind of the volume.
    pub volume: Option<String>,
    /// Its quota.
    pub quota: Option<u64>,
}

/// A datastore: enough to speak to its engine, and to start another one like it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Store {
    /// Which one.
    pub role: Role,
    /// What plays it.
    pub engine: EngineKind,
    /// Its version.
    pub version: Version,
    /// Its program.
    pub program: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its accounts.
    pub credentials: Credentials,
    /// Its volume.
    pub volume: PathBuf,
    /// User and group that it runs as; absent where that is ours.
    pub run_as: Option<(u32, u32)>,
    /// Its share of the memory.
    pub memory: EngineMemory,
    /// Online processors.
    pub cpus: usize,
    /// The configuration.
    pub config: Config,
}

/// See [`Work::Drill`] and [`Work::Rebuild`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Rebuild {
    /// Id of the backup, or `latest`.
    pub backup: String,
    /// The datastores to rebuild.
    pub stores: Vec<Target>,
    /// A directory of the data disk for what is on the way.
    pub scratch: PathBuf,
    /// What else is taken out of the backup.
    pub files: Vec<Fetch>,
    /// Documents as of this second since 1970, from the last backup before it and the logs of those
    /// that follow.
    #[serde(default)]
    pub until: Option<u32>,
}

/// A datastore that is rebuilt.
#[derive(Debug, Serialize, Deserialize)]
pub struct Target {
    /// Which one, and how.
    pub store: Store,
    /// Where its data comes to lie.
    pub data: PathBuf,
}

/// See [`Work::Fetch`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fetch {
    /// Id of the backup, or `latest`.
    pub backup: String,
    /// Name of the part.
    pub part: String,
    /// Directory or file in it.
    pub below: String,
    /// Where it comes to lie.
    pub to: PathBuf,
    /// Only says what would be done.
    pub dry_run: bool,
}

/// See [`Work::Insert`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Insert {
    /// Id of the backup, or `latest`.
    pub backup: String,
    /// The running datastore.
    pub store: Store,
    /// A directory of the data disk for what is on the way.
    pub scratch: PathBuf,
    /// What is put in.
    pub what: What,
}

/// A piece of a datastore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum What {
    /// A collection, under another name where one is given.
    Collection {
        /// Database.
        db: String,
        /// Name.
        name: String,
        /// Database and name that it gets.
        to: (String, String),
    },
    /// An index of the search engine, under another name.
    Index {
        /// Name.
        name: String,
        /// Name that it gets.
        to: String,
    },
    /// Keys that begin so, of every logical database.
    Keys {
        /// What they begin with.
        prefix: String,
    },
}

/// One line of the answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Line {
    /// How far it is.
    Progress {
        /// Bytes done.
        done: u64,
        /// Bytes in all, as far as that is known.
        total: u64,
    },
    /// What is being done now.
    Phase {
        /// In a few words.
        text: String,
    },
    /// It ended well.
    Done {
        /// What came of it.
        answer: Answer,
    },
    /// It ended otherwise.
    Failed {
        /// Why, and what to do.
        message: String,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Answer {
    /// A backup that was made and checked.
    Created {
        /// What it holds.
        manifest: Manifest,
        /// Files of the repository that were read back.
        checked: Checked,
    },
    /// All backups, oldest first.
    Backups {
        /// They.
        backups: Vec<Manifest>,
        /// What is wrong with others.
        problems: Vec<String>,
        /// Whether nothing may be removed.
        append_only: bool,
    },
    /// The repository is as it should be.
    Verified {
        /// What was read.
        checked: Checked,
    },
    /// What was removed.
    Forgotten {
        /// Ids.
        backups: Vec<String>,
    },
    /// How many claims were ended.
    Unlocked {
        /// That many.
        claims: usize,
    },
    /// Everything that was restored is equal to what was backed up.
    Drilled {
        /// Which backup.
        backup: String,
        /// What was compared, a line each.
        compared: Vec<String>,
        /// Seconds that it took.
        seconds: f64,
    },
    /// What lies there now.
    Rebuilt {
        /// Of which backup.
        manifest: Box<Manifest>,
        /// A line each.
        restored: Vec<String>,
    },
    /// Files and bytes that were, or would be, written.
    Fetched {
        /// Which backup.
        backup: String,
        /// What the part is known by.
        facts: Facts,
        /// Files.
        files: u64,
        /// Bytes.
        bytes: u64,
    },
    /// What was put in.
    Inserted {
        /// In words.
        message: String,
    },
}

/// What a check read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Packs of data in the repository.
    pub packs: u64,
    /// Those whose content was read.
    pub read: u64,
    /// Bytes of these.
    pub bytes: u64,
}

impl Store {
    /// The same engine, with its data in `data` and its files in `conf`, at `port` of this machine
    /// alone.
    pub(super) fn context(&self, data: PathBuf, conf: PathBuf, port: u16) -> Context {
        let mut config = self.config.clone();
        let stores = &mut config.datastore;
        let (listens, at) = match self.role {
            Role::Document => (&mut stores.document.listen, &mut stores.document.port),
            Role::Cache => (&mut stores.cache.listen, &mut stores.cache.port),
            Role::Search => (&mut stores.search.listen, &mut stores.search.port),
        };
        *listens = vec![Ipv4Addr::LOCALHOST.into()];
        *at = port;
        stores.search.tls = SearchTls::Off;
        Context {
            role: self.role,
            config,
            detected: Detected {
                binary: self.program.clone(),
                version: self.version.clone(),
            },
            memory: self.memory,
            cpus: self.cpus,
            conf_dir: conf,
            data_dir: data,
            credentials: self.credentials.clone(),
        }
    }
}

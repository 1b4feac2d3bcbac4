//! Where everything of an appliance lies, under one root.
//!
//! `--root DIR` puts a whole appliance into a folder; on a board the root is `/`.

use std::path::{Path, PathBuf};

/// The folder layout of one appliance. All paths are absolute when the root is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// A layout under `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root itself; `/` on a board.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Configuration and credentials: `etc/lucid`.
    pub fn etc(&self) -> PathBuf {
        self.root.join("etc/lucid")
    }

    /// The configuration file, `etc/lucid/lucid.toml`.
    pub fn config_file(&self) -> PathBuf {
        self.etc().join("lucid.toml")
    }

    /// Secrets, one file a datastore, mode 0600 in a directory of mode 0700.
    pub fn credentials(&self) -> PathBuf {
        self.etc().join("credentials")
    }

    /// What lives until the next boot: socket, lock, engine output. A tmpfs on a board.
    pub fn run(&self) -> PathBuf {
        self.root.join("run/lucid")
    }

    /// The control socket that the command line and the HTTP API's local clients use.
    pub fn socket(&self) -> PathBuf {
        self.run().join("lucid.sock")
    }

    /// Held with an exclusive lock while a supervisor owns this root.
    pub fn lock(&self) -> PathBuf {
        self.run().join("lucid.lock")
    }

    /// Which engines run: what the next supervisor adopts.
    pub fn engines_state(&self) -> PathBuf {
        self.run().join("engines.json")
    }

    /// The kernel values found before tuning, for `lucid tune revert`.
    pub fn tuning_state(&self) -> PathBuf {
        self.run().join("tuning-before.json")
    }

    /// What an engine writes to stdout and stderr, before it is read into the journal.
    pub fn engine_output(&self, datastore: &str) -> PathBuf {
        self.run().join(format!("{datastore}.out"))
    }

    /// Rendered configuration of one datastore's engine.
    pub fn engine_conf(&self, datastore: &str) -> PathBuf {
        self.run().join("conf").join(datastore)
    }

    /// Engines that came with the appliance: `usr/lib/lucid/engines`.
    pub fn engines(&self) -> PathBuf {
        self.root.join("usr/lib/lucid/engines")
    }

    /// Exists once a datastore has held data: then an empty volume is a lost one.
    pub fn has_data(&self, datastore: &str) -> PathBuf {
        self.root
            .join("var/lib/lucid")
            .join(format!("{datastore}.has-data"))
    }

    /// Where volumes are mounted: `data`.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }
}

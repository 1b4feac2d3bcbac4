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

    /// How this boot was begun: with or without the datastores.
    pub fn boot_mark(&self) -> PathBuf {
        self.run().join("boot.json")
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

    /// Which pool holds the data; written once it is made.
    pub fn pool_record(&self) -> PathBuf {
        self.root.join("var/lib/lucid/pool.json")
    }

    /// What `lucid volume prepare` found at this boot; absent on a machine whose data is no pool.
    pub fn storage_report(&self) -> PathBuf {
        self.run().join("storage.json")
    }

    /// Where pools beside the one that holds `data` are mounted. Not below `run/lucid`, whose
    /// content systemd gives to the service's group when it starts that.
    pub fn pools(&self) -> PathBuf {
        self.root.join("run/lucid-pools")
    }

    /// Where the pool `name` is mounted.
    pub fn pool(&self, name: &str) -> PathBuf {
        self.pools().join(name)
    }

    /// What mounting the pool `name` came to at this boot.
    pub fn pool_report(&self, name: &str) -> PathBuf {
        self.pools().join(format!("{name}.json"))
    }

    /// Exists while the data disk is being released.
    pub fn removing(&self) -> PathBuf {
        self.run().join("removing")
    }

    /// What the disks said of themselves when they were last asked.
    pub fn health_report(&self) -> PathBuf {
        self.run().join("device-health.json")
    }

    /// The signature of the medium that the image was made for; only on the image.
    pub fn image_mark(&self) -> PathBuf {
        self.root.join("usr/lib/lucid/image")
    }

    /// Why the initial RAM disk could not mount the state partition; absent when it could.
    pub fn state_fault(&self) -> PathBuf {
        self.root.join("run/lucid-boot/state-fault")
    }

    /// Why a configuration that was to be taken over was not; absent when it was.
    pub fn config_fault(&self) -> PathBuf {
        self.run().join("config-fault")
    }

    /// The hash of the configuration that was last taken over from the firmware partition.
    pub fn config_taken(&self) -> PathBuf {
        self.root.join("var/lib/lucid/config-taken")
    }

    /// What of the appliance itself lies on the data disk: journal, credentials.
    pub fn system(&self) -> PathBuf {
        self.data().join("system")
    }

    /// The persistent journal.
    pub fn journal(&self) -> PathBuf {
        self.root.join("var/log/journal")
    }

    /// Where volumes are mounted: `data`.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// How far the search indices follow the documents.
    pub fn search_feed(&self) -> PathBuf {
        self.data().join(".search-feed.json")
    }
}

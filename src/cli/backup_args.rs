//! What `lucid backup` understands.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::config::Role;
use crate::volume::Name;

#[derive(Debug, Clone, Subcommand)]
pub(super) enum BackupCommand {
    /// Back up every datastore and volume now, and check the repository
    Create {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        follow: Follow,
    },
    /// All backups, what was checked and what was rehearsed
    List,
    /// Read a whole repository back and compare every hash
    Verify {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        follow: Follow,
    },
    /// Restore a backup into scratch engines and compare counts and hashes; nothing that runs is touched
    Drill {
        #[command(flatten)]
        of: Of,
        /// Backup, as `list` shows it
        #[arg(long, value_name = "ID", default_value = "latest")]
        backup: String,
        #[command(flatten)]
        follow: Follow,
    },
    /// Restore from a backup; what it replaces is kept
    Restore(Restore),
    /// Remove backups that are older than the configuration keeps
    Prune {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        follow: Follow,
    },
    /// End the claims of programs that are no more on a repository
    Unlock {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        follow: Follow,
    },
    /// The key that every backup is encrypted with; without it nobody restores anything
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
}

#[derive(Debug, Clone, Args)]
pub(super) struct Of {
    /// Repository, by its name in lucid.toml
    #[arg(long, value_name = "NAME", global = true)]
    pub(super) repository: Option<String>,
}

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Follow {
    /// Do not wait for its end
    #[arg(long)]
    pub(super) background: bool,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Restore {
    #[command(subcommand)]
    pub(super) scope: Scope,
    #[command(flatten)]
    pub(super) of: Of,
    /// Backup, as `list` shows it
    #[arg(long, value_name = "ID", default_value = "latest", global = true)]
    pub(super) backup: String,
    /// The document store as of this moment, such as 2026-11-27T14:30:00Z
    #[arg(long, value_name = "TIME", global = true, conflicts_with = "backup")]
    pub(super) at: Option<String>,
    /// What is replaced, once more: the name that follows `restore`
    #[arg(long, value_name = "NAME", global = true)]
    pub(super) confirm: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long, global = true)]
    pub(super) dry_run: bool,
    /// Do not wait for its end
    #[arg(long, global = true)]
    pub(super) background: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Scope {
    /// All datastores and volumes of the backup, with the passwords of that time
    Everything,
    /// One datastore
    Datastore {
        /// Datastore
        name: Role,
    },
    /// One volume
    Volume {
        /// Volume
        name: Name,
    },
    /// One collection, under a name that is not there
    Collection {
        /// Database and collection, such as lucid.sessions
        name: String,
        /// The name that it gets, such as lucid.sessions_before
        #[arg(long = "as", value_name = "DB.NAME")]
        to: Option<String>,
    },
    /// One index, under a name that is not there
    Index {
        /// Index
        name: String,
        /// The name that it gets
        #[arg(long = "as", value_name = "NAME")]
        to: Option<String>,
    },
    /// Keys of the cache that begin so; they take the place of those of the same name
    Keys {
        /// What they begin with, such as lucid:session:
        prefix: String,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum KeyCommand {
    /// Print the twelve words, to be written down; as root
    Show,
    /// Write the words into a file, for a password manager or another disk; as root
    Export {
        /// File, which must not be there
        file: PathBuf,
    },
    /// Take the key of another appliance, so that its backups can be restored here
    Import {
        /// File with the words; - reads them from the input
        file: PathBuf,
    },
}

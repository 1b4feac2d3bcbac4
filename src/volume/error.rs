//! Why an operation on a volume was not done.

use super::VolumeError;
use super::name::Name;
use crate::fsx::FsError;
use crate::units::human_bytes;

/// Nothing was changed, unless the text says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// No such volume.
    #[error("there is no volume {0}; `lucid volume list` shows those that there are")]
    Unknown(Name),
    /// No such snapshot.
    #[error(
        "volume {volume} has no snapshot {snapshot:?}; `lucid volume snapshot list {volume}` shows those that there are"
    )]
    NoSnapshot {
        /// Volume.
        volume: Name,
        /// What was asked for.
        snapshot: String,
    },
    /// The name is taken.
    #[error("there is a volume {0} already; choose another name, or `lucid volume info {0}`")]
    Exists(Name),
    /// A directory is in the way that is no volume.
    #[error(
        "{path} is there and is no volume of this appliance; it is left as it is: choose another name, or move it away"
    )]
    Foreign {
        /// What is in the way.
        path: String,
    },
    /// Another operation runs on it.
    #[error("volume {name} is busy: {running} runs; try again when it is done")]
    Busy {
        /// Volume.
        name: Name,
        /// What runs.
        running: &'static str,
    },
    /// It belongs to a datastore, or something uses it.
    #[error("volume {name} is in use by {by}; {remedy}")]
    InUse {
        /// Volume.
        name: Name,
        /// Who.
        by: String,
        /// The way out.
        remedy: String,
    },
    /// The quota is out of range.
    #[error("{} is no size for volume {name}: {why}", human_bytes(*.size))]
    Size {
        /// Volume.
        name: Name,
        /// What was asked for, in bytes.
        size: u64,
        /// Why, and what is possible.
        why: String,
    },
    /// A destructive act without its confirmation.
    #[error("{what}; repeat the name of the volume to confirm it: --confirm {name}")]
    Confirm {
        /// What would be lost.
        what: String,
        /// Volume.
        name: Name,
    },
    /// The pool cannot do it.
    #[error(
        "{what} needs btrfs as root, and {pool} is {found}; put the data on a pool (`lucid volume prepare`, or a btrfs file system mounted there)"
    )]
    Unsupported {
        /// The operation.
        what: &'static str,
        /// Where.
        pool: String,
        /// What it is.
        found: String,
    },
    /// What was asked for would not be safe.
    #[error("{0}")]
    Refused(String),
    /// A file operation.
    #[error(transparent)]
    File(#[from] FsError),
    /// A program of the system.
    #[error(transparent)]
    Tool(#[from] VolumeError),
}

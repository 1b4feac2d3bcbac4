//! The data pool: which device holds it, making it at the first start, mounting it, and telling
//! whether it is there.
//!
//! `lucid volume prepare` runs once a boot, before the supervisor ([`prepare`]). It reads what the
//! devices hold ([`device`]), decides ([`plan`], pure), grows the data partition ([`partition`]),
//! makes and mounts the pool, and leaves a report that the supervisor goes by ([`report`]). No
//! device that holds anything is formatted without its exact name given twice.
//!
//! On the pool, volumes are subvolumes with quotas ([`manager`]) and snapshots ([`snapshots`]);
//! what they are stands in a [`catalog`] on the pool. Where the data lies on no btrfs, a volume is
//! a directory, and what only btrfs can do is refused by name.

mod archive;
mod btrfs;
mod catalog;
mod cleanup;
mod device;
mod error;
mod extents;
mod health;
mod history;
mod look;
mod manager;
mod medium;
mod migrate;
mod mounts;
mod name;
mod operations;
mod partition;
mod performance;
mod place;
mod plan;
pub mod pool;
mod prepare;
mod recovery;
mod report;
mod reserve;
mod rollback;
mod rounds;
mod snapshots;
mod staging;
mod tool;
mod transfer;
mod tree;
mod users;
mod verify;

use std::path::PathBuf;

pub use archive::Archive;
pub use catalog::{Entry, Schedule};
pub use cleanup::{Cleaned, Filter};
pub use error::OpError;
pub use health::{DeviceHealth, HealthReport, Verdict as HealthVerdict, ask_all};
pub use history::{Growth, Sample};
pub use look::{Info, Room, Space, of_directory, room};
pub use manager::Manager;
pub use medium::Medium;
pub use migrate::Migration;
pub use name::{Kind, Name, NameError};
pub use performance::{Performance, Rates, Source};
pub use prepare::{Outcome, prepare};
pub use report::{Fault, Guard, Storage, directory_of, pools_of_boot};
pub use snapshots::{Origin, Snapshot};
pub use staging::Staging;
pub use verify::Verdict;

use crate::fsx::FsError;

/// Why an operation on the pool failed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// A file operation.
    #[error(transparent)]
    File(#[from] FsError),
    /// A program of the system is missing, failed, or took too long.
    #[error("`{command}` {problem}")]
    Tool {
        /// The command line.
        command: String,
        /// What went wrong, with its last words.
        problem: String,
    },
    /// What a program answered is not what its manual says.
    #[error("`{command}` answered in an unexpected form: {problem}")]
    Answer {
        /// The command line.
        command: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An unmount.
    #[error("cannot unmount {}: {source}; something uses it", target.display())]
    Unmount {
        /// Where.
        target: PathBuf,
        /// What the kernel said.
        source: nix::errno::Errno,
    },
    /// A mount.
    #[error("cannot mount {} at {}: {source}", device.display(), target.display())]
    Mount {
        /// What was to be mounted.
        device: PathBuf,
        /// Where.
        target: PathBuf,
        /// What the kernel said.
        source: nix::errno::Errno,
    },
}

//! Backups that are known to restore.
//!
//! A backup is a set of restic snapshots in a repository ([`repository`]), one for each part of the
//! appliance ([`manifest::Part`]), and a last one that holds the [`manifest`]: counts and hashes of
//! what was captured. Without its manifest a backup does not exist. It is good after a check of the
//! repository ([`verify`]); a drill ([`drill`]) restores it into scratch engines and compares what
//! they serve with the manifest.
//!
//! All of this runs in a process of its own ([`worker`]) that the supervisor starts with a
//! [`request::Request`]: neither its memory nor a fault in it reaches the supervisor. Nothing here
//! decides when ([`schedule`] is pure) or touches a running appliance's volumes.

mod ahead;
mod backend;
mod cache;
mod compare;
mod contents;
mod create;
mod document;
mod history;
mod insert;
mod key;
mod lengths;
mod lock;
pub mod manifest;
mod meter;
mod pace;
pub mod rdb;
mod rebuild;
mod repository;
pub mod request;
mod retrieve;
mod scratch;
mod seal;
mod search;
mod source;
mod verify;
pub mod worker;

pub use backend::{Bucket, Place};
pub use key::{Key, KeyError};
pub use repository::{Repository, Saved};

/// Why a backup, a check, a drill or a restore did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A place that no repository can be in.
    #[error("the repository {place} cannot be used: {cause}")]
    Place {
        /// Where.
        place: String,
        /// Why.
        cause: String,
    },
    /// Nothing is there yet.
    #[error(
        "there is no repository at {0}. Where there was one: is its disk mounted, its bucket the \
         same? A new one is made by `lucid backup create` under a name in lucid.toml that had none"
    )]
    NoRepository(String),
    /// The key opens nothing there.
    #[error(
        "the key of this appliance does not open the repository {0}; it was made with another one: \
         `lucid backup key import` takes the words that were written down then, or set another path"
    )]
    WrongKey(String),
    /// Another program changes the repository.
    #[error(
        "the repository {place} is in use by {holder} since {since}; wait until that is done. If \
         that machine is gone, `lucid backup unlock` ends its claim"
    )]
    Locked {
        /// Where.
        place: String,
        /// Host and process.
        holder: String,
        /// RFC 3339.
        since: String,
    },
    /// The repository, or a file in it.
    #[error("{doing} in the repository {place} failed: {cause}")]
    Repository {
        /// What was being done.
        doing: &'static str,
        /// Where.
        place: String,
        /// All that is known of the cause.
        cause: String,
    },
    /// A part of the appliance was not captured.
    #[error("{part} was not captured: {cause}")]
    Capture {
        /// Which one.
        part: String,
        /// Why.
        cause: String,
    },
    /// A file outside the repository.
    #[error(transparent)]
    File(#[from] crate::fsx::FsError),
    /// Somebody wants it to end.
    #[error("ended on request; nothing was changed")]
    Cancelled,
    /// What was asked for is not there, or not possible.
    #[error("{0}")]
    Refused(String),
}

/// Bytes as they stand in names of files and in manifests.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

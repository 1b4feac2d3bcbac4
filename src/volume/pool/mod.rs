//! Pools beside the one that holds the appliance's own files: each a btrfs file system on a disk, a
//! partition or a file, known by its UUID and mounted under `run/lucid-pools`. Volumes come to lie
//! on them by being made there or migrated.
//!
//! Pools are changed by a program of its own, as root ([`create`], [`commands`]): the supervisor may neither
//! mount nor format anything.

mod commands;
mod create;
mod ground;
mod listing;
mod mounting;
mod registry;

use super::error::OpError;

pub use commands::{export, grow, remove};
pub(super) use create::make_btrfs;
pub use create::{adopt, create};
pub use listing::{Pool, list};
pub(super) use mounting::mount_at;
pub use mounting::{check, mount_all, trim};
pub use registry::Entry;
pub(super) use registry::Registry;

/// The pool that holds the catalog, mounted at `data`.
pub(super) const MAIN: &str = "data";

fn refuse<T>(why: String) -> Result<T, OpError> {
    Err(OpError::Refused(why))
}

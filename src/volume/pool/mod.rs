//! Pools beside the one that holds the appliance's own files: each a btrfs file system on a disk, a
//! partition or a file, known by its UUID and mounted under `run/lucid-pools`. Volumes come to lie
//! on them by being made there or migrated.
//!
//! Pools are changed by a program of its own, as root ([`commands`]): the supervisor may neither
//! mount nor format anything.

mod commands;
mod mounting;
mod registry;

/// The pool that holds the catalog, mounted at `data`.
pub(super) const MAIN: &str = "data";

pub(super) use commands::make_btrfs;
pub use commands::{Pool, adopt, create, export, grow, list, remove};
pub(super) use mounting::mount_at;
pub use mounting::{check, mount_all, trim};
pub use registry::Entry;
pub(super) use registry::Registry;

//! A volume goes back to a snapshot. What it replaces becomes a snapshot itself, by its name alone:
//! nothing is copied and nothing is removed, however many files there are.

use std::path::Path;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::btrfs::{Btrfs, is_subvolume};
use super::catalog::Intent;
use super::error::OpError;
use super::manager::{Manager, remove_tree};
use super::name::Name;
use super::snapshots::{Origin, Snapshot, directory};
use crate::fsx::{self, FsError};

impl Manager {
    /// Puts the state of a snapshot in the place of the volume. What it replaces is kept as a
    /// snapshot of its own, whose id the answer has. Nobody may use the volume meanwhile.
    ///
    /// # Errors
    /// [`OpError`]; the volume is as it was then, unless the message tells that it was exchanged.
    pub fn rollback(&self, name: &Name, id: &str) -> Result<Snapshot, OpError> {
        self.btrfs_of(name, "a rollback")?;
        let _claim = self.claim(name, "rollback")?;
        let entry = self.entry(name)?;
        let wanted = self.find(name, id)?;
        let path = self.path(name);
        self.is_unused(name)?;
        self.is_plain(name)?;
        let _changing = self.changing()?;
        let replaced = Btrfs::id(&path)?;
        let (kept, _) = self.free_id(name, Origin::Replaced)?;
        let staging = format!(".rollback-{name}");
        let root = self.root(entry.pool.as_ref());
        let at = root.join(&staging);
        remove_tree(&at)?;
        Intent::Rollback {
            name: name.clone(),
            pool: entry.pool,
            staging,
            replaced,
            kept: kept.clone(),
        }
        .save(&self.inner().paths)?;
        let exchanged = Btrfs::snapshot(&wanted.path, &at, false)
            .and_then(|()| match entry.quota {
                Some(quota) => Btrfs::limit(&at, quota),
                None => Ok(()),
            })
            .map_err(OpError::from)
            .and_then(|()| self.is_unused(name))
            .and_then(|()| {
                // In one step: at no moment is there no volume.
                let exchange = RenameFlags::RENAME_EXCHANGE;
                renameat2(AT_FDCWD, &at, AT_FDCWD, &path, exchange)
                    .map_err(std::io::Error::from)
                    .map_err(FsError::wrap("exchange", &path))
                    .map_err(OpError::from)
            });
        self.forget(name);
        if let Err(error) = exchanged {
            if let Err(error) = remove_tree(&at) {
                tracing::error!("{error}; {} is needed by nobody", at.display());
            }
            self.done();
            return Err(error);
        }
        // From here on it is done; what fails is finished by whoever takes up the intent.
        match keep_replaced(&root, name, &at, replaced, &kept) {
            Ok(()) => self.done(),
            Err(error) => tracing::error!("{error}; the former state of {name} is kept later"),
        }
        Snapshot::at(&directory(&root, name), kept)
            .ok_or_else(|| OpError::Refused(format!("volume {name} was rolled back")))
    }
}

/// Makes what a rollback left at `staging` the snapshot `kept`, if it is what was replaced. A new
/// state that did not come to its place is removed.
pub(super) fn keep_replaced(
    root: &Path,
    name: &Name,
    staging: &Path,
    replaced: u64,
    kept: &str,
) -> Result<(), OpError> {
    let dir = directory(root, name);
    let to = dir.join(kept);
    if staging.symlink_metadata().is_ok() {
        if Btrfs::id(staging)? != replaced {
            return remove_tree(staging);
        }
        std::fs::rename(staging, &to).map_err(FsError::wrap("rename", staging))?;
    }
    // After the renaming, which a read-only subvolume refuses.
    if is_subvolume(&to) {
        Btrfs::set_read_only(&to, true)?;
    }
    for dir in [&dir, root] {
        fsx::sync_dir(dir).map_err(FsError::wrap("flush", dir))?;
    }
    Ok(())
}

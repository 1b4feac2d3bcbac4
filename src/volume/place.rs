//! Where a volume lies: on the pool of the catalog, or on another one, with a link in its place.

use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::btrfs::Btrfs;
use super::error::OpError;
use super::manager::{Manager, lock, remove_tree};
use super::name::Name;
use super::report::Guard;
use crate::fsx::{self, FsError};

impl Manager {
    /// The directory that a pool is mounted at.
    pub(super) fn root(&self, pool: Option<&Name>) -> PathBuf {
        let paths = &self.inner().paths;
        pool.map_or_else(|| paths.data(), |pool| paths.pool(pool.as_str()))
    }

    /// The pool of a volume that is not in the catalog yet is that of the catalog.
    pub(super) fn pool_of(&self, name: &Name) -> Option<Name> {
        let catalog = lock(&self.inner().catalog);
        catalog.get(name).ok().and_then(|entry| entry.pool.clone())
    }

    /// The root of the pool that a volume lies on.
    pub(super) fn root_of(&self, name: &Name) -> PathBuf {
        self.root(self.pool_of(name).as_ref())
    }

    /// The directory of a volume itself, not the link to it.
    pub(super) fn path(&self, name: &Name) -> PathBuf {
        self.root_of(name).join(name.as_str())
    }

    /// Where a volume is found by everybody, wherever it lies.
    pub(super) fn link(&self, name: &Name) -> PathBuf {
        self.inner().paths.data().join(name.as_str())
    }

    /// A pool, for what only btrfs can do.
    pub(super) fn btrfs(&self, pool: Option<&Name>, what: &'static str) -> Result<Btrfs, OpError> {
        let inner = self.inner();
        let Some(name) = pool else {
            return inner.pool.clone().map_err(|found| OpError::Unsupported {
                what,
                pool: inner.paths.data().display().to_string(),
                found,
            });
        };
        Guard::of_pool(&inner.paths, name.as_str())
            .check()
            .map_err(|fault| OpError::Refused(format!("{}; {}", fault.message, fault.remedy)))?;
        let root = self.root(pool);
        let btrfs = Btrfs::at(&root).map_err(|found| OpError::Unsupported {
            what,
            pool: root.display().to_string(),
            found,
        })?;
        btrfs.enable_quotas(&root)?;
        Ok(btrfs)
    }

    /// The pool of a volume, for what only btrfs can do.
    pub(super) fn btrfs_of(&self, name: &Name, what: &'static str) -> Result<Btrfs, OpError> {
        self.btrfs(self.pool_of(name).as_ref(), what)
    }

    /// What is to take the place of a volume, and then what was there before.
    pub(super) fn aside(&self, name: &Name) -> PathBuf {
        self.inner().paths.data().join(format!(".switch-{name}"))
    }

    /// Removes what an earlier exchange left aside.
    pub(super) fn empty_aside(&self, name: &Name) -> Result<(), OpError> {
        let aside = self.aside(name);
        if aside.is_symlink() {
            return Ok(std::fs::remove_file(&aside).map_err(FsError::wrap("remove", &aside))?);
        }
        remove_tree(&aside)
    }

    /// Has the link of a volume on another pool lead to it; what it replaces lies aside then.
    pub(super) fn put_link(&self, name: &Name, to: &Path) -> Result<(), OpError> {
        let aside = self.aside(name);
        self.empty_aside(name)?;
        std::os::unix::fs::symlink(to, &aside).map_err(FsError::wrap("make the link", &aside))?;
        self.exchange(&aside, &self.link(name))
    }

    /// Puts `new` in the place of `old`, which then lies at `new`; where there was none, moves it.
    pub(super) fn exchange(&self, new: &Path, old: &Path) -> Result<(), OpError> {
        let flags = if old.symlink_metadata().is_ok() {
            RenameFlags::RENAME_EXCHANGE
        } else {
            RenameFlags::RENAME_NOREPLACE
        };
        renameat2(AT_FDCWD, new, AT_FDCWD, old, flags)
            .map_err(std::io::Error::from)
            .map_err(FsError::wrap("exchange", old))?;
        let data = self.inner().paths.data();
        Ok(fsx::sync_dir(&data).map_err(FsError::wrap("flush", &data))?)
    }
}

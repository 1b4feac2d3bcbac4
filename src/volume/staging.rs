//! A state of a volume that is made beside it, and takes its place when it is whole.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::btrfs::Btrfs;
use super::error::OpError;
use super::manager::{Claim, Manager, remove_tree};
use super::name::Name;
use super::snapshots::{Origin, Snapshot};
use crate::fsx::{self, FsError};
use crate::units::human_bytes;

/// An empty state, until somebody fills it. It is removed when this is dropped.
#[derive(Debug)]
pub struct Staging {
    manager: Manager,
    name: Name,
    path: PathBuf,
    is_subvolume: bool,
    _claim: Claim,
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            tracing::error!("{error}; {} is needed by nobody", self.path.display());
        }
    }
}

impl Manager {
    /// Begins a new state of a volume, under the volume's own quota. Nobody else changes the volume
    /// meanwhile.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn stage(&self, name: &Name) -> Result<Staging, OpError> {
        let claim = self.claim(name, "restore")?;
        let entry = self.entry(name)?;
        let is_subvolume = self.btrfs_of(name, "a snapshot").is_ok();
        let path = self.root_of(name).join(format!(".restore-{name}"));
        remove_tree(&path)?;
        if is_subvolume {
            Btrfs::create(&path)?;
        } else {
            fsx::create_dir(&path, 0o700)?;
        }
        let staging = Staging {
            manager: self.clone(),
            name: name.clone(),
            path,
            is_subvolume,
            _claim: claim,
        };
        // What it protected by its own directory nobody reads meanwhile.
        std::fs::set_permissions(&staging.path, std::fs::Permissions::from_mode(0o700))
            .map_err(FsError::wrap("set the mode of", &staging.path))?;
        if let Some(quota) = entry.quota.filter(|_| is_subvolume) {
            Btrfs::limit(&staging.path, quota)?;
        }
        Ok(staging)
    }
}

impl Staging {
    /// Where it is filled.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it can be kept as a snapshot, and the volume rolled back to it.
    pub const fn is_subvolume(&self) -> bool {
        self.is_subvolume
    }

    /// Keeps it as a snapshot of the volume.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn keep(self) -> Result<Snapshot, OpError> {
        fsx::sync_fs(&self.path)?;
        let manager = &self.manager;
        let _changing = manager.changing()?;
        manager.take_from(&self.path, &self.name, Origin::Restored)
    }

    /// Puts it in the place of a volume that is a plain directory, whose present state is kept
    /// beside it. Answers where that lies. Nobody may use the volume meanwhile.
    ///
    /// # Errors
    /// [`OpError`]; the volume is as it was then.
    pub fn exchange(self) -> Result<PathBuf, OpError> {
        self.manager.is_unused(&self.name)?;
        let path = self.manager.path(&self.name);
        let stamp: String = crate::status::now_rfc3339()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let kept = path.with_file_name(format!(".replaced-{}-{stamp}", self.name));
        fsx::sync_fs(&self.path)?;
        // In one step: at no moment is there no volume.
        renameat2(
            AT_FDCWD,
            &self.path,
            AT_FDCWD,
            &path,
            RenameFlags::RENAME_EXCHANGE,
        )
        .map_err(std::io::Error::from)
        .map_err(FsError::wrap("exchange", &path))?;
        std::fs::rename(&self.path, &kept).map_err(FsError::wrap("rename", &self.path))?;
        let root = self.manager.root_of(&self.name);
        fsx::sync_dir(&root).map_err(FsError::wrap("flush", &root))?;
        Ok(kept)
    }

    /// Bytes in it, in words; absent where only a walk could tell.
    pub fn size(&self) -> Option<String> {
        let btrfs = self.manager.btrfs_of(&self.name, "a quota").ok()?;
        let usage = btrfs.usage(Btrfs::id(&self.path).ok()?)?;
        Some(human_bytes(usage.referenced))
    }
}

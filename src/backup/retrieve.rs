//! Parts of a backup as files.

use std::panic::AssertUnwindSafe;
use std::path::Path;

use rustic_core::repofile::{Node, NodeType};
use rustic_core::{LocalDestination, LsOptions, RestoreOptions};

use super::BackupError;
use super::contents::Contents;
use super::repository::Repository;

impl Repository {
    /// Restores a part, or what lies under `below` in it, into the directory `to`, with owners as
    /// numbers. What is there already and equal is not written again, so that a restore that was
    /// cut off goes on where it ended. Answers how many files there are, and the bytes that were, or
    /// would be, written.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn restore(
        &self,
        snapshot: &str,
        below: &str,
        to: &Path,
        dry_run: bool,
    ) -> Result<(u64, u64), BackupError> {
        // The library ends its threads by a panic when a pack is damaged or the disk is full.
        let restored = std::panic::catch_unwind(AssertUnwindSafe(|| {
            self.restore_or_panic(snapshot, below, to, dry_run)
        }));
        restored.unwrap_or_else(|panic| {
            // Damage is named by a check, which only looks.
            super::verify::verify(self, None)?;
            let said = panic.downcast_ref::<String>().map_or("", String::as_str);
            Err(BackupError::Repository {
                doing: "restoring",
                place: self.place.clone(),
                cause: in_short(said),
            })
        })
    }

    fn restore_or_panic(
        &self,
        snapshot: &str,
        below: &str,
        to: &Path,
        dry_run: bool,
    ) -> Result<(u64, u64), BackupError> {
        let fault = self.failed("restoring");
        let repository = self.again()?.to_indexed().map_err(&fault)?;
        let snapshot = repository
            .get_snapshot_from_str(snapshot, |_| true)
            .map_err(&fault)?;
        let nothing = snapshot.summary.as_ref().is_some_and(|summary| {
            summary.total_files_processed + summary.total_dirs_processed == 0
        });
        if nothing {
            // An empty one has no tree that could be named.
            if !dry_run {
                crate::fsx::create_dir(to, 0o700)?;
            }
            return Ok((0, 0));
        }
        let node = repository
            .node_from_snapshot_and_path(&snapshot, below)
            .map_err(&fault)?;
        let one_file = node.node_type != NodeType::Dir;
        let list = LsOptions::default();
        let destination =
            LocalDestination::new(&to.to_string_lossy(), true, one_file).map_err(&fault)?;
        let options = RestoreOptions::default()
            .numeric_id(true)
            .delete(true)
            .verify_existing(true);
        let entries = || repository.ls(&node, &list).map_err(&fault);
        let mut written = 0;
        if !dry_run {
            let sizes = entries()?.map(|entry| entry.map(|(_, node)| node.meta.size));
            let size = sizes.sum::<Result<u64, _>>().map_err(&fault)?;
            self.meter().add_total(size);
            let mut contents = Contents::new(self, &repository);
            for entry in entries()? {
                let (path, node) = entry.map_err(&fault)?;
                let below = if one_file { Path::new("") } else { &path };
                contents.put(&node, to, below)?;
            }
            written = contents.end()?;
        }
        let plan = repository
            .prepare_restore(&options, entries()?, &destination, dry_run)
            .map_err(&fault)?;
        let bytes = written + plan.restore_size;
        if !dry_run {
            repository
                .restore(plan, &options, entries()?, &destination)
                .map_err(&fault)?;
        }
        let mut files = 0;
        for entry in entries()? {
            let (path, node) = entry.map_err(&fault)?;
            // Links and second names as well, as a backup counts them.
            files += u64::from(node.node_type != NodeType::Dir);
            if !dry_run {
                // The library only warns of what it could not set.
                let path = if one_file {
                    to.to_path_buf()
                } else {
                    to.join(path)
                };
                same(&path, &node)?;
            }
        }
        Ok((files, bytes))
    }

    /// Reads what was restored to `to`, and compares every piece's hash with the repository's.
    ///
    /// # Errors
    /// [`BackupError::Refused`] where something is to be restored still.
    pub(super) fn compare_files(
        &self,
        snapshot: &str,
        below: &str,
        to: &Path,
    ) -> Result<(), BackupError> {
        let (_, bytes) = self.restore(snapshot, below, to, true)?;
        if bytes == 0 {
            return Ok(());
        }
        Err(BackupError::Refused(format!(
            "{} is not what was backed up: {bytes} bytes differ. Look at the disk (`lucid volume \
             health`), then try again",
            to.display()
        )))
    }
}

/// That what was restored is what the repository says of it, but for its content, which has hashes.
fn same(path: &Path, node: &Node) -> Result<(), BackupError> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let meta =
        std::fs::symlink_metadata(path).map_err(crate::fsx::FsError::wrap("look at", path))?;
    let kind = meta.file_type();
    let right_kind = match &node.node_type {
        NodeType::File => kind.is_file() && meta.len() == node.meta.size,
        NodeType::Dir => kind.is_dir(),
        NodeType::Symlink { .. } => kind.is_symlink(),
        _ => !kind.is_file() && !kind.is_dir() && !kind.is_symlink(),
    };
    let mode = node.meta.mode.map(|mode| mode & 0o7777);
    let now = meta.permissions().mode() & 0o7777;
    let right_mode = kind.is_symlink() || mode.is_none_or(|mode| mode == now);
    let root = nix::unistd::Uid::effective().is_root();
    let right_owner = !root
        || (node.meta.uid.is_none_or(|uid| uid == meta.uid())
            && node.meta.gid.is_none_or(|gid| gid == meta.gid()));
    if right_kind && right_mode && right_owner {
        return Ok(());
    }
    Err(BackupError::Refused(format!(
        "{} could not be restored as it was (length, mode {:o} for {:o}, or owner): restore it with \
         restic, outside of the service's bounds",
        path.display(),
        now,
        mode.unwrap_or(0)
    )))
}

/// What the kernel said, out of a fault that is written for programmers.
fn in_short(said: &str) -> String {
    let message = said.split("message: \"").nth(1);
    let message = message.and_then(|rest| rest.split('"').next());
    message.map_or_else(|| said.chars().take(300).collect(), str::to_owned)
}

//! Which backups a repository has, and which of them go.

use std::collections::BTreeSet;
use std::path::Path;

use rustic_core::repofile::{SnapshotFile, SnapshotId};
use rustic_core::{IndexedFull, KeepOptions, PruneOptions, Repository as Rustic};

use super::BackupError;
use super::manifest::{Manifest, VERSION};
use super::repository::{MANIFEST, MANIFEST_FILE, PART, Repository, plain};

const MANIFEST_BYTES: usize = 64 << 20;

/// Backups with the snapshots that hold their manifests, and what is wrong with others.
type Manifests = (Vec<(SnapshotFile, Manifest)>, Vec<String>);

impl Repository {
    fn snapshots(&self) -> Result<Vec<SnapshotFile>, BackupError> {
        self.inner
            .get_all_snapshots()
            .map_err(self.failed("listing backups"))
    }

    /// All backups that can be read, oldest first, with the snapshots that hold their manifests;
    /// and what is wrong with the others.
    pub(super) fn manifests(&self) -> Result<Manifests, BackupError> {
        let all = self.snapshots()?;
        let ids: BTreeSet<String> = all
            .iter()
            .map(|one| one.id.to_hex().as_str().to_owned())
            .collect();
        let mut snapshots = all;
        snapshots.retain(|snapshot| snapshot.tags.contains(MANIFEST));
        if snapshots.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        snapshots.sort_by(|one, two| one.time.cmp(&two.time));
        let repository = self
            .again()?
            .to_indexed()
            .map_err(self.failed("reading the index"))?;
        let (mut found, mut wrong) = (Vec::new(), Vec::new());
        for snapshot in snapshots {
            match self.manifest(&repository, &snapshot, &ids) {
                Ok(manifest) => found.push((snapshot, manifest)),
                Err(cause) => wrong.push(format!("backup {}: {cause}", snapshot.label)),
            }
        }
        Ok((found, wrong))
    }

    fn manifest<S: IndexedFull>(
        &self,
        repository: &Rustic<S>,
        snapshot: &SnapshotFile,
        ids: &BTreeSet<String>,
    ) -> Result<Manifest, String> {
        let text = self
            .read(repository, snapshot, MANIFEST_FILE, MANIFEST_BYTES)
            .map_err(|error| plain(&error.to_string()))?;
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        if manifest.version > VERSION {
            return Err(format!(
                "it was made by Lucid {}, which is newer than this one; update first",
                manifest.lucid
            ));
        }
        let gone = manifest
            .parts
            .iter()
            .find(|part| !ids.contains(&part.snapshot));
        match gone {
            Some(part) => Err(format!("its part {} is not there any more", part.name)),
            None => Ok(manifest),
        }
    }

    fn read<S: IndexedFull>(
        &self,
        repository: &Rustic<S>,
        snapshot: &SnapshotFile,
        path: &str,
        limit: usize,
    ) -> Result<Vec<u8>, BackupError> {
        let fault = self.failed("reading");
        let node = repository
            .node_from_path(snapshot.tree, Path::new(path))
            .map_err(&fault)?;
        if node.meta.size > limit as u64 {
            return Err(BackupError::Refused(format!("{path} is too long")));
        }
        let mut content = Vec::new();
        repository.dump(&node, &mut content).map_err(&fault)?;
        Ok(content)
    }

    /// Removes what is in no backup that is kept: backups beyond `keep`, and parts whose manifest
    /// never came. Answers the backups removed.
    ///
    /// # Errors
    /// [`BackupError::Locked`], [`BackupError::Refused`] for an append-only repository.
    pub fn forget(&self, keep: &KeepOptions) -> Result<Vec<String>, BackupError> {
        if self.is_append_only() {
            return Err(BackupError::Refused(format!(
                "the repository {} is append-only: nothing is removed from it here. Remove what is \
                 old from a machine that may, with restic forget --group-by host,paths --prune",
                self.place
            )));
        }
        let _alone = self.claim(true)?;
        let fault = self.failed("removing old backups");
        let (manifests, wrong) = self.manifests()?;
        if let Some(wrong) = wrong.first() {
            return Err(BackupError::Refused(format!(
                "nothing is removed while a backup cannot be read: {wrong}; look with lucid backup \
                 verify"
            )));
        }
        let now = rustic_core::jiff::Zoned::now();
        let own: Vec<_> = manifests
            .iter()
            .filter(|(_, manifest)| manifest.host == self.host)
            // A clock that was ahead must not make every other backup an old one; these stay.
            .filter(|(snapshot, _)| snapshot.time <= now)
            .map(|(snapshot, _)| snapshot.clone())
            .collect();
        let judged = keep.apply(own, &now).map_err(&fault)?;
        let gone: Vec<SnapshotId> = judged
            .iter()
            .filter(|one| !one.keep)
            .map(|one| one.snapshot.id)
            .collect();
        let needed: BTreeSet<&str> = manifests
            .iter()
            .filter(|(snapshot, _)| !gone.contains(&snapshot.id))
            .flat_map(|(_, manifest)| manifest.parts.iter().map(|part| part.snapshot.as_str()))
            .collect();
        // Nobody else's: other hosts' parts belong to backups that may be under way.
        let parts: Vec<SnapshotId> = self
            .snapshots()?
            .iter()
            .filter(|one| one.tags.contains(PART) && one.hostname == self.host)
            .filter(|one| !needed.contains(one.id.to_hex().as_str()))
            .map(|one| one.id)
            .collect();
        // Manifests first: a backup without one is none, and its parts go the next time.
        for removed in [&gone, &parts] {
            if !removed.is_empty() {
                self.inner.delete_snapshots(removed).map_err(&fault)?;
            }
        }
        let options = PruneOptions::default().instant_delete(true);
        let repository = self.again()?;
        let plan = repository.prune_plan(&options).map_err(&fault)?;
        repository.prune(&options, plan).map_err(&fault)?;
        Ok(manifests
            .iter()
            .filter(|(snapshot, _)| gone.contains(&snapshot.id))
            .map(|(_, manifest)| manifest.id.clone())
            .collect())
    }
}

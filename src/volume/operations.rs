//! Making, removing and limiting volumes.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::btrfs::Btrfs;
use super::catalog::{Entry, Intent};
use super::error::OpError;
use super::look::{Info, space_of};
use super::manager::{Manager, clear_up, clear_up_link, is_empty, of_role, remove_tree};
use super::name::{Kind, Name};
use super::pool::{MAIN, Registry};
use super::report::pools_of_boot;
use super::rounds::{Side, remove as remove_rounds};
use super::snapshots::remove_snapshots;
use crate::config::Role;
use crate::fsx::{self, FsError};
use crate::status::now_rfc3339;
use crate::units::human_bytes;

impl Manager {
    /// What a volume gets without being asked: the setting, or all that the pool can give.
    pub(super) fn default_quota(&self, pool: Option<&Name>) -> Result<Option<u64>, OpError> {
        let space = space_of(&self.root(pool))?;
        let most = space.total.saturating_sub(space.reserve);
        Ok(Some(self.settings().default_quota.0.min(most)))
    }

    /// That a quota is one: within the settings and the pool.
    fn check_quota(&self, name: &Name, pool: Option<&Name>, size: u64) -> Result<(), OpError> {
        let refuse = |why: String| {
            Err(OpError::Size {
                name: name.clone(),
                size,
                why,
            })
        };
        let (least, most) = (self.settings().min_quota.0, self.settings().max_quota.0);
        if size < least {
            return refuse(format!(
                "at least {} (volume.min_quota)",
                human_bytes(least)
            ));
        }
        if size > most {
            return refuse(format!("at most {} (volume.max_quota)", human_bytes(most)));
        }
        let space = space_of(&self.root(pool))?;
        let pool = space.total.saturating_sub(space.reserve);
        if size > pool {
            return refuse(format!(
                "the pool has {}, of which {} stay outside all quotas",
                human_bytes(space.total),
                human_bytes(space.reserve)
            ));
        }
        Ok(())
    }

    /// Makes the volume of a datastore where nothing is in its place.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn ensure(&self, role: Role) -> Result<(), OpError> {
        let Some((name, kind)) = of_role(role) else {
            return Ok(());
        };
        if self.path(&name).symlink_metadata().is_ok() || self.entry(&name).is_ok() {
            return Ok(());
        }
        self.create(&name, kind, None, None).map(drop)
    }

    /// Makes a volume, on `pool` where one is named.
    ///
    /// # Errors
    /// [`OpError`]; nothing is left behind then.
    pub fn create(
        &self,
        name: &Name,
        kind: Kind,
        size: Option<u64>,
        pool: Option<&Name>,
    ) -> Result<Info, OpError> {
        let pool = pool.filter(|pool| pool.as_str() != MAIN);
        let _claim = self.claim(name, "create")?;
        if self.entry(name).is_ok() {
            return Err(OpError::Exists(name.clone()));
        }
        if let Some(role) = name.owner().filter(|role| role.volume() != kind.name()) {
            return Err(OpError::Refused(format!(
                "{name} is the volume of datastore {role}: its type is {}",
                role.volume()
            )));
        }
        let btrfs = match pool {
            Some(wanted) => {
                Registry::load(&self.inner().paths)?.get(wanted)?;
                Ok(self.btrfs(pool, "a volume on another pool")?)
            }
            None => self.btrfs(None, "a quota"),
        };
        let path = self.root(pool).join(name.as_str());
        for taken in [&path, &self.link(name)] {
            if taken.symlink_metadata().is_ok() {
                return Err(OpError::Foreign {
                    path: taken.display().to_string(),
                });
            }
        }
        let quota = match (&btrfs, size) {
            (Ok(_), Some(size)) => {
                self.check_quota(name, pool, size)?;
                Some(size)
            }
            (Ok(_), None) => self.default_quota(pool)?,
            (Err(_), Some(_)) => {
                self.btrfs(None, "a quota")?;
                None
            }
            (Err(_), None) => None,
        };
        let _changing = self.changing()?;
        Intent::Create {
            name: name.clone(),
            pool: pool.cloned(),
        }
        .save(&self.inner().paths)?;
        let made = self.make(name, &path, quota, btrfs.is_ok());
        let made = made.and_then(|()| {
            if pool.is_some()
                && let Err(error) = self.put_link(name, &path)
            {
                unmake(&path);
                return Err(error);
            }
            let listed = self.change(|catalog| {
                catalog.volumes.push(Entry {
                    name: name.clone(),
                    kind,
                    pool: pool.cloned(),
                    quota,
                    created: now_rfc3339(),
                    schedule: None,
                });
                Ok(())
            });
            if listed.is_err() {
                if pool.is_some() {
                    clear_up_link(&self.link(name));
                }
                unmake(&path);
            }
            listed
        });
        self.done();
        made?;
        self.info(name)
    }

    fn make(
        &self,
        name: &Name,
        path: &Path,
        quota: Option<u64>,
        is_btrfs: bool,
    ) -> Result<(), OpError> {
        if !is_btrfs {
            return Ok(fsx::create_dir_durable(path, 0o750)?);
        }
        Btrfs::create(path)?;
        // From here on it is ours, and goes when something fails.
        let finished = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o750))
            .map_err(FsError::wrap("set the mode of", path))
            .map_err(OpError::from)
            .and_then(|()| {
                self.forget(name);
                if let Some(quota) = quota {
                    Btrfs::limit(path, quota)?;
                }
                // The making is on the disk before the catalog says so.
                Ok(fsx::sync_fs(path)?)
            });
        if finished.is_err() {
            unmake(path);
        }
        finished
    }

    /// Removes a volume with all its snapshots, and waits until their space is given back.
    /// `confirm` repeats its name.
    ///
    /// # Errors
    /// [`OpError`]; the volume is as it was then.
    pub fn delete(&self, name: &Name, confirm: Option<&str>) -> Result<(), OpError> {
        let burial = self.begin_delete(name, confirm)?;
        if burial.join().is_err() {
            tracing::error!("the deletion of {name} goes on later");
        }
        Ok(())
    }

    /// As [`Manager::delete`], without waiting for the space: btrfs counts the removal of a million
    /// files for seconds. What is begun goes on by itself, also after a restart.
    ///
    /// # Errors
    /// [`OpError`]; the volume is as it was then.
    pub fn begin_delete(
        &self,
        name: &Name,
        confirm: Option<&str>,
    ) -> Result<JoinHandle<()>, OpError> {
        let _claim = self.claim(name, "delete")?;
        let info = self.info(name)?;
        if let Some(role) = name.owner() {
            return Err(OpError::InUse {
                name: name.clone(),
                by: format!("datastore {role}"),
                remedy: "it cannot be deleted; a rollback replaces what it holds".to_owned(),
            });
        }
        self.is_unused(name)?;
        let snapshots = self.snapshots(name)?.len();
        if confirm != Some(name.as_str()) {
            let held = info
                .used_bytes
                .map_or_else(String::new, |used| format!(" with {}", human_bytes(used)));
            return Err(OpError::Confirm {
                what: format!("volume {name}{held} and {snapshots} snapshots would be deleted"),
                name: name.clone(),
            });
        }
        let _changing = self.changing()?;
        let grave = format!(".deleted-{name}");
        let pool = info.entry.pool.clone();
        if pool.is_some() {
            self.btrfs(pool.as_ref(), "a deletion")?;
        }
        let intent = Intent::Delete {
            name: name.clone(),
            pool: pool.clone(),
            grave: grave.clone(),
        };
        let root = self.root(pool.as_ref());
        let grave = root.join(grave);
        remove_tree(&grave)?;
        intent.save(&self.inner().paths)?;
        if let Err(error) = std::fs::rename(&info.path, &grave) {
            // It is still the volume, and must not go at the next start.
            self.done();
            return Err(FsError::wrap("rename", &info.path)(error).into());
        }
        self.forget(name);
        if pool.is_some() {
            clear_up_link(&self.link(name));
        }
        // From here on it is gone. What fails is finished by whoever clears up the intent.
        let gone = self.change(|catalog| {
            catalog.volumes.retain(|entry| entry.name != *name);
            Ok(())
        });
        if let Err(error) = gone {
            tracing::error!("{error}; the deletion of {name} goes on later");
        }
        self.clear_leftovers(name);
        let (manager, name) = (self.clone(), name.clone());
        let bury = move || {
            // Whoever changes a volume before this does it in its place.
            if let Err(error) = manager.changing() {
                tracing::error!("{error}; the deletion of {name} goes on later");
            }
        };
        let thread = std::thread::Builder::new().name("deletion".to_owned());
        thread
            .spawn(bury)
            .map_err(|error| OpError::Refused(format!("the volume is removed later: {error}")))
    }

    /// Roots of all pools that are there.
    fn roots(&self) -> Vec<PathBuf> {
        let paths = &self.inner().paths;
        let others = pools_of_boot(paths);
        let others = others.iter().map(|pool| paths.pool(pool));
        std::iter::once(paths.data()).chain(others).collect()
    }

    /// Gives up a migration that was cut off: what it copied is removed from every pool.
    ///
    /// # Errors
    /// [`OpError`]; the volume itself stays as it is in any case.
    pub fn give_up_migration(&self, name: &Name) -> Result<(), OpError> {
        let _claim = self.claim(name, "migrate")?;
        self.entry(name)?;
        // A switch that was cut off decides first on which side the volume is.
        let _changing = self.changing()?;
        for root in self.roots() {
            self.forget_migration(&root, name)?;
        }
        Ok(())
    }

    /// Removes what a migration keeps on the pool at `root`: nothing where none was begun.
    fn forget_migration(&self, root: &Path, name: &Name) -> Result<(), OpError> {
        let begun = Side::new(root.to_path_buf(), name).is_begun();
        // Snapshots of a volume that lies here are its own.
        let place = root.join(name.as_str());
        let lies_here = place
            .symlink_metadata()
            .is_ok_and(|meta| !meta.is_symlink());
        if begun && !lies_here && root != self.root_of(name) {
            remove_snapshots(root, name)?;
        }
        if begun {
            remove_rounds(root, name)?;
        }
        Ok(())
    }

    /// What operations that were cut off have left of a volume, on every pool that is there.
    fn clear_leftovers(&self, name: &Name) {
        for root in self.roots() {
            for what in ["backup", "restore"] {
                clear_up(&root.join(format!(".{what}-{name}")));
            }
            if let Err(error) = self.forget_migration(&root, name) {
                tracing::error!("{error}; space of the deleted volume {name} stays in use");
            }
        }
    }

    /// That no subvolume lies in a volume: a snapshot would not hold it, and nobody would know.
    pub(super) fn is_plain(&self, name: &Name) -> Result<(), OpError> {
        let inner = Btrfs::inner(&self.path(name))?;
        if inner.is_empty() {
            return Ok(());
        }
        Err(OpError::Refused(format!(
            "volume {name} holds subvolumes of its own ({}), which no snapshot holds: move or delete \
             them first",
            inner.join(", ")
        )))
    }

    /// Takes back a volume that was just made, when nothing was put into it.
    pub fn unmake_empty(&self, name: &Name) {
        if !is_empty(&self.path(name)) {
            return;
        }
        if let Err(error) = self.delete(name, Some(name.as_str())) {
            tracing::error!("{error}; volume {name} is empty: delete it");
        }
    }

    /// The intent is carried out. One that cannot be removed is cleared up by the next operation,
    /// which finds nothing to do.
    pub(super) fn done(&self) {
        if let Err(error) = Intent::done(&self.inner().paths) {
            tracing::error!("{error}; it is cleared up by the next change of a volume");
        }
    }

    /// Changes a quota.
    ///
    /// # Errors
    /// [`OpError`]; the old quota holds then.
    pub fn resize(&self, name: &Name, size: u64) -> Result<Info, OpError> {
        let _claim = self.claim(name, "resize")?;
        let info = self.info(name)?;
        let pool = self.btrfs_of(name, "a quota")?;
        if !pool.quotas_are_consistent() && info.entry.quota.is_none_or(|quota| size < quota) {
            return Err(OpError::Refused(format!(
                "what volume {name} uses is being counted; it can be made smaller when that is done, \
                 in some minutes"
            )));
        }
        self.check_quota(name, info.entry.pool.as_ref(), size)?;
        if let Some(used) = info.used_bytes.filter(|used| size < *used) {
            return Err(OpError::Size {
                name: name.clone(),
                size,
                why: format!(
                    "it holds {}; delete or clean up first, or choose more",
                    human_bytes(used)
                ),
            });
        }
        Btrfs::limit(&info.path, size)?;
        self.change(|catalog| {
            catalog.get_mut(name)?.quota = Some(size);
            Ok(())
        })?;
        self.info(name)
    }
}

/// Takes back what a failed creation made. What stays is cleared up by nobody, since it may be in
/// use by then.
fn unmake(path: &Path) {
    if let Err(error) = remove_tree(path) {
        tracing::error!("{error}; {} is no volume: remove it", path.display());
    }
}

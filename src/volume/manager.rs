//! The volumes of the pool: what an earlier run left half done, who may change what, quotas in
//! force. All calls block; one operation at a time changes a volume.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::FileType;

use super::btrfs::{self, Btrfs, Usage, is_subvolume};
use super::catalog::{Catalog, Entry};
use super::error::OpError;
use super::history::History;
use super::name::{Kind, Name};
use super::reserve;
use super::tree::{self, Next};
use crate::config::Role;
use crate::config::Volume as Settings;
use crate::fsx::FsError;
use crate::paths::Paths;
use crate::status::now_rfc3339;

/// The volumes of one appliance; cheap to clone, every clone is the same.
#[derive(Debug, Clone)]
pub struct Manager {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) paths: Paths,
    pub(super) settings: Settings,
    /// Why there is no btrfs, where there is none.
    pub(super) pool: Result<Btrfs, String>,
    pub(super) catalog: Mutex<Catalog>,
    /// Quota groups by volume; a subvolume keeps its number while it lives.
    ids: Mutex<HashMap<Name, u64>>,
    pub(super) history: Mutex<History>,
    /// When scheduled snapshots were last taken, by the monotonic clock.
    taken: Mutex<HashMap<Name, Instant>>,
    opened: Instant,
}

/// Held from the writing of an intent until it is done: there is one file of intents a pool, and a
/// manager that is opened anew must not clear up what another one is just doing.
pub(super) static CHANGING: Mutex<()> = Mutex::new(());
/// What changes which volume of which pool, for every manager alike.
static BUSY: Mutex<BTreeMap<PathBuf, &'static str>> = Mutex::new(BTreeMap::new());
/// Held from the reading of a catalog until it is written.
static CATALOG: Mutex<()> = Mutex::new(());

/// While it lives, no other operation changes the volume.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&BUSY).remove(&self.path);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Name and kind of a datastore's volume.
pub(super) fn of_role(role: Role) -> Option<(Name, Kind)> {
    let name = role.volume();
    Some((name.parse().ok()?, name.parse().ok()?))
}

impl Manager {
    /// The volumes under `paths`. Takes up what an earlier run left half done, adopts the
    /// datastores' volumes, and puts every quota in force.
    ///
    /// # Errors
    /// [`OpError`] where the catalog cannot be read or a quota not be set.
    pub fn open(paths: &Paths, settings: &Settings) -> Result<Self, OpError> {
        let data = paths.data();
        // No catalog is read that another manager is just changing.
        let changing = lock(&CHANGING);
        let inner = Inner {
            pool: Btrfs::at(&data),
            catalog: Mutex::new(Catalog::load(paths)?),
            paths: paths.clone(),
            settings: settings.clone(),
            ids: Mutex::default(),
            history: Mutex::new(History::load(paths)),
            taken: Mutex::default(),
            opened: Instant::now(),
        };
        let manager = Self {
            inner: Arc::new(inner),
        };
        if let Ok(pool) = &manager.inner.pool {
            pool.enable_quotas(&data)?;
            if !pool.quotas_are_consistent()
                && let Err(error) = Btrfs::rescan(&data)
            {
                // Most often one runs already: switching quotas on begins one.
                tracing::info!("use of volumes is counted anew: {error}");
            }
        }
        manager.recover()?;
        reserve::keep(paths);
        manager.heal();
        manager.adopt()?;
        manager.enforce()?;
        drop(changing);
        Ok(manager)
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(super) fn claim(&self, name: &Name, what: &'static str) -> Result<Claim, OpError> {
        // By what it is called, wherever it lies: a migration changes that.
        let (mut busy, path) = (lock(&BUSY), self.link(name));
        if let Some(running) = busy.get(&path) {
            return Err(OpError::Busy {
                name: name.clone(),
                running,
            });
        }
        busy.insert(path.clone(), what);
        Ok(Claim { path })
    }

    /// That no process has anything of a volume open.
    pub(super) fn is_unused(&self, name: &Name) -> Result<(), OpError> {
        match super::users::of(&self.path(name)) {
            Some(by) => Err(OpError::InUse {
                name: name.clone(),
                by,
                remedy: "end it first".to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// What the catalog has.
    pub(super) fn entries(&self) -> Vec<Entry> {
        lock(&self.inner.catalog).volumes.clone()
    }

    pub(super) fn entry(&self, name: &Name) -> Result<Entry, OpError> {
        lock(&self.inner.catalog).get(name).cloned()
    }

    /// Changes the catalog, on disk first.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut Catalog) -> Result<T, OpError>,
    ) -> Result<T, OpError> {
        let _one_at_a_time = lock(&CATALOG);
        // What the pool has, not what this manager remembers.
        let found = Catalog::load(&self.inner.paths)?;
        let mut new = found.clone();
        let result = change(&mut new)?;
        if new != found {
            new.save(&self.inner.paths)?;
        }
        *lock(&self.inner.catalog) = new;
        Ok(result)
    }

    /// Time since a scheduled snapshot was taken, or since the start.
    pub(super) fn since_taken(&self, name: &Name) -> Duration {
        let taken = lock(&self.inner.taken).get(name).copied();
        taken.unwrap_or(self.inner.opened).elapsed()
    }

    pub(super) fn note_taken(&self, name: &Name) {
        lock(&self.inner.taken).insert(name.clone(), Instant::now());
    }

    /// Forgets the number of a subvolume that was replaced.
    pub(super) fn forget(&self, name: &Name) {
        lock(&self.inner.ids).remove(name);
    }

    /// Volumes of the datastores that were made before there was a catalog, or by hand.
    fn adopt(&self) -> Result<(), OpError> {
        let has_pool = self.inner.pool.is_ok();
        let quota = if has_pool {
            self.default_quota(None)?
        } else {
            None
        };
        for role in Role::ALL {
            let Some((name, kind)) = of_role(role) else {
                continue;
            };
            let path = self.path(&name);
            let there = if has_pool {
                is_subvolume(&path)
            } else {
                path.is_dir()
            };
            if there && self.entry(&name).is_err() {
                // What holds data already is not put under a limit that it may be above; one that
                // it has stays.
                let quota = if is_empty(&path) {
                    quota
                } else {
                    self.usage(&name).and_then(|usage| usage.limit)
                };
                self.change(|catalog| {
                    catalog.volumes.push(Entry {
                        name,
                        kind,
                        pool: None,
                        quota,
                        created: now_rfc3339(),
                        schedule: None,
                    });
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// The quotas of the catalog are what holds; one that was cut off in between is put back.
    fn enforce(&self) -> Result<(), OpError> {
        if self.inner.pool.is_err() {
            return Ok(());
        }
        for entry in self.entries() {
            let path = self.path(&entry.name);
            let (Some(quota), true) = (entry.quota, is_subvolume(&path)) else {
                continue;
            };
            let usage = self.usage(&entry.name);
            let fits = usage.is_none_or(|usage| usage.referenced <= quota);
            if fits && usage.and_then(|usage| usage.limit) != Some(quota) {
                let limited = Btrfs::limit(&path, quota);
                if entry.pool.is_some() {
                    // Another disk's fault keeps nobody from the volumes of this one.
                    if let Err(error) = limited {
                        tracing::error!(
                            "{error}; the quota of volume {} is not in force",
                            entry.name
                        );
                    }
                } else {
                    limited?;
                }
            }
        }
        Ok(())
    }

    /// What a volume uses; absent where its pool does not tell.
    pub(super) fn usage(&self, name: &Name) -> Option<Usage> {
        let pool = self.btrfs_of(name, "a quota").ok()?;
        let known = lock(&self.inner.ids).get(name).copied();
        let id = if let Some(id) = known {
            id
        } else {
            let id = Btrfs::id(&self.path(name)).ok()?;
            lock(&self.inner.ids).insert(name.clone(), id);
            id
        };
        pool.usage(id)
    }
}

/// Whether nothing is in a directory; one that is not there holds nothing, of one that cannot be
/// read nobody knows.
pub(super) fn is_empty(path: &Path) -> bool {
    match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Removes what nobody needs any more. What cannot be removed takes space, and keeps nothing from
/// working.
pub(super) fn clear_up(path: &Path) {
    if let Err(error) = remove_tree(path) {
        tracing::error!("{error}; {} is needed by nobody: remove it", path.display());
    }
}

/// Removes the link to a volume on another pool that is no more.
pub(super) fn clear_up_link(link: &Path) {
    let is_link = link.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
    if is_link && let Err(error) = std::fs::remove_file(link) {
        tracing::error!("{}: {error}; it leads nowhere: remove it", link.display());
    }
}

/// Removes a directory or subvolume that is nobody's volume any more, with subvolumes that somebody
/// made inside; none is well.
pub(super) fn remove_tree(path: &Path) -> Result<(), OpError> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    if !is_subvolume(path) {
        return Ok(std::fs::remove_dir_all(path).map_err(FsError::wrap("remove", path))?);
    }
    if Btrfs::delete(path).is_ok() {
        return Ok(());
    }
    // Deepest first: one is found after those around it.
    for inner in inner_subvolumes(path).iter().rev() {
        Btrfs::delete(inner)?;
    }
    Ok(Btrfs::delete(path)?)
}

/// Subvolumes below `path`, each after those around it.
fn inner_subvolumes(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let walked = tree::walk(path, &mut |entry| {
        if entry.kind() == FileType::Directory && entry.stat.st_ino == btrfs::SUBVOLUME_INODE {
            found.push(path.join(entry.path));
        }
        Ok(Next::On)
    });
    if let Err(error) = walked {
        tracing::warn!("{error}");
    }
    found.sort();
    found
}

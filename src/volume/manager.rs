//! Volumes of the pool: made, limited, removed. All calls block; one operation at a time changes
//! a volume.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::statvfs::statvfs;
use serde::Serialize;

use super::btrfs::{Btrfs, Usage, is_subvolume};
use super::catalog::{Catalog, Entry, Intent};
use super::error::OpError;
use super::name::{Kind, Name};
use crate::config::Role;
use crate::config::Volume as Settings;
use crate::fsx::{self, FsError};
use crate::paths::Paths;
use crate::status::now_rfc3339;
use crate::units::{MIB, human_bytes};

/// Kept outside all quotas: two percent of the pool, at least this, so that the supervisor,
/// deletions and restores still work on a full one.
const LEAST_RESERVE: u64 = 256 * MIB;
const RESERVE_SHARE: u64 = 50;

/// Everything about one volume.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Info {
    /// As in the catalog.
    #[serde(flatten)]
    pub entry: Entry,
    /// Where it is mounted.
    pub path: PathBuf,
    /// Bytes in use; absent where only a walk could tell.
    pub used_bytes: Option<u64>,
    /// Of those, bytes that no snapshot shares.
    pub exclusive_bytes: Option<u64>,
    /// Share of the quota, or of the file system where there is none.
    pub percent: Option<f64>,
    /// `healthy`, `warning`, `critical` or `missing`.
    pub state: &'static str,
}

/// Space of the whole pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Space {
    /// Bytes of the file system.
    pub total: u64,
    /// Bytes that can still be written.
    pub free: u64,
    /// Bytes outside all quotas.
    pub reserve: u64,
}

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
    catalog: Mutex<Catalog>,
    /// Quota groups by volume; a subvolume keeps its number while it lives.
    ids: Mutex<HashMap<Name, u64>>,
    busy: Mutex<HashMap<Name, &'static str>>,
}

/// While it lives, no other operation changes the volume.
#[derive(Debug)]
pub(super) struct Claim {
    inner: Arc<Inner>,
    name: Name,
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.inner.busy).remove(&self.name);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The datastore whose volume this is.
pub(super) fn owner(name: &Name) -> Option<Role> {
    Role::ALL
        .into_iter()
        .find(|role| role.volume() == name.as_str())
}

impl Manager {
    /// The volumes under `paths`. Takes up what an earlier run left half done, adopts the
    /// datastores' volumes, and puts every quota in force.
    ///
    /// # Errors
    /// [`OpError`] where the catalog cannot be read or a quota not be set.
    pub fn open(paths: &Paths, settings: &Settings) -> Result<Self, OpError> {
        let data = paths.data();
        let inner = Inner {
            pool: Btrfs::at(&data),
            catalog: Mutex::new(Catalog::load(paths)?),
            paths: paths.clone(),
            settings: settings.clone(),
            ids: Mutex::default(),
            busy: Mutex::default(),
        };
        let manager = Self {
            inner: Arc::new(inner),
        };
        if let Ok(pool) = &manager.inner.pool {
            pool.enable_quotas(&data)?;
            if !pool.quotas_are_consistent() {
                Btrfs::rescan(&data)?;
            }
        }
        manager.recover()?;
        manager.adopt()?;
        manager.enforce()?;
        Ok(manager)
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(super) fn path(&self, name: &Name) -> PathBuf {
        self.inner.paths.data().join(name.as_str())
    }

    /// The pool, for what only btrfs can do.
    pub(super) fn pool(&self, what: &'static str) -> Result<&Btrfs, OpError> {
        self.inner
            .pool
            .as_ref()
            .map_err(|found| OpError::Unsupported {
                what,
                pool: self.inner.paths.data().display().to_string(),
                found: found.clone(),
            })
    }

    pub(super) fn claim(&self, name: &Name, what: &'static str) -> Result<Claim, OpError> {
        let mut busy = lock(&self.inner.busy);
        if let Some(running) = busy.get(name) {
            return Err(OpError::Busy {
                name: name.clone(),
                running,
            });
        }
        busy.insert(name.clone(), what);
        Ok(Claim {
            inner: Arc::clone(&self.inner),
            name: name.clone(),
        })
    }

    pub(super) fn entry(&self, name: &Name) -> Result<Entry, OpError> {
        lock(&self.inner.catalog).get(name).cloned()
    }

    /// Changes the catalog, on disk first.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut Catalog) -> Result<T, OpError>,
    ) -> Result<T, OpError> {
        let mut catalog = lock(&self.inner.catalog);
        let mut new = catalog.clone();
        let result = change(&mut new)?;
        if new != *catalog {
            new.save(&self.inner.paths)?;
            *catalog = new;
        }
        Ok(result)
    }

    /// Forgets the number of a subvolume that was replaced.
    pub(super) fn forget(&self, name: &Name) {
        lock(&self.inner.ids).remove(name);
    }

    /// An operation that a power cut or a crash ended is finished or undone.
    fn recover(&self) -> Result<(), OpError> {
        let Some(intent) = Intent::load(&self.inner.paths)? else {
            return Ok(());
        };
        let data = self.inner.paths.data();
        match &intent {
            Intent::Create { name } => {
                let known = lock(&self.inner.catalog).get(name).is_ok();
                if !known {
                    self.remove_tree(&self.path(name))?;
                }
            }
            Intent::Delete { name, grave } => {
                let grave = data.join(grave);
                let path = self.path(name);
                if path.exists() && !grave.exists() {
                    rename(&path, &grave)?;
                }
                self.change(|catalog| {
                    catalog.volumes.retain(|entry| entry.name != *name);
                    Ok(())
                })?;
                self.remove_tree(&grave)?;
            }
            // Exchanged or not: what lies there now is not the volume.
            Intent::Rollback { staging, .. } => self.remove_tree(&data.join(staging))?,
        }
        tracing::info!("an operation on volumes that was cut off was cleared up: {intent:?}");
        Intent::done(&self.inner.paths)
    }

    /// Volumes of the datastores that were made before there was a catalog, or by hand.
    fn adopt(&self) -> Result<(), OpError> {
        let has_pool = self.inner.pool.is_ok();
        let quota = if has_pool {
            self.default_quota()?
        } else {
            None
        };
        for role in Role::ALL {
            let (Ok(name), Ok(kind)) =
                (role.volume().parse::<Name>(), role.volume().parse::<Kind>())
            else {
                continue;
            };
            let path = self.path(&name);
            let there = if has_pool {
                is_subvolume(&path)
            } else {
                path.is_dir()
            };
            if there && self.entry(&name).is_err() {
                self.change(|catalog| {
                    catalog.volumes.push(Entry {
                        name,
                        kind,
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
        let Ok(pool) = &self.inner.pool else {
            return Ok(());
        };
        let entries = lock(&self.inner.catalog).volumes.clone();
        for entry in entries {
            let path = self.path(&entry.name);
            let (Some(quota), true) = (entry.quota, is_subvolume(&path)) else {
                continue;
            };
            let found = self.usage(pool, &entry.name).and_then(|usage| usage.limit);
            if found != Some(quota) {
                Btrfs::limit(&path, quota)?;
            }
        }
        Ok(())
    }

    pub(super) fn usage(&self, pool: &Btrfs, name: &Name) -> Option<Usage> {
        let known = lock(&self.inner.ids).get(name).copied();
        let id = match known {
            Some(id) => id,
            None => {
                let id = Btrfs::id(&self.path(name)).ok()?;
                lock(&self.inner.ids).insert(name.clone(), id);
                id
            }
        };
        pool.usage(id)
    }

    /// Space of the pool.
    ///
    /// # Errors
    /// [`OpError::File`] where the file system does not answer.
    pub fn space(&self) -> Result<Space, OpError> {
        let data = self.inner.paths.data();
        let stat = statvfs(&data)
            .map_err(std::io::Error::from)
            .map_err(FsError::wrap("ask for the space of", &data))?;
        let total = stat.blocks() * stat.fragment_size();
        Ok(Space {
            total,
            free: stat.blocks_available() * stat.fragment_size(),
            reserve: (total / RESERVE_SHARE).max(LEAST_RESERVE).min(total / 4),
        })
    }

    /// What a volume gets without being asked: the setting, or all that the pool can give.
    fn default_quota(&self) -> Result<Option<u64>, OpError> {
        let space = self.space()?;
        let most = space.total.saturating_sub(space.reserve);
        Ok(Some(self.settings().default_quota.0.min(most)))
    }

    fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// That a quota is one: within the settings and the pool.
    fn check_quota(&self, name: &Name, size: u64) -> Result<(), OpError> {
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
        let space = self.space()?;
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

    /// All volumes, in the order of their making.
    pub fn list(&self) -> Vec<Info> {
        let entries = lock(&self.inner.catalog).volumes.clone();
        entries
            .into_iter()
            .map(|entry| self.describe(entry))
            .collect()
    }

    /// One volume.
    ///
    /// # Errors
    /// [`OpError::Unknown`].
    pub fn info(&self, name: &Name) -> Result<Info, OpError> {
        Ok(self.describe(self.entry(name)?))
    }

    fn describe(&self, entry: Entry) -> Info {
        let path = self.path(&entry.name);
        let usage = self
            .inner
            .pool
            .as_ref()
            .ok()
            .and_then(|pool| self.usage(pool, &entry.name));
        let percent = match (usage, entry.quota) {
            (Some(usage), Some(quota)) => Some(share(usage.referenced, quota)),
            _ => statvfs(&path).ok().map(|stat| {
                let used = stat.blocks().saturating_sub(stat.blocks_free());
                share(used, used + stat.blocks_available())
            }),
        };
        let settings = self.settings();
        let state = match percent {
            _ if !path.is_dir() => "missing",
            Some(percent) if percent >= f64::from(settings.critical_percent) => "critical",
            Some(percent) if percent >= f64::from(settings.warning_percent) => "warning",
            _ => "healthy",
        };
        Info {
            used_bytes: usage.map(|usage| usage.referenced),
            exclusive_bytes: usage.map(|usage| usage.exclusive),
            percent: percent.filter(|_| state != "missing"),
            state,
            path,
            entry,
        }
    }

    /// Makes a volume.
    ///
    /// # Errors
    /// [`OpError`]; nothing is left behind then.
    pub fn create(&self, name: &Name, kind: Kind, size: Option<u64>) -> Result<Info, OpError> {
        let _claim = self.claim(name, "create")?;
        if self.entry(name).is_ok() {
            return Err(OpError::Exists(name.clone()));
        }
        if let Some(role) = owner(name).filter(|role| role.volume() != kind.name()) {
            return Err(OpError::Refused(format!(
                "{name} is the volume of datastore {role}: its type is {}",
                role.volume()
            )));
        }
        let path = self.path(name);
        if path.symlink_metadata().is_ok() {
            return Err(OpError::Foreign {
                path: path.display().to_string(),
            });
        }
        let quota = match (&self.inner.pool, size) {
            (Ok(_), Some(size)) => {
                self.check_quota(name, size)?;
                Some(size)
            }
            (Ok(_), None) => self.default_quota()?,
            (Err(_), Some(_)) => {
                self.pool("a quota")?;
                None
            }
            (Err(_), None) => None,
        };
        Intent::Create { name: name.clone() }.save(&self.inner.paths)?;
        let made = self.make(name, &path, quota).and_then(|()| {
            self.change(|catalog| {
                catalog.volumes.push(Entry {
                    name: name.clone(),
                    kind,
                    quota,
                    created: now_rfc3339(),
                    schedule: None,
                });
                Ok(())
            })
        });
        if made.is_err() {
            self.remove_tree(&path)?;
        }
        Intent::done(&self.inner.paths)?;
        made?;
        self.info(name)
    }

    fn make(&self, name: &Name, path: &Path, quota: Option<u64>) -> Result<(), OpError> {
        if self.inner.pool.is_err() {
            return Ok(fsx::create_dir_durable(path, 0o750)?);
        }
        Btrfs::create(path)?;
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o750))
            .map_err(FsError::wrap("set the mode of", path))?;
        self.forget(name);
        if let Some(quota) = quota {
            Btrfs::limit(path, quota)?;
        }
        Ok(())
    }

    /// Removes a volume with all its snapshots. `confirm` repeats its name.
    ///
    /// # Errors
    /// [`OpError`]; the volume is as it was then.
    pub fn delete(&self, name: &Name, confirm: Option<&str>) -> Result<(), OpError> {
        let info = self.info(name)?;
        if let Some(role) = owner(name) {
            return Err(OpError::InUse {
                name: name.clone(),
                by: format!("datastore {role}"),
                remedy: "it cannot be deleted; `lucid datastore stop` and a restored backup \
                         replace what it holds"
                    .to_owned(),
            });
        }
        if let Some(user) = super::users::of(&info.path) {
            return Err(OpError::InUse {
                name: name.clone(),
                by: user,
                remedy: "end it first".to_owned(),
            });
        }
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
        let _claim = self.claim(name, "delete")?;
        let grave = format!(".deleted-{name}");
        let intent = Intent::Delete {
            name: name.clone(),
            grave: grave.clone(),
        };
        let grave = self.inner.paths.data().join(grave);
        self.remove_tree(&grave)?;
        intent.save(&self.inner.paths)?;
        rename(&info.path, &grave)?;
        self.change(|catalog| {
            catalog.volumes.retain(|entry| entry.name != *name);
            Ok(())
        })?;
        self.forget(name);
        self.remove_snapshots(name)?;
        self.remove_tree(&grave)?;
        Intent::done(&self.inner.paths)
    }

    /// Changes a quota.
    ///
    /// # Errors
    /// [`OpError`]; the old quota holds then.
    pub fn resize(&self, name: &Name, size: u64) -> Result<Info, OpError> {
        let info = self.info(name)?;
        let _claim = self.claim(name, "resize")?;
        self.pool("a quota")?;
        self.check_quota(name, size)?;
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

    /// Removes a directory or subvolume that is nobody's volume any more; none is well.
    pub(super) fn remove_tree(&self, path: &Path) -> Result<(), OpError> {
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        if is_subvolume(path) {
            return Ok(Btrfs::delete(path)?);
        }
        Ok(std::fs::remove_dir_all(path).map_err(FsError::wrap("remove", path))?)
    }
}

/// Percent with one digit.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 / whole as f64 * 1000.0).round() / 10.0
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), OpError> {
    std::fs::rename(from, to).map_err(FsError::wrap("rename", from))?;
    if let Some(dir) = to.parent() {
        fsx::sync_dir(dir).map_err(FsError::wrap("flush", dir))?;
    }
    Ok(())
}

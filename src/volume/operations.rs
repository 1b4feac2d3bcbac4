//! Making, removing and limiting volumes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::btrfs::Btrfs;
use super::catalog::{Entry, Intent};
use super::error::OpError;
use super::look::Info;
use super::manager::{Manager, owner, remove_tree, rename};
use super::name::{Kind, Name};
use crate::config::Role;
use crate::fsx::{self, FsError};
use crate::status::now_rfc3339;
use crate::units::human_bytes;

impl Manager {
    /// What a volume gets without being asked: the setting, or all that the pool can give.
    pub(super) fn default_quota(&self) -> Result<Option<u64>, OpError> {
        let space = self.space()?;
        let most = space.total.saturating_sub(space.reserve);
        Ok(Some(self.settings().default_quota.0.min(most)))
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

    /// Makes the volume of a datastore where nothing is in its place.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn ensure(&self, role: Role) -> Result<(), OpError> {
        let (Ok(name), Ok(kind)) = (role.volume().parse::<Name>(), role.volume().parse::<Kind>())
        else {
            return Ok(());
        };
        if self.path(&name).symlink_metadata().is_ok() || self.entry(&name).is_ok() {
            return Ok(());
        }
        self.create(&name, kind, None).map(drop)
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
        let quota = match (&self.inner().pool, size) {
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
        Intent::Create { name: name.clone() }.save(&self.inner().paths)?;
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
            remove_tree(&path)?;
        }
        Intent::done(&self.inner().paths)?;
        made?;
        self.info(name)
    }

    fn make(&self, name: &Name, path: &Path, quota: Option<u64>) -> Result<(), OpError> {
        if self.inner().pool.is_err() {
            return Ok(fsx::create_dir_durable(path, 0o750)?);
        }
        Btrfs::create(path)?;
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
        let grave = self.inner().paths.data().join(grave);
        remove_tree(&grave)?;
        intent.save(&self.inner().paths)?;
        rename(&info.path, &grave)?;
        self.change(|catalog| {
            catalog.volumes.retain(|entry| entry.name != *name);
            Ok(())
        })?;
        self.forget(name);
        self.remove_snapshots(name)?;
        remove_tree(&grave)?;
        Intent::done(&self.inner().paths)
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
}

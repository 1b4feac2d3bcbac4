//! Growing a pool, giving it away, forgetting it.

use std::time::Duration;

use super::super::catalog::Catalog;
use super::super::error::OpError;
use super::super::look::{Space, space_of};
use super::super::name::Name;
use super::super::{mounts, tool, users};
use super::registry::Registry;
use super::{MAIN, mounting, refuse};
use crate::fsx::FsError;
use crate::paths::Paths;
use crate::units::human_bytes;

const LIMIT: Duration = Duration::from_secs(60);

/// Lets a pool fill what it lies on; a file grows to `size` first. Answers its space.
///
/// # Errors
/// [`OpError`]; it is as it was then.
pub fn grow(paths: &Paths, name: &Name, size: Option<u64>) -> Result<Space, OpError> {
    let (target, file) = if name.as_str() == MAIN {
        (paths.data(), None)
    } else {
        let entry = Registry::load(paths)?.get(name)?.clone();
        (paths.pool(name.as_str()), entry.file)
    };
    if mounts::topmost(&mounts::all(), &target).is_none() {
        return refuse(format!(
            "pool {name} is not mounted: lucid volume pool mount"
        ));
    }
    match (&file, size) {
        (None, Some(_)) => {
            return refuse(format!(
                "pool {name} lies in no file: a size is nothing it can be given"
            ));
        }
        (Some(file), Some(size)) => {
            let now = std::fs::metadata(file)
                .map_err(FsError::wrap("read", file))?
                .len();
            if size < now {
                return refuse(format!(
                    "{} has {} already; a pool only grows",
                    file.display(),
                    human_bytes(now)
                ));
            }
            std::fs::OpenOptions::new()
                .write(true)
                .open(file)
                .and_then(|file| file.set_len(size))
                .map_err(FsError::wrap("grow", file))?;
            if let Some(device) = mounting::loop_of(file)? {
                let device = device.to_string_lossy();
                tool::run("losetup", &["--set-capacity", &device], None, LIMIT)?.success()?;
            }
        }
        (_, None) => {}
    }
    let args = ["filesystem", "resize", "max", &target.to_string_lossy()];
    tool::run("btrfs", &args, None, LIMIT)?.success()?;
    space_of(&target)
}

/// Volumes on a pool that something uses now.
fn in_use(paths: &Paths, name: &Name) -> Option<String> {
    users::of(&paths.pool(name.as_str()))
}

/// Unmounts a pool, so that its disk can be pulled; its volumes are away until it is adopted again.
///
/// # Errors
/// [`OpError`]; it stays in service then.
pub fn export(paths: &Paths, name: &Name) -> Result<(), OpError> {
    Registry::change(paths, |registry| {
        let entry = registry.get(name)?.clone();
        if let Some(user) = in_use(paths, name) {
            return refuse(format!(
                "pool {name} is in use by {user}; stop it first: lucid datastore stop NAME"
            ));
        }
        mounting::unmount(paths, &entry)?;
        for pool in &mut registry.pools {
            if pool.name == *name {
                pool.exported = true;
            }
        }
        Ok(())
    })
}

/// Forgets a pool, which keeps what it holds. `confirm` repeats its name.
///
/// # Errors
/// [`OpError`]; it stays then. One that holds volumes is not forgotten.
pub fn remove(paths: &Paths, name: &Name, confirm: Option<&str>) -> Result<(), OpError> {
    Registry::change(paths, |registry| {
        let entry = registry.get(name)?.clone();
        let catalog = Catalog::load(paths)?;
        let volumes: Vec<_> = catalog
            .volumes
            .iter()
            .filter(|volume| volume.pool.as_ref() == Some(name))
            .map(|volume| volume.name.to_string())
            .collect();
        if !volumes.is_empty() {
            return refuse(format!(
                "pool {name} holds the volumes {}; migrate or delete them first",
                volumes.join(", ")
            ));
        }
        if confirm != Some(name.as_str()) {
            return refuse(format!(
                "pool {name} would be unmounted and forgotten (what is on it stays there); repeat \
                 its name to confirm it: --confirm {name}"
            ));
        }
        mounting::unmount(paths, &entry)?;
        registry.pools.retain(|pool| pool.name != *name);
        Ok(())
    })
}

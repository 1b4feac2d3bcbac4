//! What pools there are, and how they stand.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::catalog::Catalog;
use super::super::error::OpError;
use super::super::look::{Space, space_of};
use super::super::medium::Medium;
use super::super::mounts;
use super::super::name::Name;
use super::super::report::{Guard, Storage};
use super::MAIN;
use super::registry::Registry;
use crate::paths::Paths;

/// A pool and how it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Pool {
    /// Name; `data` is the one that holds the catalog.
    pub name: String,
    /// Its file system.
    pub uuid: Option<String>,
    /// The device that is mounted.
    pub device: Option<PathBuf>,
    /// What kind of medium that is.
    pub medium: Option<Medium>,
    /// Where it is mounted.
    pub path: PathBuf,
    /// `mounted`, `exported` or `missing`.
    pub state: &'static str,
    /// Why it is missing, and the way out.
    pub fault: Option<String>,
    /// Space, when it is mounted.
    #[serde(flatten)]
    pub space: Option<Space>,
    /// Volumes on it.
    pub volumes: Vec<String>,
}

/// All pools, the one of the data first.
///
/// # Errors
/// [`OpError::File`] where catalog or registry cannot be read.
pub fn list(paths: &Paths) -> Result<Vec<Pool>, OpError> {
    let catalog = Catalog::load(paths)?;
    let on = |pool: Option<&Name>| {
        let volumes = catalog.volumes.iter();
        let on = volumes.filter(|volume| volume.pool.as_ref() == pool);
        on.map(|volume| volume.name.to_string()).collect()
    };
    let now = mounts::all();
    let look = |name: &str, path: PathBuf, guard: &Guard, volumes| {
        let fault = guard.check().err();
        let mount = mounts::topmost(&now, &path).filter(|_| fault.is_none());
        let device = mount.and_then(|mount| mount.mount_source.as_ref().map(PathBuf::from));
        Pool {
            name: name.to_owned(),
            uuid: None,
            medium: device
                .as_deref()
                .map(|device| Medium::of(Path::new("/sys"), device)),
            device,
            state: if mount.is_some() {
                "mounted"
            } else {
                "missing"
            },
            fault: fault.map(|fault| format!("{}; {}", fault.message, fault.remedy)),
            space: mount.and_then(|_| space_of(&path).ok()),
            path,
            volumes,
        }
    };
    let mut main = look(MAIN, paths.data(), &Guard::new(paths), on(None));
    let storage = Storage::read(paths)?.and_then(|storage| storage.mounted);
    main.uuid = storage.map(|mounted| mounted.uuid);
    if main.fault.is_none() && main.state == "missing" {
        main.fault = Some("a directory of another file system".to_owned());
    }
    let mut all = vec![main];
    for entry in Registry::load(paths)?.pools {
        let name = entry.name.as_str();
        let guard = Guard::of_pool(paths, name);
        let mut pool = look(name, paths.pool(name), &guard, on(Some(&entry.name)));
        pool.uuid = Some(entry.uuid);
        if entry.exported {
            (pool.state, pool.fault) = ("exported", None);
        }
        all.push(pool);
    }
    Ok(all)
}

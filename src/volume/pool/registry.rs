//! Which pools there are beside the one that holds the catalog: one file on that, so that it moves
//! with the data.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::error::OpError;
use super::super::name::Name;
use super::super::reserve;
use crate::fsx::{self, FsError};
use crate::paths::Paths;

const MAX_BYTES: u64 = 1 << 20;

/// One pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name, unique; `data` is the pool that is there already.
    pub name: Name,
    /// Its file system, wherever that is attached.
    pub uuid: String,
    /// The file that it lies in, where it is no device.
    pub file: Option<PathBuf>,
    /// When it was made or adopted, RFC 3339.
    pub created: String,
    /// Given away: not mounted, and missed by nobody, until it is adopted again.
    pub exported: bool,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::volume) struct Registry {
    pub(in crate::volume) pools: Vec<Entry>,
}

fn file(paths: &Paths) -> PathBuf {
    paths.system().join("pools.json")
}

impl Registry {
    pub(in crate::volume) fn load(paths: &Paths) -> Result<Self, FsError> {
        Ok(fsx::read_json(&file(paths), MAX_BYTES)?.unwrap_or_default())
    }

    pub(in crate::volume) fn get(&self, name: &Name) -> Result<&Entry, OpError> {
        let known: Vec<_> = self.pools.iter().map(|pool| pool.name.as_str()).collect();
        self.pools
            .iter()
            .find(|pool| pool.name == *name)
            .ok_or_else(|| {
                let known = known.join(", ");
                let known = if known.is_empty() { "none" } else { &known };
                OpError::Refused(format!(
                    "there is no pool {name}; beside `data` there is {known}: lucid volume pool list"
                ))
            })
    }

    /// Changes the registry, on disk first; one program at a time.
    pub(super) fn change<T>(
        paths: &Paths,
        change: impl FnOnce(&mut Self) -> Result<T, OpError>,
    ) -> Result<T, OpError> {
        let _lock = lock(&paths.run())?;
        let mut registry = Self::load(paths)?;
        let result = change(&mut registry)?;
        let path = file(paths);
        let text = serde_json::to_vec_pretty(&registry)
            .map_err(std::io::Error::other)
            .map_err(FsError::wrap("write", &path))?;
        fsx::create_dir(&paths.system(), 0o755)?;
        reserve::with(paths, || fsx::write_atomic(&path, &text, 0o644))?;
        Ok(result)
    }
}

/// Held while a program changes pools.
pub(super) fn lock(run: &Path) -> Result<File, FsError> {
    fsx::create_dir(run, 0o755)?;
    let path = run.join("pools.lock");
    let file = File::create(&path).map_err(FsError::wrap("open", &path))?;
    file.lock().map_err(FsError::wrap("lock", &path))?;
    Ok(file)
}

//! Where repositories lie, by the configuration, and the key that opens them.

use std::os::unix::fs::PermissionsExt;

use serde::Deserialize;

use super::super::handle::CommandError;
use super::{Backups, key_file};
use crate::backup::{Bucket, Key, Place};
use crate::config::BackupRepository;
use crate::fsx;
use crate::paths::Paths;
use crate::volume::{Guard, Kind, Manager, Name, OpError};

const MAX_BYTES: u64 = 16 << 10;
/// Of a pool that is away, nothing is written to what lies underneath.
pub(super) fn is_mounted(paths: &Paths, path: &std::path::Path) -> Result<(), String> {
    let Ok(below) = path.strip_prefix(paths.pools()) else {
        return Ok(());
    };
    let name = below.iter().next().unwrap_or_default().to_string_lossy();
    Guard::of_pool(paths, &name)
        .check()
        .map_err(|fault| format!("{}; {}", fault.message, fault.remedy))
}

/// The volume that repositories on the data disk lie in.
const VOLUME: &str = "backups";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    access_key: String,
    secret_key: String,
}

fn refused(error: impl std::fmt::Display) -> CommandError {
    CommandError::Refused(error.to_string())
}

impl Backups {
    /// The repository of this name; the only one where there is no other.
    pub(super) fn repository(&self, name: Option<&str>) -> Result<BackupRepository, CommandError> {
        let all = self.repositories();
        let names: Vec<_> = all.iter().map(|one| one.name.clone()).collect();
        let found = match name {
            Some(name) => all.into_iter().find(|one| one.name == name),
            None => all.into_iter().next(),
        };
        found.ok_or_else(|| match name {
            Some(name) => CommandError::NotFound(format!(
                "no repository {name:?} is in [[backup.repositories]] of lucid.toml; there are: {}",
                names.join(", ")
            )),
            None => CommandError::Refused(
                "no repository is in [[backup.repositories]] of lucid.toml; name one".to_owned(),
            ),
        })
    }

    /// Where it lies.
    pub(super) fn place(&self, of: &BackupRepository) -> Result<Place, CommandError> {
        let paths = &self.plan().paths;
        if let Some(path) = &of.path {
            return Ok(Place::Directory {
                path: paths.data().join(path),
            });
        }
        let file = of.credentials.clone().unwrap_or_default();
        let file = paths.root().join(file.strip_prefix("/").unwrap_or(&file));
        let mode = std::fs::metadata(&file).map(|meta| meta.permissions().mode() & 0o777);
        if mode.is_ok_and(|mode| mode & 0o077 != 0) {
            return Err(refused(format!(
                "{} can be read by others; run: chmod 600 {}",
                file.display(),
                file.display()
            )));
        }
        let text = fsx::read_text(&file, MAX_BYTES).map_err(refused)?;
        let keys: Keys = toml::from_str(&text).map_err(|error| {
            refused(format!(
                "{}: {}; write access_key = \"…\" and secret_key = \"…\"",
                file.display(),
                error.message()
            ))
        })?;
        Ok(Place::S3(Bucket {
            endpoint: of.endpoint.clone().unwrap_or_default(),
            bucket: of.bucket.clone(),
            prefix: of.prefix.clone(),
            region: if of.region.is_empty() {
                "us-east-1".to_owned()
            } else {
                of.region.clone()
            },
            access_key: keys.access_key,
            secret_key: keys.secret_key,
        }))
    }

    /// The key; made where there is none, but never beside a repository that is there already.
    pub(super) fn key(&self, make: bool) -> Result<Key, CommandError> {
        let file = key_file(&self.plan().paths);
        if file.exists() {
            return Key::read(&file).map_err(refused);
        }
        if !make {
            return Err(refused(
                "this appliance has no key for backups; `lucid backup key import` takes the words of \
                 another one, and the first `lucid backup create` makes a new key",
            ));
        }
        let key = Key::generate().map_err(refused)?;
        key.write(&file).map_err(refused)?;
        Ok(key)
    }
}

/// Makes the volume that a repository is to lie in, where it is one of ours.
pub(super) fn ensure_volume(
    volumes: &Manager,
    paths: &Paths,
    place: &Place,
) -> Result<(), OpError> {
    let Place::Directory { path } = place else {
        return Ok(());
    };
    let Ok(name) = VOLUME.parse::<Name>() else {
        return Ok(());
    };
    if !path.starts_with(paths.data().join(VOLUME)) {
        return Ok(());
    }
    match volumes.info(&name) {
        Err(OpError::Unknown(_)) => volumes.create(&name, Kind::Backups, None, None).map(drop),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

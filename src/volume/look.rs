//! What volumes and pool look like: use, state, growth, what the pool lacks.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use serde::Serialize;

use super::btrfs::{Btrfs, Usage};
use super::catalog::Entry;
use super::error::OpError;
use super::history::{Growth, Sample};
use super::manager::{Manager, lock, of_role};
use super::name::Name;
use super::report::pools_of_boot;
use super::reserve;
use crate::config::{Role, Volume as Settings};
use crate::fsx::FsError;
use crate::paths::Paths;
use crate::units::{MIB, human_bytes};

/// Kept outside all quotas: two percent of the pool, at least this, so that the supervisor,
/// deletions and restores still work on a full one; on a small pool a quarter of it at most.
const LEAST_RESERVE: u64 = 256 * MIB;
const RESERVE_SHARE: u64 = 50;

/// A chunk of metadata is 256 MiB on pools below 50 GB, 1 GiB above (mkfs.btrfs(8)), twice that
/// with two copies.
const LEAST_UNALLOCATED: u64 = 512 * MIB;

/// Above this a new chunk is needed soon.
const METADATA_PERCENT: f64 = 90.0;

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
    /// How it grows.
    #[serde(flatten)]
    pub growth: Growth,
    /// What its quota may be raised to: twice of it, or what setting and pool allow; absent where
    /// there is no quota, or none that is larger.
    pub larger_quota: Option<u64>,
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

impl Manager {
    /// Space of the pool.
    ///
    /// # Errors
    /// [`OpError::File`] where the file system does not answer.
    pub fn space(&self) -> Result<Space, OpError> {
        space_of(&self.inner().paths.data())
    }

    /// All volumes, in the order of their making.
    pub fn list(&self) -> Vec<Info> {
        let entries = self.entries().into_iter();
        entries.map(|entry| self.describe(entry)).collect()
    }

    /// One volume.
    ///
    /// # Errors
    /// [`OpError::Unknown`].
    pub fn info(&self, name: &Name) -> Result<Info, OpError> {
        Ok(self.describe(self.entry(name)?))
    }

    fn describe(&self, entry: Entry) -> Info {
        let space = space_of(&self.root(entry.pool.as_ref())).ok();
        let usage = self.usage(&entry.name);
        let growth = lock(&self.inner().history).growth(&entry.name, entry.quota);
        let mut info = described(self.path(&entry.name), entry, usage, self.settings());
        info.growth = growth;
        info.larger_quota = info
            .entry
            .quota
            .zip(space)
            .and_then(|(quota, space)| larger(quota, space, self.settings()));
        info
    }

    /// Keeps what volumes use, as [`Manager::list`] told it; at most once a minute.
    ///
    /// # Errors
    /// [`OpError::File`] where the history cannot be written.
    pub fn sample(&self, all: &[Info]) -> Result<(), OpError> {
        // It may have been given, and there may be room again.
        if self.inner().pool.is_ok() {
            reserve::keep(&self.inner().paths);
        }
        let used: Vec<_> = all
            .iter()
            .map(|info| (info.entry.name.clone(), info.used_bytes))
            .collect();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        lock(&self.inner().history).sample(&self.inner().paths, now, &used)
    }

    /// Hourly samples of a volume, oldest first.
    ///
    /// # Errors
    /// [`OpError::Unknown`].
    pub fn history(&self, name: &Name) -> Result<Vec<Sample>, OpError> {
        self.entry(name)?;
        Ok(lock(&self.inner().history).hours(name))
    }

    /// Pools that are there: the one of the catalog as `None`, and the others.
    pub fn pools(&self) -> Vec<Option<Name>> {
        let others = pools_of_boot(&self.inner().paths);
        let others = others.iter().filter_map(|name| name.parse().ok());
        std::iter::once(None).chain(others.map(Some)).collect()
    }

    /// Space of a pool, where it is one and is there.
    pub fn pool_space(&self, pool: Option<&Name>) -> Option<Space> {
        self.btrfs(pool, "space").ok()?;
        space_of(&self.root(pool)).ok()
    }

    /// What is wrong where metadata of a pool cannot grow any more.
    pub fn metadata_fault(&self, pool: Option<&Name>) -> Option<String> {
        let pool = self.btrfs(pool, "metadata").ok()?;
        let (metadata, unallocated) = (pool.metadata()?, pool.unallocated()?);
        let used = percent(metadata.used, metadata.total);
        (used > METADATA_PERCENT && unallocated < LEAST_UNALLOCATED).then(|| {
            format!(
                "its metadata is {used} % full, and only {} of the device is free for more",
                human_bytes(unallocated)
            )
        })
    }
}

impl Space {
    fn of(total: u64, free: u64) -> Self {
        Self {
            total,
            free,
            reserve: (total / RESERVE_SHARE).max(LEAST_RESERVE).min(total / 4),
        }
    }

    /// How full it is.
    pub fn percent(self) -> f64 {
        percent(self.total.saturating_sub(self.free), self.total)
    }
}

/// A datastore's directory that is no volume: of an earlier layout, or where there is no pool.
pub fn of_directory(paths: &Paths, role: Role, settings: &Settings) -> Option<Info> {
    let (name, kind) = of_role(role)?;
    let path = paths.data().join(name.as_str());
    let entry = Entry {
        name,
        kind,
        pool: None,
        quota: None,
        created: String::new(),
        schedule: None,
    };
    Some(described(path, entry, None, settings))
}

fn described(path: PathBuf, entry: Entry, usage: Option<Usage>, settings: &Settings) -> Info {
    let full = match (usage, entry.quota) {
        (Some(usage), Some(quota)) => Some(percent(usage.referenced, quota)),
        _ => statvfs(&path).ok().map(|stat| {
            let used = stat.blocks().saturating_sub(stat.blocks_free());
            percent(used, used + stat.blocks_available())
        }),
    };
    let state = match full {
        _ if !path.is_dir() => "missing",
        Some(full) if full >= f64::from(settings.critical_percent) => "critical",
        Some(full) if full >= f64::from(settings.warning_percent) => "warning",
        _ => "healthy",
    };
    Info {
        used_bytes: usage.map(|usage| usage.referenced),
        exclusive_bytes: usage.map(|usage| usage.exclusive),
        percent: full.filter(|_| state != "missing"),
        state,
        path,
        entry,
        growth: Growth::default(),
        larger_quota: None,
    }
}

fn larger(quota: u64, space: Space, settings: &Settings) -> Option<u64> {
    let most = space.total.saturating_sub(space.reserve);
    let most = most.min(settings.max_quota.0) / MIB * MIB;
    let larger = quota.saturating_mul(2).min(most);
    (larger > quota).then_some(larger)
}

/// Bytes that may still be written below a volume's directory.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Bytes left.
    pub left: u64,
    /// The quota that says so.
    pub quota: u64,
    /// See [`Info::larger_quota`].
    pub larger: Option<u64>,
}

/// What a quota leaves; `None` where there is none. Runs a program: blocks.
pub fn room(dir: &Path, settings: &Settings) -> Option<Room> {
    // It may lie on another pool, with a link in its place.
    let dir = std::fs::canonicalize(dir).ok()?;
    let data = dir.parent()?;
    let pool = Btrfs::at(data).ok()?;
    let usage = pool.usage(Btrfs::id(&dir).ok()?)?;
    let quota = usage.limit?;
    Some(Room {
        left: quota.saturating_sub(usage.referenced),
        quota,
        larger: space_of(data)
            .ok()
            .and_then(|space| larger(quota, space, settings)),
    })
}

pub(super) fn space_of(data: &Path) -> Result<Space, OpError> {
    let stat = statvfs(data)
        .map_err(std::io::Error::from)
        .map_err(FsError::wrap("ask for the space of", data))?;
    Ok(Space::of(
        stat.blocks() * stat.fragment_size(),
        stat.blocks_available() * stat.fragment_size(),
    ))
}

/// Percent with one digit.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 / whole as f64 * 1000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::GIB;

    #[test]
    fn a_larger_quota_is_one_that_resize_takes_or_none() {
        let settings = Settings::default();
        let space = |gib: u64| Space::of(gib * GIB, gib * GIB);
        assert_eq!(larger(GIB, space(100), &settings), Some(2 * GIB));
        assert_eq!(larger(60 * GIB, space(500), &settings), Some(100 * GIB));
        assert_eq!(larger(100 * GIB, space(500), &settings), None);
        let small = larger(5 * GIB, space(8), &settings).unwrap();
        assert!(small > 5 * GIB && small < 8 * GIB, "{small}");
    }

    #[test]
    fn a_directory_that_is_missing_says_so_and_its_level_goes_by_the_settings() {
        let settings = Settings::default();
        let info = of_directory(&Paths::new("/nonexistent"), Role::Cache, &settings).unwrap();
        assert_eq!((info.state, info.percent), ("missing", None));
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("data/redis")).unwrap();
        let paths = Paths::new(dir.path());
        let low = Settings {
            warning_percent: 0,
            critical_percent: 0,
            ..settings
        };
        let info = of_directory(&paths, Role::Cache, &low).unwrap();
        assert_eq!(info.state, "critical");
    }
}

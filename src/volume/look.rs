//! What volumes and pool look like: use, state, growth, what the pool lacks.

use std::path::PathBuf;

use nix::sys::statvfs::statvfs;
use serde::Serialize;

use super::catalog::Entry;
use super::error::OpError;
use super::history::{Growth, Sample};
use super::manager::{Manager, lock};
use super::name::Name;
use crate::fsx::FsError;
use crate::units::{MIB, human_bytes};

/// Kept outside all quotas: two percent of the pool, at least this, so that the supervisor,
/// deletions and restores still work on a full one.
const LEAST_RESERVE: u64 = 256 * MIB;
const RESERVE_SHARE: u64 = 50;

/// A chunk of metadata is 256 MiB on pools below 50 GB, 1 GiB above (mkfs.btrfs(8)), twice that
/// with two copies.
const LEAST_UNALLOCATED: u64 = 512 * MIB;

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
    pub growth: Growth,
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
        let data = self.inner().paths.data();
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

    /// All volumes, in the order of their making.
    pub fn list(&self) -> Vec<Info> {
        let entries = lock(&self.inner().catalog).volumes.clone();
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
            .inner()
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
        let growth = lock(&self.inner().history).growth(&entry.name, entry.quota);
        Info {
            growth,
            used_bytes: usage.map(|usage| usage.referenced),
            exclusive_bytes: usage.map(|usage| usage.exclusive),
            percent: percent.filter(|_| state != "missing"),
            state,
            path,
            entry,
        }
    }

    /// Takes a sample of what every volume uses; at most one a minute is kept.
    ///
    /// # Errors
    /// [`OpError::File`] where the history cannot be written.
    pub fn sample(&self) -> Result<(), OpError> {
        let used: Vec<_> = self
            .list()
            .into_iter()
            .filter_map(|info| Some((info.entry.name, info.used_bytes?)))
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

    /// What the pool as a whole lacks: id of the alert, whether it is critical, what is wrong, what
    /// to do.
    pub fn pool_faults(&self) -> Vec<(&'static str, bool, String, &'static str)> {
        let mut faults = Vec::new();
        let settings = self.settings();
        let space = self.inner().pool.as_ref().ok().and(self.space().ok());
        let used = space.map_or(0.0, |space| {
            share(space.total.saturating_sub(space.free), space.total)
        });
        let low = space.is_some_and(|space| space.free < space.reserve);
        let critical = low || used >= f64::from(settings.critical_percent);
        if let Some(space) =
            space.filter(|_| critical || used >= f64::from(settings.warning_percent))
        {
            faults.push((
                "pool:space",
                critical,
                format!(
                    "the data pool is {used} % full: {} are left of {}",
                    human_bytes(space.free),
                    human_bytes(space.total)
                ),
                "delete snapshots or volumes that are not needed (`lucid volume list`), or grow the \
                 pool",
            ));
        }
        if let Ok(pool) = &self.inner().pool
            && let (Some(metadata), Some(unallocated)) = (pool.metadata(), pool.unallocated())
            && metadata.used * 10 > metadata.total * 9
            && unallocated < LEAST_UNALLOCATED
        {
            faults.push((
                "pool:metadata",
                true,
                format!(
                    "the data pool's metadata is {} % full, and only {} of the device is free for more",
                    share(metadata.used, metadata.total),
                    human_bytes(unallocated)
                ),
                "free whole chunks with `btrfs balance start -dusage=20 /data`, then delete what is \
                 not needed",
            ));
        }
        faults
    }
}

/// Percent with one digit.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 / whole as f64 * 1000.0).round() / 10.0
}

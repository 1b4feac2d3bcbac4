//! Snapshots: read-only subvolumes beside the volumes, named by their time.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::btrfs::Btrfs;
use super::catalog::Schedule;
use super::error::OpError;
use super::look::Info;
use super::manager::{Manager, remove_tree};
use super::name::Name;
use crate::fsx::{self, FsError};

/// Directory of the pool that holds them, one directory a volume.
const DIRECTORY: &str = "snapshots";
const MAX_KEEP: u32 = 1000;

/// Why a snapshot was taken; part of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// By a person.
    Manual,
    /// By the schedule: removed when newer ones are enough.
    Schedule,
    /// What a rollback replaced.
    Replaced,
    /// From an archive or a backup.
    Restored,
    /// While a backup reads it.
    Backup,
}

impl Origin {
    const ALL: [Self; 5] = [
        Self::Manual,
        Self::Schedule,
        Self::Replaced,
        Self::Restored,
        Self::Backup,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Schedule => "schedule",
            Self::Replaced => "replaced",
            Self::Restored => "restored",
            Self::Backup => "backup",
        }
    }
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Its name, such as `20261126T203000Z-manual`.
    pub id: String,
    /// When it was taken, RFC 3339.
    pub taken: String,
    /// Why.
    pub origin: Origin,
    #[serde(skip)]
    pub(super) time: SystemTime,
    #[serde(skip)]
    pub(super) path: PathBuf,
}

impl Snapshot {
    /// The snapshot of this id in `dir`; absent where that is no id.
    pub(super) fn at(dir: &Path, id: String) -> Option<Self> {
        let (time, origin) = parse_id(&id)?;
        Some(Self {
            taken: OffsetDateTime::from(time).format(&Rfc3339).ok()?,
            path: dir.join(&id),
            id,
            origin,
            time,
        })
    }
}

/// `20261126T203000Z-manual`, with a number where one second sees several.
fn id_of(time: OffsetDateTime, origin: Origin, nth: u32) -> String {
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    let stamp = format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z");
    if nth == 0 {
        format!("{stamp}-{}", origin.name())
    } else {
        format!("{stamp}-{}-{nth}", origin.name())
    }
}

fn parse_id(id: &str) -> Option<(SystemTime, Origin)> {
    let mut parts = id.split('-');
    let (stamp, origin) = (parts.next()?, parts.next()?);
    let plain = stamp.len() == 16 && stamp.is_ascii();
    let field = |from: usize, to: usize| stamp.get(from..to).filter(|_| plain);
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        field(0, 4)?,
        field(4, 6)?,
        field(6, 8)?,
        field(9, 11)?,
        field(11, 13)?,
        field(13, 15)?
    );
    let time: jiff::Timestamp = text.parse().ok()?;
    let origin = Origin::ALL.into_iter().find(|o| o.name() == origin)?;
    let seconds = u64::try_from(time.as_second()).ok()?;
    Some((
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        origin,
    ))
}

/// Where the snapshots of a volume lie on the pool at `root`.
pub(super) fn directory(root: &Path, name: &Name) -> PathBuf {
    root.join(DIRECTORY).join(name.as_str())
}

/// Makes that directory.
pub(super) fn make_directory(root: &Path, name: &Name) -> Result<PathBuf, OpError> {
    let dir = directory(root, name);
    fsx::create_dir_durable(&root.join(DIRECTORY), 0o700)?;
    fsx::create_dir_durable(&dir, 0o700)?;
    Ok(dir)
}

/// Removes all snapshots of a volume from the pool at `root`.
pub(super) fn remove_snapshots(root: &Path, name: &Name) -> Result<(), OpError> {
    let dir = directory(root, name);
    let Ok(entries) = std::fs::read_dir(&dir) else {
        return Ok(());
    };
    for entry in entries.filter_map(Result::ok) {
        remove_tree(&entry.path())?;
    }
    remove_tree(&dir)
}

impl Manager {
    fn snapshot_dir(&self, name: &Name) -> PathBuf {
        directory(&self.root_of(name), name)
    }

    /// Where the files of a snapshot lie.
    pub fn snapshot_path(&self, name: &Name, id: &str) -> PathBuf {
        self.snapshot_dir(name).join(id)
    }

    /// Snapshots of a volume, oldest first.
    ///
    /// # Errors
    /// [`OpError::Unknown`]; [`OpError::File`] where their directory cannot be read.
    pub fn snapshots(&self, name: &Name) -> Result<Vec<Snapshot>, OpError> {
        self.entry(name)?;
        let dir = self.snapshot_dir(name);
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(FsError::wrap("read", &dir)(error).into()),
        };
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let id = entry.file_name().into_string().ok()?;
                let (time, origin) = parse_id(&id)?;
                Some(Snapshot {
                    taken: OffsetDateTime::from(time).format(&Rfc3339).ok()?,
                    path: entry.path(),
                    id,
                    origin,
                    time,
                })
            })
            .collect();
        found.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
        Ok(found)
    }

    /// That nothing else lies among the snapshots of a volume: nobody would copy it.
    pub(super) fn has_only_snapshots(&self, name: &Name) -> Result<(), OpError> {
        let dir = self.snapshot_dir(name);
        let known = self.snapshots(name)?;
        let mut entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        let other = entries.find(|entry| {
            !known
                .iter()
                .any(|snapshot| entry.file_name() == *snapshot.id)
        });
        match other {
            Some(other) => Err(OpError::Foreign {
                path: other.path().display().to_string(),
            }),
            None => Ok(()),
        }
    }

    /// One snapshot.
    ///
    /// # Errors
    /// [`OpError::Unknown`], [`OpError::NoSnapshot`].
    pub fn find(&self, name: &Name, id: &str) -> Result<Snapshot, OpError> {
        let mut all = self.snapshots(name)?.into_iter();
        all.find(|snapshot| snapshot.id == id)
            .ok_or_else(|| OpError::NoSnapshot {
                volume: name.clone(),
                snapshot: id.to_owned(),
            })
    }

    /// Takes a snapshot of what the disk has at this moment.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn snapshot(&self, name: &Name, origin: Origin) -> Result<Snapshot, OpError> {
        self.btrfs_of(name, "a snapshot")?;
        self.entry(name)?;
        let _claim = self.claim(name, "snapshot")?;
        // A switch that was cut off decides first where the volume is.
        let _changing = self.changing()?;
        self.take(name, origin)
    }

    fn take(&self, name: &Name, origin: Origin) -> Result<Snapshot, OpError> {
        self.take_from(&self.path(name), name, origin)
    }

    /// Makes a snapshot of a volume from the subvolume `from` of the same pool.
    pub(super) fn take_from(
        &self,
        from: &Path,
        name: &Name,
        origin: Origin,
    ) -> Result<Snapshot, OpError> {
        let (id, path) = self.free_id(name, origin)?;
        Btrfs::snapshot(from, &path, true)?;
        self.find(name, &id)
    }

    /// A name that no snapshot of the volume has, and its path.
    pub(super) fn free_id(
        &self,
        name: &Name,
        origin: Origin,
    ) -> Result<(String, PathBuf), OpError> {
        let dir = self.snapshot_dir(name);
        if !dir.is_dir() {
            make_directory(&self.root_of(name), name)?;
        }
        let now = OffsetDateTime::now_utc();
        let mut nth = 0;
        loop {
            let id = id_of(now, origin, nth);
            let path = dir.join(&id);
            if !path.exists() {
                return Ok((id, path));
            }
            nth += 1;
        }
    }

    /// Removes what backups that were cut off left. No backup may run.
    pub fn remove_backup_snapshots(&self) {
        for entry in self.entries() {
            let found = self.snapshots(&entry.name).unwrap_or_default();
            for one in found.iter().filter(|one| one.origin == Origin::Backup) {
                if let Err(error) = self.delete_snapshot(&entry.name, &one.id) {
                    tracing::warn!("{error}; snapshot {} goes the next time", one.id);
                }
            }
        }
    }

    /// Removes one snapshot.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn delete_snapshot(&self, name: &Name, id: &str) -> Result<(), OpError> {
        let snapshot = self.find(name, id)?;
        let _claim = self.claim(name, "snapshot delete")?;
        Ok(Btrfs::delete(&snapshot.path)?)
    }

    /// Sets or ends the schedule of a volume.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn schedule(&self, name: &Name, schedule: Option<Schedule>) -> Result<Info, OpError> {
        self.btrfs_of(name, "a snapshot schedule")?;
        if let Some(Schedule { every, keep }) = schedule
            && (every.0 < Duration::from_secs(60) || !(1..=MAX_KEEP).contains(&keep))
        {
            return Err(OpError::Refused(format!(
                "a schedule of every {every} with {keep} kept is none: at least every 1m, and 1 to \
                 {MAX_KEEP} kept"
            )));
        }
        self.change(|catalog| {
            catalog.get_mut(name)?.schedule = schedule;
            Ok(())
        })?;
        self.info(name)
    }

    /// Takes the snapshots that are due and removes scheduled ones beyond those to keep. Answers
    /// what was done, and what failed.
    pub fn keep_schedules(&self) -> Vec<Result<String, OpError>> {
        let mut told = Vec::new();
        for entry in self.entries() {
            let Some(Schedule { every, keep }) = entry.schedule else {
                continue;
            };
            match self.keep_schedule(&entry.name, every.0, keep) {
                Ok(done) => told.extend(done.into_iter().map(Ok)),
                // Something else works on it: at the next look.
                Err(OpError::Busy { .. }) => {}
                Err(error) => told.push(Err(error)),
            }
        }
        told
    }

    fn keep_schedule(
        &self,
        name: &Name,
        every: Duration,
        keep: u32,
    ) -> Result<Vec<String>, OpError> {
        let mut done = Vec::new();
        let mut all = self.snapshots(name)?;
        all.retain(|snapshot| snapshot.origin == Origin::Schedule);
        let now = SystemTime::now();
        // Those of the future were taken under another clock than today's: they neither count as
        // taken nor push others out, and go when their time has come.
        let (mut past, future): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|snapshot| snapshot.time <= now);
        let due = match past.last() {
            Some(last) => now.duration_since(last.time).is_ok_and(|age| age >= every),
            None => future.is_empty() || self.since_taken(name) >= every,
        };
        if due {
            let taken = self.snapshot(name, Origin::Schedule)?;
            self.note_taken(name);
            done.push(format!("snapshot {} of volume {name}", taken.id));
            past.push(taken);
        }
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        let beyond = past.len().saturating_sub(keep);
        for old in &past[..beyond] {
            self.delete_snapshot(name, &old.id)?;
            done.push(format!("snapshot {} of volume {name} removed", old.id));
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_snapshots_name_tells_its_time_and_origin(seconds in 0i64..4_000_000_000, nth in 0u32..3) {
            let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            for origin in Origin::ALL {
                let id = id_of(time, origin, nth);
                let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs());
                prop_assert_eq!(parse_id(&id), Some((expected, origin)));
            }
        }

        #[test]
        fn whatever_is_read_as_a_name_is_written_so(
            stamp in "[0-9]{8}T[0-9]{6}Z",
            rest in "-(manual|schedule|replaced|other)",
        ) {
            let text = format!("{stamp}{rest}");
            if let Some((time, origin)) = parse_id(&text) {
                let time = OffsetDateTime::from(time);
                prop_assert_eq!(id_of(time, origin, 0), text);
            }
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,30}") {
            prop_assert!(parse_id(&text).is_none_or(|_| text.len() >= 22));
        }
    }
}

//! Snapshots: read-only subvolumes beside the volumes, named by their time.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::btrfs::Btrfs;
use super::catalog::{Intent, Schedule};
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
}

impl Origin {
    const ALL: [Self; 3] = [Self::Manual, Self::Schedule, Self::Replaced];

    const fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Schedule => "schedule",
            Self::Replaced => "replaced",
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

impl Manager {
    fn snapshot_dir(&self, name: &Name) -> PathBuf {
        let data = self.inner().paths.data();
        data.join(DIRECTORY).join(name.as_str())
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
        self.pool("a snapshot")?;
        self.entry(name)?;
        let _claim = self.claim(name, "snapshot")?;
        self.take(name, origin)
    }

    fn take(&self, name: &Name, origin: Origin) -> Result<Snapshot, OpError> {
        let dir = self.snapshot_dir(name);
        if !dir.is_dir() {
            let top = self.inner().paths.data().join(DIRECTORY);
            fsx::create_dir_durable(&top, 0o700)?;
            fsx::create_dir_durable(&dir, 0o700)?;
        }
        let now = OffsetDateTime::now_utc();
        let mut nth = 0;
        let path = loop {
            let path = dir.join(id_of(now, origin, nth));
            if !path.exists() {
                break path;
            }
            nth += 1;
        };
        Btrfs::snapshot(&self.path(name), &path, true)?;
        self.find(name, &id_of(now, origin, nth))
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

    pub(super) fn remove_snapshots(&self, name: &Name) -> Result<(), OpError> {
        let dir = self.snapshot_dir(name);
        let Ok(entries) = std::fs::read_dir(&dir) else {
            return Ok(());
        };
        for entry in entries.filter_map(Result::ok) {
            remove_tree(&entry.path())?;
        }
        remove_tree(&dir)
    }

    /// Puts the state of a snapshot in the place of the volume. What it replaces is kept as a
    /// snapshot of its own, whose id the answer has. Nobody may use the volume meanwhile.
    ///
    /// # Errors
    /// [`OpError`]; the volume is as it was then.
    pub fn rollback(&self, name: &Name, id: &str) -> Result<Snapshot, OpError> {
        self.pool("a rollback")?;
        let _claim = self.claim(name, "rollback")?;
        let entry = self.entry(name)?;
        let wanted = self.find(name, id)?;
        let path = self.path(name);
        let unused = || match super::users::of(&path) {
            Some(by) => Err(OpError::InUse {
                name: name.clone(),
                by,
                remedy: "end it first".to_owned(),
            }),
            None => Ok(()),
        };
        unused()?;
        let _changing = self.changing()?;
        let kept = self.take(name, Origin::Replaced)?;
        let staging = format!(".rollback-{name}");
        Intent::Rollback {
            name: name.clone(),
            staging: staging.clone(),
        }
        .save(&self.inner().paths)?;
        let staging = self.inner().paths.data().join(staging);
        remove_tree(&staging)?;
        Btrfs::snapshot(&wanted.path, &staging, false)?;
        if let Some(quota) = entry.quota {
            Btrfs::limit(&staging, quota)?;
        }
        if let Err(error) = unused() {
            remove_tree(&staging)?;
            Intent::done(&self.inner().paths)?;
            return Err(error);
        }
        // In one step: at no moment is there no volume.
        renameat2(
            AT_FDCWD,
            &staging,
            AT_FDCWD,
            &path,
            RenameFlags::RENAME_EXCHANGE,
        )
        .map_err(std::io::Error::from)
        .map_err(FsError::wrap("exchange", &path))?;
        let data = self.inner().paths.data();
        fsx::sync_dir(&data).map_err(FsError::wrap("flush", &data))?;
        self.forget(name);
        remove_tree(&staging)?;
        Intent::done(&self.inner().paths)?;
        Ok(kept)
    }

    /// Sets or ends the schedule of a volume.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn schedule(&self, name: &Name, schedule: Option<Schedule>) -> Result<Info, OpError> {
        self.pool("a snapshot schedule")?;
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
        for info in self.list() {
            let Some(Schedule { every, keep }) = info.entry.schedule else {
                continue;
            };
            let name = &info.entry.name;
            match self.keep_schedule(name, every.0, keep) {
                Ok(done) => told.extend(done.into_iter().map(Ok)),
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
        let scheduled = |manager: &Self| -> Result<Vec<Snapshot>, OpError> {
            let mut all = manager.snapshots(name)?;
            all.retain(|snapshot| snapshot.origin == Origin::Schedule);
            Ok(all)
        };
        let last = scheduled(self)?.last().map(|snapshot| snapshot.time);
        let now = SystemTime::now();
        // A snapshot of the future tells that a clock was or is wrong: then the time since the last
        // one that was taken here counts, and none is removed by its time.
        let ahead = last.is_some_and(|last| last > now);
        let due = match last {
            Some(last) if !ahead => now.duration_since(last).is_ok_and(|age| age >= every),
            Some(_) => self.since_taken(name) >= every,
            None => true,
        };
        if due {
            let taken = self.snapshot(name, Origin::Schedule)?;
            self.note_taken(name);
            done.push(format!("snapshot {} of volume {name}", taken.id));
        }
        if ahead {
            return Ok(done);
        }
        let all = scheduled(self)?;
        let beyond = all
            .len()
            .saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
        for old in &all[..beyond] {
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
        fn other_names_are_no_snapshots(text in "\\PC{0,30}") {
            let _ = parse_id(&text);
        }
    }
}

//! One repository: which snapshots it has, and who may change it now.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::blobs::{Blobs, probe};
use super::description::{Description, FORMAT};
use super::places::Places;
use super::registration::Registration;
use super::{check_snapshot_name, concurrent, repository_failure, snapshot_missing};
use crate::fsx::{self, FsError};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::stored;

/// File that makes a directory a repository.
const IDENTITY: &str = "repository.json";

/// Directory of the descriptions, and their ending.
const SNAPSHOTS: &str = "snapshots";
const ENDING: &str = ".json";

/// Directory of the blobs.
const BLOBS: &str = "blobs";

/// Held by the one that adds or removes snapshots.
const WRITING: &str = "writing.lock";

/// Held by those that need blobs to stay, and alone by the one that removes some.
const READING: &str = "reading.lock";

/// Space that is left free at least, in bytes, and the part of the file system that is: the node
/// may keep its log on the same one.
const RESERVE: u64 = 4 << 20;
const RESERVED_PART: u64 = 64;

/// What to do when a description is damaged.
const REMEDY: &str = "delete the snapshot, or bring the file back from a copy of the repository";

/// See the module.
#[derive(Debug)]
pub(in crate::search_node) struct Repository {
    /// Its name.
    pub name: String,
    /// Bytes each second that a snapshot writes at most; `None` is as fast as it goes.
    pub snapshot_rate: Option<u64>,
    /// The same of a restore.
    pub restore_rate: Option<u64>,
    /// Its content.
    pub blobs: Blobs,
    dir: PathBuf,
    readonly: bool,
    max_snapshots: usize,
}

/// The right to do something in a repository; given back when it is dropped, or the process ends.
#[derive(Debug)]
pub(in crate::search_node) struct Lock {
    _files: Vec<File>,
}

/// What a cleanup removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::search_node) struct Freed {
    /// Blobs.
    pub blobs: u64,
    /// Bytes of them.
    pub bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    format: u64,
    uuid: String,
}

impl Repository {
    /// The repository `name`, which must be where it was registered.
    pub(in crate::search_node) fn open(
        name: &str,
        registration: &Registration,
        places: &Places,
    ) -> Outcome<Self> {
        let dir = places.find(name, registration.location(), false)?;
        let found = Self::of(name, registration, dir);
        if found.identity()?.is_none() {
            return Err(repository_failure(
                name,
                format!(
                    "location [{}] is no repository of a lucid search node: {IDENTITY} is missing; \
                     mount what belongs there, or register the repository again",
                    registration.location()
                ),
            ));
        }
        // A link in their place would lead out of path.repo.
        for part in [SNAPSHOTS, BLOBS] {
            let path = found.dir.join(part);
            let is_dir = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
            if !is_dir {
                return Err(repository_failure(
                    name,
                    format!("{} is missing, or no directory", path.display()),
                ));
            }
        }
        Ok(found)
    }

    /// Makes `location` a repository, if it is none yet; returns its identity. A read-only one
    /// must be one.
    pub(in crate::search_node) fn prepare(
        name: &str,
        registration: &Registration,
        places: &Places,
        new_uuid: String,
    ) -> Outcome<String> {
        if registration.is_readonly() {
            return Self::open(name, registration, places)?.uuid();
        }
        let dir = places.find(name, registration.location(), true)?;
        let new = Self::of(name, registration, dir);
        if new.identity()?.is_none() {
            new.check_empty()?;
        }
        for part in [SNAPSHOTS, BLOBS] {
            fsx::create_dir_durable(&new.dir.join(part), 0o700)?;
        }
        for lock in [WRITING, READING] {
            new.lock_file(lock, true)?;
        }
        if new.identity()?.is_none() {
            let identity = Identity {
                format: FORMAT,
                uuid: new_uuid,
            };
            stored::save(&new.dir.join(IDENTITY), &identity)?;
        }
        Self::open(name, registration, places)?.uuid()
    }

    fn of(name: &str, registration: &Registration, dir: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            snapshot_rate: registration.snapshot_rate(),
            restore_rate: registration.restore_rate(),
            blobs: Blobs::new(dir.join(BLOBS)),
            dir,
            readonly: registration.is_readonly(),
            max_snapshots: registration.max_snapshots(),
        }
    }

    fn identity(&self) -> Outcome<Option<Identity>> {
        let found: Option<Identity> = stored::load(&self.dir.join(IDENTITY), REMEDY)?;
        match &found {
            Some(identity) if identity.format > FORMAT => Err(self.newer(IDENTITY)),
            _ => Ok(found),
        }
    }

    fn uuid(&self) -> Outcome<String> {
        Ok(self
            .identity()?
            .map_or_else(String::new, |found| found.uuid))
    }

    fn newer(&self, what: &str) -> Failure {
        repository_failure(
            &self.name,
            format!("{what} was written by a later version of lucid; update this node"),
        )
    }

    /// Refuses a directory in which somebody else's files lie.
    fn check_empty(&self) -> Outcome<()> {
        let entries = std::fs::read_dir(&self.dir).map_err(FsError::wrap("read", &self.dir))?;
        let ours = [SNAPSHOTS, BLOBS, WRITING, READING, "lost+found"];
        for entry in entries.flatten() {
            let entry = entry.file_name();
            let entry = entry.to_string_lossy();
            if !ours.contains(&entry.as_ref()) && !entry.starts_with('.') {
                return Err(repository_failure(
                    &self.name,
                    format!(
                        "{} is not empty, and no repository of a lucid search node: it holds \
                         [{entry}]; give a directory of its own",
                        self.dir.display()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Refuses to write to a read-only repository.
    pub(in crate::search_node) fn check_writable(&self, what: &str) -> Outcome<()> {
        if self.readonly {
            return Err(repository_failure(
                &self.name,
                format!("cannot {what} in a readonly repository"),
            ));
        }
        Ok(())
    }

    /// Whether it can be used: a file is written, read and removed, unless it is read-only.
    pub(in crate::search_node) fn verify(&self) -> Outcome<()> {
        let result = if self.readonly {
            self.names().map(drop)
        } else {
            probe(&self.dir)
        };
        result.map_err(|cause| {
            Failure::new(
                500,
                "repository_verification_exception",
                format!(
                    "[{}] path [{}] is not accessible on this node; check that it is mounted, \
                     writable and not full",
                    self.name,
                    self.dir.display()
                ),
            )
            .because(cause)
        })
    }

    /// Free space of its file system, in bytes.
    pub(in crate::search_node) fn check_room(&self, bytes: u64) -> Outcome<()> {
        check_free(&self.dir, bytes, &format!("repository [{}]", self.name))
    }

    fn lock_file(&self, name: &str, create: bool) -> Outcome<Option<File>> {
        let path = self.dir.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(create).create(create).mode(0o600);
        match options.open(&path) {
            Ok(file) => Ok(Some(file)),
            // Of a read-only copy nothing is removed.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FsError::wrap("open", &path)(error).into()),
        }
    }

    fn lock(&self, name: &str, alone: bool, busy: &str) -> Outcome<Option<File>> {
        let Some(file) = self.lock_file(name, !self.readonly)? else {
            return Ok(None);
        };
        let locked = if alone {
            file.try_lock()
        } else {
            file.try_lock_shared()
        };
        match locked {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Err(concurrent(&self.name, busy)),
            Err(TryLockError::Error(error)) => {
                Err(FsError::wrap("lock", &self.dir.join(name))(error).into())
            }
        }
    }

    /// The right to add a snapshot.
    pub(in crate::search_node) fn lock_to_add(&self) -> Outcome<Lock> {
        let busy = "a snapshot is already running, or snapshots are being deleted";
        let file = self.lock(WRITING, true, busy)?;
        Ok(Lock {
            _files: file.into_iter().collect(),
        })
    }

    /// The right to remove snapshots and blobs.
    pub(in crate::search_node) fn lock_to_remove(&self) -> Outcome<Lock> {
        let adding = self.lock_to_add()?;
        let busy = "snapshots are being restored or verified";
        let reading = self.lock(READING, true, busy)?;
        Ok(Lock {
            _files: adding._files.into_iter().chain(reading).collect(),
        })
    }

    /// Keeps what is there from being removed.
    pub(in crate::search_node) fn lock_to_read(&self) -> Outcome<Lock> {
        let file = self.lock(READING, false, "snapshots are being deleted")?;
        Ok(Lock {
            _files: file.into_iter().collect(),
        })
    }

    fn snapshots(&self) -> PathBuf {
        self.dir.join(SNAPSHOTS)
    }

    fn path(&self, snapshot: &str) -> PathBuf {
        self.snapshots().join(format!("{snapshot}{ENDING}"))
    }

    /// Names of all snapshots.
    pub(in crate::search_node) fn names(&self) -> Outcome<BTreeSet<String>> {
        let dir = self.snapshots();
        let mut names = BTreeSet::new();
        let wrap = |error| FsError::wrap("read", &dir)(error);
        for entry in std::fs::read_dir(&dir).map_err(wrap)? {
            let name = entry.map_err(wrap)?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(ENDING));
            let name = name.filter(|name| check_snapshot_name(&self.name, name).is_ok());
            names.extend(name.map(str::to_owned));
        }
        Ok(names)
    }

    /// Whether another snapshot may be added.
    pub(in crate::search_node) fn check_count(&self) -> Outcome<()> {
        let count = self.names()?.len();
        if count >= self.max_snapshots {
            return Err(repository_failure(
                &self.name,
                format!(
                    "Cannot add another snapshot to this repository as it already contains \
                     [{count}] snapshots and is configured to hold up to [{}] snapshots only; \
                     delete some, or raise [max_number_of_snapshots]",
                    self.max_snapshots
                ),
            ));
        }
        Ok(())
    }

    /// Reads the description of `snapshot`.
    pub(in crate::search_node) fn load(&self, snapshot: &str) -> Outcome<Description> {
        // What is no name could lead to another place.
        if check_snapshot_name(&self.name, snapshot).is_err() {
            return Err(snapshot_missing(&self.name, snapshot));
        }
        let path = self.path(snapshot);
        let damaged = |why: String| {
            Failure::new(
                500,
                "snapshot_exception",
                format!(
                    "[{}:{snapshot}] its description cannot be used: {why}",
                    self.name
                ),
            )
        };
        let json: Option<Value> =
            stored::load(&path, REMEDY).map_err(|failure| damaged(failure.reason))?;
        let json = json.ok_or_else(|| snapshot_missing(&self.name, snapshot))?;
        if json["format"].as_u64().is_none_or(|format| format > FORMAT) {
            return Err(self.newer(&format!("snapshot [{snapshot}]")));
        }
        let found: Description = serde_json::from_value(json)
            .map_err(|error| damaged(format!("{} {error}; {REMEDY}", path.display())))?;
        if found.snapshot != snapshot {
            return Err(damaged(format!(
                "{} is that of [{}]; rename it",
                path.display(),
                found.snapshot
            )));
        }
        Ok(found)
    }

    /// Adds a snapshot, whose blobs are on the disk.
    pub(in crate::search_node) fn save(&self, description: &Description) -> Outcome<()> {
        self.blobs.sync()?;
        stored::save(&self.path(&description.snapshot), description)
    }

    /// Removes snapshots, then what no other one uses. Nothing is removed when it cannot be said
    /// what the others use.
    pub(in crate::search_node) fn delete(&self, snapshots: &BTreeSet<String>) -> Outcome<Freed> {
        let used = self.used(|name| !snapshots.contains(name))?;
        for snapshot in snapshots {
            let path = self.path(snapshot);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(snapshot_missing(&self.name, snapshot));
                }
                removed => removed.map_err(FsError::wrap("remove", &path))?,
            }
        }
        // A description that came back after a power cut would name blobs that are gone.
        let dir = self.snapshots();
        let synced = File::open(&dir).and_then(|dir| dir.sync_all());
        synced.map_err(FsError::wrap("flush", &dir))?;
        self.free(&used)
    }

    /// Removes what no snapshot uses.
    pub(in crate::search_node) fn cleanup(&self) -> Outcome<Freed> {
        let used = self.used(|_| true)?;
        self.free(&used)
    }

    fn used(&self, counts: impl Fn(&str) -> bool) -> Outcome<BTreeSet<String>> {
        let mut used = BTreeSet::new();
        for name in self.names()?.iter().filter(|name| counts(name)) {
            let description = self.load(name)?;
            used.extend(description.hashes().into_iter().map(str::to_owned));
        }
        Ok(used)
    }

    fn free(&self, used: &BTreeSet<String>) -> Outcome<Freed> {
        let mut freed = Freed::default();
        stored::remove_temporaries(&self.snapshots());
        stored::remove_temporaries(&self.dir);
        for (name, bytes) in self.blobs.all()? {
            if !used.contains(&name) {
                self.blobs.remove(&name)?;
                freed.blobs += 1;
                freed.bytes += bytes;
            }
        }
        Ok(freed)
    }

    /// All blobs that are there, by file name, with their length.
    pub(super) fn all_blobs(&self) -> Outcome<BTreeMap<String, u64>> {
        self.blobs.all()
    }
}

/// Refuses to write `bytes` into the file system of `dir` when they have no room there.
pub(in crate::search_node) fn check_free(dir: &Path, bytes: u64, whose: &str) -> Outcome<()> {
    if bytes == 0 {
        return Ok(());
    }
    let stat = nix::sys::statvfs::statvfs(dir)
        .map_err(|errno| Failure::from(std::io::Error::from(errno)))?;
    let unit = stat.fragment_size();
    let free = stat.blocks_available().saturating_mul(unit);
    let reserve = RESERVE.max(stat.blocks().saturating_mul(unit) / RESERVED_PART);
    if free >= bytes.saturating_add(reserve) {
        return Ok(());
    }
    Err(Failure::new(
        429,
        "cluster_block_exception",
        format!(
            "disk full: {bytes} bytes and a reserve of {reserve} are needed for {whose}, {free} are \
             free; nothing was kept of it: delete snapshots or indices there, or enlarge the volume"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::description::{SavedFile, SavedIndex};
    use super::super::work::{Pace, Work};
    use super::super::{Blob, hash_of};
    use super::*;

    struct Fixture {
        dir: tempfile::TempDir,
        places: Places,
        registration: Registration,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::new(&[dir.path().join("root")], &dir.path().join("data"));
        let body = serde_json::json!({"type": "fs", "settings": {"location": "a"}});
        let registration = Registration::parse("r", &body).unwrap();
        Repository::prepare("r", &registration, &places, "u".to_owned()).unwrap();
        Fixture {
            dir,
            places,
            registration,
        }
    }

    impl Fixture {
        fn open(&self) -> Repository {
            Repository::open("r", &self.registration, &self.places).unwrap()
        }

        fn put(&self, content: &[u8]) -> Blob {
            let path = self.dir.path().join("source");
            fsx::write_atomic(&path, content, 0o600).unwrap();
            let file = File::open(&path).unwrap();
            let work = Work::default();
            let mut pace = Pace::new(&work, None);
            let blob = hash_of(&file, &pace).unwrap();
            self.open().blobs.put(&file, &blob, &mut pace).unwrap();
            blob
        }

        fn snapshot(&self, name: &str, blobs: &[&Blob]) {
            let file = |blob: &&Blob| SavedFile {
                name: "f".to_owned(),
                hash: blob.hash.clone(),
                bytes: blob.bytes,
            };
            let index = SavedIndex {
                definition: Value::Null,
                aliases: Value::Null,
                commit: Value::Null,
                files: blobs.iter().map(file).collect(),
                new_files: 0,
                new_bytes: 0,
                started: 0,
                millis: 0,
            };
            let description = Description {
                format: FORMAT,
                snapshot: name.to_owned(),
                uuid: "u".to_owned(),
                cluster_uuid: "c".to_owned(),
                started: 1,
                ended: 2,
                global: None,
                metadata: None,
                indices: BTreeMap::from([("i".to_owned(), index)]),
                failures: BTreeMap::new(),
            };
            self.open().save(&description).unwrap();
        }
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_deleted_snapshot_frees_only_what_nothing_uses() {
        let f = fixture();
        let (a, b, c) = (f.put(b"a"), f.put(b"bb"), f.put(b"ccc"));
        f.snapshot("one", &[&a, &b]);
        f.snapshot("two", &[&b, &c]);
        f.put(b"of a snapshot that was cut off");
        let repository = f.open();
        assert_eq!(repository.names().unwrap(), set(&["one", "two"]));
        let freed = repository.cleanup().unwrap();
        assert_eq!((freed.blobs, freed.bytes), (1, 30));
        let freed = repository.delete(&set(&["one"])).unwrap();
        assert_eq!((freed.blobs, freed.bytes), (1, 1));
        assert!(!repository.blobs.has(&a));
        assert!(repository.blobs.has(&b) && repository.blobs.has(&c));
        let failure = repository.delete(&set(&["one"])).unwrap_err();
        assert_eq!(failure.kind, "snapshot_missing_exception");
        assert_eq!(repository.delete(&set(&["two"])).unwrap().blobs, 2);
    }

    #[test]
    fn nothing_is_freed_while_a_description_is_damaged_except_by_its_own_deletion() {
        let f = fixture();
        let (a, b) = (f.put(b"a"), f.put(b"b"));
        f.snapshot("good", &[&a]);
        f.snapshot("bad", &[&b]);
        let repository = f.open();
        for name in ["../snapshots/good", "_all", "good.json", ""] {
            let failure = repository.load(name).unwrap_err();
            assert_eq!(failure.kind, "snapshot_missing_exception", "{name}");
        }
        let path = repository.path("bad");
        let mut text = std::fs::read(&path).unwrap();
        text[20] ^= 1;
        fsx::write_atomic(&path, &text, 0o600).unwrap();
        let failure = repository.load("bad").unwrap_err();
        assert!(failure.reason.contains("[r:bad]"), "{failure}");
        assert!(repository.cleanup().is_err());
        assert!(repository.delete(&set(&["good"])).is_err());
        assert!(repository.load("good").is_ok(), "half deleted");
        assert_eq!(repository.delete(&set(&["bad"])).unwrap().blobs, 1);
        assert!(repository.blobs.has(&a));
    }

    #[test]
    fn one_adds_or_removes_at_a_time_and_nothing_is_removed_while_somebody_reads() {
        let f = fixture();
        let (here, there) = (f.open(), f.open());
        let adding = here.lock_to_add().unwrap();
        let busy = there.lock_to_add().unwrap_err();
        assert_eq!(
            (busy.status, busy.kind),
            (503, "concurrent_snapshot_execution_exception")
        );
        assert!(there.lock_to_remove().is_err());
        let reading = there.lock_to_read().unwrap();
        let more = there.lock_to_read().unwrap();
        drop(adding);
        assert!(here.lock_to_remove().is_err());
        drop((reading, more));
        let removing = here.lock_to_remove().unwrap();
        assert!(there.lock_to_read().is_err());
        drop(removing);
        assert!(there.lock_to_add().is_ok());
    }

    #[test]
    fn foreign_directories_and_later_formats_are_left_alone() {
        let f = fixture();
        let foreign = f.dir.path().join("root/foreign");
        fsx::create_dir(&foreign, 0o700).unwrap();
        fsx::write_atomic(&foreign.join("index-0"), b"x", 0o600).unwrap();
        let mut registration = f.registration.clone();
        registration
            .settings
            .insert("location".to_owned(), "foreign".to_owned());
        let failure =
            Repository::prepare("r", &registration, &f.places, String::new()).unwrap_err();
        assert!(failure.reason.contains("[index-0]"), "{failure}");
        assert_eq!(std::fs::read_dir(&foreign).unwrap().count(), 1);
        let later = Identity {
            format: FORMAT + 1,
            uuid: "u".to_owned(),
        };
        stored::save(&f.open().dir.join(IDENTITY), &later).unwrap();
        let failure = Repository::open("r", &f.registration, &f.places).unwrap_err();
        assert!(failure.reason.contains("update this node"), "{failure}");
    }

    #[test]
    fn what_has_no_room_is_refused_before_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        check_free(dir.path(), 0, "x").unwrap();
        let failure = check_free(dir.path(), 1 << 60, "repository [r]").unwrap_err();
        assert!(failure.is_full() && failure.reason.contains("repository [r]"));
    }
}

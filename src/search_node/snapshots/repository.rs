//! One repository: that it is one, and which snapshots it has.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::blobs::{Blobs, probe};
use super::description::{Description, FORMAT};
use super::lock::{READING, WRITING};
use super::places::Places;
use super::registration::Registration;
use super::room::check_free;
use super::{check_snapshot_name, repository_failure, snapshot_missing};
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

/// What to do when a description is damaged.
const REMEDY: &str = "delete the snapshot, or bring the file back from a copy of the repository";

/// What to do when the file that makes a directory a repository is damaged.
const IDENTITY_REMEDY: &str = "bring the file back from a copy of the repository, or remove it and \
                               register the repository again";

/// See the module.
#[derive(Debug)]
pub(in crate::search_node) struct Repository {
    /// Its name.
    pub name: String,
    /// What tells it apart from all others; it stands in the repository itself.
    pub uuid: String,
    /// Bytes each second that a snapshot writes at most; `None` is as fast as it goes.
    pub snapshot_rate: Option<u64>,
    /// The same of a restore.
    pub restore_rate: Option<u64>,
    /// Its content.
    pub blobs: Blobs,
    pub(super) dir: PathBuf,
    pub(super) readonly: bool,
    max_snapshots: usize,
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
        let mut found = Self::of(name, registration, dir);
        let Some(identity) = found.identity()? else {
            return Err(repository_failure(
                name,
                format!(
                    "location [{}] is no repository of a lucid search node: {IDENTITY} is missing; \
                     mount what belongs there, or register the repository again",
                    registration.location()
                ),
            ));
        };
        found.uuid = identity.uuid;
        // A link in their place would lead out of path.repo.
        for part in [SNAPSHOTS, BLOBS] {
            let path = found.dir.join(part);
            let is_dir = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
            if !is_dir {
                return Err(repository_failure(
                    name,
                    format!(
                        "{} is missing, or no directory; bring it back from a copy of the \
                         repository",
                        path.display()
                    ),
                ));
            }
        }
        Ok(found)
    }

    /// Makes `location` a repository, if it is none yet, and opens it. A read-only one must be one.
    pub(in crate::search_node) fn prepare(
        name: &str,
        registration: &Registration,
        places: &Places,
        new_uuid: String,
    ) -> Outcome<Self> {
        if registration.is_readonly() {
            return Self::open(name, registration, places);
        }
        let dir = places.find(name, registration.location(), true)?;
        let new = Self::of(name, registration, dir);
        if new.identity()?.is_none() {
            new.check_empty()?;
        }
        for part in [SNAPSHOTS, BLOBS] {
            fsx::create_dir_durable(&new.dir.join(part), 0o700)?;
        }
        new.make_locks()?;
        if new.identity()?.is_none() {
            let identity = Identity {
                format: FORMAT,
                uuid: new_uuid,
            };
            stored::save(&new.dir.join(IDENTITY), &identity)?;
        }
        Self::open(name, registration, places)
    }

    fn of(name: &str, registration: &Registration, dir: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            uuid: String::new(),
            snapshot_rate: registration.snapshot_rate(),
            restore_rate: registration.restore_rate(),
            blobs: Blobs::new(dir.join(BLOBS), !registration.is_readonly()),
            dir,
            readonly: registration.is_readonly(),
            max_snapshots: registration.max_snapshots(),
        }
    }

    fn identity(&self) -> Outcome<Option<Identity>> {
        let found: Option<Identity> = stored::load(&self.dir.join(IDENTITY), IDENTITY_REMEDY)?;
        match &found {
            Some(identity) if identity.format > FORMAT => Err(self.newer(IDENTITY)),
            _ => Ok(found),
        }
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

    /// Refuses to write `bytes` that have no room in its file system.
    pub(in crate::search_node) fn check_room(&self, bytes: u64) -> Outcome<()> {
        check_free(&self.dir, bytes, &format!("repository [{}]", self.name))
    }

    /// Where the descriptions lie.
    pub(super) fn snapshots(&self) -> PathBuf {
        self.dir.join(SNAPSHOTS)
    }

    /// Where the description of `snapshot` lies, whose name was checked.
    pub(super) fn path(&self, snapshot: &str) -> PathBuf {
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
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use std::fs::File;

    use super::super::description::{SavedFile, SavedIndex};
    use super::super::work::{Pace, Work};
    use super::super::{Blob, hash_of};
    use super::*;

    pub(crate) struct Fixture {
        pub(crate) dir: tempfile::TempDir,
        places: Places,
        registration: Registration,
    }

    pub(crate) fn fixture() -> Fixture {
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
        pub(crate) fn open(&self) -> Repository {
            Repository::open("r", &self.registration, &self.places).unwrap()
        }

        pub(crate) fn put(&self, content: &[u8]) -> Blob {
            let path = self.dir.path().join("source");
            fsx::write_atomic(&path, content, 0o600).unwrap();
            let file = File::open(&path).unwrap();
            let work = Work::default();
            let mut pace = Pace::new(&work, None);
            let blob = hash_of(&file, &pace).unwrap();
            self.open().blobs.put(&file, &blob, &mut pace).unwrap();
            blob
        }

        pub(crate) fn snapshot(&self, name: &str, blobs: &[&Blob]) {
            let file = |blob: &&Blob| SavedFile {
                name: "f".to_owned(),
                hash: blob.hash.clone(),
                bytes: blob.bytes,
            };
            let index = SavedIndex {
                files: blobs.iter().map(file).collect(),
                ..SavedIndex::default()
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

    pub(crate) fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
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
}

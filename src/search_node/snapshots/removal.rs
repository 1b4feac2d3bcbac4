//! Removing snapshots, and what no snapshot uses.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use super::repository::Repository;
use super::snapshot_missing;
use crate::fsx::{self, FsError};
use crate::search_node::failure::Outcome;
use crate::search_node::stored;

/// What a cleanup removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::search_node) struct Freed {
    /// Blobs.
    pub blobs: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl Repository {
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
        fsx::sync_dir(&dir).map_err(FsError::wrap("flush", &dir))?;
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
}

#[cfg(test)]
mod tests {
    use super::super::repository::tests::{fixture, set};
    use crate::fsx;

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
}

//! Who may change a repository now. The locks are those of files: another node of this machine is
//! kept out too, and the end of a process gives them back.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;

use super::concurrent;
use super::repository::Repository;
use crate::fsx::FsError;
use crate::search_node::failure::Outcome;

/// Held by the one that adds or removes snapshots.
pub(super) const WRITING: &str = "writing.lock";

/// Held by those that need blobs to stay, and alone by the one that removes some.
pub(super) const READING: &str = "reading.lock";

/// The right to do something in a repository; given back when it is dropped, or the process ends.
#[derive(Debug)]
pub(in crate::search_node) struct Lock(Vec<File>);

impl Repository {
    /// Makes the files that are locked.
    pub(super) fn make_locks(&self) -> Outcome<()> {
        for name in [WRITING, READING] {
            self.lock_file(name, true)?;
        }
        Ok(())
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
        let lock = self.lock(WRITING, true, busy)?;
        Ok(Lock(lock.into_iter().collect()))
    }

    /// The right to remove snapshots and blobs.
    pub(in crate::search_node) fn lock_to_remove(&self) -> Outcome<Lock> {
        let adding = self.lock_to_add()?;
        let busy = "snapshots are being restored or verified";
        let reading = self.lock(READING, true, busy)?;
        Ok(Lock(adding.0.into_iter().chain(reading).collect()))
    }

    /// Keeps what is there from being removed.
    pub(in crate::search_node) fn lock_to_read(&self) -> Outcome<Lock> {
        let lock = self.lock(READING, false, "snapshots are being deleted")?;
        Ok(Lock(lock.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::repository::tests::fixture;

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
}

//! A little space that is kept for bookkeeping: on a pool without a free block not even the note of
//! a deletion could be written.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::fsx::{self, FsError};
use crate::paths::Paths;

/// Enough for hundreds of catalogs and intents.
const BYTES: u64 = 4 << 20;

fn file(paths: &Paths) -> PathBuf {
    paths.system().join("reserve")
}

/// Makes the reserve where it is missing and there is room.
pub(super) fn keep(paths: &Paths) {
    let path = file(paths);
    if path.exists() || !paths.system().is_dir() {
        return;
    }
    let made = std::fs::File::create(&path).and_then(|file| {
        let all = rustix::fs::FallocateFlags::empty();
        Ok(rustix::fs::fallocate(&file, all, 0, BYTES)?)
    });
    if made.is_err() {
        // A part of it would look like all of it.
        let _ = std::fs::remove_file(&path);
    }
}

/// Writes by `write`; on a full pool the reserve is given for it.
pub(super) fn with(paths: &Paths, write: impl Fn() -> Result<(), FsError>) -> Result<(), FsError> {
    let full = |error: &FsError| {
        matches!(
            error.source.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded
        )
    };
    match write() {
        Err(error) if full(&error) && std::fs::remove_file(file(paths)).is_ok() => {
            // The space is free when the file system has written so.
            fsx::sync_fs(&paths.system())?;
            write()
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_given_once_and_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        keep(&paths);
        assert!(
            !file(&paths).exists(),
            "without a pool there is no place for it"
        );
        fsx::create_dir(&paths.system(), 0o755).unwrap();
        keep(&paths);
        assert_eq!(std::fs::metadata(file(&paths)).unwrap().len(), BYTES);
        let tries = std::cell::Cell::new(0);
        let write = || {
            tries.set(tries.get() + 1);
            if file(&paths).exists() {
                let full = std::io::Error::from(ErrorKind::StorageFull);
                return Err(FsError::wrap("write", dir.path())(full));
            }
            Ok(())
        };
        with(&paths, write).unwrap();
        assert_eq!(tries.get(), 2);
        with(&paths, || Ok(())).unwrap();
        keep(&paths);
        assert!(file(&paths).exists());
    }
}

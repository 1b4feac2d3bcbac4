//! One supervisor a root.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::fsx::FsError;

/// Held for the life of the supervisor; the kernel frees it even after kill -9.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be made.
    #[error(transparent)]
    File(#[from] FsError),
    /// Another supervisor owns this root.
    #[error(
        "another supervisor ({holder}) runs on this root and holds {}; `lucid status` asks it, \
         `kill -TERM` of that process stops it", path.display()
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Its process, as far as it is known.
        holder: String,
    },
}

impl Lock {
    /// Takes the lock at `path`.
    ///
    /// # Errors
    /// [`LockError::Held`] at once when another supervisor has it.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .map_err(FsError::wrap("open", path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                let mut note = || -> std::io::Result<()> {
                    file.set_len(0)?;
                    file.rewind()?;
                    write!(file, "{}", std::process::id())
                };
                note().map_err(FsError::wrap("write", path))?;
                Ok(Self { _file: file })
            }
            Err((mut file, _)) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let holder = if pid.trim().is_empty() {
                    "process unknown".to_owned()
                } else {
                    format!("process {}", pid.trim())
                };
                Err(LockError::Held {
                    path: path.to_path_buf(),
                    holder,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_supervisor_is_refused_and_told_who_runs_until_the_first_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lucid.lock");
        let first = Lock::take(&path).unwrap();
        let error = Lock::take(&path).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        Lock::take(&path).unwrap();
    }
}

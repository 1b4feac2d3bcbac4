//! What a migration keeps on both sides until it is done: copies of its rounds, and notes of what
//! arrived whole.

use std::path::{Path, PathBuf};

use super::error::OpError;
use super::manager::remove_tree;
use super::name::Name;
use super::transfer;
use crate::fsx::{self, FsError};

/// The attempt that both sides belong to.
const SESSION: &str = "session";

/// One side.
#[derive(Debug)]
pub(super) struct Side {
    root: PathBuf,
    dir: PathBuf,
}

fn directory(root: &Path, name: &Name) -> PathBuf {
    root.join(format!(".migrate-{name}"))
}

impl Side {
    pub(super) fn new(root: PathBuf, name: &Name) -> Self {
        let dir = directory(&root, name);
        Self { root, dir }
    }

    /// Where the pool is mounted.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the rounds lie.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn round(&self, number: u32) -> PathBuf {
        self.dir.join(number.to_string())
    }

    fn note_of(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{what}.whole"))
    }

    /// Notes that something arrived and is on the disk: the receiver makes it read-only before
    /// that.
    pub(super) fn note(&self, what: &str) -> Result<(), OpError> {
        Ok(fsx::write_atomic(&self.note_of(what), b"", 0o600)?)
    }

    /// Whether `path` arrived whole.
    pub(super) fn has(&self, what: &str, path: &Path) -> bool {
        self.note_of(what).exists() && transfer::is_whole(path)
    }

    /// Whether a migration has begun here.
    pub(super) fn is_begun(&self) -> bool {
        self.session().is_some()
    }

    fn session(&self) -> Option<String> {
        fsx::read_value(&self.dir.join(SESSION)).ok()
    }

    fn numbers(&self) -> Vec<u32> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten();
        let mut numbers: Vec<u32> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers
    }
}

/// Whether both sides belong to one attempt.
pub(super) fn are_one(source: &Side, target: &Side) -> bool {
    let session = source.session();
    session.is_some() && session == target.session()
}

/// The last round that is whole on both sides of one attempt.
pub(super) fn common(source: &Side, target: &Side) -> Option<u32> {
    if !are_one(source, target) {
        return None;
    }
    let whole = |number: &u32| {
        target.has(&number.to_string(), &target.round(*number))
            && transfer::is_whole(&source.round(*number))
    };
    target.numbers().into_iter().rfind(whole)
}

/// Begins anew on both sides.
pub(super) fn begin(source: &Side, target: &Side) -> Result<(), OpError> {
    let random = Path::new("/proc/sys/kernel/random/uuid");
    let session = fsx::read_value(random)?;
    for side in [source, target] {
        remove_dir(&side.dir)?;
        fsx::create_dir_durable(&side.dir, 0o700)?;
        fsx::write_atomic(&side.dir.join(SESSION), session.as_bytes(), 0o600)?;
    }
    Ok(())
}

/// Removes what a migration of the volume keeps on the pool at `root`.
pub(super) fn remove(root: &Path, name: &Name) -> Result<(), OpError> {
    remove_dir(&directory(root, name))
}

fn remove_dir(dir: &Path) -> Result<(), OpError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FsError::wrap("read", dir)(error).into()),
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&path)?;
        } else {
            std::fs::remove_file(&path).map_err(FsError::wrap("remove", &path))?;
        }
    }
    remove_tree(dir)
}

//! Writes what is in files that are not there yet. The library reads twenty packs of a repository at
//! once and holds them until they are written, which is more memory than a small board has; here it
//! is a few pieces. The library then finds every piece where it should be, by its hash, and does the
//! rest.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use rustic_core::repofile::{Node, NodeType};
use rustic_core::{DataId, IndexedFull, PackedId, Repository as Rustic, RusticResult};

use super::BackupError;
use super::repository::Repository;
use crate::fsx::FsError;

/// Pieces that are read at once.
const BESIDE: usize = 8;

/// A file on its way.
struct Target {
    file: File,
    path: PathBuf,
    /// How much of it was written.
    at: std::cell::Cell<u64>,
}

/// Writes the files of a part.
pub(super) struct Contents<'a, S> {
    of: &'a Repository,
    repository: &'a Rustic<S>,
    waiting: Vec<(Rc<Target>, DataId)>,
    written: u64,
}

impl<'a, S: IndexedFull + Sync> Contents<'a, S> {
    pub(super) fn new(of: &'a Repository, repository: &'a Rustic<S>) -> Self {
        Self {
            of,
            repository,
            waiting: Vec::with_capacity(BESIDE),
            written: 0,
        }
    }

    /// Writes the file of `node` to `below` in `to`, or to `to` itself; one that is there, or whose
    /// place is none of a plain file, is left to the library.
    pub(super) fn put(&mut self, node: &Node, to: &Path, below: &Path) -> Result<(), BackupError> {
        let (NodeType::File, Some(content)) = (&node.node_type, &node.content) else {
            return Ok(());
        };
        // The library makes links where no file is yet.
        if content.is_empty() || node.meta.links > 1 {
            return Ok(());
        }
        let path = if below.as_os_str().is_empty() {
            to.to_path_buf()
        } else {
            match place(to, below)? {
                Some(path) => path,
                None => return Ok(()),
            }
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = match options.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) => return Err(FsError::wrap("create", &path)(error).into()),
        };
        // One that is cut off has its length then, and is gone on with piece by piece.
        let sized = file.set_len(node.meta.size);
        sized.map_err(FsError::wrap("set the length of", &path))?;
        let target = Rc::new(Target {
            file,
            path,
            at: std::cell::Cell::new(0),
        });
        for id in content {
            self.waiting.push((Rc::clone(&target), *id));
            if self.waiting.len() == BESIDE {
                self.write()?;
            }
        }
        Ok(())
    }

    /// Writes what waits. Answers how many bytes were written in all.
    pub(super) fn end(mut self) -> Result<u64, BackupError> {
        self.write()?;
        Ok(self.written)
    }

    fn write(&mut self) -> Result<(), BackupError> {
        let waiting = std::mem::take(&mut self.waiting);
        let repository = self.repository;
        let pieces: Vec<RusticResult<Bytes>> = std::thread::scope(|scope| {
            let read = |id: DataId| {
                scope.spawn(move || repository.get_blob_cached(&id.into(), DataId::TYPE))
            };
            let reads: Vec<_> = waiting.iter().map(|(_, id)| read(*id)).collect();
            reads
                .into_iter()
                .map(|read| {
                    read.join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        for ((target, _), piece) in waiting.iter().zip(pieces) {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    // Damage is named by a check, which only looks.
                    super::verify::verify(self.of, None)?;
                    return Err(self.of.failed("restoring")(error));
                }
            };
            let written = target.file.write_all_at(&piece, target.at.get());
            written.map_err(FsError::wrap("write", &target.path))?;
            let bytes = piece.len() as u64;
            target.at.set(target.at.get() + bytes);
            self.written += bytes;
            self.of.meter().add(bytes);
        }
        Ok(())
    }
}

/// Where a file lies, with the directories to it; nothing where one of them is none.
fn place(to: &Path, below: &Path) -> Result<Option<PathBuf>, BackupError> {
    let mut path = to.to_path_buf();
    for part in below.components() {
        let Component::Normal(name) = part else {
            return Ok(None);
        };
        let made = std::fs::DirBuilder::new()
            .recursive(path == to)
            .mode(0o700)
            .create(&path);
        match made {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(FsError::wrap("create", &path)(error).into());
            }
            _ => {}
        }
        // A link leads elsewhere.
        let is_dir = std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
        if !is_dir {
            return Ok(None);
        }
        path.push(name);
    }
    Ok(Some(path))
}

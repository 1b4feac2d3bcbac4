//! A directory. A file is there with its whole content or not at all, and stays after a power cut.
//!
//! But for packs: they are many, and of no use before an index names them. They go to the disk as they
//! come, and are made to stay together, before the next file of another kind is written. To wait for
//! each of them would have every commit of the datastores wait as well. What a power cut leaves of
//! those before is named by nothing, and goes with `lucid backup prune`.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rustix::fs::{Advice, fadvise, syncfs};

use super::rate::{PIECE, Rate};
use super::{FileFault, FileResult, Files};
use crate::fsx;

/// Ends the name of a file that is being written; no such name is an id.
const TEMPORARY: &str = ".part";
/// Where packs lie.
const PACKS: &str = "data/";

#[derive(Debug)]
pub(super) struct Local {
    root: PathBuf,
    /// The directory, opened before the first of the packs that are not known to stay yet: what
    /// the disk could not keep since then is told to it.
    unsettled: Mutex<Option<File>>,
    rate: Rate,
}

impl Local {
    pub(super) fn new(root: PathBuf, rate: Rate) -> Self {
        Self {
            root,
            unsettled: Mutex::default(),
            rate,
        }
    }

    fn write_pack(&self, temporary: &Path, path: &Path, content: &[Bytes]) -> io::Result<()> {
        let mut unsettled = self
            .unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if unsettled.is_none() {
            *unsettled = Some(File::open(&self.root)?);
        }
        drop(unsettled);
        let file = put(temporary, content, &self.rate)?;
        std::fs::rename(temporary, path)?;
        // Begins to write it, and leaves the memory to others; a courtesy.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        Ok(())
    }

    /// Every pack stays after this.
    fn settle(&self) -> io::Result<()> {
        let mut unsettled = self
            .unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = unsettled.as_ref() {
            syncfs(root)?;
            *unsettled = None;
        }
        Ok(())
    }
}

fn put(path: &Path, content: &[Bytes], rate: &Rate) -> io::Result<File> {
    let mut file = File::create(path)?;
    let piece = rate.bound().map_or(usize::MAX, |_| PIECE);
    for bytes in content.iter().flat_map(|bytes| bytes.chunks(piece)) {
        rate.wait(bytes.len());
        file.write_all(bytes)?;
    }
    Ok(file)
}

fn fault(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileFault {
    let path = path.display().to_string();
    move |error| FileFault {
        what,
        path,
        is_missing: error.kind() == io::ErrorKind::NotFound,
        cause: error.to_string(),
    }
}

/// Directories first, so that a repository of packs is walked once.
fn list(dir: &Path, depth: u32, found: &mut Vec<(String, u64)>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() && depth > 0 {
            list(&entry.path(), depth - 1, found)?;
        } else if meta.is_file() {
            found.push((entry.file_name().to_string_lossy().into_owned(), meta.len()));
        }
    }
    Ok(())
}

impl Files for Local {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn create(&self) -> FileResult<()> {
        let failed = |error: fsx::FsError| FileFault {
            what: error.action,
            path: error.path.display().to_string(),
            cause: error.source.to_string(),
            is_missing: false,
        };
        fsx::create_dir_durable(&self.root, 0o700).map_err(failed)?;
        for dir in ["data", "index", "keys", "locks", "snapshots"] {
            fsx::create_dir(&self.root.join(dir), 0o700).map_err(failed)?;
        }
        for shard in 0..=255_u8 {
            let dir = self.root.join(format!("data/{shard:02x}"));
            fsx::create_dir(&dir, 0o700).map_err(failed)?;
        }
        fsx::sync_fs(&self.root).map_err(failed)
    }

    fn list(&self, dir: &str) -> FileResult<Vec<(String, u64)>> {
        let dir_path = self.root.join(dir);
        let mut found = Vec::new();
        let depth = u32::from(dir == "data");
        match list(&dir_path, depth, &mut found) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(fault("list", &dir_path)(error))
            }
            _ => Ok(found),
        }
    }

    fn read(&self, path: &str, range: Option<(u32, u32)>) -> FileResult<Bytes> {
        let path = self.root.join(path);
        let content = match range {
            None => std::fs::read(&path).inspect(|content| self.rate.wait(content.len())),
            Some((offset, length)) => File::open(&path).and_then(|file| {
                self.rate.wait(length as usize);
                let mut content = vec![0; length as usize];
                file.read_exact_at(&mut content, u64::from(offset))?;
                Ok(content)
            }),
        };
        content.map(Bytes::from).map_err(fault("read", &path))
    }

    fn write(&self, path: &str, content: Vec<Bytes>) -> FileResult<()> {
        let is_pack = path.starts_with(PACKS);
        let path = self.root.join(path);
        let mut name = path.clone().into_os_string();
        name.push(TEMPORARY);
        let temporary = PathBuf::from(name);
        let written = if is_pack {
            self.write_pack(&temporary, &path, &content)
        } else {
            let dir = path.parent().unwrap_or(&self.root);
            self.settle()
                .and_then(|()| put(&temporary, &content, &self.rate)?.sync_all())
                .and_then(|()| std::fs::rename(&temporary, &path))
                .and_then(|()| fsx::sync_dir(dir))
        };
        written.map_err(|error| {
            // What is left of it has no id for a name, and is written over the next time.
            let _ = std::fs::remove_file(&temporary);
            fault("write", &path)(error)
        })
    }

    fn remove(&self, path: &str) -> FileResult<()> {
        let path = self.root.join(path);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(fault("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

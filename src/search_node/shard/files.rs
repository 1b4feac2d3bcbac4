//! The files of one segment: in memory while it is built, one file on the disk afterwards.
//!
//! Tantivy makes about eight files a segment. Each would be flushed to the disk on its own, so
//! they are put into one: `LUCIDSEG`, a version, the parts, a table of contents in JSON, its
//! length and checksum, `GESDICUL`. One write, one flush.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use tantivy::Directory;
use tantivy::directory::error::{DeleteError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, DirectoryLock, FileHandle, Lock, OwnedBytes, TerminatingWrite, WatchCallback,
    WatchHandle, WritePtr,
};

const HEAD: &[u8; 8] = b"LUCIDSEG";
const TAIL: &[u8; 8] = b"GESDICUL";
const VERSION: u32 = 1;

/// One part in the table of contents.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    name: String,
    offset: u64,
    length: u64,
    crc: u32,
}

/// Files by name. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Files {
    parts: Arc<RwLock<BTreeMap<PathBuf, OwnedBytes>>>,
    /// Bytes that were written into parts, finished or not.
    written: Arc<AtomicU64>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.read().keys()).finish()
    }
}

impl Files {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<PathBuf, OwnedBytes>> {
        self.parts.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, path: &Path, bytes: OwnedBytes) {
        self.parts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.to_path_buf(), bytes);
    }

    /// Bytes of all parts.
    pub(crate) fn bytes(&self) -> u64 {
        self.read().values().map(|part| part.len() as u64).sum()
    }

    /// Bytes that were written into parts so far, finished or not.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    fn get(&self, name: &str) -> Option<OwnedBytes> {
        self.read().get(Path::new(name)).cloned()
    }

    /// Replaces the content of one part in memory.
    pub(crate) fn set(&self, name: &str, content: Vec<u8>) {
        self.put(Path::new(name), OwnedBytes::new(content));
    }

    /// Writes all parts into the new file `path` and flushes it to the disk; the caller flushes
    /// the directory. A file that could not be finished is removed.
    pub(crate) fn save(&self, path: &Path) -> io::Result<u64> {
        let result = self.write_to(path);
        if result.is_err() {
            let _ = std::fs::remove_file(path);
        }
        result
    }

    fn write_to(&self, path: &Path) -> io::Result<u64> {
        let mut file = BufWriter::with_capacity(1 << 18, File::create(path)?);
        file.write_all(HEAD)?;
        file.write_all(&VERSION.to_le_bytes())?;
        let mut offset = 12;
        let mut table = Vec::new();
        for (name, bytes) in self.read().iter() {
            file.write_all(bytes)?;
            let length = bytes.len() as u64;
            table.push(Part {
                name: name.display().to_string(),
                offset,
                length,
                crc: crc32fast::hash(bytes),
            });
            offset += length;
        }
        let table = serde_json::to_vec(&table)?;
        file.write_all(&table)?;
        let length = u32::try_from(table.len()).map_err(io::Error::other)?;
        file.write_all(&length.to_le_bytes())?;
        file.write_all(&crc32fast::hash(&table).to_le_bytes())?;
        file.write_all(TAIL)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(offset + u64::from(length) + 16)
    }

    /// Opens a file that [`Files::save`] wrote. The table of contents is checked, the parts are
    /// not: see [`verify`].
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let table = read_table(&file, path)?;
        // SAFETY: segment files are never changed after they were written, and belong to this
        // process alone: its user owns the directory, which is closed to others. A file that is
        // removed keeps its content as long as it is mapped.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file)? };
        let bytes = OwnedBytes::new(map);
        let files = Self::default();
        for part in table {
            let (from, to) = part.range();
            files.put(Path::new(&part.name), bytes.slice(from..to));
        }
        Ok(files)
    }
}

impl Part {
    #[allow(clippy::cast_possible_truncation)]
    fn range(&self) -> (usize, usize) {
        (self.offset as usize, (self.offset + self.length) as usize)
    }
}

/// Compares every part of the file with its checksum. It reads, and maps nothing: a bad sector
/// is then an error of this file, where a mapped one would end the process.
pub(super) fn verify(path: &Path) -> io::Result<()> {
    verify_open(&File::open(path)?, path)
}

/// The same of a file that is open; `path` is for the message.
pub(super) fn verify_open(file: &File, path: &Path) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 18];
    for part in read_table(file, path)? {
        let mut crc = crc32fast::Hasher::new();
        let end = part.offset + part.length;
        let mut at = part.offset;
        while at < end {
            let length = usize::try_from(end - at).map_or(buffer.len(), |l| l.min(buffer.len()));
            let Some(chunk) = buffer.get_mut(..length) else {
                break;
            };
            file.read_exact_at(chunk, at)?;
            crc.update(chunk);
            at += length as u64;
        }
        if crc.finalize() != part.crc {
            return Err(damaged(path, &format!("part {}", part.name)));
        }
    }
    Ok(())
}

/// Bytes before the first part: the head and the version.
const HEAD_BYTES: usize = 12;

/// Bytes after the table of contents: its length, its checksum and the tail.
const TAIL_BYTES: usize = 16;

fn read_table(file: &File, path: &Path) -> io::Result<Vec<Part>> {
    let whole = file.metadata()?.len();
    let Some(end) = whole
        .checked_sub(TAIL_BYTES as u64)
        .filter(|end| *end >= HEAD_BYTES as u64)
    else {
        return Err(damaged(path, "the table of contents"));
    };
    let mut head = [0; HEAD_BYTES];
    file.read_exact_at(&mut head, 0)?;
    let mut tail = [0; TAIL_BYTES];
    file.read_exact_at(&mut tail, end)?;
    let start = table_start(&head, &tail, end);
    let mut table = vec![0; start.map_or(0, |start| usize::try_from(end - start).unwrap_or(0))];
    file.read_exact_at(&mut table, start.unwrap_or(end))?;
    start
        .and_then(|start| table_of(&table, &tail, start))
        .ok_or_else(|| damaged(path, "the table of contents"))
}

/// Where the table of contents begins that ends at `end`.
fn table_start(head: &[u8], tail: &[u8], end: u64) -> Option<u64> {
    let version = head.strip_prefix(HEAD)?;
    let (length, _) = tail.strip_suffix(TAIL)?.split_first_chunk::<4>()?;
    let start = end.checked_sub(u64::from(u32::from_le_bytes(*length)))?;
    (version == VERSION.to_le_bytes() && start >= HEAD_BYTES as u64).then_some(start)
}

/// The table of contents; `start` is where the parts end.
fn table_of(table: &[u8], tail: &[u8], start: u64) -> Option<Vec<Part>> {
    let (_, crc) = tail.strip_suffix(TAIL)?.split_last_chunk::<4>()?;
    if crc32fast::hash(table) != u32::from_le_bytes(*crc) {
        return None;
    }
    let table: Vec<Part> = serde_json::from_slice(table).ok()?;
    let fits = |part: &Part| {
        part.offset
            .checked_add(part.length)
            .is_some_and(|end| end <= start)
    };
    table.iter().all(fits).then_some(table)
}

fn damaged(path: &Path, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "segment {} is damaged: {what} does not match its checksum; check the disk, delete the \
             index, and index its documents again",
            path.display()
        ),
    )
}

/// Reads `bytes` as a table of contents with the right checksum: whatever it says, all parts lie
/// within the file.
#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    let head = [HEAD.as_slice(), &VERSION.to_le_bytes()].concat();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let crc = crc32fast::hash(bytes);
    let tail = [&length.to_le_bytes(), &crc.to_le_bytes(), TAIL.as_slice()].concat();
    let parts = 1 << 10;
    let end = parts + bytes.len() as u64;
    assert_eq!(table_start(&head, &tail, end), Some(parts));
    for part in table_of(bytes, &tail, parts).into_iter().flatten() {
        let (from, to) = part.range();
        assert!(from <= to && to as u64 <= parts);
    }
}

/// Collects what tantivy writes.
struct Part2Memory {
    files: Files,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Write for Part2Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.files
            .written
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TerminatingWrite for Part2Memory {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.shrink_to_fit();
        self.files.put(&self.path, OwnedBytes::new(bytes));
        Ok(())
    }
}

impl Directory for Files {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        match self.read().get(path) {
            Some(bytes) => Ok(Arc::new(bytes.clone())),
            None => Err(OpenReadError::FileDoesNotExist(path.to_path_buf())),
        }
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        let removed = self
            .parts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(path);
        match removed {
            Some(_) => Ok(()),
            None => Err(DeleteError::FileDoesNotExist(path.to_path_buf())),
        }
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.read().contains_key(path))
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Ok(BufWriter::new(Box::new(Part2Memory {
            files: self.clone(),
            path: path.to_path_buf(),
            bytes: Vec::new(),
        })))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        match self.read().get(path) {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(OpenReadError::FileDoesNotExist(path.to_path_buf())),
        }
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        self.put(path, OwnedBytes::new(data.to_vec()));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    /// One process, one writer: there is nobody to keep out.
    fn acquire_lock(
        &self,
        _: &Lock,
    ) -> Result<DirectoryLock, tantivy::directory::error::LockError> {
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.segment");
        let files = Files::default();
        files.set("a", b"first".to_vec());
        files.set("b", vec![7; 1000]);
        files.save(&path).unwrap();
        (dir, path)
    }

    #[test]
    fn what_was_saved_is_there_again() {
        let (_dir, path) = saved();
        verify(&path).unwrap();
        let files = Files::open(&path).unwrap();
        assert_eq!(files.get("a").unwrap().as_slice(), b"first");
        assert_eq!(files.get("b").unwrap().len(), 1000);
        assert_eq!(files.bytes(), 1005);
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let (dir, path) = saved();
        let good = std::fs::read(&path).unwrap();
        let bad = dir.path().join("bad");
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x40;
            crate::fsx::write_atomic(&bad, &bytes, 0o600).unwrap();
            assert!(verify(&bad).is_err(), "byte {at}");
        }
        for length in [0, 1, 12, good.len() / 2, good.len() - 1] {
            crate::fsx::write_atomic(&bad, &good[..length], 0o600).unwrap();
            let error = Files::open(&bad).unwrap_err();
            assert!(
                length == 0 || error.to_string().contains("index its documents again"),
                "{error}"
            );
        }
    }
}

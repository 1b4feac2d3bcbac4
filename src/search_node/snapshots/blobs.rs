//! Files of one repository, each named by the SHA-256 of its content.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::work::Pace;
use crate::fsx::{self, FsError};
use crate::search_node::failure::{Failure, Outcome};

/// Bytes that are read at once.
const CHUNK: usize = 1 << 18;

/// Ending of a blob that is not whole yet.
const UNFINISHED: &str = "part";

/// Ending of a blob that was found to be damaged; the next snapshot that needs it writes it anew.
const DAMAGED: &str = "damaged";

/// A content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::search_node) struct Blob {
    /// SHA-256 in hexadecimal, and the file's name.
    pub hash: String,
    /// Length.
    pub bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(in crate::search_node) struct Blobs {
    dir: PathBuf,
    writable: bool,
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether `name` is the name of a blob.
fn is_hash(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// What `file` contains, read from its beginning.
pub(in crate::search_node) fn hash_of(file: &File, pace: &Pace<'_>) -> Outcome<Blob> {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    each_chunk(file, |chunk| {
        pace.check()?;
        hash.update(chunk);
        bytes += chunk.len() as u64;
        Ok(())
    })?;
    Ok(Blob {
        hash: hex(&hash.finalize()),
        bytes,
    })
}

fn each_chunk(file: &File, mut visit: impl FnMut(&[u8]) -> Outcome<()>) -> Outcome<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    loop {
        let read = match file.read_at(&mut buffer, at) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let chunk = buffer.get(..read).unwrap_or_default();
        if chunk.is_empty() {
            return Ok(());
        }
        visit(chunk)?;
        at += read as u64;
    }
}

impl Blobs {
    /// Those in `dir`; nothing of it changes when it is not `writable`.
    pub(super) fn new(dir: PathBuf, writable: bool) -> Self {
        Self { dir, writable }
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.dir.join(hash)
    }

    /// Whether it is there with its length; the content is not read.
    pub(in crate::search_node) fn has(&self, blob: &Blob) -> bool {
        std::fs::symlink_metadata(self.path(&blob.hash))
            .is_ok_and(|found| found.is_file() && found.len() == blob.bytes)
    }

    /// Writes `blob`, which `file` contains. Its content is on the disk when this returns, its name
    /// after [`Self::sync`].
    pub(in crate::search_node) fn put(
        &self,
        file: &File,
        blob: &Blob,
        pace: &mut Pace<'_>,
    ) -> Outcome<()> {
        let path = self.path(&blob.hash);
        let part = path.with_extension(UNFINISHED);
        let result = copy(file, &part, pace).and_then(|copied| {
            if copied != *blob {
                return Err(Failure::internal(
                    "a file changed while it was copied; check memory and disk",
                ));
            }
            Ok(std::fs::rename(&part, &path).map_err(FsError::wrap("write", &path))?)
        });
        if result.is_err() {
            let _ = std::fs::remove_file(&part);
        }
        result
    }

    /// Has the names of all blobs on the disk.
    pub(in crate::search_node) fn sync(&self) -> Outcome<()> {
        Ok(fsx::sync_dir(&self.dir).map_err(FsError::wrap("flush", &self.dir))?)
    }

    /// Copies `blob` into the new file `to`, which is then on the disk; the caller flushes its
    /// directory. The inner error says what is wrong with the blob.
    pub(in crate::search_node) fn get(
        &self,
        blob: &Blob,
        to: &Path,
        pace: &mut Pace<'_>,
    ) -> Outcome<Result<(), String>> {
        let file = match self.open(blob) {
            Ok(file) => file,
            Err(why) => return Ok(Err(why)),
        };
        Ok(match copy(&file, to, pace) {
            Ok(copied) if copied == *blob => Ok(()),
            // Read again: it is set aside when it is damaged on the disk.
            Ok(_) => match self.check(blob, pace)? {
                Err(why) => Err(why),
                Ok(()) => Err("was read in two different ways; check memory and disk".to_owned()),
            },
            // What cannot be read is a fault of the blob, what cannot be written is not.
            Err(failure) => match self.check(blob, pace)? {
                Err(why) => Err(why),
                Ok(()) => return Err(failure),
            },
        })
    }

    fn open(&self, blob: &Blob) -> Result<File, String> {
        // Another name could lead out of the repository.
        if !is_hash(&blob.hash) {
            return Err("has a name that no blob has".to_owned());
        }
        let file = File::open(self.path(&blob.hash)).map_err(|error| match error.kind() {
            ErrorKind::NotFound if self.aside(blob).exists() => set_aside(blob),
            ErrorKind::NotFound => "is missing".to_owned(),
            _ => format!("cannot be read: {error}"),
        })?;
        match file.metadata() {
            Ok(found) if found.len() == blob.bytes => Ok(file),
            Ok(found) => Err(format!(
                "is damaged: it has {} bytes instead of {}",
                found.len(),
                blob.bytes
            )),
            Err(error) => Err(format!("cannot be read: {error}")),
        }
    }

    /// Reads `blob` whole. The inner error says what is wrong with it, the outer one that the work
    /// was called off.
    pub(in crate::search_node) fn check(
        &self,
        blob: &Blob,
        pace: &Pace<'_>,
    ) -> Outcome<Result<(), String>> {
        let file = match self.open(blob) {
            Ok(file) => file,
            Err(why) => return Ok(Err(why)),
        };
        match hash_of(&file, pace) {
            Ok(found) if found == *blob => Ok(Ok(())),
            Ok(_) => Ok(Err(self.condemn(&file, blob))),
            Err(failure) => {
                pace.check()?;
                Ok(Err(format!("cannot be read: {}", failure.reason)))
            }
        }
    }

    fn aside(&self, blob: &Blob) -> PathBuf {
        self.path(&blob.hash).with_extension(DAMAGED)
    }

    /// Gives the damaged `file` of `blob` another name, so that nobody counts on it; says so.
    fn condemn(&self, file: &File, blob: &Blob) -> String {
        let path = self.path(&blob.hash);
        let renamed = || -> io::Result<bool> {
            let (read, named) = (file.metadata()?, std::fs::symlink_metadata(&path)?);
            // What was written in its place meanwhile is another file.
            if (read.dev(), read.ino()) != (named.dev(), named.ino()) {
                return Ok(false);
            }
            std::fs::rename(&path, self.aside(blob))?;
            fsx::sync_dir(&self.dir)?;
            Ok(true)
        };
        if self.writable {
            match renamed() {
                Ok(true) => return set_aside(blob),
                Ok(false) => {}
                Err(error) => tracing::error!("{} is damaged, and stays: {error}", path.display()),
            }
        }
        "is damaged: its content does not match its name".to_owned()
    }

    /// All that are there, whole or not, by file name, with their length.
    pub(super) fn all(&self) -> Outcome<BTreeMap<String, u64>> {
        let list = || -> io::Result<BTreeMap<String, u64>> {
            let mut all = BTreeMap::new();
            for entry in std::fs::read_dir(&self.dir)? {
                let entry = entry?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                let stem = match name.rsplit_once('.') {
                    Some((stem, UNFINISHED | DAMAGED)) => stem,
                    _ => name,
                };
                if is_hash(stem) {
                    all.insert(name.to_owned(), entry.metadata()?.len());
                }
            }
            Ok(all)
        };
        Ok(list().map_err(FsError::wrap("read", &self.dir))?)
    }

    /// Removes one by its file name.
    pub(in crate::search_node) fn remove(&self, name: &str) -> Outcome<()> {
        let path = self.path(name);
        Ok(std::fs::remove_file(&path).map_err(FsError::wrap("remove", &path))?)
    }
}

fn set_aside(blob: &Blob) -> String {
    format!(
        "is damaged: its content does not match its name; it is called [{}.{DAMAGED}] now",
        blob.hash
    )
}

/// Copies `file` into the new file `to` and has it on the disk; says what was copied.
fn copy(file: &File, to: &Path, pace: &mut Pace<'_>) -> Outcome<Blob> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut new = options.open(to).map_err(FsError::wrap("write", to))?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    each_chunk(file, |chunk| {
        new.write_all(chunk).map_err(FsError::wrap("write", to))?;
        hash.update(chunk);
        bytes += chunk.len() as u64;
        pace.moved(chunk.len() as u64)
    })?;
    new.sync_all().map_err(FsError::wrap("flush", to))?;
    Ok(Blob {
        hash: hex(&hash.finalize()),
        bytes,
    })
}

/// Writes a small file with random content, reads it again and removes it.
pub(super) fn probe(dir: &Path) -> Outcome<()> {
    let mut content = [0; 16];
    getrandom::fill(&mut content)
        .map_err(|error| Failure::internal(format!("no random numbers: {error}")))?;
    let path = dir.join(format!("tests-{}", hex(&content)));
    fsx::write_atomic(&path, &content, 0o600)?;
    let mut found = Vec::new();
    let read = File::open(&path).and_then(|mut file| file.read_to_end(&mut found));
    let removed = std::fs::remove_file(&path);
    read.map_err(FsError::wrap("read", &path))?;
    removed.map_err(FsError::wrap("remove", &path))?;
    if found != content {
        return Err(Failure::internal(format!(
            "{} does not hold what was written to it",
            path.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::work::Work;
    use super::*;

    #[test]
    fn a_blob_comes_back_as_it_was_and_any_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(dir.path().to_path_buf(), true);
        let source = dir.path().join("source");
        fsx::write_atomic(&source, &vec![7; CHUNK + 5], 0o600).unwrap();
        let file = File::open(&source).unwrap();
        let work = Work::default();
        let mut pace = Pace::new(&work, None);
        let blob = hash_of(&file, &pace).unwrap();
        assert_eq!(blob.bytes, CHUNK as u64 + 5);
        assert!(!blobs.has(&blob));
        blobs.put(&file, &blob, &mut pace).unwrap();
        assert!(blobs.has(&blob));
        assert_eq!(blobs.all().unwrap().len(), 1, "the source is no blob");
        let to = dir.path().join("to");
        blobs.get(&blob, &to, &mut pace).unwrap().unwrap();
        assert_eq!(hash_of(&File::open(&to).unwrap(), &pace).unwrap(), blob);

        let path = dir.path().join(&blob.hash);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"x", 100).unwrap();
        let readonly = Blobs::new(dir.path().to_path_buf(), false);
        for blobs in [&readonly, &blobs, &blobs] {
            let why = blobs.get(&blob, &to, &mut pace).unwrap().unwrap_err();
            assert!(why.contains("does not match"), "{why}");
            assert_eq!(blobs.has(&blob), !blobs.writable);
        }
        let aside = format!("{}.damaged", blob.hash);
        assert!(blobs.all().unwrap().keys().eq([&aside]));
        blobs.remove(&aside).unwrap();
        let source = File::open(&source).unwrap();
        blobs.put(&source, &blob, &mut pace).unwrap();
        blobs.check(&blob, &pace).unwrap().unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(10).unwrap();
        let why = blobs.check(&blob, &pace).unwrap().unwrap_err();
        assert!(why.contains("10 bytes"), "{why}");
        blobs.remove(&blob.hash).unwrap();
        let why = blobs.check(&blob, &pace).unwrap().unwrap_err();
        assert_eq!(why, "is missing");
        let outside = Blob {
            hash: "../source".to_owned(),
            bytes: blob.bytes,
        };
        let why = blobs.check(&outside, &pace).unwrap().unwrap_err();
        assert!(why.contains("no blob has"), "{why}");
    }

    #[test]
    fn work_that_is_called_off_leaves_no_part_behind() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(dir.path().to_path_buf(), true);
        let source = dir.path().join("source");
        fsx::write_atomic(&source, b"abc", 0o600).unwrap();
        let file = File::open(&source).unwrap();
        let work = Work::default();
        let blob = hash_of(&file, &Pace::new(&work, None)).unwrap();
        work.cancel(Failure::internal("stop"));
        let mut pace = Pace::new(&work, None);
        assert!(blobs.put(&file, &blob, &mut pace).is_err());
        assert!(blobs.all().unwrap().is_empty());
    }

    #[test]
    fn a_probe_leaves_nothing_and_fails_where_nothing_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        probe(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(probe(&dir.path().join("missing")).is_err());
    }
}

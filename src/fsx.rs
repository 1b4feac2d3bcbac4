//! Files that survive a power cut: atomic replacement and bounded reading.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file operation that failed, with the path and what was tried.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FsError {
    /// What was tried, as a verb: "write", "read", "create directory".
    pub action: &'static str,
    /// The path concerned.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

impl FsError {
    /// An error of `action` on `path`, for use with `map_err`.
    pub fn wrap(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self {
            action,
            path,
            source,
        }
    }
}

/// Replaces `path` so that after a power cut it holds the old content or the new, never a part:
/// temporary file in the same directory, fsync, rename, fsync of the directory.
///
/// `mode` is set before the content is written, so a secret is never readable in between.
///
/// # Errors
/// [`FsError`] with the path; the old file is then untouched.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> Result<(), FsError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let temp = temporary(path);
    let result = write_synced(&temp, content, mode)
        .and_then(|()| std::fs::rename(&temp, path))
        .and_then(|()| sync_dir(dir));
    if result.is_err() {
        // The temporary file is ours alone; if it cannot be removed the first error matters more.
        let _ = std::fs::remove_file(&temp);
    }
    result.map_err(FsError::wrap("write", path))
}

/// Replaces `path` as a whole, without waiting for the disk: for the run directory, which need
/// not survive a power cut.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_volatile(path: &Path, content: &[u8], mode: u32) -> Result<(), FsError> {
    let temp = temporary(path);
    let result = write_file(&temp, content, mode).and_then(|_| std::fs::rename(&temp, path));
    if result.is_err() {
        let _ = std::fs::remove_file(&temp);
    }
    result.map_err(FsError::wrap("write", path))
}

/// A name beside `path`, so that the rename stays within one file system.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

fn write_synced(temp: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    write_file(temp, content, mode)?.sync_all()
}

fn write_file(temp: &Path, content: &[u8], mode: u32) -> io::Result<File> {
    match std::fs::remove_file(temp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(temp)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(content)?;
    Ok(file)
}

/// Brings everything of the file system that holds `path` to its disk.
///
/// # Errors
/// [`FsError`] with the path.
pub fn sync_fs(path: &Path) -> Result<(), FsError> {
    let dir = File::open(path).map_err(FsError::wrap("open", path))?;
    rustix::fs::syncfs(&dir)
        .map_err(io::Error::from)
        .map_err(FsError::wrap("flush the file system of", path))
}

/// Brings the names in the directory `dir` to the disk.
///
/// # Errors
/// What the kernel says.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates `path` and its missing parents; `mode` holds for what is created here.
pub fn create_dir(path: &Path, mode: u32) -> Result<(), FsError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(FsError::wrap("create directory", path))
}

/// Creates the directory `path`, and has its name in the parent on the disk before it returns; a
/// directory that is there already is left as it is.
pub fn create_dir_durable(path: &Path, mode: u32) -> Result<(), FsError> {
    create_dir(path, mode)?;
    match path.parent() {
        None => Ok(()),
        // A relative name of one part lies in the working directory.
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
    }
    .map_err(FsError::wrap("flush the directory of", path))
}

/// Reads a text file of at most `limit` bytes.
///
/// # Errors
/// [`FsError`]; a longer file or one that is not UTF-8 is `InvalidData`.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FsError> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        File::open(path)?
            .take(limit + 1)
            .read_to_string(&mut text)?;
        if text.len() as u64 > limit {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("larger than {limit} bytes"),
            ));
        }
        Ok(text)
    };
    read().map_err(FsError::wrap("read", path))
}

/// Reads a JSON file of at most `limit` bytes; absent where there is none.
///
/// # Errors
/// [`FsError`]; content that is something else is told as such.
pub fn read_json<T: serde::de::DeserializeOwned>(
    path: &Path,
    limit: u64,
) -> Result<Option<T>, FsError> {
    match read_text(path, limit) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(io::Error::from)
            .map_err(FsError::wrap("understand", path)),
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a small file of the kernel (`/sys`, `/proc`), without the end of its line.
///
/// # Errors
/// As [`read_text`].
pub fn read_value(path: &Path) -> Result<String, FsError> {
    read_text(path, 4096).map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_the_new_content_and_mode_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_atomic(&path, b"old", 0o644).unwrap();
        write_atomic(&path, b"new", 0o600).unwrap();
        assert_eq!(read_text(&path, 10).unwrap(), "new");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_names_the_path_and_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("occupied");
        std::fs::create_dir(&target).unwrap();
        let error = write_atomic(&target, b"x", 0o600).unwrap_err();
        assert!(error.to_string().contains("occupied"), "{error}");
        assert!(target.is_dir());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        write_atomic(&path, b"12345", 0o600).unwrap();
        assert!(read_text(&path, 4).is_err());
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
    }
}

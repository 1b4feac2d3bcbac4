//! Walks a directory that belongs to somebody else: links are never followed, other mounts never
//! entered, and whoever exchanges a directory meanwhile leads nobody out of the tree.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, StatxFlags};

use super::error::OpError;
use crate::fsx::FsError;

/// One entry of the tree.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// The directory that it is in.
    pub(super) dir: BorrowedFd<'a>,
    /// Its name there.
    pub(super) name: &'a CStr,
    /// Its path below the root of the walk.
    pub(super) path: &'a Path,
    /// What the kernel says of it.
    pub(super) stat: &'a Stat,
}

impl Found<'_> {
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Opens it for reading, when it is a file.
    pub(super) fn open(&self) -> std::io::Result<std::fs::File> {
        // A pipe that took its place is not waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.dir, self.name, flags, Mode::empty())?;
        Ok(file.into())
    }

    /// Removes it, when it is no directory.
    pub(super) fn remove(&self) -> std::io::Result<()> {
        Ok(rustix::fs::unlinkat(self.dir, self.name, AtFlags::empty())?)
    }
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// With the next entry; into this one when it is a directory.
    On,
    /// No further.
    Enough,
}

/// The mount that an open directory belongs to.
fn mount_of(dir: &OwnedFd) -> rustix::io::Result<u64> {
    let stat = rustix::fs::statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(stat.stx_mnt_id)
}

/// Opens a directory below `root`, one name after the other, none of them a link. (`openat2` does
/// this at once, and is not there under `RestrictSUIDSGID=` of systemd.exec(5).)
fn open_dir(root: &OwnedFd, mount: u64, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir = rustix::fs::openat(root, c".", flags, Mode::empty())?;
    for name in path {
        dir = rustix::fs::openat(&dir, name, flags, Mode::empty())?;
    }
    if mount_of(&dir)? == mount {
        Ok(dir)
    } else {
        Err(rustix::io::Errno::XDEV)
    }
}

/// Shows every entry below `root` to `visit`, a directory before what it holds. Answers paths
/// below `root` that could not be read.
///
/// # Errors
/// [`OpError`] when `root` itself cannot be read, and whatever `visit` answers.
pub(super) fn walk(
    root: &Path,
    visit: &mut dyn FnMut(&Found<'_>) -> Result<Next, OpError>,
) -> Result<Vec<PathBuf>, OpError> {
    let failed = |errno: rustix::io::Errno| FsError::wrap("read", root)(errno.into());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(root, flags, Mode::empty()).map_err(failed)?;
    let mount = mount_of(&top).map_err(failed)?;
    let mut unreadable = Vec::new();
    // Directories to come, instead of a recursion that a deep tree could exhaust.
    let mut open = vec![PathBuf::new()];
    while let Some(at) = open.pop() {
        let (dir, entries) = match open_dir(&top, mount, &at).and_then(|dir| {
            let entries = Dir::read_from(&dir)?;
            Ok((dir, entries))
        }) {
            Ok(opened) => opened,
            Err(errno) if at.as_os_str().is_empty() => return Err(failed(errno).into()),
            Err(_) => {
                unreadable.push(at);
                continue;
            }
        };
        for entry in entries {
            let Ok(entry) = entry else {
                unreadable.push(at);
                break;
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = at.join(OsStr::from_bytes(name.to_bytes()));
            match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    let found = Found {
                        dir: dir.as_fd(),
                        name,
                        path: &path,
                        stat: &stat,
                    };
                    let next = visit(&found)?;
                    let is_dir = found.kind() == FileType::Directory;
                    if next == Next::Enough {
                        return Ok(unreadable);
                    }
                    if is_dir {
                        open.push(path);
                    }
                }
                // It went in between.
                Err(rustix::io::Errno::NOENT) => {}
                Err(_) => unreadable.push(path),
            }
        }
    }
    Ok(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let unreadable = walk(root, &mut |entry| {
            found.push(entry.path.to_path_buf());
            Ok(Next::On)
        });
        assert!(unreadable.unwrap().is_empty());
        found.sort();
        found
    }

    #[test]
    fn everything_below_is_seen_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::File::create(root.join("a/b/file")).unwrap();
        std::fs::File::create(outside.join("secret")).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        let expected = ["a", "a/b", "a/b/file", "link"].map(PathBuf::from);
        assert_eq!(names(&root), expected);
        assert!(walk(&dir.path().join("none"), &mut |_| Ok(Next::On)).is_err());
    }

    #[test]
    fn a_directory_that_becomes_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::File::create(outside.join("secret")).unwrap();
        let mut seen = Vec::new();
        let unreadable = walk(&root, &mut |entry| {
            seen.push(entry.path.to_path_buf());
            // What an owner of the tree may do between the look and the opening.
            std::fs::remove_dir(root.join("a")).unwrap();
            std::os::unix::fs::symlink(&outside, root.join("a")).unwrap();
            Ok(Next::On)
        });
        assert_eq!(unreadable.unwrap(), [PathBuf::from("a")]);
        assert_eq!(seen, [PathBuf::from("a")]);
    }
}

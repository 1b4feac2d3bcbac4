//! Reading small files below a root.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::BoardError;

/// More than any file read here has: `/proc/cpuinfo` of 128 processors is about 200 KiB.
const LIMIT: u64 = 1024 * 1024;

/// A machine's file tree: the real one at `/`, or a captured one.
pub(super) struct Tree<'a> {
    root: &'a Path,
}

impl<'a> Tree<'a> {
    /// The tree under `root`.
    pub(super) fn new(root: &'a Path) -> Self {
        Self { root }
    }

    /// Where `name` lies, a leading `/` or none alike.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name.trim_start_matches('/'))
    }

    /// The first megabyte of a file.
    pub(super) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path(name))?
            .take(LIMIT)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A file that every Linux has.
    pub(super) fn must_read(&self, name: &str) -> Result<Vec<u8>, BoardError> {
        self.read(name).map_err(|source| BoardError::Read {
            path: self.path(name),
            source,
        })
    }

    /// A file's text without surrounding blanks and the closing NUL of device-tree strings;
    /// `None` when it is missing, unreadable or empty. Bytes that are not UTF-8 are replaced:
    /// devices put anything into their names.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let bytes = self.read(name).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A file that holds one number.
    pub(super) fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// Whether a file holds a number other than 0; `None` when it is missing or holds none.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.number::<u64>(name).map(|value| value != 0)
    }

    /// Names in a directory, sorted; none when it is missing.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(name)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// What a symbolic link says, not followed, so that no part of the root's own path gets in.
    pub(super) fn link(&self, name: &str) -> Option<String> {
        let target = std::fs::read_link(self.path(name)).ok()?;
        Some(target.to_string_lossy().into_owned())
    }
}

/// Made-up machines for the tests of this room.
#[cfg(test)]
pub(super) mod fixture {
    use std::path::Path;

    /// Writes files below `root`, with their directories.
    pub(in crate::board) fn add(root: &Path, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = root.join(name);
            crate::fsx::create_dir(path.parent().unwrap(), 0o755).unwrap();
            crate::fsx::write_atomic(&path, content.as_bytes(), 0o644).unwrap();
        }
    }

    /// A machine that has these files and nothing else.
    pub(in crate::board) fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        add(dir.path(), files);
        dir
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_loses_blanks_and_the_closing_nul_and_survives_odd_bytes() {
        let dir = fixture::machine(&[("model", "Raspberry Pi\0"), ("blank", " \n")]);
        crate::fsx::write_atomic(&dir.path().join("vendor"), b" SSD \xff \n", 0o644).unwrap();
        let tree = Tree::new(dir.path());
        assert_eq!(tree.text("/model").as_deref(), Some("Raspberry Pi"));
        assert_eq!(tree.text("vendor").as_deref(), Some("SSD \u{fffd}"));
        assert_eq!(tree.text("blank"), None);
        assert_eq!(tree.text("absent"), None);
        assert_eq!(tree.names("absent"), Vec::<String>::new());
        assert_eq!(tree.flag("model"), None);
    }
}

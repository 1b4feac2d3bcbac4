//! Where repositories may lie: `path_repo`.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::repository_failure;
use crate::fsx::{self, FsError};
use crate::search_node::failure::{Failure, Outcome};

/// See the module.
#[derive(Debug, Default)]
pub(in crate::search_node) struct Places {
    roots: Vec<PathBuf>,
    data: PathBuf,
}

impl Places {
    /// Below `roots`, never where the node keeps its own `data`.
    pub(in crate::search_node) fn new(roots: &[PathBuf], data: &Path) -> Self {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        Self {
            roots: roots.iter().map(absolute).collect(),
            data: data.to_path_buf(),
        }
    }

    /// The directory that `location` of `repository` stands for, without links. It must be there;
    /// with `create` it is made.
    pub(super) fn find(&self, repository: &str, location: &str, create: bool) -> Outcome<PathBuf> {
        let refuse = |why: String| repository_failure(repository, why);
        let shown: Vec<_> = self.roots.iter().map(|root| root.display()).collect();
        let outside = || match self.roots.as_slice() {
            [] => refuse(format!(
                "location [{location}] doesn't match any of the locations specified by path.repo \
                 because this setting is empty; set path_repo in the node's configuration"
            )),
            _ => refuse(format!(
                "location [{location}] doesn't match any of the locations specified by path.repo \
                 {shown:?}; give a path below one of them"
            )),
        };
        let first = self.roots.first().ok_or_else(outside)?;
        let wanted = first.join(location);
        let plain = |part: Component<'_>| !matches!(part, Component::ParentDir);
        if location.is_empty() || location.contains('\0') || !wanted.components().all(plain) {
            return Err(refuse(format!(
                "location [{location}] must be a path without [..]"
            )));
        }
        let (root, rest) = self
            .roots
            .iter()
            .find_map(|root| Some((root, wanted.strip_prefix(root).ok()?)))
            .ok_or_else(outside)?;
        if create {
            fsx::create_dir_durable(root, 0o700)?;
        }
        let cannot = |path: &Path, error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => refuse(format!(
                "location [{location}] is not there: {} is missing; mount or make it",
                path.display()
            )),
            _ => FsError::wrap("read", path)(error).into(),
        };
        let real = |path: &Path| path.canonicalize().map_err(|error| cannot(path, error));
        let root = real(root)?;
        let mut dir = root.clone();
        for part in rest.components() {
            let next = dir.join(part);
            if create && std::fs::symlink_metadata(&next).is_err() {
                fsx::create_dir_durable(&next, 0o700)?;
            }
            dir = real(&next)?;
            if !dir.starts_with(&root) {
                return Err(refuse(format!(
                    "location [{location}] leads out of path.repo by the link {}; give a path \
                     without it",
                    next.display()
                )));
            }
        }
        if !dir.is_dir() {
            return Err(refuse(format!("location [{location}] is no directory")));
        }
        self.check_own(repository, location, &dir)?;
        Ok(dir)
    }

    /// Refuses directories that hold the node's own files.
    fn check_own(&self, repository: &str, location: &str, dir: &Path) -> Result<(), Failure> {
        let Ok(data) = self.data.canonicalize() else {
            return Ok(());
        };
        let own = ["indices", "log"].map(|name| data.join(name));
        if dir == data || own.iter().any(|own| dir.starts_with(own)) {
            return Err(repository_failure(
                repository,
                format!("location [{location}] is where the node keeps its data; give another one"),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_lie_inside_path_repo_whatever_they_are_written_like() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let (first, second, out) = (dir.join("first"), dir.join("second"), dir.join("out"));
        fsx::create_dir(&out, 0o700).unwrap();
        let data = dir.join("data");
        fsx::create_dir(&data.join("indices/x"), 0o700).unwrap();
        let roots = [first.clone(), second.clone(), data.clone()];
        let places = Places::new(&roots, &data);
        let find = |location: &str| places.find("r", location, true);
        assert_eq!(find("a/b").unwrap(), first.join("a/b"));
        assert_eq!(find("./a//b/").unwrap(), first.join("a/b"));
        assert_eq!(find(second.to_str().unwrap()).unwrap(), second);
        let inside = second.join("c");
        assert_eq!(find(inside.to_str().unwrap()).unwrap(), inside);
        std::os::unix::fs::symlink(&out, first.join("link")).unwrap();
        std::os::unix::fs::symlink(first.join("a"), first.join("within")).unwrap();
        assert_eq!(find("within/b").unwrap(), first.join("a/b"));
        let prefix = format!("{}x", first.display());
        let up = format!("{}/../out", first.display());
        let own = data.join("indices/x").display().to_string();
        for bad in [
            "",
            "..",
            "a/../../out",
            "link",
            "link/new",
            "/etc",
            &prefix,
            &up,
            &own,
            data.to_str().unwrap(),
            "a\0b",
        ] {
            let failure = find(bad).unwrap_err();
            assert_eq!(
                (failure.status, failure.kind),
                (400, "repository_exception"),
                "{bad}: {failure}"
            );
        }
        assert!(!out.join("new").exists(), "made outside");
        let failure = places.find("r", "missing", false).unwrap_err();
        assert!(failure.reason.contains("is missing"), "{failure}");
    }

    #[test]
    fn without_path_repo_there_is_no_place() {
        let failure = Places::default().find("r", "a", true).unwrap_err();
        assert!(failure.reason.contains("set path_repo"), "{failure}");
    }
}

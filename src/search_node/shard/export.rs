//! What is saved of an index, to be copied elsewhere, and the way back.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::Value;

use super::Shard;
use super::bits::Bits;
use super::commit::{Commit, segment_file};
use super::files::verify_open;
use crate::fsx::{FsError, sync_dir};
use crate::search_node::failure::{Failure, Outcome};

/// Bytes of a file of live documents at most: a bit for each number that a document can have.
const MAX_LIVE: u64 = (1 << 29) + 64;

/// The files of one commit. They are open: what a merge removes meanwhile can still be read.
#[derive(Debug)]
pub(crate) struct Export {
    /// Which file is what.
    pub commit: Value,
    /// Files by name.
    pub files: Vec<(String, File)>,
}

impl Export {
    /// Compares `file`, which the index calls `name`, with its checksums.
    pub(crate) fn verify(name: &str, file: &File) -> Outcome<()> {
        let end = Path::new(name).extension();
        if end.is_none_or(|end| end != "live") {
            return Ok(verify_open(file, Path::new(name))?);
        }
        let wrap = |error| FsError::wrap("read", Path::new(name))(error);
        let length = file.metadata().map_err(wrap)?.len().min(MAX_LIVE);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0).map_err(wrap)?;
        match Bits::from_bytes(&bytes) {
            Some(_) => Ok(()),
            None => Err(Failure::internal(format!(
                "{name} is damaged: its checksum does not match; delete the index and restore it \
                 from an earlier snapshot, or index its documents again"
            ))),
        }
    }
}

impl Shard {
    /// What the last flush or merge saved.
    pub(crate) fn export(&self) -> Outcome<Export> {
        // While this is held no file that it names is removed.
        let commit = self.commit();
        self.writer().check()?;
        let mut files = Vec::new();
        for name in commit.files() {
            let path = self.dir.join(name);
            let file = File::open(&path).map_err(FsError::wrap("read", &path))?;
            files.push((name.to_owned(), file));
        }
        let commit =
            serde_json::to_value(&*commit).map_err(|error| Failure::internal(error.to_string()))?;
        Ok(Export { commit, files })
    }

    /// The names of the files that `commit` of an [`Export`] needs; they are plain names.
    pub(crate) fn files_of(commit: &Value) -> Outcome<BTreeSet<String>> {
        let commit = read(commit)?;
        let plain = |name: &str| {
            let stem = name.strip_suffix(".live").unwrap_or_default();
            !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        };
        for saved in &commit.segments {
            if saved.file != segment_file(saved.id) || !saved.live.as_deref().is_none_or(plain) {
                return Err(Failure::internal(format!(
                    "segment {} has the file [{}], which is none of its own",
                    saved.id, saved.file
                )));
            }
        }
        Ok(commit.files().map(str::to_owned).collect())
    }

    /// Makes `dir`, in which the files of `commit` lie already, that of an index to be opened.
    pub(crate) fn import(dir: &Path, commit: &Value) -> Outcome<()> {
        sync_dir(dir)?;
        read(commit)?.save(dir)
    }
}

fn read(commit: &Value) -> Outcome<Commit> {
    serde_json::from_value(commit.clone())
        .map_err(|error| Failure::internal(format!("the list of segments is unreadable: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_files_of_an_index_are_named_whatever_a_description_says() {
        let of = |file: &str, live: Value| {
            Shard::files_of(&json!({"generation": 1, "saved": 1, "next_segment": 9,
                "segments": [{"id": 7, "file": file, "live": live, "dead": 1}]}))
        };
        let names = of("00000007.segment", json!("00000007-00000001.live")).unwrap();
        assert_eq!(names.len(), 2);
        for (file, live) in [
            ("../../x.segment", json!(null)),
            ("00000008.segment", json!(null)),
            ("00000007.segment", json!("../x.live")),
            ("00000007.segment", json!("commit.json")),
            ("00000007.segment", json!(".live")),
        ] {
            assert!(of(file, live.clone()).is_err(), "{file} {live}");
        }
        assert!(Shard::files_of(&json!(3)).is_err());
    }
}

//! Lengths of streams that nobody knew before they were read.
//!
//! The library wants to know how long a file is before it reads it. Where that would mean to read it
//! twice, a snapshot is made with no length, and then another one of the same pieces with the length
//! that was read: directories alone are written anew, in a pack of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustic_core::repofile::{Node, NodeType, SnapshotFile, SnapshotId, Tree};
use rustic_core::{IndexedFull, Repository as Rustic, TreeId};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::BackupError;
use super::repository::Repository;
use super::seal::{Seal, name_of, pack};

/// A compressed directory, in the header of a pack.
const COMPRESSED_TREE: u8 = 3;

/// Lengths by path.
pub(super) type Lengths = BTreeMap<PathBuf, u64>;

/// What an index says of a pack.
#[derive(Serialize)]
struct Index {
    packs: [Pack; 1],
}

#[derive(Serialize)]
struct Pack {
    id: String,
    blobs: Vec<Blob>,
}

#[derive(Serialize)]
struct Blob {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    offset: usize,
    length: usize,
    uncompressed_length: usize,
}

/// Directories that are written anew.
struct Mending<'a, S> {
    repository: &'a Rustic<S>,
    lengths: &'a Lengths,
    seal: &'a Seal,
    content: Vec<u8>,
    /// What the pack says of itself at its end.
    header: Vec<u8>,
    blobs: Vec<Blob>,
    mended: usize,
}

impl<S: IndexedFull> Mending<'_, S> {
    /// The directory `id`, which is `path`, with the lengths of its files; its new id.
    fn directory(&mut self, id: &TreeId, path: &Path) -> Result<TreeId, String> {
        let tree = self.repository.get_tree(id);
        let mut tree = tree.map_err(|error| super::repository::cause_of(&error))?;
        let mut changed = false;
        for node in &mut tree.nodes {
            changed |= self.node(node, path)?;
        }
        if changed { self.put(&tree) } else { Ok(*id) }
    }

    fn node(&mut self, node: &mut Node, dir: &Path) -> Result<bool, String> {
        let path = dir.join(node.name());
        match (&node.node_type, &node.subtree) {
            (NodeType::Dir, Some(subtree)) => {
                let new = self.directory(subtree, &path)?;
                let changed = new != *subtree;
                node.subtree = Some(new);
                Ok(changed)
            }
            (NodeType::File, _) => match self.lengths.get(&path) {
                Some(length) => {
                    self.mended += 1;
                    let changed = node.meta.size != *length;
                    node.meta.size = *length;
                    Ok(changed)
                }
                None => Ok(false),
            },
            _ => Ok(false),
        }
    }

    fn put(&mut self, tree: &Tree) -> Result<TreeId, String> {
        let (plain, id) = tree.serialize().map_err(|error| error.to_string())?;
        let sealed = self.seal.seal(&pack(&plain)?)?;
        self.header.push(COMPRESSED_TREE);
        for length in [sealed.len(), plain.len()] {
            self.header.extend(short(length)?.to_le_bytes());
        }
        self.header.extend(Sha256::digest(&plain));
        self.blobs.push(Blob {
            id: id.to_hex().as_str().to_owned(),
            kind: "tree",
            offset: self.content.len(),
            length: sealed.len(),
            uncompressed_length: plain.len(),
        });
        self.content.extend(sealed);
        Ok(id)
    }

    /// The whole pack, and what the index says of it.
    fn finish(mut self) -> Result<(Vec<u8>, Index), String> {
        let header = self.seal.seal(&self.header)?;
        self.content.extend(&header);
        self.content.extend(short(header.len())?.to_le_bytes());
        let index = Index {
            packs: [Pack {
                id: name_of(&self.content),
                blobs: self.blobs,
            }],
        };
        Ok((self.content, index))
    }
}

fn short(length: usize) -> Result<u32, String> {
    u32::try_from(length).map_err(|_| "a directory is too large".to_owned())
}

impl Repository {
    /// Makes the snapshot that `provisional` is but for the lengths of some of its files; answers
    /// its id. The other one is removed, where anything may be.
    pub(super) fn with_lengths(
        &self,
        provisional: &SnapshotFile,
        lengths: &Lengths,
    ) -> Result<String, BackupError> {
        let fault = self.failed("writing");
        let refused = |cause: String| BackupError::Repository {
            doing: "writing",
            place: self.place().to_owned(),
            cause,
        };
        let repository = self.again()?.to_indexed().map_err(&fault)?;
        let mut mending = Mending {
            repository: &repository,
            lengths,
            seal: self.seal(),
            content: Vec::new(),
            header: Vec::new(),
            blobs: Vec::new(),
            mended: 0,
        };
        let tree = mending
            .directory(&provisional.tree, Path::new("/"))
            .map_err(refused)?;
        if mending.mended != lengths.len() {
            return Err(refused(format!(
                "{} of {} files were found in what was written",
                mending.mended,
                lengths.len()
            )));
        }
        if !mending.blobs.is_empty() {
            let (pack, index) = mending.finish().map_err(refused)?;
            let name = &index.packs[0].id;
            let path = format!("data/{}/{name}", name.get(..2).unwrap_or_default());
            self.put_file(&path, pack)?;
            let index = self.seal().file(&index).map_err(refused)?;
            self.put_file(&format!("index/{}", name_of(&index)), index)?;
        }
        let mut snapshot = provisional.clone();
        snapshot.tree = tree;
        // It does not stand in the file.
        snapshot.id = SnapshotId::default();
        let snapshot = self.seal().file(&snapshot).map_err(refused)?;
        let id = name_of(&snapshot);
        self.put_file(&format!("snapshots/{id}"), snapshot)?;
        if !self.is_append_only() {
            self.inner
                .delete_snapshots(&[provisional.id])
                .map_err(&fault)?;
        }
        Ok(id)
    }

    fn put_file(&self, path: &str, content: Vec<u8>) -> Result<(), BackupError> {
        let written = self.files.write(path, vec![Bytes::from(content)]);
        written.map_err(|fault| BackupError::Repository {
            doing: "writing",
            place: self.place().to_owned(),
            cause: fault.to_string(),
        })
    }
}

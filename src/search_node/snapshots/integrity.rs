//! Whether a repository holds what its snapshots need: every blob is read.

use std::collections::BTreeMap;

use super::blobs::Blob;
use super::repository::Repository;
use super::work::Pace;
use crate::search_node::failure::Outcome;

/// Uses of one damaged blob that are named; there may be one in each snapshot.
const MAX_NAMED: usize = 1000;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::search_node) struct Anomaly {
    /// The snapshot that cannot be restored whole.
    pub snapshot: String,
    /// Its index; `None` when the snapshot's description is concerned.
    pub index: Option<String>,
    /// The index's file, and its blob.
    pub file: Option<(String, String)>,
    /// What is wrong.
    pub why: String,
}

impl Anomaly {
    /// What is wrong, with the names of what is concerned.
    pub(in crate::search_node) fn text(&self) -> String {
        match (&self.index, &self.file) {
            (Some(index), Some((file, hash))) => {
                format!(
                    "index [{index}]: file [{file}] (blob [{hash}]) {}",
                    self.why
                )
            }
            _ => self.why.clone(),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::search_node) struct Integrity {
    /// Snapshots whose description was read.
    pub snapshots: u64,
    /// Blobs that they use.
    pub blobs: u64,
    /// Bytes of them that were read and are right.
    pub bytes: u64,
    /// Files that no snapshot uses, and their bytes; a cleanup removes them.
    pub unused: (u64, u64),
    /// What is wrong; at most [`MAX_NAMED`] for each blob.
    pub anomalies: Vec<Anomaly>,
}

impl Integrity {
    /// Reads all of `repository`.
    pub(in crate::search_node) fn check(repository: &Repository, pace: &Pace<'_>) -> Outcome<Self> {
        let mut found = Self::default();
        let mut uses: BTreeMap<String, (u64, Vec<Anomaly>)> = BTreeMap::new();
        for name in repository.names()? {
            pace.check()?;
            let description = match repository.load(&name) {
                Ok(description) => description,
                Err(failure) => {
                    found.anomalies.push(Anomaly {
                        snapshot: name,
                        index: None,
                        file: None,
                        why: failure.reason,
                    });
                    continue;
                }
            };
            found.snapshots += 1;
            for (index, file) in description.files() {
                let (_, uses) = uses
                    .entry(file.hash.clone())
                    .or_insert_with(|| (file.bytes, Vec::new()));
                if uses.len() < MAX_NAMED {
                    uses.push(Anomaly {
                        snapshot: name.clone(),
                        index: Some(index.to_owned()),
                        file: Some((file.name.clone(), file.hash.clone())),
                        why: String::new(),
                    });
                }
            }
        }
        for (name, bytes) in repository.all_blobs()? {
            if !uses.contains_key(&name) {
                found.unused.0 += 1;
                found.unused.1 += bytes;
            }
        }
        for (hash, (bytes, uses)) in uses {
            found.blobs += 1;
            match repository.blobs.check(&Blob { hash, bytes }, pace)? {
                Ok(()) => found.bytes += bytes,
                Err(why) => found
                    .anomalies
                    .extend(uses.into_iter().map(|anomaly| Anomaly {
                        why: why.clone(),
                        ..anomaly
                    })),
            }
        }
        Ok(found)
    }
}

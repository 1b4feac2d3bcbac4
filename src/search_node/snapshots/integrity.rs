//! Whether a repository holds what its snapshots need: every blob is read.

use std::collections::BTreeMap;

use super::blobs::Blob;
use super::repository::Repository;
use super::work::Pace;
use crate::search_node::failure::Outcome;

/// Anomalies that are named; one blob may be a part of every snapshot.
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
    /// How many things are wrong.
    pub total: u64,
    /// What is wrong, the first [`MAX_NAMED`].
    pub anomalies: Vec<Anomaly>,
}

impl Integrity {
    fn note(&mut self, anomaly: Anomaly) {
        self.total += 1;
        if self.anomalies.len() < MAX_NAMED {
            self.anomalies.push(anomaly);
        }
    }

    /// Reads all of `repository`, which nobody may remove anything from meanwhile.
    pub(in crate::search_node) fn check(repository: &Repository, pace: &Pace<'_>) -> Outcome<Self> {
        let mut found = Self::default();
        let mut used: BTreeMap<String, u64> = BTreeMap::new();
        let mut readable = Vec::new();
        for name in repository.names()? {
            pace.check()?;
            match repository.load(&name) {
                Ok(description) => {
                    let files = description.files();
                    used.extend(files.map(|(_, file)| (file.hash.clone(), file.bytes)));
                    readable.push(name);
                }
                Err(failure) => found.note(Anomaly {
                    snapshot: name,
                    index: None,
                    file: None,
                    why: failure.reason,
                }),
            }
        }
        found.snapshots = readable.len() as u64;
        for (name, bytes) in repository.blobs.all()? {
            if !used.contains_key(&name) {
                found.unused.0 += 1;
                found.unused.1 += bytes;
            }
        }
        let mut wrong = BTreeMap::new();
        for (hash, bytes) in used {
            found.blobs += 1;
            let blob = Blob { hash, bytes };
            match repository.blobs.check(&blob, pace)? {
                Ok(()) => found.bytes += bytes,
                Err(why) => {
                    wrong.insert(blob.hash, why);
                }
            }
        }
        if wrong.is_empty() {
            return Ok(found);
        }
        for snapshot in readable {
            pace.check()?;
            for (index, file) in repository.load(&snapshot)?.files() {
                if let Some(why) = wrong.get(&file.hash) {
                    found.note(Anomaly {
                        snapshot: snapshot.clone(),
                        index: Some(index.to_owned()),
                        file: Some((file.name.clone(), file.hash.clone())),
                        why: why.clone(),
                    });
                }
            }
        }
        Ok(found)
    }
}

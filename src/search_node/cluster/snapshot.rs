//! Making snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::settings::Flat;
use super::state::State;
use super::{Index, Lenience, Node, index, now_millis, whole};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::shard::Export;
use crate::search_node::snapshots::{
    Blob, Description, FORMAT, Kind, Listed, Lock, Pace, Repository, Running, SavedFile,
    SavedIndex, check_snapshot_name, hash_of, invalid_name,
};

/// Beginning of the settings of lifecycles.
const LIFECYCLE: &str = "index.lifecycle.";

/// What a snapshot is to hold.
#[derive(Debug)]
pub(in crate::search_node) struct SnapshotWish {
    /// Which indices.
    pub indices: String,
    /// What that means.
    pub lenience: Lenience,
    /// Whether indices that cannot be taken are left out.
    pub partial: bool,
    /// Whether templates and lifecycle policies are in it.
    pub global: bool,
    /// What its maker writes to it.
    pub metadata: Option<Value>,
}

/// A snapshot that may begin.
#[derive(Debug)]
pub(in crate::search_node) struct Snapshotting {
    // Given back first: who waits for the end goes on to change the repository.
    _lock: Lock,
    listed: Listed,
    node: Arc<Node>,
    repository: Repository,
    wish: SnapshotWish,
    indices: Vec<Arc<Index>>,
    failures: BTreeMap<String, String>,
    /// Indices that must be in it: they were asked for by name.
    named: BTreeSet<String>,
}

/// What is of one moment in a snapshot, however long it takes.
struct Moment {
    state: State,
    /// Settings of lifecycles, by index. With a rollover that is not in the state they would say
    /// that the index is older than it is.
    lifecycles: BTreeMap<String, Flat>,
}

/// Files of an index, what they contain, and which of them the repository lacks.
struct Read {
    saved: SavedIndex,
    new: Vec<(Blob, File)>,
    began: Instant,
}

impl Node {
    /// Checks that a snapshot `name` can be made, and takes the right to do so.
    pub(in crate::search_node) fn begin_snapshot(
        self: &Arc<Self>,
        repository: &str,
        name: &str,
        wish: SnapshotWish,
    ) -> Outcome<Snapshotting> {
        let repository = self.repository(repository)?;
        check_snapshot_name(&repository.name, name)?;
        repository.check_writable("create snapshot")?;
        let at_work = self.at_work(Kind::Snapshot, &repository.name);
        if at_work.iter().any(|running| running.snapshot == name) {
            let why = "snapshot with the same name is already in-progress";
            return Err(invalid_name(&repository.name, name, why));
        }
        let lock = repository.lock_to_add()?;
        if repository.names()?.contains(name) {
            let why = "snapshot with the same name already exists";
            return Err(invalid_name(&repository.name, name, why));
        }
        repository.check_count()?;
        let failures: BTreeMap<_, _> = self.broken_among(&wish.indices).into_iter().collect();
        if !failures.is_empty() && !wish.partial {
            let names: Vec<&str> = failures.keys().map(String::as_str).collect();
            return Err(Failure::new(
                500,
                "snapshot_exception",
                format!(
                    "[{}:{name}] Indices don't have primary shards [{}]: they could not be opened; \
                     leave them out, or set [partial]",
                    repository.name,
                    names.join(", ")
                ),
            ));
        }
        let indices: Vec<Arc<Index>> = self
            .resolve(&wish.indices, wish.lenience)?
            .into_iter()
            .map(|target| target.index)
            .collect();
        let named = self.named_in(&wish);
        let mut running = Running::new(Kind::Snapshot, &repository.name, name, now_millis());
        running.uuid = index::new_uuid()?;
        running.global = wish.global;
        for index in &indices {
            running.note(&index.name, |_| ());
        }
        Ok(Snapshotting {
            _lock: lock,
            listed: self.snapshots.list(running)?,
            node: Arc::clone(self),
            repository,
            wish,
            indices,
            failures,
            named,
        })
    }

    /// The indices that `wish` names, by themselves or an alias, and that must not be missing.
    fn named_in(&self, wish: &SnapshotWish) -> BTreeSet<String> {
        let lenience = Lenience {
            ignore_unavailable: true,
            ..wish.lenience
        };
        let parts = wish.indices.split(',').map(str::trim);
        parts
            .filter(|part| !wish.lenience.ignore_unavailable && !part.contains('*'))
            .filter(|part| !["", "_all"].contains(part))
            .flat_map(|part| self.resolve(part, lenience).unwrap_or_default())
            .map(|target| target.index.name.clone())
            .collect()
    }
}

impl Snapshotting {
    /// Makes the snapshot; takes as long as copying its new files does. When it fails nothing of
    /// it stays.
    pub(in crate::search_node) fn run(mut self) -> Outcome<Description> {
        let mut written = BTreeSet::new();
        let result = whole(|| self.make(&mut written));
        let running = &self.listed.running;
        let (repository, name) = (&running.repository, &running.snapshot);
        if let Err(failure) = &result {
            tracing::warn!("snapshot [{repository}:{name}] failed: {failure}");
            // A description that could be there after all needs them.
            if self
                .repository
                .names()
                .is_ok_and(|names| !names.contains(name))
            {
                for hash in &written {
                    if let Err(failure) = self.repository.blobs.remove(hash) {
                        tracing::warn!("repository [{repository}]: {failure}");
                    }
                }
            }
        }
        let failed = result.as_ref().err().map(|failure| failure.reason.clone());
        self.node.snapshots.note(running, failed);
        result
    }

    fn make(&mut self, written: &mut BTreeSet<String>) -> Outcome<Description> {
        let running = Arc::clone(&self.listed.running);
        let mut pace = Pace::new(&running.work, self.repository.snapshot_rate);
        let mut indices = BTreeMap::new();
        let at = self.moment();
        for index in std::mem::take(&mut self.indices) {
            running.work.check()?;
            match self.read(&running, &at, &index, &pace) {
                Ok(read) => {
                    let saved = self.write(&running, &index.name, read, &mut pace, written)?;
                    indices.insert(index.name.clone(), saved);
                }
                Err(failure) => {
                    running.work.check()?;
                    if !self.named.contains(&index.name) && self.is_gone(&index) {
                        // As if it had gone before the begin.
                        running.forget(&index.name);
                        continue;
                    }
                    if !self.wish.partial {
                        return Err(failure);
                    }
                    self.failures
                        .insert(index.name.clone(), failure.to_string());
                }
            }
        }
        let global = self.wish.global.then(|| {
            BTreeMap::from([
                ("templates".to_owned(), json!(at.state.templates)),
                ("components".to_owned(), json!(at.state.components)),
                ("policies".to_owned(), json!(at.state.policies)),
            ])
        });
        let description = Description {
            format: FORMAT,
            snapshot: running.snapshot.clone(),
            uuid: running.uuid.clone(),
            cluster_uuid: at.state.cluster_uuid,
            started: running.started,
            ended: now_millis(),
            global,
            metadata: self.wish.metadata.take(),
            indices,
            failures: std::mem::take(&mut self.failures),
        };
        self.repository.save(&description)?;
        Ok(description)
    }

    fn moment(&self) -> Moment {
        // Settings first: a rollover is in the state before it is in them.
        let lifecycles = self.indices.iter().map(|index| {
            let mut flat = index.settings().flat.clone();
            flat.retain(|key, _| key.starts_with(LIFECYCLE));
            (index.name.clone(), flat)
        });
        Moment {
            lifecycles: lifecycles.collect(),
            state: self.node.state(),
        }
    }

    /// Whether the index was deleted.
    fn is_gone(&self, index: &Index) -> bool {
        let inner = self.node.read();
        let entry = inner.state.indices.get(&index.name);
        entry.is_none_or(|entry| entry.uuid != index.uuid)
    }

    /// Saves the index, and finds out what its files contain; the rest is that of `at`.
    fn read(
        &self,
        running: &Running,
        at: &Moment,
        index: &Index,
        pace: &Pace<'_>,
    ) -> Outcome<Read> {
        let (started, began) = (now_millis(), Instant::now());
        running.note(&index.name, |progress| progress.started = started);
        self.node.save(index)?;
        let export = index.shard.export()?;
        // Fields are only ever added: a later mapping fits the segments too.
        let mut definition = index.definition();
        definition
            .settings
            .retain(|key, _| !key.starts_with(LIFECYCLE));
        let lifecycle = at.lifecycles.get(&index.name).cloned();
        definition.settings.extend(lifecycle.unwrap_or_default());
        let entry = at.state.indices.get(&index.name);
        let entry = entry.filter(|entry| entry.uuid == index.uuid);
        let entry = entry.ok_or_else(|| Failure::no_index(&index.name))?;
        let mut files = Vec::new();
        let mut new: Vec<(Blob, File)> = Vec::new();
        for (name, file) in export.files {
            let blob = hash_of(&file, pace)?;
            files.push(SavedFile {
                name: name.clone(),
                hash: blob.hash.clone(),
                bytes: blob.bytes,
            });
            if !self.repository.blobs.has(&blob) && new.iter().all(|(known, _)| *known != blob) {
                // What could not be restored must not look as if it were saved.
                Export::verify(&name, &file).map_err(|failure| Failure {
                    reason: format!("index [{}]: {}", index.name, failure.reason),
                    ..failure
                })?;
                new.push((blob, file));
            }
        }
        let to_json = |error: serde_json::Error| Failure::internal(error.to_string());
        let saved = SavedIndex {
            definition: serde_json::to_value(definition).map_err(to_json)?,
            aliases: json!(entry.aliases),
            lifecycle: entry.lifecycle.as_ref().map(|progress| json!(progress)),
            rolled: entry.rolled.clone(),
            commit: export.commit,
            new_files: new.len() as u64,
            new_bytes: new.iter().map(|(blob, _)| blob.bytes).sum(),
            files,
            started,
            millis: 0,
        };
        running.note(&index.name, |progress| {
            progress.files = saved.files.len() as u64;
            progress.bytes = saved.bytes();
            progress.new_files = saved.new_files;
            progress.new_bytes = saved.new_bytes;
        });
        Ok(Read { saved, new, began })
    }

    /// Writes what the repository lacks, if there is room for it; `written` gets the blobs.
    fn write(
        &self,
        running: &Running,
        index: &str,
        read: Read,
        pace: &mut Pace<'_>,
        written: &mut BTreeSet<String>,
    ) -> Outcome<SavedIndex> {
        self.repository.check_room(read.saved.new_bytes)?;
        for (blob, file) in &read.new {
            // Others write too.
            self.repository.check_room(blob.bytes)?;
            self.repository.blobs.put(file, blob, pace)?;
            written.insert(blob.hash.clone());
            running.note(index, |progress| {
                progress.done_files += 1;
                progress.done_bytes += blob.bytes;
            });
        }
        let millis = u64::try_from(read.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        running.note(index, |progress| progress.millis = Some(millis));
        Ok(SavedIndex {
            millis,
            ..read.saved
        })
    }
}

//! Restoring indices from snapshots.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use serde_json::Value;

use super::rename::Rename;
use super::restore_wish::{RestoreWish, pick_names};
use super::state::{Entry, State};
use super::{Definition, Index, MAX_INDICES, Node, aliases, index, now_millis, whole};
use crate::fsx;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::lifecycle::{Progress, Stored};
use crate::search_node::names;
use crate::search_node::shard::Shard;
use crate::search_node::snapshots::{
    Description, Kind, Listed, Lock, Pace, Repository, Running, SavedFile, SavedIndex, check_free,
};

/// One index to be restored.
#[derive(Debug)]
struct Pick {
    from: String,
    definition: Definition,
    /// What the state is to have of it.
    entry: Entry,
}

/// A restore that may begin.
#[derive(Debug)]
pub(in crate::search_node) struct Restoring {
    // Given back first: who waits for the end goes on to change the repository.
    _lock: Lock,
    listed: Listed,
    node: Arc<Node>,
    repository: Repository,
    description: Description,
    picks: Vec<Pick>,
    global: bool,
}

fn refuse(repository: &Repository, snapshot: &Description, why: impl std::fmt::Display) -> Failure {
    Failure::new(
        500,
        "snapshot_restore_exception",
        format!(
            "[{}:{}/{}] {why}",
            repository.name, snapshot.snapshot, snapshot.uuid
        ),
    )
}

/// Why an open index keeps another one from its name.
fn is_open(name: &str) -> String {
    format!(
        "cannot restore index [{name}] because an open index with same name already exists in the \
         cluster. Either close or delete the existing index or restore the index under a different \
         name by providing a rename pattern and replacement name"
    )
}

impl Node {
    /// Checks that `snapshot` can be restored as wished; what its blobs hold is not read yet.
    pub(in crate::search_node) fn begin_restore(
        self: &Arc<Self>,
        repository: &str,
        snapshot: &str,
        wish: &RestoreWish,
    ) -> Outcome<Restoring> {
        let repository = self.repository(repository)?;
        let lock = repository.lock_to_read()?;
        let description = repository.load(snapshot)?;
        let refuse = |why: String| refuse(&repository, &description, why);
        if wish.global && description.global.is_none() {
            return Err(refuse(
                "cannot restore the global state: the snapshot was made without it".to_owned(),
            ));
        }
        let all = description
            .indices
            .keys()
            .chain(description.failures.keys());
        let all = all.map(String::as_str).collect();
        let rename = match &wish.rename {
            Some((pattern, replacement)) => Some(Rename::parse(pattern, replacement)?),
            None => None,
        };
        let mut picks = Vec::new();
        let mut sources: BTreeMap<String, String> = BTreeMap::new();
        for from in pick_names(&wish.indices, &all, wish.ignore_unavailable)? {
            let Some(saved) = description.indices.get(&from) else {
                return Err(refuse(format!(
                    "index [{from}] wasn't fully snapshotted - cannot restore; leave it out"
                )));
            };
            let name = rename
                .as_ref()
                .map_or_else(|| from.clone(), |rename| rename.apply(&from));
            names::check(&name)?;
            if let Some(other) = sources.insert(name.clone(), from.clone()) {
                return Err(refuse(format!(
                    "indices [{from}] and [{other}] are renamed into the same index [{name}]"
                )));
            }
            let unreadable =
                |error: serde_json::Error| refuse(format!("index [{from}] is unreadable: {error}"));
            let definition: Definition =
                serde_json::from_value(saved.definition.clone()).map_err(unreadable)?;
            let aliases = if wish.aliases {
                serde_json::from_value(saved.aliases.clone()).map_err(unreadable)?
            } else {
                BTreeMap::new()
            };
            let lifecycle = saved.lifecycle.clone().map(serde_json::from_value);
            let mut lifecycle: Option<Progress> = lifecycle.transpose().map_err(unreadable)?;
            // The versions of another node's policies mean nothing here.
            if let Some(cached) = lifecycle.as_mut().and_then(|at| at.cached.as_mut()) {
                cached.version = 0;
            }
            let settings = wish
                .change(&definition.settings)
                .map_err(|cause| refuse(cause.reason))?;
            let uuid = index::new_uuid()?;
            picks.push(Pick {
                from,
                entry: Entry {
                    uuid: uuid.clone(),
                    aliases,
                    lifecycle,
                    rolled: saved.rolled.clone(),
                    ..Entry::default()
                },
                definition: Definition {
                    name,
                    uuid,
                    settings,
                    ..definition
                },
            });
        }
        let state = self.state();
        for pick in &picks {
            check_place(&state, &pick.definition.name).map_err(&refuse)?;
        }
        let running = Running::new(Kind::Restore, &repository.name, snapshot, now_millis());
        for pick in &picks {
            running.note(&pick.definition.name, |_| ());
        }
        Ok(Restoring {
            _lock: lock,
            listed: self.snapshots.list(running)?,
            node: Arc::clone(self),
            global: wish.global,
            repository,
            description,
            picks,
        })
    }
}

/// Whether a restored index may have this name; a closed index gives way.
fn check_place(state: &State, name: &str) -> Result<(), String> {
    match state.indices.get(name) {
        Some(entry) if !entry.closed => Err(is_open(name)),
        None if state.indices.len() >= MAX_INDICES => Err(format!(
            "this node has [{MAX_INDICES}] indices, its limit; delete some"
        )),
        None if state.is_alias(name) => Err(format!(
            "cannot restore index [{name}] because an alias with the same name already exists"
        )),
        _ => Ok(()),
    }
}

impl Restoring {
    /// Restores all of it, or nothing; returns the names of the new indices.
    pub(in crate::search_node) fn run(mut self) -> Outcome<Vec<String>> {
        let picks = std::mem::take(&mut self.picks);
        let names = picks
            .iter()
            .map(|pick| pick.definition.name.clone())
            .collect();
        let uuids: Vec<String> = picks.iter().map(|pick| pick.entry.uuid.clone()).collect();
        let result = whole(|| self.fetch(picks).and_then(|new| self.install(new)));
        if let Err(failure) = &result {
            self.node.discard(&uuids);
            tracing::warn!(
                "restore of [{}:{}] failed: {failure}",
                self.repository.name,
                self.description.snapshot
            );
        }
        let failed = result.as_ref().err().map(|failure| failure.reason.clone());
        self.node.snapshots.note(&self.listed.running, failed);
        result.map(|()| names)
    }

    fn refuse(&self, why: impl std::fmt::Display) -> Failure {
        refuse(&self.repository, &self.description, why)
    }

    /// Brings the files to the disk, and opens the indices; nobody sees them yet.
    fn fetch(&self, picks: Vec<Pick>) -> Outcome<Vec<(Index, Entry)>> {
        let saved = |pick: &Pick| self.description.indices.get(&pick.from);
        let bytes = picks.iter().filter_map(saved).map(SavedIndex::bytes).sum();
        check_free(self.node.dir(), bytes, "the restored indices")?;
        let mut pace = Pace::new(&self.listed.running.work, self.repository.restore_rate);
        let mut new = Vec::new();
        for pick in picks {
            let saved = self.description.indices.get(&pick.from);
            let saved =
                saved.ok_or_else(|| self.refuse(format!("index [{}] is not in it", pick.from)))?;
            let wrong = |why: String| self.refuse(format!("index [{}]: {why}", pick.from));
            let wanted = Shard::files_of(&saved.commit).map_err(|failure| wrong(failure.reason))?;
            let known = saved.files.iter().map(|file| file.name.clone()).collect();
            if wanted != known {
                return Err(wrong(
                    "its list of files does not fit its segments".to_owned(),
                ));
            }
            let indices = self.node.indices_dir();
            let dir = Index::shard_dir(&indices, &pick.definition.uuid);
            for dir in dir.parent().into_iter().chain([dir.as_path()]) {
                fsx::create_dir_durable(dir, 0o700)?;
            }
            for file in &saved.files {
                // Others write too.
                check_free(self.node.dir(), file.bytes, "the restored indices")?;
                let got =
                    self.repository
                        .blobs
                        .get(&file.blob(), &dir.join(&file.name), &mut pace)?;
                got.map_err(|why| self.damaged(&pick.from, file, &why))?;
            }
            Shard::import(&dir, &saved.commit)?;
            let index = Index::adopt(&indices, pick.definition, &self.node.log)
                .map_err(|failure| wrong(failure.reason))?;
            new.push((index, pick.entry));
        }
        Ok(new)
    }

    fn damaged(&self, index: &str, file: &SavedFile, why: &str) -> Failure {
        self.refuse(format!(
            "index [{index}]: file [{}] (blob [{}]) {why}; nothing was restored: take a snapshot \
             of an index that still has the file, which writes the blob anew, bring it back from a \
             copy of the repository, or leave the index out",
            file.name, file.hash
        ))
    }

    /// Makes the indices known, all at once; closed ones of their names give way.
    fn install(&self, new: Vec<(Index, Entry)>) -> Outcome<()> {
        let node = &self.node;
        let guard = node.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.listed.running.work.check()?;
        let (new, entries): (Vec<_>, Vec<_>) = new
            .into_iter()
            .map(|(index, entry)| (Arc::new(index), entry))
            .unzip();
        let take_in = |state: &mut State| {
            for (index, entry) in new.iter().zip(&entries) {
                check_place(state, &index.name).map_err(|why| self.refuse(why))?;
                state.indices.insert(index.name.clone(), entry.clone());
            }
            for alias in entries.iter().flat_map(|entry| entry.aliases.keys()) {
                aliases::check_name(state, alias)
                    .and_then(|()| aliases::check_writers(state, alias))
                    .map_err(|failure| self.refuse(failure.reason))?;
            }
            if self.global {
                self.add_global(state)?;
            }
            Ok(())
        };
        let ((), gone) = node.publish(take_in, &new)?;
        drop(guard);
        node.clear(gone);
        Ok(())
    }

    fn add_global(&self, state: &mut State) -> Outcome<()> {
        let unreadable = |error: serde_json::Error| {
            self.refuse(format!("the global state is unreadable: {error}"))
        };
        for (kind, value) in self.description.global.iter().flatten() {
            let known = match kind.as_str() {
                "templates" => &mut state.templates,
                "components" => &mut state.components,
                "policies" => {
                    let new: BTreeMap<String, Stored> =
                        serde_json::from_value(value.clone()).map_err(unreadable)?;
                    add_policies(state, new);
                    continue;
                }
                other => {
                    return Err(self.refuse(format!(
                        "the global state has [{other}], which this node does not know; update it, \
                         or restore without the global state"
                    )));
                }
            };
            let new: BTreeMap<String, Value> =
                serde_json::from_value(value.clone()).map_err(unreadable)?;
            known.extend(new);
        }
        Ok(())
    }
}

/// Adds policies; one that is another one here already counts as changed now.
fn add_policies(state: &mut State, new: BTreeMap<String, Stored>) {
    for (name, mut new) in new {
        if let Some(known) = state.policies.get(&name) {
            if known.policy == new.policy {
                continue;
            }
            new.version = known.version.max(new.version).saturating_add(1);
            new.modified = now_millis();
        }
        state.policies.insert(name, new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_the_state_on_the_disk_may_name_is_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::open(dir.path(), "c", "n", 1 << 28, &[]).unwrap();
        let index = node.create("a", &Value::Null).unwrap();
        let named = node.indices_dir().join(&index.uuid);
        let new = node.indices_dir().join("new");
        fsx::create_dir(&new, 0o700).unwrap();
        node.discard(&[index.uuid.clone(), "new".to_owned()]);
        assert!(named.is_dir() && !new.exists());
        fsx::create_dir(&new, 0o700).unwrap();
        fsx::write_atomic(&dir.path().join("state.json"), b"{", 0o600).unwrap();
        node.discard(&["new".to_owned()]);
        assert!(new.is_dir());
    }
}

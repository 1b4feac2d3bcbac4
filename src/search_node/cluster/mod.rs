//! The node's indices, aliases and templates.

mod aliases;
mod change;
mod cluster_settings;
pub(super) mod index;
mod lifecycle;
mod policies;
mod rename;
mod repositories;
mod resolve;
mod restore;
mod restore_wish;
mod rollover;
pub(super) mod settings;
mod snapshot;
pub(super) mod state;
mod steady;
mod templates;
mod upkeep;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use serde_json::{Value, json};

pub(super) use aliases::show as show_alias;
pub(super) use index::{Definition, Index};
use lifecycle::Executor;
pub(super) use lifecycle::{age_of, policy_of};
pub(super) use policies::At;
pub(super) use repositories::is_all;
pub(super) use resolve::{Lenience, unavailable};
pub(super) use restore_wish::RestoreWish;
pub(super) use rollover::Rollover;
pub(super) use snapshot::SnapshotWish;
use state::{Alias, Entry, State};
pub(super) use upkeep::worst;

use crate::fsx::{self, FsError};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::Mapping;
use crate::search_node::names;
use crate::search_node::search::Contexts;
use crate::search_node::shard::Log;
use crate::search_node::snapshots::{Places, Snapshots};
use crate::search_node::stored;
use crate::search_node::tasks::Tasks;
use upkeep::buffer_limit;

/// Indices of a node at most; each takes memory.
const MAX_INDICES: usize = 1000;

/// See the module.
#[derive(Debug)]
pub(super) struct Node {
    /// Name of the cluster.
    pub cluster_name: String,
    /// Name of the node.
    pub name: String,
    /// When it was started.
    pub started: Instant,
    /// Memory for buffers and caches, in bytes.
    pub memory: u64,
    /// The log.
    pub log: Arc<Log>,
    /// Searches that go on.
    pub contexts: Contexts,
    /// Work that goes on.
    pub tasks: Tasks,
    /// What is at work in repositories of snapshots.
    pub snapshots: Arc<Snapshots>,
    dir: PathBuf,
    inner: RwLock<Inner>,
    /// Held while the state changes.
    changing: Mutex<()>,
    /// Bytes of the log that the last save of all indices did not free.
    log_kept: AtomicU64,
    /// What acts on lifecycle policies.
    pub(super) lifecycle: Executor,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) state: State,
    /// Indices by name, closed ones included.
    pub(super) open: BTreeMap<String, Arc<Index>>,
    /// Indices that could not be opened, and why.
    pub(super) broken: BTreeMap<String, String>,
}

/// Now, in milliseconds since the epoch.
pub(super) fn now_millis() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

impl Node {
    /// Opens everything in `dir`, with repositories of snapshots below `path_repo`, and applies what the log has of the last moments.
    pub(super) fn open(
        dir: &Path,
        cluster_name: &str,
        name: &str,
        memory: u64,
        path_repo: &[PathBuf],
    ) -> Outcome<Arc<Self>> {
        let indices_dir = dir.join("indices");
        let log_dir = dir.join("log");
        for dir in [dir, &indices_dir, &log_dir] {
            fsx::create_dir_durable(dir, 0o700)?;
        }
        stored::remove_temporaries(dir);
        let state = match State::load(dir)? {
            Some(state) => state,
            None => begin(dir, &indices_dir)?,
        };
        let log = Log::open(&log_dir)?;
        let mut open = BTreeMap::new();
        let mut broken = BTreeMap::new();
        for (name, entry) in &state.indices {
            match Index::open(indices_dir.join(&entry.uuid), &log) {
                Ok(index) => {
                    index.set_open(!entry.closed);
                    open.insert(name.clone(), Arc::new(index));
                }
                Err(failure) => {
                    tracing::error!("index [{name}] could not be opened: {failure}");
                    broken.insert(name.clone(), failure.to_string());
                }
            }
        }
        let mut applied = 0;
        log.replay(|frame| {
            let Some(index) = open.values().find(|index| index.id() == frame.index) else {
                return;
            };
            if broken.contains_key(&index.name) {
                return;
            }
            match whole(|| index.replay(frame, buffer_limit(memory))) {
                Ok(count) => applied += count,
                Err(failure) => {
                    let name = &index.name;
                    tracing::error!("index [{name}]: its log could not be applied: {failure}");
                    broken.insert(name.clone(), failure.to_string());
                }
            }
        })?;
        if applied > 0 {
            tracing::info!("{applied} operations of the log were applied again");
        }
        for (name, index) in &open {
            if !broken.contains_key(name)
                && let Err(failure) = whole(|| index.shard.refresh())
            {
                tracing::error!("index [{name}] could not be read: {failure}");
                broken.insert(name.clone(), failure.to_string());
            }
        }
        // With a part of its writes an index would answer wrongly, and number new ones twice.
        open.retain(|name, _| !broken.contains_key(name));
        let node = Arc::new(Self {
            cluster_name: cluster_name.to_owned(),
            name: name.to_owned(),
            started: Instant::now(),
            memory,
            log,
            contexts: Contexts::default(),
            tasks: Tasks::default(),
            snapshots: Arc::new(Snapshots::new(Places::new(path_repo, dir))),
            dir: dir.to_path_buf(),
            inner: RwLock::new(Inner {
                state,
                open,
                broken,
            }),
            changing: Mutex::new(()),
            log_kept: AtomicU64::new(0),
            lifecycle: Executor::new(),
        });
        node.remove_strays();
        node.keep_reserve();
        Ok(node)
    }

    /// Directories of indices that were being made or deleted when the power went.
    fn remove_strays(&self) {
        let inner = self.read();
        let Ok(entries) = std::fs::read_dir(self.indices_dir()) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let known = inner
                .state
                .indices
                .values()
                .any(|e| Some(e.uuid.as_str()) == name.to_str());
            if !known {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Where the node's files lie.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn indices_dir(&self) -> PathBuf {
        self.dir.join("indices")
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the state.
    pub(super) fn state(&self) -> State {
        self.read().state.clone()
    }

    /// The API key of this id.
    pub(super) fn api_key(&self, id: &str) -> Option<Value> {
        self.read().state.api_keys.get(id).cloned()
    }

    /// All API keys by id.
    pub(super) fn api_keys(&self) -> BTreeMap<String, Value> {
        self.read().state.api_keys.clone()
    }

    /// Identity of the cluster.
    pub(super) fn cluster_uuid(&self) -> String {
        self.read().state.cluster_uuid.clone()
    }

    /// All indices, closed ones included, by name.
    pub(super) fn indices(&self) -> Vec<Arc<Index>> {
        self.read().open.values().cloned().collect()
    }

    /// Indices that could not be opened, and why.
    pub(super) fn broken(&self) -> BTreeMap<String, String> {
        self.read().broken.clone()
    }

    /// Makes the index `name` as `body` and the templates that fit say.
    pub(super) fn create(&self, name: &str, body: &Value) -> Outcome<Arc<Index>> {
        let dated = names::dated(name, now_millis())?;
        self.create_with(&dated, name, body, |_| Ok(()))
    }

    /// Makes the index `name`, which was asked for as `provided`; the state that has it also has
    /// what `also` changes, or there is neither.
    fn create_with(
        &self,
        name: &str,
        provided: &str,
        body: &Value,
        also: impl FnOnce(&mut State) -> Outcome<()>,
    ) -> Outcome<Arc<Index>> {
        names::check(name)?;
        let _guard = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let inner = self.read();
            if let Some(entry) = inner.state.indices.get(name) {
                return Err(Failure::new(
                    400,
                    "resource_already_exists_exception",
                    format!("index [{name}/{}] already exists", entry.uuid),
                )
                .with("index", name)
                .with("index_uuid", entry.uuid.clone()));
            }
            if inner.state.is_alias(name) {
                return Err(Failure::new(
                    400,
                    "invalid_index_name_exception",
                    format!("Invalid index name [{name}], already exists as alias"),
                )
                .with("index", name));
            }
            if inner.state.indices.len() >= MAX_INDICES {
                return Err(Failure::illegal(format!(
                    "this node has [{MAX_INDICES}] indices, its limit; delete some"
                )));
            }
        }
        let mut plan = self.plan_index(name, body)?;
        if provided != name {
            let key = settings::PROVIDED_NAME.to_owned();
            plan.settings.insert(key, provided.to_owned());
        }
        for (alias, of) in &plan.aliases {
            aliases::check_name(&self.read().state, alias)?;
            if of.is_write_index == Some(true) {
                self.check_write_alias(alias, name)?;
            }
        }
        let mapping = Mapping::empty()?.merged(&plan.mapping)?;
        settings::Settings::new(plan.settings.clone()).check_fields(&mapping)?;
        let definition = Definition {
            name: name.to_owned(),
            uuid: index::new_uuid()?,
            created: now_millis(),
            settings: plan.settings,
            mapping: mapping.json().clone(),
            numbered: mapping.numbered().clone(),
        };
        let index = self.adopt_locked(definition, plan.aliases, also)?;
        self.lifecycle.kick();
        Ok(index)
    }

    fn adopt_locked(
        &self,
        definition: Definition,
        aliases: BTreeMap<String, Alias>,
        also: impl FnOnce(&mut State) -> Outcome<()>,
    ) -> Outcome<Arc<Index>> {
        let name = definition.name.clone();
        let index = Arc::new(Index::create(&self.indices_dir(), definition, &self.log)?);
        let entry = Entry {
            uuid: index.uuid.clone(),
            aliases,
            ..Entry::default()
        };
        let insert = |state: &mut State| {
            state.indices.insert(name, entry);
            also(state)
        };
        if let Err(failure) = self.publish(insert, std::slice::from_ref(&index)) {
            self.discard(std::slice::from_ref(&index.uuid));
            return Err(failure);
        }
        Ok(index)
    }

    /// Deletes indices: all of them or none. On a full disk the reserve makes room for that.
    pub(super) fn delete(&self, names: &[String]) -> Outcome<()> {
        self.with_reserve(|| {
            self.change(|state| {
                for name in names {
                    state
                        .indices
                        .remove(name)
                        .ok_or_else(|| Failure::no_index(name))?;
                }
                Ok(())
            })
        })
    }

    /// The index that writes to `name` go to; it is made when it is missing.
    pub(super) fn for_writing(&self, name: &str) -> Outcome<Arc<Index>> {
        if let Some(index) = self.write_index(name)? {
            return Ok(index);
        }
        match self.create(name, &json!({})) {
            Ok(index) => Ok(index),
            // Somebody else made it in this moment.
            Err(failure) if failure.kind == "resource_already_exists_exception" => self.one(name),
            Err(failure) => Err(failure),
        }
    }
}

/// The state of a node that has none yet. Where indices lie, a missing one is damage: their
/// directories would be taken for leftovers.
fn begin(dir: &Path, indices: &Path) -> Outcome<State> {
    let mut entries = std::fs::read_dir(indices).map_err(FsError::wrap("read", indices))?;
    if entries.next().is_some() {
        return Err(Failure::internal(format!(
            "{} is missing, though there are indices in {}; {}",
            dir.join(state::NAME).display(),
            indices.display(),
            state::REMEDY
        )));
    }
    let state = State {
        cluster_uuid: index::new_uuid()?,
        ..State::default()
    };
    state.save(dir)?;
    Ok(state)
}

/// Runs work on one index; a panic of it is a failure of this index alone.
fn whole<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Failure::internal(
            "it met a fault of the node; the log has the details",
        ))
    })
}

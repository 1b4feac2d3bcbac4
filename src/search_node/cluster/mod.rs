//! The node's indices, aliases and templates.

mod aliases;
pub(super) mod index;
mod resolve;
pub(super) mod settings;
pub(super) mod state;
mod templates;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(super) use aliases::show as show_alias;
pub(super) use index::{Definition, Index};
pub(super) use resolve::{Lenience, unavailable};
use state::{Alias, Entry, State};

use crate::fsx;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::Mapping;
use crate::search_node::names;
use crate::search_node::search::Contexts;
use crate::search_node::shard::Log;

/// Indices of a node at most; each takes memory.
const MAX_INDICES: usize = 1000;

/// Unsaved documents are saved when nothing was written for so long.
const IDLE_FLUSH: Duration = Duration::from_secs(300);

/// The log is emptied by saving the indices when it is larger than this.
const MAX_LOG: u64 = 48 << 20;

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
    dir: PathBuf,
    inner: RwLock<Inner>,
    /// Held while the state changes.
    changing: Mutex<()>,
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
    /// Opens everything in `dir`, and applies what the log has of the last moments.
    pub(super) fn open(
        dir: &Path,
        cluster_name: &str,
        name: &str,
        memory: u64,
    ) -> Outcome<Arc<Self>> {
        let indices_dir = dir.join("indices");
        let log_dir = dir.join("log");
        for dir in [dir, &indices_dir, &log_dir] {
            fsx::create_dir_durable(dir, 0o700)?;
        }
        let mut state = State::load(dir)?;
        if state.cluster_uuid.is_empty() {
            state.cluster_uuid = index::new_uuid()?;
            state.save(dir)?;
        }
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
            match index.replay(frame) {
                Ok(count) => applied += count,
                Err(failure) => {
                    let name = &index.name;
                    tracing::error!("index [{name}]: its log could not be applied: {failure}");
                    broken.insert(name.clone(), failure.to_string());
                }
            }
        })?;
        // With a part of its writes an index would answer wrongly, and number new ones twice.
        open.retain(|name, _| !broken.contains_key(name));
        if applied > 0 {
            tracing::info!("{applied} operations of the log were applied again");
        }
        for index in open.values() {
            index.shard.refresh()?;
        }
        let node = Arc::new(Self {
            cluster_name: cluster_name.to_owned(),
            name: name.to_owned(),
            started: Instant::now(),
            memory,
            log,
            contexts: Contexts::default(),
            dir: dir.to_path_buf(),
            inner: RwLock::new(Inner {
                state,
                open,
                broken,
            }),
            changing: Mutex::new(()),
        });
        node.remove_strays();
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

    /// Indices that could not be opened, and faults of the log, and why.
    pub(super) fn broken(&self) -> BTreeMap<String, String> {
        self.faults(&self.read())
    }

    /// Changes the state: it is on the disk before anybody sees it.
    pub(super) fn change<T>(&self, work: impl FnOnce(&mut State) -> Outcome<T>) -> Outcome<T> {
        let _guard = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.change_locked(work)
    }

    fn change_locked<T>(&self, work: impl FnOnce(&mut State) -> Outcome<T>) -> Outcome<T> {
        let mut state = self.state();
        let result = work(&mut state)?;
        state.save(&self.dir)?;
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for (name, entry) in &state.indices {
            if let Some(index) = inner.open.get(name) {
                index.set_open(!entry.closed);
            }
        }
        inner.state = state;
        Ok(result)
    }

    /// Makes the index `name` as `body` and the templates that fit say.
    pub(super) fn create(&self, name: &str, body: &Value) -> Outcome<Arc<Index>> {
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
            if inner
                .state
                .indices
                .values()
                .any(|entry| entry.aliases.contains_key(name))
            {
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
        let plan = self.plan_index(name, body)?;
        for (alias, of) in &plan.aliases {
            self.check_alias_name(alias)?;
            if of.is_write_index == Some(true) {
                self.check_write_alias(alias, name)?;
            }
        }
        let mapping = Mapping::empty()?.merged(&plan.mapping)?;
        let definition = Definition {
            name: name.to_owned(),
            uuid: index::new_uuid()?,
            created: now_millis(),
            settings: plan.settings,
            mapping: mapping.json().clone(),
            slots: mapping.slots().to_vec(),
        };
        self.adopt_locked(definition, plan.aliases)
    }

    fn adopt_locked(
        &self,
        definition: Definition,
        aliases: BTreeMap<String, Alias>,
    ) -> Outcome<Arc<Index>> {
        let name = definition.name.clone();
        let index = Arc::new(Index::create(&self.indices_dir(), definition, &self.log)?);
        let entry = Entry {
            uuid: index.uuid.clone(),
            aliases,
            ..Entry::default()
        };
        let added = self.change_locked(|state| {
            state.indices.insert(name.clone(), entry);
            Ok(())
        });
        if let Err(failure) = added {
            let _ = std::fs::remove_dir_all(index.dir());
            return Err(failure);
        }
        self.inner
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .open
            .insert(name, Arc::clone(&index));
        Ok(index)
    }

    /// Deletes an index; it is gone from the state before its files are.
    pub(super) fn delete(&self, name: &str) -> Outcome<()> {
        let _guard = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let uuid = self.change_locked(|state| match state.indices.remove(name) {
            Some(entry) => Ok(entry.uuid),
            None => Err(Failure::no_index(name)),
        })?;
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.open.remove(name);
        inner.broken.remove(name);
        drop(inner);
        std::fs::remove_dir_all(self.indices_dir().join(uuid))?;
        self.release_log();
        Ok(())
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

    /// What is wrong with the node's data, by what it concerns.
    fn faults(&self, inner: &Inner) -> BTreeMap<String, String> {
        let mut faults = inner.broken.clone();
        if let Some(why) = self.log.failure() {
            faults.insert("_log".to_owned(), why);
        }
        for path in self.log.damaged() {
            let path = path.display().to_string();
            let why = format!(
                "{path} is a copy of a damaged part of the write-ahead log: acknowledged writes \
                 may be missing; check the disk, index what is missing again, then remove \
                 this copy"
            );
            faults.insert("_log".to_owned(), why);
        }
        faults
    }

    /// `green`, `yellow` when copies are wanted that have no place, `red` when an index is lost.
    pub(super) fn health(&self) -> &'static str {
        let inner = self.read();
        if !self.faults(&inner).is_empty() {
            return "red";
        }
        let wants_copies = |index: &Arc<Index>| index.is_open() && index.settings().replicas > 0;
        if inner.open.values().any(wants_copies) {
            "yellow"
        } else {
            "green"
        }
    }

    /// Removes the parts of the log that every index has saved.
    pub(super) fn release_log(&self) {
        let mut saved: BTreeMap<_, _> = self
            .indices()
            .iter()
            .map(|index| (index.id(), index.shard.saved()))
            .collect();
        // Nothing is known of an index that could not be opened: all of its log is kept.
        for entry in self.state().indices.values() {
            match index::id_of(&entry.uuid) {
                Ok(id) => {
                    saved.entry(id).or_insert(0);
                }
                Err(_) => return,
            }
        }
        self.log.release(|id| saved.get(id).copied());
    }

    /// What is to be done now and then: refreshes that are due, flushes, merges.
    pub(super) fn tick(&self) {
        self.contexts.expire();
        let indices = self.indices();
        for index in &indices {
            if let Err(failure) = self.tick_index(index) {
                tracing::warn!("index [{}]: {failure}", index.name);
            }
        }
        let failed = indices.iter().any(|index| index.failed_lately());
        if self.log.bytes() > MAX_LOG
            && !failed
            && let Err(failure) = self.flush_all(&indices)
        {
            tracing::warn!("the log could not be emptied: {failure}");
        }
    }

    fn tick_index(&self, index: &Index) -> Outcome<()> {
        let interval = index.settings().refresh_interval;
        if let Some(interval) = interval
            && index.shard.is_dirty()
        {
            let mut refreshed = index
                .refreshed
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if refreshed.elapsed() >= interval {
                index.shard.refresh()?;
                *refreshed = Instant::now();
                drop(refreshed);
                index.shard.tidy()?;
            }
        }
        let large = index.shard.memory() > self.buffer_limit();
        let idle = index
            .shard
            .unsaved_since()
            .is_some_and(|idle| idle >= IDLE_FLUSH);
        if (large || idle) && !index.failed_lately() {
            self.save(index)?;
            while index.shard.merge_step()? {}
        }
        Ok(())
    }

    /// Memory that one index may take before it is saved, in bytes.
    fn buffer_limit(&self) -> u64 {
        (self.memory / 4).clamp(4 << 20, 64 << 20)
    }

    /// Saves `indices`.
    pub(super) fn flush_all(&self, indices: &[Arc<Index>]) -> Outcome<()> {
        for index in indices {
            index.save()?;
        }
        self.log.cut()?;
        self.release_log();
        Ok(())
    }

    /// Saves one index.
    pub(super) fn save(&self, index: &Index) -> Outcome<()> {
        index.save()?;
        self.log.cut()?;
        self.release_log();
        Ok(())
    }

    /// Refuses a write that would only pile up in memory.
    pub(super) fn check_room(&self, index: &Index) -> Outcome<()> {
        index.check_room(2 * self.buffer_limit())
    }

    /// Saves everything; nothing may be written afterwards.
    pub(super) fn close(&self) {
        if let Err(failure) = self.flush_all(&self.indices()) {
            tracing::warn!("not everything could be saved, the log has the rest: {failure}");
        }
        self.log.stop();
    }
}

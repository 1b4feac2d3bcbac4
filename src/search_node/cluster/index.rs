//! One index: its definition and its store.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::settings::{self, Flat, Operation, Settings};
use crate::fsx;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Mapping, Numbered, read_accepted, read_document};
use crate::search_node::shard::{Change, Frame, IndexId, Log, Shard};
use crate::search_node::stored;

/// File with an index's definition.
const NAME: &str = "index.json";

/// Directory of an index's documents.
const SHARD: &str = "0";

/// A save that failed is tried again after this time.
const RETRY_SAVE: Duration = Duration::from_secs(10);

/// What to do when a definition cannot be read.
const REMEDY: &str = "check the disk, then restore the volume from a backup, or delete the index \
                      and index its documents again";

/// As it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// Its name.
    pub name: String,
    /// Its identity, which no other index ever has.
    pub uuid: String,
    /// When it was made, in milliseconds since the epoch.
    pub created: i64,
    /// Settings by full name.
    pub settings: Flat,
    /// Mapping.
    pub mapping: Value,
    /// Fields and nested objects in the order in which they came.
    #[serde(flatten)]
    pub numbered: Numbered,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Index {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uuid: String,
    /// When it was made, in milliseconds since the epoch.
    pub created: i64,
    id: IndexId,
    dir: PathBuf,
    settings: RwLock<Arc<Settings>>,
    mapping: RwLock<Arc<Mapping>>,
    /// Held while the definition changes.
    changing: Mutex<()>,
    /// Its documents.
    pub shard: Shard,
    open: AtomicBool,
    /// When a refresh was last due, for its interval.
    pub(super) refreshed: Mutex<Instant>,
    /// When the last save failed, and why; none after one that went well.
    pub(super) unsaved: Mutex<Option<(Instant, Failure)>>,
}

/// 16 random bytes as Elasticsearch writes them.
pub(crate) fn new_uuid() -> Outcome<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::internal(format!("no random numbers: {error}")))?;
    Ok(BASE64.encode(bytes))
}

/// A uuid's bytes, as they stand in the log.
pub(super) fn id_of(uuid: &str) -> Outcome<IndexId> {
    BASE64
        .decode(uuid)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| Failure::internal(format!("[{uuid}] is no index uuid")))
}

impl Index {
    /// Makes a new index in `indices`, a directory.
    pub(crate) fn create(indices: &Path, definition: Definition, log: &Arc<Log>) -> Outcome<Self> {
        let dir = indices.join(&definition.uuid);
        fsx::create_dir_durable(&dir, 0o700)?;
        let result = Shard::create(&dir.join(SHARD))
            .and_then(|()| save(&dir, &definition))
            .and_then(|()| Self::from_definition(dir.clone(), definition, log));
        if result.is_err() {
            let _ = std::fs::remove_dir_all(&dir);
        }
        result
    }

    /// Where the store of the index `uuid` lies.
    pub(super) fn shard_dir(indices: &Path, uuid: &str) -> PathBuf {
        indices.join(uuid).join(SHARD)
    }

    /// Opens the index that `definition` is of, and whose store lies in `indices` already.
    pub(super) fn adopt(indices: &Path, definition: Definition, log: &Arc<Log>) -> Outcome<Self> {
        let dir = indices.join(&definition.uuid);
        save(&dir, &definition)?;
        Self::from_definition(dir, definition, log)
    }

    /// Opens the index in `dir`.
    pub(crate) fn open(dir: PathBuf, log: &Arc<Log>) -> Outcome<Self> {
        stored::remove_temporaries(&dir);
        stored::remove_temporaries(&dir.join(SHARD));
        let definition = Self::definition_in(&dir)?;
        Self::from_definition(dir, definition, log)
    }

    /// Reads the definition in `dir`.
    pub(crate) fn definition_in(dir: &Path) -> Outcome<Definition> {
        let path = dir.join(NAME);
        stored::load(&path, REMEDY)?
            .ok_or_else(|| Failure::internal(format!("{} is missing; {REMEDY}", path.display())))
    }

    fn from_definition(dir: PathBuf, definition: Definition, log: &Arc<Log>) -> Outcome<Self> {
        let id = id_of(&definition.uuid)?;
        let mapping = Arc::new(Mapping::build(definition.mapping, definition.numbered)?);
        let shard = Shard::open(&dir.join(SHARD), id, Arc::clone(log), Arc::clone(&mapping))?;
        Ok(Self {
            name: definition.name,
            uuid: definition.uuid,
            created: definition.created,
            id,
            dir,
            settings: RwLock::new(Arc::new(Settings::new(definition.settings))),
            mapping: RwLock::new(mapping),
            changing: Mutex::new(()),
            shard,
            open: AtomicBool::new(true),
            refreshed: Mutex::new(Instant::now()),
            unsaved: Mutex::new(None),
        })
    }

    /// Its identity in the log.
    pub(crate) fn id(&self) -> IndexId {
        self.id
    }

    /// `green`, `yellow` when copies are wanted that have no place, `red` when something is wrong.
    pub(crate) fn health(&self) -> &'static str {
        if self.fault().is_some() {
            "red"
        } else if self.is_open() && self.settings().replicas > 0 {
            "yellow"
        } else {
            "green"
        }
    }

    /// Its settings now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Its mapping now.
    pub(crate) fn mapping(&self) -> Arc<Mapping> {
        Arc::clone(&self.mapping.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
    }

    /// Its definition, to be stored or shown.
    pub(crate) fn definition(&self) -> Definition {
        let mapping = self.mapping();
        Definition {
            name: self.name.clone(),
            uuid: self.uuid.clone(),
            created: self.created,
            settings: self.settings().flat.clone(),
            mapping: mapping.json().clone(),
            numbered: mapping.numbered().clone(),
        }
    }

    /// Refuses an operation on a closed index, or one that a block forbids.
    pub(crate) fn check(&self, operation: Operation) -> Outcome<()> {
        if !self.is_open() && operation != Operation::Metadata {
            return Err(Failure::new(
                400,
                "index_closed_exception",
                format!("closed; POST /{}/_open opens it again", self.name),
            )
            .with("index", self.name.clone()));
        }
        self.settings().check_block(&self.name, operation)
    }

    /// Saves what was written so far.
    pub(super) fn save(&self) -> Outcome<()> {
        let result = self.shard.flush();
        *self.unsaved.lock().unwrap_or_else(PoisonError::into_inner) = result
            .as_ref()
            .err()
            .map(|failure| (Instant::now(), failure.clone()));
        result
    }

    /// Whether a save failed a moment ago, so that it is too early for the next try.
    pub(super) fn failed_lately(&self) -> bool {
        let unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        unsaved
            .as_ref()
            .is_some_and(|(at, _)| at.elapsed() < RETRY_SAVE)
    }

    /// Refuses a write that would only pile up in memory: what is there cannot be saved, or not
    /// as fast as it comes.
    pub(crate) fn check_room(&self, limit: u64) -> Outcome<()> {
        let memory = self.shard.memory();
        if memory <= limit {
            return Ok(());
        }
        let unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        Err(unsaved.as_ref().map_or_else(
            || {
                Failure::new(
                    429,
                    "es_rejected_execution_exception",
                    format!(
                        "index [{}] holds {memory} bytes that are not saved yet, more than its \
                         {limit}: writes come faster than the disk takes them; try again in a \
                         moment",
                        self.name
                    ),
                )
            },
            |(_, failure)| failure.clone(),
        ))
    }

    /// What is wrong with it: writes are not saved, or not taken at all.
    pub(crate) fn fault(&self) -> Option<String> {
        if let Some(failure) = self.shard.fault() {
            return Some(failure.to_string());
        }
        let unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        unsaved.as_ref().map(|(_, failure)| {
            format!("its documents are in the log and in memory alone, a save failed: {failure}")
        })
    }

    /// Adds fields to the mapping.
    pub(crate) fn add_fields(&self, more: &Value) -> Outcome<Arc<Mapping>> {
        let _guard = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.mapping();
        let merged = old.merged(more)?;
        self.settings().check_fields(&merged)?;
        if merged.json() == old.json() {
            return Ok(old);
        }
        let mapping = Arc::new(merged);
        let definition = Definition {
            mapping: mapping.json().clone(),
            numbered: mapping.numbered().clone(),
            ..self.definition()
        };
        save(&self.dir, &definition)?;
        self.shard.set_mapping(Arc::clone(&mapping))?;
        *self.mapping.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&mapping);
        Ok(mapping)
    }

    /// Changes settings; a null takes one away.
    pub(crate) fn change_settings(&self, changes: &Value, keep: bool) -> Outcome<()> {
        let changes = settings::flatten(changes)?;
        settings::check(&changes, true)?;
        let _guard = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut flat = self.settings().flat.clone();
        for (key, value) in changes {
            match value {
                Some(_) if keep && flat.contains_key(&key) => {}
                Some(value) => {
                    flat.insert(key, value);
                }
                None => {
                    flat.remove(&key);
                }
            }
        }
        let definition = Definition {
            settings: flat.clone(),
            ..self.definition()
        };
        save(&self.dir, &definition)?;
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(Settings::new(flat));
        Ok(())
    }

    /// Reads a document under the mapping, which gets the fields that it lacks.
    pub(crate) fn read(&self, id: &str, source: Arc<[u8]>) -> Outcome<Change> {
        let json: Value = serde_json::from_slice(&source).map_err(|error| {
            Failure::document(format!(
                "[{}:{}] failed to parse document with id '{id}': {error}",
                error.line(),
                error.column()
            ))
        })?;
        let mut mapping = self.mapping();
        // Fields of a field that was just added may be new again; objects end at some depth.
        for _ in 0..4 {
            let parsed = read_document(&mapping, id, &json, &source)?;
            match parsed.new_fields {
                None => return Ok(Change::Index { source, parsed }),
                Some(fields) => mapping = self.add_fields(&fields)?,
            }
        }
        Err(Failure::document(format!(
            "failed to parse document with id '{id}': its fields do not settle"
        )))
    }

    /// Reads a document that was accepted before, under the mapping as it is now.
    fn read_again(&self, id: &str, source: Arc<[u8]>) -> Outcome<Change> {
        let json = serde_json::from_slice(&source)
            .map_err(|error| Failure::internal(format!("document [{id}] of the log: {error}")))?;
        let parsed = read_accepted(&self.mapping(), id, &json, &source)?;
        Ok(Change::Index { source, parsed })
    }

    /// Applies what the log has and the segments do not, with a save whenever more than `limit`
    /// bytes are in memory.
    pub(crate) fn replay(&self, frame: &Frame<'_>, limit: u64) -> Outcome<u64> {
        let mut applied = 0;
        for op in &frame.operations {
            if op.seq < self.shard.next_seq() {
                continue;
            }
            let change = match op.source {
                None => Change::Delete,
                Some(source) => self.read_again(op.id, source.into())?,
            };
            self.shard.replay(op, change)?;
            applied += 1;
            if self.shard.memory() > limit
                && !self.failed_lately()
                && let Err(failure) = self.save()
            {
                tracing::warn!("index [{}]: {failure}", self.name);
            }
        }
        Ok(applied)
    }
}

fn save(dir: &Path, definition: &Definition) -> Outcome<()> {
    stored::save(&dir.join(NAME), definition)
}

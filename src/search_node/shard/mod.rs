//! The store of one index: documents are written to the log, collected in memory, made visible
//! by a refresh, and saved to the disk by a flush.

mod bits;
mod change;
mod commit;
mod export;
mod files;
mod flush;
mod frame;
mod log;
mod replay;
mod segment;
mod view;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub(super) use bits::Bits;
pub(super) use change::{Change, Condition, Write, Written};
pub(super) use export::Export;
pub(super) use frame::{Frame, Operation};
pub(super) use log::{IndexId, Log};
pub(super) use segment::{Segment, Stored};
pub(super) use view::{Part, View};

use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::Mapping;
use commit::Commit;
use writer::{Lately, Writer};

/// Operations that are applied under one hold of the lock, so that reads come between.
const CHUNK: usize = 64;

/// Reads `bytes` as the log and a table of contents are read.
#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    frame::fuzz(bytes);
    files::fuzz(bytes);
}

/// Counted since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Documents written.
    pub indexed: AtomicU64,
    /// Time of that, in microseconds.
    pub index_micros: AtomicU64,
    /// Documents deleted.
    pub deleted: AtomicU64,
    /// Documents got by id.
    pub gets: AtomicU64,
    /// Searches.
    pub searches: AtomicU64,
    /// Time of that, in microseconds.
    pub search_micros: AtomicU64,
    /// Refreshes that had something to show.
    pub refreshes: AtomicU64,
    /// Flushes.
    pub flushes: AtomicU64,
    /// Merges.
    pub merges: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shard {
    dir: PathBuf,
    id: IndexId,
    log: Arc<Log>,
    writer: Mutex<Writer>,
    view: RwLock<Arc<View>>,
    /// Held by a flush or a merge; there is one at a time.
    flushing: Mutex<Commit>,
    /// All operations below this sequence number are visible.
    visible: watch::Sender<u64>,
    /// What happened.
    pub counters: Counters,
}

/// A document found by id.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Sequence number of its last change.
    pub seq: u64,
    /// Its version.
    pub version: u64,
    /// `_source` as it came.
    pub source: Arc<[u8]>,
}

impl Shard {
    /// Makes `dir` for an index without documents.
    pub(super) fn create(dir: &Path) -> Outcome<()> {
        crate::fsx::create_dir_durable(dir, 0o700)?;
        Commit::create(dir)
    }

    /// Opens what is saved in `dir`. Operations of the log from [`Shard::saved`] on are to be
    /// replayed.
    pub(super) fn open(
        dir: &Path,
        id: IndexId,
        log: Arc<Log>,
        mapping: Arc<Mapping>,
    ) -> Outcome<Self> {
        let commit = Commit::load(dir)?;
        let parts = commit.open(dir, &mapping.schema)?;
        commit.clean(dir);
        let view = View::new(parts.clone(), Arc::clone(&mapping))?;
        Ok(Self {
            dir: dir.to_path_buf(),
            id,
            log,
            writer: Mutex::new(Writer::new(parts, mapping, &commit)),
            view: RwLock::new(Arc::new(view)),
            visible: watch::Sender::new(commit.saved),
            flushing: Mutex::new(commit),
            counters: Counters::default(),
        })
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What searches see now.
    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// All operations below this sequence number are saved in segments.
    pub(super) fn saved(&self) -> u64 {
        self.writer().saved
    }

    /// The next operation's sequence number.
    pub(super) fn next_seq(&self) -> u64 {
        self.writer().next_seq
    }

    /// Bytes in memory that a flush would bring to the disk.
    pub(super) fn memory(&self) -> u64 {
        self.writer().memory()
    }

    /// Why nothing is taken any more, if so.
    pub(super) fn fault(&self) -> Option<Failure> {
        self.writer().fault().cloned()
    }

    /// Ends the store: what is at work ends first, and whatever holds the index still is told
    /// that there is none.
    pub(super) fn retire(&self, why: Failure) {
        let _commit = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        self.writer().refuse(why);
        self.visible.send_replace(u64::MAX);
    }

    /// Whether there is anything that a refresh would show.
    pub(super) fn is_dirty(&self) -> bool {
        self.writer().dirty
    }

    /// Whether there is anything that a flush would save, and since when nothing was written.
    pub(super) fn unsaved_since(&self) -> Option<Duration> {
        let writer = self.writer();
        let saved = *self.visible.borrow() == writer.next_seq && writer.is_saved();
        (!saved).then(|| writer.last_write.map_or(Duration::MAX, |at| at.elapsed()))
    }

    /// Takes a mapping with more fields; documents that were read under it may follow.
    pub(super) fn set_mapping(&self, mapping: Arc<Mapping>) -> Outcome<()> {
        self.writer().set_mapping(mapping)
    }

    /// Applies `writes` in order; each has its own result. Returns the position in the log that
    /// must be durable before they are acknowledged, if any was applied.
    pub(super) fn write(&self, writes: Vec<Write>) -> (Vec<Outcome<Written>>, Option<u64>) {
        let began = Instant::now();
        let mut results = Vec::with_capacity(writes.len());
        let mut position = None;
        let mut writes = writes.into_iter();
        loop {
            let chunk: Vec<Write> = writes.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                break;
            }
            let (some, at) = self
                .writer()
                .write(self.id, &self.log, chunk, &self.counters);
            results.extend(some);
            position = at.or(position);
        }
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters
            .index_micros
            .fetch_add(micros, Ordering::Relaxed);
        (results, position)
    }

    /// Applies an operation of the log again.
    pub(super) fn replay(&self, op: &Operation<'_>, change: Change) -> Outcome<()> {
        self.writer().replay(op, change)
    }

    /// The document with this `_id` as of now, refreshed or not.
    pub(super) fn get(&self, id: &str) -> Outcome<Option<Found>> {
        self.counters.gets.fetch_add(1, Ordering::Relaxed);
        let view = {
            let writer = self.writer();
            match writer.recent(id) {
                Lately::Written(found) => return Ok(Some(found)),
                Lately::Deleted => return Ok(None),
                Lately::Unknown => self.view(),
            }
        };
        Ok(view.get(id)?.map(|(stored, seq, version)| Found {
            seq,
            version,
            source: stored.source.into(),
        }))
    }

    /// Makes everything that was written visible to searches.
    pub(super) fn refresh(&self) -> Outcome<()> {
        let mut writer = self.writer();
        let Some(view) = writer.refresh()? else {
            return Ok(());
        };
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        self.visible.send_replace(writer.next_seq);
        self.counters.refreshes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until the operation `seq` is visible.
    pub(super) async fn visible(&self, seq: u64) {
        let mut visible = self.visible.subscribe();
        // There is a sender as long as this store; when it is retired everything counts as seen.
        let _ = visible.wait_for(|visible| *visible > seq).await;
    }
}

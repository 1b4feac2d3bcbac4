//! What keeps a node well: refreshes, saves and merges that are due, the log's size, and what of
//! it is not well.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::{FallocateFlags, fallocate};

use super::{Index, Inner, Node, index};
use crate::search_node::failure::{Failure, Outcome};

/// Unsaved documents are saved when nothing was written for so long.
const IDLE_FLUSH: Duration = Duration::from_secs(300);

/// The log is emptied by saving the indices when it is larger than this.
const MAX_LOG: u64 = 48 << 20;

/// What the log must have grown by before that is tried again.
const LOG_STEP: u64 = 16 << 20;

/// Space that is kept back, so that indices can be deleted on a full disk.
const RESERVE: i64 = 1 << 20;

/// A merge into fewer segments than this that does not fit into memory is given up.
const MAX_SEGMENTS: usize = 1024;

/// Memory that one index may take before it is saved, of a node that has `memory`, in bytes.
pub(super) fn buffer_limit(memory: u64) -> u64 {
    (memory / 4).clamp(4 << 20, 64 << 20)
}

impl Node {
    /// What is wrong with the node's data, by what it concerns.
    pub(in crate::search_node) fn faults(&self) -> BTreeMap<String, String> {
        self.faults_of(&self.read())
    }

    fn faults_of(&self, inner: &Inner) -> BTreeMap<String, String> {
        let mut faults = inner.broken.clone();
        for (name, index) in &inner.open {
            faults.extend(index.fault().map(|why| (name.clone(), why)));
        }
        if let Some(why) = self.log.failure() {
            faults.insert("_log".to_owned(), why);
        }
        for path in self.log.damaged() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let why = format!(
                "{} is a copy of a damaged part of the write-ahead log: acknowledged writes may be \
                 missing; check the disk, index what is missing again, then remove this copy",
                path.display()
            );
            faults.insert(format!("_log/{name}"), why);
        }
        faults
    }

    /// `green`, `yellow` when copies are wanted that have no place, `red` when an index is lost,
    /// is not saved, or takes nothing.
    pub(in crate::search_node) fn health(&self) -> &'static str {
        let inner = self.read();
        if self.faults_of(&inner).is_empty() {
            worst(inner.open.values().map(|index| index.health()))
        } else {
            "red"
        }
    }

    /// Removes the parts of the log that every index has saved.
    pub(super) fn release_log(&self) {
        // An index may be made from here on: what is written to it comes into this file or later.
        let below = self.log.current();
        let mut saved: BTreeMap<_, _> = self
            .indices()
            .iter()
            .map(|index| (index.id(), index.shard.saved()))
            .collect();
        // Nothing is known of an index that could not be opened: all of its log is kept.
        for entry in self.read().state.indices.values() {
            match index::id_of(&entry.uuid) {
                Ok(id) => {
                    saved.entry(id).or_insert(0);
                }
                Err(_) => return,
            }
        }
        self.log.release(below, |id| saved.get(id).copied());
    }

    /// What is to be done now and then: refreshes that are due, and saves.
    pub(in crate::search_node) fn tick(&self) {
        self.contexts.expire();
        let indices = self.indices();
        for index in &indices {
            if let Err(failure) = self.tick_index(index) {
                tracing::warn!("index [{}]: {failure}", index.name);
            }
        }
        let log = self.log.bytes();
        let kept = self.log_kept.load(Ordering::Relaxed);
        if log > MAX_LOG.max(kept + LOG_STEP) {
            let due: Vec<_> = indices.iter().filter(|index| can_save(index)).collect();
            if let Err(failure) = self.flush_all(due) {
                tracing::warn!("the log could not be emptied: {failure}");
            }
            self.log_kept.store(self.log.bytes(), Ordering::Relaxed);
        } else if log <= MAX_LOG {
            self.log_kept.store(0, Ordering::Relaxed);
        }
        self.save_largest(&indices);
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
        let large = index.shard.memory() > buffer_limit(self.memory);
        let idle = index
            .shard
            .unsaved_since()
            .is_some_and(|idle| idle >= IDLE_FLUSH);
        if (large || idle) && can_save(index) {
            self.save(index)?;
        }
        Ok(())
    }

    /// Many indices with a little each are as much as one with a lot.
    fn save_largest(&self, indices: &[Arc<Index>]) {
        let sizes = indices.iter().map(|index| (index.shard.memory(), index));
        let sizes: Vec<_> = sizes.collect();
        let total: u64 = sizes.iter().map(|(bytes, _)| bytes).sum();
        let largest = sizes.into_iter().max_by_key(|(bytes, _)| *bytes);
        if let Some((_, index)) = largest
            && total > self.memory / 2
            && can_save(index)
            && let Err(failure) = self.save(index)
        {
            tracing::warn!("index [{}]: {failure}", index.name);
        }
    }

    /// Puts segments together where there are many, one step for each index; says whether there
    /// was one.
    pub(in crate::search_node) fn merge(&self) -> bool {
        let mut any = false;
        for index in self.indices() {
            if index.failed_lately() {
                continue;
            }
            match index.shard.merge_step() {
                Ok(merged) => any |= merged,
                Err(failure) => tracing::warn!("index [{}]: {failure}", index.name),
            }
        }
        any
    }

    /// Saves `indices`, each whatever became of the others; the first failure counts.
    fn flush_all<'a>(&self, indices: impl IntoIterator<Item = &'a Arc<Index>>) -> Outcome<()> {
        let mut result = Ok(());
        for index in indices {
            result = index.save().and(result);
        }
        let cut = self.log.cut();
        self.release_log();
        result.and(cut.map_err(Into::into))
    }

    /// Saves one index.
    pub(in crate::search_node) fn save(&self, index: &Index) -> Outcome<()> {
        index.save()?;
        let cut = self.log.cut();
        self.release_log();
        Ok(cut?)
    }

    /// Refuses a write that would only pile up in memory.
    pub(in crate::search_node) fn check_room(&self, index: &Index) -> Outcome<()> {
        index.check_room(2 * buffer_limit(self.memory))
    }

    /// Saves everything; nothing may be written afterwards.
    pub(in crate::search_node) fn close(&self) {
        if let Err(failure) = self.flush_all(&self.indices()) {
            tracing::warn!("not everything could be saved, the log has the rest: {failure}");
        }
        self.log.stop();
    }

    fn reserve(&self) -> PathBuf {
        self.dir.join("reserve")
    }

    /// Takes the reserve, if there is room for it.
    pub(super) fn keep_reserve(&self) {
        let path = self.reserve();
        let take = || -> io::Result<()> {
            let mut options = std::fs::OpenOptions::new();
            let file = options.create(true).append(true).open(&path)?;
            if file.metadata()?.len() == 0 {
                fallocate(&file, FallocateFlags::empty(), 0, RESERVE)?;
            }
            file.sync_all()
        };
        if let Err(error) = take() {
            tracing::debug!("{}: no room for the reserve: {error}", path.display());
            let _ = std::fs::remove_file(&path);
        }
    }

    /// Does what makes room; on a full disk the reserve is given for it.
    pub(super) fn with_reserve<T>(&self, delete: impl Fn() -> Outcome<T>) -> Outcome<T> {
        let mut result = delete();
        if result.as_ref().is_err_and(Failure::is_full) && self.give_reserve() {
            result = delete();
        }
        self.keep_reserve();
        result
    }

    /// Gives the reserve back to the file system; says whether there was one.
    fn give_reserve(&self) -> bool {
        let given = std::fs::remove_file(self.reserve()).is_ok();
        // The space is free when the file system has written so.
        let synced = crate::fsx::sync_fs(&self.dir);
        given && synced.is_ok()
    }
}

/// The worst of these healths; `green` when there are none.
pub(in crate::search_node) fn worst(healths: impl Iterator<Item = &'static str>) -> &'static str {
    let rank = |health: &&str| {
        ["green", "yellow", "red"]
            .iter()
            .position(|one| one == health)
    };
    healths.max_by_key(rank).unwrap_or("green")
}

/// Whether a save may begin now: a flush or a merge at work would keep the others waiting.
fn can_save(index: &Index) -> bool {
    !index.failed_lately() && index.shard.is_idle()
}

/// Merges into `wanted` segments, or into as few as fit into memory at once.
pub(super) fn merge(index: &Index, wanted: usize) -> Outcome<()> {
    let mut segments = wanted;
    loop {
        match index.shard.force_merge(segments) {
            Err(failure)
                if failure.kind == "circuit_breaking_exception" && segments < MAX_SEGMENTS =>
            {
                segments = segments.saturating_mul(2);
            }
            Ok(()) => {
                if segments > wanted {
                    tracing::warn!(
                        "index [{}] is too large to be merged into [{wanted}] segments; it has at \
                         most [{segments}]",
                        index.name
                    );
                }
                return Ok(());
            }
            Err(failure) => return Err(failure),
        }
    }
}

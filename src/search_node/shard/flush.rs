//! Saving: segments in memory become one on the disk, small ones are put together, and the
//! description of what is saved is renewed.
//!
//! The long work happens without the writer's lock. What is saved is the state of one moment:
//! deletions that come during the work stay in memory and in the log until the next time, so
//! that a lost, unacknowledged update never takes an acknowledged document with it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};

use super::bits::Bits;
use super::commit::{Commit, Saved, segment_file};
use super::files::Files;
use super::segment::{Builder, Segment, merge};
use super::{Shard, Writer};
use crate::fsx::sync_dir;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Mapping, SystemFields, read_accepted};

/// Segments of about one size are put together when there are this many.
const MERGE_AT: usize = 8;

/// Of those of the upper size fewer fit into one.
const MERGE_LARGE_AT: usize = 4;

const fn merge_at(level: u32) -> usize {
    if level == 0 { MERGE_AT } else { MERGE_LARGE_AT }
}

/// Segments in memory are put together when there are this many.
const MERGE_IN_MEMORY_AT: usize = 6;

/// Segments smaller than this count as of one size.
const SMALL: u64 = 2 << 20;

/// Larger segments are not put together any more: a merge is made in memory.
const MAX_MERGED: u64 = 96 << 20;

type Sources = Vec<(Arc<Segment>, Arc<Bits>)>;

impl Shard {
    pub(super) fn commit(&self) -> MutexGuard<'_, Commit> {
        self.flushing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The description, when neither a flush nor a merge is at work.
    fn idle(&self) -> Option<MutexGuard<'_, Commit>> {
        match self.flushing.try_lock() {
            Ok(commit) => Some(commit),
            Err(TryLockError::Poisoned(commit)) => Some(commit.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether a flush would begin at once.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle().is_some()
    }

    /// Puts the segments in memory together when they are many; after a refresh.
    pub(crate) fn tidy(&self) -> Outcome<()> {
        let Some(_guard) = self.idle() else {
            return Ok(());
        };
        let (sources, mapping) = {
            let writer = self.writer();
            (in_memory(&writer), Arc::clone(&writer.mapping))
        };
        if sources.len() < MERGE_IN_MEMORY_AT || has_old_schema(&sources, &mapping) {
            return Ok(());
        }
        let files = combine(&sources, &mapping)?;
        let id = self.take_segment_id();
        let merged = Segment::open(id, files, None, &mapping.schema)?;
        self.counters.merges.fetch_add(1, Ordering::Relaxed);
        self.replace(&sources, Some(Arc::new(merged)))
    }

    /// Saves everything that was written so far.
    pub(crate) fn flush(&self) -> Outcome<()> {
        let mut commit = self.commit();
        self.refresh()?;
        let (parts, seq, mapping) = {
            let mut writer = self.writer();
            if writer.dirty {
                // Something was written in between; it is simply saved too.
                writer.seal()?;
            }
            (
                writer.parts.clone(),
                writer.next_seq,
                Arc::clone(&writer.mapping),
            )
        };
        if seq == commit.saved && parts.iter().all(|(segment, _)| segment.file.is_some()) {
            self.writer().saved = seq;
            return Ok(());
        }
        // A try that failed may have left files of its generation.
        commit.generation += 1;
        let mut next = commit.clone();
        next.saved = seq;
        let mut kept: Sources = Vec::new();
        let mut sources: Sources = Vec::new();
        for (segment, live) in parts {
            match segment.file {
                Some(_) => kept.push((segment, live)),
                None => sources.push((segment, live)),
            }
        }
        let merged = if sources.iter().all(|(_, live)| live.count() == 0) {
            None
        } else {
            Some(self.save_merged(&sources, &mapping, &mut next)?)
        };
        next.segments.retain(|saved| {
            kept.iter()
                .any(|(segment, live)| segment.id == saved.id && live.count() > 0)
        });
        for saved in &mut next.segments {
            if let Some((_, live)) = kept.iter().find(|(segment, _)| segment.id == saved.id) {
                saved.save_live(&self.dir, next.generation, live)?;
            }
        }
        if let Some(segment) = &merged {
            next.segments.push(Saved::whole(segment.id));
        }
        next.save(&self.dir)?;
        *commit = next;
        self.writer().saved = seq;
        self.replace(&sources, merged)?;
        self.drop_empty(&commit);
        commit.clean(&self.dir);
        self.counters.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Puts saved segments together while there are many of one size; at most one step.
    /// Returns whether there was one.
    pub(crate) fn merge_step(&self) -> Outcome<bool> {
        self.merge_some(|on_disk| {
            // One with many dead documents is written anew alone.
            let half_dead = on_disk.iter().find(|(segment, live)| {
                segment.bytes <= MAX_MERGED && live.count() < segment.max_doc() / 2
            });
            if let Some(one) = half_dead {
                return vec![one.clone()];
            }
            let level = |bytes: u64| (bytes.max(SMALL) / SMALL).ilog2() / 3;
            (0..=level(MAX_MERGED))
                .map(|wanted| {
                    let mut total = 0;
                    let mut group: Vec<_> = on_disk
                        .iter()
                        .filter(|(segment, _)| level(segment.bytes) == wanted)
                        .cloned()
                        .collect();
                    // The smallest first, so that some large ones do not keep the others apart.
                    group.sort_by_key(|(segment, _)| segment.bytes);
                    let fits = group.iter().take_while(|(segment, _)| {
                        total += segment.bytes;
                        total <= MAX_MERGED
                    });
                    let fits = fits.count();
                    group.truncate(fits);
                    (wanted, group)
                })
                .find(|(level, group)| group.len() >= merge_at(*level))
                .map(|(_, group)| group)
                .unwrap_or_default()
        })
    }

    /// Writes each saved segment that has deleted documents anew, without them.
    pub(crate) fn expunge(&self) -> Outcome<()> {
        while self.merge_some(|on_disk| {
            let dead = on_disk.iter().find(|(segment, live)| {
                live.count() < segment.max_doc() && segment.bytes <= MAX_MERGED
            });
            dead.into_iter().cloned().collect()
        })? {}
        Ok(())
    }

    /// Puts all saved segments together until there are at most `wanted`.
    pub(crate) fn force_merge(&self, wanted: usize) -> Outcome<()> {
        self.merge_some(|on_disk| {
            let dead =
                |(segment, live): &(Arc<Segment>, Arc<Bits>)| live.count() < segment.max_doc();
            if on_disk.len() <= wanted && !on_disk.iter().any(dead) {
                return Vec::new();
            }
            let surplus = on_disk.len().saturating_sub(wanted.max(1) - 1).max(1);
            on_disk.iter().take(surplus).cloned().collect()
        })
        .map(drop)
    }

    /// Puts what `pick` picks of the saved segments together; it sees the documents that are
    /// saved as live, whatever was deleted since: see the module.
    fn merge_some(&self, pick: impl FnOnce(&Sources) -> Sources) -> Outcome<bool> {
        let mut commit = self.commit();
        let (parts, mapping) = {
            let writer = self.writer();
            writer.check()?;
            (writer.parts.clone(), Arc::clone(&writer.mapping))
        };
        let mut on_disk = Sources::new();
        for saved in &commit.segments {
            if let Some((segment, _)) = parts.iter().find(|(segment, _)| segment.id == saved.id) {
                let live = saved.load_live(&self.dir, segment.max_doc())?;
                on_disk.push((Arc::clone(segment), Arc::new(live)));
            }
        }
        let mut sources = pick(&on_disk);
        if sources.is_empty() {
            return Ok(false);
        }
        let bytes: u64 = sources.iter().map(|(segment, _)| segment.bytes).sum();
        if bytes > MAX_MERGED {
            return Err(Failure::new(
                429,
                "circuit_breaking_exception",
                format!(
                    "the segments to be merged have {bytes} bytes; at most {MAX_MERGED} are merged \
                     at once, in memory: ask for more segments with [max_num_segments]"
                ),
            ));
        }
        for (segment, _) in &mut sources {
            if is_old(segment, &mapping) {
                *segment = Arc::new(segment.reopened(&mapping.schema)?);
            }
        }
        commit.generation += 1;
        let mut next = commit.clone();
        let merged = self.save_merged(&sources, &mapping, &mut next)?;
        let first = next
            .segments
            .iter()
            .position(|saved| sources.iter().any(|(segment, _)| segment.id == saved.id))
            .unwrap_or(0);
        next.segments
            .retain(|saved| sources.iter().all(|(segment, _)| segment.id != saved.id));
        next.segments
            .insert(first.min(next.segments.len()), Saved::whole(merged.id));
        next.save(&self.dir)?;
        *commit = next;
        self.replace(&sources, Some(merged))?;
        commit.clean(&self.dir);
        self.counters.merges.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    fn take_segment_id(&self) -> u64 {
        let mut writer = self.writer();
        writer.next_segment += 1;
        writer.next_segment - 1
    }

    /// Writes `sources` as one new segment to the disk.
    fn save_merged(
        &self,
        sources: &Sources,
        mapping: &Mapping,
        next: &mut Commit,
    ) -> Outcome<Arc<Segment>> {
        let whole = |(_, live): &(Arc<Segment>, Arc<Bits>)| live.count() == live.len();
        let files = match sources.as_slice() {
            [one] if whole(one) => one.0.files.clone(),
            _ => combine(sources, mapping)?,
        };
        let id = self.take_segment_id();
        next.next_segment = id + 1;
        let path = self.dir.join(segment_file(id));
        files.save(&path)?;
        sync_dir(&self.dir)?;
        Ok(Arc::new(Segment::load(id, &path, &mapping.schema)?))
    }

    /// Puts `merged` in the place of `sources`; documents that were deleted during the work are
    /// deleted in it too.
    fn replace(&self, sources: &Sources, merged: Option<Arc<Segment>>) -> Outcome<()> {
        {
            let mut writer = self.writer();
            let is_source =
                |segment: &Segment| sources.iter().any(|(source, _)| source.id == segment.id);
            let mut live = merged.as_ref().map(|merged| Bits::full(merged.max_doc()));
            if let (Some(merged), Some(live)) = (&merged, &mut live) {
                for (source, kept) in sources {
                    let now = writer
                        .parts
                        .iter()
                        .find(|(segment, _)| segment.id == source.id)
                        .map(|(_, live)| Arc::clone(live));
                    for doc in kept.iter() {
                        let gone = now.as_ref().is_none_or(|now| !now.contains(doc));
                        let root = source.roots.as_ref().is_none_or(|r| r.contains(doc));
                        if gone && root {
                            let id = source.stored(doc)?.id;
                            for doc in merged.find(&id, live)? {
                                live.remove(doc);
                            }
                        }
                    }
                }
            }
            let at = writer
                .parts
                .iter()
                .position(|(segment, _)| is_source(segment))
                .unwrap_or(writer.parts.len());
            writer.parts.retain(|(segment, _)| !is_source(segment));
            if let (Some(merged), Some(live)) = (merged, live) {
                let at = at.min(writer.parts.len());
                writer.parts.insert(at, (merged, Arc::new(live)));
            }
            writer.dirty = true;
        }
        self.refresh()
    }

    /// Forgets the segments whose documents are all gone and that are not saved any more.
    fn drop_empty(&self, commit: &Commit) {
        self.writer().parts.retain(|(segment, _)| {
            segment.file.is_none() || commit.segments.iter().any(|saved| saved.id == segment.id)
        });
    }
}

fn in_memory(writer: &Writer) -> Sources {
    writer
        .parts
        .iter()
        .filter(|(segment, live)| segment.file.is_none() && live.count() > 0)
        .cloned()
        .collect()
}

fn is_old(segment: &Segment, mapping: &Mapping) -> bool {
    segment.reader.schema().num_fields() != mapping.schema.tantivy.num_fields()
}

fn has_old_schema(sources: &Sources, mapping: &Mapping) -> bool {
    sources.iter().any(|(segment, _)| is_old(segment, mapping))
}

/// One segment of `sources`. Where a text field came after some of them were written, tantivy
/// misses its lengths there; the documents are then indexed anew.
fn combine(sources: &Sources, mapping: &Mapping) -> Outcome<Files> {
    if !has_old_schema(sources, mapping) {
        match merge(sources) {
            Ok(files) => return Ok(files),
            Err(failure) if failure.reason.contains("Field norm not found") => {}
            Err(failure) => return Err(failure),
        }
    }
    let mut builder = Builder::new(&mapping.schema)?;
    for (segment, live) in sources {
        for doc in live.iter() {
            if segment
                .roots
                .as_ref()
                .is_some_and(|roots| !roots.contains(doc))
            {
                continue;
            }
            let stored = segment.stored(doc)?;
            let (seq, version) = segment.seq_version(doc);
            let source = serde_json::from_slice(&stored.source)
                .map_err(|error| Failure::internal(format!("stored source: {error}")))?;
            let parsed = read_accepted(mapping, &stored.id, &source, &stored.source)?;
            for mut doc in parsed.docs {
                doc.add_u64(SystemFields::SEQ, seq);
                doc.add_u64(SystemFields::VERSION, version);
                builder.add(doc)?;
            }
        }
    }
    builder.finish()
}

//! The writing side of an index, behind one lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::bits::Bits;
use super::change::{Change, Current, Write, Written};
use super::commit::Commit;
use super::frame::{Operation, Payload};
use super::log::{IndexId, Log};
use super::segment::{Builder, Segment};
use super::view::{Part, View};
use super::{Counters, Found};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Mapping, ParsedDoc, SystemFields};

/// How long the version of a deleted document is remembered, as `index.gc_deletes`.
const REMEMBER_DELETED: Duration = Duration::from_secs(60);

/// The last change of a document since the last refresh.
#[derive(Debug)]
struct Recent {
    seq: u64,
    version: u64,
    /// The document, or when it was deleted.
    state: Result<Arc<[u8]>, Instant>,
    /// Its documents in the buffer.
    place: Option<(u64, u32, u32)>,
}

impl Recent {
    /// Memory of the document.
    fn bytes(&self) -> u64 {
        self.state.as_ref().map_or(0, |source| source.len() as u64)
    }
}

/// What the writes since the last refresh say of a document.
#[derive(Debug)]
pub(super) enum Lately {
    /// Nothing: what searches see is right.
    Unknown,
    /// It was deleted.
    Deleted,
    /// It was written.
    Written(Found),
}

/// Documents that were written and are in no segment yet.
struct Buffer {
    id: u64,
    builder: Builder,
    /// Ranges of documents that were replaced or deleted again.
    dead: Vec<(u32, u32)>,
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer")
            .field("id", &self.id)
            .field("docs", &self.builder.docs())
            .finish_non_exhaustive()
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) parts: Vec<(Arc<Segment>, Arc<Bits>)>,
    pub(super) mapping: Arc<Mapping>,
    pub(super) next_seq: u64,
    pub(super) next_segment: u64,
    /// Whether a refresh has something to show.
    pub(super) dirty: bool,
    /// Operations below are saved.
    pub(super) saved: u64,
    pub(super) last_write: Option<Instant>,
    /// Why nothing is taken any more: what is in memory may lack what is in the log.
    fault: Option<Failure>,
    buffer: Option<Buffer>,
    recent: HashMap<String, Recent>,
    /// Bytes of the documents in it.
    recent_bytes: u64,
}

impl Writer {
    pub(super) fn new(parts: Vec<Part>, mapping: Arc<Mapping>, commit: &Commit) -> Self {
        Self {
            parts: parts
                .into_iter()
                .map(|part| (part.segment, part.live))
                .collect(),
            mapping,
            next_seq: commit.saved,
            next_segment: commit.next_segment.max(1),
            dirty: false,
            saved: commit.saved,
            last_write: None,
            fault: None,
            buffer: None,
            recent: HashMap::new(),
            recent_bytes: 0,
        }
    }

    /// Refuses to go on after a fault.
    pub(super) fn check(&self) -> Outcome<()> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// Why nothing is taken any more.
    pub(super) fn fault(&self) -> Option<&Failure> {
        self.fault.as_ref()
    }

    /// Refuses everything from now on, with `why`.
    pub(super) fn refuse(&mut self, why: Failure) {
        self.fault = Some(why);
    }

    /// Runs a step that must be done whole. When it fails, or never returns, what is in memory is
    /// behind the log: nothing may be saved on top of it.
    fn whole<T>(&mut self, step: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        self.fault = Some(Failure::internal(
            "the index met a fault and takes nothing until the node is started again, which brings \
             back every acknowledged write; the log has the details",
        ));
        let result = step(self);
        match &result {
            Ok(_) => self.fault = None,
            Err(failure) => tracing::error!("a write could not be finished in memory: {failure}"),
        }
        result
    }

    pub(super) fn is_saved(&self) -> bool {
        self.saved == self.next_seq
    }

    pub(super) fn memory(&self) -> u64 {
        let buffer = self.buffer.as_ref();
        let buffer = buffer.map_or(0, |buffer| buffer.builder.memory() as u64);
        let segments = self
            .parts
            .iter()
            .filter(|(segment, _)| segment.file.is_none());
        self.recent_bytes + buffer + segments.map(|(segment, _)| segment.bytes).sum::<u64>()
    }

    pub(super) fn set_mapping(&mut self, mapping: Arc<Mapping>) -> Outcome<()> {
        if mapping.numbered().slots.len() != self.mapping.numbered().slots.len() {
            self.seal()?;
        }
        self.mapping = mapping;
        // Searches build their queries from the view's mapping.
        self.dirty = true;
        Ok(())
    }

    /// What the writes since the last refresh say of `id`.
    pub(super) fn recent(&self, id: &str) -> Lately {
        match self.recent.get(id) {
            None => Lately::Unknown,
            Some(recent) => match &recent.state {
                Err(_) => Lately::Deleted,
                Ok(source) => Lately::Written(Found {
                    seq: recent.seq,
                    version: recent.version,
                    source: Arc::clone(source),
                }),
            },
        }
    }

    fn current(&self, id: &str) -> Outcome<Option<Current>> {
        if let Some(recent) = self.recent.get(id) {
            return Ok(Some(Current {
                seq: recent.seq,
                version: recent.version,
                exists: recent.state.is_ok(),
            }));
        }
        for (segment, live) in self.parts.iter().rev() {
            if let Some(doc) = segment.find(id, live)?.last() {
                let (seq, version) = segment.seq_version(*doc);
                return Ok(Some(Current {
                    seq,
                    version,
                    exists: true,
                }));
            }
        }
        Ok(None)
    }

    /// Applies what may be applied: first everything is checked and put into the log, then it
    /// is done in memory, so that a full disk leaves nothing half done.
    pub(super) fn write(
        &mut self,
        index: IndexId,
        log: &Log,
        writes: Vec<Write>,
        counters: &Counters,
    ) -> (Vec<Outcome<Written>>, Option<u64>) {
        if let Err(failure) = self.check() {
            return (writes.iter().map(|_| Err(failure.clone())).collect(), None);
        }
        let mut payload = Payload::new(index);
        let mut planned: HashMap<String, Current> = HashMap::new();
        let mut results: Vec<Outcome<Written>> = Vec::with_capacity(writes.len());
        let mut next = self.next_seq;
        for write in &writes {
            let result = self.plan(write, &planned, next);
            if let Ok(written) = &result {
                planned.insert(
                    write.id.clone(),
                    Current {
                        seq: written.seq,
                        version: written.version,
                        exists: matches!(write.change, Change::Index { .. }),
                    },
                );
                payload.push(&Operation {
                    seq: written.seq,
                    version: written.version,
                    id: &write.id,
                    source: match &write.change {
                        Change::Index { source, .. } => Some(source),
                        Change::Delete => None,
                    },
                });
                next += 1;
            }
            results.push(result);
        }
        if payload.is_empty() {
            return (results, None);
        }
        let position = match log.append(index, next - 1, payload.bytes()) {
            Ok(position) => position,
            Err(error) => {
                let failure = Failure::from(error);
                for result in &mut results {
                    if result.is_ok() {
                        *result = Err(failure.clone());
                    }
                }
                return (results, None);
            }
        };
        self.next_seq = next;
        let applied = self.whole(|writer| {
            let accepted = writes.into_iter().zip(&results);
            for (write, result) in accepted {
                let Ok(written) = *result else {
                    continue;
                };
                let counter = match write.change {
                    Change::Index { .. } => &counters.indexed,
                    Change::Delete => &counters.deleted,
                };
                counter.fetch_add(1, Ordering::Relaxed);
                writer.apply(
                    write.id,
                    write.change,
                    written.seq,
                    written.version,
                    written.existed,
                )?;
            }
            Ok(())
        });
        if let Err(failure) = applied {
            // They are in the log and may come back at the next start: nobody was told so.
            for result in &mut results {
                if result.is_ok() {
                    *result = Err(failure.clone());
                }
            }
            return (results, None);
        }
        (results, Some(position))
    }

    fn plan(
        &self,
        write: &Write,
        planned: &HashMap<String, Current>,
        seq: u64,
    ) -> Outcome<Written> {
        let current = match planned.get(&write.id) {
            Some(current) => Some(*current),
            None if write.condition.fresh => None,
            None => self.current(&write.id)?,
        };
        write.decide(current, seq)
    }

    pub(super) fn replay(&mut self, op: &Operation<'_>, change: Change) -> Outcome<()> {
        self.next_seq = op.seq + 1;
        self.whole(|writer| writer.apply(op.id.to_owned(), change, op.seq, op.version, true))
    }

    fn apply(
        &mut self,
        id: String,
        change: Change,
        seq: u64,
        version: u64,
        existed: bool,
    ) -> Outcome<()> {
        self.dirty = true;
        self.last_write = Some(Instant::now());
        if existed {
            self.kill(&id)?;
        }
        let (state, place) = match change {
            Change::Delete => (Err(Instant::now()), None),
            Change::Index { source, parsed } => {
                let place = self.add(parsed, seq, version)?;
                (Ok(source), Some(place))
            }
        };
        let recent = Recent {
            seq,
            version,
            state,
            place,
        };
        let key = id.len() as u64;
        self.recent_bytes += key + recent.bytes();
        if let Some(old) = self.recent.insert(id, recent) {
            self.recent_bytes -= key + old.bytes();
        }
        Ok(())
    }

    fn add(&mut self, parsed: ParsedDoc, seq: u64, version: u64) -> Outcome<(u64, u32, u32)> {
        let buffer = if let Some(buffer) = &mut self.buffer {
            buffer
        } else {
            let id = self.next_segment;
            self.next_segment += 1;
            self.buffer.insert(Buffer {
                id,
                builder: Builder::new(&self.mapping.schema)?,
                dead: Vec::new(),
            })
        };
        let first = buffer.builder.docs();
        let mut last = first;
        for mut doc in parsed.docs {
            doc.add_u64(SystemFields::SEQ, seq);
            doc.add_u64(SystemFields::VERSION, version);
            last = buffer.builder.add(doc)?;
        }
        Ok((buffer.id, first, last))
    }

    /// Takes the present document with this id out of buffer or segment.
    fn kill(&mut self, id: &str) -> Outcome<()> {
        let place = self.recent.get(id).and_then(|recent| recent.place);
        if let Some((segment, first, last)) = place
            && let Some(buffer) = &mut self.buffer
            && buffer.id == segment
        {
            buffer.dead.push((first, last));
            return Ok(());
        }
        for (segment, live) in self.parts.iter_mut().rev() {
            let docs = segment.find(id, live)?;
            if !docs.is_empty() {
                let live = Arc::make_mut(live);
                for doc in docs {
                    live.remove(doc);
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// Makes a segment of the buffer; nothing when it is empty.
    pub(super) fn seal(&mut self) -> Outcome<()> {
        self.check()?;
        match self.buffer.take() {
            None => Ok(()),
            Some(buffer) => self.whole(|writer| writer.seal_buffer(buffer)),
        }
    }

    fn seal_buffer(&mut self, buffer: Buffer) -> Outcome<()> {
        let mut live = Bits::full(buffer.builder.docs());
        for (first, last) in buffer.dead {
            for doc in first..=last {
                live.remove(doc);
            }
        }
        if live.count() == 0 {
            return Ok(());
        }
        let files = buffer.builder.finish()?;
        let segment = Segment::open(buffer.id, files, None, &self.mapping.schema)?;
        self.parts.push((Arc::new(segment), Arc::new(live)));
        Ok(())
    }

    /// The view that shows everything written so far; `None` when the last one does.
    pub(super) fn refresh(&mut self) -> Outcome<Option<View>> {
        self.check()?;
        if !self.dirty {
            return Ok(None);
        }
        self.seal()?;
        let fields = self.mapping.schema.tantivy.num_fields();
        for (segment, _) in &mut self.parts {
            if segment.reader.schema().num_fields() != fields {
                *segment = Arc::new(segment.reopened(&self.mapping.schema)?);
            }
        }
        self.parts
            .retain(|(segment, live)| segment.file.is_some() || live.count() > 0);
        let parts = self
            .parts
            .iter()
            .map(|(segment, live)| Part::new(Arc::clone(segment), Arc::clone(live)))
            .collect();
        let view = View::new(parts, Arc::clone(&self.mapping))?;
        self.recent.retain(|_, recent| match recent.state {
            Ok(_) => false,
            Err(deleted) => deleted.elapsed() < REMEMBER_DELETED,
        });
        self.recent_bytes = self.recent.keys().map(|id| id.len() as u64).sum();
        self.dirty = false;
        Ok(Some(view))
    }
}

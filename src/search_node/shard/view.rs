//! What a search sees: the segments of one moment.

use std::sync::Arc;

use tantivy::query::Bm25StatisticsProvider;
use tantivy::schema::Field;
use tantivy::{DocId, Index, ReloadPolicy, Searcher, Term};

use super::bits::Bits;
use super::segment::{Segment, Stored};
use crate::search_node::analysis;
use crate::search_node::failure::Outcome;
use crate::search_node::mapping::Mapping;

/// A segment and which of its documents are there.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The segment.
    pub segment: Arc<Segment>,
    /// Its documents that were not deleted or replaced, instances of nested objects included.
    pub live: Arc<Bits>,
    /// Those of them that are documents of their own.
    pub roots: Arc<Bits>,
}

impl Part {
    /// All documents of `segment` that are in `live`.
    pub(crate) fn new(segment: Arc<Segment>, live: Arc<Bits>) -> Self {
        let roots = match &segment.roots {
            None => Arc::clone(&live),
            Some(roots) => {
                let mut both = (*live).clone();
                both.intersect(roots);
                Arc::new(both)
            }
        };
        Self {
            segment,
            live,
            roots,
        }
    }
}

/// See the module.
pub(crate) struct View {
    /// Oldest first.
    pub parts: Vec<Part>,
    /// As it was.
    pub mapping: Arc<Mapping>,
    /// Documents, without instances of nested objects.
    pub docs: u64,
    /// Documents that are deleted and still lie in segments.
    pub deleted: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Holds the schema for tantivy's queries; has no segments.
    searcher: Searcher,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("parts", &self.parts)
            .field("docs", &self.docs)
            .finish_non_exhaustive()
    }
}

impl View {
    /// Of these segments.
    pub(crate) fn new(parts: Vec<Part>, mapping: Arc<Mapping>) -> Outcome<Self> {
        let index = Index::builder()
            .schema(mapping.schema.tantivy.clone())
            .tokenizers(analysis::manager())
            .create_in_ram()?;
        let searcher = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()?
            .searcher();
        let docs = parts.iter().map(|part| u64::from(part.roots.count())).sum();
        let all: u64 = parts
            .iter()
            .map(|part| {
                let roots = part.segment.roots.as_ref();
                u64::from(roots.map_or(part.segment.max_doc(), |roots| roots.count()))
            })
            .sum();
        Ok(Self {
            bytes: parts.iter().map(|part| part.segment.bytes).sum(),
            parts,
            mapping,
            docs,
            deleted: all - docs,
            searcher,
        })
    }

    /// What tantivy's queries want beside a segment.
    pub(crate) fn searcher(&self) -> &Searcher {
        &self.searcher
    }

    /// The document with this `_id`: its segment and number.
    pub(crate) fn find(&self, id: &str) -> Outcome<Option<(&Arc<Segment>, DocId)>> {
        for part in self.parts.iter().rev() {
            if let Some(doc) = part.segment.find(id, &part.live)?.last() {
                return Ok(Some((&part.segment, *doc)));
            }
        }
        Ok(None)
    }

    /// The stored document with this `_id`, its sequence number and version.
    pub(crate) fn get(&self, id: &str) -> Outcome<Option<(Stored, u64, u64)>> {
        match self.find(id)? {
            None => Ok(None),
            Some((segment, doc)) => {
                let (seq, version) = segment.seq_version(doc);
                Ok(Some((segment.stored(doc)?, seq, version)))
            }
        }
    }
}

impl Bm25StatisticsProvider for View {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        let mut total = 0;
        for part in &self.parts {
            total += part
                .segment
                .reader
                .inverted_index(field)?
                .total_num_tokens();
        }
        Ok(total)
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(self
            .parts
            .iter()
            .map(|part| u64::from(part.segment.max_doc()))
            .sum())
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        let mut total = 0;
        for part in &self.parts {
            let index = part.segment.reader.inverted_index(term.field())?;
            total += u64::from(index.doc_freq(term)?);
        }
        Ok(total)
    }
}

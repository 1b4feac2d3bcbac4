//! Matches of nested objects as matches of what they stand in.

use std::collections::HashMap;
use std::sync::Arc;

use tantivy::index::SegmentId;
use tantivy::query::{EmptyScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::{DocId, DocSet, Score, SegmentReader, TERMINATED, TantivyError, Term};

use super::Built;
use crate::search_node::shard::{Bits, Segment, View};

/// How the scores of several instances become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScoreMode {
    Avg,
    Sum,
    Max,
    Min,
    None,
}

/// Instances number `child` that match, as their parents: instances number `parent`, or whole
/// documents.
#[derive(Debug, Clone)]
pub(super) struct NestedQuery {
    query: Arc<Built>,
    shape: Shape,
}

#[derive(Debug, Clone)]
struct Shape {
    child: u64,
    parent: Option<u64>,
    mode: ScoreMode,
    segments: Arc<HashMap<SegmentId, Arc<Segment>>>,
}

impl NestedQuery {
    pub(super) fn new(
        view: &View,
        query: Built,
        child: u64,
        parent: Option<u64>,
        mode: ScoreMode,
    ) -> Self {
        let segments = view
            .parts
            .iter()
            .map(|part| (part.segment.reader.segment_id(), Arc::clone(&part.segment)))
            .collect();
        Self {
            query: Arc::new(query),
            shape: Shape {
                child,
                parent,
                mode,
                segments: Arc::new(segments),
            },
        }
    }
}

impl Query for NestedQuery {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(NestedWeight {
            child: self.query.weight(scoring)?,
            shape: self.shape.clone(),
        }))
    }

    fn query_terms<'a>(&'a self, visitor: &mut dyn FnMut(&'a Term, bool)) {
        self.query.query_terms(visitor);
    }
}

struct NestedWeight {
    child: Box<dyn Weight>,
    shape: Shape,
}

impl Weight for NestedWeight {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let Some(segment) = self.shape.segments.get(&reader.segment_id()) else {
            return Err(TantivyError::InternalError(
                "a nested query met a segment of another view".to_owned(),
            ));
        };
        let (Some(nest), Some(roots)) = (&segment.nest, &segment.roots) else {
            return Ok(Box::new(EmptyScorer));
        };
        let of_parent = self.shape.parent.map(|parent| {
            let mut parents = Bits::empty(reader.max_doc());
            for doc in 0..reader.max_doc() {
                if nest.first(doc) == Some(parent) {
                    parents.insert(doc);
                }
            }
            parents
        });
        let parents = of_parent.as_ref().unwrap_or(roots);
        let mut scorer = self.child.scorer(reader, boost)?;
        let mut found: Vec<(DocId, Score)> = Vec::new();
        let mut instances = 0.0;
        let mode = self.shape.mode;
        let mut doc = scorer.doc();
        while doc != TERMINATED {
            if nest.first(doc) == Some(self.shape.child)
                && let Some(parent) = parents.next(doc)
            {
                let score = if mode == ScoreMode::None {
                    0.0
                } else {
                    scorer.score()
                };
                match found.last_mut() {
                    Some((last, total)) if *last == parent => {
                        instances += 1.0;
                        *total = match mode {
                            ScoreMode::Avg => *total + (score - *total) / instances,
                            ScoreMode::Sum => *total + score,
                            ScoreMode::Max => total.max(score),
                            ScoreMode::Min => total.min(score),
                            ScoreMode::None => 0.0,
                        };
                    }
                    _ => {
                        instances = 1.0;
                        found.push((parent, score));
                    }
                }
            }
            doc = scorer.advance();
        }
        Ok(Box::new(Found { found, at: 0 }))
    }

    fn explain(&self, _: &SegmentReader, _: DocId) -> tantivy::Result<Explanation> {
        Ok(Explanation::new("nested", 0.0))
    }
}

struct Found {
    found: Vec<(DocId, Score)>,
    at: usize,
}

impl DocSet for Found {
    fn advance(&mut self) -> DocId {
        self.at += 1;
        self.doc()
    }

    fn doc(&self) -> DocId {
        self.found.get(self.at).map_or(TERMINATED, |(doc, _)| *doc)
    }

    fn size_hint(&self) -> u32 {
        u32::try_from(self.found.len()).unwrap_or(u32::MAX)
    }
}

impl Scorer for Found {
    fn score(&mut self) -> Score {
        self.found.get(self.at).map_or(0.0, |(_, score)| *score)
    }
}

//! The best of many documents without a look at each: blocks of a text's postings know the best
//! score in them (block-max WAND, as tantivy has it), and those that cannot win are passed over.
//!
//! For searches that ask for the first hits by score, and for no exact number of them.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use tantivy::query::{Bm25StatisticsProvider, BooleanQuery, Occur, Query, TermQuery, Weight};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocId, Score, Term};

use super::collect::{CLOCK_EVERY, Place, check, timed};
use super::request::{Request, Track};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::query::Context;
use crate::search_node::shard::{Part, View};

/// How many documents of `view` match at least, and the terms that say so, when that is more than
/// `request` wants to know and the best of them are all that it asks for.
pub(super) fn more_than_counted<'q>(
    request: &Request,
    query: &'q dyn Query,
    view: &View,
    counted: u64,
) -> Outcome<Option<(u64, Vec<&'q Term>)>> {
    let plain = request.sort.is_empty()
        && request.aggs.is_none()
        && request.post_filter.is_none()
        && request.min_score.is_none()
        && request.search_after.is_none()
        && request.size > 0;
    let limit = match request.track {
        Track::All => return Ok(None),
        Track::To(limit) => limit,
        Track::No => 0,
    };
    let mut terms = Vec::new();
    if !plain || !is_union_of_words(query, view, &mut terms) {
        return Ok(None);
    }
    let mut least = 0;
    for part in &view.parts {
        least += matches(part, &terms)?;
    }
    Ok((counted + least > limit).then_some((least, terms)))
}

/// Whether `query` matches where any of `terms` does, all of them in texts with frequencies.
fn is_union_of_words<'a>(query: &'a dyn Query, view: &View, terms: &mut Vec<&'a Term>) -> bool {
    if let Some(word) = query.downcast_ref::<TermQuery>() {
        let schema = view.searcher().schema();
        let field = schema.get_field_entry(word.term().field());
        terms.push(word.term());
        // Blocks without lengths of their texts know no best score.
        let record = field.field_type().index_record_option();
        return field.has_fieldnorms() && record.is_some_and(IndexRecordOption::has_freq);
    }
    query.downcast_ref::<BooleanQuery>().is_some_and(|union| {
        union.get_minimum_number_should_match() <= 1
            && union.clauses().iter().all(|(occur, clause)| {
                *occur == Occur::Should && is_union_of_words(clause.as_ref(), view, terms)
            })
    })
}

/// Documents of `part` that have the most frequent of `terms`, less all that are not to be found.
fn matches(part: &Part, terms: &[&Term]) -> Outcome<u64> {
    let mut most = 0;
    for term in terms {
        let postings = part.segment.reader.inverted_index(term.field())?;
        let frequency = postings
            .doc_freq(term)
            .map_err(tantivy::TantivyError::from)?;
        most = most.max(frequency);
    }
    let hidden = part.segment.max_doc() - part.roots.count();
    Ok(u64::from(most.saturating_sub(hidden)))
}

/// By how much a score may be above what a block of `part` promises: blocks keep the one of their
/// documents that is best by the average length of their segment, and scores are worked out with
/// the average of all segments.
fn slack(part: &Part, view: &View, terms: &[&Term]) -> Outcome<Score> {
    let mut widest: f64 = 1.0;
    for term in terms {
        let here = part.segment.reader.inverted_index(term.field())?;
        let here = here.total_num_tokens() as f64 / f64::from(part.segment.max_doc().max(1));
        let all =
            view.total_num_tokens(term.field())? as f64 / view.total_num_docs()?.max(1) as f64;
        if here > 0.0 && all > 0.0 {
            widest = widest.max(here / all).max(all / here);
        }
    }
    // A little more for what is lost in adding up.
    #[allow(clippy::cast_possible_truncation)]
    let widest = (widest * 1.00001) as Score;
    Ok(widest)
}

/// A document among the best.
#[derive(Debug, PartialEq)]
struct Kept {
    score: Score,
    part: usize,
    doc: DocId,
}

impl Eq for Kept {}

impl Ord for Kept {
    /// The worst is the greatest: the one that goes first.
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |kept: &Self| (kept.part, kept.doc);
        other
            .score
            .total_cmp(&self.score)
            .then_with(|| place(self).cmp(&place(other)))
    }
}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best `keep` documents of source `number`, of those with any of `terms`.
pub(super) fn best(
    number: usize,
    view: &View,
    terms: &[&Term],
    weight: &dyn Weight,
    keep: usize,
    context: &Context<'_>,
) -> Outcome<Vec<Place>> {
    let mut heap: BinaryHeap<Kept> = BinaryHeap::new();
    for (at, part) in view.parts.iter().enumerate() {
        let slack = slack(part, view, terms)?;
        // Scores of a union depend, in their last digits, on the order in which they are added;
        // this one adds in the order in which all are gone through.
        let mut exact = weight.scorer(&part.segment.reader, 1.0).map_err(timed)?;
        let mut seen = 0u32;
        let mut late: Option<Failure> = None;
        let least = |heap: &BinaryHeap<Kept>| match heap.peek() {
            Some(worst) if heap.len() >= keep => worst.score / slack,
            _ => Score::MIN,
        };
        let from = least(&heap);
        weight
            .for_each_pruning(from, &part.segment.reader, &mut |doc, _| {
                seen += 1;
                if late.is_none() && seen.is_multiple_of(CLOCK_EVERY) {
                    late = check(context.deadline).err();
                }
                if late.is_some() {
                    // No score is better: the rest is passed over.
                    return Score::MAX;
                }
                if part.roots.contains(doc) {
                    if exact.doc() < doc {
                        exact.seek(doc);
                    }
                    let score = exact.score();
                    heap.push(Kept {
                        score,
                        part: at,
                        doc,
                    });
                    if heap.len() > keep {
                        heap.pop();
                    }
                }
                least(&heap)
            })
            .map_err(timed)?;
        if let Some(late) = late {
            return Err(late);
        }
    }
    let places = heap.into_iter().map(|kept| Place {
        source: number,
        part: kept.part,
        doc: kept.doc,
        score: kept.score,
        keys: Vec::new(),
    });
    Ok(places.collect())
}

//! Going through the documents that fit, and keeping the best.

use std::cmp::Ordering;
use std::time::Instant;

use serde_json::{Value, json};
use tantivy::query::{BooleanQuery, ConstScoreQuery, EnableScoring, Weight};
use tantivy::{DocId, Score};

use super::host::IndexHost;
use super::keys::KeyReader;
use super::request::Request;
use super::sort::{SortSpec, SortValue};
use super::{Source, prune};
use crate::search_node::aggs::{Aggs, Host, Matches, Partial};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::query::{Built, Context, TIMED_OUT, timed_out};
use crate::search_node::shard::{Bits, Part, View};

/// Documents between two looks at the clock.
pub(super) const CLOCK_EVERY: u32 = 4096;

/// Where a hit is, and by what it is ordered.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Number of the source.
    pub source: usize,
    /// Number of the part.
    pub part: usize,
    /// Number of the document in it.
    pub doc: DocId,
    /// Its score.
    pub score: f32,
    /// Values of the sort keys.
    pub keys: Vec<SortValue>,
}

impl Place {
    /// Hits that are equal otherwise keep the order of the index.
    fn tie(&self) -> (usize, usize, DocId) {
        (self.source, self.part, self.doc)
    }

    fn compare(&self, other: &Place, sort: &[SortSpec]) -> Ordering {
        if sort.is_empty() {
            return other
                .score
                .total_cmp(&self.score)
                .then_with(|| self.tie().cmp(&other.tie()));
        }
        sort.iter()
            .zip(self.keys.iter().zip(&other.keys))
            .map(|(spec, (a, b))| spec.compare(a, b))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
            .then_with(|| self.tie().cmp(&other.tie()))
    }
}

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// How many fit.
    pub total: u64,
    /// The best score.
    pub max_score: Option<f32>,
    best: Vec<Place>,
    aggregations: Option<Partial>,
}

impl Found {
    /// The hits that the request asks for, in order.
    pub(super) fn page(&mut self, request: &Request) -> Vec<Place> {
        self.best.sort_by(|a, b| a.compare(b, &request.sort));
        std::mem::take(&mut self.best)
            .into_iter()
            .skip(request.from)
            .take(request.size)
            .collect()
    }

    pub(super) fn finish_aggregations(
        &mut self,
        request: &Request,
        sources: &[Source],
        contexts: &[Context<'_>],
    ) -> Outcome<Option<Value>> {
        let Some(aggs) = &request.aggs else {
            return Ok(None);
        };
        let partial = self.aggregations.take().unwrap_or_else(|| aggs.empty());
        let hosts: Vec<IndexHost<'_, '_>> = sources
            .iter()
            .zip(contexts)
            .map(|(source, context)| IndexHost { source, context })
            .collect();
        let hosts: Vec<&dyn Host> = hosts.iter().map(|host| host as &dyn Host).collect();
        aggs.finish(partial, &hosts).map(Some)
    }
}

/// The query, and that one of the aliases' filters matches; those are not marked.
fn whole_query(context: &Context<'_>, source: &Source, query: Option<&Value>) -> Outcome<Built> {
    let all = json!({"match_all": {}});
    let built = context.build(query.unwrap_or(&all))?;
    if source.filters.is_empty() {
        return Ok(built);
    }
    let filter = json!({"bool": {"should": source.filters, "minimum_should_match": 1}});
    let filter = context.aside(|context| context.build(&filter))?;
    let filter: Built = Box::new(ConstScoreQuery::new(filter, 0.0));
    Ok(Box::new(BooleanQuery::intersection(vec![built, filter])))
}

/// Collects from one source.
pub(super) fn collect(
    number: usize,
    source: &Source,
    request: &Request,
    after: Option<&Place>,
    context: &Context<'_>,
    found: &mut Found,
) -> Outcome<()> {
    let view: &View = &source.view;
    let query = whole_query(context, source, request.query.as_ref())?;
    let scoring = if request.wants_scores() || request.aggs.as_ref().is_some_and(Aggs::needs_scores)
    {
        EnableScoring::enabled_from_statistics_provider(view, view.searcher())
    } else {
        EnableScoring::disabled_from_searcher(view.searcher())
    };
    let weight = query.weight(scoring).map_err(timed)?;
    let keep = request.from.saturating_add(request.size);
    if after.is_none()
        && let Some((least, terms)) =
            prune::more_than_counted(request, query.as_ref(), view, found.total)?
    {
        let best = prune::best(number, view, &terms, weight.as_ref(), keep, context)?;
        found.total += least;
        let top = best.iter().map(|place| place.score).max_by(f32::total_cmp);
        if top > found.max_score {
            found.max_score = top;
        }
        found.best.extend(best);
        trim(&mut found.best, keep, &request.sort);
        return Ok(());
    }
    let search_after = read_after(request, context)?;
    // The number of a document over the whole search; a segment has less than 2^31.
    let mut base = (number as u64) << 40;
    let post = match &request.post_filter {
        None => None,
        Some(filter) => Some(context.aside(|context| silent_weight(context, view, filter))?),
    };
    let needs_scores = request.aggs.as_ref().is_some_and(Aggs::needs_scores);
    let with_scores = request.wants_scores() || needs_scores;
    let mut docs: Vec<(Vec<DocId>, Vec<f32>)> = Vec::with_capacity(view.parts.len());
    for (at, part) in view.parts.iter().enumerate() {
        let readers = request
            .sort
            .iter()
            .map(|spec| spec.reader(&view.mapping, &part.segment, base))
            .collect::<Outcome<Vec<_>>>()?;
        base += u64::from(part.segment.max_doc());
        let post = match &post {
            None => None,
            Some(weight) => Some(documents(weight.as_ref(), part)?),
        };
        let mut best: Vec<Place> = Vec::new();
        let mut matched: (Vec<DocId>, Vec<f32>) = Default::default();
        let mut seen = 0u32;
        go_through(weight.as_ref(), part, with_scores, |doc, score| {
            seen += 1;
            if seen.is_multiple_of(CLOCK_EVERY) {
                check(context.deadline)?;
            }
            if !part.roots.contains(doc) || request.min_score.is_some_and(|least| score < least) {
                return Ok(());
            }
            if request.aggs.is_some() {
                matched.0.push(doc);
                if needs_scores {
                    matched.1.push(score);
                }
            }
            if post.as_ref().is_some_and(|post| !post.contains(doc)) {
                return Ok(());
            }
            found.total += 1;
            if found.max_score.is_none_or(|best| score > best) {
                found.max_score = Some(score);
            }
            let place = Candidate {
                number,
                at,
                doc,
                score,
                readers: &readers,
            };
            place.offer(request, keep, search_after.as_deref(), after, &mut best)
        })?;
        trim(&mut best, keep, &request.sort);
        for mut place in best {
            place.keys = readers
                .iter()
                .zip(place.keys)
                .map(|(reader, key)| reader.resolve(key))
                .collect::<Outcome<_>>()?;
            found.best.push(place);
        }
        docs.push(matched);
    }
    trim(&mut found.best, keep, &request.sort);
    if let Some(aggs) = &request.aggs {
        let host = IndexHost { source, context };
        let matches: Vec<Matches<'_>> = docs
            .iter()
            .map(|(docs, scores)| Matches { docs, scores })
            .collect();
        let partial = aggs.collect(&host, &matches)?;
        found.aggregations = Some(match found.aggregations.take() {
            None => partial,
            Some(before) => aggs.merge(before, partial)?,
        });
    }
    Ok(())
}

/// Calls `visit` for every document of `part` that `weight` finds, deleted ones included, with its
/// score or 0. Tantivy's own loops are several times faster than asking a scorer for the next.
fn go_through(
    weight: &dyn Weight,
    part: &Part,
    with_scores: bool,
    mut visit: impl FnMut(DocId, Score) -> Outcome<()>,
) -> Outcome<()> {
    // The loops cannot be left: after a failure they run on without work.
    let mut result = Ok(());
    let mut each = |doc, score| {
        if result.is_ok() {
            result = visit(doc, score);
        }
    };
    let reader = &part.segment.reader;
    if with_scores {
        weight.for_each(reader, &mut each).map_err(timed)?;
    } else {
        let mut some = |docs: &[DocId]| docs.iter().for_each(|doc| each(*doc, 0.0));
        weight.for_each_no_score(reader, &mut some).map_err(timed)?;
    }
    result
}

fn read_after(request: &Request, context: &Context<'_>) -> Outcome<Option<Vec<SortValue>>> {
    let Some(after) = &request.search_after else {
        return Ok(None);
    };
    if request.sort.is_empty() {
        let score = after.first().and_then(Value::as_f64);
        let score = score.ok_or_else(|| Failure::illegal("[search_after] must be a score"))?;
        // A score was shown with as many digits as tell it from other 32-bit floats.
        #[allow(clippy::cast_possible_truncation)]
        let score = score as f32;
        return Ok(Some(vec![SortValue::Float(f64::from(score))]));
    }
    let keys = request.sort.iter().zip(after);
    keys.map(|(spec, value)| spec.read(value, &context.view.mapping))
        .collect::<Outcome<Vec<_>>>()
        .map(Some)
}

struct Candidate<'a> {
    number: usize,
    at: usize,
    doc: DocId,
    score: f32,
    readers: &'a [KeyReader],
}

impl Candidate<'_> {
    /// Takes the document among the best when it is one.
    fn offer(
        &self,
        request: &Request,
        keep: usize,
        search_after: Option<&[SortValue]>,
        after: Option<&Place>,
        best: &mut Vec<Place>,
    ) -> Outcome<()> {
        if keep == 0 {
            return Ok(());
        }
        let place = Place {
            source: self.number,
            part: self.at,
            doc: self.doc,
            score: self.score,
            keys: self
                .readers
                .iter()
                .map(|reader| reader.value(self.doc, self.score))
                .collect(),
        };
        if search_after.is_some() || after.is_some() {
            let mut whole = place.clone();
            whole.keys = self
                .readers
                .iter()
                .zip(whole.keys)
                .map(|(reader, key)| reader.resolve(key))
                .collect::<Outcome<_>>()?;
            if let Some(after) = after
                && whole.compare(after, &request.sort).is_le()
            {
                return Ok(());
            }
            if let Some(last) = search_after {
                let order = if request.sort.is_empty() {
                    match last {
                        [SortValue::Float(score)] => score.total_cmp(&f64::from(self.score)),
                        _ => Ordering::Greater,
                    }
                } else {
                    request
                        .sort
                        .iter()
                        .zip(whole.keys.iter().zip(last))
                        .map(|(spec, (key, last))| spec.compare(key, last))
                        .find(|order| order.is_ne())
                        .unwrap_or(Ordering::Equal)
                };
                if order.is_le() {
                    return Ok(());
                }
            }
        }
        best.push(place);
        // Twice the number before the rest is cut off: cheap on average.
        if best.len() >= keep.saturating_mul(2).max(64) {
            trim(best, keep, &request.sort);
        }
        Ok(())
    }
}

fn trim(best: &mut Vec<Place>, keep: usize, sort: &[SortSpec]) {
    if best.len() > keep && keep > 0 {
        best.select_nth_unstable_by(keep - 1, |a, b| a.compare(b, sort));
    }
    best.truncate(keep);
}

pub(super) fn check(deadline: Instant) -> Outcome<()> {
    if Instant::now() > deadline {
        return Err(timeout());
    }
    Ok(())
}

fn timeout() -> Failure {
    timed_out("make the query narrower")
}

pub(super) fn timed(error: tantivy::TantivyError) -> Failure {
    match &error {
        tantivy::TantivyError::InternalError(why) if why == TIMED_OUT => timeout(),
        _ => error.into(),
    }
}

/// What finds the documents of `query`, without scores.
pub(super) fn silent_weight(
    context: &Context<'_>,
    view: &View,
    query: &Value,
) -> Outcome<Box<dyn Weight>> {
    let query = context.build(query)?;
    let scoring = EnableScoring::disabled_from_searcher(view.searcher());
    query.weight(scoring).map_err(timed)
}

/// Documents of `part` that `weight` finds, instances of nested objects included.
pub(super) fn documents(weight: &dyn Weight, part: &Part) -> Outcome<Bits> {
    let mut bits = Bits::empty(part.segment.max_doc());
    go_through(weight, part, false, |doc, _| {
        if part.live.contains(doc) {
            bits.insert(doc);
        }
        Ok(())
    })?;
    Ok(bits)
}

//! Searches: what is asked, which documents fit, in which order, and what is shown of them.

mod collect;
mod contexts;
mod fetch;
mod highlight;
mod host;
mod keys;
mod prune;
mod request;
mod sort;
mod suggestions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use crate::search_node::cluster::{Index, now_millis};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::query::{Context, Mark};
use crate::search_node::shard::View;

pub(super) use collect::{Found, Place};
pub(super) use contexts::{Contexts, Kept};
pub(super) use fetch::{Hit, SourceFilter};
pub(super) use request::{Request, Track};
pub(super) use suggestions::Suggestions;

/// A request is given up after this time.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Documents of one answer have at most so many bytes.
const MAX_ANSWER: usize = 64 << 20;

/// Bytes that a hit takes besides its document, about.
const HIT: usize = 256;

/// One index of a search, as it was at its beginning.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The index.
    pub index: Arc<Index>,
    /// Its documents.
    pub view: Arc<View>,
    /// One of these must match, if there are any.
    pub filters: Vec<Value>,
}

/// The answer of a search.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    /// Time it took, in milliseconds.
    pub took: u64,
    /// Whether it was given up before the end; what was found until then is shown.
    pub timed_out: bool,
    /// Shards that were asked.
    #[serde(rename = "_shards")]
    pub shards: Value,
    /// What was found.
    pub hits: Hits,
    /// Aggregations, if any were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregations: Option<Value>,
    /// Suggestions, if any were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggest: Option<Suggestions>,
    /// Where to go on, of a scroll.
    #[serde(rename = "_scroll_id", skip_serializing_if = "Option::is_none")]
    pub scroll_id: Option<String>,
    /// The point in time that was searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pit_id: Option<String>,
    /// Status of this one in a list of answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Where the last hit stands, for the next page of a scroll.
    #[serde(skip)]
    pub last: Option<Place>,
}

/// See [`Answer`].
#[derive(Debug, Serialize)]
pub(super) struct Hits {
    /// How many fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Value>,
    /// The best score.
    pub max_score: Option<f32>,
    /// The documents asked for.
    #[serde(rename = "hits")]
    pub found: Vec<Hit>,
}

/// How a search is run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Where the last page of a scroll ended.
    pub after: Option<Place>,
    /// Now, in milliseconds since the epoch; all pages of a scroll have one.
    pub now: i64,
    /// When the whole request must have ended.
    pub deadline: Instant,
    /// Indices that were asked for and cannot answer.
    pub failed: usize,
}

impl Run {
    /// Beginning now.
    pub(super) fn new() -> Self {
        Self {
            after: None,
            now: now_millis(),
            deadline: Instant::now() + TIME_LIMIT,
            failed: 0,
        }
    }

    /// Of this many indices.
    fn shards(&self, successful: usize) -> Value {
        let total = successful + self.failed;
        json!({"total": total, "successful": successful, "skipped": 0, "failed": self.failed})
    }
}

/// Searches `sources`.
pub(super) fn search(sources: &[Source], request: &Request, run: &Run) -> Outcome<Answer> {
    let began = Instant::now();
    let deadline = match request.timeout {
        Some(limit) => run.deadline.min(began + limit),
        None => run.deadline,
    };
    let mut found = Found::default();
    let contexts: Vec<Context<'_>> = sources
        .iter()
        .map(|source| Context::new(&source.view, &source.index.name, run.now, deadline))
        .collect();
    let mut marks: Vec<Vec<Mark>> = Vec::with_capacity(sources.len());
    for (number, (source, context)) in sources.iter().zip(&contexts).enumerate() {
        request.check_window(source.index.settings().max_result_window)?;
        if !request.is_suggest_only() {
            collect::collect(
                number,
                source,
                request,
                run.after.as_ref(),
                context,
                &mut found,
            )?;
        }
        marks.push(context.marks());
        let counters = &source.index.shard.counters;
        counters
            .searches
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        counters
            .search_micros
            .fetch_add(micros, std::sync::atomic::Ordering::Relaxed);
    }
    let total = found.total;
    let max_score = found.max_score.filter(|_| request.shows_best());
    let aggregations = found.finish_aggregations(request, sources, &contexts)?;
    let page = found.page(request);
    let last = page.last().map(|place| (*place).clone());
    let mut hits = Vec::with_capacity(page.len());
    let mut budget = Budget::new(deadline);
    for place in page {
        let hit = fetch::hit(sources, &marks, request, &place)?;
        budget.take_hit(&hit)?;
        hits.push(hit);
    }
    let suggest = suggestions::run(sources, request, &mut budget, deadline)?;
    Ok(Answer {
        took: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        timed_out: false,
        shards: run.shards(sources.len()),
        hits: Hits {
            total: request.track.show(total),
            max_score,
            found: hits,
        },
        aggregations,
        suggest,
        scroll_id: None,
        pit_id: None,
        status: None,
        last,
    })
}

/// Counts the documents of `sources` that fit `query`; with the shards that were asked.
pub(super) fn count(sources: &[Source], query: Option<&Value>, run: &Run) -> Outcome<(u64, Value)> {
    let mut body = json!({"size": 0, "track_total_hits": true});
    if let Some(query) = query {
        body["query"] = query.clone();
    }
    let request = Request::parse(&body)?;
    let mut found = Found::default();
    for (number, source) in sources.iter().enumerate() {
        let context = Context::new(&source.view, &source.index.name, run.now, run.deadline);
        collect::collect(number, source, &request, None, &context, &mut found)?;
    }
    Ok((found.total, run.shards(sources.len())))
}

/// What one request may still answer.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: usize,
    deadline: Instant,
}

impl Budget {
    /// A whole one.
    pub(super) fn new(deadline: Instant) -> Self {
        Self {
            bytes: MAX_ANSWER,
            deadline,
        }
    }

    /// Takes the bytes of a hit.
    fn take_hit(&mut self, hit: &Hit) -> Outcome<()> {
        let source = hit.source.as_ref().map_or(0, |source| source.get().len());
        self.take(HIT + hit.index.len() + hit.id.len() + source)
    }

    /// Takes the bytes of one document.
    pub(super) fn take(&mut self, bytes: usize) -> Outcome<()> {
        let Some(rest) = self.bytes.checked_sub(bytes) else {
            return Err(Failure::new(
                429,
                "circuit_breaking_exception",
                format!(
                    "the answer would have more than {MAX_ANSWER} bytes; ask for fewer documents, \
                     or for less of each with [_source]"
                ),
            ));
        };
        self.bytes = rest;
        collect::check(self.deadline)
    }
}

//! `top_hits`: the best documents of each bucket.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tantivy::DocId;

use super::codes::float_code;
use super::context::Ctx;
use super::hit_order::{By, Column, What, by};
use super::key::{Key, Show, Shown, number};
use super::params::Params;
use super::part::Part;
use super::source::{Source, anything};
use super::tree::{Agg, End, Node, Rows};
use crate::search_node::failure::{Failure, Outcome};

/// `from` and `size` together at most, as `index.max_inner_result_window`.
const MAX_WINDOW: u64 = 100;

/// What hits show is passed on to where hits are made.
const PASSED: [&str; 8] = [
    "_source",
    "docvalue_fields",
    "explain",
    "fields",
    "highlight",
    "seq_no_primary_term",
    "stored_fields",
    "version",
];

/// See the module.
#[derive(Debug)]
struct TopHitsAgg {
    from: usize,
    size: usize,
    sort: Vec<By>,
    /// Whether the request has `sort`.
    sorted: bool,
    scores: bool,
    options: Value,
}

/// The best documents so far.
#[derive(Debug)]
pub(super) struct TopHits {
    /// Documents in all.
    total: u64,
    max_score: f32,
    /// Best first, at most `limit`.
    hits: Vec<Hit>,
    limit: usize,
    directions: Arc<[Direction]>,
    shows: Arc<[Shown]>,
}

#[derive(Debug, Clone, Copy)]
struct Direction {
    descending: bool,
    missing_first: bool,
}

#[derive(Debug)]
struct Hit {
    index: Arc<str>,
    part: usize,
    doc: DocId,
    score: f32,
    keys: Vec<Key>,
}

/// Reads `top_hits`.
pub(super) fn parse(params: &Params<'_>) -> Outcome<Box<dyn Agg>> {
    let from = params.count("from")?.unwrap_or(0);
    let size = params.count("size")?.unwrap_or(3);
    let window = from.saturating_add(size);
    if window > MAX_WINDOW {
        return Err(Failure::illegal(format!(
            "Top hits result window is too large, the top hits aggregator [{}]'s from + size must \
             be less than or equal to: [{MAX_WINDOW}] but was [{window}]. This limit is \
             [index.max_inner_result_window].",
            params.name
        )));
    }
    params.refuse(&["script_fields"])?;
    let mut sort = Vec::new();
    let given = params.get("sort");
    match given {
        None => {}
        Some(Value::Array(list)) => {
            for one in list {
                by(params, one, &mut sort)?;
            }
        }
        Some(one) => by(params, one, &mut sort)?,
    }
    let sorted = !sort.is_empty();
    if !sorted {
        by(params, &"_score".into(), &mut sort)?;
    }
    let mut options = Map::new();
    for key in PASSED {
        if let Some(value) = params.get(key) {
            options.insert(key.to_owned(), value.clone());
        }
    }
    let track = params.flag("track_scores", false)?;
    Ok(Box::new(TopHitsAgg {
        from: usize::try_from(from).unwrap_or(0),
        size: usize::try_from(size).unwrap_or(0),
        scores: track || sort.iter().any(|by| matches!(by.what, What::Score)),
        sort,
        sorted,
        options: options.into(),
    }))
}

impl TopHitsAgg {
    fn columns(&self, ctx: &Ctx<'_>, docs: &[DocId]) -> Outcome<(Vec<Column>, Vec<Shown>)> {
        let mut columns = Vec::new();
        let mut shows = Vec::new();
        for by in &self.sort {
            let target = match &by.what {
                What::Score => {
                    columns.push(Column::Score);
                    shows.push(Shown::default());
                    continue;
                }
                What::Doc => {
                    columns.push(Column::Doc);
                    shows.push(Shown::default());
                    continue;
                }
                What::Field(target) => target,
            };
            let source = Source::open(ctx, target, "top_hits", anything)?;
            let coded = source.codes(docs)?;
            let mut best = vec![0; docs.len()];
            coded.values.each(|at, code| {
                let code = code.saturating_add(1);
                let best = &mut best[at];
                *best = match *best {
                    0 => code,
                    before if by.descending => before.max(code),
                    before => before.min(code),
                };
            });
            columns.push(Column::Codes(best, coded));
            // Dates are sorted by as numbers, and shown as such.
            shows.push(match &*source.show {
                Show::Date(..) => Shown::default(),
                _ => source.show,
            });
        }
        Ok((columns, shows))
    }

    /// Numbers that are ordered as documents are wanted.
    fn ranks(&self, columns: &[Column], at: usize, doc: DocId, score: f32) -> Vec<u64> {
        let columns = self.sort.iter().zip(columns);
        columns
            .map(|(by, column)| {
                let code = match column {
                    Column::Score => float_code(f64::from(score)),
                    Column::Doc => u64::from(doc),
                    Column::Codes(codes, _) if codes[at] == 0 => {
                        return if by.missing_first { 0 } else { u64::MAX };
                    }
                    Column::Codes(codes, _) => codes[at],
                };
                if by.descending { !code } else { code }
            })
            .collect()
    }
}

impl Agg for TopHitsAgg {
    fn collect(&self, _: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        let limit = self.from + self.size;
        let (columns, shows) = self.columns(ctx, rows.docs)?;
        let shows: Arc<[Shown]> = shows.into();
        let directions: Arc<[Direction]> = self
            .sort
            .iter()
            .map(|by| Direction {
                descending: by.descending,
                missing_first: by.missing_first,
            })
            .collect();
        let index: Arc<str> = ctx.host.index_name().into();
        let mut all = Vec::new();
        all.resize_with(rows.count, || (0_u64, f32::NEG_INFINITY, Vec::new()));
        for (at, (doc, owner)) in rows.docs.iter().zip(rows.owners).enumerate() {
            let score = if self.scores { ctx.score(*doc) } else { 1.0 };
            let (total, max, best) = &mut all[*owner as usize];
            *total += 1;
            *max = score.max(*max);
            best.push((self.ranks(&columns, at, *doc, score), *doc, at, score));
            if best.len() > 2 * limit + 16 {
                best.sort_unstable_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
                best.truncate(limit);
            }
        }
        for (_, _, best) in &mut all {
            best.sort_unstable_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
            best.truncate(limit);
        }
        let chosen = all.iter().flat_map(|(_, _, best)| best);
        let chosen: Vec<usize> = chosen.map(|(_, _, at, _)| *at).collect();
        let columns = columns.into_iter().map(|column| column.decoded(&chosen));
        let columns = columns.collect::<Outcome<Vec<_>>>()?;
        let hit = |(_, doc, at, score): (Vec<u64>, DocId, usize, f32)| Hit {
            index: Arc::clone(&index),
            part: ctx.number,
            doc,
            score,
            keys: columns
                .iter()
                .map(|column| column.key(at, doc, score))
                .collect(),
        };
        let part = |(total, max_score, best): (u64, f32, Vec<_>)| {
            Part::Hits(Box::new(TopHits {
                total,
                max_score,
                hits: best.into_iter().map(hit).collect(),
                limit,
                directions: Arc::clone(&directions),
                shows: Arc::clone(&shows),
            }))
        };
        Ok(all.into_iter().map(part).collect())
    }

    fn finish(&self, _: &Node, part: Part, end: &End<'_>) -> Outcome<Map<String, Value>> {
        let (total, max, hits, shows) = match part {
            Part::Hits(top) => (top.total, top.max_score, top.hits, top.shows),
            _ => (0, f32::NEG_INFINITY, Vec::new(), Vec::new().into()),
        };
        let max = if self.scores && max.is_finite() {
            number(f64::from(max))
        } else {
            Value::Null
        };
        let mut rendered = Vec::new();
        for hit in hits.into_iter().skip(self.from).take(self.size) {
            let host = end.host(&hit.index)?;
            let mut value = host.hit(hit.part, hit.doc, hit.score, &self.options)?;
            if let Value::Object(object) = &mut value {
                if !self.scores {
                    object.insert("_score".to_owned(), Value::Null);
                }
                if self.sorted {
                    let keys = hit.keys.iter().zip(&*shows);
                    let sort: Vec<Value> = keys.map(|(key, show)| sort_value(key, show)).collect();
                    object.insert("sort".to_owned(), sort.into());
                }
            }
            rendered.push(value);
        }
        let hits = json!({
            "total": {"value": total, "relation": "eq"},
            "max_score": max,
            "hits": rendered,
        });
        let mut object = Map::new();
        object.insert("hits".to_owned(), hits);
        Ok(object)
    }

    fn takes_subs(&self) -> bool {
        false
    }

    fn needs_scores(&self) -> bool {
        self.scores
    }
}

fn sort_value(key: &Key, show: &Show) -> Value {
    match (key, show) {
        (Key::Int(number), Show::Boolean) => Value::from(*number != 0),
        _ => key.json(),
    }
}

impl TopHits {
    pub(super) fn merge(&mut self, other: Self) {
        self.total += other.total;
        self.max_score = self.max_score.max(other.max_score);
        self.hits.extend(other.hits);
        let directions = Arc::clone(&self.directions);
        // Stable: of equal ones those of the first segment or index are first.
        self.hits.sort_by(|a, b| {
            let orders = a.keys.iter().zip(&b.keys).zip(&*directions);
            let orders = orders.map(|((a, b), direction)| {
                a.sorted(b, direction.descending, direction.missing_first)
            });
            orders.fold(Ordering::Equal, Ordering::then)
        });
        self.hits.truncate(self.limit);
    }

    /// Memory behind it, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let hits = self.hits.iter().flat_map(|hit| &hit.keys);
        let keys: usize = hits.map(|key| size_of::<Key>() + key.bytes()).sum();
        size_of::<Self>() + self.hits.len() * size_of::<Hit>() + keys
    }
}

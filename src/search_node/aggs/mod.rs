//! Aggregations: what a search counts and computes over the documents it found.
//!
//! Each aggregation is computed over one piece of a segment at a time, column by column: it gets
//! the documents of the piece and, for each, the number of the bucket it is in, and gives one
//! [`Part`] per bucket. Parts of pieces, segments and indices are merged; only the end turns
//! them into an answer.

mod bounds;
mod buckets;
mod budget;
mod cardinality;
mod codes;
mod columns;
mod composite;
mod composite_source;
mod context;
mod date_histogram;
mod filters;
mod histogram;
mod hit_order;
mod hll;
mod include;
mod key;
mod metrics;
mod nested;
mod order;
mod params;
mod parse;
mod part;
mod quantiles;
mod ranges;
mod rounding;
mod source;
mod target;
mod tdigest;
mod terms;
mod top_hits;
mod tree;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};
use tantivy::DocId;

use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::shard::{Bits, View};
use context::{Ctx, Shared};
use part::Part;
use tree::{End, Node, Rows};

/// Buckets of one answer at most, as `search.max_buckets`.
pub(super) const MAX_BUCKETS: usize = 65_536;

/// Memory of a partial result at most, in bytes.
pub(super) const MAX_MEMORY: usize = 128 << 20;

/// Documents that are looked at in one go; vectors of their size exist once per level of
/// aggregations.
const PIECE: usize = 1 << 17;

/// Parsed aggregations by name, in request order.
#[derive(Debug)]
pub(super) struct Aggs {
    nodes: Vec<Node>,
}

/// What aggregating needs from outside, per index.
pub(super) trait Host {
    /// What is aggregated over.
    fn view(&self) -> &View;
    /// The index's name; no two hosts of a search have the same.
    fn index_name(&self) -> &str;
    /// Now, in milliseconds since the epoch.
    fn now(&self) -> i64;
    /// Live documents of part number `part` that match a query of the Elasticsearch DSL:
    /// instances of the nested object `nested`, or documents of their own when it is `None`.
    /// More documents than those do no harm.
    fn matching(&self, part: usize, query: &Value, nested: Option<&str>) -> Outcome<Bits>;
    /// One hit as in a search answer (with `_index`, `_id`, `_source`, `_score`), for `top_hits`;
    /// `options` are the members of `top_hits` that say what a hit shows, such as `_source`.
    fn hit(&self, part: usize, doc: DocId, score: f32, options: &Value) -> Outcome<Value>;
    /// An error when the request has run too long.
    fn check(&self) -> Outcome<()>;
}

/// Documents of one part that a search found.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Matches<'a> {
    /// Documents of their own, ascending.
    pub docs: &'a [DocId],
    /// Their scores, or nothing: then each is 1. Wanted when [`Aggs::needs_scores`] says so.
    pub scores: &'a [f32],
}

/// Partial result of one index or of several ones.
#[derive(Debug)]
pub(super) struct Partial {
    parts: Vec<Part>,
}

impl Aggs {
    /// Reads the object under `aggs` or `aggregations`.
    pub(super) fn parse(json: &Value) -> Outcome<Self> {
        Ok(Self {
            nodes: parse::parse(json)?,
        })
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether scores of the documents count.
    pub(super) fn needs_scores(&self) -> bool {
        self.nodes.iter().any(Node::needs_scores)
    }

    /// The result over nothing.
    pub(super) fn empty(&self) -> Partial {
        Partial {
            parts: part::nothing(self.nodes.len()),
        }
    }

    /// Aggregates over one index; `matches` has what was found in each part of its view.
    pub(super) fn collect(&self, host: &dyn Host, matches: &[Matches<'_>]) -> Outcome<Partial> {
        let view = host.view();
        if matches.len() != view.parts.len() {
            return Err(Failure::internal("not each part of the index was searched"));
        }
        let shared = Shared::default();
        let mut all = self.empty().parts;
        if matches.is_empty() {
            // Nothing is found, but what is wrong with the request is still said.
            let ctx = Ctx::new(host, 0, &shared, Matches::default());
            self.piece(&ctx, &[], &mut all)?;
        }
        for (number, found) in matches.iter().enumerate() {
            let max_doc = view.parts[number].segment.max_doc();
            let ascending = found.docs.is_sorted_by(|a, b| a < b);
            if !ascending || found.docs.last().is_some_and(|last| *last >= max_doc) {
                return Err(Failure::internal(
                    "found documents are not of their segment",
                ));
            }
            shared.next_part();
            let mut ctx = Ctx::new(host, number, &shared, *found);
            // A part without matches still has terms and ranges to show.
            let mut rest = found.docs;
            loop {
                let (docs, more) = rest.split_at(rest.len().min(PIECE));
                self.piece(&ctx, docs, &mut all)?;
                if more.is_empty() {
                    break;
                }
                rest = more;
                ctx.first = false;
            }
        }
        Ok(Partial { parts: all })
    }

    fn piece(&self, ctx: &Ctx<'_>, docs: &[DocId], all: &mut Vec<Part>) -> Outcome<()> {
        let owners = vec![0; docs.len()];
        let rows = Rows {
            docs,
            owners: &owners,
            count: 1,
        };
        let parts = ctx.run(&self.nodes, &rows)?.pop().unwrap_or_default();
        part::merge_all(&self.nodes, all, parts)?;
        ctx.shared.budget.reset(part::bytes_of(all))
    }

    /// Puts the results of two indices, or sets of them, together.
    pub(super) fn merge(&self, left: Partial, right: Partial) -> Outcome<Partial> {
        let mut parts = left.parts;
        part::merge_all(&self.nodes, &mut parts, right.parts)?;
        budget::Budget::default().reset(part::bytes_of(&parts))?;
        Ok(Partial { parts })
    }

    /// The object `aggregations` of the answer. `hosts` are those whose results are in `partial`:
    /// hits are read from them only now, when it is known which are shown.
    pub(super) fn finish(&self, partial: Partial, hosts: &[&dyn Host]) -> Outcome<Value> {
        let end = End::new(hosts);
        let mut object = Map::new();
        end.render(&self.nodes, partial.parts, &mut object)?;
        Ok(Value::Object(object))
    }
}

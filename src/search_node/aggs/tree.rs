//! The tree of aggregations, and what each of them can do.

use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt::Debug;

use serde_json::{Map, Value};
use tantivy::DocId;

use super::context::Ctx;
use super::key::Key;
use super::part::Part;
use super::{Host, MAX_BUCKETS};
use crate::search_node::failure::{Failure, Outcome};

/// One aggregation with those in its buckets.
#[derive(Debug)]
pub(super) struct Node {
    pub name: String,
    pub agg: Box<dyn Agg>,
    pub subs: Vec<Node>,
    pub meta: Option<Value>,
}

impl Node {
    pub(super) fn needs_scores(&self) -> bool {
        self.agg.needs_scores() || self.subs.iter().any(Node::needs_scores)
    }
}

/// Documents of one segment with the buckets they are in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    /// Ascending within each bucket; a document may be in several ones.
    pub docs: &'a [DocId],
    /// Number of the bucket of each document.
    pub owners: &'a [u32],
    /// How many buckets there are.
    pub count: usize,
}

/// A type of aggregations, with its parameters.
pub(super) trait Agg: Debug + Send + Sync {
    /// Computes one part for each bucket that `rows` has.
    fn collect(&self, node: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>>;

    /// Writes the answer, without `meta`.
    fn finish(&self, node: &Node, part: Part, end: &End<'_>) -> Outcome<Map<String, Value>>;

    /// The order that merging keeps the buckets in.
    fn compare(&self, left: &Key, right: &Key) -> Ordering {
        left.order(right)
    }

    /// How many buckets are of interest, from the first one on.
    fn limit(&self) -> usize {
        usize::MAX
    }

    /// A property by which buckets can be ordered, NaN when it has no value; `None` when there is
    /// no such property.
    fn number(&self, _part: &Part, _property: Option<&str>) -> Option<f64> {
        None
    }

    /// Whether it has one bucket, which an order can go through.
    fn is_single(&self) -> bool {
        false
    }

    /// Whether it can have aggregations in it.
    fn takes_subs(&self) -> bool {
        true
    }

    /// Whether it looks at scores.
    fn needs_scores(&self) -> bool {
        false
    }
}

/// An aggregation with one bucket: which documents are in it.
pub(super) trait Choose: Debug + Send + Sync {
    /// Computes the bucket for each bucket that `rows` has.
    fn choose(&self, node: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>>;
}

/// What all aggregations with one bucket have in common.
#[derive(Debug)]
pub(super) struct Single<T>(pub T);

impl<T: Choose> Agg for Single<T> {
    fn collect(&self, node: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        self.0.choose(node, ctx, rows)
    }

    fn finish(&self, node: &Node, part: Part, end: &End<'_>) -> Outcome<Map<String, Value>> {
        end.single(node, part)
    }

    fn number(&self, part: &Part, property: Option<&str>) -> Option<f64> {
        count_of(part, property)
    }

    fn is_single(&self) -> bool {
        true
    }
}

/// The number of documents of a single bucket, as an order sees it.
fn count_of(part: &Part, property: Option<&str>) -> Option<f64> {
    if !matches!(property, None | Some("_count" | "doc_count")) {
        return None;
    }
    Some(match part {
        Part::Single(count, _) => *count as f64,
        _ => 0.0,
    })
}

/// Writing an answer.
pub(super) struct End<'a> {
    hosts: &'a [&'a dyn Host],
    buckets: Cell<usize>,
}

/// Buckets between two looks at the clock.
const CLOCK_EVERY: usize = 512;

impl<'a> End<'a> {
    pub(super) fn new(hosts: &'a [&'a dyn Host]) -> Self {
        Self {
            hosts,
            buckets: Cell::new(0),
        }
    }

    /// Now, in milliseconds since the epoch.
    pub(super) fn now(&self) -> i64 {
        self.hosts.first().map_or(0, |host| host.now())
    }

    /// The host of an index.
    pub(super) fn host(&self, index: &str) -> Outcome<&'a dyn Host> {
        let found = self.hosts.iter().find(|host| host.index_name() == index);
        found
            .copied()
            .ok_or_else(|| Failure::internal(format!("hits of index [{index}] cannot be read")))
    }

    /// Counts a bucket of the answer.
    pub(super) fn bucket(&self) -> Outcome<()> {
        let count = self.buckets.get() + 1;
        self.buckets.set(count);
        if count > MAX_BUCKETS {
            return Err(too_many_buckets());
        }
        match self.hosts.first() {
            Some(host) if count.is_multiple_of(CLOCK_EVERY) => host.check(),
            _ => Ok(()),
        }
    }

    /// Writes the answers of `nodes` into `object`.
    pub(super) fn render(
        &self,
        nodes: &[Node],
        parts: Vec<Part>,
        object: &mut Map<String, Value>,
    ) -> Outcome<()> {
        let mut parts = parts.into_iter();
        for node in nodes {
            let part = parts.next().unwrap_or(Part::Nothing);
            let body = node.agg.finish(node, part, self)?;
            let body = match &node.meta {
                None => body,
                Some(meta) => {
                    let mut with = Map::new();
                    with.insert("meta".to_owned(), meta.clone());
                    with.extend(body);
                    with
                }
            };
            object.insert(node.name.clone(), Value::Object(body));
        }
        Ok(())
    }

    /// `{"doc_count": …}` with the answers of the aggregations in it.
    pub(super) fn single(&self, node: &Node, part: Part) -> Outcome<Map<String, Value>> {
        let (count, subs) = match part {
            Part::Single(count, subs) => (count, subs),
            _ => (0, Vec::new()),
        };
        let mut object = Map::new();
        object.insert("doc_count".to_owned(), count.into());
        self.render(&node.subs, subs, &mut object)?;
        Ok(object)
    }
}

/// 400: the answer would have too many buckets.
pub(super) fn too_many_buckets() -> Failure {
    Failure::new(
        400,
        "too_many_buckets_exception",
        format!(
            "Trying to create too many buckets. Must be less than or equal to: [{MAX_BUCKETS}] but \
             this number of buckets was exceeded. This limit is [search.max_buckets]."
        ),
    )
    .with("max_buckets", MAX_BUCKETS)
}

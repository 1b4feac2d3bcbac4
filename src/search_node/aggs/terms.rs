//! `terms`: a bucket for each value.

use serde_json::{Map, Value};
use tantivy::DocId;

use super::buckets::{as_parts, of_codes};
use super::codes::Decode;
use super::context::Ctx;
use super::include::Include;
use super::key::Key;
use super::order::Order;
use super::params::Params;
use super::part::{Bucket, Buckets, Part};
use super::source::{Source, anything};
use super::target::Target;
use super::tree::{Agg, End, Node, Rows};
use crate::search_node::failure::Outcome;

/// See the module.
#[derive(Debug)]
struct Terms {
    target: Target,
    size: usize,
    min_doc_count: u64,
    order: Order,
    include: Option<Include>,
    show_error: bool,
}

/// Reads `terms`; `subs` are the aggregations in its buckets.
pub(super) fn parse(params: &Params<'_>, subs: &[Node]) -> Outcome<Box<dyn Agg>> {
    // How a search is spread over shards, which do not exist here.
    params.ignore(&["collect_mode", "execution_hint"]);
    params.size("shard_size", 10)?;
    params.count("shard_min_doc_count")?;
    Ok(Box::new(Terms {
        target: Target::formatted(params)?,
        size: params.size("size", 10)?,
        min_doc_count: params.count("min_doc_count")?.unwrap_or(1),
        order: Order::parse(params, subs, Order::by_count())?,
        include: Include::parse(params)?,
        show_error: params.flag("show_term_doc_count_error", false)?,
    }))
}

impl Terms {
    /// Documents that were not found: with `min_doc_count` 0 their values have buckets too.
    fn others(&self, ctx: &Ctx<'_>, source: &Source<'_>) -> Vec<DocId> {
        match ctx.part {
            Some(part) if self.min_doc_count == 0 => {
                part.live.iter().filter(|doc| source.has(*doc)).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Agg for Terms {
    fn collect(&self, node: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        let source = Source::open(ctx, &self.target, "terms", anything)?;
        let others = self.others(ctx, &source);
        let mut coded = if others.is_empty() {
            source.codes(rows.docs)?
        } else {
            source.codes(&[rows.docs, &others].concat())?
        };
        if let Some(include) = &self.include {
            include.apply(&mut coded, source.leaf, &self.target)?;
        }
        let mut empty = coded.values.split_off(rows.docs.len());
        empty.sort_unstable();
        empty.dedup();
        let mut all = of_codes(node, ctx, rows, &coded, &empty)?;
        if matches!(&coded.decode, Decode::Terms { other: Some(_), .. }) {
            for buckets in &mut all {
                buckets.sort_by(|a, b| a.key.order(&b.key));
            }
        }
        Ok(as_parts(all, &source.show))
    }

    fn finish(&self, node: &Node, part: Part, end: &End<'_>) -> Outcome<Map<String, Value>> {
        let Buckets { list, shows } = match part {
            Part::Buckets(buckets) => buckets,
            _ => Buckets::default(),
        };
        let show = shows.into_iter().next().unwrap_or_default();
        let buckets = list.into_iter();
        let buckets: Vec<Bucket> = buckets
            .filter(|bucket| bucket.count >= self.min_doc_count)
            .collect();
        let all: u64 = buckets.iter().map(|bucket| bucket.count).sum();
        let chosen = self.order.arrange(&node.subs, &buckets, self.size);
        let mut buckets: Vec<Option<Bucket>> = buckets.into_iter().map(Some).collect();
        let mut shown = 0;
        let mut rendered = Vec::with_capacity(chosen.len());
        for at in chosen {
            let Some(bucket) = buckets[at].take() else {
                continue;
            };
            end.bucket()?;
            shown += bucket.count;
            let mut object = Map::new();
            object.insert("key".to_owned(), bucket.key.json());
            let text = match bucket.key {
                Key::Int(number) => show.int(number),
                Key::Float(number) => show.number(number),
                _ => None,
            };
            if let Some(text) = text {
                object.insert("key_as_string".to_owned(), text.into());
            }
            object.insert("doc_count".to_owned(), bucket.count.into());
            if self.show_error {
                object.insert("doc_count_error_upper_bound".to_owned(), 0.into());
            }
            end.render(&node.subs, bucket.subs, &mut object)?;
            rendered.push(Value::Object(object));
        }
        let mut object = Map::new();
        object.insert("doc_count_error_upper_bound".to_owned(), 0.into());
        object.insert("sum_other_doc_count".to_owned(), (all - shown).into());
        object.insert("buckets".to_owned(), rendered.into());
        Ok(object)
    }
}

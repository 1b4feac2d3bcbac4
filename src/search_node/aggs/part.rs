//! Partial results, and putting them together.

use std::cmp::Ordering;

use super::hll::Distinct;
use super::key::{Key, Shown};
use super::metrics::Stats;
use super::ranges::Bound;
use super::tdigest::TDigest;
use super::top_hits::TopHits;
use super::tree::Node;
use crate::search_node::failure::{Failure, Outcome};

/// What an aggregation found in one bucket so far.
#[derive(Debug, Default)]
pub(super) enum Part {
    /// It did not look yet.
    #[default]
    Nothing,
    /// Sums and the like.
    Stats(Stats, Shown),
    /// Different values.
    Distinct(Box<Distinct>),
    /// The distribution of values.
    Digest(Box<TDigest>, Shown),
    /// One bucket: its documents, and the parts of the aggregations in it.
    Single(u64, Vec<Part>),
    /// Buckets by key.
    Buckets(Buckets),
    /// Buckets that the request names.
    Fixed(Box<Fixed>),
    /// Documents.
    Hits(Box<TopHits>),
}

/// Buckets by key.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    /// In the aggregation's order, each key once.
    pub list: Vec<Bucket>,
    /// How keys are shown: one, or one per source of a composite.
    pub shows: Vec<Shown>,
}

/// One bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    pub key: Key,
    /// Documents.
    pub count: u64,
    pub subs: Vec<Part>,
}

/// Buckets that the request names, in its order.
#[derive(Debug, Default)]
pub(super) struct Fixed {
    /// Documents, and the parts of the aggregations in it.
    pub buckets: Vec<(u64, Vec<Part>)>,
    /// Of ranges, one per bucket.
    pub bounds: Vec<Bound>,
    pub show: Shown,
}

/// The parts of `count` aggregations that did not look yet.
pub(super) fn nothing(count: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    parts.resize_with(count, Part::default);
    parts
}

/// Puts `more` into `all`, both of which have the parts of `nodes`.
pub(super) fn merge_all(nodes: &[Node], all: &mut Vec<Part>, more: Vec<Part>) -> Outcome<()> {
    if all.is_empty() {
        *all = more;
        return Ok(());
    }
    for ((node, one), other) in nodes.iter().zip(all).zip(more) {
        let left = std::mem::take(one);
        *one = merge(node, left, other)?;
    }
    Ok(())
}

fn merge(node: &Node, left: Part, right: Part) -> Outcome<Part> {
    Ok(match (left, right) {
        (Part::Nothing, other) | (other, Part::Nothing) => other,
        (Part::Stats(mut left, show), Part::Stats(right, _)) => {
            left.merge(&right);
            Part::Stats(left, show)
        }
        (Part::Distinct(mut left), Part::Distinct(right)) => {
            left.merge(*right);
            Part::Distinct(left)
        }
        (Part::Digest(mut left, show), Part::Digest(right, _)) => {
            left.merge(&right);
            Part::Digest(left, show)
        }
        (Part::Single(left, mut subs), Part::Single(right, more)) => {
            merge_all(&node.subs, &mut subs, more)?;
            Part::Single(left + right, subs)
        }
        (Part::Buckets(left), Part::Buckets(right)) => {
            Part::Buckets(merge_buckets(node, left, right)?)
        }
        (Part::Fixed(mut left), Part::Fixed(right)) => {
            if left.buckets.is_empty() {
                return Ok(Part::Fixed(right));
            }
            for (one, (count, subs)) in left.buckets.iter_mut().zip(right.buckets) {
                one.0 += count;
                merge_all(&node.subs, &mut one.1, subs)?;
            }
            Part::Fixed(left)
        }
        (Part::Hits(mut left), Part::Hits(right)) => {
            left.merge(*right);
            Part::Hits(left)
        }
        _ => return Err(different_types(node)),
    })
}

fn different_types(node: &Node) -> Failure {
    Failure::illegal(format!(
        "Merging/Reducing the aggregations failed when computing the aggregation [{}] because the \
         field you gave in the aggregation query existed as two different types in two different \
         indices",
        node.name
    ))
}

fn merge_buckets(node: &Node, mut left: Buckets, mut right: Buckets) -> Outcome<Buckets> {
    if right.list.is_empty() {
        return Ok(left);
    }
    if left.list.is_empty() {
        return Ok(right);
    }
    unify(node, &mut left.list, &mut right.list)?;
    let limit = node.agg.limit();
    let mut list = Vec::with_capacity(left.list.len().max(right.list.len()));
    let mut left_list = left.list.into_iter().peekable();
    let mut right_list = right.list.into_iter().peekable();
    while list.len() < limit {
        let order = match (left_list.peek(), right_list.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => node.agg.compare(&left.key, &right.key),
        };
        match order {
            Ordering::Less => list.extend(left_list.next()),
            Ordering::Greater => list.extend(right_list.next()),
            Ordering::Equal => {
                if let (Some(mut one), Some(other)) = (left_list.next(), right_list.next()) {
                    one.count += other.count;
                    merge_all(&node.subs, &mut one.subs, other.subs)?;
                    list.push(one);
                }
            }
        }
    }
    left.list = list;
    Ok(left)
}

/// Makes floats of integers where they meet floats; other types do not meet.
fn unify(node: &Node, left: &mut [Bucket], right: &mut [Bucket]) -> Outcome<()> {
    let (Some(a), Some(b)) = (left.first(), right.first()) else {
        return Ok(());
    };
    if a.key.rank() != b.key.rank() && a.key != Key::Null && b.key != Key::Null {
        return Err(different_types(node));
    }
    match (&a.key, &b.key) {
        (Key::Int(_), Key::Float(_)) => to_floats(left),
        (Key::Float(_), Key::Int(_)) => to_floats(right),
        _ => {}
    }
    Ok(())
}

fn to_floats(buckets: &mut [Bucket]) {
    for bucket in buckets {
        if let Key::Int(number) = bucket.key {
            bucket.key = Key::Float(number as f64);
        }
    }
}

/// Memory of parts, in bytes, about.
pub(super) fn bytes_of(parts: &[Part]) -> usize {
    parts
        .iter()
        .map(|part| size_of::<Part>() + behind(part))
        .sum()
}

fn behind(part: &Part) -> usize {
    match part {
        Part::Nothing | Part::Stats(..) => 0,
        Part::Distinct(distinct) => distinct.bytes(),
        Part::Digest(digest, _) => digest.bytes(),
        Part::Single(_, subs) => bytes_of(subs),
        Part::Buckets(buckets) => {
            let buckets = buckets.list.iter();
            buckets
                .map(|bucket| size_of::<Bucket>() + bucket.key.bytes() + bytes_of(&bucket.subs))
                .sum()
        }
        Part::Fixed(fixed) => {
            let buckets = fixed.buckets.iter();
            let each =
                |(_, subs): &(u64, Vec<Part>)| size_of::<(u64, Vec<Part>)>() + bytes_of(subs);
            buckets.map(each).sum()
        }
        Part::Hits(hits) => hits.bytes(),
    }
}

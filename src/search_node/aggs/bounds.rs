//! The buckets of a histogram that the request asks for beyond those of documents, and how
//! histograms are written.

use serde_json::{Map, Value};

use super::key::Show;
use super::order::Order;
use super::part::{Bucket, Part, nothing};
use super::tree::{End, Node};
use crate::search_node::failure::{Failure, Outcome};

/// The ends that a histogram is filled up to with empty buckets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends<K> {
    /// Start of the first bucket at least.
    pub min: Option<K>,
    /// Highest start of the last bucket at least.
    pub max: Option<K>,
}

/// Puts empty buckets between those of `list` and up to `ends`.
pub(super) fn fill<K: Copy + PartialOrd>(
    list: Vec<Bucket>,
    ends: Ends<K>,
    of: impl Fn(&Bucket) -> Option<K>,
    next: impl Fn(K) -> K,
    make: impl Fn(K) -> Bucket,
    end: &End<'_>,
) -> Outcome<Vec<Bucket>> {
    let mut filled = Vec::with_capacity(list.len());
    let put = |filled: &mut Vec<Bucket>, from: K, below: &dyn Fn(K) -> bool| -> Outcome<()> {
        let mut key = from;
        while below(key) {
            end.bucket()?;
            filled.push(make(key));
            let after = next(key);
            // Where numbers end nothing follows.
            if after <= key {
                break;
            }
            key = after;
        }
        Ok(())
    };
    let mut before = None;
    for bucket in list {
        let Some(key) = of(&bucket) else {
            continue;
        };
        let from = match before {
            Some(key) => Some(next(key)).filter(|next| *next > key),
            None => ends.min,
        };
        if let Some(from) = from {
            put(&mut filled, from, &|one| one < key)?;
        }
        filled.push(bucket);
        before = Some(key);
    }
    if let Some(max) = ends.max {
        let from = match before {
            Some(key) => Some(next(key)).filter(|next| *next > key),
            None => ends.min,
        };
        if let Some(from) = from {
            put(&mut filled, from, &|one| one <= max)?;
        }
    }
    Ok(filled)
}

/// An empty bucket's parts.
pub(super) fn empty(node: &Node) -> Vec<Part> {
    nothing(node.subs.len())
}

/// How a histogram is written.
#[derive(Debug)]
pub(super) struct Style {
    pub keyed: bool,
    pub order: Order,
}

impl Style {
    /// Writes the buckets, which are by key.
    pub(super) fn render(
        &self,
        node: &Node,
        buckets: Vec<Bucket>,
        show: &Show,
        end: &End<'_>,
    ) -> Outcome<Map<String, Value>> {
        let chosen = self.order.arrange(&node.subs, &buckets, usize::MAX);
        let mut buckets: Vec<Option<Bucket>> = buckets.into_iter().map(Some).collect();
        let mut rendered = Vec::with_capacity(chosen.len());
        for at in chosen {
            let Some(bucket) = buckets[at].take() else {
                continue;
            };
            let text = bucket.key.text(show);
            let mut object = Map::new();
            if !matches!(show, Show::Plain) {
                object.insert("key_as_string".to_owned(), text.clone().into());
            }
            object.insert("key".to_owned(), bucket.key.json());
            object.insert("doc_count".to_owned(), bucket.count.into());
            end.render(&node.subs, bucket.subs, &mut object)?;
            rendered.push((text, Value::Object(object)));
        }
        Ok(with_buckets(rendered, self.keyed))
    }
}

/// `{"buckets": …}` as an object or as a list.
pub(super) fn with_buckets(rendered: Vec<(String, Value)>, keyed: bool) -> Map<String, Value> {
    let buckets = if keyed {
        Value::Object(rendered.into_iter().collect())
    } else {
        rendered.into_iter().map(|(_, value)| value).collect()
    };
    let mut object = Map::new();
    object.insert("buckets".to_owned(), buckets);
    object
}

/// The error for bounds in the wrong order.
pub(super) fn check<K: PartialOrd + std::fmt::Display>(
    name: &str,
    bounds: &str,
    min: Option<K>,
    max: Option<K>,
) -> Outcome<()> {
    match (min, max) {
        (Some(min), Some(max)) if min > max => Err(Failure::illegal(format!(
            "[{bounds}.min][{min}] cannot be greater than [{bounds}.max][{max}] for histogram \
             aggregation [{name}]"
        ))),
        _ => Ok(()),
    }
}

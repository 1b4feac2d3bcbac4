//! `composite`: a bucket for each combination of values, page by page.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::MAX_BUCKETS;
use super::buckets::Spread;
use super::composite_source::{Found, Part as Source, json};
use super::context::Ctx;
use super::key::Key;
use super::params::Params;
use super::part::{Bucket, Buckets, Part};
use super::tree::{Agg, End, Node, Rows};
use crate::search_node::failure::{Failure, Outcome};

/// Combinations of values of one piece of a segment at most.
const MAX_COMBINATIONS: usize = 1 << 20;

/// Most sources of one aggregation.
const MAX_SOURCES: usize = 32;

/// See the module.
#[derive(Debug)]
struct Composite {
    sources: Vec<Source>,
    size: usize,
    /// One value per source.
    after: Option<Vec<Value>>,
}

/// Reads `composite`.
pub(super) fn parse(params: &Params<'_>) -> Outcome<Box<dyn Agg>> {
    let list = match params.need("sources")? {
        Value::Array(list) => list,
        other => return Err(params.bad("sources", other, "a list of sources")),
    };
    if list.is_empty() || list.len() > MAX_SOURCES {
        return Err(Failure::illegal(format!(
            "Composite [sources] of [{}] must be 1 to {MAX_SOURCES}",
            params.name
        )));
    }
    let sources = list.iter().map(|one| Source::parse(params.name, one));
    let sources = sources.collect::<Outcome<Vec<_>>>()?;
    for (at, source) in sources.iter().enumerate() {
        if sources[..at].iter().any(|other| other.name == source.name) {
            return Err(Failure::illegal(format!(
                "Composite source names must be unique, found duplicates: [{}]",
                source.name
            )));
        }
    }
    let size = params.size("size", 10)?;
    if size > MAX_BUCKETS {
        return Err(super::tree::too_many_buckets());
    }
    let after = match params.get("after") {
        None => None,
        Some(Value::Object(after)) => {
            if after.len() != sources.len() {
                return Err(Failure::illegal(format!(
                    "[after] has {} value(s) but [sources] has {}",
                    after.len(),
                    sources.len()
                )));
            }
            let values = sources.iter().map(|source| {
                let value = after.get(&source.name).cloned();
                value.ok_or_else(|| {
                    Failure::illegal(format!("Missing value for [after.{}]", source.name))
                })
            });
            Some(values.collect::<Outcome<Vec<_>>>()?)
        }
        Some(other) => return Err(params.bad("after", other, "an object")),
    };
    Ok(Box::new(Composite {
        sources,
        size,
        after,
    }))
}

/// Combinations as numbers that are ordered as their keys are.
struct Numbers {
    /// Different values of each source.
    counts: Vec<u128>,
}

impl Numbers {
    fn new(found: &[Found]) -> Outcome<Self> {
        let counts: Vec<u128> = found.iter().map(|one| one.keys.len() as u128).collect();
        let product = counts
            .iter()
            .try_fold(1_u128, |all, one| all.checked_mul(*one + 1));
        match product {
            Some(_) => Ok(Self { counts }),
            None => Err(Failure::unsupported(
                "[composite] over so many different values of so many sources",
            )),
        }
    }

    /// The number that starts with `number` for the sources before.
    fn push(&self, number: u128, source: usize, rank: usize) -> u128 {
        number * self.counts[source] + rank as u128
    }

    /// The ranks that a number stands for.
    fn ranks(&self, mut number: u128) -> Vec<usize> {
        let mut ranks = vec![0; self.counts.len()];
        for (rank, count) in ranks.iter_mut().zip(&self.counts).rev() {
            *rank = usize::try_from(number % count.max(&1)).unwrap_or(0);
            number /= count.max(&1);
        }
        ranks
    }
}

impl Composite {
    /// The lowest combination of interest.
    fn start(&self, ctx: &Ctx<'_>, found: &[Found], numbers: &Numbers) -> Outcome<u128> {
        let Some(after) = &self.after else {
            return Ok(0);
        };
        let mut keys = Vec::with_capacity(after.len());
        for (source, value) in self.sources.iter().zip(after) {
            keys.push(source.after(ctx, value)?);
        }
        let mut number = 0;
        let mut exact = true;
        for (at, (source, one)) in self.sources.iter().zip(found).enumerate() {
            let rank = if exact {
                let order = |(_, key): &(_, Key)| source.compare(key, &keys[at]);
                let rank = one.keys.partition_point(|key| order(key) == Ordering::Less);
                exact = one
                    .keys
                    .get(rank)
                    .is_some_and(|key| order(key) == Ordering::Equal);
                rank
            } else {
                0
            };
            number = numbers.push(number, at, rank);
        }
        Ok(number + u128::from(exact))
    }

    /// Each combination that documents have, from `start` on: the document's position and the
    /// combination's number.
    fn combinations(
        found: &[Found],
        numbers: &Numbers,
        rows: &Rows<'_>,
        start: u128,
    ) -> Outcome<Vec<(u32, u128)>> {
        let mut all: Vec<(u32, u128)> = (0..super::columns::position(rows.docs.len()))
            .map(|at| (at, 0))
            .collect();
        for (source, one) in found.iter().enumerate() {
            let mut ranks: Vec<(u64, usize)> = Vec::with_capacity(one.keys.len());
            let mut none = None;
            for (rank, (code, _)) in one.keys.iter().enumerate() {
                match code {
                    Some(code) => ranks.push((*code, rank)),
                    None => none = Some(rank),
                }
            }
            ranks.sort_unstable();
            let rank_of = |code: u64| {
                let at = ranks.binary_search_by_key(&code, |(code, _)| *code);
                at.ok().map(|at| ranks[at].1)
            };
            let mut next = Vec::with_capacity(all.len());
            let mut rest = all.as_slice();
            let mut too_many = false;
            let mut here = Vec::new();
            one.coded.values.by_doc(rows.docs.len(), |at, codes| {
                here.clear();
                here.extend(codes.iter().filter_map(|code| rank_of(*code)));
                here.sort_unstable();
                here.dedup();
                if here.is_empty() && one.missing {
                    here.extend(none);
                }
                let before = rest
                    .iter()
                    .take_while(|(one, _)| *one as usize == at)
                    .count();
                let (mine, others) = rest.split_at(before);
                rest = others;
                too_many |= next.len() > MAX_COMBINATIONS;
                if too_many {
                    return;
                }
                for (at, number) in mine {
                    let ranks = here.iter();
                    next.extend(ranks.map(|rank| (*at, numbers.push(*number, source, *rank))));
                }
            });
            if too_many {
                return Err(Failure::illegal(
                    "documents have too many combinations of values for [composite]",
                ));
            }
            all = next;
        }
        all.retain(|(_, number)| *number >= start);
        Ok(all)
    }
}

impl Agg for Composite {
    fn collect(&self, node: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        debug_assert_eq!(rows.count, 1);
        let found = self.sources.iter().map(|source| source.codes(ctx, rows));
        let found = found.collect::<Outcome<Vec<_>>>()?;
        let numbers = Numbers::new(&found)?;
        let start = self.start(ctx, &found, &numbers)?;
        let pairs = Self::combinations(&found, &numbers, rows, start)?;
        let mut first: Vec<u128> = pairs.iter().map(|(_, number)| *number).collect();
        // Buckets of this piece that are not among its first ones are not among all first ones.
        first.sort_unstable();
        first.dedup();
        first.truncate(self.size);
        let mut spread = Spread::new(node, first.len(), pairs.len());
        for (at, number) in &pairs {
            if let Ok(bucket) = first.binary_search(number) {
                spread.add(rows.docs[*at as usize], bucket);
            }
        }
        let buckets = spread.run(node, ctx)?;
        let list = first
            .into_iter()
            .zip(buckets)
            .map(|(number, (count, subs))| {
                let ranks = numbers.ranks(number).into_iter();
                let keys = ranks.zip(&found).map(|(rank, one)| {
                    let key = one.keys.get(rank).map(|(_, key)| key.clone());
                    key.unwrap_or(Key::Null)
                });
                Bucket {
                    key: Key::Tuple(keys.collect()),
                    count,
                    subs,
                }
            });
        Ok(vec![Part::Buckets(Buckets {
            list: list.collect(),
            shows: found.iter().map(|one| one.show.clone()).collect(),
        })])
    }

    fn compare(&self, left: &Key, right: &Key) -> Ordering {
        match (left, right) {
            (Key::Tuple(left), Key::Tuple(right)) => {
                let keys = self.sources.iter().zip(left).zip(right);
                let orders = keys.map(|((source, left), right)| source.compare(left, right));
                orders.fold(Ordering::Equal, Ordering::then)
            }
            _ => left.order(right),
        }
    }

    fn limit(&self) -> usize {
        self.size
    }

    fn finish(&self, node: &Node, part: Part, end: &End<'_>) -> Outcome<Map<String, Value>> {
        let Buckets { list, shows } = match part {
            Part::Buckets(buckets) => buckets,
            _ => Buckets::default(),
        };
        let mut rendered = Vec::with_capacity(list.len());
        let mut last = None;
        for bucket in list.into_iter().take(self.size) {
            end.bucket()?;
            let keys = match &bucket.key {
                Key::Tuple(keys) => &**keys,
                _ => &[],
            };
            let mut key = Map::new();
            for ((source, one), show) in self.sources.iter().zip(keys).zip(&shows) {
                key.insert(source.name.clone(), json(one, show));
            }
            let mut object = Map::new();
            object.insert("key".to_owned(), key.clone().into());
            object.insert("doc_count".to_owned(), bucket.count.into());
            end.render(&node.subs, bucket.subs, &mut object)?;
            rendered.push(Value::Object(object));
            last = Some(key);
        }
        let mut object = Map::new();
        if let Some(last) = last {
            object.insert("after_key".to_owned(), last.into());
        }
        object.insert("buckets".to_owned(), rendered.into());
        Ok(object)
    }
}

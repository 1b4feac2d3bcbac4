//! Putting documents into buckets.

use std::collections::HashMap;
use std::sync::Arc;

use tantivy::DocId;

use super::codes::Coded;
use super::columns::{Values, position};
use super::context::Ctx;
use super::key::{Key, Show};
use super::part::{Bucket, Buckets, Part};
use super::tree::{Node, Rows};
use crate::search_node::failure::Outcome;

/// Documents of numbered buckets.
#[derive(Debug)]
pub(super) struct Spread {
    docs: Vec<DocId>,
    owners: Vec<u32>,
    counts: Vec<u64>,
    /// Whether aggregations in the buckets want to know the documents.
    keep: bool,
}

impl Spread {
    /// Of `count` buckets of `node`, about `docs` documents.
    pub(super) fn new(node: &Node, count: usize, docs: usize) -> Self {
        let keep = !node.subs.is_empty();
        let room = if keep { docs } else { 0 };
        Self {
            docs: Vec::with_capacity(room),
            owners: Vec::with_capacity(room),
            counts: vec![0; count],
            keep,
        }
    }

    /// Puts a document into a bucket.
    #[inline]
    pub(super) fn add(&mut self, doc: DocId, bucket: usize) {
        self.counts[bucket] += 1;
        if self.keep {
            self.docs.push(doc);
            self.owners.push(position(bucket));
        }
    }

    /// The documents and parts of each bucket.
    pub(super) fn run(self, node: &Node, ctx: &Ctx<'_>) -> Outcome<Vec<(u64, Vec<Part>)>> {
        let rows = Rows {
            docs: &self.docs,
            owners: &self.owners,
            count: self.counts.len(),
        };
        ctx.shared
            .budget
            .charge(self.counts.len() * size_of::<Bucket>())?;
        let subs = ctx.run(&node.subs, &rows)?;
        Ok(self.counts.into_iter().zip(subs).collect())
    }

    /// As [`Spread::run`], where each bucket is the only one of an owner.
    pub(super) fn singles(self, node: &Node, ctx: &Ctx<'_>) -> Outcome<Vec<Part>> {
        let buckets = self.run(node, ctx)?.into_iter();
        Ok(buckets
            .map(|(count, subs)| Part::Single(count, subs))
            .collect())
    }
}

/// Largest table from codes to buckets, in entries per value; there are always some thousands.
const TABLE_PER_VALUE: usize = 8;
const SMALL_TABLE: usize = 1 << 14;

/// No bucket, and no document.
const NONE: u32 = u32::MAX;

/// Numbers for the buckets of pairs of owner and code.
struct Ids {
    /// By owner and code, when there are not too many.
    table: Vec<u32>,
    span: usize,
    map: HashMap<(u32, u64), u32>,
    pairs: Vec<(u32, u64)>,
}

impl Ids {
    fn new(owners: usize, span: Option<u64>, values: usize) -> Self {
        let span = span.and_then(|span| usize::try_from(span).ok());
        let size = span.and_then(|span| span.checked_mul(owners));
        let limit = values.saturating_mul(TABLE_PER_VALUE).max(SMALL_TABLE);
        let (span, size) = match (span, size) {
            (Some(span), Some(size)) if size <= limit => (span, size),
            _ => (0, 0),
        };
        Self {
            table: vec![NONE; size],
            span,
            map: HashMap::new(),
            pairs: Vec::new(),
        }
    }

    /// The number of a bucket; a new one is the number of those before.
    #[inline]
    fn id(&mut self, owner: u32, code: u64) -> usize {
        let next = position(self.pairs.len());
        let id = if self.span > 0 {
            let code = usize::try_from(code).unwrap_or(usize::MAX);
            debug_assert!(code < self.span);
            &mut self.table[owner as usize * self.span + code]
        } else {
            self.map.entry((owner, code)).or_insert(NONE)
        };
        if *id == NONE {
            *id = next;
            self.pairs.push((owner, code));
        }
        *id as usize
    }

    /// The numbers of all buckets, by owner and code.
    fn sorted(&self) -> Vec<u32> {
        if self.span > 0 {
            let table = self.table.iter();
            return table.copied().filter(|id| *id != NONE).collect();
        }
        let mut ids: Vec<u32> = (0..position(self.pairs.len())).collect();
        ids.sort_unstable_by_key(|id| self.pairs[*id as usize]);
        ids
    }
}

/// The bucket of an owner and a code.
#[derive(Debug)]
pub(super) struct Group {
    pub owner: u32,
    pub code: u64,
    /// Documents.
    pub count: u64,
    pub subs: Vec<Part>,
}

/// Puts documents into a bucket for each code that they have, by owner; gives the buckets by
/// owner and code. Codes of `empty` have a bucket with every owner. Codes are below `span`, when
/// that is known.
pub(super) fn group(
    node: &Node,
    ctx: &Ctx<'_>,
    rows: &Rows<'_>,
    values: &Values<u64>,
    span: Option<u64>,
    empty: &[u64],
) -> Outcome<Vec<Group>> {
    let mut ids = Ids::new(rows.count, span, values.list.len());
    let mut spread = Spread::new(node, 0, values.list.len());
    // The position of the last document in each bucket: each is there once.
    let mut last = Vec::new();
    values.each(|at, code| {
        let id = ids.id(rows.owners[at], code);
        if id == spread.counts.len() {
            spread.counts.push(0);
            last.push(NONE);
        }
        if values.multi {
            if last[id] as usize == at {
                return;
            }
            last[id] = position(at);
        }
        spread.add(rows.docs[at], id);
    });
    ctx.shared
        .budget
        .charge(empty.len().saturating_mul(rows.count) * size_of::<Bucket>())?;
    for owner in 0..position(if empty.is_empty() { 0 } else { rows.count }) {
        for code in empty {
            ids.id(owner, *code);
        }
    }
    spread.counts.resize(ids.pairs.len(), 0);
    let mut parts = spread.run(node, ctx)?;
    let sorted = ids.sorted().into_iter();
    Ok(sorted
        .map(|id| {
            let id = id as usize;
            let (owner, code) = ids.pairs[id];
            let (count, subs) = std::mem::take(&mut parts[id]);
            Group {
                owner,
                code,
                count,
                subs,
            }
        })
        .collect())
}

/// The different codes of groups, ascending.
pub(super) fn codes_of(groups: &[Group]) -> Vec<u64> {
    let mut codes: Vec<u64> = groups.iter().map(|group| group.code).collect();
    // Those of one owner are sorted already.
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// The buckets of each of `owners` owners; `keys` are those of `codes`.
fn by_owner(
    groups: Vec<Group>,
    owners: usize,
    codes: &[u64],
    mut keys: Vec<Key>,
) -> Vec<Vec<Bucket>> {
    let mut all = Vec::new();
    all.resize_with(owners, Vec::new);
    for group in groups {
        let Ok(at) = codes.binary_search(&group.code) else {
            continue;
        };
        let key = if owners == 1 {
            std::mem::replace(&mut keys[at], Key::Null)
        } else {
            keys[at].clone()
        };
        all[group.owner as usize].push(Bucket {
            key,
            count: group.count,
            subs: group.subs,
        });
    }
    all
}

/// The buckets that coded values make in each bucket that `rows` has; `empty` are codes that have
/// one in any case.
pub(super) fn of_codes(
    node: &Node,
    ctx: &Ctx<'_>,
    rows: &Rows<'_>,
    coded: &Coded,
    empty: &[u64],
) -> Outcome<Vec<Vec<Bucket>>> {
    let groups = group(node, ctx, rows, &coded.values, coded.span, empty)?;
    let distinct = codes_of(&groups);
    let keys = coded.decode.keys(&distinct)?;
    Ok(by_owner(groups, rows.count, &distinct, keys))
}

/// Lists of buckets as parts; `show` says how their keys are shown.
pub(super) fn as_parts(all: Vec<Vec<Bucket>>, show: &Arc<Show>) -> Vec<Part> {
    let part = |list| {
        Part::Buckets(Buckets {
            list,
            shows: vec![Arc::clone(show)],
        })
    };
    all.into_iter().map(part).collect()
}

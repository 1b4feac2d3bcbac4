//! `cardinality`: how many different values there are.

use std::hash::{DefaultHasher, Hasher};

use serde_json::{Map, Value};

use super::buckets::{codes_of, group};
use super::context::Ctx;
use super::hll::{Distinct, MAX_THRESHOLD};
use super::key::{Key, whole};
use super::params::Params;
use super::part::Part;
use super::source::{Source, anything};
use super::target::Target;
use super::tree::{Agg, End, Node, Rows};
use crate::search_node::failure::Outcome;

/// The default of `precision_threshold`.
const THRESHOLD: u64 = 3000;

/// See the module.
#[derive(Debug)]
struct Cardinality {
    target: Target,
    threshold: usize,
}

/// Reads `cardinality`.
pub(super) fn parse(params: &Params<'_>) -> Outcome<Box<dyn Agg>> {
    params.ignore(&["execution_hint", "rehash"]);
    let threshold = params.count("precision_threshold")?.unwrap_or(THRESHOLD);
    Ok(Box::new(Cardinality {
        target: Target::formatted(params)?,
        threshold: usize::try_from(threshold).map_or(MAX_THRESHOLD, |one| one.min(MAX_THRESHOLD)),
    }))
}

/// A hash with well mixed bits, the same in all segments and indices of this process.
fn hash(key: &Key) -> u64 {
    let mut hasher = DefaultHasher::new();
    match key {
        Key::Int(number) => hasher.write_i64(*number),
        // A whole number is the same value in a field of either kind.
        #[allow(clippy::float_cmp)]
        Key::Float(number) if whole(*number) as f64 == *number => {
            hasher.write_i64(whole(*number));
        }
        Key::Float(number) => hasher.write_u64(number.to_bits()),
        Key::Ip(bits) => hasher.write_u128(*bits),
        Key::Text(text) => hasher.write(text.as_bytes()),
        Key::Null | Key::Tuple(_) => {}
    }
    hasher.finish()
}

impl Agg for Cardinality {
    fn collect(&self, node: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        let source = Source::open(ctx, &self.target, "cardinality", anything)?;
        let coded = source.codes(rows.docs)?;
        let groups = group(node, ctx, rows, &coded.values, coded.span, &[])?;
        let mut all = Vec::new();
        all.resize_with(rows.count, || Distinct::new(self.threshold));
        let distinct = codes_of(&groups);
        let keys = coded.decode.keys(&distinct)?;
        let hashes: Vec<u64> = keys.iter().map(hash).collect();
        for group in groups {
            if let Ok(at) = distinct.binary_search(&group.code) {
                all[group.owner as usize].insert(hashes[at]);
            }
        }
        let parts = all.into_iter();
        Ok(parts.map(|one| Part::Distinct(Box::new(one))).collect())
    }

    fn finish(&self, _: &Node, part: Part, _: &End<'_>) -> Outcome<Map<String, Value>> {
        let count = match part {
            Part::Distinct(distinct) => distinct.count(),
            _ => 0,
        };
        let mut object = Map::new();
        object.insert("value".to_owned(), count.into());
        Ok(object)
    }

    fn number(&self, part: &Part, property: Option<&str>) -> Option<f64> {
        if !matches!(property, None | Some("value")) {
            return None;
        }
        Some(match part {
            Part::Distinct(distinct) => distinct.count() as f64,
            _ => 0.0,
        })
    }

    fn takes_subs(&self) -> bool {
        false
    }
}

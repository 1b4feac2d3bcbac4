//! The order of buckets in an answer.

use std::cmp::Ordering;

use serde_json::Value;

use super::params::Params;
use super::part::{Bucket, Part};
use super::tree::Node;
use crate::search_node::failure::{Failure, Outcome};

/// What buckets are ordered by, and whether the highest one is first.
#[derive(Debug, Clone, PartialEq)]
struct By {
    what: What,
    descending: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum What {
    Count,
    Key,
    Path(Path),
}

/// A number of an aggregation in the bucket: the positions of the aggregations on the way, and
/// its property.
#[derive(Debug, Clone, PartialEq)]
struct Path {
    steps: Vec<usize>,
    property: Option<String>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Order(Vec<By>);

impl Order {
    /// By key, lowest first.
    pub(super) fn by_key() -> Self {
        Self(vec![By {
            what: What::Key,
            descending: false,
        }])
    }

    /// By number of documents, highest first, then by key.
    pub(super) fn by_count() -> Self {
        let mut order = Self::by_key();
        order.0.insert(
            0,
            By {
                what: What::Count,
                descending: true,
            },
        );
        order
    }

    /// Reads the parameter `order`: `{"_count": "desc"}`, or a list of such objects.
    pub(super) fn parse(params: &Params<'_>, subs: &[Node], default: Self) -> Outcome<Self> {
        let mut all = Vec::new();
        match params.get("order") {
            None => return Ok(default),
            Some(Value::Array(list)) => {
                for one in list {
                    all.push(by(params, subs, one)?);
                }
            }
            Some(one) => all.push(by(params, subs, one)?),
        }
        if !all.iter().any(|by| by.what == What::Key) {
            all.extend(Self::by_key().0);
        }
        Ok(Self(all))
    }

    /// The positions of the first `size` of `buckets` in this order. The buckets are sorted by
    /// key.
    pub(super) fn arrange(&self, subs: &[Node], buckets: &[Bucket], size: usize) -> Vec<usize> {
        let numbers: Vec<Vec<f64>> = self
            .0
            .iter()
            .map(|by| match &by.what {
                What::Path(path) => {
                    let buckets = buckets.iter();
                    buckets
                        .map(|bucket| path.number(subs, &bucket.subs))
                        .collect()
                }
                _ => Vec::new(),
            })
            .collect();
        let compare = |left: &usize, right: &usize| {
            let orders = self.0.iter().zip(&numbers).map(|(by, numbers)| {
                let order = match by.what {
                    What::Key => left.cmp(right),
                    What::Count => buckets[*left].count.cmp(&buckets[*right].count),
                    What::Path(_) => {
                        return by_number(numbers[*left], numbers[*right], by.descending);
                    }
                };
                if by.descending {
                    order.reverse()
                } else {
                    order
                }
            });
            orders.fold(Ordering::Equal, Ordering::then)
        };
        let mut all: Vec<usize> = (0..buckets.len()).collect();
        if size == 0 {
            return Vec::new();
        }
        if size < all.len() {
            all.select_nth_unstable_by(size - 1, compare);
            all.truncate(size);
        }
        all.sort_unstable_by(compare);
        all
    }
}

/// No number comes last in both directions.
fn by_number(left: f64, right: f64, descending: bool) -> Ordering {
    match (left.is_nan(), right.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ if descending => right.total_cmp(&left),
        _ => left.total_cmp(&right),
    }
}

fn by(params: &Params<'_>, subs: &[Node], one: &Value) -> Outcome<By> {
    let object = one.as_object().filter(|object| object.len() == 1);
    let Some((key, direction)) = object.and_then(|object| object.iter().next()) else {
        return Err(params.bad("order", one, "an object of one member, or a list of them"));
    };
    let descending = match direction.as_str().map(str::to_ascii_lowercase).as_deref() {
        Some("asc") => false,
        Some("desc") => true,
        _ => {
            return Err(Failure::parsing(format!(
                "Unknown order direction [{direction}] in [{}]",
                params.name
            )));
        }
    };
    let what = match key.as_str() {
        "_count" => What::Count,
        "_key" => What::Key,
        path => What::Path(Path::parse(path, subs)?),
    };
    Ok(By { what, descending })
}

impl Path {
    /// Reads `a>b.property`, `a>b[property]` or `a>b` below `subs`.
    fn parse(text: &str, subs: &[Node]) -> Outcome<Self> {
        let invalid = |why: String| {
            Failure::new(
                400,
                "aggregation_execution_exception",
                format!("Invalid aggregation order path [{text}]. {why}"),
            )
        };
        let mut steps = Vec::new();
        let mut subs = subs;
        let mut tokens = text.split('>').peekable();
        while let Some(token) = tokens.next() {
            let last = tokens.peek().is_none();
            let Some((at, property)) = find(subs, token, last) else {
                return Err(invalid(format!(
                    "The provided aggregation [{token}] either does not exist, or is a pipeline \
                     aggregation and cannot be used to sort the buckets."
                )));
            };
            let node = &subs[at];
            steps.push(at);
            if last {
                let property = property.map(str::to_owned);
                if node
                    .agg
                    .number(&Part::Nothing, property.as_deref())
                    .is_none()
                {
                    return Err(invalid(format!(
                        "[{}] has no number [{}] to order by",
                        node.name,
                        property.as_deref().unwrap_or("value")
                    )));
                }
                return Ok(Self { steps, property });
            }
            if !node.agg.is_single() {
                return Err(invalid(format!(
                    "Buckets can only be sorted on a sub-aggregator path that is built out of zero \
                     or more single-bucket aggregations within the path and a final single-bucket \
                     or a metrics aggregation at the path end. Sub-path [{token}] points to non \
                     single-bucket aggregation"
                )));
            }
            subs = &node.subs;
        }
        Err(invalid("It is empty.".to_owned()))
    }

    /// NaN when there is none.
    fn number(&self, subs: &[Node], parts: &[Part]) -> f64 {
        let (mut subs, mut parts) = (subs, parts);
        for (depth, at) in self.steps.iter().enumerate() {
            let Some(node) = subs.get(*at) else {
                return f64::NAN;
            };
            let part = parts.get(*at).unwrap_or(&Part::Nothing);
            if depth + 1 == self.steps.len() {
                let number = node.agg.number(part, self.property.as_deref());
                return number.unwrap_or(f64::NAN);
            }
            subs = &node.subs;
            parts = match part {
                Part::Single(_, parts) => parts,
                _ => &[],
            };
        }
        f64::NAN
    }
}

/// The aggregation that `token` names, alone or with a property; names may hold dots.
fn find<'a>(subs: &[Node], token: &'a str, last: bool) -> Option<(usize, Option<&'a str>)> {
    if let Some(at) = subs.iter().position(|sub| sub.name == token) {
        return Some((at, None));
    }
    if !last {
        return None;
    }
    let properties = subs.iter().enumerate().filter_map(|(at, sub)| {
        let rest = token.strip_prefix(sub.name.as_str())?;
        let property = match rest.strip_prefix('.') {
            Some(property) => property,
            None => rest.strip_prefix('[')?.strip_suffix(']')?,
        };
        Some((at, Some(property)))
    });
    properties.max_by_key(|(at, _)| subs[*at].name.len())
}

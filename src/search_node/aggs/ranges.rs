//! `range` and `date_range`: a bucket for each range of values.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::bounds::with_buckets;
use super::buckets::Spread;
use super::context::Ctx;
use super::key::{Key, Show, java_double, number, whole};
use super::params::{Params, float};
use super::part::{Fixed, Part};
use super::source::{Source, numbers};
use super::target::Target;
use super::tree::{Agg, End, Node, Rows};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::plain;
use crate::search_node::mapping::Kind;

/// Most ranges of one aggregation.
const MAX_RANGES: usize = 1024;

/// See the module.
#[derive(Debug)]
struct Ranges {
    target: Target,
    list: Vec<Range>,
    keyed: bool,
}

/// A range as the request has it.
#[derive(Debug)]
struct Range {
    key: Option<String>,
    from: Option<Value>,
    to: Option<Value>,
}

/// A range of numbers: from the first one on, up to and without the second one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// Position in the request.
    range: usize,
    from: f64,
    to: f64,
}

/// Reads `range` and `date_range`.
pub(super) fn parse(params: &Params<'_>) -> Outcome<Box<dyn Agg>> {
    let dates = params.kind == "date_range";
    let target = if dates {
        Target::dated(params)?
    } else {
        Target::formatted(params)?
    };
    let list = match params.need("ranges")? {
        Value::Array(list) => list,
        other => return Err(params.bad("ranges", other, "a list of ranges")),
    };
    if list.is_empty() {
        return Err(Failure::illegal(format!(
            "No [ranges] specified for the [{}] aggregation",
            params.name
        )));
    }
    if list.len() > MAX_RANGES {
        return Err(Failure::illegal(format!(
            "[{}] has [{}] ranges, [{MAX_RANGES}] are allowed",
            params.name,
            list.len()
        )));
    }
    let mut ranges = Vec::with_capacity(list.len());
    for one in list {
        let inner = Params::of(params.name, "ranges", one)?;
        let side = |key| -> Outcome<Option<Value>> {
            match inner.get(key) {
                Some(value) if dates && plain(value).is_none() => {
                    Err(inner.bad(key, value, "a date"))
                }
                Some(value) if !dates && float(value).is_none() => {
                    Err(inner.bad(key, value, "a number"))
                }
                value => Ok(value.cloned()),
            }
        };
        ranges.push(Range {
            key: inner.text("key")?.map(str::to_owned),
            from: side("from")?,
            to: side("to")?,
        });
        inner.finish()?;
    }
    Ok(Box::new(Ranges {
        target,
        list: ranges,
        keyed: params.flag("keyed", false)?,
    }))
}

impl Ranges {
    /// The ranges as numbers, lowest first.
    fn bounds(&self, show: &Show, now: i64) -> Outcome<Vec<Bound>> {
        let side = |value: &Option<Value>, none: f64| -> Outcome<f64> {
            match (value, show) {
                (None, _) => Ok(none),
                (Some(value), Show::Date(formats, _)) if self.target.dates => {
                    let date = self.target.date(value, formats, now)?;
                    Ok(date as f64)
                }
                // Numbers counted as dates.
                (Some(value), _) if self.target.dates && float(value).is_none() => {
                    let formats = self.target.formats(None)?;
                    let date = self.target.date(value, &formats, now)?;
                    Ok(date as f64)
                }
                (Some(value), _) => Ok(float(value).unwrap_or(none)),
            }
        };
        let mut bounds = Vec::with_capacity(self.list.len());
        for (range, one) in self.list.iter().enumerate() {
            bounds.push(Bound {
                range,
                from: side(&one.from, f64::NEG_INFINITY)?,
                to: side(&one.to, f64::INFINITY)?,
            });
        }
        bounds.sort_by(|a, b| a.from.total_cmp(&b.from).then(a.to.total_cmp(&b.to)));
        Ok(bounds)
    }

    fn kind(&self) -> &'static str {
        if self.target.dates {
            "date_range"
        } else {
            "range"
        }
    }
}

impl Agg for Ranges {
    fn collect(&self, node: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        let source = Source::open(ctx, &self.target, self.kind(), numbers)?;
        let bounds = self.bounds(&source.show, ctx.host.now())?;
        let kind = source.leaf.map(|leaf| leaf.kind);
        let single = matches!(kind, Some(Kind::Float | Kind::HalfFloat));
        // Values were stored with the precision of their type.
        let stored: Vec<(f64, f64)> = bounds
            .iter()
            .map(|bound| {
                if single {
                    (narrow(bound.from), narrow(bound.to))
                } else {
                    (bound.from, bound.to)
                }
            })
            .collect();
        let values = source.numbers(rows.docs)?;
        let count = bounds.len();
        let all = count.saturating_mul(rows.count);
        ctx.shared
            .budget
            .charge(all.saturating_mul(size_of::<(u64, Vec<Part>)>()))?;
        let mut spread = Spread::new(node, all, rows.docs.len());
        if values.multi {
            values.by_doc(rows.docs.len(), |at, values| {
                for (range, (from, to)) in stored.iter().enumerate() {
                    if values.iter().any(|value| from <= value && value < to) {
                        spread.add(rows.docs[at], rows.owners[at] as usize * count + range);
                    }
                }
            });
        } else {
            values.each(|at, value| {
                for (range, (from, to)) in stored.iter().enumerate() {
                    if *from <= value && value < *to {
                        spread.add(rows.docs[at], rows.owners[at] as usize * count + range);
                    }
                }
            });
        }
        let mut buckets = spread.run(node, ctx)?.into_iter();
        let part = |_| {
            Part::Fixed(Box::new(Fixed {
                buckets: buckets.by_ref().take(count).collect(),
                bounds: bounds.clone(),
                show: Arc::clone(&source.show),
            }))
        };
        Ok((0..rows.count).map(part).collect())
    }

    fn finish(&self, node: &Node, part: Part, end: &End<'_>) -> Outcome<Map<String, Value>> {
        let fixed = if let Part::Fixed(fixed) = part {
            *fixed
        } else {
            let show = self.target.show(None)?;
            Fixed {
                bounds: self.bounds(&show, end.now())?,
                show: show.into(),
                buckets: Vec::new(),
            }
        };
        let mut buckets = fixed.buckets.into_iter();
        let mut rendered = Vec::with_capacity(fixed.bounds.len());
        for bound in &fixed.bounds {
            end.bucket()?;
            let (count, subs) = buckets.next().unwrap_or_default();
            let side = |value: f64| match &*fixed.show {
                Show::Date(..) => Key::Int(whole(value)).text(&fixed.show),
                _ => java_double(value),
            };
            let or_star = |value: f64| {
                if value.is_finite() {
                    side(value)
                } else {
                    "*".to_owned()
                }
            };
            let given = self
                .list
                .get(bound.range)
                .and_then(|range| range.key.clone());
            let key =
                given.unwrap_or_else(|| format!("{}-{}", or_star(bound.from), or_star(bound.to)));
            let mut object = Map::new();
            if !self.keyed {
                object.insert("key".to_owned(), key.clone().into());
            }
            for (name, value) in [("from", bound.from), ("to", bound.to)] {
                if value.is_finite() {
                    object.insert(name.to_owned(), number(value));
                    if !matches!(*fixed.show, Show::Plain) {
                        object.insert(format!("{name}_as_string"), side(value).into());
                    }
                }
            }
            object.insert("doc_count".to_owned(), count.into());
            end.render(&node.subs, subs, &mut object)?;
            rendered.push((key, Value::Object(object)));
        }
        Ok(with_buckets(rendered, self.keyed))
    }
}

fn narrow(value: f64) -> f64 {
    #[allow(clippy::cast_possible_truncation)]
    let single = value as f32;
    f64::from(single)
}

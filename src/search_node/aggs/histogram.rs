//! `histogram`: a bucket for each interval of numbers.
//!
//! Until the end the key of a bucket is its number, counted from the one that holds 0.

use serde_json::{Map, Value};

use super::bounds::{Ends, Style, check, empty, fill};
use super::buckets::{as_parts, of_codes};
use super::codes::{Coded, Decode};
use super::context::Ctx;
use super::key::Key;
use super::order::Order;
use super::params::Params;
use super::part::{Bucket, Buckets, Part};
use super::source::{Source, numbers};
use super::target::Target;
use super::tree::{Agg, End, Node, Rows};
use crate::search_node::failure::{Failure, Outcome};

/// Buckets between the lowest and the highest value up to which they are numbered from the
/// lowest on.
const NARROW: f64 = 1e6;

/// See the module.
#[derive(Debug)]
struct Histogram {
    target: Target,
    steps: Steps,
    min_doc_count: u64,
    extended: Ends<f64>,
    hard: Ends<f64>,
    style: Style,
}

/// Reads `histogram`; `subs` are the aggregations in its buckets.
pub(super) fn parse(params: &Params<'_>, subs: &[Node]) -> Outcome<Box<dyn Agg>> {
    let (extended, hard) = (
        ends(params, "extended_bounds")?,
        ends(params, "hard_bounds")?,
    );
    let above = matches!((extended.max, hard.max), (Some(inner), Some(outer)) if inner > outer);
    let below = matches!((extended.min, hard.min), (Some(inner), Some(outer)) if inner < outer);
    if above || below {
        return Err(Failure::illegal(format!(
            "Extended bounds have to be inside hard bounds in [{}]",
            params.name
        )));
    }
    Ok(Box::new(Histogram {
        target: Target::formatted(params)?,
        steps: Steps::parse(params)?,
        min_doc_count: params.count("min_doc_count")?.unwrap_or(0),
        extended,
        hard,
        style: Style {
            keyed: params.flag("keyed", false)?,
            order: Order::parse(params, subs, Order::by_key())?,
        },
    }))
}

fn ends(params: &Params<'_>, key: &'static str) -> Outcome<Ends<f64>> {
    let Some(inner) = params.object(key)? else {
        return Ok(Ends {
            min: None,
            max: None,
        });
    };
    let ends = Ends {
        min: inner.float("min")?,
        max: inner.float("max")?,
    };
    inner.finish()?;
    check(params.name, key, ends.min, ends.max)?;
    Ok(ends)
}

/// Numbered intervals.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    /// Length, more than 0.
    interval: f64,
    offset: f64,
}

impl Steps {
    /// Reads `interval` and `offset`.
    pub(super) fn parse(params: &Params<'_>) -> Outcome<Self> {
        params.need("interval")?;
        let interval = params.float("interval")?.unwrap_or(0.0);
        if interval <= 0.0 {
            return Err(Failure::illegal(format!(
                "[interval] must be >0 for histogram aggregation [{}], found [{interval}]",
                params.name
            )));
        }
        Ok(Self {
            interval,
            offset: params.float("offset")?.unwrap_or(0.0),
        })
    }

    #[inline]
    fn step(self, value: f64) -> f64 {
        // Both zeros are one.
        ((value - self.offset) / self.interval).floor() + 0.0
    }

    /// The start of an interval.
    pub(super) fn start(self, step: f64) -> f64 {
        step * self.interval + self.offset
    }

    /// Numbers of the intervals that documents are in, as floats.
    pub(super) fn codes(
        self,
        source: &Source<'_>,
        rows: &Rows<'_>,
        hard: Ends<f64>,
    ) -> Outcome<Coded> {
        let Some((low, high)) = source.number_bounds()? else {
            return Ok(Coded::none());
        };
        let (low, high) = (self.step(low), self.step(high));
        if !low.is_finite() || !high.is_finite() || !self.start(high).is_finite() {
            return Err(Failure::illegal(format!(
                "[interval] of [{}] is too small for values as large as those there are",
                self.interval
            )));
        }
        let mut steps = source.numbers(rows.docs)?.map(|value| self.step(value));
        if hard.min.is_some() || hard.max.is_some() {
            steps.retain(|step| {
                let start = step * self.interval;
                hard.min.is_none_or(|min| start >= min) && hard.max.is_none_or(|max| start <= max)
            });
        }
        if high - low > NARROW || low.abs() > 1e15 {
            return Ok(Coded::floats(steps));
        }
        let code = |step: f64| super::key::whole(step - low).cast_unsigned();
        Ok(Coded {
            values: steps.map(code),
            span: Some(code(high) + 1),
            decode: Decode::Wholes(low),
        })
    }
}

impl Agg for Histogram {
    fn collect(&self, node: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        let source = Source::open(ctx, &self.target, "histogram", numbers)?;
        let coded = self.steps.codes(&source, rows, self.hard)?;
        let all = of_codes(node, ctx, rows, &coded, &[])?;
        Ok(as_parts(all, &source.show))
    }

    fn finish(&self, node: &Node, part: Part, end: &End<'_>) -> Outcome<Map<String, Value>> {
        let Buckets { mut list, shows } = match part {
            Part::Buckets(buckets) => buckets,
            _ => Buckets::default(),
        };
        let show = shows.into_iter().next().unwrap_or_default();
        list.retain(|bucket| bucket.count >= self.min_doc_count);
        for _ in &list {
            end.bucket()?;
        }
        if self.min_doc_count == 0 {
            let ends = Ends {
                min: self.extended.min.map(|min| self.steps.step(min)),
                max: self.extended.max.map(|max| self.steps.step(max)),
            };
            let step = |bucket: &Bucket| match bucket.key {
                Key::Float(step) => Some(step),
                _ => None,
            };
            let make = |step| Bucket {
                key: Key::Float(step),
                count: 0,
                subs: empty(node),
            };
            list = fill(list, ends, step, |step| step + 1.0, make, end)?;
        }
        for bucket in &mut list {
            if let Key::Float(step) = bucket.key {
                bucket.key = Key::Float(self.steps.start(step));
            }
        }
        self.style.render(node, list, &show, end)
    }
}

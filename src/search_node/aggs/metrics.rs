//! Numbers over the values of a field: sums, averages and the like.

use serde_json::{Map, Value};

use super::context::Ctx;
use super::key::{Show, number};
use super::params::Params;
use super::part::Part;
use super::source::{Source, anything, numbers};
use super::target::Target;
use super::tree::{Agg, End, Node, Rows};
use crate::search_node::failure::{Failure, Outcome};

/// Which number is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Avg,
    Sum,
    Min,
    Max,
    Count,
    Stats,
    Extended,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Metric {
    which: Which,
    kind: &'static str,
    target: Target,
    sigma: f64,
}

const KINDS: &[(&str, Which)] = &[
    ("avg", Which::Avg),
    ("sum", Which::Sum),
    ("min", Which::Min),
    ("max", Which::Max),
    ("value_count", Which::Count),
    ("stats", Which::Stats),
    ("extended_stats", Which::Extended),
];

/// Reads an aggregation of the type that `params` name.
pub(super) fn parse(params: &Params<'_>) -> Outcome<Box<dyn Agg>> {
    let Some((kind, which)) = KINDS.iter().find(|(kind, _)| *kind == params.kind) else {
        return Err(Failure::internal("not a metric"));
    };
    let sigma = match which {
        Which::Extended => params.float("sigma")?.unwrap_or(2.0),
        _ => 2.0,
    };
    if sigma < 0.0 {
        return Err(Failure::illegal(format!(
            "[sigma] must be greater than or equal to 0. Found [{sigma}] in [{}]",
            params.name
        )));
    }
    Ok(Box::new(Metric {
        which: *which,
        kind,
        target: Target::formatted(params)?,
        sigma,
    }))
}

/// A sum with Kahan's correction, as Elasticsearch has it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sum {
    value: f64,
    rest: f64,
}

impl Sum {
    #[inline]
    fn add(&mut self, value: f64, rest: f64) {
        if !value.is_finite() {
            self.value += value;
        } else if self.value.is_finite() {
            let corrected = value + (self.rest + rest);
            let sum = self.value + corrected;
            self.rest = corrected - (sum - self.value);
            self.value = sum;
        }
    }
}

/// What all these numbers follow from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stats {
    pub count: u64,
    sum: Sum,
    squares: Sum,
    min: f64,
    max: f64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            count: 0,
            sum: Sum::default(),
            squares: Sum::default(),
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl Stats {
    #[inline]
    fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum.add(value, 0.0);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    pub(super) fn merge(&mut self, other: &Stats) {
        self.count += other.count;
        self.sum.add(other.sum.value, other.sum.rest);
        self.squares.add(other.squares.value, other.squares.rest);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    fn avg(&self) -> f64 {
        self.sum.value / self.count as f64
    }

    fn variance(&self, over: f64) -> f64 {
        let sum = self.sum.value;
        let variance = (self.squares.value - sum * sum / self.count as f64) / over;
        // Not `max`, which would hide that it is no number.
        if variance < 0.0 { 0.0 } else { variance }
    }
}

impl Agg for Metric {
    fn collect(&self, _: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        let mut all = vec![Stats::default(); rows.count];
        let owners = rows.owners;
        if self.which == Which::Count {
            let source = Source::open(ctx, &self.target, self.kind, anything)?;
            let codes = source.codes(rows.docs)?;
            codes
                .values
                .each(|at, _| all[owners[at] as usize].count += 1);
            let parts = all.into_iter();
            return Ok(parts
                .map(|stats| Part::Stats(stats, source.show.clone()))
                .collect());
        }
        let source = Source::open(ctx, &self.target, self.kind, numbers)?;
        let values = source.numbers(rows.docs)?;
        if self.which == Which::Extended {
            values.each(|at, value| {
                let stats = &mut all[owners[at] as usize];
                stats.add(value);
                stats.squares.add(value * value, 0.0);
            });
        } else {
            values.each(|at, value| all[owners[at] as usize].add(value));
        }
        let parts = all.into_iter();
        Ok(parts
            .map(|stats| Part::Stats(stats, source.show.clone()))
            .collect())
    }

    fn finish(&self, _: &Node, part: Part, _: &End<'_>) -> Outcome<Map<String, Value>> {
        let (stats, show) = match part {
            Part::Stats(stats, show) => (stats, show),
            _ => Default::default(),
        };
        let mut out = Out {
            object: Map::new(),
            show: &show,
        };
        match self.which {
            Which::Count => out.put("value", stats.count.into()),
            Which::Sum => out.value(Some(stats.sum.value)),
            Which::Avg => out.value((stats.count > 0).then(|| stats.avg())),
            Which::Min => out.value((stats.count > 0).then_some(stats.min)),
            Which::Max => out.value((stats.count > 0).then_some(stats.max)),
            Which::Stats => out.stats(&stats),
            Which::Extended => {
                out.stats(&stats);
                out.extended(&stats, self.sigma);
            }
        }
        Ok(out.object)
    }

    fn number(&self, part: &Part, property: Option<&str>) -> Option<f64> {
        let nothing = Stats::default();
        let stats = match part {
            Part::Stats(stats, _) => stats,
            _ => &nothing,
        };
        let some = |value: f64| if stats.count == 0 { f64::NAN } else { value };
        let count = stats.count as f64;
        Some(match (self.which, property) {
            (Which::Count, None | Some("value")) => count,
            (Which::Sum, None | Some("value")) => stats.sum.value,
            (Which::Avg, None | Some("value")) => some(stats.avg()),
            (Which::Min, None | Some("value")) => some(stats.min),
            (Which::Max, None | Some("value")) => some(stats.max),
            (Which::Stats | Which::Extended, Some(property)) => match property {
                "count" => count,
                "sum" => stats.sum.value,
                "avg" => some(stats.avg()),
                "min" => some(stats.min),
                "max" => some(stats.max),
                other if self.which == Which::Extended => some(extended(stats, self.sigma, other)?),
                _ => return None,
            },
            _ => return None,
        })
    }

    fn takes_subs(&self) -> bool {
        false
    }
}

const EXTENDED: [&str; 7] = [
    "sum_of_squares",
    "variance",
    "variance_population",
    "variance_sampling",
    "std_deviation",
    "std_deviation_population",
    "std_deviation_sampling",
];

const BOUNDS: [&str; 6] = [
    "upper",
    "lower",
    "upper_population",
    "lower_population",
    "upper_sampling",
    "lower_sampling",
];

/// A member of `extended_stats`; bounds may have the prefix `std_`.
fn extended(stats: &Stats, sigma: f64, property: &str) -> Option<f64> {
    let count = stats.count as f64;
    let population = stats.variance(count);
    let sampling = stats.variance(count - 1.0);
    Some(match property.strip_prefix("std_").unwrap_or(property) {
        "sum_of_squares" => stats.squares.value,
        "variance" | "variance_population" => population,
        "variance_sampling" => sampling,
        "deviation" | "deviation_population" => population.sqrt(),
        "deviation_sampling" => sampling.sqrt(),
        "upper" | "upper_population" => stats.avg() + population.sqrt() * sigma,
        "lower" | "lower_population" => stats.avg() - population.sqrt() * sigma,
        "upper_sampling" => stats.avg() + sampling.sqrt() * sigma,
        "lower_sampling" => stats.avg() - sampling.sqrt() * sigma,
        _ => return None,
    })
}

/// An answer in the making.
struct Out<'a> {
    object: Map<String, Value>,
    show: &'a Show,
}

impl Out<'_> {
    fn put(&mut self, key: &str, value: Value) {
        self.object.insert(key.to_owned(), value);
    }

    fn value(&mut self, value: Option<f64>) {
        self.put("value", value.map_or(Value::Null, number));
        if let Some(text) = value.and_then(|value| self.show.number(value)) {
            self.put("value_as_string", text.into());
        }
    }

    fn stats(&mut self, stats: &Stats) {
        self.put("count", stats.count.into());
        if stats.count == 0 {
            for key in ["min", "max", "avg"] {
                self.put(key, Value::Null);
            }
            self.put("sum", 0.0.into());
            return;
        }
        let values = [
            ("min", stats.min),
            ("max", stats.max),
            ("avg", stats.avg()),
            ("sum", stats.sum.value),
        ];
        for (key, value) in values {
            self.put(key, number(value));
        }
        for (key, value) in values {
            if let Some(text) = self.show.number(value) {
                self.put(&format!("{key}_as_string"), text.into());
            }
        }
    }

    fn extended(&mut self, stats: &Stats, sigma: f64) {
        let value = |key: &str| {
            let value = extended(stats, sigma, key).filter(|_| stats.count > 0);
            (
                value.map_or(Value::Null, number),
                value.and_then(|v| self.show.number(v)),
            )
        };
        let members: Vec<_> = EXTENDED.iter().map(|key| (*key, value(key))).collect();
        let bounds: Vec<_> = BOUNDS.iter().map(|key| (*key, value(key))).collect();
        let object = |texts: bool| -> Map<String, Value> {
            let bounds = bounds.iter();
            bounds
                .filter_map(|(key, (value, text))| {
                    let value = if texts {
                        text.clone()?.into()
                    } else {
                        value.clone()
                    };
                    Some(((*key).to_owned(), value))
                })
                .collect()
        };
        let (numbers, texts) = (object(false), object(true));
        for (key, (value, _)) in &members {
            self.put(key, value.clone());
        }
        self.put("std_deviation_bounds", numbers.into());
        for (key, (_, text)) in members {
            if let Some(text) = text {
                self.put(&format!("{key}_as_string"), text.into());
            }
        }
        if !texts.is_empty() {
            self.put("std_deviation_bounds_as_string", texts.into());
        }
    }
}

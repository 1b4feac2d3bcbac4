//! `percentiles` and `percentile_ranks`.

use serde_json::{Map, Value};

use super::context::Ctx;
use super::key::{Show, java_double, number};
use super::params::Params;
use super::part::Part;
use super::source::{Source, numbers};
use super::target::Target;
use super::tdigest::TDigest;
use super::tree::{Agg, End, Node, Rows};
use crate::search_node::failure::{Failure, Outcome};

/// The default of `percents`.
const PERCENTS: [f64; 7] = [1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0];

/// The default of `tdigest.compression`.
const COMPRESSION: f64 = 100.0;

/// Most percents, or values, of one aggregation.
const MAX_POINTS: usize = 1000;

/// See the module.
#[derive(Debug)]
struct Quantiles {
    target: Target,
    /// Percents, or the values whose ranks are wanted.
    points: Vec<f64>,
    ranks: bool,
    keyed: bool,
    compression: f64,
}

/// Reads `percentiles` and `percentile_ranks`.
pub(super) fn parse(params: &Params<'_>) -> Outcome<Box<dyn Agg>> {
    let ranks = params.kind == "percentile_ranks";
    let key = if ranks { "values" } else { "percents" };
    let mut points = match params.floats(key)? {
        Some(points) => points,
        None if ranks => {
            params.need("values")?;
            Vec::new()
        }
        None => PERCENTS.to_vec(),
    };
    if points.is_empty() || points.len() > MAX_POINTS {
        return Err(Failure::illegal(format!(
            "[{key}] must have 1 to {MAX_POINTS} numbers: [{}]",
            params.name
        )));
    }
    if let Some(wrong) = points
        .iter()
        .find(|one| !ranks && !(0.0..=100.0).contains(*one))
    {
        return Err(Failure::illegal(format!(
            "percent must be in [0,100], got [{}]: [{}]",
            java_double(*wrong),
            params.name
        )));
    }
    points.sort_by(f64::total_cmp);
    params.refuse(&["hdr"])?;
    let mut compression = COMPRESSION;
    if let Some(inner) = params.object("tdigest")? {
        inner.ignore(&["execution_hint"]);
        compression = inner.float("compression")?.unwrap_or(COMPRESSION);
        inner.finish()?;
        if compression < 0.0 {
            return Err(Failure::illegal(format!(
                "[compression] must be greater than or equal to 0. Found [{compression}] in [{}]",
                params.name
            )));
        }
    }
    Ok(Box::new(Quantiles {
        target: Target::formatted(params)?,
        points,
        ranks,
        keyed: params.flag("keyed", true)?,
        compression,
    }))
}

impl Quantiles {
    fn at(&self, digest: &TDigest, point: f64) -> f64 {
        if self.ranks {
            digest.share(point) * 100.0
        } else {
            digest.quantile(point / 100.0)
        }
    }
}

impl Agg for Quantiles {
    fn collect(&self, _: &Node, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Vec<Part>> {
        let kind = if self.ranks {
            "percentile_ranks"
        } else {
            "percentiles"
        };
        let source = Source::open(ctx, &self.target, kind, numbers)?;
        let mut all = Vec::new();
        all.resize_with(rows.count, || TDigest::new(self.compression));
        let values = source.numbers(rows.docs)?;
        values.each(|at, value| all[rows.owners[at] as usize].add(value));
        let parts = all.into_iter();
        Ok(parts
            .map(|digest| Part::Digest(Box::new(digest), source.show.clone()))
            .collect())
    }

    fn finish(&self, _: &Node, part: Part, _: &End<'_>) -> Outcome<Map<String, Value>> {
        let (mut digest, show) = match part {
            Part::Digest(digest, show) => (digest, show),
            _ => (Box::new(TDigest::new(self.compression)), Show::Plain.into()),
        };
        digest.finish();
        let mut keyed = Map::new();
        let mut list = Vec::new();
        for point in &self.points {
            let value = self.at(&digest, *point);
            let key = java_double(*point);
            let (value, text) = if digest.is_empty() {
                (Value::Null, None)
            } else {
                // A rank is a share, not a date.
                let text = if self.ranks { None } else { show.number(value) };
                (number(value), text)
            };
            if self.keyed {
                keyed.insert(key.clone(), value);
                if let Some(text) = text {
                    keyed.insert(format!("{key}_as_string"), text.into());
                }
            } else {
                let mut object = Map::new();
                object.insert("key".to_owned(), number(*point));
                object.insert("value".to_owned(), value);
                if let Some(text) = text {
                    object.insert("value_as_string".to_owned(), text.into());
                }
                list.push(Value::Object(object));
            }
        }
        let values = if self.keyed {
            keyed.into()
        } else {
            list.into()
        };
        let mut object = Map::new();
        object.insert("values".to_owned(), values);
        Ok(object)
    }

    fn number(&self, part: &Part, property: Option<&str>) -> Option<f64> {
        let point: f64 = property?.parse().ok()?;
        match part {
            Part::Digest(digest, _) => {
                let mut digest = digest.clone();
                digest.finish();
                Some(self.at(&digest, point))
            }
            _ => Some(f64::NAN),
        }
    }

    fn takes_subs(&self) -> bool {
        false
    }
}

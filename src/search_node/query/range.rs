//! Queries for values between two ends.

use std::ops::Bound;

use serde_json::Value;
use tantivy::Term;

use super::terms::{bad_value, between, date, exists_leaf, integers, term_text, whole};
use super::{Built, Context, boosted, field_params, none};
use crate::search_node::dates::{Formats, Round};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::plain;
use crate::search_node::mapping::{
    Kind, Leaf, Number, Storage, parse_boolean, parse_ip, parse_number,
};

pub(super) fn range(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let (field, params) = field_params("range", "value", body)?;
    let boost = params.boost()?;
    // Each end has an older name, with a member of its own for whether it belongs to the range.
    let side = |open: &str, closed: &str, old: &str, with: &str| {
        let given = |key: &str| params.get(key).filter(|value| !value.is_null());
        let with = params.flag(with, true)?;
        match (given(open), given(closed), given(old)) {
            (Some(value), None, None) => Ok(Some((value, false))),
            (None, Some(value), None) => Ok(Some((value, true))),
            (None, None, Some(value)) => Ok(Some((value, with))),
            (None, None, None) => Ok(None),
            _ => Err(Failure::parsing(format!(
                "[range] query on [{field}] has more than one of [{open}], [{closed}] and [{old}]"
            ))),
        }
    };
    let low = side("gt", "gte", "from", "include_lower")?;
    let high = side("lt", "lte", "to", "include_upper")?;
    let format = params.text("format")?;
    let zone = params.text("time_zone")?;
    if let Some(relation) = params.text("relation")?
        && !relation.eq_ignore_ascii_case("intersects")
    {
        return Err(Failure::unsupported(format!(
            "[relation: {relation}] of query [range]"
        )));
    }
    params.finish()?;
    let bounds = Bounds {
        low,
        high,
        format: format.as_deref(),
        zone: zone.as_deref(),
    };
    Ok(boosted(bounds.build(ctx, field)?, boost))
}

/// Both ends of a range: the value, and whether it belongs to it.
pub(super) struct Bounds<'a> {
    pub(super) low: Option<(&'a Value, bool)>,
    pub(super) high: Option<(&'a Value, bool)>,
    pub(super) format: Option<&'a str>,
    pub(super) zone: Option<&'a str>,
}

impl Bounds<'_> {
    pub(super) fn build(&self, ctx: &Context<'_>, field: &str) -> Outcome<Built> {
        let Some(leaf) = ctx.searchable(field)? else {
            return Ok(none());
        };
        if self.format.is_some() && leaf.kind != Kind::Date {
            return Err(bad_value(leaf, "[format] is for dates"));
        }
        match leaf.kind.storage() {
            Storage::Text | Storage::Completion => Err(Failure::unsupported(format!(
                "query [range] on field [{field}] of type [{}] (use a keyword field)",
                leaf.kind.name()
            ))),
            Storage::Term => self.ends(leaf, |value| {
                Ok(Term::from_field_text(
                    leaf.field(),
                    &term_text(leaf, value)?,
                ))
            }),
            Storage::Ip => self.addresses(leaf),
            Storage::Float => self.ends(leaf, |value| {
                Ok(Term::from_field_f64(leaf.field(), number(leaf, value)?))
            }),
            Storage::Int => self.integers(ctx, leaf),
        }
    }

    /// Ends of addresses are made inclusive, so that none lies outside of all there are.
    fn addresses(&self, leaf: &Leaf) -> Outcome<Built> {
        let read = |value: &Value| {
            let ip = parse_ip(value).map_err(|why| bad_value(leaf, &why))?;
            Ok::<_, Failure>(u128::from(ip))
        };
        let low = match self.low {
            None => Some(0),
            Some((value, true)) => Some(read(value)?),
            Some((value, false)) => read(value)?.checked_add(1),
        };
        let high = match self.high {
            None => Some(u128::MAX),
            Some((value, true)) => Some(read(value)?),
            Some((value, false)) => read(value)?.checked_sub(1),
        };
        match (low, high) {
            (Some(low), Some(high)) if low <= high => {
                let term = |ip: u128| Term::from_field_ip_addr(leaf.field(), ip.into());
                Ok(between(
                    leaf,
                    Bound::Included(term(low)),
                    Bound::Included(term(high)),
                ))
            }
            _ => Ok(none()),
        }
    }

    /// Values between the ends as `term` reads them.
    fn ends(&self, leaf: &Leaf, term: impl Fn(&Value) -> Outcome<Term>) -> Outcome<Built> {
        let bound = |side: Option<(&Value, bool)>| match side {
            None => Ok(Bound::Unbounded),
            Some((value, true)) => term(value).map(Bound::Included),
            Some((value, false)) => term(value).map(Bound::Excluded),
        };
        Ok(between(leaf, bound(self.low)?, bound(self.high)?))
    }

    /// Bounds of whole numbers are made inclusive: nothing lies between two of them.
    fn integers(&self, ctx: &Context<'_>, leaf: &Leaf) -> Outcome<Built> {
        let formats = match self.format {
            None => leaf.formats.clone(),
            Some(spec) => {
                Formats::parse_spec(spec).map_err(|error| bad_value(leaf, &error.to_string()))?
            }
        };
        let zone = self.zone.unwrap_or("UTC");
        let limit = |value: &Value, closed: bool, low: bool| -> Outcome<Option<i64>> {
            let round = if closed == low {
                Round::Down
            } else {
                Round::Up
            };
            let exact = match leaf.kind {
                Kind::Date => date(ctx, leaf, &formats, value, round, zone)?,
                Kind::Boolean => {
                    i64::from(parse_boolean(value).map_err(|why| bad_value(leaf, &why))?)
                }
                _ => {
                    if let Some(number) = whole(leaf, value)? {
                        number
                    } else {
                        let number = number(leaf, value)?;
                        let inward = if low { number.ceil() } else { number.floor() };
                        // Saturates at the ends of the type, which is what is meant.
                        #[allow(clippy::cast_possible_truncation)]
                        return Ok(Some(inward as i64));
                    }
                }
            };
            Ok(match (closed, low) {
                (true, _) => Some(exact),
                (false, true) => exact.checked_add(1),
                (false, false) => exact.checked_sub(1),
            })
        };
        let (mut low, mut high) = (i64::MIN, i64::MAX);
        if let Some((value, closed)) = self.low {
            match limit(value, closed, true)? {
                Some(bound) => low = bound,
                None => return Ok(none()),
            }
        }
        if let Some((value, closed)) = self.high {
            match limit(value, closed, false)? {
                Some(bound) => high = bound,
                None => return Ok(none()),
            }
        }
        if low > high {
            return Ok(none());
        }
        if self.low.is_none() && self.high.is_none() {
            return Ok(exists_leaf(leaf));
        }
        Ok(integers(leaf, low, high))
    }
}

fn number(leaf: &Leaf, value: &Value) -> Outcome<f64> {
    // Ends are rounded as values are, else 0.1 would not be what it is stored as.
    if matches!(leaf.kind, Kind::Float | Kind::HalfFloat) {
        return match parse_number(leaf, value).map_err(|why| bad_value(leaf, &why))? {
            Number::Float(number) => Ok(number),
            Number::Int(number) => Ok(number as f64),
        };
    }
    let text = plain(value).unwrap_or_default();
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(bad_value(leaf, &format!("For input string: \"{text}\""))),
    }
}

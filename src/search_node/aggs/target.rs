//! What the request says about a field: which one, and how its values are read and shown.

use jiff::tz::TimeZone;
use serde_json::Value;

use super::key::{Show, whole};
use super::params::Params;
use crate::search_node::dates::{self, Formats, Round};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::plain;
use crate::search_node::mapping::{Kind, Leaf, Storage};

/// The parameters `field`, `missing` and `format`.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub field: String,
    /// Stands for documents without a value.
    pub missing: Option<Value>,
    pub format: Option<String>,
    /// Of dates.
    pub zone: TimeZone,
    /// Whether it is about dates even when the field is not there.
    pub dates: bool,
}

impl Target {
    /// Reads `field` and `missing`.
    pub(super) fn parse(params: &Params<'_>) -> Outcome<Self> {
        params.refuse(&["script", "value_type"])?;
        let Some(field) = params.text("field")? else {
            return Err(Failure::illegal(format!(
                "Required one of fields [field, script], but none were specified. Aggregation \
                 [{}] of type [{}] needs [field]",
                params.name, params.kind
            )));
        };
        Ok(Self {
            field: field.to_owned(),
            missing: params.get("missing").cloned(),
            format: None,
            zone: TimeZone::UTC,
            dates: false,
        })
    }

    /// Reads `format` too.
    pub(super) fn formatted(params: &Params<'_>) -> Outcome<Self> {
        Ok(Self {
            format: params.text("format")?.map(str::to_owned),
            ..Self::parse(params)?
        })
    }

    /// Reads `time_zone` and `format`, of an aggregation over dates.
    pub(super) fn dated(params: &Params<'_>) -> Outcome<Self> {
        let zone = match params.get("time_zone") {
            None => TimeZone::UTC,
            Some(zone) => {
                let text = plain(zone).unwrap_or_default();
                dates::parse_zone(&text).map_err(|error| Failure::illegal(error.to_string()))?
            }
        };
        let target = Self {
            zone,
            dates: true,
            ..Self::formatted(params)?
        };
        target.formats(None)?;
        Ok(target)
    }

    /// The formats of dates: those asked for, or the field's own.
    pub(super) fn formats(&self, leaf: Option<&Leaf>) -> Outcome<Formats> {
        match &self.format {
            Some(spec) => Formats::parse_spec(spec)
                .map_err(|error| Failure::illegal(format!("Invalid format: [{spec}]: {error}"))),
            None => Ok(leaf.map_or_else(Formats::default, |leaf| leaf.formats.clone())),
        }
    }

    /// How values are shown.
    pub(super) fn show(&self, leaf: Option<&Leaf>) -> Outcome<Show> {
        let kind = leaf.map(|leaf| leaf.kind);
        Ok(match kind {
            Some(Kind::Date) => Show::Date(self.formats(leaf)?, self.zone.clone()),
            None if self.dates => Show::Date(self.formats(None)?, self.zone.clone()),
            _ if self.format.is_none() => match kind {
                Some(Kind::Boolean) => Show::Boolean,
                _ => Show::Plain,
            },
            // Numbers counted as dates are shown as dates only when that is asked for.
            Some(kind) if self.dates && kind.storage() == Storage::Int => {
                Show::Date(self.formats(None)?, self.zone.clone())
            }
            None => Show::Plain,
            Some(kind) if kind.is_numeric() && kind != Kind::Boolean => {
                return Err(Failure::unsupported(format!(
                    "[format] of numbers, here of field [{}],",
                    self.field
                )));
            }
            Some(kind) => {
                return Err(Failure::illegal(format!(
                    "Field [{}] of type [{}] does not support custom formats",
                    self.field,
                    kind.name()
                )));
            }
        })
    }

    /// A date of the request, with date math.
    pub(super) fn date(&self, value: &Value, formats: &Formats, now: i64) -> Outcome<i64> {
        let parsed = match value {
            Value::Number(number) => match number.as_i64() {
                Some(number) => formats.parse_number(number),
                None => formats.parse_number(whole(number.as_f64().unwrap_or(0.0))),
            },
            other => {
                let text = plain(other).unwrap_or_default();
                dates::resolve(&text, formats, now, Round::Down, &self.zone)
            }
        };
        parsed.map_err(|error| {
            Failure::new(400, "parse_exception", error.to_string()).with("field", &*self.field)
        })
    }
}

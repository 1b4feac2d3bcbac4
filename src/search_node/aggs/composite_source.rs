//! The sources of a composite aggregation: what the parts of its keys are.

use std::cmp::Ordering;

use serde_json::Value;

use super::bounds::Ends;
use super::codes::Coded;
use super::context::Ctx;
use super::histogram::Steps;
use super::include::key_of;
use super::key::{Key, Show, Shown};
use super::params::{Params, float};
use super::rounding::Rounding;
use super::source::{Source, anything, numbers};
use super::target::Target;
use super::tree::Rows;
use crate::search_node::dates::Formats;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::plain;
use crate::search_node::mapping::Kind;

/// One source.
#[derive(Debug)]
pub(super) struct Part {
    pub name: String,
    target: Target,
    how: How,
    descending: bool,
    missing: bool,
    /// Whether documents without a value come first; by default they do in ascending order.
    missing_first: bool,
}

#[derive(Debug)]
enum How {
    Terms,
    Dates(Rounding),
    Steps(Steps),
}

impl Part {
    /// Reads `{"name": {"type": {…}}}`.
    pub(super) fn parse(name: &str, one: &Value) -> Outcome<Self> {
        let only = |value: &Value| {
            let object = value.as_object().filter(|object| object.len() == 1);
            let member = object.and_then(|object| object.iter().next());
            member.map(|(key, value)| (key.clone(), value.clone()))
        };
        let inner = only(one).and_then(|(source, body)| Some((source, only(&body)?)));
        let Some((source, (kind, body))) = inner else {
            return Err(Failure::parsing(format!(
                "a source of [{name}] must be an object of one name, with an object of one type"
            )));
        };
        let params = Params::of(name, &kind, &body)?;
        let (target, how) = match kind.as_str() {
            "terms" => (Target::formatted(&params)?, How::Terms),
            "histogram" => (
                Target::formatted(&params)?,
                How::Steps(Steps::parse(&params)?),
            ),
            "date_histogram" => {
                let target = Target::dated(&params)?;
                let rounding = Rounding::parse(&params, target.zone.clone())?;
                (target, How::Dates(rounding))
            }
            "geotile_grid" => {
                return Err(Failure::unsupported(format!(
                    "source of type [{kind}] in aggregation [{name}]"
                )));
            }
            other => {
                return Err(Failure::parsing(format!(
                    "invalid source type: {other} in [{name}]"
                )));
            }
        };
        if target.missing.is_some() {
            return Err(Failure::illegal(format!(
                "[{kind}] unknown field [missing] in source [{source}] of [{name}]"
            )));
        }
        let descending = match params.text("order")? {
            None | Some("asc" | "ASC") => false,
            Some("desc" | "DESC") => true,
            Some(other) => {
                return Err(Failure::illegal(format!(
                    "Unknown order [{other}] in [{name}]"
                )));
            }
        };
        let missing = params.flag("missing_bucket", false)?;
        let missing_first = match params.text("missing_order")? {
            None | Some("default") => !descending,
            Some(_) if !missing => {
                return Err(Failure::illegal(format!(
                    "missingOrder can only be set if missingBucket is true, in [{name}]"
                )));
            }
            Some("first") => true,
            Some("last") => false,
            Some(other) => {
                return Err(Failure::illegal(format!("Unknown missing order [{other}]")));
            }
        };
        params.finish()?;
        Ok(Self {
            name: source,
            target,
            how,
            descending,
            missing,
            missing_first,
        })
    }

    fn source<'a>(&'a self, ctx: &Ctx<'a>) -> Outcome<Source<'a>> {
        let takes = match self.how {
            How::Terms => anything,
            _ => numbers,
        };
        Source::open(ctx, &self.target, "composite", takes)
    }

    /// Coded values of documents, and the keys of the different codes.
    pub(super) fn codes(&self, ctx: &Ctx<'_>, rows: &Rows<'_>) -> Outcome<Found> {
        let source = self.source(ctx)?;
        let coded = match &self.how {
            How::Terms => source.codes(rows.docs)?,
            How::Steps(steps) => {
                let all = Ends {
                    min: None,
                    max: None,
                };
                steps.codes(&source, rows, all)?
            }
            How::Dates(rounding) => match source.ints(rows.docs)? {
                Some((values, low, high)) => rounding.codes(values, low, high),
                None => Coded::none(),
            },
        };
        let distinct = coded.distinct();
        let mut keys = coded.decode.keys(&distinct)?;
        if let How::Steps(steps) = &self.how {
            for key in &mut keys {
                if let Key::Float(step) = key {
                    *step = steps.start(*step);
                }
            }
        }
        let pairs = distinct.into_iter().zip(keys);
        let mut keys: Vec<(Option<u64>, Key)> =
            pairs.map(|(code, key)| (Some(code), key)).collect();
        if self.missing {
            keys.push((None, Key::Null));
        }
        keys.sort_by(|a, b| self.compare(&a.1, &b.1));
        Ok(Found {
            coded,
            keys,
            missing: self.missing,
            show: self.show(&source),
        })
    }

    /// Dates are numbers unless a format is asked for.
    fn show(&self, source: &Source<'_>) -> Shown {
        match &*source.show {
            Show::Date(..) if self.target.format.is_none() => Shown::default(),
            _ => source.show.clone(),
        }
    }

    /// The order of keys.
    pub(super) fn compare(&self, left: &Key, right: &Key) -> Ordering {
        left.sorted(right, self.descending, self.missing_first)
    }

    /// The key that a member of `after` stands for.
    pub(super) fn after(&self, ctx: &Ctx<'_>, value: &Value) -> Outcome<Key> {
        let wrong =
            |why: &str| Failure::illegal(format!("Invalid value for [after.{}]: {why}", self.name));
        if value.is_null() {
            return if self.missing {
                Ok(Key::Null)
            } else {
                Err(wrong("expected comparable, got [null]"))
            };
        }
        if plain(value).is_none() {
            return Err(wrong("expected comparable"));
        }
        let source = self.source(ctx)?;
        match &self.how {
            How::Steps(_) => float(value)
                .map(Key::Float)
                .ok_or_else(|| wrong("it is no number")),
            How::Dates(_) => self.date(value, &source).map(Key::Int),
            How::Terms => match source.leaf {
                Some(leaf) if leaf.kind == Kind::Date => self.date(value, &source).map(Key::Int),
                None => Ok(match (value.as_i64(), float(value)) {
                    (Some(number), _) if value.is_number() => Key::Int(number),
                    (None, Some(number)) if value.is_number() => Key::Float(number),
                    _ => Key::Text(plain(value).unwrap_or_default().into()),
                }),
                leaf => key_of(value, leaf, &self.target),
            },
        }
    }

    /// Milliseconds, or a date in the format that keys are shown in.
    fn date(&self, value: &Value, source: &Source<'_>) -> Outcome<i64> {
        if let Some(millis) = value.as_i64() {
            return Ok(millis);
        }
        if self.target.format.is_none()
            && let Some(millis) = value.as_str().and_then(|text| text.parse().ok())
        {
            return Ok(millis);
        }
        let formats: Formats = self.target.formats(source.leaf)?;
        self.target.date(value, &formats, 0)
    }
}

/// What a source found.
#[derive(Debug)]
pub(super) struct Found {
    pub coded: Coded,
    /// By key; no code is no value.
    pub keys: Vec<(Option<u64>, Key)>,
    pub missing: bool,
    pub show: Shown,
}

/// A key as it stands in an answer.
pub(super) fn json(key: &Key, show: &Show) -> Value {
    match (key, show) {
        (Key::Int(number), Show::Boolean) => Value::from(*number != 0),
        (Key::Int(_), Show::Date(..)) => Value::from(key.text(show)),
        _ => key.json(),
    }
}

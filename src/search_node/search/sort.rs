//! The order of hits.

use std::cmp::Ordering;
use std::net::Ipv6Addr;

use serde_json::{Value, json};

use super::keys::{KeyReader, Mode, show_ip};
use crate::search_node::dates::{Formats, Round};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Kind, Mapping, Storage};
use crate::search_node::query::Params;
use crate::search_node::shard::Segment;

/// What hits are ordered by.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Key {
    /// The score.
    Score,
    /// The order in the index.
    Doc,
    /// The place over all indices, in a point in time.
    ShardDoc,
    /// A field.
    Field(String),
}

/// One key of an order.
#[derive(Debug, Clone)]
pub(crate) struct SortSpec {
    key: Key,
    descending: bool,
    missing: Option<Value>,
    mode: Option<Mode>,
    unmapped: bool,
    format: Option<Formats>,
}

/// A value that hits are ordered by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SortValue {
    /// A whole number, a date or a flag.
    Int(i64),
    /// A float or a score.
    Float(f64),
    /// A keyword.
    Text(String),
    /// An address.
    Ip(Ipv6Addr),
    /// An ordinal in the dictionary of one segment.
    Ord(u64),
    /// No value: `true` when it stands at the end.
    Missing(bool),
}

impl SortSpec {
    pub(super) fn is_score(&self) -> bool {
        self.key == Key::Score
    }

    /// Whether it tells every two documents of a point in time apart.
    pub(super) fn is_shard_doc(&self) -> bool {
        self.key == Key::ShardDoc
    }

    /// The key that a sorted search of a point in time has last.
    pub(super) fn shard_doc() -> Self {
        Self {
            key: Key::ShardDoc,
            descending: false,
            missing: None,
            mode: None,
            unmapped: false,
            format: None,
        }
    }

    /// How `a` and `b` stand to each other in this order.
    pub(super) fn compare(&self, a: &SortValue, b: &SortValue) -> Ordering {
        use SortValue::{Float, Int, Ip, Missing, Ord, Text};
        let order = match (a, b) {
            (Missing(a), Missing(b)) => return a.cmp(b),
            (Missing(last), _) => {
                return if *last {
                    Ordering::Greater
                } else {
                    Ordering::Less
                };
            }
            (_, Missing(last)) => {
                return if *last {
                    Ordering::Less
                } else {
                    Ordering::Greater
                };
            }
            (Int(a), Int(b)) => a.cmp(b),
            (Ord(a), Ord(b)) => a.cmp(b),
            (Float(a), Float(b)) => a.total_cmp(b),
            (Text(a), Text(b)) => a.cmp(b),
            (Ip(a), Ip(b)) => a.cmp(b),
            #[allow(clippy::cast_precision_loss)]
            (Int(a), Float(b)) => (*a as f64).total_cmp(b),
            #[allow(clippy::cast_precision_loss)]
            (Float(a), Int(b)) => a.total_cmp(&(*b as f64)),
            // Values of one field have one type in one index; over indices, numbers come first.
            (Int(_) | Float(_) | Ord(_), _) | (Text(_), Ip(_)) => Ordering::Less,
            (_, Int(_) | Float(_) | Ord(_)) | (Ip(_), Text(_)) => Ordering::Greater,
        };
        if self.descending {
            order.reverse()
        } else {
            order
        }
    }

    /// A value as it is shown.
    pub(super) fn show(&self, value: &SortValue) -> Value {
        match value {
            SortValue::Int(number) => match &self.format {
                Some(formats) => formats.format(*number, &jiff::tz::TimeZone::UTC).into(),
                None => (*number).into(),
            },
            SortValue::Float(number) if self.is_score() => short(*number),
            SortValue::Float(number) if number.is_finite() => json!(number),
            SortValue::Float(number) if *number > 0.0 => "Infinity".into(),
            SortValue::Float(_) => "-Infinity".into(),
            SortValue::Text(text) => text.clone().into(),
            SortValue::Ip(ip) => show_ip(*ip).into(),
            SortValue::Ord(_) | SortValue::Missing(_) => Value::Null,
        }
    }

    /// A value as it was shown, for the page after.
    pub(super) fn read(&self, value: &Value, mapping: &Mapping) -> Outcome<SortValue> {
        let bad = || {
            Failure::illegal(format!(
                "Failed to parse search_after value [{value}] for field [{}]",
                self.name()
            ))
        };
        let Key::Field(path) = &self.key else {
            return match (&self.key, value) {
                (Key::Doc | Key::ShardDoc, Value::Number(number)) => {
                    number.as_i64().map(SortValue::Int).ok_or_else(bad)
                }
                (_, Value::Number(number)) => number
                    .as_f64()
                    .map(|number| SortValue::Float(score(number)))
                    .ok_or_else(bad),
                _ => Err(bad()),
            };
        };
        if value.is_null() {
            return Ok(SortValue::Missing(self.missing_last()));
        }
        let Some(leaf) = mapping.leaf(path) else {
            // Another index has the field; here every document is without it.
            return match value {
                Value::Number(number) => match number.as_i64() {
                    Some(whole) => Ok(SortValue::Int(whole)),
                    None => number.as_f64().map(SortValue::Float).ok_or_else(bad),
                },
                Value::String(text) => Ok(SortValue::Text(text.clone())),
                _ => Err(bad()),
            };
        };
        match (leaf.kind.storage(), value) {
            (Storage::Int, Value::Number(number)) => {
                number.as_i64().map(SortValue::Int).ok_or_else(bad)
            }
            (Storage::Int, Value::String(text)) if leaf.kind == Kind::Date => {
                let formats = self.format.as_ref().unwrap_or(&leaf.formats);
                formats
                    .parse(text, Round::Down, &jiff::tz::TimeZone::UTC)
                    .map(SortValue::Int)
                    .map_err(|_| bad())
            }
            (Storage::Int, Value::String(text)) => {
                text.parse().map(SortValue::Int).map_err(|_| bad())
            }
            (Storage::Int, Value::Bool(flag)) => Ok(SortValue::Int(i64::from(*flag))),
            (Storage::Float, Value::Number(number)) => {
                number.as_f64().map(SortValue::Float).ok_or_else(bad)
            }
            (Storage::Float, Value::String(text)) => match text.as_str() {
                "Infinity" => Ok(SortValue::Float(f64::INFINITY)),
                "-Infinity" => Ok(SortValue::Float(f64::NEG_INFINITY)),
                text => text.parse().map(SortValue::Float).map_err(|_| bad()),
            },
            (Storage::Term, Value::String(text)) => Ok(SortValue::Text(text.clone())),
            (Storage::Ip, Value::String(text)) => {
                let ip = crate::search_node::mapping::parse_ip(&Value::from(text.as_str()));
                ip.map(SortValue::Ip).map_err(|_| bad())
            }
            _ => Err(bad()),
        }
    }

    fn name(&self) -> &str {
        match &self.key {
            Key::Score => "_score",
            Key::Doc => "_doc",
            Key::ShardDoc => "_shard_doc",
            Key::Field(path) => path,
        }
    }

    fn missing_last(&self) -> bool {
        self.missing
            .as_ref()
            .is_none_or(|missing| missing != "_first")
    }

    /// What reads this key's values in a segment.
    pub(super) fn reader(
        &self,
        mapping: &Mapping,
        segment: &Segment,
        base: u64,
    ) -> Outcome<KeyReader> {
        let path = match &self.key {
            Key::Score => return Ok(KeyReader::Score),
            Key::Doc | Key::ShardDoc => return Ok(KeyReader::Doc(base)),
            Key::Field(path) => path,
        };
        let missing = SortValue::Missing(self.missing_last());
        let Some(leaf) = mapping.leaf(path) else {
            if self.unmapped {
                return Ok(KeyReader::Absent(missing));
            }
            return Err(Failure::new(
                400,
                "query_shard_exception",
                format!("No mapping found for [{path}] in order to sort on"),
            ));
        };
        if leaf.kind != Kind::Text && !leaf.doc_values {
            return Err(Failure::illegal(format!(
                "Can't load fielddata on [{path}] because fielddata is unsupported on fields of \
                 type [{}] with [doc_values: false]. Sort by another field.",
                leaf.kind.name()
            )));
        }
        if leaf.kind == Kind::Text || leaf.kind == Kind::Completion {
            return Err(Failure::illegal(format!(
                "Text fields are not optimised for operations that require per-document field data \
                 like aggregations and sorting, so these operations are disabled by default. \
                 Please use a keyword field instead of [{path}]."
            )));
        }
        let summed = matches!(self.mode, Some(Mode::Sum | Mode::Avg | Mode::Median));
        if summed && !leaf.kind.is_numeric() {
            return Err(Failure::illegal(format!(
                "unsupported mode of a sort by [{path}]: only [min] and [max] are for fields of \
                 type [{}]",
                leaf.kind.name()
            )));
        }
        if leaf.nested.is_some() {
            return Err(Failure::unsupported(format!(
                "sorting by [{path}], a field of nested objects,"
            )));
        }
        let stand_in = match &self.missing {
            Some(value) if value != "_last" && value != "_first" => {
                Some(self.read(value, mapping)?)
            }
            _ => None,
        };
        let columns = segment.reader.fast_fields();
        let mode = self.mode.unwrap_or(if self.descending {
            Mode::Max
        } else {
            Mode::Min
        });
        let end = self.missing_last() != self.descending;
        Ok(match leaf.kind.storage() {
            Storage::Int => {
                let missing =
                    stand_in.unwrap_or(SortValue::Int(if end { i64::MAX } else { i64::MIN }));
                match columns.column_opt::<i64>(&leaf.column())? {
                    Some(column) => KeyReader::Int(column, mode, missing),
                    None => KeyReader::Absent(missing),
                }
            }
            Storage::Float => {
                let infinite = if end {
                    f64::INFINITY
                } else {
                    f64::NEG_INFINITY
                };
                let missing = stand_in.unwrap_or(SortValue::Float(infinite));
                match columns.column_opt::<f64>(&leaf.column())? {
                    Some(column) => KeyReader::Float(column, mode, missing),
                    None => KeyReader::Absent(missing),
                }
            }
            Storage::Ip => {
                let missing = stand_in.unwrap_or(missing);
                match columns.column_opt::<Ipv6Addr>(&leaf.column())? {
                    Some(column) => KeyReader::Ip(column, mode, missing),
                    None => KeyReader::Absent(missing),
                }
            }
            Storage::Term | Storage::Text | Storage::Completion => {
                if stand_in.is_some() {
                    return Err(Failure::unsupported(format!(
                        "a value of one's own as [missing] when sorting by keyword [{path}]"
                    )));
                }
                match columns.str(&leaf.column())? {
                    Some(column) => KeyReader::Text(column, mode, missing),
                    None => KeyReader::Absent(missing),
                }
            }
        })
    }
}

/// A score with the digits that tell it from its neighbours.
fn short(score: f64) -> Value {
    #[allow(clippy::cast_possible_truncation)]
    let digits = (score as f32).to_string();
    digits.parse::<f64>().map_or(Value::Null, Value::from)
}

/// The score that [`short`] showed.
fn score(shown: f64) -> f64 {
    #[allow(clippy::cast_possible_truncation)]
    let score = shown as f32;
    f64::from(score)
}

/// Reads `"field"`, `{"field": "desc"}`, `{"field": {…}}` and lists of these.
pub(super) fn parse_sort(value: &Value) -> Outcome<Vec<SortSpec>> {
    match value {
        Value::Array(list) => list.iter().map(parse_one).collect(),
        one => Ok(vec![parse_one(one)?]),
    }
}

fn parse_one(value: &Value) -> Outcome<SortSpec> {
    match value {
        Value::String(text) => match text.split_once(':') {
            Some((field, order)) => spec(field, order),
            None => spec(text, default_order(text)),
        },
        Value::Object(object) => {
            let mut members = object.iter();
            let (Some((field, body)), None) = (members.next(), members.next()) else {
                return Err(Failure::parsing(
                    "a sort object must have one member, the field",
                ));
            };
            match body {
                Value::String(order) => spec(field, order),
                body => options(field, body),
            }
        }
        other => Err(Failure::parsing(format!(
            "[sort] must be fields or objects, found [{other}]"
        ))),
    }
}

fn default_order(field: &str) -> &'static str {
    if field == "_score" { "desc" } else { "asc" }
}

fn spec(field: &str, order: &str) -> Outcome<SortSpec> {
    let descending = match order.to_ascii_lowercase().as_str() {
        "asc" => false,
        "desc" => true,
        _ => {
            return Err(Failure::illegal(format!(
                "No enum constant for sort order [{order}]"
            )));
        }
    };
    Ok(SortSpec {
        key: match field {
            "_score" => Key::Score,
            "_doc" => Key::Doc,
            "_shard_doc" => Key::ShardDoc,
            "_id" => {
                return Err(Failure::illegal(
                    "Fielddata access on the _id field is disallowed; sort by a keyword field that \
                     has the same value",
                ));
            }
            "_script" | "_geo_distance" => {
                return Err(Failure::unsupported(format!("sorting by [{field}]")));
            }
            path => Key::Field(path.to_owned()),
        },
        descending,
        missing: None,
        mode: None,
        unmapped: false,
        format: None,
    })
}

fn options(field: &str, body: &Value) -> Outcome<SortSpec> {
    let params = Params::of("sort", body)?;
    let order = params
        .text("order")?
        .unwrap_or_else(|| default_order(field).to_owned());
    let mut sort = spec(field, &order)?;
    sort.missing = params.get("missing").cloned();
    sort.unmapped = params.get("unmapped_type").is_some();
    sort.mode = match params.text("mode")?.as_deref() {
        None => None,
        Some("min") => Some(Mode::Min),
        Some("max") => Some(Mode::Max),
        Some("sum") => Some(Mode::Sum),
        Some("avg") => Some(Mode::Avg),
        Some("median") => Some(Mode::Median),
        Some(other) => return Err(Failure::illegal(format!("Unknown SortMode [{other}]"))),
    };
    if let Some(format) = params.text("format")? {
        sort.format = Some(
            Formats::parse_spec(&format).map_err(|error| Failure::illegal(error.to_string()))?,
        );
    }
    for key in ["nested", "nested_path", "numeric_type", "script"] {
        if params.get(key).is_some() {
            return Err(Failure::unsupported(format!("[{key}] of a sort")));
        }
    }
    params.finish()?;
    Ok(sort)
}

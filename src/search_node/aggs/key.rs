//! Keys of buckets, and how keys and values are shown.

use std::cmp::Ordering;
use std::net::Ipv6Addr;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::Value;

use crate::search_node::dates::Formats;

/// What a bucket stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Key {
    /// Documents without a value.
    Null,
    /// Integers, booleans, and milliseconds since the epoch.
    Int(i64),
    /// Floats.
    Float(f64),
    /// IPv6, or IPv4 mapped into it.
    Ip(u128),
    /// Terms.
    Text(Box<str>),
    /// One key per source of a composite.
    Tuple(Box<[Key]>),
}

impl Key {
    /// Order of values; numbers are compared with each other.
    pub(super) fn order(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Int(a), Key::Int(b)) => a.cmp(b),
            (Key::Float(a), Key::Float(b)) => a.total_cmp(b),
            (Key::Int(a), Key::Float(b)) => (*a as f64).total_cmp(b),
            (Key::Float(a), Key::Int(b)) => a.total_cmp(&(*b as f64)),
            (Key::Ip(a), Key::Ip(b)) => a.cmp(b),
            (Key::Text(a), Key::Text(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    /// Order of sorting: `missing_first` says where keys of documents without a value stand,
    /// whichever way the others go.
    pub(super) fn sorted(&self, other: &Key, descending: bool, missing_first: bool) -> Ordering {
        let first = if missing_first {
            Ordering::Less
        } else {
            Ordering::Greater
        };
        match (self, other) {
            (Key::Null, Key::Null) => Ordering::Equal,
            (Key::Null, _) => first,
            (_, Key::Null) => first.reverse(),
            _ if descending => other.order(self),
            _ => self.order(other),
        }
    }

    /// Keys of different ranks are of different types.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Key::Null => 0,
            Key::Int(_) | Key::Float(_) => 1,
            Key::Ip(_) => 2,
            Key::Text(_) => 3,
            Key::Tuple(_) => 4,
        }
    }

    /// The key as it stands in an answer under `key`.
    pub(super) fn json(&self) -> Value {
        match self {
            Key::Int(number) => Value::from(*number),
            Key::Float(value) => number(*value),
            Key::Null | Key::Tuple(_) => Value::Null,
            Key::Ip(_) | Key::Text(_) => Value::from(self.text(&Show::Plain)),
        }
    }

    /// The key as text.
    pub(super) fn text(&self, show: &Show) -> String {
        match self {
            Key::Int(number) => show.int(*number).unwrap_or_else(|| number.to_string()),
            Key::Float(number) => show.number(*number).unwrap_or_else(|| java_double(*number)),
            Key::Ip(bits) => {
                let ip = Ipv6Addr::from(*bits);
                match ip.to_ipv4_mapped() {
                    Some(v4) => v4.to_string(),
                    None => ip.to_string(),
                }
            }
            Key::Text(text) => text.to_string(),
            Key::Null | Key::Tuple(_) => String::new(),
        }
    }

    /// Memory behind it, in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Key::Text(text) => text.len() + 16,
            Key::Tuple(keys) => keys.iter().map(|key| size_of::<Key>() + key.bytes()).sum(),
            _ => 0,
        }
    }
}

/// How numbers are shown as text, besides as themselves.
#[derive(Debug, Clone, Default)]
pub(super) enum Show {
    /// Not at all.
    #[default]
    Plain,
    /// `true` and `false`.
    Boolean,
    /// Milliseconds since the epoch as dates.
    Date(Formats, TimeZone),
}

/// Shared by all buckets of an aggregation.
pub(super) type Shown = Arc<Show>;

impl Show {
    /// An integer's text; `None` when there is none besides the number.
    pub(super) fn int(&self, value: i64) -> Option<String> {
        match self {
            Show::Plain => None,
            Show::Boolean => Some((value != 0).to_string()),
            Show::Date(formats, zone) => Some(formats.format(value, zone)),
        }
    }

    /// As [`Show::int`], of a computed value.
    pub(super) fn number(&self, value: f64) -> Option<String> {
        match self {
            Show::Plain => None,
            Show::Boolean => Some((value != 0.0).to_string()),
            Show::Date(..) => self.int(whole(value)),
        }
    }
}

/// A computed value as JSON; as Elasticsearch does, what JSON has no number for is a text.
pub(super) fn number(value: f64) -> Value {
    if value.is_finite() {
        Value::from(value)
    } else {
        Value::from(java_double(value))
    }
}

/// The integer part, at most the range of `i64`; 0 for what is no number.
pub(super) fn whole(value: f64) -> i64 {
    #[allow(clippy::cast_possible_truncation)]
    let whole = value as i64;
    whole
}

/// A double as `Double.toString` of Java writes it.
pub(super) fn java_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return with_point(value.to_string());
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => format!("{}E{exponent}", with_point(digits.to_owned())),
        None => text,
    }
}

fn with_point(mut digits: String) -> String {
    if !digits.contains('.') {
        digits.push_str(".0");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_written_as_java_writes_them() {
        for (value, text) in [
            (0.0, "0.0"),
            (3.0, "3.0"),
            (-50.25, "-50.25"),
            (0.001, "0.001"),
            (0.0005, "5.0E-4"),
            (9_999_999.0, "9999999.0"),
            (10_000_000.0, "1.0E7"),
            (-1.234_567_8e10, "-1.2345678E10"),
            (f64::INFINITY, "Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(java_double(value), text);
        }
    }
}

//! Values of a document as their field's type takes them.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::Value;

use super::kind::Kind;
use super::leaf::Leaf;
use crate::search_node::dates::Round;
use crate::search_node::json::text;

/// A number as it lies in a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    /// Integer types, booleans and dates.
    Int(i64),
    /// Floats.
    Float(f64),
}

/// Reads `value` for `leaf`: numbers, dates and booleans. The error says what is wrong with it.
pub(crate) fn parse_number(leaf: &Leaf, value: &Value) -> Result<Number, String> {
    match leaf.kind {
        Kind::Date => parse_date(leaf, value, Round::Down).map(Number::Int),
        Kind::Boolean => parse_boolean(value).map(|flag| Number::Int(i64::from(flag))),
        Kind::Long | Kind::Integer | Kind::Short | Kind::Byte => {
            integer(leaf, value).map(Number::Int)
        }
        _ => float(leaf, value).map(Number::Float),
    }
}

/// Milliseconds since the epoch.
pub(super) fn parse_date(leaf: &Leaf, value: &Value, round: Round) -> Result<i64, String> {
    let utc = jiff::tz::TimeZone::UTC;
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(number) => leaf.formats.parse_number(number).map_err(|e| e.to_string()),
            None => leaf
                .formats
                .parse(&number.to_string(), round, &utc)
                .map_err(|e| e.to_string()),
        },
        Value::String(text) => leaf
            .formats
            .parse(text, round, &utc)
            .map_err(|e| e.to_string()),
        other => Err(format!("a date is a text or a number, not [{other}]")),
    }
}

/// `true`, `false`, `"true"`, `"false"` and the empty text, which is false.
pub(crate) fn parse_boolean(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" || text.is_empty() => Ok(false),
        other => Err(format!(
            "Failed to parse value [{}] as only [true] or [false] are allowed.",
            text(other)
        )),
    }
}

/// An address; IPv4 as mapped into IPv6.
pub(crate) fn parse_ip(value: &Value) -> Result<Ipv6Addr, String> {
    let text = text(value);
    match text.parse() {
        Ok(IpAddr::V4(ip)) => Ok(ip.to_ipv6_mapped()),
        Ok(IpAddr::V6(ip)) => Ok(ip),
        Err(_) => Err(format!("'{text}' is not an IP string literal.")),
    }
}

fn integer(leaf: &Leaf, value: &Value) -> Result<i64, String> {
    let (low, high) = leaf.kind.integer_range().unwrap_or((i64::MIN, i64::MAX));
    let whole = match value {
        Value::Number(number) if number.is_i64() => number.as_i64(),
        Value::String(text) if leaf.coerce => text.trim().parse().ok(),
        _ => None,
    };
    let out_of_range = || {
        format!(
            "Value [{}] is out of range for {}",
            text(value),
            article(leaf.kind)
        )
    };
    if let Some(whole) = whole {
        return if (low..=high).contains(&whole) {
            Ok(whole)
        } else {
            Err(out_of_range())
        };
    }
    let number = float_of(leaf, value)?;
    if number.fract() != 0.0 && !leaf.coerce {
        return Err(format!("Value [{}] has a decimal part", text(value)));
    }
    let number = number.trunc();
    // Every float within the bounds of i64 below 2^63 converts exactly after `trunc`.
    if number < low as f64 || number > high as f64 || number >= 9_223_372_036_854_775_808.0 {
        return Err(out_of_range());
    }
    #[allow(clippy::cast_possible_truncation)]
    let whole = number as i64;
    Ok(whole)
}

fn article(kind: Kind) -> String {
    match kind {
        Kind::Integer => "an integer".to_owned(),
        other => format!("a {}", other.name()),
    }
}

fn float(leaf: &Leaf, value: &Value) -> Result<f64, String> {
    let number = float_of(leaf, value)?;
    let stored = match leaf.kind {
        Kind::Float | Kind::HalfFloat => {
            #[allow(clippy::cast_possible_truncation)]
            let single = number as f32;
            f64::from(single)
        }
        Kind::ScaledFloat => (number * leaf.scaling).round() / leaf.scaling,
        _ => number,
    };
    let too_large = leaf.kind == Kind::HalfFloat && stored.abs() > 65_504.0;
    if !stored.is_finite() || too_large {
        return Err(format!(
            "[{}] supports only finite values, but got [{}]",
            leaf.kind.name(),
            text(value)
        ));
    }
    Ok(stored)
}

fn float_of(leaf: &Leaf, value: &Value) -> Result<f64, String> {
    match value {
        Value::Number(number) => number
            .as_f64()
            .ok_or_else(|| format!("[{number}] is no number that fits")),
        Value::String(text) if leaf.coerce => {
            let known = text.trim();
            // Rust reads "inf" and "nan", which are no numbers in JSON.
            match known.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(number),
                _ => Err(format!("For input string: \"{text}\"")),
            }
        }
        Value::String(text) => Err(format!(
            "{} value passed as String: [{text}]",
            leaf.kind.name()
        )),
        other => Err(format!("[{other}] is not a number")),
    }
}

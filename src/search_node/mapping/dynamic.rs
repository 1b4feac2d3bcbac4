//! What type a field gets that no mapping names.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::search_node::dates::{Formats, Round};

/// Longest text that a dynamically added keyword sub-field takes, as in Elasticsearch.
const KEYWORD_LIMIT: u64 = 256;

/// What texts are tried as for date detection.
static DATES: LazyLock<Vec<(Formats, Option<&'static str>)>> = LazyLock::new(|| {
    // Formats of constants; one that did not parse would only not be detected.
    let spec = "yyyy/MM/dd HH:mm:ss||yyyy/MM/dd||epoch_millis";
    [("strict_date_optional_time", None), (spec, Some(spec))]
        .into_iter()
        .filter_map(|(format, shown)| Some((Formats::parse_spec(format).ok()?, shown)))
        .collect()
});

/// The definition for a new field that first has `value`; `None` when the value does not tell.
pub(super) fn definition(value: &Value, date_detection: bool) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some(json!({"type": "boolean"})),
        Value::Number(number) if number.is_f64() => Some(json!({"type": "float"})),
        Value::Number(_) => Some(json!({"type": "long"})),
        Value::String(text) => {
            if date_detection && let Some(date) = date(text) {
                return Some(date);
            }
            Some(json!({
                "type": "text",
                "fields": {"keyword": {"type": "keyword", "ignore_above": KEYWORD_LIMIT}}
            }))
        }
        Value::Array(values) => values
            .iter()
            .find_map(|value| definition(value, date_detection)),
        Value::Object(_) => Some(Value::Object(Map::new())),
    }
}

fn date(text: &str) -> Option<Value> {
    // A bare year or number is no date, and most texts are none at the first glance.
    let digits = text.bytes().take(4).filter(u8::is_ascii_digit).count();
    if digits < 4 || !text.bytes().any(|byte| byte == b'-' || byte == b'/') {
        return None;
    }
    let utc = jiff::tz::TimeZone::UTC;
    DATES
        .iter()
        .find(|(formats, _)| formats.parse(text, Round::Down, &utc).is_ok())
        .map(|(_, format)| match format {
            None => json!({"type": "date"}),
            Some(format) => json!({"type": "date", "format": format}),
        })
}

/// `{"properties": …}` that adds `definition` at `path` below the root.
pub(super) fn at_path(path: &str, definition: Value) -> Value {
    path.rsplit('.').fold(definition, |inner, name| {
        let mut properties = Map::new();
        properties.insert(name.to_owned(), inner);
        json!({"properties": properties})
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_tell_their_type() {
        for (value, kind) in [
            (json!(true), "boolean"),
            (json!(1), "long"),
            (json!(1.5), "float"),
            (json!("2025-01-31"), "date"),
            (json!("2025-01-31T10:00:00Z"), "date"),
            (json!("2025/01/31"), "date"),
            (json!("2025"), "text"),
            (json!("abc"), "text"),
            (json!([null, 1]), "long"),
        ] {
            assert_eq!(definition(&value, true).unwrap()["type"], kind, "{value}");
        }
        assert_eq!(definition(&json!([]), true), None);
        assert_eq!(definition(&json!(null), true), None);
        assert_eq!(
            definition(&json!("2025-01-31"), false).unwrap()["type"],
            "text"
        );
    }

    #[test]
    fn a_path_becomes_objects() {
        assert_eq!(
            at_path("a.b", json!({"type": "long"})),
            json!({"properties": {"a": {"properties": {"b": {"type": "long"}}}}})
        );
    }
}

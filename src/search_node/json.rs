//! JSON values as what they are written as.

use serde_json::Value;

/// A text, number or boolean as it is written; `None` for anything else.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Any value as text: texts without quotes, objects and lists as JSON.
pub(super) fn text(value: &Value) -> String {
    plain(value).unwrap_or_else(|| value.to_string())
}

//! Whether what an engine shows is what was asked for.

use serde_json::{Map, Value};

/// Whether two values mean the same: engines show numbers and flags of settings as texts.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (a, b) => a == b || (plain(a).is_some() && plain(a) == plain(b)),
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Whether each member of `wanted` is in `found`, which may have others.
pub(super) fn has(found: &Value, wanted: &Value) -> bool {
    wanted.as_object().is_some_and(|wanted| {
        wanted
            .iter()
            .all(|(key, value)| found.get(key).is_some_and(|found| same(found, value)))
    })
}

/// A field that is of another type than it must be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clash {
    /// Path of the field.
    pub field: String,
    /// Its type.
    pub found: String,
    /// The type that it must have.
    pub wanted: String,
}

/// The fields of `wanted` that `found` lacks, as a mapping; what cannot be changed goes to
/// `clashes`.
pub(super) fn missing(found: &Value, wanted: &Value, clashes: &mut Vec<Clash>) -> Option<Value> {
    let lacking = missing_below("", found, wanted, clashes);
    (!lacking.is_empty()).then(|| {
        let mut mapping = Map::new();
        mapping.insert("properties".to_owned(), lacking.into());
        mapping.into()
    })
}

fn missing_below(
    prefix: &str,
    found: &Value,
    wanted: &Value,
    clashes: &mut Vec<Clash>,
) -> Map<String, Value> {
    let mut lacking = Map::new();
    let properties = wanted.get("properties").and_then(Value::as_object);
    for (name, field) in properties.into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let there = found.get("properties").and_then(|all| all.get(name));
        let Some(there) = there else {
            lacking.insert(name.clone(), field.clone());
            continue;
        };
        let (is, must) = (kind(there), kind(field));
        if is != must {
            clashes.push(Clash {
                field: path,
                found: is.to_owned(),
                wanted: must.to_owned(),
            });
            continue;
        }
        let below = missing_below(&format!("{path}."), there, field, clashes);
        if !below.is_empty() {
            let mut part = Map::new();
            if must == "nested" {
                part.insert("type".to_owned(), must.into());
            }
            part.insert("properties".to_owned(), below.into());
            lacking.insert(name.clone(), part.into());
        }
    }
    lacking
}

fn kind(field: &Value) -> &str {
    field
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or("object")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_their_texts_are_the_same() {
        assert!(same(&json!({"a": ["1", true]}), &json!({"a": [1, "true"]})));
        assert!(!same(&json!({"a": 1}), &json!({"a": 2})));
        assert!(!same(&json!({"a": 1}), &json!({"a": 1, "b": 1})));
        assert!(has(&json!({"a": "1", "b": 2}), &json!({"a": 1})));
        assert!(!has(&json!({"b": 2}), &json!({"a": 1})));
    }

    #[test]
    fn fields_that_are_missing_and_fields_of_another_type_are_told_apart() {
        let wanted = json!({"properties": {
            "a": {"type": "keyword"}, "o": {"properties": {"x": {"type": "long"}}},
            "n": {"type": "nested", "properties": {"p": {"type": "long"}, "q": {"type": "date"}}}}});
        let mut clashes = Vec::new();
        assert_eq!(missing(&wanted, &wanted, &mut clashes), None);
        let found = json!({"properties": {
            "a": {"type": "text"}, "o": {"type": "object"}, "more": {"type": "ip"},
            "n": {"type": "nested", "properties": {"p": {"type": "long"}}}}});
        let lacking = missing(&found, &wanted, &mut clashes).unwrap();
        assert_eq!(
            lacking,
            json!({"properties": {"o": {"properties": {"x": {"type": "long"}}},
                "n": {"type": "nested", "properties": {"q": {"type": "date"}}}}})
        );
        let clash = Clash {
            field: "a".to_owned(),
            found: "text".to_owned(),
            wanted: "keyword".to_owned(),
        };
        assert_eq!(clashes, [clash]);
    }
}

//! Filters, projections and orders that clients send: typed by the collection, and only what cannot run
//! code or lead elsewhere.

use mongodb::bson::{Bson, Document};
use serde_json::{Map, Value};

use super::broken;
use crate::schema::documents::{Collection, plain, value_at};
use crate::store::StoreError;

/// Fields that are never shown, whoever asks.
pub(super) const SECRETS: [&str; 5] = [
    "password_hash",
    "key_hash",
    "totp_secret",
    "salt",
    "chunks.encryption_key",
];
/// Operators whose value is one of the field.
const ONE: [&str; 6] = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"];
/// Those whose value is a list of such.
const MANY: [&str; 3] = ["$in", "$nin", "$all"];
/// Those with a value of their own.
const OTHER: [&str; 5] = ["$exists", "$type", "$size", "$mod", "$options"];
/// Lists of filters.
const LISTS: [&str; 3] = ["$and", "$or", "$nor"];
/// Longest regular expression.
const REGEX: usize = 200;
/// Filters in filters.
const DEPTH: u32 = 10;
/// Elements of a list.
const ELEMENTS: usize = 1000;

fn wrong(path: &str, rule: &str, message: impl Into<String>) -> StoreError {
    StoreError::invalid(path, rule, message)
}

/// A path without the numbers of elements.
fn without_numbers(path: &str) -> String {
    let steps = path.split('.').filter(|step| step.parse::<u32>().is_err());
    steps.collect::<Vec<_>>().join(".")
}

/// A secret is not shown, and not found out by asking for it either.
fn is_secret(path: &str) -> bool {
    let plain = without_numbers(path);
    SECRETS.iter().any(|secret| {
        plain == *secret
            || plain.starts_with(&format!("{secret}."))
            || plain.ends_with(&format!(".{secret}"))
    })
}

/// Whether a secret lies below.
fn holds_secret(path: &str) -> bool {
    let begin = format!("{}.", without_numbers(path));
    SECRETS.iter().any(|secret| secret.starts_with(&begin))
}

pub(super) fn not_secret(path: &str) -> Result<(), StoreError> {
    if is_secret(path) {
        return Err(StoreError::Forbidden(format!(
            "{path} is a secret: nobody may ask for it"
        )));
    }
    Ok(())
}

/// A filter such as `{"status": "active", "created_at": {"$gte": "2026-11-01T00:00:00Z"}}`.
pub(super) fn filter(
    collection: &Collection,
    wanted: &Map<String, Value>,
) -> Result<Document, StoreError> {
    at(collection, wanted, 0)
}

fn at(
    collection: &Collection,
    wanted: &Map<String, Value>,
    depth: u32,
) -> Result<Document, StoreError> {
    if depth > DEPTH {
        return Err(wrong(
            "filter",
            "depth",
            format!("{DEPTH} filters in each other at most"),
        ));
    }
    let mut made = Document::new();
    for (name, value) in wanted {
        if LISTS.contains(&name.as_str()) {
            let Some(parts) = value.as_array().filter(|parts| !parts.is_empty()) else {
                return Err(wrong(
                    name,
                    "type",
                    "is a list of filters, with one at least",
                ));
            };
            let mut list = Vec::new();
            for part in parts {
                let part = part.as_object();
                let part = part.ok_or_else(|| wrong(name, "type", "is a list of filters"))?;
                list.push(Bson::Document(at(collection, part, depth + 1)?));
            }
            made.insert(name.clone(), list);
            continue;
        }
        if name.starts_with('$') {
            return Err(wrong(
                name,
                "operator",
                format!(
                    "{name} is not allowed; allowed at the top: {}",
                    LISTS.join(", ")
                ),
            ));
        }
        not_secret(name)?;
        made.insert(name.clone(), condition(collection, name, value, depth)?);
    }
    Ok(made)
}

fn typed(collection: &Collection, path: &str, value: &Value) -> Result<Bson, StoreError> {
    // Whole objects are compared field by field: a secret in them would be found out.
    let is_whole = match value {
        Value::Object(_) => true,
        Value::Array(values) => values.iter().any(Value::is_object),
        _ => false,
    };
    if is_whole && holds_secret(path) {
        return Err(StoreError::Forbidden(format!(
            "{path} holds secrets: ask for fields in it, such as {path}.index"
        )));
    }
    let node = collection.root.at(path);
    // A text is looked for in an array of texts as well.
    let element = node.and_then(|node| node.element.as_deref());
    if element.is_some() && !value.is_array() {
        return value_at(collection, &format!("{path}.0"), value).map_err(broken);
    }
    if value.is_null() {
        return Ok(Bson::Null);
    }
    match node {
        // What a rule of length or pattern forbids is not there; it may be asked for all the same.
        Some(_) => match value_at(collection, path, value) {
            Err(rules) if rules.iter().any(|rule| rule.rule == "type") => Err(broken(rules)),
            Err(_) => plain(path, value).map_err(|rule| broken(vec![rule])),
            Ok(value) => Ok(value),
        },
        None => plain(path, value).map_err(|rule| broken(vec![rule])),
    }
}

fn condition(
    collection: &Collection,
    path: &str,
    value: &Value,
    depth: u32,
) -> Result<Bson, StoreError> {
    let operators = value
        .as_object()
        .filter(|fields| fields.keys().any(|name| name.starts_with('$')));
    let Some(operators) = operators else {
        return typed(collection, path, value);
    };
    // Extended JSON: one value.
    if operators.keys().any(|name| {
        matches!(
            name.as_str(),
            "$date"
                | "$oid"
                | "$numberDecimal"
                | "$numberLong"
                | "$numberInt"
                | "$numberDouble"
                | "$binary"
                | "$uuid"
        )
    }) {
        return typed(collection, path, value);
    }
    let mut made = Document::new();
    for (operator, value) in operators {
        let name = operator.as_str();
        let bson = if ONE.contains(&name) {
            typed(collection, path, value)?
        } else if MANY.contains(&name) {
            let values = value.as_array().filter(|values| values.len() <= ELEMENTS);
            let values = values.ok_or_else(|| {
                wrong(
                    path,
                    "type",
                    format!("{name} wants a list with {ELEMENTS} values at most"),
                )
            })?;
            let values = values.iter().map(|value| typed(collection, path, value));
            Bson::Array(values.collect::<Result<_, _>>()?)
        } else if OTHER.contains(&name) {
            plain(path, value).map_err(|rule| broken(vec![rule]))?
        } else if name == "$regex" {
            let text = value.as_str().filter(|text| text.len() <= REGEX);
            let text = text.ok_or_else(|| {
                wrong(
                    path,
                    "type",
                    format!("$regex wants a text with {REGEX} bytes at most"),
                )
            })?;
            if regex::Regex::new(text).is_err() {
                return Err(wrong(path, "pattern", "$regex is no regular expression"));
            }
            Bson::from(text)
        } else if name == "$not" {
            if depth >= DEPTH {
                return Err(wrong(path, "depth", "too many conditions in each other"));
            }
            condition(collection, path, value, depth + 1)?
        } else if name == "$elemMatch" {
            let fields = value.as_object();
            let fields = fields.ok_or_else(|| wrong(path, "type", "$elemMatch wants an object"))?;
            let mut inner = Document::new();
            for (name, value) in fields {
                if name.starts_with('$') && !ONE.contains(&name.as_str()) {
                    return Err(wrong(
                        path,
                        "operator",
                        format!("{name} is not allowed here"),
                    ));
                }
                let path = if name.starts_with('$') {
                    format!("{path}.0")
                } else {
                    format!("{path}.0.{name}")
                };
                not_secret(&path)?;
                let value = if depth < DEPTH {
                    condition(collection, &path, value, depth + 1)?
                } else {
                    typed(collection, &path, value)?
                };
                inner.insert(name.clone(), value);
            }
            Bson::Document(inner)
        } else {
            let allowed = [&ONE[..], &MANY, &OTHER, &["$regex", "$not", "$elemMatch"]].concat();
            let message = format!("{name} is not allowed; allowed: {}", allowed.join(", "));
            return Err(wrong(path, "operator", message));
        };
        made.insert(operator.clone(), bson);
    }
    Ok(Bson::Document(made))
}

/// Fields that are wanted; without any, all but the secrets.
pub(super) fn projection(fields: &[String]) -> Result<Document, StoreError> {
    let mut made = Document::new();
    for field in fields {
        if field.is_empty() || field.contains('$') || field.contains('\0') {
            return Err(wrong(
                "fields",
                "name",
                format!("{field:?} is no name of a field"),
            ));
        }
        not_secret(field)?;
        made.insert(field.clone(), 1);
    }
    if made.is_empty() {
        for secret in SECRETS {
            made.insert(secret, 0);
        }
    }
    Ok(made)
}

/// An order such as `[["created_at", "desc"]]`.
pub(super) fn order(wanted: &[(String, i32)]) -> Result<Document, StoreError> {
    let mut made = Document::new();
    for (field, direction) in wanted {
        not_secret(field)?;
        if holds_secret(field) {
            return Err(StoreError::Forbidden(format!(
                "{field} holds secrets: nobody orders by it"
            )));
        }
        if field.is_empty() || field.starts_with('$') || field.contains('\0') {
            return Err(wrong(
                "sort",
                "name",
                format!("{field:?} is no name of a field"),
            ));
        }
        made.insert(field.clone(), *direction);
    }
    Ok(made)
}

/// Takes the secrets out of a document that comes whole.
pub(super) fn without_secrets(mut document: Document) -> Document {
    for secret in SECRETS {
        match secret.split_once('.') {
            None => {
                document.remove(secret);
            }
            Some((list, field)) => {
                if let Ok(elements) = document.get_array_mut(list) {
                    for element in elements {
                        if let Bson::Document(element) = element {
                            element.remove(field);
                        }
                    }
                }
            }
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::documents::named;
    use serde_json::json;

    fn of(collection: &str, wanted: &Value) -> Result<Document, StoreError> {
        filter(named(collection).unwrap(), wanted.as_object().unwrap())
    }

    #[test]
    fn values_in_filters_get_the_types_of_their_fields() {
        let made = of(
            "transactions",
            &json!({
                "status": "Pending", "block_height": { "$gte": 7 }, "tx_id": { "$in": ["a", "b"] },
                "$or": [{ "timestamp": { "$lt": "2026-11-27T00:00:00Z" } }, { "fee": null }],
            }),
        );
        let made = made.unwrap();
        assert_eq!(made.get_str("status").unwrap(), "pending");
        let height = made.get_document("block_height").unwrap();
        assert_eq!(height.get_i64("$gte").unwrap(), 7);
        let or = made.get_array("$or").unwrap();
        let time = or[0]
            .as_document()
            .unwrap()
            .get_document("timestamp")
            .unwrap();
        assert!(time.get_datetime("$lt").is_ok());
        assert!(of("users", &json!({ "roles": "admin" })).is_ok());
    }

    #[test]
    fn nothing_that_runs_code_leads_elsewhere_or_finds_out_secrets_is_let_in() {
        for bad in [
            json!({ "$where": "sleep(1000)" }),
            json!({ "$expr": { "$function": {} } }),
            json!({ "email": { "$where": "1" } }),
            json!({ "email": { "$not": { "$where": "1" } } }),
            json!({ "$and": [{ "$where": "1" }] }),
            json!({ "roles": { "$elemMatch": { "$where": "1" } } }),
            json!({ "password_hash": { "$regex": "^a" } }),
            json!({ "$or": [{ "password_hash": "x" }] }),
            json!({ "email": { "$regex": "(" } }),
            json!({ "created_at": "yesterday" }),
            json!({ "$and": [] }),
        ] {
            assert!(of("users", &bad).is_err(), "{bad}");
        }
        assert!(of("manifests", &json!({ "chunks.0.encryption_key": "x" })).is_err());
        let whole = json!({ "chunks": { "$gte": { "encryption_key": "m" } } });
        assert!(of("manifests", &whole).is_err());
        assert!(
            of(
                "manifests",
                &json!({ "chunks": { "$in": [{ "index": 1 }] } })
            )
            .is_err()
        );
        assert!(of("manifests", &json!({ "chunks.0.index": 1 })).is_ok());
        for whole in ["chunks", "chunks.0"] {
            assert!(order(&[(whole.to_owned(), 1)]).is_err(), "{whole}");
        }
        assert!(order(&[("chunks.index".to_owned(), 1)]).is_ok());
        assert!(projection(&["password_hash".to_owned()]).is_err());
        assert!(order(&[("key_hash".to_owned(), 1)]).is_err());
        let mut deep = json!({ "status": "active" });
        for _ in 0..20 {
            deep = json!({ "$and": [deep] });
        }
        assert!(of("users", &deep).is_err());
    }
}

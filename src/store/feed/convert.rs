//! From documents to what is searched.

use mongodb::bson::{Bson, Document};
use serde_json::{Map, Value};

/// Kinds of what is searched, with the collections that they come from.
pub const ENTITIES: [(&str, &str); 6] = [
    ("sessions", "sessions"),
    ("blocks", "blocks"),
    ("transactions", "transactions"),
    ("manifests", "manifests"),
    ("audit-logs", "audit_logs"),
    ("users", "users"),
];

/// What is not searched: secrets, addresses of people, and lists that are documents of their own.
const HIDDEN: [&str; 8] = [
    "_id",
    "password_hash",
    "key_hash",
    "totp_secret",
    "salt",
    "email",
    "chunks",
    "preferences",
];

/// What becomes of a document in an index.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Put(Map<String, Value>),
    Remove,
}

pub(super) fn entity_of(collection: &str) -> Option<&'static str> {
    let found = ENTITIES.iter().find(|(_, of)| *of == collection);
    found.map(|(entity, _)| *entity)
}

pub(super) fn collection_of(entity: &str) -> &'static str {
    let found = ENTITIES.iter().find(|(name, _)| *name == entity);
    found.map_or("sessions", |(_, collection)| collection)
}

pub(super) fn collections() -> Vec<&'static str> {
    ENTITIES.iter().map(|(_, collection)| *collection).collect()
}

/// `_id` as a text.
pub(super) fn id_of(document: &Document) -> Option<String> {
    Some(match document.get("_id")? {
        Bson::ObjectId(id) => id.to_hex(),
        Bson::String(text) => text.clone(),
        other => other.clone().into_canonical_extjson().to_string(),
    })
}

/// What is searched of a document: plain JSON, moments as RFC 3339.
pub(super) fn searchable(document: &Document) -> Map<String, Value> {
    let fields = document
        .iter()
        .filter(|(name, _)| !HIDDEN.contains(&name.as_str()));
    fields
        .map(|(name, value)| (name.clone(), plain(value)))
        .collect()
}

fn plain(value: &Bson) -> Value {
    match value {
        Bson::DateTime(time) => time
            .try_to_rfc3339_string()
            .map_or(Value::Null, Value::from),
        Bson::ObjectId(id) => id.to_hex().into(),
        Bson::Decimal128(number) => {
            let text = number.to_string();
            text.parse::<f64>().map_or(Value::Null, Value::from)
        }
        Bson::Double(number) => Value::from(*number),
        Bson::Int32(number) => Value::from(*number),
        Bson::Int64(number) => Value::from(*number),
        Bson::Boolean(is) => Value::from(*is),
        Bson::String(text) => Value::from(text.clone()),
        Bson::Array(values) => values.iter().map(plain).collect(),
        Bson::Document(fields) => Value::Object(searchable(fields)),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{DateTime, doc};
    use serde_json::json;

    #[test]
    fn what_is_searched_has_neither_secrets_nor_addresses() {
        let document = doc! {
            "_id": "x", "user_id": "u1", "email": "a@b.org", "password_hash": "h",
            "created_at": DateTime::from_millis(0), "nested": { "salt": "s", "n": 7_i64 },
        };
        let found = Value::Object(searchable(&document));
        let wanted = json!({
            "user_id": "u1", "created_at": "1970-01-01T00:00:00Z", "nested": { "n": 7 },
        });
        assert_eq!(found, wanted);
        assert_eq!(id_of(&document).unwrap(), "x");
    }
}

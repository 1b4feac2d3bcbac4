//! Updates: the values that they set are those of the fields.

use mongodb::bson::{Bson, Document};
use serde_json::{Map, Value};

use super::coerce::{typed, untyped};
use super::definition::Collection;
use super::rules::Broken;

/// Operators of updates whose values are those of the field.
const SETS: [&str; 5] = ["$set", "$setOnInsert", "$min", "$max", "$inc"];
/// Those whose values are elements of it.
const ELEMENTS: [&str; 3] = ["$push", "$addToSet", "$pull"];

/// An update such as `{"$set": {…}}` of documents of `collection`.
///
/// # Errors
/// Every rule that it breaks, operators that are not allowed among them.
pub fn update(
    collection: &Collection,
    wanted: &Map<String, Value>,
) -> Result<Document, Vec<Broken>> {
    let mut broken = Vec::new();
    let mut made = Document::new();
    if wanted.is_empty() {
        broken.push(Broken::new(
            "update",
            "operator",
            "is empty: nothing is to be changed",
        ));
    }
    for (operator, fields) in wanted {
        let known = operator == "$unset"
            || operator == "$currentDate"
            || SETS.contains(&operator.as_str())
            || ELEMENTS.contains(&operator.as_str());
        let Some(fields) = fields.as_object().filter(|_| known) else {
            let message = format!(
                "{operator} is no update; allowed: {}, {}, $unset, $currentDate with an object each",
                SETS.join(", "),
                ELEMENTS.join(", ")
            );
            broken.push(Broken::new(operator, "operator", message));
            continue;
        };
        let mut values = Document::new();
        for (path, value) in fields {
            if path == "_id" || path == &collection.id {
                let message = "is how the document is known, and does not change";
                broken.push(Broken::new(path, "id", message));
                continue;
            }
            let node = collection.root.at(path);
            let value = match operator.as_str() {
                "$unset" if node.is_some_and(|node| node.required) => {
                    broken.push(Broken::new(path, "required", "is required, and cannot go"));
                    continue;
                }
                "$unset" => Some(Bson::from("")),
                "$currentDate" => Some(Bson::from(true)),
                element if ELEMENTS.contains(&element) => {
                    match node.and_then(|node| node.element.as_deref()) {
                        Some(node) => typed(path, node, value, &mut broken),
                        None => untyped(path, value, &mut broken),
                    }
                }
                _ => match node {
                    Some(node) => typed(path, node, value, &mut broken),
                    None => untyped(path, value, &mut broken),
                },
            };
            if let Some(value) = value {
                values.insert(path.clone(), value);
            }
        }
        made.insert(operator.clone(), values);
    }
    if broken.is_empty() {
        Ok(made)
    } else {
        Err(broken)
    }
}

#[cfg(test)]
mod tests {
    use super::super::named;
    use super::*;
    use serde_json::json;

    #[test]
    fn updates_keep_the_rules_and_the_identity() {
        let sessions = named("sessions").unwrap();
        let of = |value: Value| update(sessions, value.as_object().unwrap());
        let good = of(json!({
            "$set": { "status": "Completed", "ended_at": "2026-11-27T12:00:00Z" },
            "$inc": { "chunk_count": 1 }, "$unset": { "duration": "" },
        }));
        let good = good.unwrap();
        let set = good.get_document("$set").unwrap();
        assert_eq!(set.get_str("status").unwrap(), "completed");
        assert!(set.get_datetime("ended_at").is_ok());
        for (bad, rule) in [
            (json!({ "$set": { "session_id": "other" } }), "id"),
            (json!({ "$set": { "status": "lost" } }), "enum"),
            (json!({ "$unset": { "status": "" } }), "required"),
            (json!({ "$where": { "a": 1 } }), "operator"),
            (json!({ "status": "active" }), "operator"),
            (json!({}), "operator"),
        ] {
            assert_eq!(of(bad).unwrap_err()[0].rule, rule);
        }
    }
}

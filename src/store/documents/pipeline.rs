//! Aggregations that clients send: stages that read this collection and write nothing.

use mongodb::bson::{Bson, Document, doc};
use serde_json::{Map, Value};

use super::filter::{SECRETS, filter};
use super::{MOST, broken};
use crate::schema::documents::{Collection, plain};
use crate::store::StoreError;

/// Stages that are let in.
const STAGES: [&str; 16] = [
    "$match",
    "$project",
    "$group",
    "$sort",
    "$limit",
    "$skip",
    "$unwind",
    "$count",
    "$addFields",
    "$set",
    "$unset",
    "$bucket",
    "$bucketAuto",
    "$sortByCount",
    "$sample",
    "$replaceRoot",
];
/// Those that keep documents as they are.
const KEEPING: [&str; 5] = ["$match", "$sort", "$limit", "$skip", "$sample"];
/// Operators that run code or lead elsewhere, wherever they stand.
const FORBIDDEN: [&str; 10] = [
    "$where",
    "$function",
    "$accumulator",
    "$out",
    "$merge",
    "$lookup",
    "$graphLookup",
    "$unionWith",
    "$expr",
    "$jsonSchema",
];
/// Stages at most.
const LONGEST: usize = 20;

/// What the store runs: without secrets from the beginning, and with a limit at the end.
pub(super) fn pipeline(
    collection: &Collection,
    wanted: &[Map<String, Value>],
    limit: i64,
) -> Result<Vec<Document>, StoreError> {
    if wanted.len() > LONGEST {
        let message = format!("{LONGEST} stages at most; has {}", wanted.len());
        return Err(StoreError::invalid("pipeline", "maxItems", message));
    }
    let hidden: Document = SECRETS
        .iter()
        .map(|field| ((*field).to_owned(), Bson::Int32(0)))
        .collect();
    let mut made = Vec::new();
    let mut is_typed = true;
    for (number, stage) in wanted.iter().enumerate() {
        let path = format!("pipeline.{number}");
        let Some((name, value)) = stage.iter().next().filter(|_| stage.len() == 1) else {
            let message = "a stage is an object with one name";
            return Err(StoreError::invalid(&path, "stage", message));
        };
        if !STAGES.contains(&name.as_str()) {
            let message = format!("{name} is not allowed; allowed: {}", STAGES.join(", "));
            return Err(StoreError::invalid(&path, "stage", message));
        }
        if let Some(found) = forbidden(value) {
            let message = format!("{found} is not allowed in an aggregation");
            return Err(StoreError::invalid(&path, "operator", message));
        }
        let value = match value.as_object() {
            Some(wanted) if name == "$match" && is_typed => {
                Bson::Document(filter(collection, wanted)?)
            }
            _ => plain(&path, value).map_err(|rule| broken(vec![rule]))?,
        };
        is_typed &= KEEPING.contains(&name.as_str());
        made.push(doc! { name: value });
    }
    // The typed filter comes first: it is what an index serves. It names no secret.
    let begin = made
        .iter()
        .take_while(|stage| stage.contains_key("$match"))
        .count();
    made.insert(begin, doc! { "$project": hidden });
    made.push(doc! { "$limit": limit.clamp(1, MOST) });
    Ok(made)
}

fn forbidden(value: &Value) -> Option<&'static str> {
    let mut ahead = vec![value];
    while let Some(value) = ahead.pop() {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if let Some(found) = FORBIDDEN.iter().find(|one| *one == name) {
                        return Some(found);
                    }
                    ahead.push(value);
                }
            }
            Value::Array(values) => ahead.extend(values),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::documents::named;
    use serde_json::json;

    fn of(stages: &Value) -> Result<Vec<Document>, StoreError> {
        let stages: Vec<Map<String, Value>> = serde_json::from_value(stages.clone()).unwrap();
        pipeline(named("users").unwrap(), &stages, MOST)
    }

    #[test]
    fn secrets_are_gone_before_anything_is_made_of_them() {
        let made = of(&json!([
            { "$match": { "status": "Active" } },
            { "$group": { "_id": "$password_hash", "n": { "$sum": 1 } } },
        ]));
        let made = made.unwrap();
        assert_eq!(made[0], doc! { "$match": { "status": "active" } });
        assert!(
            made[1]
                .get_document("$project")
                .unwrap()
                .contains_key("password_hash")
        );
        assert_eq!(made.last().unwrap(), &doc! { "$limit": MOST });
    }

    #[test]
    fn stages_that_write_run_code_or_lead_elsewhere_are_refused() {
        for bad in [
            json!([{ "$out": "users" }]),
            json!([{ "$lookup": { "from": "api_keys" } }]),
            json!([{ "$group": { "_id": { "$function": {} } } }]),
            json!([{ "$match": { "$expr": {} } }]),
            json!([{ "$match": {}, "$out": "x" }]),
            json!([{}]),
            json!([{ "$match": { "password_hash": "x" } }]),
        ] {
            assert!(of(&bad).is_err(), "{bad}");
        }
    }
}

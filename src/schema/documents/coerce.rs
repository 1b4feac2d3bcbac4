//! From JSON to documents of a collection: values get the types of their fields, and whatever breaks
//! a rule is told with its path.
//!
//! JSON has no moments and one kind of number. A text in the field of a moment is read as RFC 3339; a
//! number becomes the kind that the field has. MongoDB's extended JSON is understood as well.

use mongodb::bson::{Bson, DateTime, Decimal128, Document};
use serde_json::{Map, Value};

use super::definition::{Collection, Kind, Node};
use super::rules::{Broken, check};

/// How much of a value is shown.
const SHOWN: usize = 60;
/// Objects in objects: more is nobody's document.
const DEPTH: usize = 50;

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        text
    } else {
        text.chars().take(SHOWN).chain(['…']).collect()
    }
}

/// A value without rules: extended JSON.
///
/// # Errors
/// What is no BSON.
pub fn plain(path: &str, value: &Value) -> Result<Bson, Broken> {
    if depth(value) > DEPTH {
        return Err(Broken::new(
            path,
            "depth",
            format!("objects are {DEPTH} deep at most"),
        ));
    }
    Bson::try_from(value.clone())
        .map_err(|error| Broken::new(path, "value", format!("{}: {error}", shown(value))))
}

fn depth(value: &Value) -> usize {
    // Without recursion: what is asked for may be as deep as the parser lets it.
    let mut layer = vec![value];
    let mut depth = 0;
    while !layer.is_empty() && depth <= DEPTH {
        depth += 1;
        layer = layer
            .into_iter()
            .flat_map(|value| match value {
                Value::Array(values) => values.iter().collect::<Vec<_>>(),
                Value::Object(fields) => fields.values().collect(),
                _ => Vec::new(),
            })
            .collect();
    }
    depth
}

/// A document of `collection`, whole.
///
/// # Errors
/// Every rule that it breaks.
pub fn document(
    collection: &Collection,
    fields: &Map<String, Value>,
) -> Result<Document, Vec<Broken>> {
    let mut broken = Vec::new();
    let whole = Value::Object(fields.clone());
    if depth(&whole) > DEPTH {
        let message = format!("objects are {DEPTH} deep at most");
        return Err(vec![Broken::new("", "depth", message)]);
    }
    let made = typed("", &collection.root, &whole, &mut broken);
    match made {
        Some(Bson::Document(document)) if broken.is_empty() => Ok(document),
        _ => Err(broken),
    }
}

/// A value for the field at `path`; without rules where the collection has none for it.
///
/// # Errors
/// Every rule that it breaks.
pub fn value_at(collection: &Collection, path: &str, value: &Value) -> Result<Bson, Vec<Broken>> {
    let Some(node) = collection.root.at(path) else {
        return plain(path, value).map_err(|broken| vec![broken]);
    };
    let mut broken = Vec::new();
    let made = typed(path, node, value, &mut broken);
    match made {
        Some(made) if broken.is_empty() => Ok(made),
        _ => Err(broken),
    }
}

pub(super) fn untyped(path: &str, value: &Value, broken: &mut Vec<Broken>) -> Option<Bson> {
    plain(path, value).map_err(|rule| broken.push(rule)).ok()
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

pub(super) fn typed(
    path: &str,
    node: &Node,
    value: &Value,
    broken: &mut Vec<Broken>,
) -> Option<Bson> {
    let made = kind_of(path, node, value, broken)?;
    let before = broken.len();
    check(path, node, &made, broken);
    (broken.len() == before).then_some(made)
}

/// Gives a value the type that the field has.
fn kind_of(path: &str, node: &Node, value: &Value, broken: &mut Vec<Broken>) -> Option<Bson> {
    if node.kinds.is_empty() {
        return untyped(path, value, broken);
    }
    for kind in &node.kinds {
        let made = match (kind, value) {
            (Kind::Null, Value::Null) => Some(Bson::Null),
            (Kind::Bool, Value::Bool(is)) => Some(Bson::Boolean(*is)),
            (Kind::String, Value::String(text)) => Some(Bson::String(text_of(node, text))),
            (Kind::Date, value) => moment(value).map(Bson::DateTime),
            (
                Kind::Int | Kind::Long | Kind::Double | Kind::Number | Kind::Decimal,
                Value::Number(_) | Value::Object(_) | Value::String(_),
            ) => number(*kind, value),
            (Kind::Array, Value::Array(values)) => {
                return array(path, node, values, broken);
            }
            (Kind::Object, Value::Object(fields)) => {
                return object(path, node, fields, broken);
            }
            _ => None,
        };
        if made.is_some() {
            return made;
        }
    }
    let kinds: Vec<&str> = node.kinds.iter().map(|kind| kind.name()).collect();
    let kinds = kinds.join(" or ");
    broken.push(Broken::new(
        path,
        "type",
        format!("must be {kinds}; found {}", shown(value)),
    ));
    None
}

fn array(path: &str, node: &Node, values: &[Value], broken: &mut Vec<Broken>) -> Option<Bson> {
    let before = broken.len();
    let made: Vec<Bson> = values
        .iter()
        .enumerate()
        .filter_map(|(index, value)| {
            let path = join(path, &index.to_string());
            match &node.element {
                Some(element) => typed(&path, element, value, broken),
                None => untyped(&path, value, broken),
            }
        })
        .collect();
    (broken.len() == before).then_some(Bson::Array(made))
}

fn object(
    path: &str,
    node: &Node,
    fields: &Map<String, Value>,
    broken: &mut Vec<Broken>,
) -> Option<Bson> {
    let before = broken.len();
    let mut made = Document::new();
    for (name, value) in fields {
        let path = join(path, name);
        // A name with a dot or a dollar would be another field, or an operator, to the store.
        if name.is_empty() || name.starts_with('$') || name.contains(['.', '\0']) {
            broken.push(Broken::new(
                &path,
                "name",
                "is no name of a field: no $ first, no dots",
            ));
            continue;
        }
        let value = match node.field(name) {
            Some(node) => typed(&path, node, value, broken),
            None => untyped(&path, value, broken),
        };
        if let Some(value) = value {
            made.insert(name.clone(), value);
        }
    }
    for (name, node) in &node.fields {
        if node.required && !fields.contains_key(name) {
            broken.push(Broken::new(
                &join(path, name),
                "required",
                "is required, and absent",
            ));
        }
    }
    (broken.len() == before).then_some(Bson::Document(made))
}

fn text_of(node: &Node, text: &str) -> String {
    if node.lower {
        return text.trim().to_lowercase();
    }
    if !node.choices.is_empty() && !node.choices.iter().any(|choice| choice == text) {
        let snake = snake(text);
        if node.choices.contains(&snake) {
            return snake;
        }
    }
    text.to_owned()
}

/// `NodeOperator` and `NODE_OPERATOR` as `node_operator`.
fn snake(text: &str) -> String {
    let mut made = String::new();
    let mut last_is_lower = false;
    for c in text.chars() {
        if c.is_uppercase() && last_is_lower {
            made.push('_');
        }
        last_is_lower = c.is_lowercase();
        made.extend(c.to_lowercase());
    }
    made
}

fn moment(value: &Value) -> Option<DateTime> {
    match value {
        Value::String(text) => {
            let time: jiff::Timestamp = text.parse().ok()?;
            Some(DateTime::from_millis(time.as_millisecond()))
        }
        Value::Object(fields) if fields.contains_key("$date") => {
            match Bson::try_from(value.clone()).ok()? {
                Bson::DateTime(time) => Some(time),
                _ => None,
            }
        }
        _ => None,
    }
}

fn number(kind: Kind, value: &Value) -> Option<Bson> {
    let bson = match value {
        Value::String(text) if kind == Kind::Decimal => {
            return text.parse::<Decimal128>().ok().map(Bson::Decimal128);
        }
        Value::String(_) => return None,
        value => Bson::try_from(value.clone()).ok()?,
    };
    let whole = match &bson {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        // Clients of JSON write 1.0 for 1.
        Bson::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            #[allow(clippy::cast_possible_truncation)]
            let whole = *number as i64;
            Some(whole)
        }
        _ => None,
    };
    match (kind, bson) {
        (Kind::Int, _) => i32::try_from(whole?).ok().map(Bson::Int32),
        (Kind::Long, _) => whole.map(Bson::Int64),
        (Kind::Double, Bson::Double(number)) => Some(Bson::Double(number)),
        (Kind::Double, _) => whole.map(|number| Bson::Double(number as f64)),
        (Kind::Decimal, Bson::Decimal128(number)) => Some(Bson::Decimal128(number)),
        (Kind::Decimal, _) => match value {
            // As it is written, without a detour by binary fractions.
            Value::Number(number) => number.to_string().parse().ok().map(Bson::Decimal128),
            _ => None,
        },
        (
            Kind::Number,
            bson @ (Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_)),
        ) => Some(bson),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::named;
    use super::*;
    use serde_json::json;

    fn user() -> Value {
        json!({
            "user_id": "u1", "email": " Someone@Example.ORG ", "status": "active",
            "roles": ["NodeOperator", "USER"], "created_at": "2026-11-27T12:00:00Z",
            "updated_at": { "$date": "2026-11-27T12:00:00Z" },
            "tron_address": "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
        })
    }

    fn made(collection: &str, value: &Value) -> Result<Document, Vec<Broken>> {
        document(named(collection).unwrap(), value.as_object().unwrap())
    }

    fn rules(collection: &str, value: &Value) -> Vec<(String, &'static str)> {
        let broken = made(collection, value).unwrap_err();
        broken.into_iter().map(|one| (one.path, one.rule)).collect()
    }

    #[test]
    fn values_get_the_types_of_their_fields() {
        let user = made("users", &user()).unwrap();
        assert_eq!(user.get_str("email").unwrap(), "someone@example.org");
        assert_eq!(
            user.get_array("roles").unwrap()[0],
            Bson::from("node_operator")
        );
        assert_eq!(user.get_array("roles").unwrap()[1], Bson::from("user"));
        assert!(user.get_datetime("created_at").is_ok());
        let transaction = made(
            "transactions",
            &json!({
                "tx_id": "t", "tx_type": "payout_request", "sender": "s", "status": "pending",
                "timestamp": "2026-11-27T12:00:00Z", "fee": 0.1, "block_height": 7.0,
                "confirmations": 3, "payload": { "payout_amount": "12345678901234567890.123" },
            }),
        );
        let transaction = transaction.unwrap();
        assert_eq!(
            transaction
                .get("fee")
                .unwrap()
                .to_string()
                .trim_matches('"'),
            "0.1"
        );
        assert_eq!(transaction.get_i64("block_height").unwrap(), 7);
        assert_eq!(transaction.get_i32("confirmations").unwrap(), 3);
    }

    #[test]
    fn every_broken_rule_is_told_with_its_path() {
        let mut user = user();
        user["email"] = json!("nobody");
        user["roles"] = json!(["king"]);
        user["username"] = json!("x");
        user["tron_address"] = json!("TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6s");
        user["hardware_wallet"] = json!({ "type": 3 });
        user["$where"] = json!("1");
        user.as_object_mut().unwrap().remove("status");
        let mut found = rules("users", &user);
        found.sort();
        let wanted = [
            ("$where", "name"),
            ("email", "pattern"),
            ("hardware_wallet.type", "type"),
            ("roles.0", "enum"),
            ("status", "required"),
            ("tron_address", "checksum"),
            ("username", "minLength"),
        ];
        let wanted: Vec<_> = wanted.map(|(path, rule)| (path.to_owned(), rule)).into();
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_is_deeper_than_any_document_is_refused() {
        let mut value = json!(1);
        for _ in 0..200 {
            value = json!({ "a": value });
        }
        assert_eq!(plain("x", &value).unwrap_err().rule, "depth");
    }
}

//! Mappings as JSON: one normal form, and putting two together.

use serde_json::{Map, Value};

use super::MAX_DEPTH;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::text;

/// What to do when two mappings define one field differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflicts {
    /// The index holds data under the old definition.
    Refuse,
    /// Templates: the later one counts.
    Replace,
}

/// Parameters of a field that may change while there is data.
const UPDATABLE: &[&str] = &[
    "coerce",
    "copy_to",
    "eager_global_ordinals",
    "fields",
    "ignore_above",
    "ignore_malformed",
    "max_input_length",
    "meta",
    "search_analyzer",
];

/// What may stand at the top of a mapping.
const TOP: &[&str] = &[
    "_meta",
    "_source",
    "date_detection",
    "dynamic",
    "numeric_detection",
    "properties",
];

/// Whether a definition is an object's: no type, or `object` or `nested`.
pub(super) fn is_object(definition: &Map<String, Value>) -> bool {
    match definition.get("type") {
        None => true,
        Some(kind) => kind == "object" || kind == "nested",
    }
}

/// Checks the outer form, and makes one path level of each dot in a name.
pub(crate) fn normalise(mapping: &Value) -> Outcome<Value> {
    let Some(top) = mapping.as_object() else {
        return Err(Failure::mapping("a mapping must be an object"));
    };
    for key in top.keys() {
        let key = key.as_str();
        if ["dynamic_templates", "runtime", "_routing", "_size", "_doc"].contains(&key) {
            return Err(Failure::unsupported(format!("[{key}] in a mapping")));
        }
        if !TOP.contains(&key) {
            return Err(Failure::mapping(format!(
                "Root mapping definition has unsupported parameters: [{key}]"
            )));
        }
    }
    if let Some(source) = top.get("_source").and_then(Value::as_object)
        && source
            .iter()
            .any(|(key, value)| key != "enabled" || value != true)
    {
        return Err(Failure::unsupported("changing [_source] in a mapping"));
    }
    if top.get("numeric_detection") == Some(&Value::Bool(true)) {
        return Err(Failure::unsupported("[numeric_detection: true]"));
    }
    normal_object("", top, 0).map(Value::Object)
}

fn normal_object(
    path: &str,
    object: &Map<String, Value>,
    depth: usize,
) -> Outcome<Map<String, Value>> {
    if depth > MAX_DEPTH {
        return Err(Failure::illegal(format!(
            "Limit of mapping depth [{MAX_DEPTH}] has been exceeded due to object field [{path}]"
        )));
    }
    let mut normal = Map::new();
    for (key, value) in object {
        if key != "properties" {
            let allowed = ["type", "dynamic", "enabled"].contains(&key.as_str());
            if depth > 0 && !allowed {
                return Err(match key.as_str() {
                    "include_in_parent" | "include_in_root" | "subobjects" => {
                        Failure::unsupported(format!("[{key}] on object [{path}]"))
                    }
                    _ => Failure::mapping(format!("unknown parameter [{key}] on object [{path}]")),
                });
            }
            if !(key == "type" && value == "object") {
                normal.insert(key.clone(), value.clone());
            }
            continue;
        }
        let Some(properties) = value.as_object() else {
            return Err(Failure::mapping(format!(
                "[properties] of [{path}] must be an object"
            )));
        };
        let mut normal_properties = Value::Object(Map::new());
        for (name, definition) in properties {
            let one = property(path, name, definition, depth)?;
            normal_properties =
                merge_properties(&normal_properties, &one, path, Conflicts::Refuse)?;
        }
        normal.insert("properties".to_owned(), normal_properties);
    }
    Ok(normal)
}

/// `{"a.b": …}` as `{"a": {"properties": {"b": …}}}`.
fn property(path: &str, name: &str, definition: &Value, depth: usize) -> Outcome<Value> {
    let (first, rest) = match name.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    let full = if path.is_empty() {
        first.to_owned()
    } else {
        format!("{path}.{first}")
    };
    if first.trim().is_empty() || rest.is_some_and(str::is_empty) {
        return Err(Failure::mapping(format!(
            "field name [{name}] under [{path}] has an empty part"
        )));
    }
    let Some(object) = definition.as_object() else {
        return Err(Failure::mapping(format!(
            "Expected map for property [fields] on field [{full}] but got [{definition}]"
        )));
    };
    let inner = match rest {
        Some(rest) => {
            if depth > MAX_DEPTH {
                return Err(Failure::illegal(format!(
                    "Limit of mapping depth [{MAX_DEPTH}] has been exceeded due to object field [{full}]"
                )));
            }
            let mut object = Map::new();
            object.insert(
                "properties".to_owned(),
                property(&full, rest, definition, depth + 1)?,
            );
            object
        }
        None if is_object(object) => normal_object(&full, object, depth + 1)?,
        None => object.clone(),
    };
    let mut one = Map::new();
    one.insert(first.to_owned(), Value::Object(inner));
    Ok(Value::Object(one))
}

/// Puts the normalised mapping `new` over `old`.
pub(super) fn merge(old: &Value, new: &Value, conflicts: Conflicts) -> Outcome<Value> {
    merge_object(old, new, "", conflicts)
}

fn merge_object(old: &Value, new: &Value, path: &str, conflicts: Conflicts) -> Outcome<Value> {
    let (Some(before), Some(after)) = (old.as_object(), new.as_object()) else {
        return Ok(new.clone());
    };
    let nested = |object: &Map<String, Value>| object.get("type").is_some_and(|t| t == "nested");
    if conflicts == Conflicts::Refuse && !path.is_empty() && nested(before) != nested(after) {
        return Err(Failure::illegal(format!(
            "cannot change object mapping from {} [{path}]",
            if nested(before) {
                "nested to non-nested"
            } else {
                "non-nested to nested"
            }
        )));
    }
    let mut merged = before.clone();
    for (key, value) in after {
        let value = match (key.as_str(), before.get(key)) {
            ("properties", Some(old)) => merge_properties(old, value, path, conflicts)?,
            _ => value.clone(),
        };
        merged.insert(key.clone(), value);
    }
    Ok(Value::Object(merged))
}

fn merge_properties(old: &Value, new: &Value, path: &str, conflicts: Conflicts) -> Outcome<Value> {
    let (Some(before), Some(after)) = (old.as_object(), new.as_object()) else {
        return Ok(new.clone());
    };
    let mut merged = before.clone();
    for (name, definition) in after {
        let full = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let value = match before.get(name).and_then(Value::as_object) {
            None => definition.clone(),
            Some(known) => merge_property(known, definition, &full, conflicts)?,
        };
        merged.insert(name.clone(), value);
    }
    Ok(Value::Object(merged))
}

fn merge_property(
    known: &Map<String, Value>,
    definition: &Value,
    path: &str,
    conflicts: Conflicts,
) -> Outcome<Value> {
    let Some(after) = definition.as_object() else {
        return Ok(definition.clone());
    };
    match (is_object(known), is_object(after)) {
        (true, true) => merge_object(&Value::Object(known.clone()), definition, path, conflicts),
        _ if conflicts == Conflicts::Replace => Ok(definition.clone()),
        (true, false) | (false, true) => Err(Failure::illegal(format!(
            "can't merge a non object mapping [{path}] with an object mapping"
        ))),
        (false, false) => merge_leaf(known, after, path).map(Value::Object),
    }
}

fn merge_leaf(
    known: &Map<String, Value>,
    after: &Map<String, Value>,
    path: &str,
) -> Outcome<Map<String, Value>> {
    if known.get("type") != after.get("type") {
        return Err(Failure::illegal(format!(
            "mapper [{path}] cannot be changed from type [{}] to [{}]",
            known.get("type").map(text).unwrap_or_default(),
            after.get("type").map(text).unwrap_or_default()
        )));
    }
    for key in known.keys().chain(after.keys()) {
        let same = known.get(key) == after.get(key);
        if !same && !UPDATABLE.contains(&key.as_str()) {
            let show =
                |map: &Map<String, Value>| map.get(key).map_or_else(|| "default".to_owned(), text);
            return Err(Failure::illegal(format!(
                "Mapper for [{path}] conflicts with existing mapper:\n\tCannot update parameter \
                 [{key}] from [{}] to [{}]",
                show(known),
                show(after)
            )));
        }
    }
    let mut merged = after.clone();
    if let Some(Value::Object(fields)) = known.get("fields") {
        let mut all = fields.clone();
        if let Some(Value::Object(more)) = after.get("fields") {
            for (name, definition) in more {
                let full = format!("{path}.{name}");
                let value = match (fields.get(name), definition) {
                    (Some(Value::Object(old)), Value::Object(new)) => {
                        Value::Object(merge_leaf(old, new, &full)?)
                    }
                    _ => definition.clone(),
                };
                all.insert(name.clone(), value);
            }
        }
        merged.insert("fields".to_owned(), Value::Object(all));
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dots_in_names_become_objects() {
        let normal = normalise(&json!({"properties": {
            "a.b": {"type": "keyword"}, "a.c": {"type": "long"}, "d": {"type": "object"}
        }}))
        .unwrap();
        assert_eq!(
            normal,
            json!({"properties": {
                "a": {"properties": {"b": {"type": "keyword"}, "c": {"type": "long"}}}, "d": {}
            }})
        );
    }

    #[test]
    fn a_field_keeps_its_type_while_there_is_data() {
        let old = json!({"properties": {"a": {"type": "keyword"}}});
        for (new, said) in [
            (
                json!({"properties": {"a": {"type": "long"}}}),
                "from type [keyword] to [long]",
            ),
            (
                json!({"properties": {"a": {"properties": {}}}}),
                "can't merge",
            ),
            (
                json!({"properties": {"a": {"type": "keyword", "index": false}}}),
                "Cannot update parameter [index]",
            ),
        ] {
            let failure = merge(&old, &new, Conflicts::Refuse).unwrap_err();
            assert!(failure.reason.contains(said), "{failure}");
            assert_eq!(merge(&old, &new, Conflicts::Replace).unwrap(), new);
        }
    }

    #[test]
    fn fields_and_multi_fields_are_added() {
        let old =
            json!({"properties": {"a": {"type": "text", "fields": {"k": {"type": "keyword"}}}}});
        let new = json!({"properties": {
            "a": {"type": "text", "fields": {"e": {"type": "text", "analyzer": "english"}}},
            "b": {"type": "date"}
        }});
        let merged = merge(&old, &new, Conflicts::Refuse).unwrap();
        assert_eq!(merged["properties"]["a"]["fields"]["k"]["type"], "keyword");
        assert_eq!(
            merged["properties"]["a"]["fields"]["e"]["analyzer"],
            "english"
        );
        assert_eq!(merged["properties"]["b"]["type"], "date");
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        for (mapping, name) in [
            (json!({"dynamic_templates": []}), "dynamic_templates"),
            (json!({"runtime": {}}), "runtime"),
            (json!({"_source": {"enabled": false}}), "_source"),
        ] {
            let failure = normalise(&mapping).unwrap_err();
            assert_eq!(failure.kind, "unsupported_operation_exception");
            assert!(failure.reason.contains(name), "{failure}");
        }
    }
}

//! Settings of an index: known ones are checked, others refused.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::search_node::dates::parse_duration_millis;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::text;
use crate::search_node::mapping::{MAX_FIELDS, Mapping};
use crate::search_node::names;
use crate::search_node::sizes::parse_bytes;

/// Settings by full name, such as `index.refresh_interval`, with their value as text.
pub(crate) type Flat = BTreeMap<String, String>;

/// The name that an index was asked for by, where it has another; set by the node alone.
pub(crate) const PROVIDED_NAME: &str = "index.provided_name";

/// How a setting's value is checked.
enum Check {
    Count,
    Flag,
    Duration,
    Bytes,
    AtMost(usize),
    Millis,
    Text,
    OneOf(&'static [&'static str]),
}

/// Settings that may be changed while an index lives, and those given at its creation only.
const KNOWN: &[(&str, Check, bool)] = &[
    ("number_of_shards", Check::OneOf(&["1"]), false),
    (
        "codec",
        Check::OneOf(&["default", "best_compression"]),
        false,
    ),
    ("number_of_replicas", Check::Count, true),
    (
        "auto_expand_replicas",
        Check::OneOf(&["false", "0-1", "0-all"]),
        true,
    ),
    ("refresh_interval", Check::Duration, true),
    ("max_result_window", Check::Count, true),
    ("max_terms_count", Check::OneOf(&["65536"]), true),
    ("gc_deletes", Check::OneOf(&["60s", "1m"]), true),
    ("hidden", Check::Flag, true),
    ("priority", Check::Count, true),
    ("query.default_field", Check::OneOf(&["*"]), true),
    (
        "translog.durability",
        Check::OneOf(&["request", "async"]),
        true,
    ),
    ("translog.sync_interval", Check::OneOf(&["5s"]), true),
    ("translog.flush_threshold_size", Check::Bytes, true),
    ("blocks.read_only", Check::Flag, true),
    ("blocks.read_only_allow_delete", Check::Flag, true),
    ("blocks.read", Check::Flag, true),
    ("blocks.write", Check::Flag, true),
    ("blocks.metadata", Check::Flag, true),
    (
        "mapping.total_fields.limit",
        Check::AtMost(MAX_FIELDS),
        true,
    ),
    ("lifecycle.name", Check::Text, true),
    ("lifecycle.rollover_alias", Check::Text, true),
    ("lifecycle.indexing_complete", Check::Flag, true),
    ("lifecycle.origination_date", Check::Millis, true),
];

/// What the node acts on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// All that were given.
    pub flat: Flat,
    /// How long a write may stay invisible; `None` is until somebody asks.
    pub refresh_interval: Option<Duration>,
    /// Whether writes are acknowledged before they are on the disk.
    pub is_async: bool,
    /// Copies that were asked for; there is nowhere to put them.
    pub replicas: u32,
    /// `from` + `size` of a search at most.
    pub max_result_window: usize,
    /// Fields and objects of the mapping at most.
    pub max_fields: usize,
    /// Whether wildcards pass over it.
    pub hidden: bool,
}

impl Settings {
    /// What follows from checked settings.
    pub(crate) fn new(flat: Flat) -> Self {
        let get = |key: &str| flat.get(&format!("index.{key}")).map(String::as_str);
        let is_set = |key: &str| get(key) == Some("true");
        let interval = get("refresh_interval").unwrap_or("1s");
        let millis = |text: &str| parse_duration_millis(text).ok().map(Duration::from_millis);
        Self {
            refresh_interval: if interval == "-1" {
                None
            } else {
                millis(interval)
            },
            is_async: get("translog.durability") == Some("async"),
            replicas: match get("auto_expand_replicas") {
                // There is one node to expand to.
                Some("0-1" | "0-all") => 0,
                _ => get("number_of_replicas")
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(1),
            },
            max_result_window: get("max_result_window")
                .and_then(|text| text.parse().ok())
                .unwrap_or(10_000),
            max_fields: get("mapping.total_fields.limit")
                .and_then(|text| text.parse().ok())
                .unwrap_or(MAX_FIELDS),
            hidden: is_set("hidden"),
            flat,
        }
    }

    /// Refuses a mapping with too many fields.
    pub(crate) fn check_fields(&self, mapping: &Mapping) -> Outcome<()> {
        if mapping.fields() <= self.max_fields {
            return Ok(());
        }
        Err(Failure::illegal(format!(
            "Limit of total fields [{}] has been exceeded",
            self.max_fields
        )))
    }

    /// Refuses the kind of operation that a block of the index forbids.
    pub(crate) fn check_block(&self, index: &str, operation: Operation) -> Outcome<()> {
        let set = |key: &str| {
            self.flat
                .get(&format!("index.blocks.{key}"))
                .is_some_and(|v| v == "true")
        };
        let blocked = match operation {
            Operation::Write if set("write") => Some("FORBIDDEN/8/index write (api)"),
            Operation::Read if set("read") => Some("FORBIDDEN/7/index read (api)"),
            Operation::Metadata if set("metadata") => Some("FORBIDDEN/9/index metadata (api)"),
            Operation::Write | Operation::Metadata if set("read_only") => {
                Some("FORBIDDEN/5/index read-only (api)")
            }
            Operation::Write | Operation::Metadata if set("read_only_allow_delete") => {
                Some("FORBIDDEN/12/index read-only / allow delete (api)")
            }
            _ => None,
        };
        match blocked {
            None => Ok(()),
            Some(why) => Err(Failure::new(
                403,
                "cluster_block_exception",
                format!("index [{index}] blocked by: [{why}];"),
            )
            .with("index", index)),
        }
    }
}

/// What is done with an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Documents are read.
    Read,
    /// Documents are written.
    Write,
    /// Its mapping, settings or aliases are changed.
    Metadata,
}

/// Settings as they come, nested or with dots, with or without `index.`, by full name.
/// A null stands for the default.
pub(crate) fn flatten(json: &Value) -> Outcome<BTreeMap<String, Option<String>>> {
    Ok(full_names(json)?
        .into_iter()
        .map(|(key, value)| match key.strip_prefix("index.") {
            Some(_) => (key, value),
            None => (format!("index.{key}"), value),
        })
        .collect())
}

/// Settings as they come, nested or with dots, by the name that they have there.
pub(super) fn full_names(json: &Value) -> Outcome<BTreeMap<String, Option<String>>> {
    let mut flat = BTreeMap::new();
    let Some(object) = json.as_object() else {
        return Err(Failure::parsing("[settings] must be an object"));
    };
    walk("", object, &mut flat, 0)?;
    Ok(flat)
}

fn walk(
    prefix: &str,
    object: &Map<String, Value>,
    flat: &mut BTreeMap<String, Option<String>>,
    depth: usize,
) -> Outcome<()> {
    if depth > 10 {
        return Err(Failure::illegal("[settings] are nested too deep"));
    }
    for (key, value) in object {
        let full = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            Value::Object(inner) => walk(&full, inner, flat, depth + 1)?,
            Value::Array(values) => {
                let list: Vec<String> = values.iter().map(text).collect();
                flat.insert(full, Some(list.join(",")));
            }
            Value::Null => {
                flat.insert(full, None);
            }
            value => {
                flat.insert(full, Some(text(value)));
            }
        }
    }
    Ok(())
}

/// Checks flattened settings; `update` when the index is there already.
pub(crate) fn check(flat: &BTreeMap<String, Option<String>>, update: bool) -> Outcome<()> {
    for (key, value) in flat {
        let name = key.strip_prefix("index.").unwrap_or(key);
        if name.starts_with("analysis.") {
            return Err(Failure::unsupported(format!(
                "setting [{key}]: analyzers of one's own; there are standard, simple, whitespace, \
                 english and keyword,"
            )));
        }
        let Some((_, check, dynamic)) = KNOWN.iter().find(|(known, ..)| *known == name) else {
            if ["search.slowlog.", "indexing.slowlog.", "lifecycle."]
                .iter()
                .any(|family| name.starts_with(family))
            {
                return Err(Failure::unsupported(format!("setting [{key}]")));
            }
            return Err(Failure::illegal(format!(
                "unknown setting [{key}] please check that any required plugins are installed, or \
                 check the breaking changes documentation for removed settings"
            )));
        };
        if update && !dynamic {
            return Err(Failure::illegal(format!(
                "Can't update non dynamic settings [[{key}]] for open indices"
            )));
        }
        if let Some(value) = value
            && let Err(wanted) = fits(check, value)
        {
            if name == "number_of_shards" && value.parse::<u32>().is_ok() {
                return Err(Failure::unsupported(format!(
                    "[{key}: {value}]: an index has one shard;"
                )));
            }
            return Err(Failure::illegal(format!(
                "Failed to parse value [{value}] for setting [{key}]: it must be {wanted}"
            )));
        }
    }
    Ok(())
}

fn fits(check: &Check, value: &str) -> Result<(), String> {
    let good = match check {
        Check::Count => value.parse::<u32>().is_ok(),
        Check::Flag => value == "true" || value == "false",
        Check::Duration => value == "-1" || parse_duration_millis(value).is_ok(),
        Check::Bytes => parse_bytes(value).is_some(),
        Check::AtMost(most) => value.parse::<usize>().is_ok_and(|count| count <= *most),
        Check::Millis => value.parse::<i64>().is_ok_and(|millis| millis >= -1),
        Check::Text => !value.is_empty(),
        Check::OneOf(values) => values.contains(&value),
    };
    if good {
        return Ok(());
    }
    Err(match check {
        Check::Count => "a whole number of at least 0".to_owned(),
        Check::Flag => "[true] or [false]".to_owned(),
        Check::Duration => "a time such as [30s]".to_owned(),
        Check::Bytes => "a size such as [64mb]".to_owned(),
        Check::AtMost(most) => {
            format!("a whole number of at most [{most}], the limit of this node")
        }
        Check::Millis => "milliseconds since the epoch, or -1 for none".to_owned(),
        Check::Text => "a name".to_owned(),
        Check::OneOf(values) => format!("one of [{}]", values.join(", ")),
    })
}

/// Flat settings as nested objects.
pub(crate) fn nest<'a>(flat: impl Iterator<Item = (&'a String, &'a String)>) -> Value {
    let mut root = Map::new();
    for (key, value) in flat {
        let mut parts = key.split('.').peekable();
        let mut object = &mut root;
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                object.insert(part.to_owned(), value.clone().into());
                break;
            }
            let inner = object
                .entry(part)
                .or_insert_with(|| Value::Object(Map::new()));
            match inner {
                Value::Object(inner) => object = inner,
                _ => break,
            }
        }
    }
    Value::Object(root)
}

/// The settings whose name fits one of `patterns`; all for an empty list.
pub(crate) fn select<'a>(
    flat: &'a Flat,
    patterns: &'a [String],
) -> impl Iterator<Item = (&'a String, &'a String)> {
    flat.iter().filter(move |(key, _)| {
        patterns.is_empty() || patterns.iter().any(|pattern| names::matches(pattern, key))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_ways_to_write_a_setting_mean_the_same() {
        for json in [
            json!({"index": {"refresh_interval": "5s", "blocks": {"write": true}}}),
            json!({"index.refresh_interval": "5s", "index.blocks.write": "true"}),
            json!({"refresh_interval": "5s", "blocks.write": true}),
        ] {
            let flat = flatten(&json).unwrap();
            assert_eq!(flat["index.refresh_interval"].as_deref(), Some("5s"));
            assert_eq!(flat["index.blocks.write"].as_deref(), Some("true"));
            check(&flat, true).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (json, update, said) in [
            (json!({"number_of_shards": 3}), false, "one shard"),
            (json!({"number_of_shards": 1}), true, "non dynamic"),
            (
                json!({"refresh_interval": "soon"}),
                false,
                "refresh_interval",
            ),
            (
                json!({"nonsense": 1}),
                false,
                "unknown setting [index.nonsense]",
            ),
            (
                json!({"analysis": {"analyzer": {"a": {"type": "custom"}}}}),
                false,
                "analysis",
            ),
        ] {
            let failure = check(&flatten(&json).unwrap(), update).unwrap_err();
            assert!(failure.reason.contains(said), "{failure}");
        }
    }

    #[test]
    fn blocks_refuse_what_they_name() {
        let settings = |key: &str| {
            Settings::new(Flat::from([(
                format!("index.blocks.{key}"),
                "true".to_owned(),
            )]))
        };
        let write = settings("write");
        let refused = write.check_block("a", Operation::Write).unwrap_err();
        assert!(
            refused.reason.contains("[FORBIDDEN/8/index write (api)]"),
            "{refused}"
        );
        assert!(write.check_block("a", Operation::Read).is_ok());
        assert!(settings("read").check_block("a", Operation::Read).is_err());
        let read_only = settings("read_only");
        assert!(read_only.check_block("a", Operation::Write).is_err());
        assert!(read_only.check_block("a", Operation::Metadata).is_err());
    }

    #[test]
    fn flat_settings_nest() {
        let flat = Flat::from([("index.a.b".to_owned(), "1".to_owned())]);
        assert_eq!(nest(flat.iter()), json!({"index": {"a": {"b": "1"}}}));
    }
}

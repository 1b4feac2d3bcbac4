//! What is known of a repository: its kind and its settings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::repository_failure;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::plain;
use crate::search_node::sizes::parse_bytes;

/// Bytes each second that a snapshot writes when nothing else is set, as in Elasticsearch.
const SNAPSHOT_RATE: u64 = 40 << 20;

/// Snapshots that a repository has at most when nothing else is set; Elasticsearch has no such
/// limit.
const MAX_SNAPSHOTS: usize = 500;

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::search_node) struct Registration {
    /// Identity of the repository; `_na_` when it has none yet.
    pub uuid: String,
    /// Settings as they were given, values as text.
    pub settings: BTreeMap<String, String>,
}

impl Registration {
    /// Reads the body of a registration of `name`.
    pub(in crate::search_node) fn parse(name: &str, body: &Value) -> Outcome<Self> {
        let refuse = |why: String| Err(repository_failure(name, why));
        let Some(body) = body.as_object() else {
            return refuse("needs a body with [type] and [settings]".to_owned());
        };
        for (key, value) in body {
            match (key.as_str(), value) {
                ("type", Value::String(kind)) if kind == "fs" => {}
                ("type", Value::String(kind)) => {
                    return Err(Failure::unsupported(format!(
                        "repository type [{kind}] of [{name}]"
                    )));
                }
                ("settings", Value::Object(_)) => {}
                // Elasticsearch's clients write the name once more.
                ("name", Value::String(again)) if again == name => {}
                (key, _) => return refuse(format!("has an unknown or malformed member [{key}]")),
            }
        }
        if !body.contains_key("type") {
            return refuse("needs a [type]: [fs]".to_owned());
        }
        let empty = Map::new();
        let settings = body.get("settings").and_then(Value::as_object);
        let mut texts = BTreeMap::new();
        for (key, value) in settings.unwrap_or(&empty) {
            let Some(value) = plain(value) else {
                if value.is_null() {
                    continue;
                }
                return refuse(format!("setting [{key}] must be a plain value"));
            };
            let wanted = match key.as_str() {
                "location" => None,
                "compress" | "readonly" => {
                    (value != "true" && value != "false").then_some("[true] or [false]")
                }
                "max_snapshot_bytes_per_sec" | "max_restore_bytes_per_sec" => parse_bytes(&value)
                    .is_none()
                    .then_some("a size such as [40mb]"),
                "max_number_of_snapshots" => value
                    .parse::<usize>()
                    .map_or(true, |count| count == 0)
                    .then_some("a whole number of at least 1"),
                "chunk_size" => {
                    return Err(Failure::unsupported(format!(
                        "setting [chunk_size] of repository [{name}]"
                    )));
                }
                other => return refuse(format!("unknown setting [{other}]")),
            };
            if let Some(wanted) = wanted {
                return refuse(format!("setting [{key}] must be {wanted}, found [{value}]"));
            }
            texts.insert(key.clone(), value);
        }
        if !texts.contains_key("location") {
            return refuse("missing location".to_owned());
        }
        Ok(Self {
            uuid: "_na_".to_owned(),
            settings: texts,
        })
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }

    /// Where it lies, as it was given.
    pub(super) fn location(&self) -> &str {
        self.text("location").unwrap_or_default()
    }

    /// Whether nothing is written to it.
    pub(in crate::search_node) fn is_readonly(&self) -> bool {
        self.text("readonly") == Some("true")
    }

    /// Snapshots that it has at most.
    pub(super) fn max_snapshots(&self) -> usize {
        self.text("max_number_of_snapshots")
            .and_then(|text| text.parse().ok())
            .unwrap_or(MAX_SNAPSHOTS)
    }

    /// Bytes each second that a snapshot writes at most; `None` is as fast as it goes.
    pub(super) fn snapshot_rate(&self) -> Option<u64> {
        let text = self.text("max_snapshot_bytes_per_sec");
        let rate = text.and_then(parse_bytes).unwrap_or(SNAPSHOT_RATE);
        (rate > 0).then_some(rate)
    }

    /// Bytes each second that a restore writes at most; `None` is as fast as it goes.
    pub(super) fn restore_rate(&self) -> Option<u64> {
        let text = self.text("max_restore_bytes_per_sec");
        text.and_then(parse_bytes).filter(|rate| *rate > 0)
    }

    /// As it is shown.
    pub(in crate::search_node) fn show(&self) -> Value {
        json!({"type": "fs", "uuid": self.uuid, "settings": self.settings})
    }
}

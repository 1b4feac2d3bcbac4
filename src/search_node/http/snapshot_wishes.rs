//! The bodies of requests that make or restore snapshots.

use std::collections::BTreeMap;

use serde_json::Value;

use super::request::lenience;
use crate::search_node::cluster::{Lenience, RestoreWish, SnapshotWish};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::text;
use crate::search_node::query::Params;

/// Bytes of a snapshot's metadata at most, as in Elasticsearch.
const MAX_METADATA: usize = 1024;

/// Names of indices: a text with commas, or a list of such.
fn index_list(params: &Params<'_>, key: &str) -> Outcome<Vec<String>> {
    let split = |text: &str| text.split(',').map(|part| part.trim().to_owned()).collect();
    match params.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(split(text)),
        Some(Value::Array(list)) => {
            let mut names = Vec::new();
            for value in list {
                let name = value
                    .as_str()
                    .ok_or_else(|| params.bad(key, value, "a list of names"))?;
                names.extend::<Vec<String>>(split(name));
            }
            Ok(names)
        }
        Some(other) => Err(params.bad(key, other, "a name or a list of names")),
    }
}

/// Refuses states of features, which this node does not have.
fn no_features(params: &Params<'_>) -> Outcome<()> {
    match params.get("feature_states") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(list)) if list.iter().all(|value| value == "none") => Ok(()),
        Some(other) => Err(Failure::unsupported(format!(
            "[feature_states: {}]",
            text(other)
        ))),
    }
}

/// What `PUT _snapshot/{repository}/{snapshot}` asks for.
pub(super) fn snapshot_wish(body: &Value) -> Outcome<SnapshotWish> {
    let params = Params::of("create_snapshot", body)?;
    no_features(&params)?;
    let metadata = match params.get("metadata") {
        None | Some(Value::Null) => None,
        Some(object @ Value::Object(_)) => {
            let length = object.to_string().len();
            if length > MAX_METADATA {
                return Err(Failure::new(
                    400,
                    "action_request_validation_exception",
                    format!(
                        "Validation Failed: 1: metadata must be smaller than {MAX_METADATA} bytes, \
                         but was [{length}];"
                    ),
                ));
            }
            Some(object.clone())
        }
        Some(other) => return Err(params.bad("metadata", other, "an object")),
    };
    let states = index_list(&params, "expand_wildcards")?;
    let mut given = BTreeMap::new();
    for key in ["ignore_unavailable", "allow_no_indices"] {
        given.extend(params.text(key)?.map(|text| (key, text)));
    }
    if !states.is_empty() {
        given.insert("expand_wildcards", states.join(","));
    }
    let mut lenience = lenience(|key| given.get(key).cloned())?;
    if states.is_empty() {
        lenience = Lenience {
            closed: true,
            hidden: true,
            ..lenience
        };
    }
    let wish = SnapshotWish {
        indices: index_list(&params, "indices")?.join(","),
        lenience,
        partial: params.flag("partial", false)?,
        global: params.flag("include_global_state", true)?,
        metadata,
    };
    params.finish()?;
    Ok(wish)
}

/// What `_restore` asks for.
pub(super) fn restore_wish(body: &Value) -> Outcome<RestoreWish> {
    let params = Params::of("restore_snapshot", body)?;
    no_features(&params)?;
    params.only("partial", "false")?;
    let rename = match (
        params.text("rename_pattern")?,
        params.text("rename_replacement")?,
    ) {
        (Some(pattern), Some(replacement)) => Some((pattern, replacement)),
        (None, None) => None,
        _ => {
            return Err(Failure::illegal(
                "[rename_pattern] and [rename_replacement] are needed together",
            ));
        }
    };
    let wish = RestoreWish {
        indices: index_list(&params, "indices")?,
        ignore_unavailable: params.flag("ignore_unavailable", false)?,
        rename,
        aliases: params.flag("include_aliases", true)?,
        global: params.flag("include_global_state", false)?,
        settings: params.get("index_settings").cloned().unwrap_or_default(),
        ignored: index_list(&params, "ignore_index_settings")?,
    };
    params.finish()?;
    Ok(wish)
}

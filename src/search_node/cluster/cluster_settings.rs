//! Settings of the cluster.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Node;
use super::settings::{Flat, full_names, nest};
use super::state::State;
use crate::search_node::dates::parse_duration_millis;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::names;
use crate::search_node::query::Params;

/// How often lifecycle policies are looked at.
const POLL_INTERVAL: &str = "indices.lifecycle.poll_interval";

/// Whether a policy rolls only indices over that have documents.
const ONLY_WITH_DOCUMENTS: &str = "indices.lifecycle.rollover.only_if_has_documents";

/// How long the clock must have run evenly before something is done that cannot be taken back.
pub(super) const STEADY_CLOCK: &str = "indices.lifecycle.steady_clock";

/// Known settings with their defaults.
const KNOWN: [(&str, &str); 4] = [
    ("action.destructive_requires_name", "true"),
    (POLL_INTERVAL, "10m"),
    (ONLY_WITH_DOCUMENTS, "true"),
    (STEADY_CLOCK, "1h"),
];

fn check(key: &str, value: &str) -> Outcome<()> {
    let bad = |wanted: &str| {
        Err(Failure::illegal(format!(
            "failed to parse value [{value}] for setting [{key}], must be {wanted}"
        )))
    };
    match key {
        POLL_INTERVAL => match parse_duration_millis(value) {
            Ok(millis) if millis >= 1000 => Ok(()),
            _ => bad(">= [1s]"),
        },
        STEADY_CLOCK => match parse_duration_millis(value) {
            Ok(_) => Ok(()),
            Err(_) => bad("a time of at least [0s]"),
        },
        ONLY_WITH_DOCUMENTS if ["true", "false"].contains(&value) => Ok(()),
        ONLY_WITH_DOCUMENTS => bad("[true] or [false]"),
        _ if value == "true" => Ok(()),
        _ => Err(Failure::unsupported(format!("[{key}: {value}]"))),
    }
}

/// Applies changes of one kind; a null takes settings away, also by pattern.
fn apply(kind: &str, changes: &Value, flat: &mut Flat) -> Outcome<Flat> {
    let mut taken = Flat::new();
    for (key, value) in full_names(changes)? {
        let Some(value) = value else {
            if !key.contains('*') {
                known(kind, &key)?;
            }
            flat.retain(|name, _| !names::matches(&key, name));
            continue;
        };
        known(kind, &key)?;
        check(&key, &value)?;
        flat.insert(key.clone(), value.clone());
        taken.insert(key, value);
    }
    Ok(taken)
}

fn known(kind: &str, key: &str) -> Outcome<()> {
    if KNOWN.iter().any(|(known, _)| *known == key) {
        return Ok(());
    }
    let all: Vec<&str> = KNOWN.iter().map(|(known, _)| *known).collect();
    Err(Failure::illegal(format!(
        "{kind} setting [{key}], not recognized; this node has [{}]",
        all.join(", ")
    )))
}

fn show(settings: &Flat, flat: bool) -> Value {
    if flat {
        let texts = settings.iter();
        return Value::Object(
            texts
                .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
                .collect::<Map<_, _>>(),
        );
    }
    nest(settings.iter())
}

fn get<'a>(state: &'a State, key: &str) -> &'a str {
    let set = state
        .transient
        .get(key)
        .or_else(|| state.persistent.get(key));
    let default = || KNOWN.iter().find(|(known, _)| *known == key);
    set.map_or_else(|| default().map_or("", |(_, value)| value), String::as_str)
}

impl Node {
    /// Changes settings as `{"persistent": {...}, "transient": {...}}` says, all or none; returns
    /// what was taken.
    pub(in crate::search_node) fn put_cluster_settings(
        &self,
        body: &Value,
        flat: bool,
    ) -> Outcome<Value> {
        let params = Params::of("cluster settings", body)?;
        let none = json!({});
        let of = |kind: &str| params.get(kind).filter(|value| !value.is_null());
        let (persistent, transient) = (of("persistent"), of("transient"));
        params.finish()?;
        if persistent.is_none() && transient.is_none() {
            return Err(Failure::new(
                400,
                "action_request_validation_exception",
                "Validation Failed: 1: no settings to update;",
            ));
        }
        let (persistent, transient) = self.change(|state| {
            Ok((
                apply(
                    "persistent",
                    persistent.unwrap_or(&none),
                    &mut state.persistent,
                )?,
                apply(
                    "transient",
                    transient.unwrap_or(&none),
                    &mut state.transient,
                )?,
            ))
        })?;
        Ok(json!({
            "acknowledged": true,
            "persistent": show(&persistent, flat),
            "transient": show(&transient, flat),
        }))
    }

    /// All settings.
    pub(in crate::search_node) fn cluster_settings(&self, flat: bool, defaults: bool) -> Value {
        let inner = self.read();
        let state = &inner.state;
        let mut shown = json!({
            "persistent": show(&state.persistent, flat),
            "transient": show(&state.transient, flat),
        });
        if defaults {
            let unset = KNOWN.iter().filter(|(key, _)| {
                !state.persistent.contains_key(*key) && !state.transient.contains_key(*key)
            });
            let unset: Flat = unset
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            shown["defaults"] = show(&unset, flat);
        }
        shown
    }

    /// How often lifecycle policies are looked at.
    pub(super) fn poll_interval(&self) -> Duration {
        let millis = parse_duration_millis(get(&self.read().state, POLL_INTERVAL));
        Duration::from_millis(millis.unwrap_or(600_000))
    }

    /// How long the clock must have run evenly before something is done that cannot be taken back.
    pub(super) fn steady_clock(&self) -> Duration {
        let millis = parse_duration_millis(get(&self.read().state, STEADY_CLOCK));
        Duration::from_millis(millis.unwrap_or(3_600_000))
    }

    /// Whether a policy rolls only indices over that have documents.
    pub(super) fn rolls_only_with_documents(&self) -> bool {
        get(&self.read().state, ONLY_WITH_DOCUMENTS) == "true"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_taken_checked_and_taken_away() {
        let mut flat = Flat::new();
        let set = |changes: Value, flat: &mut Flat| apply("persistent", &changes, flat);
        set(
            json!({"indices": {"lifecycle": {"poll_interval": "1s"}}}),
            &mut flat,
        )
        .unwrap();
        assert_eq!(flat[POLL_INTERVAL], "1s");
        for (changes, said) in [
            (json!({POLL_INTERVAL: "999ms"}), ">= [1s]"),
            (json!({ONLY_WITH_DOCUMENTS: "perhaps"}), "[true]"),
            (json!({STEADY_CLOCK: "-1s"}), "at least [0s]"),
            (
                json!({"action.destructive_requires_name": false}),
                "not supported",
            ),
            (
                json!({"cluster.name": "x"}),
                "[cluster.name], not recognized",
            ),
            (json!({"cluster.name": null}), "not recognized"),
        ] {
            let failure = set(changes, &mut flat).unwrap_err();
            assert!(failure.reason.contains(said), "{failure}");
        }
        set(json!({"indices.lifecycle.*": null}), &mut flat).unwrap();
        assert!(flat.is_empty());
    }
}

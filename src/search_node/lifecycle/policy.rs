//! Policies: phases, and what is done in them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Conditions;
use crate::search_node::dates::parse_duration_millis;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::query::Params;

/// Phases in the order in which an index comes to them.
const PHASES: [&str; 4] = ["hot", "warm", "cold", "delete"];

/// Actions of Elasticsearch that make no sense on one node, or that this node does not have.
const UNSUPPORTED: &[&str] = &[
    "downsample",
    "freeze",
    "migrate",
    "searchable_snapshot",
    "shrink",
    "unfollow",
    "wait_for_snapshot",
];

/// A policy as the state has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// 1 for a new one, and one more at each change.
    pub version: u64,
    /// When it was changed, in milliseconds since the epoch.
    pub modified: i64,
    /// `{"phases": ..., "_meta": ...}` with all defaults put in.
    pub policy: Value,
}

/// A policy, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    phases: Vec<Phase>,
    meta: Option<Value>,
}

/// A phase, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Phase {
    /// `hot` and so on.
    pub name: &'static str,
    /// Age of an index that comes into it, in milliseconds.
    pub min_age: u64,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// With all defaults put in.
    pub json: Value,
}

/// One thing to do; a kill in the middle of it does no harm, and doing it again is no fault.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    /// The action that it belongs to.
    pub action: &'static str,
    /// Its name, as Elasticsearch has it.
    pub name: &'static str,
    /// What it does.
    pub work: Work,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Work {
    /// Sets `index.priority`, or takes it away.
    Priority(Option<u32>),
    /// Makes the next index when the conditions are met.
    Rollover(Conditions),
    /// Notes that nothing is written to the index any more.
    Complete,
    /// Blocks writes.
    ReadOnly,
    /// Sets the number of copies.
    Replicas(u32),
    /// Puts segments together until there are so many.
    Merge(usize),
    /// Deletes the index.
    Delete,
}

impl Policy {
    /// Reads `{"phases": {...}, "_meta": {...}}`.
    pub(crate) fn parse(body: &Value) -> Outcome<Self> {
        let params = Params::of("policy", body)?;
        let Some(given) = params.need("phases")?.as_object() else {
            return Err(Failure::parsing("[phases] of [policy] must be an object"));
        };
        let meta = match params.get("_meta") {
            None | Some(Value::Null) => None,
            Some(Value::Object(meta)) => Some(Value::Object(meta.clone())),
            Some(_) => return Err(Failure::parsing("[_meta] of [policy] must be an object")),
        };
        params.finish()?;
        if let Some(other) = given.keys().find(|key| !PHASES.contains(&key.as_str())) {
            return Err(if other == "frozen" {
                Failure::unsupported("phase [frozen]")
            } else {
                Failure::illegal(format!("lifecycle does not support phase [{other}]"))
            });
        }
        let mut phases = Vec::new();
        for name in PHASES {
            if let Some(body) = given.get(name) {
                phases.push(Phase::parse(name, body)?);
            }
        }
        Ok(Self { phases, meta })
    }

    /// With all defaults put in.
    pub(crate) fn json(&self) -> Value {
        let phases: Map<String, Value> = self
            .phases
            .iter()
            .map(|phase| (phase.name.to_owned(), phase.json.clone()))
            .collect();
        let mut shown = json!({"phases": phases});
        if let Some(meta) = &self.meta {
            shown["_meta"] = meta.clone();
        }
        shown
    }

    /// The phase that follows `phase`, which may be none of this policy.
    pub(crate) fn after(&self, phase: &str) -> Option<&Phase> {
        let place = |name: &str| PHASES.iter().position(|known| *known == name);
        self.phases
            .iter()
            .find(|next| place(next.name) > place(phase))
    }

    /// The phase of this name.
    pub(crate) fn phase(&self, name: &str) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == name)
    }
}

impl Phase {
    /// Reads `{"min_age": ..., "actions": {...}}`.
    pub(crate) fn parse(name: &str, body: &Value) -> Outcome<Self> {
        let Some(name) = PHASES.into_iter().find(|known| *known == name) else {
            return Err(Failure::illegal(format!(
                "lifecycle does not support phase [{name}]"
            )));
        };
        let params = Params::of(name, body)?;
        let min_age = params.text("min_age")?.unwrap_or_else(|| "0ms".to_owned());
        let actions = match params.get("actions") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(actions)) => actions.clone(),
            Some(_) => {
                return Err(Failure::parsing(format!(
                    "[actions] of phase [{name}] must be an object"
                )));
            }
        };
        params.finish()?;
        let age = parse_duration_millis(&min_age).map_err(|error| {
            Failure::illegal(format!("failed to parse [min_age] of [{name}]: {error}"))
        })?;
        let order = order(name);
        for (action, body) in &actions {
            check_action(name, order, action, body)?;
        }
        let has = |action: &str| actions.contains_key(action);
        if name == "hot"
            && !has("rollover")
            && let Some(action) = ["readonly", "forcemerge"].into_iter().find(|a| has(a))
        {
            return Err(Failure::illegal(format!(
                "the [{action}] action(s) may not be used in the [hot] phase without an \
                 accompanying [rollover] action"
            )));
        }
        let mut steps = Vec::new();
        let mut shown = Map::new();
        for action in order {
            if let Some(body) = actions.get(*action) {
                let (json, more) = read_action(action, body)?;
                shown.insert((*action).to_owned(), json);
                steps.extend(more);
            }
        }
        if has("migrate") {
            shown.insert("migrate".to_owned(), json!({"enabled": false}));
        }
        Ok(Self {
            name,
            min_age: age,
            steps,
            json: json!({"min_age": min_age, "actions": shown}),
        })
    }

    /// Names of actions and steps: two phases with the same ones may stand for each other while
    /// an index is in one of them.
    pub(crate) fn keys(&self) -> Vec<(&'static str, &'static str)> {
        let key = |step: &Step| (step.action, step.name);
        self.steps.iter().map(key).collect()
    }
}

/// The actions of a phase, in the order in which they are done.
fn order(phase: &str) -> &'static [&'static str] {
    match phase {
        "hot" => &["set_priority", "rollover", "readonly", "forcemerge"],
        "warm" => &["set_priority", "readonly", "allocate", "forcemerge"],
        "cold" => &["set_priority", "readonly", "allocate"],
        _ => &["delete"],
    }
}

fn check_action(phase: &str, order: &[&str], action: &str, body: &Value) -> Outcome<()> {
    if order.contains(&action) {
        return Ok(());
    }
    let off = body.get("enabled") == Some(&Value::Bool(false));
    if action == "migrate" && off && ["warm", "cold"].contains(&phase) {
        // It says that nothing moves, and nothing does.
        let params = Params::of(action, body)?;
        params.ignore(&["enabled"]);
        return params.finish();
    }
    if UNSUPPORTED.contains(&action) {
        return Err(Failure::unsupported(format!(
            "action [{action}] of phase [{phase}]"
        )));
    }
    let known = PHASES
        .into_iter()
        .any(|phase| self::order(phase).contains(&action));
    Err(if known {
        Failure::illegal(format!(
            "invalid action [{action}] defined in phase [{phase}]"
        ))
    } else {
        Failure::parsing(format!("unknown action [{action}] in phase [{phase}]"))
    })
}

/// An action with its defaults, and its steps.
fn read_action(action: &'static str, body: &Value) -> Outcome<(Value, Vec<Step>)> {
    let empty = json!({});
    let body = if body.is_null() { &empty } else { body };
    let one = |name: &'static str, work: Work| vec![Step { action, name, work }];
    if action == "rollover" {
        let conditions = Conditions::parse("rollover", body)?;
        if conditions.is_empty() {
            return Err(Failure::illegal(
                "at least one max_* rollover condition must be set in action [rollover]",
            ));
        }
        let mut steps = one("check-rollover-ready", Work::Rollover(conditions.clone()));
        steps.extend(one("set-indexing-complete", Work::Complete));
        return Ok((conditions.json(), steps));
    }
    let params = Params::of(action, body)?;
    let read = match action {
        "set_priority" => {
            let priority = match params.need("priority")? {
                Value::Null => None,
                value => Some(
                    value
                        .as_u64()
                        .and_then(|number| u32::try_from(number).ok())
                        .ok_or_else(|| {
                            params.bad("priority", value, "null or a whole number of at least 0")
                        })?,
                ),
            };
            (
                json!({"priority": priority}),
                one("set_priority", Work::Priority(priority)),
            )
        }
        "readonly" => (json!({}), one("readonly", Work::ReadOnly)),
        "forcemerge" => {
            if let Some(codec) = params.text("index_codec")? {
                return Err(Failure::unsupported(format!(
                    "[index_codec: {codec}] of action [forcemerge]"
                )));
            }
            let wanted = params.need("max_num_segments")?;
            let segments = params.count("max_num_segments")?.filter(|count| *count > 0);
            let Some(segments) = segments else {
                return Err(params.bad("max_num_segments", wanted, "a positive integer"));
            };
            (
                json!({"max_num_segments": segments}),
                one("forcemerge", Work::Merge(segments)),
            )
        }
        "allocate" => {
            for key in ["include", "exclude", "require"] {
                let set = params.get(key).filter(|value| !value.is_null());
                if set.is_some_and(|value| *value != json!({})) {
                    return Err(Failure::unsupported(format!(
                        "[{key}] of action [allocate] (there is one node)"
                    )));
                }
            }
            params.only("total_shards_per_node", "-1")?;
            let Some(replicas) = params.count("number_of_replicas")? else {
                return Err(Failure::illegal(
                    "[number_of_replicas] must be set for action [allocate]",
                ));
            };
            let replicas = u32::try_from(replicas)
                .map_err(|_| Failure::illegal("[number_of_replicas] is too large"))?;
            (
                json!({"number_of_replicas": replicas}),
                one("allocate", Work::Replicas(replicas)),
            )
        }
        _ => {
            let snapshots = params.flag("delete_searchable_snapshot", true)?;
            (
                json!({"delete_searchable_snapshot": snapshots}),
                one("delete", Work::Delete),
            )
        }
    };
    params.finish()?;
    Ok(read)
}

#[cfg(test)]
mod tests;

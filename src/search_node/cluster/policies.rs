//! Lifecycle policies: setting, deleting, and what somebody asks of an index that follows one.

use serde_json::{Value, json};

use super::lifecycle::policy_of;
use super::{Index, Node, now_millis};
use crate::search_node::dates;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::lifecycle::{Policy, Progress, Stored};
use crate::search_node::names;

/// Longest name of a policy, in bytes.
const MAX_NAME: usize = 255;

/// Policies of a node at most.
const MAX_POLICIES: usize = 500;

/// A step that an index is at or is to go to: phase, action and name.
#[derive(Debug)]
pub(crate) struct At {
    /// Phase.
    pub phase: String,
    /// Action; the first of the phase without.
    pub action: Option<String>,
    /// Step; the first of the action without.
    pub step: Option<String>,
}

impl Node {
    /// Sets a policy; one that is the same as before keeps its version.
    pub(crate) fn put_policy(&self, name: &str, body: &Value) -> Outcome<()> {
        check_name(name)?;
        let policy = Policy::parse(body)?.json();
        self.change(|state| {
            let known = state.policies.get(name);
            if known.is_some_and(|known| known.policy == policy) {
                return Ok(());
            }
            if known.is_none() && state.policies.len() >= MAX_POLICIES {
                return Err(Failure::illegal(format!(
                    "this node has [{MAX_POLICIES}] lifecycle policies, its limit; delete some"
                )));
            }
            let version = known.map_or(0, |known| known.version);
            let stored = Stored {
                version: version.saturating_add(1),
                modified: now_millis(),
                policy,
            };
            state.policies.insert(name.to_owned(), stored);
            Ok(())
        })?;
        self.lifecycle.kick();
        Ok(())
    }

    /// Deletes a policy that no index follows.
    pub(crate) fn delete_policy(&self, name: &str) -> Outcome<()> {
        self.change(|state| {
            if !state.policies.contains_key(name) {
                return Err(no_policy(name));
            }
            let used = self.indices_of_policy(name);
            if !used.is_empty() {
                return Err(Failure::illegal(format!(
                    "Cannot delete policy [{name}]. It is in use by one or more indices: [{}]",
                    used.join(", ")
                )));
            }
            state.policies.remove(name);
            Ok(())
        })
    }

    /// The policies that fit `patterns`, as they are shown.
    pub(crate) fn policies(&self, patterns: &str) -> Outcome<Value> {
        let state = self.state();
        let mut shown = json!({});
        for pattern in patterns.split(',') {
            let mut any = false;
            for (name, stored) in &state.policies {
                if !names::matches(pattern, name) {
                    continue;
                }
                any = true;
                shown[name] = json!({
                    "version": stored.version,
                    "modified_date": dates::utc(stored.modified),
                    "policy": stored.policy,
                    "in_use_by": {
                        "indices": self.indices_of_policy(name),
                        "data_streams": [],
                        "composable_templates": Self::templates_of_policy(&state, name),
                    },
                });
            }
            if !any && !pattern.contains('*') {
                return Err(no_policy(pattern));
            }
        }
        Ok(shown)
    }

    fn indices_of_policy(&self, name: &str) -> Vec<String> {
        self.indices()
            .iter()
            .filter(|index| policy_of(index).as_deref() == Some(name))
            .map(|index| index.name.clone())
            .collect()
    }

    /// Acts on the policies again, or no more.
    pub(crate) fn stop_lifecycle(&self, stop: bool) -> Outcome<()> {
        self.change(|state| {
            state.lifecycle_stopped = stop;
            Ok(())
        })?;
        self.lifecycle.kick();
        Ok(())
    }

    /// Takes the policy and all that it noted from an index.
    pub(crate) fn leave_lifecycle(&self, index: &Index) -> Outcome<()> {
        let mut changes = serde_json::Map::new();
        for key in index.settings().flat.keys() {
            if key.starts_with("index.lifecycle.") {
                changes.insert(key.clone(), Value::Null);
            }
        }
        if !changes.is_empty() {
            index.change_settings(&Value::Object(changes), false)?;
        }
        self.change(|state| {
            if let Some(entry) = state.indices.get_mut(&index.name)
                && entry.uuid == index.uuid
            {
                entry.lifecycle = None;
            }
            Ok(())
        })
    }

    /// Tries the steps again that `indices` failed at: all or none.
    pub(crate) fn retry_lifecycle(&self, indices: &[String]) -> Outcome<()> {
        self.change(|state| {
            for name in indices {
                let entry = state.indices.get_mut(name);
                let progress = entry.and_then(|entry| entry.lifecycle.as_mut());
                let progress = progress.filter(|progress| progress.is_failed());
                let Some(progress) = progress else {
                    return Err(Failure::illegal(format!(
                        "cannot retry an action for an index [{name}] that has not encountered an \
                         error when running a Lifecycle Policy"
                    )));
                };
                *progress = progress.retried(now_millis());
            }
            Ok(())
        })?;
        self.lifecycle.kick();
        Ok(())
    }

    /// Leads an index that is at `from` to another step.
    pub(crate) fn move_lifecycle(&self, index: &Index, from: &At, to: &At) -> Outcome<()> {
        let policy = policy_of(index).ok_or_else(|| {
            Failure::illegal(format!(
                "index [{}] is not associated with an Index Lifecycle Policy",
                index.name
            ))
        })?;
        self.change(|state| {
            let stored = state.policies.get(&policy).cloned();
            let entry = state.indices.get_mut(&index.name);
            let entry = entry.filter(|entry| entry.uuid == index.uuid);
            let entry = entry.ok_or_else(|| Failure::no_index(&index.name))?;
            let now = now_millis();
            let progress = entry.lifecycle.clone();
            let progress = progress.unwrap_or_else(|| Progress::new(now));
            if !from.is(&progress) {
                return Err(Failure::illegal(format!(
                    "index [{}] is not on current step [{}], currently: \
                     [{{\"phase\":\"{}\",\"action\":\"{}\",\"name\":\"{}\"}}]",
                    index.name,
                    from.show(),
                    progress.phase,
                    progress.action,
                    progress.step
                )));
            }
            let target = (to.phase.as_str(), to.action.as_deref(), to.step.as_deref());
            entry.lifecycle = Some(progress.moved(&policy, stored.as_ref(), target, now)?);
            Ok(())
        })?;
        self.lifecycle.kick();
        Ok(())
    }
}

impl At {
    fn is(&self, progress: &Progress) -> bool {
        self.phase == progress.phase
            && self
                .action
                .as_deref()
                .is_none_or(|action| action == progress.action)
            && self
                .step
                .as_deref()
                .is_none_or(|step| step == progress.step)
    }

    fn show(&self) -> String {
        let any = |text: &Option<String>| text.clone().unwrap_or_else(|| "*".to_owned());
        format!(
            "{{\"phase\":\"{}\",\"action\":\"{}\",\"name\":\"{}\"}}",
            self.phase,
            any(&self.action),
            any(&self.step)
        )
    }
}

fn no_policy(name: &str) -> Failure {
    Failure::missing(format!("Lifecycle policy not found: {name}"))
}

fn check_name(name: &str) -> Outcome<()> {
    let refuse = |why: &str| {
        Err(Failure::illegal(format!(
            "invalid policy name [{name}]: {why}"
        )))
    };
    if name.is_empty() || name.len() > MAX_NAME {
        return refuse(&format!("must have 1 to {MAX_NAME} bytes"));
    }
    if name.starts_with('_') {
        return refuse("must not start with '_'");
    }
    if name.contains([',', ' ', '*']) || name.chars().any(char::is_control) {
        return refuse("must not contain ',', '*' or ' '");
    }
    Ok(())
}

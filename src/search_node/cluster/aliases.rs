//! Aliases: other names for indices.

use serde_json::{Value, json};

use super::resolve::Lenience;
use super::settings::Operation;
use super::state::{Alias, State};
use super::{Node, now_millis};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::names;

/// Reads the definition of an alias.
pub(super) fn parse(name: &str, body: &Value) -> Outcome<Alias> {
    let mut alias = Alias::default();
    let Some(object) = body.as_object() else {
        return if body.is_null() {
            Ok(alias)
        } else {
            Err(Failure::parsing(format!(
                "alias [{name}] must be an object"
            )))
        };
    };
    for (key, value) in object {
        match (key.as_str(), value) {
            ("filter", Value::Object(_)) => alias.filter = Some(value.clone()),
            ("is_write_index", Value::Bool(flag)) => alias.is_write_index = Some(*flag),
            ("is_hidden", Value::Bool(flag)) => alias.is_hidden = Some(*flag),
            // There is one shard: routing changes nothing.
            ("routing" | "index_routing" | "search_routing", Value::String(_))
            | ("index" | "indices" | "alias" | "aliases" | "must_exist", _)
            | (_, Value::Null) => {}
            _ => {
                return Err(Failure::parsing(format!(
                    "alias [{name}] has an unknown or malformed member [{key}]"
                )));
            }
        }
    }
    Ok(alias)
}

/// An alias as it is shown.
pub(crate) fn show(alias: &Alias) -> Value {
    let mut shown = json!({});
    if let Some(filter) = &alias.filter {
        shown["filter"] = filter.clone();
    }
    if let Some(flag) = alias.is_write_index {
        shown["is_write_index"] = flag.into();
    }
    if let Some(flag) = alias.is_hidden {
        shown["is_hidden"] = flag.into();
    }
    shown
}

/// Refuses a name that is none, or is that of an index.
pub(super) fn check_name(state: &State, alias: &str) -> Outcome<()> {
    names::check(alias).map_err(|failure| {
        Failure::new(
            400,
            "invalid_alias_name_exception",
            failure.reason.replace("index name", "alias name"),
        )
    })?;
    if state.indices.contains_key(alias) {
        return Err(Failure::new(
            400,
            "invalid_alias_name_exception",
            format!(
                "Invalid alias name [{alias}]: an index or data stream exists with the same name as the alias"
            ),
        ));
    }
    Ok(())
}

impl Node {
    pub(super) fn check_write_alias(&self, alias: &str, index: &str) -> Outcome<()> {
        let inner = self.read();
        let other = inner.state.indices.iter().find(|(name, entry)| {
            name.as_str() != index
                && entry
                    .aliases
                    .get(alias)
                    .is_some_and(|a| a.is_write_index == Some(true))
        });
        match other {
            None => Ok(()),
            Some((name, _)) => Err(two_writers(alias, &[name.as_str(), index])),
        }
    }

    /// Sets an alias on all of `targets`.
    pub(crate) fn put_alias(&self, targets: &[String], alias: &str, body: &Value) -> Outcome<()> {
        let definition = parse(alias, body)?;
        self.change(|state| {
            check_name(state, alias)?;
            for index in targets {
                let entry = state
                    .indices
                    .get_mut(index)
                    .ok_or_else(|| Failure::no_index(index))?;
                entry.aliases.insert(alias.to_owned(), definition.clone());
            }
            check_writers(state, alias)
        })
    }

    /// Runs the actions of `POST _aliases`: all or none.
    pub(crate) fn alias_actions(&self, body: &Value) -> Outcome<()> {
        let Some(actions) = body.get("actions").and_then(Value::as_array) else {
            return Err(Failure::illegal(
                "[actions] is missing: a list of add, remove, remove_index",
            ));
        };
        let mut deleted = Vec::new();
        let mut steps = Vec::new();
        for action in actions {
            let Some((verb, body)) = action.as_object().and_then(|object| object.iter().next())
            else {
                return Err(Failure::parsing(
                    "an alias action must be an object with one member",
                ));
            };
            let lenience = Lenience {
                closed: true,
                hidden: false,
                allow_no_indices: false,
                ..Lenience::default()
            };
            let mut indices = Vec::new();
            for name in list(body, "index", "indices")? {
                if verb == "remove_index" {
                    self.check_concrete(&name)?;
                }
                for target in self.resolve(&name, lenience)? {
                    // An alias stands for its indices only where the action may take it so.
                    target.index.check(Operation::Metadata)?;
                    indices.push(target.index.name.clone());
                }
            }
            if indices.is_empty() {
                return Err(Failure::illegal(format!(
                    "[index] is missing in alias action [{verb}]"
                )));
            }
            match verb.as_str() {
                "add" => {
                    for alias in list(body, "alias", "aliases")? {
                        steps.push(Step::Add(
                            indices.clone(),
                            alias.clone(),
                            parse(&alias, body)?,
                        ));
                    }
                }
                "remove" => {
                    let must = body.get("must_exist") == Some(&Value::Bool(true));
                    for alias in list(body, "alias", "aliases")? {
                        steps.push(Step::Remove(indices.clone(), alias, must));
                    }
                }
                "remove_index" => deleted.extend(indices),
                other => {
                    return Err(Failure::parsing(format!(
                        "[aliases] unknown field [{other}]"
                    )));
                }
            }
        }
        self.change(|state| {
            // Indices go first, so that an alias may have the name of one.
            for name in &deleted {
                state
                    .indices
                    .remove(name)
                    .ok_or_else(|| Failure::no_index(name))?;
            }
            for step in &steps {
                step.apply(state)?;
            }
            for step in &steps {
                if let Step::Add(_, alias, _) = step {
                    check_writers(state, alias)?;
                }
            }
            Ok(())
        })
    }

    /// Refuses to delete by anything but the name of an index: a slip must not reach everything.
    pub(crate) fn check_concrete(&self, name: &str) -> Outcome<()> {
        let name = names::dated(name, now_millis())?;
        if name.contains(['*', ',']) || matches!(&*name, "" | "_all") {
            return Err(Failure::illegal(
                "Wildcard expressions or all indices are not allowed; name the indices",
            ));
        }
        if self.read().state.is_alias(&name) {
            return Err(Failure::illegal(format!(
                "The provided expression [{name}] matches an alias, specify the corresponding \
                 concrete indices instead."
            )));
        }
        Ok(())
    }

    /// Takes aliases that match `patterns` from `indices`.
    pub(crate) fn delete_alias(&self, indices: &[String], patterns: &str) -> Outcome<()> {
        self.change(|state| {
            let mut any = false;
            for pattern in patterns.split(',') {
                let pattern = if pattern == "_all" { "*" } else { pattern };
                any |= remove(state, indices, pattern);
            }
            if any { Ok(()) } else { Err(missing(patterns)) }
        })
    }
}

enum Step {
    Add(Vec<String>, String, Alias),
    Remove(Vec<String>, String, bool),
}

impl Step {
    fn apply(&self, state: &mut State) -> Outcome<()> {
        match self {
            Step::Add(indices, alias, definition) => {
                check_name(state, alias)?;
                for index in indices {
                    let entry = state
                        .indices
                        .get_mut(index)
                        .ok_or_else(|| Failure::no_index(index))?;
                    entry.aliases.insert(alias.clone(), definition.clone());
                }
            }
            Step::Remove(indices, pattern, must) => {
                let any = remove(state, indices, pattern);
                if !any && (*must || !pattern.contains('*')) {
                    return Err(missing(pattern));
                }
            }
        }
        Ok(())
    }
}

/// Takes the aliases that fit `pattern` from `indices`; says whether there was one.
fn remove(state: &mut State, indices: &[String], pattern: &str) -> bool {
    let mut any = false;
    for index in indices {
        if let Some(entry) = state.indices.get_mut(index) {
            let before = entry.aliases.len();
            entry
                .aliases
                .retain(|alias, _| !names::matches(pattern, alias));
            any |= entry.aliases.len() != before;
        }
    }
    any
}

/// At most one index of an alias takes writes.
pub(super) fn check_writers(state: &State, alias: &str) -> Outcome<()> {
    let writers: Vec<&str> = state
        .indices
        .iter()
        .filter(|(_, entry)| {
            entry
                .aliases
                .get(alias)
                .is_some_and(|a| a.is_write_index == Some(true))
        })
        .map(|(name, _)| name.as_str())
        .collect();
    if writers.len() > 1 {
        return Err(two_writers(alias, &writers));
    }
    Ok(())
}

fn two_writers(alias: &str, indices: &[&str]) -> Failure {
    Failure::new(
        500,
        "illegal_state_exception",
        format!(
            "alias [{alias}] has more than one write index [{}]",
            indices.join(",")
        ),
    )
}

fn missing(alias: &str) -> Failure {
    Failure::new(
        404,
        "aliases_not_found_exception",
        format!("aliases [{alias}] missing"),
    )
}

fn list(body: &Value, one: &str, many: &str) -> Outcome<Vec<String>> {
    let value = body.get(one).or_else(|| body.get(many));
    match value {
        Some(Value::String(text)) => Ok(text.split(',').map(str::to_owned).collect()),
        Some(Value::Array(values)) => values
            .iter()
            .map(|value| {
                value
                    .as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| Failure::parsing(format!("[{many}] must be a list of names")))
            })
            .collect(),
        None => Err(Failure::illegal(format!(
            "One of [{one}] or [{many}] is required"
        ))),
        Some(_) => Err(Failure::parsing(format!("[{one}] must be a name"))),
    }
}

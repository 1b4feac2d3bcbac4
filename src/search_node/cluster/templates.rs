//! Index templates: what an index gets when it is made.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Node;
use super::aliases;
use super::lifecycle::POLICY;
use super::settings::{self, Flat};
use super::state::{Alias, State};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Mapping, compose, normalise};
use crate::search_node::names;

/// Other templates that fit a name, with their patterns.
pub(crate) type Overlapping = Vec<(String, Vec<String>)>;

/// What an index is made with.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Settings by full name.
    pub settings: Flat,
    /// Mapping, in normal form.
    pub mapping: Value,
    /// Aliases by name.
    pub aliases: BTreeMap<String, Alias>,
}

impl Plan {
    fn new() -> Self {
        Self {
            mapping: json!({}),
            settings: Flat::from([
                ("index.number_of_shards".to_owned(), "1".to_owned()),
                ("index.number_of_replicas".to_owned(), "1".to_owned()),
            ]),
            aliases: BTreeMap::new(),
        }
    }

    /// Puts `{settings, mappings, aliases}` over what is there.
    fn add(&mut self, part: &Value) -> Outcome<()> {
        let Some(object) = part.as_object() else {
            return Err(Failure::parsing("[template] must be an object"));
        };
        for (key, value) in object {
            match key.as_str() {
                "settings" => {
                    let flat = settings::flatten(value)?;
                    settings::check(&flat, false)?;
                    for (key, value) in flat {
                        match value {
                            Some(value) => self.settings.insert(key, value),
                            None => self.settings.remove(&key),
                        };
                    }
                }
                "mappings" => {
                    let mapping = normalise(value)?;
                    self.mapping = compose(&self.mapping, &mapping)?;
                }
                "aliases" => {
                    let Some(list) = value.as_object() else {
                        return Err(Failure::parsing("[aliases] must be an object"));
                    };
                    for (alias, body) in list {
                        self.aliases
                            .insert(alias.clone(), aliases::parse(alias, body)?);
                    }
                }
                "lifecycle" => return Err(Failure::unsupported("[lifecycle] of a data stream")),
                other => {
                    return Err(Failure::parsing(format!(
                        "unknown key [{other}] for create index"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// The names under `key`, a text or a list of them.
fn texts(body: &Value, key: &str) -> Vec<String> {
    match body.get(key) {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

fn priority(template: &Value) -> u64 {
    template
        .get("priority")
        .and_then(Value::as_u64)
        .unwrap_or(0)
}

fn compose_template(state: &State, template: &Value) -> Outcome<Plan> {
    let mut plan = Plan::new();
    for component in texts(template, "composed_of") {
        let ignored = texts(template, "ignore_missing_component_templates").contains(&component);
        match state.components.get(&component) {
            Some(component) => {
                if let Some(part) = component.get("template") {
                    plan.add(part)?;
                }
            }
            None if ignored => {}
            None => {
                return Err(Failure::new(
                    400,
                    "invalid_index_template_exception",
                    format!("component template [{component}] does not exist"),
                ));
            }
        }
    }
    if let Some(part) = template.get("template") {
        plan.add(part)?;
    }
    Ok(plan)
}

/// The template that an index of this name gets: the one with the highest priority.
fn fitting<'a>(state: &'a State, name: &str) -> Option<(&'a String, &'a Value)> {
    state
        .templates
        .iter()
        .filter(|(_, template)| {
            texts(template, "index_patterns")
                .iter()
                .any(|pattern| names::matches(pattern, name))
        })
        .max_by_key(|(_, template)| priority(template))
}

impl Node {
    /// What the index `name` is made with, by its template and `body`.
    pub(super) fn plan_index(&self, name: &str, body: &Value) -> Outcome<Plan> {
        let state = self.state();
        let mut plan = match fitting(&state, name) {
            Some((_, template)) => compose_template(&state, template)?,
            None => Plan::new(),
        };
        if !body.is_null() {
            plan.add(body)?;
        }
        Ok(plan)
    }

    /// What `_index_template/_simulate_index/NAME` shows, and the names of other templates that
    /// fit.
    pub(crate) fn simulate(&self, name: &str) -> Outcome<(Plan, Overlapping)> {
        let state = self.state();
        let chosen = fitting(&state, name).map(|(name, _)| name.clone());
        let overlapping = state
            .templates
            .iter()
            .filter(|(template, _)| Some(*template) != chosen.as_ref())
            .map(|(template, body)| (template.clone(), texts(body, "index_patterns")))
            .filter(|(_, patterns)| patterns.iter().any(|pattern| names::matches(pattern, name)))
            .collect();
        Ok((self.plan_index(name, &Value::Null)?, overlapping))
    }

    /// Templates of indices that follow the lifecycle policy `name`.
    pub(super) fn templates_of_policy(state: &State, name: &str) -> Vec<String> {
        let follows = |template: &Value| {
            compose_template(state, template).is_ok_and(|plan| {
                plan.settings
                    .get(POLICY)
                    .is_some_and(|policy| policy == name)
            })
        };
        let found = state.templates.iter();
        found
            .filter(|(_, template)| follows(template))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Sets a composable index template.
    pub(crate) fn put_template(&self, name: &str, body: &Value, create: bool) -> Outcome<()> {
        check_keys(
            name,
            body,
            &[
                "_meta",
                "allow_auto_create",
                "composed_of",
                "ignore_missing_component_templates",
                "index_patterns",
                "priority",
                "template",
                "version",
            ],
        )?;
        let patterns = texts(body, "index_patterns");
        if patterns.is_empty() {
            return Err(Failure::illegal(format!(
                "index template [{name}] has no [index_patterns]"
            )));
        }
        let mut body = body.clone();
        body["index_patterns"] = json!(patterns);
        if body.get("composed_of").is_none() {
            body["composed_of"] = json!([]);
        }
        self.change(|state| {
            if create && state.templates.contains_key(name) {
                return Err(Failure::illegal(format!(
                    "index template [{name}] already exists"
                )));
            }
            // What could not be made later is refused now.
            let plan = compose_template(state, &body)?;
            Mapping::empty()?.merged(&plan.mapping)?;
            let rival = state.templates.iter().find(|(other, known)| {
                other.as_str() != name
                    && priority(known) == priority(&body)
                    && texts(known, "index_patterns")
                        .iter()
                        .any(|known| patterns.iter().any(|new| overlap(known, new)))
            });
            if let Some((other, _)) = rival {
                return Err(Failure::illegal(format!(
                    "index template [{name}] has index patterns {patterns:?} matching patterns \
                     from existing templates [{other}] with the same priority [{}], multiple \
                     index templates may not match during index creation, please use a different \
                     priority",
                    priority(&body)
                )));
            }
            state.templates.insert(name.to_owned(), body.clone());
            Ok(())
        })
    }

    /// Sets a component template.
    pub(crate) fn put_component(&self, name: &str, body: &Value, create: bool) -> Outcome<()> {
        check_keys(name, body, &["_meta", "template", "version"])?;
        let Some(part) = body.get("template") else {
            return Err(Failure::illegal(format!(
                "component template [{name}] has no [template]"
            )));
        };
        let mut plan = Plan::new();
        plan.add(part)?;
        Mapping::empty()?.merged(&plan.mapping)?;
        self.change(|state| {
            if create && state.components.contains_key(name) {
                return Err(Failure::illegal(format!(
                    "component template [{name}] already exists"
                )));
            }
            state.components.insert(name.to_owned(), body.clone());
            for (template, body) in &state.templates {
                if texts(body, "composed_of").iter().any(|used| used == name) {
                    let plan = compose_template(state, body)?;
                    Mapping::empty()?.merged(&plan.mapping).map_err(|failure| {
                        Failure::illegal(format!(
                            "index template [{template}] would become invalid"
                        ))
                        .because(failure)
                    })?;
                }
            }
            Ok(())
        })
    }

    /// Takes a composable index template away.
    pub(crate) fn delete_template(&self, pattern: &str) -> Outcome<()> {
        self.change(|state| {
            let before = state.templates.len();
            state
                .templates
                .retain(|name, _| !names::matches(pattern, name));
            if state.templates.len() == before && !pattern.contains('*') {
                return Err(absent(pattern));
            }
            Ok(())
        })
    }

    /// Takes a component template away; refused while a template is made of it.
    pub(crate) fn delete_component(&self, pattern: &str) -> Outcome<()> {
        self.change(|state| {
            let used = state.templates.iter().find_map(|(template, body)| {
                texts(body, "composed_of")
                    .into_iter()
                    .find(|component| names::matches(pattern, component))
                    .map(|component| (template.clone(), component))
            });
            if let Some((template, component)) = used {
                return Err(Failure::illegal(format!(
                    "component templates [{component}] cannot be removed as they are still in use \
                     by index templates [{template}]"
                )));
            }
            let before = state.components.len();
            state
                .components
                .retain(|name, _| !names::matches(pattern, name));
            if state.components.len() == before && !pattern.contains('*') {
                return Err(absent(pattern));
            }
            Ok(())
        })
    }
}

fn absent(name: &str) -> Failure {
    Failure::new(
        404,
        "index_template_missing_exception",
        format!("index_template [{name}] missing"),
    )
}

fn check_keys(name: &str, body: &Value, known: &[&str]) -> Outcome<()> {
    let Some(object) = body.as_object() else {
        return Err(Failure::parsing(format!(
            "template [{name}] must be an object"
        )));
    };
    for key in object.keys() {
        if key == "data_stream" {
            return Err(Failure::unsupported(format!(
                "[data_stream] of template [{name}]"
            )));
        }
        if !known.contains(&key.as_str()) {
            return Err(Failure::parsing(format!(
                "[index_template] unknown field [{key}]"
            )));
        }
    }
    Ok(())
}

/// Whether some name fits both patterns.
fn overlap(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // row[j]: whether the first i characters of a can match the first j of b.
    let mut row = vec![false; b.len() + 1];
    for i in 0..=a.len() {
        let above = row.clone();
        for j in 0..=b.len() {
            row[j] = if i == 0 && j == 0 {
                true
            } else {
                let star_a = i > 0 && a[i - 1] == '*';
                let star_b = j > 0 && b[j - 1] == '*';
                let same = i > 0 && j > 0 && a[i - 1] == b[j - 1] && above[j - 1];
                same || (star_a && (above[j] || (j > 0 && row[j - 1])))
                    || (star_b && ((j > 0 && row[j - 1]) || (i > 0 && above[j])))
            };
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_overlap_when_a_name_fits_both() {
        for (a, b, both) in [
            ("a*", "ab*", true),
            ("a*", "b*", false),
            ("*", "x", true),
            ("lucid-sessions*", "lucid-*", true),
            ("*-a", "*-b", false),
            ("a*c", "ab*", true),
            ("a", "a", true),
            ("a", "ab", false),
        ] {
            assert_eq!(overlap(a, b), both, "{a} {b}");
            assert_eq!(overlap(b, a), both, "{b} {a}");
        }
    }
}

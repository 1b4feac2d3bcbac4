//! What is to be done, from what is there.

use std::collections::BTreeMap;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::catalogue::{COMPONENT, Catalogue, Entity, policy};
use super::compare::{Clash, has, missing, same};
use super::{Change, Object, Request, SchemaError};

/// Indices of one month that are tried for a free name.
const MAX_OF_MONTH: u32 = 9999;

/// What the engine has.
#[derive(Debug)]
pub(super) struct Current {
    /// Whether it is Lucid's own, which follows names of a month.
    pub own: bool,
    /// Phases of policies by name.
    pub policies: BTreeMap<String, Value>,
    /// Component templates by name.
    pub components: BTreeMap<String, Value>,
    /// Index templates by name.
    pub templates: BTreeMap<String, Value>,
    /// All indices, and the aliases of each.
    pub aliases: BTreeMap<String, Map<String, Value>>,
    /// Mappings of the indices that are written to.
    pub mappings: BTreeMap<String, Value>,
    /// Their settings by full name.
    pub settings: BTreeMap<String, Value>,
}

/// One object, and the requests that make it what it should be.
#[derive(Debug)]
pub(super) struct Step {
    /// The object.
    pub object: Object,
    /// None when it is so already, or comes with the step before.
    pub requests: Vec<Request>,
}

/// The index that an entity is written to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The alias writes to it.
    Written(String),
    /// It is there, and the alias is to write to it.
    Adopted(String),
    /// It is to be made.
    New {
        /// Its name.
        name: String,
        /// The name that it is asked for by, date math or the same.
        asked: String,
    },
}

impl Current {
    /// Lucid's own engine without anything.
    pub(super) fn empty() -> Self {
        Self {
            own: true,
            policies: BTreeMap::new(),
            components: BTreeMap::new(),
            templates: BTreeMap::new(),
            aliases: BTreeMap::new(),
            mappings: BTreeMap::new(),
            settings: BTreeMap::new(),
        }
    }
}

impl Target {
    /// Its name, when it is there.
    pub(super) fn existing(&self) -> Option<String> {
        match self {
            Target::Written(name) | Target::Adopted(name) => Some(name.clone()),
            Target::New { .. } => None,
        }
    }
}

/// Finds the index that `entity` is written to, or the name that it gets in `month`.
pub(super) fn target(current: &Current, entity: &Entity, month: &str) -> Target {
    let alias = entity.alias();
    let of_alias: Vec<(&String, Option<bool>)> = current
        .aliases
        .iter()
        .filter_map(|(index, aliases)| {
            let flag = aliases.get(&alias)?.get("is_write_index");
            Some((index, flag.and_then(Value::as_bool)))
        })
        .collect();
    let written = of_alias.iter().find(|(_, flag)| *flag == Some(true));
    match (written, of_alias.as_slice()) {
        (Some((index, _)), _) => return Target::Written((*index).clone()),
        (None, [(index, None)]) => return Target::Adopted((*index).clone()),
        _ => {}
    }
    let plain = format!("{alias}-{month}");
    match current.aliases.get(&plain) {
        Some(aliases) if !aliases.contains_key(&alias) => return Target::Adopted(plain),
        None if current.own => {
            return Target::New {
                asked: plain.clone(),
                name: plain,
            };
        }
        _ => {}
    }
    // By date math the months go on, on any engine.
    let taken = |number: &u32| {
        let name = format!("{plain}-{number:06}");
        current.aliases.contains_key(&name)
    };
    let first = if current.own { 2 } else { 1 };
    let number = (first..MAX_OF_MONTH).find(|number| !taken(number));
    let number = number.unwrap_or(MAX_OF_MONTH);
    Target::New {
        name: format!("{plain}-{number:06}"),
        asked: format!("<{alias}-{{now/M{{yyyy.MM}}}}-{number:06}>"),
    }
}

/// All steps in their order. A policy that deletes at another age is kept unless `reset`.
///
/// # Errors
/// [`SchemaError::Conflicts`]: something is there that cannot be changed.
pub(super) fn plan(
    catalogue: &Catalogue,
    current: &Current,
    month: &str,
    reset: bool,
) -> Result<Vec<Step>, SchemaError> {
    let mut steps = Vec::new();
    let mut conflicts = Vec::new();
    for (name, phases) in &catalogue.policies {
        let found = current.policies.get(name);
        let mut step = step(
            "policy",
            name,
            found.map(|found| same(found, phases)),
            "_ilm/policy",
            &policy(phases),
        );
        let note = found.and_then(|found| retention(found, phases));
        if let Some(note) = note.filter(|_| !reset) {
            step.object.change = Change::Kept;
            step.object.note = Some(note);
            step.requests.clear();
        }
        steps.push(step);
    }
    let component = Catalogue::component();
    let found = current.components.get(COMPONENT);
    steps.push(step(
        "component template",
        COMPONENT,
        found.map(|found| has(found, &component)),
        "_component_template",
        &component,
    ));
    for entity in &catalogue.entities {
        let (name, wanted) = (entity.template_name(), entity.template());
        let found = current.templates.get(&name);
        steps.push(step(
            "index template",
            &name,
            found.map(|found| has(found, &wanted)),
            "_index_template",
            &wanted,
        ));
    }
    for entity in &catalogue.entities {
        for alias in [Some(entity.alias()), entity.read_alias.clone()] {
            let alias = alias.filter(|alias| current.aliases.contains_key(alias));
            if let Some(alias) = alias {
                conflicts.push(format!(
                    "index [{alias}] has the name that the alias of [{}] must have; index its \
                     documents anew under another name and delete it",
                    entity.name
                ));
            }
        }
        index_steps(current, entity, month, &mut steps, &mut conflicts);
    }
    if conflicts.is_empty() {
        Ok(steps)
    } else {
        Err(SchemaError::Conflicts(conflicts))
    }
}

/// How a policy deletes at another age than the wanted one; none when it does not.
fn retention(found: &Value, wanted: &Value) -> Option<String> {
    let age = |phases: &Value| {
        let delete = phases.get("delete")?;
        let age = delete.get("min_age").and_then(Value::as_str);
        Some(age.unwrap_or("0ms").to_owned())
    };
    let (found, wanted) = (age(found), age(wanted));
    let show = |age: &Option<String>| {
        age.as_ref()
            .map_or("never".to_owned(), |age| format!("at the age of [{age}]"))
    };
    (found != wanted).then(|| {
        format!(
            "it deletes {}, that of Lucid {}; --reset-policies puts that of Lucid in its place",
            show(&found),
            show(&wanted)
        )
    })
}

/// An object that is put as a whole; `is_same` when there is one.
fn step(kind: &'static str, name: &str, is_same: Option<bool>, path: &str, body: &Value) -> Step {
    let change = match is_same {
        None => Change::Created,
        Some(false) => Change::Updated,
        Some(true) => Change::Unchanged,
    };
    let request = Request {
        method: "PUT",
        path: format!("{path}/{name}"),
        body: body.clone(),
    };
    Step {
        object: Object {
            kind,
            name: name.to_owned(),
            change,
            note: None,
        },
        requests: if change == Change::Unchanged {
            Vec::new()
        } else {
            vec![request]
        },
    }
}

/// The index that is written to, and the aliases.
fn index_steps(
    current: &Current,
    entity: &Entity,
    month: &str,
    steps: &mut Vec<Step>,
    conflicts: &mut Vec<String>,
) {
    let target = target(current, entity, month);
    let alias = entity.alias();
    let mut push = |kind, name: &str, change, requests| {
        let name = name.to_owned();
        let object = Object {
            kind,
            name,
            change,
            note: None,
        };
        steps.push(Step { object, requests });
    };
    let changed = |requests: &Vec<Request>| {
        if requests.is_empty() {
            Change::Unchanged
        } else {
            Change::Updated
        }
    };
    let index = match &target {
        Target::New { name, asked } => {
            let request = Request {
                method: "PUT",
                path: utf8_percent_encode(asked, NON_ALPHANUMERIC).to_string(),
                body: json!({"aliases": { alias.as_str(): {"is_write_index": true} }}),
            };
            push("index", name, Change::Created, vec![request]);
            name
        }
        Target::Written(name) | Target::Adopted(name) => {
            let requests = adjust(current, entity, name, conflicts);
            push("index", name, changed(&requests), requests);
            name
        }
    };
    let add = |index: &str, alias: &str, writes: bool| {
        let mut add = json!({"index": index, "alias": alias});
        if writes {
            add["is_write_index"] = true.into();
        }
        json!({ "add": add })
    };
    let request = |actions: Vec<Value>| {
        vec![Request {
            method: "POST",
            path: "_aliases".to_owned(),
            body: json!({ "actions": actions }),
        }]
    };
    let known = |alias: &String| current.aliases.values().any(|of| of.contains_key(alias));
    match &target {
        Target::Written(_) => push("alias", &alias, Change::Unchanged, Vec::new()),
        Target::Adopted(name) => {
            let change = if known(&alias) {
                Change::Updated
            } else {
                Change::Created
            };
            push(
                "alias",
                &alias,
                change,
                request(vec![add(name, &alias, true)]),
            );
        }
        // It comes with the index.
        Target::New { .. } if known(&alias) => push("alias", &alias, Change::Updated, Vec::new()),
        Target::New { .. } => push("alias", &alias, Change::Created, Vec::new()),
    }
    let Some(read) = &entity.read_alias else {
        return;
    };
    let lacking: Vec<Value> = current
        .aliases
        .iter()
        .filter(|(name, of)| of.contains_key(&alias) || *name == index)
        .filter(|(_, of)| !of.contains_key(read))
        .map(|(name, _)| add(name, read, false))
        .collect();
    let change = match (known(read), lacking.is_empty(), &target) {
        (false, ..) => Change::Created,
        (true, true, Target::Written(_) | Target::Adopted(_)) => Change::Unchanged,
        _ => Change::Updated,
    };
    let requests = if lacking.is_empty() {
        Vec::new()
    } else {
        request(lacking)
    };
    push("alias", read, change, requests);
}

/// What makes an index that is there what it should be.
fn adjust(
    current: &Current,
    entity: &Entity,
    index: &str,
    conflicts: &mut Vec<String>,
) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut clashes = Vec::new();
    let put = |what: &str, body| Request {
        method: "PUT",
        path: format!("{index}/{what}"),
        body,
    };
    let found = current.mappings.get(index).unwrap_or(&Value::Null);
    if let Some(fields) = missing(found, &entity.mappings, &mut clashes) {
        requests.push(put("_mapping", fields));
    }
    for Clash {
        field,
        found,
        wanted,
    } in clashes
    {
        let alias = entity.alias();
        conflicts.push(format!(
            "index [{index}]: field [{field}] is [{found}] and must be [{wanted}]; the type of a \
             field cannot be changed. POST /_aliases with {{\"actions\": [{{\"add\": {{\"index\": \
             \"{index}\", \"alias\": \"{alias}\", \"is_write_index\": false}}}}]}} keeps the index \
             for reading; `lucid schema apply` then makes a new one for writing"
        ));
    }
    let found = current.settings.get(index).unwrap_or(&Value::Null);
    let different: Map<String, Value> = entity
        .settings()
        .into_iter()
        .filter(|(key, wanted)| found.get(key).and_then(Value::as_str) != Some(wanted))
        .map(|(key, wanted)| (key.to_owned(), wanted.into()))
        .collect();
    if !different.is_empty() {
        requests.push(put("_settings", different.into()));
    }
    requests
}

#[cfg(test)]
mod tests;

//! Templates and aliases over HTTP.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::request::{Reply, Request};
use crate::search_node::cluster::settings;
use crate::search_node::cluster::{Lenience, Node, show_alias};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::names;

pub(super) fn route(node: &Arc<Node>, request: &Request, path: &[&str]) -> Outcome<Reply> {
    request.known(&[
        "cause",
        "create",
        "flat_settings",
        "include_defaults",
        "local",
    ])?;
    request.only(&[("include_defaults", "false")])?;
    let state = || node.state();
    match (request.method.as_str(), path) {
        ("PUT" | "POST", ["_index_template", "_simulate_index", name]) => {
            let (plan, overlapping) = node.simulate(name)?;
            let aliases: Map<String, Value> = plan
                .aliases
                .iter()
                .map(|(name, alias)| (name.clone(), show_alias(alias)))
                .collect();
            let overlapping: Vec<Value> = overlapping
                .into_iter()
                .map(|(name, patterns)| json!({"name": name, "index_patterns": patterns}))
                .collect();
            Ok(Reply::ok(json!({
                "template": {
                    "settings": settings::nest(plan.settings.iter()),
                    "mappings": plan.mapping,
                    "aliases": aliases,
                },
                "overlapping": overlapping,
            })))
        }
        ("PUT" | "POST", ["_index_template", name]) => {
            node.put_template(name, &request.json()?, request.flag("create", false)?)?;
            Ok(Reply::acknowledged())
        }
        ("PUT" | "POST", ["_component_template", name]) => {
            node.put_component(name, &request.json()?, request.flag("create", false)?)?;
            Ok(Reply::acknowledged())
        }
        ("GET", ["_index_template", rest @ ..]) => list(
            "index_templates",
            "index_template",
            &state().templates,
            rest,
        ),
        ("GET", ["_component_template", rest @ ..]) => list(
            "component_templates",
            "component_template",
            &state().components,
            rest,
        ),
        ("HEAD", ["_index_template", name]) => Ok(exists(state().templates.contains_key(*name))),
        ("HEAD", ["_component_template", name]) => {
            Ok(exists(state().components.contains_key(*name)))
        }
        ("DELETE", ["_index_template", name]) => {
            node.delete_template(name)?;
            Ok(Reply::acknowledged())
        }
        ("DELETE", ["_component_template", name]) => {
            node.delete_component(name)?;
            Ok(Reply::acknowledged())
        }
        (_, ["_template", ..]) => Err(Failure::unsupported(
            "legacy templates; use _index_template",
        )),
        _ => Err(super::no_handler(request)),
    }
}

fn exists(there: bool) -> Reply {
    Reply::Status(if there { 200 } else { 404 })
}

fn list(
    many: &str,
    one: &str,
    all: &std::collections::BTreeMap<String, Value>,
    rest: &[&str],
) -> Outcome<Reply> {
    let pattern = rest.first().copied().unwrap_or("*");
    let found: Vec<Value> = all
        .iter()
        .filter(|(name, _)| {
            pattern
                .split(',')
                .any(|pattern| names::matches(pattern, name))
        })
        .map(|(name, body)| {
            let mut entry = Map::new();
            entry.insert("name".to_owned(), name.as_str().into());
            entry.insert(one.to_owned(), body.clone());
            Value::Object(entry)
        })
        .collect();
    if found.is_empty() && !pattern.contains('*') {
        return Err(Failure::missing(format!(
            "{} matching [{pattern}] not found",
            one.replace('_', " ")
        )));
    }
    let mut answer = Map::new();
    answer.insert(many.to_owned(), found.into());
    Ok(Reply::ok(Value::Object(answer)))
}

pub(super) fn aliases(node: &Arc<Node>, request: &Request, path: &[&str]) -> Outcome<Reply> {
    request.known(&[
        "allow_no_indices",
        "expand_wildcards",
        "ignore_unavailable",
        "local",
    ])?;
    let wide = Lenience {
        closed: true,
        hidden: true,
        ..request.lenience()?
    };
    match (request.method.as_str(), path) {
        ("POST", ["_aliases"]) => {
            node.alias_actions(&request.json()?)?;
            Ok(Reply::acknowledged())
        }
        ("PUT" | "POST", [index, "_alias" | "_aliases", alias]) => {
            let lenience = Lenience {
                allow_no_indices: false,
                ..wide
            };
            let indices: Vec<String> = node
                .resolve(index, lenience)?
                .into_iter()
                .map(|t| t.index.name.clone())
                .collect();
            node.put_alias(&indices, alias, &request.json()?)?;
            Ok(Reply::acknowledged())
        }
        ("DELETE", [index, "_alias" | "_aliases", alias]) => {
            let indices: Vec<String> = node
                .resolve(index, wide)?
                .into_iter()
                .map(|t| t.index.name.clone())
                .collect();
            node.delete_alias(&indices, alias)?;
            Ok(Reply::acknowledged())
        }
        ("GET" | "HEAD", ["_alias" | "_aliases"]) => show(node, "*", None, wide),
        ("GET" | "HEAD", ["_alias" | "_aliases", alias]) => show(node, "*", Some(alias), wide),
        ("GET" | "HEAD", [index, "_alias" | "_aliases"]) => show(node, index, None, wide),
        ("GET" | "HEAD", [index, "_alias" | "_aliases", alias]) => {
            show(node, index, Some(alias), wide)
        }
        _ => Err(super::no_handler(request)),
    }
}

fn show(node: &Node, index: &str, alias: Option<&str>, lenience: Lenience) -> Outcome<Reply> {
    let state = node.state();
    let mut shown = Map::new();
    let mut found = Vec::new();
    for target in node.resolve(index, lenience)? {
        let name = &target.index.name;
        let Some(entry) = state.indices.get(name) else {
            continue;
        };
        let fits: Map<String, Value> = entry
            .aliases
            .iter()
            .filter(|(name, _)| {
                alias.is_none_or(|patterns| {
                    patterns
                        .split(',')
                        .any(|pattern| pattern == "_all" || names::matches(pattern, name))
                })
            })
            .map(|(name, alias)| (name.clone(), show_alias(alias)))
            .collect();
        found.extend(fits.keys().cloned());
        if alias.is_none() || !fits.is_empty() {
            shown.insert(name.clone(), json!({"aliases": fits}));
        }
    }
    let missing: Vec<&str> = alias
        .into_iter()
        .flat_map(|patterns| patterns.split(','))
        .filter(|name| !name.contains('*') && *name != "_all" && !found.iter().any(|f| f == name))
        .collect();
    let mut answer = Value::Object(shown);
    if missing.is_empty() {
        return Ok(Reply::ok(answer));
    }
    answer["error"] = format!("alias [{}] missing", missing.join(",")).into();
    answer["status"] = 404.into();
    Ok(Reply::Json(404, answer))
}

//! Indices: making, deleting, mappings, settings, maintenance.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::blocking;
use super::request::{Reply, Request};
use super::stats::stats;
use crate::search_node::cluster::settings::{self, Operation};
use crate::search_node::cluster::{Index, Lenience, Node, now_millis};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::Mapping;
use crate::search_node::names;

/// Parameters that say which indices are meant.
pub(super) const WHICH: &[&str] = &["allow_no_indices", "expand_wildcards", "ignore_unavailable"];

fn known(request: &Request, more: &[&str]) -> Outcome<()> {
    request.known(&[WHICH, more].concat())
}

pub(super) fn resolve(node: &Node, name: &str, lenience: Lenience) -> Outcome<Vec<Arc<Index>>> {
    let targets = node.resolve(name, lenience)?;
    Ok(targets.into_iter().map(|target| target.index).collect())
}

/// The indices that are to be changed: there is one at least.
fn to_change(node: &Node, request: &Request, name: &str, closed: bool) -> Outcome<Vec<Arc<Index>>> {
    let lenience = request.lenience()?;
    resolve(
        node,
        name,
        Lenience {
            allow_no_indices: false,
            closed: closed || lenience.closed,
            ..lenience
        },
    )
}

pub(super) async fn route(node: &Arc<Node>, request: &Request, path: &[&str]) -> Outcome<Reply> {
    request.only(&[
        ("include_defaults", "false"),
        ("write_index_only", "false"),
        ("wait_for_completion", "true"),
    ])?;
    let (name, rest) = match path {
        [first, rest @ ..] if first.starts_with('_') && *first != "_all" => {
            ("*", [&[*first][..], rest].concat())
        }
        [first, rest @ ..] => (*first, rest.to_vec()),
        [] => ("*", Vec::new()),
    };
    match (request.method.as_str(), rest.as_slice()) {
        ("PUT", []) => {
            request.known(&["wait_for_active_shards"])?;
            let (work, owned, body) = (Arc::clone(node), name.to_owned(), request.json()?);
            let index = blocking(move || work.create(&owned, &body)).await?;
            Ok(Reply::ok(
                json!({"acknowledged": true, "shards_acknowledged": true, "index": index.name}),
            ))
        }
        ("HEAD", []) => {
            known(request, &["flat_settings", "include_defaults", "local"])?;
            let lenience = Lenience {
                allow_no_indices: false,
                closed: true,
                ..request.lenience()?
            };
            Ok(Reply::Status(if node.resolve(name, lenience).is_ok() {
                200
            } else {
                404
            }))
        }
        ("GET", []) => {
            known(request, &["flat_settings", "include_defaults", "local"])?;
            show_all(node, request, name)
        }
        ("DELETE", []) => delete(node, request, name).await,
        ("GET", ["_mapping" | "_mappings"]) => {
            known(request, &["local"])?;
            each(
                node,
                request,
                name,
                |index| json!({"mappings": index.mapping().json()}),
            )
        }
        ("PUT" | "POST", ["_mapping" | "_mappings"]) if path.len() == 2 => {
            put_mapping(node, request, name).await
        }
        ("GET", ["_mapping", "field", fields]) => {
            known(request, &["include_defaults", "local"])?;
            field_mapping(node, request, name, fields)
        }
        ("GET", ["_settings", rest @ ..]) => {
            known(request, &["flat_settings", "include_defaults", "local"])?;
            let names: Vec<String> = rest
                .iter()
                .flat_map(|list| list.split(','))
                .map(str::to_owned)
                .collect();
            let flat = request.flag("flat_settings", false)?;
            each(
                node,
                request,
                name,
                |index| json!({"settings": show_settings(index, &names, flat)}),
            )
        }
        ("PUT", ["_settings"]) => {
            known(request, &["flat_settings", "preserve_existing", "reopen"])?;
            let body = request.json()?;
            let body = body.get("settings").cloned().unwrap_or(body);
            let keep = request.flag("preserve_existing", false)?;
            let indices = to_change(node, request, name, true)?;
            let node = Arc::clone(node);
            blocking(move || {
                for index in indices {
                    index.change_settings(&body, keep)?;
                }
                node.settle_lifecycle();
                Ok(Reply::acknowledged())
            })
            .await
        }
        ("PUT", ["_block", block]) => {
            if !["metadata", "read", "read_only", "write"].contains(block) {
                return Err(Failure::illegal(format!("no block named [{block}]")));
            }
            by_name(name)?;
            let indices = to_change(node, request, name, false)?;
            let mut setting = Map::new();
            setting.insert(format!("index.blocks.{block}"), true.into());
            let setting = Value::Object(setting);
            blocking(move || {
                let mut shown = Vec::new();
                for index in indices {
                    index.change_settings(&setting, false)?;
                    shown.push(json!({"name": index.name, "blocked": true}));
                }
                Ok(Reply::ok(
                    json!({"acknowledged": true, "shards_acknowledged": true, "indices": shown}),
                ))
            })
            .await
        }
        ("POST", [verb @ ("_open" | "_close")]) => {
            open_close(node, request, name, *verb == "_close").await
        }
        ("POST" | "GET", ["_refresh"]) => {
            maintain(node, request, name, |_, index| index.shard.refresh()).await
        }
        ("POST" | "GET", ["_flush"]) => {
            known(request, &["force", "wait_if_ongoing"])?;
            maintain(node, request, name, Node::save).await
        }
        ("POST", ["_forcemerge"]) => {
            known(
                request,
                &[
                    "flush",
                    "max_num_segments",
                    "only_expunge_deletes",
                    "wait_for_completion",
                ],
            )?;
            let wanted = request.count("max_num_segments")?.unwrap_or(1).max(1);
            let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
            let expunge = request.flag("only_expunge_deletes", false)?;
            maintain(node, request, name, move |node, index| {
                node.save(index)?;
                if expunge {
                    index.shard.expunge()
                } else {
                    index.shard.force_merge(wanted)
                }
            })
            .await
        }
        ("GET", ["_stats", rest @ ..]) if rest.len() < 2 => {
            known(request, &["level"])?;
            request.only(&[("level", "indices")])?;
            let (node, request, name) = (Arc::clone(node), request.clone(), name.to_owned());
            let metrics = rest.first().copied().unwrap_or("_all").to_owned();
            blocking(move || stats(&node, &request, &name, &metrics)).await
        }
        _ => Err(super::no_handler(request)),
    }
}

fn each(
    node: &Node,
    request: &Request,
    name: &str,
    show: impl Fn(&Index) -> Value,
) -> Outcome<Reply> {
    let lenience = Lenience {
        closed: true,
        ..request.lenience()?
    };
    let shown: Map<String, Value> = resolve(node, name, lenience)?
        .into_iter()
        .map(|index| (index.name.clone(), show(&index)))
        .collect();
    Ok(Reply::ok(Value::Object(shown)))
}

/// Settings with those that the node sets itself.
fn show_settings(index: &Index, names: &[String], flat: bool) -> Value {
    let mut all = index.settings().flat.clone();
    all.entry(settings::PROVIDED_NAME.to_owned())
        .or_insert_with(|| index.name.clone());
    for (key, value) in [
        ("index.creation_date", index.created.to_string()),
        ("index.uuid", index.uuid.clone()),
        ("index.version.created", "8500003".to_owned()),
    ] {
        all.insert(key.to_owned(), value);
    }
    let chosen = settings::select(&all, names);
    if flat {
        return chosen
            .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
            .collect::<Map<_, _>>()
            .into();
    }
    settings::nest(chosen)
}

fn show_all(node: &Node, request: &Request, name: &str) -> Outcome<Reply> {
    let flat = request.flag("flat_settings", false)?;
    let state = node.state();
    each(node, request, name, |index| {
        let aliases: Map<String, Value> = state
            .indices
            .get(&index.name)
            .into_iter()
            .flat_map(|entry| &entry.aliases)
            .map(|(alias, of)| (alias.clone(), crate::search_node::cluster::show_alias(of)))
            .collect();
        json!({
            "aliases": aliases,
            "mappings": index.mapping().json(),
            "settings": show_settings(index, &[], flat),
        })
    })
}

/// A slip of the pen must not reach everything (`action.destructive_requires_name`).
fn by_name(name: &str) -> Outcome<()> {
    if name.contains('*') || name == "_all" {
        return Err(Failure::illegal(
            "Wildcard expressions or all indices are not allowed; name the indices",
        ));
    }
    Ok(())
}

async fn delete(node: &Arc<Node>, request: &Request, name: &str) -> Outcome<Reply> {
    known(request, &[])?;
    let mut indices = Vec::new();
    for part in name.split(',') {
        node.check_concrete(part)?;
        let part = &*names::dated(part, now_millis())?;
        let broken = node.broken().contains_key(part);
        if broken {
            indices.push(part.to_owned());
            continue;
        }
        let lenience = Lenience {
            closed: true,
            ..request.lenience()?
        };
        indices.extend(
            resolve(node, part, lenience)?
                .into_iter()
                .map(|index| index.name.clone()),
        );
    }
    let node = Arc::clone(node);
    blocking(move || {
        node.delete(&indices)?;
        Ok(Reply::acknowledged())
    })
    .await
}

async fn put_mapping(node: &Arc<Node>, request: &Request, name: &str) -> Outcome<Reply> {
    known(request, &["write_index_only"])?;
    let body = request.json()?;
    let indices = to_change(node, request, name, false)?;
    blocking(move || {
        // All or none: a conflict in one leaves the others as they are.
        for index in &indices {
            index.check(Operation::Metadata)?;
            index.mapping().merged(&body)?;
        }
        for index in &indices {
            index.add_fields(&body)?;
            // A search that follows may ask for the new fields.
            index.shard.refresh()?;
        }
        Ok(Reply::acknowledged())
    })
    .await
}

fn field_mapping(node: &Node, request: &Request, name: &str, fields: &str) -> Outcome<Reply> {
    each(node, request, name, |index| {
        let mapping: Arc<Mapping> = index.mapping();
        let mut shown = Map::new();
        for leaf in mapping.leaves() {
            if fields
                .split(',')
                .any(|pattern| names::matches(pattern, &leaf.path))
            {
                let last = leaf.path.rsplit('.').next().unwrap_or_default();
                let mut inner = Map::new();
                inner.insert(last.to_owned(), json!({"type": leaf.kind.name()}));
                shown.insert(
                    leaf.path.clone(),
                    json!({"full_name": leaf.path, "mapping": inner}),
                );
            }
        }
        json!({"mappings": shown})
    })
}

async fn open_close(
    node: &Arc<Node>,
    request: &Request,
    name: &str,
    close: bool,
) -> Outcome<Reply> {
    known(request, &["wait_for_active_shards"])?;
    by_name(name)?;
    let indices = to_change(node, request, name, !close)?;
    let node = Arc::clone(node);
    blocking(move || {
        let mut shown = Map::new();
        for index in &indices {
            if close {
                node.save(index)?;
            }
            shown.insert(index.name.clone(), json!({"closed": close}));
        }
        node.change(|state| {
            for index in &indices {
                if let Some(entry) = state.indices.get_mut(&index.name) {
                    entry.closed = close;
                }
            }
            Ok(())
        })?;
        let mut answer = json!({"acknowledged": true, "shards_acknowledged": true});
        if close {
            answer["indices"] = Value::Object(shown);
        }
        Ok(Reply::ok(answer))
    })
    .await
}

async fn maintain(
    node: &Arc<Node>,
    request: &Request,
    name: &str,
    work: impl Fn(&Node, &Index) -> Outcome<()> + Send + 'static,
) -> Outcome<Reply> {
    let lenience = Lenience {
        hidden: name == "*",
        ..request.lenience()?
    };
    let indices = resolve(node, name, lenience)?;
    let node = Arc::clone(node);
    blocking(move || {
        for index in &indices {
            work(&node, index)?;
        }
        let shards = indices.len();
        Ok(Reply::ok(
            json!({"_shards": {"total": shards, "successful": shards, "failed": 0}}),
        ))
    })
    .await
}

//! The REST interface.

mod analyze;
mod bulk;
mod by_query;
mod cat;
mod cat_snapshots;
mod coding;
mod documents;
mod elsewhere;
#[cfg(fuzzing)]
pub(super) mod fuzz;
mod indices;
mod info;
mod keys;
mod lifecycle;
mod msearch;
mod ndjson;
mod reading;
mod request;
mod searches;
mod security;
mod server;
mod snapshot_wishes;
mod snapshots;
mod snapshots_show;
mod stats;
mod sweep;
mod tasks;
mod templates;
mod update;

use std::sync::Arc;

use crate::search_node::cluster::Node;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::names;

pub(super) use request::{Reply, Request};
pub(super) use security::{Role, User, Users};
pub(super) use server::{Service, serve};

/// Runs work that blocks off the runtime; a panic of it ends this request alone.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> Outcome<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!("a request ended in a fault of the node: {error}");
            Err(Failure::internal(
                "the request met a fault of the node; the log has the details",
            ))
        }
    }
}

/// Answers a request, by method and path.
async fn route(node: &Arc<Node>, request: &Request) -> Outcome<Reply> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    let method = request.method.as_str();
    match (method, path.as_slice()) {
        ("GET" | "HEAD", []) => Ok(info::root(node)),
        (_, ["_snapshot", rest @ ..]) => snapshots::route(node, request, rest).await,
        (_, ["_bulk"] | [_, "_bulk"]) => bulk::bulk(node, request).await,
        ("GET" | "POST", ["_mget"] | [_, "_mget"]) => reading::mget(node, request).await,
        (
            _,
            [
                "_cluster"
                | "_nodes"
                | "_ping"
                | "_cat"
                | "_security"
                | "_analyze"
                | "_index_template"
                | "_component_template"
                | "_template"
                | "_aliases"
                | "_alias"
                | "_ilm"
                | "_data_stream",
                ..,
            ]
            | [
                _,
                "_alias" | "_aliases" | "_analyze" | "_ilm" | "_rollover",
                ..,
            ],
        ) => {
            let (node, request) = (Arc::clone(node), request.clone());
            blocking(move || short(&node, &request)).await
        }
        ("POST", [name, "_delete_by_query"]) => {
            by_query::by_query(node, request, name, by_query::Verb::Delete).await
        }
        ("POST", [name, "_update_by_query"]) => {
            by_query::by_query(node, request, name, by_query::Verb::Update).await
        }
        ("POST", ["_reindex"]) => by_query::reindex(node, request).await,
        (
            "POST",
            [
                "_delete_by_query" | "_update_by_query" | "_reindex",
                task,
                "_rethrottle",
            ],
        ) => tasks::rethrottle(node, request, task),
        (_, ["_tasks", rest @ ..]) => tasks::route(node, request, rest).await,
        ("POST" | "GET", ["_msearch"] | [_, "_msearch"]) => msearch::msearch(node, request).await,
        (_, ["_search", "scroll", ..] | ["_pit"] | [_, "_pit"]) => {
            searches::contexts(node, request, &path).await
        }
        ("GET" | "POST", ["_search"] | [_, "_search"]) => searches::search(node, request).await,
        ("GET" | "POST", ["_count"] | [_, "_count"]) => searches::count(node, request).await,
        (_, [_, "_doc" | "_create" | "_update" | "_source", ..]) => {
            documents::route(node, request, &path).await
        }
        (
            _,
            [
                "_all" | "_refresh" | "_flush" | "_forcemerge" | "_stats" | "_settings"
                | "_mapping",
                ..,
            ],
        ) => indices::route(node, request, &path).await,
        (_, [name, ..]) if !name.starts_with('_') => indices::route(node, request, &path).await,
        // Nothing of the API: the name of an index, and one that cannot be.
        ("PUT", [name]) => Err(names::check(name)
            .err()
            .unwrap_or_else(|| no_handler(request))),
        _ => Err(no_handler(request)),
    }
}

/// What is answered in one go, and may read or write a file.
fn short(node: &Arc<Node>, request: &Request) -> Outcome<Reply> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match (request.method.as_str(), path.as_slice()) {
        (_, ["_cat", rest @ ..]) => cat::route(node, request, rest),
        (_, ["_ilm", ..] | [_, "_ilm" | "_rollover", ..]) => lifecycle::route(node, request, &path),
        (_, ["_security", rest @ ..]) => keys::route(node, request, rest),
        ("GET" | "POST", ["_analyze"] | [_, "_analyze"]) => analyze::analyze(node, request),
        (_, ["_index_template" | "_component_template" | "_template", ..]) => {
            templates::route(node, request, &path)
        }
        (_, ["_aliases" | "_alias", ..] | [_, "_alias" | "_aliases", ..]) => {
            templates::aliases(node, request, &path)
        }
        ("GET", ["_data_stream"]) => Ok(no_data_streams()),
        ("GET", ["_data_stream", name]) if name.contains('*') => Ok(no_data_streams()),
        // Clients ask whether a name is a data stream, and take this for a no.
        ("GET", ["_data_stream", name]) => Err(Failure::no_index(name)),
        _ => info::route(node, request, &path),
    }
}

fn no_data_streams() -> Reply {
    Reply::ok(serde_json::json!({"data_streams": []}))
}

/// Nothing answers this method on this path.
fn no_handler(request: &Request) -> Failure {
    let path = format!("/{}", request.path.join("/"));
    let known = [
        "_async_search",
        "_autoscaling",
        "_cache",
        "_clone",
        "_cluster",
        "_disk_usage",
        "_downsample",
        "_features",
        "_field_usage_stats",
        "_fleet",
        "_graph",
        "_health_report",
        "_knn_search",
        "_logstash",
        "_migration",
        "_mvt",
        "_nodes",
        "_query_rules",
        "_recovery",
        "_reload_search_analyzers",
        "_remote",
        "_segments",
        "_shard_stores",
        "_shrink",
        "_simulate",
        "_split",
        "_ssl",
        "_synonyms",
        "_terms_enum",
        "_unfreeze",
        "template",
        "_ml",
        "_watcher",
        "_transform",
        "_sql",
        "_eql",
        "_ingest",
        "_scripts",
        "_rollup",
        "_ccr",
        "_enrich",
        "_data_stream",
        "_license",
        "_xpack",
        "_render",
        "_field_caps",
        "_rank_eval",
        "_search_shards",
        "_termvectors",
        "_mtermvectors",
        "_explain",
        "_validate",
        "_ilm",
        "_snapshot",
        "_slm",
        "_rollover",
        "_resolve",
        "_dangling",
    ];
    if request
        .path
        .iter()
        .any(|part| known.contains(&part.as_str()))
    {
        return Failure::unsupported(format!("{} {path}", request.method));
    }
    Failure::illegal(format!(
        "no handler found for uri [{path}] and method [{}]",
        request.method
    ))
}

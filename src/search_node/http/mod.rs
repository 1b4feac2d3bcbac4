//! The REST interface.

mod analyze;
mod bulk;
mod cat;
mod documents;
#[cfg(fuzzing)]
pub(super) mod fuzz;
mod indices;
mod info;
mod keys;
mod msearch;
mod ndjson;
mod reading;
mod request;
mod searches;
mod security;
mod server;
mod stats;
mod templates;
mod update;

use std::sync::Arc;

use crate::search_node::cluster::Node;
use crate::search_node::failure::{Failure, Outcome};

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
        (_, ["_bulk"] | [_, "_bulk"]) => bulk::bulk(node, request).await,
        ("GET" | "POST", ["_mget"] | [_, "_mget"]) => reading::mget(node, request).await,
        (
            _,
            [
                "_cluster"
                | "_nodes"
                | "_tasks"
                | "_ping"
                | "_cat"
                | "_security"
                | "_analyze"
                | "_index_template"
                | "_component_template"
                | "_template"
                | "_aliases"
                | "_alias",
                ..,
            ]
            | [_, "_alias" | "_aliases" | "_analyze", ..],
        ) => {
            let (node, request) = (Arc::clone(node), request.clone());
            blocking(move || short(&node, &request)).await
        }
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
        _ => Err(no_handler(request)),
    }
}

/// What is answered in one go, and may read or write a file.
fn short(node: &Arc<Node>, request: &Request) -> Outcome<Reply> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match (request.method.as_str(), path.as_slice()) {
        (_, ["_cat", rest @ ..]) => cat::route(node, request, rest),
        (_, ["_security", rest @ ..]) => keys::route(node, request, rest),
        ("GET" | "POST", ["_analyze"] | [_, "_analyze"]) => analyze::analyze(node, request),
        (_, ["_index_template" | "_component_template" | "_template", ..]) => {
            templates::route(node, request, &path)
        }
        (_, ["_aliases" | "_alias", ..] | [_, "_alias" | "_aliases", ..]) => {
            templates::aliases(node, request, &path)
        }
        _ => info::route(node, request, &path),
    }
}

/// Nothing answers this method on this path.
fn no_handler(request: &Request) -> Failure {
    let path = format!("/{}", request.path.join("/"));
    let known = [
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
        "_delete_by_query",
        "_update_by_query",
        "_reindex",
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

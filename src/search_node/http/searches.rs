//! Searches over HTTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::blocking;
use super::reading::source_filter;
use super::request::{Reply, Request};
use crate::search_node::cluster::settings::Operation;
use crate::search_node::cluster::{Lenience, Node};
use crate::search_node::dates::parse_duration_millis;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::search::{self, Kept, Source};

/// Parameters of a search that stand for members of its body.
const SEARCH_PARAMS: &[&str] = &[
    "_source",
    "_source_excludes",
    "_source_includes",
    "allow_no_indices",
    "allow_partial_search_results",
    "analyze_wildcard",
    "analyzer",
    "batched_reduce_size",
    "ccs_minimize_roundtrips",
    "default_operator",
    "df",
    "expand_wildcards",
    "from",
    "ignore_throttled",
    "ignore_unavailable",
    "lenient",
    "max_concurrent_shard_requests",
    "pre_filter_shard_size",
    "preference",
    "q",
    "request_cache",
    "rest_total_hits_as_int",
    "routing",
    "scroll",
    "search_type",
    "seq_no_primary_term",
    "size",
    "sort",
    "track_scores",
    "track_total_hits",
    "typed_keys",
    "version",
];

/// The indices of a search, as they are now.
fn sources(node: &Node, expression: &str, lenience: Lenience) -> Outcome<Vec<Source>> {
    node.resolve(expression, lenience)?
        .into_iter()
        .map(|target| {
            target.index.check(Operation::Read)?;
            Ok(Source {
                view: target.index.shard.view(),
                index: target.index,
                filters: target.filters,
            })
        })
        .collect()
}

fn expression(request: &Request) -> String {
    match request.path.as_slice() {
        [name, _] => name.clone(),
        _ => "*".to_owned(),
    }
}

/// The body of a search with the parameters of its path put in.
fn body_of(request: &Request) -> Outcome<Value> {
    let mut body = match request.json()? {
        Value::Null => Map::new(),
        Value::Object(body) => body,
        _ => return Err(Failure::parsing("the body of a search must be an object")),
    };
    for key in [
        "from",
        "size",
        "track_total_hits",
        "track_scores",
        "version",
        "seq_no_primary_term",
    ] {
        if let Some(value) = request.param(key) {
            let value = if value.is_empty() { "true" } else { value };
            body.insert(key.to_owned(), value.into());
        }
    }
    if let Some(sort) = request.param("sort") {
        let keys: Vec<&str> = sort.split(',').collect();
        body.insert("sort".to_owned(), json!(keys));
    }
    if let Some(query) = request.param("q") {
        let mut string = json!({"query": query});
        for (param, member) in [
            ("df", "default_field"),
            ("default_operator", "default_operator"),
            ("analyzer", "analyzer"),
            ("lenient", "lenient"),
        ] {
            if let Some(value) = request.param(param) {
                string[member] = value.into();
            }
        }
        body.insert("query".to_owned(), json!({"query_string": string}));
    }
    Ok(Value::Object(body))
}

fn read_request(request: &Request) -> Outcome<search::Request> {
    let mut parsed = search::Request::parse(&body_of(request)?)?;
    if ["_source", "_source_includes", "_source_excludes"]
        .iter()
        .any(|key| request.param(key).is_some())
    {
        parsed.source = source_filter(request)?;
    }
    if request
        .param("search_type")
        .is_some_and(|kind| kind != "query_then_fetch" && kind != "dfs_query_then_fetch")
    {
        return Err(Failure::illegal("No search type for this [search_type]"));
    }
    if request.flag("typed_keys", false)? || request.flag("rest_total_hits_as_int", false)? {
        return Err(Failure::unsupported(
            "[typed_keys] and [rest_total_hits_as_int] of a search",
        ));
    }
    Ok(parsed)
}

fn keep_alive(text: &str) -> Outcome<Duration> {
    let millis =
        parse_duration_millis(text).map_err(|error| Failure::illegal(error.to_string()))?;
    let time = Duration::from_millis(millis);
    if time > Duration::from_secs(24 * 3600) {
        return Err(Failure::illegal(format!(
            "Keep alive for request ({text}) is too large. It must be less than (1d)."
        )));
    }
    Ok(time)
}

pub(super) async fn search(node: &Arc<Node>, request: &Request) -> Outcome<Reply> {
    request.known(SEARCH_PARAMS)?;
    let mut parsed = read_request(request)?;
    let (expression, lenience) = (expression(request), request.lenience()?);
    let scroll = request.param("scroll").map(keep_alive).transpose()?;
    if scroll.is_some()
        && (parsed.from > 0 || parsed.search_after.is_some() || parsed.pit.is_some())
    {
        return Err(Failure::illegal(
            "`from`, `search_after` and `pit` cannot be used in a scroll context",
        ));
    }
    parsed.scroll = scroll.is_some();
    let by_path = request.path.len() > 1;
    let node = Arc::clone(node);
    blocking(move || {
        let mut pit_id = None;
        let sources = match &parsed.pit {
            Some(_) if by_path => {
                return Err(Failure::illegal("[indices] cannot be used with point in time. Do not specify any index with point in time."));
            }
            Some((id, keep)) => {
                let keep = keep.as_deref().map(keep_alive).transpose()?;
                let kept = node.contexts.get(id, keep)?;
                pit_id = Some(id.clone());
                kept.sources.clone()
            }
            None => sources(&node, &expression, lenience)?,
        };
        let mut answer = search::search(&sources, &parsed, None)?;
        answer.pit_id = pit_id;
        if let Some(keep) = scroll {
            let last = answer.last.take();
            answer.scroll_id = Some(node.contexts.add(Kept { sources, request: Some(Arc::new(parsed)), last }, keep)?);
        }
        Reply::written(200, &answer)
    })
    .await
}

pub(super) async fn count(node: &Arc<Node>, request: &Request) -> Outcome<Reply> {
    request.known(SEARCH_PARAMS)?;
    let body = body_of(request)?;
    if let Some(key) = body
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key)
        .find(|key| *key != "query")
    {
        return Err(Failure::parsing(format!(
            "request does not support [{key}]"
        )));
    }
    let (expression, lenience) = (expression(request), request.lenience()?);
    let node = Arc::clone(node);
    blocking(move || {
        let sources = sources(&node, &expression, lenience)?;
        let count = search::count(&sources, body.get("query"))?;
        let shards = sources.len();
        Ok(Reply::ok(json!({
            "count": count,
            "_shards": {"total": shards, "successful": shards, "skipped": 0, "failed": 0},
        })))
    })
    .await
}

/// Scrolls, points in time, and several searches in one request.
pub(super) async fn contexts(node: &Arc<Node>, request: &Request, path: &[&str]) -> Outcome<Reply> {
    match (request.method.as_str(), path) {
        ("POST" | "GET", ["_search", "scroll", rest @ ..]) => scroll(node, request, rest).await,
        ("DELETE", ["_search", "scroll", rest @ ..]) => {
            let body = request.json()?;
            let ids = match (rest, &body["scroll_id"]) {
                ([ids], _) => ids.split(',').map(str::to_owned).collect(),
                (_, Value::String(id)) => vec![id.clone()],
                (_, Value::Array(ids)) => ids
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
                _ => return Err(Failure::illegal("[scroll_id] is missing")),
            };
            let freed = node.contexts.remove(&ids);
            let status = if freed > 0 { 200 } else { 404 };
            Ok(Reply::Json(
                status,
                json!({"succeeded": true, "num_freed": freed}),
            ))
        }
        ("POST", [name, "_pit"]) => {
            request.known(&[
                "allow_no_indices",
                "expand_wildcards",
                "ignore_unavailable",
                "keep_alive",
                "preference",
                "routing",
            ])?;
            let keep = request
                .param("keep_alive")
                .ok_or_else(|| Failure::illegal("[keep_alive] is missing"))?;
            let kept = Kept {
                sources: sources(node, name, request.lenience()?)?,
                request: None,
                last: None,
            };
            let id = node.contexts.add(kept, keep_alive(keep)?)?;
            Ok(Reply::ok(json!({"id": id})))
        }
        ("DELETE", ["_pit"]) => {
            let body = request.json()?;
            let Some(id) = body["id"].as_str() else {
                return Err(Failure::illegal("[id] is missing"));
            };
            let freed = node.contexts.remove(&[id.to_owned()]);
            let status = if freed > 0 { 200 } else { 404 };
            Ok(Reply::Json(
                status,
                json!({"succeeded": freed > 0, "num_freed": freed}),
            ))
        }
        ("POST" | "GET", ["_msearch"] | [_, "_msearch"]) => msearch(node, request).await,
        _ => Err(super::no_handler(request)),
    }
}

async fn scroll(node: &Arc<Node>, request: &Request, rest: &[&str]) -> Outcome<Reply> {
    request.known(&["scroll", "scroll_id", "rest_total_hits_as_int"])?;
    let body = request.json()?;
    let id = match (rest, body["scroll_id"].as_str(), request.param("scroll_id")) {
        ([id], ..) => (*id).to_owned(),
        (_, Some(id), _) | (_, None, Some(id)) => id.to_owned(),
        _ => return Err(Failure::illegal("[scroll_id] is missing")),
    };
    let keep = body["scroll"]
        .as_str()
        .or(request.param("scroll"))
        .map(keep_alive)
        .transpose()?;
    let node = Arc::clone(node);
    blocking(move || {
        let kept = node.contexts.get(&id, keep)?;
        let Some(parsed) = kept.request.clone() else {
            return Err(Failure::illegal("this is a point in time, not a scroll"));
        };
        let mut answer = search::search(&kept.sources, &parsed, kept.last.as_ref())?;
        if kept.last.is_none() {
            // The first page was empty already.
            answer.hits.found.clear();
        }
        if let Some(last) = answer.last.take() {
            node.contexts.advance(&id, last);
        }
        answer.scroll_id = Some(id);
        Reply::written(200, &answer)
    })
    .await
}

async fn msearch(node: &Arc<Node>, request: &Request) -> Outcome<Reply> {
    request.known(&[
        "ccs_minimize_roundtrips",
        "max_concurrent_searches",
        "max_concurrent_shard_requests",
        "pre_filter_shard_size",
        "rest_total_hits_as_int",
        "search_type",
        "typed_keys",
    ])?;
    let default = match request.path.as_slice() {
        [name, _] => name.clone(),
        _ => "*".to_owned(),
    };
    let lines: Vec<&[u8]> = request.body.split(|byte| *byte == b'\n').collect();
    let lines: Vec<&[u8]> = match lines.split_last() {
        Some((&[], rest)) => rest.to_vec(),
        _ => {
            return Err(Failure::illegal(
                "The msearch request must be terminated by a newline [\\n]",
            ));
        }
    };
    if lines.is_empty() || !lines.len().is_multiple_of(2) {
        return Err(Failure::illegal(
            "a msearch request is pairs of lines: where to search, and a search",
        ));
    }
    let read = |number: usize, line: &[u8]| -> Outcome<Value> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(json!({}));
        }
        serde_json::from_slice(line).map_err(|error| {
            Failure::parsing(format!("line [{}] is no valid JSON: {error}", number + 1))
        })
    };
    let mut searches = Vec::new();
    for (number, pair) in lines.chunks_exact(2).enumerate() {
        let [head, body] = pair else { continue };
        searches.push((read(number * 2, head)?, read(number * 2 + 1, body)?));
    }
    let node = Arc::clone(node);
    blocking(move || {
        let began = Instant::now();
        let mut out: Vec<u8> = Vec::new();
        for (head, body) in searches {
            let one = || -> Outcome<Vec<u8>> {
                let name = match &head["index"] {
                    Value::String(name) => name.clone(),
                    Value::Array(names) => names
                        .iter()
                        .filter_map(Value::as_str)
                        .collect::<Vec<_>>()
                        .join(","),
                    _ => default.clone(),
                };
                let lenience = Lenience {
                    ignore_unavailable: head["ignore_unavailable"] == true,
                    ..Lenience::default()
                };
                let parsed = search::Request::parse(&body)?;
                let mut answer = search::search(&sources(&node, &name, lenience)?, &parsed, None)?;
                answer.status = Some(200);
                serde_json::to_vec(&answer).map_err(|error| Failure::internal(error.to_string()))
            };
            if !out.is_empty() {
                out.push(b',');
            }
            out.extend(one().unwrap_or_else(|failure| failure.body().to_string().into_bytes()));
        }
        let mut whole =
            format!("{{\"took\":{},\"responses\":[", began.elapsed().as_millis()).into_bytes();
        whole.extend(out);
        whole.extend(b"]}");
        Ok(Reply::Raw(200, whole))
    })
    .await
}

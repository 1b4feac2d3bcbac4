//! Searches over HTTP.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::blocking;
use super::reading::source_filter;
use super::request::{Reply, Request};
use super::security::Role;
use crate::search_node::cluster::settings::Operation;
use crate::search_node::cluster::{Lenience, Node, now_millis, unavailable};
use crate::search_node::dates::parse_duration_millis;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::search::{self, Answer, Kept, Run, Source, Track};

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
    "suggest_field",
    "suggest_mode",
    "suggest_size",
    "suggest_text",
    "track_scores",
    "track_total_hits",
    "typed_keys",
    "version",
];

/// Other forms of an answer, which there are not.
pub(super) const FORMS: &[(&str, &str)] =
    &[("typed_keys", "false"), ("rest_total_hits_as_int", "false")];

/// The indices of a search, as they are now, and how many cannot answer.
pub(super) fn sources(
    node: &Node,
    expression: &str,
    lenience: Lenience,
) -> Outcome<(Vec<Source>, usize)> {
    let found = node.resolve(expression, lenience)?;
    let broken = if lenience.ignore_unavailable {
        Vec::new()
    } else {
        node.broken_among(expression)
    };
    if found.is_empty()
        && let Some((name, why)) = broken.first()
    {
        return Err(unavailable(name, why));
    }
    let sources = found.into_iter().map(|target| {
        target.index.check(Operation::Read)?;
        Ok(Source {
            view: target.index.shard.view(),
            index: target.index,
            filters: target.filters,
        })
    });
    Ok((sources.collect::<Outcome<_>>()?, broken.len()))
}

/// Runs one search: over `expression`, or the point in time that it names.
pub(super) fn run(
    node: &Node,
    expression: Option<&str>,
    lenience: Lenience,
    parsed: &search::Request,
    run: &mut Run,
) -> Outcome<(Vec<Source>, Answer)> {
    let sources = match (&parsed.pit, expression) {
        (Some(_), Some(_)) => {
            return Err(Failure::illegal(
                "[indices] cannot be used with point in time. Do not specify any index with point \
                 in time.",
            ));
        }
        (Some((id, keep)), None) => {
            let keep = keep.as_deref().map(keep_alive).transpose()?;
            node.contexts.get(id, keep)?.sources
        }
        (None, expression) => {
            let (sources, failed) = sources(node, expression.unwrap_or("*"), lenience)?;
            run.failed = failed;
            sources
        }
    };
    let mut answer = search::search(&sources, parsed, run)?;
    answer.pit_id = parsed.pit.as_ref().map(|(id, _)| id.clone());
    Ok((sources, answer))
}

/// The indices in the path, if it names any.
pub(super) fn expression(request: &Request) -> Option<String> {
    match request.path.as_slice() {
        [name, _] => Some(name.clone()),
        _ => None,
    }
}

/// The body of a search with the parameters of its path put in.
pub(super) fn body_of(request: &Request) -> Outcome<Value> {
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
        "timeout",
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
    if let Some(field) = request.param("suggest_field") {
        body.insert("suggest".to_owned(), suggest_of(request, field));
    }
    Ok(Value::Object(body))
}

/// The suggestion that the parameters ask for; it is named like its field.
fn suggest_of(request: &Request, field: &str) -> Value {
    let mut term = json!({"field": field});
    for (param, member) in [("suggest_mode", "suggest_mode"), ("suggest_size", "size")] {
        if let Some(value) = request.param(param) {
            term[member] = value.into();
        }
    }
    let mut suggestion = json!({"term": term});
    if let Some(text) = request.param("suggest_text").or(request.param("q")) {
        suggestion["text"] = text.into();
    }
    json!({field: suggestion})
}

fn read_request(request: &Request) -> Outcome<search::Request> {
    let mut parsed = search::Request::parse(&body_of(request)?)?;
    if ["_source", "_source_includes", "_source_excludes"]
        .iter()
        .any(|key| request.param(key).is_some())
    {
        parsed.source = source_filter(request)?;
    }
    request.only(FORMS)?;
    if request
        .param("search_type")
        .is_some_and(|kind| kind != "query_then_fetch" && kind != "dfs_query_then_fetch")
    {
        return Err(Failure::illegal("No search type for this [search_type]"));
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
    let (node, request) = (Arc::clone(node), request.clone());
    blocking(move || {
        let mut parsed = read_request(&request)?;
        let scroll = request.param("scroll").map(keep_alive).transpose()?;
        if scroll.is_some() {
            begin_scroll(&mut parsed)?;
        }
        let mut how = Run::new();
        let expression = expression(&request);
        let lenience = request.lenience()?;
        let (sources, mut answer) = run(&node, expression.as_deref(), lenience, &parsed, &mut how)?;
        if sources.len() > 1 && request.param("search_type") == Some("dfs_query_then_fetch") {
            return Err(Failure::unsupported(
                "[search_type=dfs_query_then_fetch] over more than one index",
            ));
        }
        if let Some(keep) = scroll {
            // The pages that follow have no aggregations and suggestions.
            parsed.aggs = None;
            parsed.suggest = None;
            let kept = Kept {
                sources,
                request: Some(Arc::new(parsed)),
                last: answer.last.take(),
                now: how.now,
            };
            answer.scroll_id = Some(node.contexts.add(kept, keep)?);
        }
        Reply::written(200, &answer)
    })
    .await
}

/// What a scroll may not be, and what it is: its total is exact.
fn begin_scroll(parsed: &mut search::Request) -> Outcome<()> {
    if parsed.from > 0 || parsed.search_after.is_some() || parsed.pit.is_some() {
        return Err(Failure::illegal(
            "`from`, `search_after` and `pit` cannot be used in a scroll context",
        ));
    }
    if parsed.is_suggest_only() {
        return Err(Failure::illegal(
            "[suggest] alone has no hits to scroll through; add a [query]",
        ));
    }
    if parsed.size == 0 {
        return Err(Failure::illegal("[size] cannot be [0] in a scroll context"));
    }
    parsed.track = Track::All;
    Ok(())
}

pub(super) async fn count(node: &Arc<Node>, request: &Request) -> Outcome<Reply> {
    request.known(SEARCH_PARAMS)?;
    let (node, request) = (Arc::clone(node), request.clone());
    blocking(move || {
        let body = body_of(&request)?;
        let members = body.as_object().into_iter().flatten();
        if let Some((key, _)) = members.into_iter().find(|(key, _)| *key != "query") {
            return Err(Failure::parsing(format!(
                "request does not support [{key}]"
            )));
        }
        let expression = expression(&request);
        let expression = expression.as_deref().unwrap_or("*");
        let mut how = Run::new();
        let (sources, failed) = sources(&node, expression, request.lenience()?)?;
        how.failed = failed;
        let (count, shards) = search::count(&sources, body.get("query"), &how)?;
        Ok(Reply::ok(json!({"count": count, "_shards": shards})))
    })
    .await
}

/// Scrolls and points in time.
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
            let all = ids.iter().any(|id| id == "_all");
            if all && request.role != Role::Admin {
                return Err(Failure::new(
                    403,
                    "security_exception",
                    "closing the scrolls of all users is for administrators; name your own",
                ));
            }
            let freed = if all {
                node.contexts.remove_scrolls()
            } else {
                node.contexts.remove(&ids)
            };
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
            if !request.json()?.is_null() {
                return Err(Failure::unsupported(
                    "a body, such as [index_filter], of _pit",
                ));
            }
            let (sources, failed) = sources(node, name, request.lenience()?)?;
            if failed > 0 {
                return Err(Failure::new(
                    503,
                    "search_phase_execution_exception",
                    format!("{failed} of the indices could not be opened; name the others"),
                ));
            }
            let kept = Kept {
                sources,
                request: None,
                last: None,
                now: now_millis(),
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
        _ => Err(super::no_handler(request)),
    }
}

async fn scroll(node: &Arc<Node>, request: &Request, rest: &[&str]) -> Outcome<Reply> {
    request.known(&["scroll", "scroll_id", "rest_total_hits_as_int"])?;
    request.only(FORMS)?;
    let body = request.json()?;
    let id = match (rest, body["scroll_id"].as_str(), request.param("scroll_id")) {
        ([id], ..) => (*id).to_owned(),
        (_, Some(id), _) | (_, None, Some(id)) => id.to_owned(),
        _ => return Err(Failure::illegal("[scroll_id] is missing")),
    };
    let keep = body["scroll"].as_str().or(request.param("scroll"));
    let keep = keep.map(keep_alive).transpose()?;
    let node = Arc::clone(node);
    blocking(move || {
        let kept = node.contexts.get(&id, keep)?;
        let Some(parsed) = kept.request.clone() else {
            return Err(Failure::illegal("this is a point in time, not a scroll"));
        };
        let how = Run {
            after: kept.last.clone(),
            now: kept.now,
            ..Run::new()
        };
        let mut answer = search::search(&kept.sources, &parsed, &how)?;
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

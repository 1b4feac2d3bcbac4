//! Changing or deleting what a query finds, and copying it to another index.

use std::sync::Arc;

use serde_json::{Value, json};

use super::blocking;
use super::documents::node_index;
use super::request::{Reply, Request};
use super::searches::{body_of, sources};
use super::sweep::{BATCH, Make, Plan, sweep};
use super::tasks::run;
use crate::search_node::PRIMARY_TERM;
use crate::search_node::cluster::settings::Operation;
use crate::search_node::cluster::{Index, Lenience, Node};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::query::Params;
use crate::search_node::search::{self, Hit, Source};
use crate::search_node::shard::{Change, Condition, Write};

/// Parameters of all of these requests.
const COMMON: &[&str] = &[
    "max_docs",
    "refresh",
    "requests_per_second",
    "scroll",
    "slices",
    "wait_for_active_shards",
    "wait_for_completion",
];

/// Parameters of those with a query in their body.
const BY_QUERY: &[&str] = &[
    "allow_no_indices",
    "analyzer",
    "conflicts",
    "default_operator",
    "df",
    "expand_wildcards",
    "ignore_unavailable",
    "lenient",
    "pipeline",
    "preference",
    "q",
    "request_cache",
    "scroll_size",
    "search_timeout",
    "search_type",
    "sort",
];

/// What such a request does to a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Deletes it.
    Delete,
    /// Indexes it again, under the mapping as it is now.
    Update,
}

/// Whether to go on after conflicts.
fn proceeds(value: Option<&str>) -> Outcome<bool> {
    match value {
        None | Some("abort") => Ok(false),
        Some("proceed") => Ok(true),
        Some(other) => Err(Failure::illegal(format!(
            "conflicts may only be \"proceed\" or \"abort\" but was [{other}]"
        ))),
    }
}

/// Documents at most, from the parameter or the body.
fn max_docs(request: &Request, body: &Params<'_>) -> Outcome<Option<u64>> {
    let in_body = body.count("max_docs")?.map(|max| max as u64);
    let in_path = request.count("max_docs")?;
    match (in_path, in_body) {
        (Some(0), _) | (_, Some(0)) => Err(Failure::illegal(
            "[max_docs] parameter cannot be negative or zero; leave it out for all documents",
        )),
        (Some(one), Some(other)) if one != other => Err(Failure::illegal(format!(
            "[max_docs] set to two different values [{one}] and [{other}]"
        ))),
        (one, other) => Ok(one.or(other)),
    }
}

/// All of them go one after the other.
fn check_slices(request: &Request) -> Outcome<()> {
    match request.param("slices") {
        None | Some("1" | "auto") => Ok(()),
        Some(other) => Err(Failure::unsupported(format!("[slices={other}]"))),
    }
}

/// Documents of a batch: at least 1, and no more than a page of a search may have.
fn batch(size: Option<u64>) -> Outcome<usize> {
    match size {
        None => Ok(BATCH),
        Some(size) => match usize::try_from(size) {
            Ok(size @ 1..=10_000) => Ok(size),
            _ => Err(Failure::illegal(format!(
                "[scroll_size] must be between 1 and 10000, found [{size}]"
            ))),
        },
    }
}

/// The search that finds the documents.
fn finds(
    query: Option<&Value>,
    sort: Option<&Value>,
    source: &Value,
    timeout: Option<&str>,
) -> Outcome<search::Request> {
    let mut body = json!({"_source": source, "seq_no_primary_term": true, "version": true});
    if let Some(query) = query {
        body["query"] = query.clone();
    }
    body["sort"] = sort.cloned().unwrap_or_else(|| json!(["_doc"]));
    if let Some(timeout) = timeout {
        body["timeout"] = timeout.into();
    }
    search::Request::parse(&body)
}

/// The indices to go over; all of them must answer.
fn all_sources(node: &Node, expression: &str, lenience: Lenience) -> Outcome<Vec<Source>> {
    let (sources, failed) = sources(node, expression, lenience)?;
    if failed > 0 {
        return Err(Failure::new(
            503,
            "search_phase_execution_exception",
            format!("{failed} of the indices could not be opened; name the others"),
        ));
    }
    Ok(sources)
}

/// The condition that the document is as it was found.
fn unchanged(hit: &Hit) -> Condition {
    Condition {
        unchanged: hit.seq_no.map(|seq| (seq, PRIMARY_TERM)),
        ..Condition::default()
    }
}

fn index_of(sources: &[Source], name: &str) -> Outcome<Arc<Index>> {
    let mut indices = sources.iter().map(|source| &source.index);
    let found = indices.find(|index| index.name == name);
    found.cloned().ok_or_else(|| Failure::no_index(name))
}

/// The document of a hit.
fn document(hit: &Hit) -> Outcome<Arc<[u8]>> {
    let source = hit.source.as_ref();
    let source = source.ok_or_else(|| Failure::internal("a hit without its document"))?;
    Ok(source.get().as_bytes().into())
}

/// `_delete_by_query` and `_update_by_query` of the indices `name`.
pub(super) async fn by_query(
    node: &Arc<Node>,
    request: &Request,
    name: &str,
    verb: Verb,
) -> Outcome<Reply> {
    request.known(&[COMMON, BY_QUERY].concat())?;
    request.only(&[("pipeline", "_none")])?;
    check_slices(request)?;
    let (work, asked, expression) = (Arc::clone(node), request.clone(), name.to_owned());
    let plan = blocking(move || plan_by_query(&work, &asked, &expression, verb)).await?;
    let action = match verb {
        Verb::Delete => "indices:data/write/delete/byquery",
        Verb::Update => "indices:data/write/update/byquery",
    };
    let make: Make = Arc::new(move |sources, hit| {
        let index = index_of(sources, &hit.index)?;
        let condition = unchanged(&hit);
        let change = match verb {
            Verb::Delete => Change::Delete,
            Verb::Update => index.read(&hit.id, document(&hit)?)?,
        };
        Ok((
            index,
            Write {
                id: hit.id,
                change,
                condition,
            },
        ))
    });
    let (work, whole) = (Arc::clone(node), format!("[{name}]"));
    run(node, request, action, whole, |task| async move {
        let mut answer = sweep(work, task, plan, make).await?;
        // A member that can only be 0 is not shown.
        let absent: &[&str] = match verb {
            Verb::Delete => &["created", "updated"],
            Verb::Update => &["created"],
        };
        if let Some(answer) = answer.as_object_mut() {
            answer.retain(|key, _| !absent.contains(&key.as_str()));
        }
        Ok(answer)
    })
    .await
}

fn plan_by_query(node: &Node, request: &Request, name: &str, verb: Verb) -> Outcome<Plan> {
    let mut body = body_of(request)?;
    // How long a write waits for other copies: there are none. A search has [search_timeout].
    if request.param("timeout").is_some()
        && let Some(body) = body.as_object_mut()
    {
        body.remove("timeout");
    }
    let params = Params::of("by query", &body)?;
    for key in ["script", "slice"] {
        if params.get(key).is_some() {
            return Err(Failure::unsupported(format!(
                "[{key}] of a by-query request"
            )));
        }
    }
    let query = params.get("query");
    if query.is_none() && verb == Verb::Delete {
        return Err(Failure::new(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: query is missing;",
        ));
    }
    let conflicts = params.text("conflicts")?;
    let max_docs = max_docs(request, &params)?;
    let parsed = finds(
        query,
        params.get("sort"),
        &(verb == Verb::Update).into(),
        request.param("search_timeout"),
    )?;
    params.finish()?;
    let sources = all_sources(node, name, request.lenience()?)?;
    for source in &sources {
        source.index.check(Operation::Write)?;
    }
    Ok(Plan {
        sources,
        request: parsed,
        batch: batch(request.count("scroll_size")?)?,
        max_docs,
        proceeds: proceeds(request.param("conflicts").or(conflicts.as_deref()))?,
        refreshes: request.flag("refresh", false)?,
    })
}

/// Where `_reindex` puts documents, and how.
#[derive(Debug, Clone)]
struct Dest {
    name: String,
    create: bool,
    /// Whether a document keeps its version, and wins over older ones only.
    external: Option<bool>,
}

impl Dest {
    fn parse(body: &Value) -> Outcome<Self> {
        let params = Params::of("dest", body)?;
        if params.text("pipeline")?.is_some_and(|name| name != "_none") {
            return Err(Failure::unsupported("[pipeline] of a reindex"));
        }
        // Every index has one shard: where a document goes does not depend on its routing.
        if params.text("routing")?.is_some_and(|how| how != "keep") {
            return Err(Failure::unsupported(
                "[routing] of a reindex other than [keep]",
            ));
        }
        let dest = Self {
            name: params.need_text("index")?,
            create: match params.text("op_type")?.as_deref() {
                None | Some("index") => false,
                Some("create") => true,
                Some(other) => {
                    return Err(Failure::illegal(format!(
                        "opType must be 'create' or 'index', found: [{other}]"
                    )));
                }
            },
            external: match params.text("version_type")?.as_deref() {
                None | Some("internal") => None,
                Some("external" | "external_gt") => Some(false),
                Some("external_gte") => Some(true),
                Some(other) => {
                    return Err(Failure::illegal(format!("No version type match [{other}]")));
                }
            },
        };
        params.finish()?;
        Ok(dest)
    }
}

/// `_reindex`.
pub(super) async fn reindex(node: &Arc<Node>, request: &Request) -> Outcome<Reply> {
    request.known(&[COMMON, &["require_alias"]].concat())?;
    request.only(&[("require_alias", "false")])?;
    check_slices(request)?;
    let (work, asked) = (Arc::clone(node), request.clone());
    let (plan, dest, from) = blocking(move || plan_reindex(&work, &asked)).await?;
    let target = node_index(node, &dest.name).await?;
    target.check(Operation::Write)?;
    if plan
        .sources
        .iter()
        .any(|source| source.index.name == target.name)
    {
        return Err(Failure::new(
            400,
            "action_request_validation_exception",
            format!(
                "Validation Failed: 1: reindex cannot write into an index its reading from [{}];",
                target.name
            ),
        ));
    }
    let to = Arc::clone(&target);
    let (create, external) = (dest.create, dest.external);
    let make: Make = Arc::new(move |_, hit| {
        let change = to.read(&hit.id, document(&hit)?)?;
        let condition = Condition {
            create,
            external: external.and_then(|or_equal| Some((hit.version?, or_equal))),
            ..Condition::default()
        };
        Ok((
            Arc::clone(&to),
            Write {
                id: hit.id,
                change,
                condition,
            },
        ))
    });
    let description = format!("reindex from [{from}] to [{}]", dest.name);
    let (work, action) = (Arc::clone(node), "indices:data/write/reindex");
    run(node, request, action, description, |task| {
        sweep(work, task, plan, make)
    })
    .await
}

fn plan_reindex(node: &Node, request: &Request) -> Outcome<(Plan, Dest, String)> {
    let body = request.json()?;
    let params = Params::of("reindex", &body)?;
    if params.get("script").is_some() {
        return Err(Failure::unsupported("[script] of a reindex"));
    }
    let dest = Dest::parse(params.need("dest")?)?;
    let conflicts = params.text("conflicts")?;
    let max_docs = max_docs(request, &params)?;
    let source = Params::of("source", params.need("source")?)?;
    if params.get("size").is_some() {
        return Err(Failure::illegal(
            "[size] of a reindex is called [max_docs] since Elasticsearch 8",
        ));
    }
    params.finish()?;
    for key in ["remote", "slice", "runtime_mappings"] {
        if source.get(key).is_some() {
            return Err(Failure::unsupported(format!("[{key}] of a reindex")));
        }
    }
    let from = match source.need("index")? {
        Value::Array(names) => {
            let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
            names
                .ok_or_else(|| Failure::parsing("[source.index] must be names"))?
                .join(",")
        }
        _ => source.need_text("index")?,
    };
    if from.is_empty() {
        return Err(Failure::illegal("[source.index] names no index"));
    }
    let shown = source.get("_source").cloned();
    let parsed = finds(
        source.get("query"),
        source.get("sort"),
        &shown.unwrap_or(true.into()),
        None,
    )?;
    let size = source.count("size")?.map(|size| size as u64);
    source.finish()?;
    let sources = all_sources(node, &from, Lenience::default())?;
    let plan = Plan {
        sources,
        request: parsed,
        batch: batch(size)?,
        max_docs,
        proceeds: proceeds(conflicts.as_deref())?,
        refreshes: request.flag("refresh", false)?,
    };
    Ok((plan, dest, from))
}

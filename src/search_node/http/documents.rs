//! Single documents: written, deleted, and where each path goes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::blocking;
use super::reading::{get, source};
use super::request::{Reply, Request};
use super::update::update;
use crate::search_node::PRIMARY_TERM;
use crate::search_node::cluster::settings::Operation;
use crate::search_node::cluster::{Index, Node};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::shard::{Change, Condition, Write, Written};

/// Longest id, in bytes.
const MAX_ID: usize = 512;

/// How soon a write is seen by searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refresh {
    /// At the next refresh.
    Later,
    /// At once.
    Now,
    /// The answer waits for the next refresh.
    Wait,
}

impl Refresh {
    pub(super) fn parse(request: &Request) -> Outcome<Self> {
        match request.param("refresh") {
            None | Some("false") => Ok(Refresh::Later),
            Some("" | "true") => Ok(Refresh::Now),
            Some("wait_for") => Ok(Refresh::Wait),
            Some(other) => Err(Failure::illegal(format!(
                "Unknown value for refresh: [{other}]."
            ))),
        }
    }
}

/// Waits until what was written to `index` is as durable and as visible as asked for.
pub(super) async fn settle(
    node: &Arc<Node>,
    index: &Arc<Index>,
    position: Option<u64>,
    last_seq: Option<u64>,
    refresh: Refresh,
) -> Outcome<()> {
    if let Some(position) = position
        && !index.settings().is_async
    {
        node.log.durable(position).await?;
    }
    let Some(seq) = last_seq else {
        return Ok(());
    };
    let waits = refresh == Refresh::Wait && index.settings().refresh_interval.is_some();
    match refresh {
        Refresh::Later => {}
        Refresh::Wait if waits => index.shard.visible(seq).await,
        Refresh::Now | Refresh::Wait => {
            let index = Arc::clone(index);
            blocking(move || index.shard.refresh()).await?;
        }
    }
    Ok(())
}

pub(super) fn check_id(id: &str) -> Outcome<()> {
    if id.is_empty() {
        return Err(Failure::illegal("if _id is specified it must not be empty"));
    }
    if id.len() > MAX_ID {
        return Err(Failure::illegal(format!(
            "id [{}...] is too long, must be no longer than {MAX_ID} bytes but was: {}",
            id.chars().take(40).collect::<String>(),
            id.len()
        )));
    }
    Ok(())
}

/// A new id, as Elasticsearch makes them: 20 characters that are safe in URLs.
pub(super) fn new_id() -> Outcome<String> {
    let uuid = crate::search_node::cluster::index::new_uuid()?;
    Ok(uuid.chars().take(20).collect())
}

/// What must hold, from parameters or the members of a bulk action.
pub(super) fn condition(get: impl Fn(&str) -> Option<String>) -> Outcome<Condition> {
    let number = |key: &str| -> Outcome<Option<u64>> {
        match get(key) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                Failure::illegal(format!(
                    "[{key}] must be a whole number of at least 0, found [{text}]"
                ))
            }),
        }
    };
    let unchanged = match (number("if_seq_no")?, number("if_primary_term")?) {
        (Some(seq), Some(term)) => Some((seq, term)),
        (None, None) => None,
        _ => {
            return Err(Failure::new(
                400,
                "action_request_validation_exception",
                "Validation Failed: 1: ifSeqNo and ifPrimaryTerm must be given together;",
            ));
        }
    };
    let version = number("version")?;
    if let Some(version) = version.filter(|version| i64::try_from(*version).is_err()) {
        return Err(Failure::illegal(format!(
            "[version: {version}] is larger than the largest version, {}",
            i64::MAX
        )));
    }
    let external = match (get("version_type").as_deref(), version) {
        (None | Some("internal"), None) => None,
        (None | Some("internal"), Some(_)) => {
            return Err(Failure::new(
                400,
                "action_request_validation_exception",
                "Validation Failed: 1: internal versioning can not be used for optimistic \
                 concurrency control. Please use `if_seq_no` and `if_primary_term` instead;",
            ));
        }
        (Some("external" | "external_gt"), Some(version)) => Some((version, false)),
        (Some("external_gte"), Some(version)) => Some((version, true)),
        (Some(kind), _) => {
            return Err(Failure::illegal(format!(
                "No version type match [{kind}], or no version given"
            )));
        }
    };
    let create = match get("op_type").as_deref() {
        None | Some("index") => false,
        Some("create") => true,
        Some(other) => {
            return Err(Failure::illegal(format!(
                "opType must be 'create' or 'index', found: [{other}]"
            )));
        }
    };
    Ok(Condition {
        create,
        unchanged,
        external,
        fresh: false,
    })
}

/// The answer to a write.
pub(super) fn written(index: &str, id: &str, result: &str, done: &Written, forced: bool) -> Value {
    let mut answer = json!({
        "_index": index,
        "_id": id,
        "_version": done.version,
        "result": result,
        "_shards": {"total": 1, "successful": 1, "failed": 0},
        "_seq_no": done.seq,
        "_primary_term": PRIMARY_TERM,
    });
    if forced {
        answer["forced_refresh"] = true.into();
    }
    answer
}

pub(super) async fn route(node: &Arc<Node>, request: &Request, path: &[&str]) -> Outcome<Reply> {
    match (request.method.as_str(), path) {
        ("PUT" | "POST", [name, "_doc", id]) => index(node, request, name, Some(id), false).await,
        ("POST", [name, "_doc"]) => index(node, request, name, None, false).await,
        ("PUT" | "POST", [name, "_create", id]) => index(node, request, name, Some(id), true).await,
        ("GET" | "HEAD", [name, "_doc", id]) => get(node, request, name, id).await,
        ("GET" | "HEAD", [name, "_source", id]) => source(node, request, name, id).await,
        ("DELETE", [name, "_doc", id]) => delete(node, request, name, id).await,
        ("POST", [name, "_update", id]) => update(node, request, name, id).await,
        _ => Err(super::no_handler(request)),
    }
}

async fn index(
    node: &Arc<Node>,
    request: &Request,
    name: &str,
    id: Option<&str>,
    create: bool,
) -> Outcome<Reply> {
    request.known(&[
        "if_primary_term",
        "if_seq_no",
        "op_type",
        "pipeline",
        "refresh",
        "require_alias",
        "routing",
        "version",
        "version_type",
        "wait_for_active_shards",
    ])?;
    request.only(&[("require_alias", "false"), ("pipeline", "_none")])?;
    let refresh = Refresh::parse(request)?;
    let mut condition = condition(|key| request.param(key).map(str::to_owned))?;
    condition.create |= create;
    let id = if let Some(id) = id {
        id.to_owned()
    } else {
        condition.fresh = true;
        new_id()?
    };
    check_id(&id)?;
    let (target, work_id, body) = (
        node_index(node, name).await?,
        id.clone(),
        request.body.clone(),
    );
    target.check(Operation::Write)?;
    let (keeper, work) = (Arc::clone(node), Arc::clone(&target));
    let (done, position) = blocking(move || {
        keeper.check_room(&work)?;
        let change = work.read(&work_id, body.to_vec().into())?;
        one(
            &work,
            Write {
                id: work_id,
                change,
                condition,
            },
        )
    })
    .await?;
    settle(node, &target, position, Some(done.seq), refresh).await?;
    let (status, result) = if done.existed {
        (200, "updated")
    } else {
        (201, "created")
    };
    Ok(Reply::Json(
        status,
        written(&target.name, &id, result, &done, refresh == Refresh::Now),
    ))
}

/// The index to write to, made when it is missing.
pub(super) async fn node_index(node: &Arc<Node>, name: &str) -> Outcome<Arc<Index>> {
    if let Some(index) = node.write_index(name)? {
        return Ok(index);
    }
    let (node, name) = (Arc::clone(node), name.to_owned());
    blocking(move || node.for_writing(&name)).await
}

pub(super) fn one(index: &Index, write: Write) -> Outcome<(Written, Option<u64>)> {
    let (results, position) = index.shard.write(vec![write]);
    match results.into_iter().next() {
        Some(result) => result
            .map(|written| (written, position))
            .map_err(|f| in_index(f, index)),
        None => Err(Failure::internal("a write without a result")),
    }
}

/// Conflicts name their index.
pub(super) fn in_index(failure: Failure, index: &Index) -> Failure {
    if failure.status != 409 {
        return failure;
    }
    failure
        .with("index_uuid", index.uuid.clone())
        .with("shard", "0")
        .with("index", index.name.clone())
}

async fn delete(node: &Arc<Node>, request: &Request, name: &str, id: &str) -> Outcome<Reply> {
    request.known(&[
        "if_primary_term",
        "if_seq_no",
        "refresh",
        "routing",
        "version",
        "version_type",
        "wait_for_active_shards",
    ])?;
    let refresh = Refresh::parse(request)?;
    let condition = condition(|key| request.param(key).map(str::to_owned))?;
    let Some(target) = node.write_index(name)? else {
        return Err(Failure::no_index(name));
    };
    target.check(Operation::Write)?;
    let (work, work_id) = (Arc::clone(&target), id.to_owned());
    let (done, position) = blocking(move || {
        one(
            &work,
            Write {
                id: work_id,
                change: Change::Delete,
                condition,
            },
        )
    })
    .await?;
    settle(node, &target, position, Some(done.seq), refresh).await?;
    let (status, result) = if done.existed {
        (200, "deleted")
    } else {
        (404, "not_found")
    };
    Ok(Reply::Json(
        status,
        written(&target.name, id, result, &done, refresh == Refresh::Now),
    ))
}

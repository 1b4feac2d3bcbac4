//! Updates: a document changed in part.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::blocking;
use super::documents::{Refresh, check_id, condition, node_index, one, settle, written};
use super::request::{Reply, Request};
use crate::search_node::PRIMARY_TERM;
use crate::search_node::cluster::settings::Operation;
use crate::search_node::cluster::{Index, Node};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::shard::{Condition, Write, Written};

/// The body of an update, read.
#[derive(Debug)]
pub(super) struct Update {
    doc: Option<Map<String, Value>>,
    upsert: Option<Map<String, Value>>,
    detect_noop: bool,
}

/// What an update comes to.
#[derive(Debug)]
enum Planned {
    /// Nothing changes.
    Noop(Written),
    /// This is to be written.
    Write(Box<Write>, &'static str),
}

impl Update {
    pub(super) fn parse(body: &Value) -> Outcome<Self> {
        let Some(object) = body.as_object() else {
            return Err(Failure::parsing("the body of an update must be an object"));
        };
        let mut update = Self {
            doc: None,
            upsert: None,
            detect_noop: true,
        };
        let mut doc_as_upsert = false;
        for (key, value) in object {
            match (key.as_str(), value) {
                ("doc", Value::Object(doc)) => update.doc = Some(doc.clone()),
                ("upsert", Value::Object(doc)) => update.upsert = Some(doc.clone()),
                ("doc_as_upsert", Value::Bool(flag)) => doc_as_upsert = *flag,
                ("detect_noop", Value::Bool(flag)) => update.detect_noop = *flag,
                ("scripted_upsert", Value::Bool(false)) => {}
                ("script" | "scripted_upsert", _) => {
                    return Err(Failure::unsupported("[script] of an update"));
                }
                ("_source", _) => return Err(Failure::unsupported("[_source] of an update")),
                _ => {
                    return Err(Failure::parsing(format!(
                        "[UpdateRequest] unknown field [{key}], or a value of the wrong kind"
                    )));
                }
            }
        }
        if doc_as_upsert {
            update.upsert = update.doc.clone();
        }
        if update.doc.is_none() {
            return Err(Failure::new(
                400,
                "action_request_validation_exception",
                "Validation Failed: 1: script or doc is missing;",
            ));
        }
        Ok(update)
    }

    /// Changes the document `id` of `index`, and again up to `retries` times when somebody else
    /// changed it in between; gives where the change stands in the log, and what it was.
    pub(super) fn apply(
        &self,
        index: &Index,
        id: &str,
        given: Condition,
        retries: u64,
    ) -> Outcome<(Written, Option<u64>, &'static str)> {
        check(given, retries)?;
        let mut left = retries;
        loop {
            let (write, result) = match self.plan(index, id, given)? {
                Planned::Noop(found) => return Ok((found, None, "noop")),
                Planned::Write(write, result) => (write, result),
            };
            match one(index, *write) {
                Ok((done, position)) => return Ok((done, position, result)),
                Err(failure) if failure.status == 409 && left > 0 => left -= 1,
                Err(failure) => return Err(failure),
            }
        }
    }

    /// What is to be written to `index` for `id`.
    fn plan(&self, index: &Index, id: &str, mut condition: Condition) -> Outcome<Planned> {
        let found = index.shard.get(id)?;
        let (source, result) = match (&found, &self.upsert, &self.doc) {
            (Some(found), _, Some(doc)) => {
                let mut source: Map<String, Value> = serde_json::from_slice(&found.source)
                    .map_err(|error| Failure::internal(format!("stored source: {error}")))?;
                let changed = merge(&mut source, doc);
                if self.detect_noop && !changed {
                    return Ok(Planned::Noop(Written {
                        seq: found.seq,
                        version: found.version,
                        existed: true,
                    }));
                }
                condition.unchanged = condition.unchanged.or(Some((found.seq, PRIMARY_TERM)));
                (Value::Object(source), "updated")
            }
            (None, Some(upsert), _) => {
                condition.create = true;
                (Value::Object(upsert.clone()), "created")
            }
            _ => {
                return Err(Failure::new(
                    404,
                    "document_missing_exception",
                    format!("[{id}]: document missing"),
                )
                .with("index_uuid", index.uuid.clone())
                .with("shard", "0")
                .with("index", index.name.clone()));
            }
        };
        let source = source.to_string().into_bytes();
        let change = index.read(id, source.into())?;
        Ok(Planned::Write(
            Box::new(Write {
                id: id.to_owned(),
                change,
                condition,
            }),
            result,
        ))
    }
}

/// A conflict with what the client demands stays one, however often it is tried; and an update
/// makes the versions itself.
fn check(given: Condition, retries: u64) -> Outcome<()> {
    let why = if given.external.is_some() || given.create {
        "[version], [version_type] and [op_type] are not for updates; use if_seq_no and \
         if_primary_term"
    } else if given.unchanged.is_some() && retries > 0 {
        "compare and write operations can not be retried; leave out retry_on_conflict"
    } else {
        return Ok(());
    };
    Err(Failure::new(
        400,
        "action_request_validation_exception",
        format!("Validation Failed: 1: {why};"),
    ))
}

/// Puts `more` over `object`, member by member; says whether anything changed.
fn merge(object: &mut Map<String, Value>, more: &Map<String, Value>) -> bool {
    let mut changed = false;
    for (key, value) in more {
        match (object.get_mut(key), value) {
            (Some(Value::Object(inner)), Value::Object(more)) => changed |= merge(inner, more),
            (Some(old), value) if old == value => {}
            _ => {
                object.insert(key.clone(), value.clone());
                changed = true;
            }
        }
    }
    changed
}

pub(super) async fn update(
    node: &Arc<Node>,
    request: &Request,
    name: &str,
    id: &str,
) -> Outcome<Reply> {
    request.known(&[
        "_source",
        "if_primary_term",
        "if_seq_no",
        "lang",
        "refresh",
        "require_alias",
        "retry_on_conflict",
        "routing",
        "wait_for_active_shards",
    ])?;
    request.only(&[("require_alias", "false"), ("_source", "false")])?;
    let refresh = Refresh::parse(request)?;
    let retries = request.count("retry_on_conflict")?.unwrap_or(0);
    let given = condition(|key| request.param(key).map(str::to_owned))?;
    check_id(id)?;
    let body = request.clone();
    let update = blocking(move || Update::parse(&body.json()?)).await?;
    let target = node_index(node, name).await?;
    target.check(Operation::Write)?;
    let (keeper, work, work_id) = (Arc::clone(node), Arc::clone(&target), id.to_owned());
    let (done, position, result) = blocking(move || {
        keeper.check_room(&work)?;
        update.apply(&work, &work_id, given, retries)
    })
    .await?;
    let seq = position.is_some().then_some(done.seq);
    settle(node, &target, position, seq, refresh).await?;
    let status = if result == "created" { 201 } else { 200 };
    let mut answer = written(&target.name, id, result, &done, refresh == Refresh::Now);
    if result == "noop" {
        answer["_shards"] = json!({"total": 0, "successful": 0, "failed": 0});
    }
    Ok(Reply::Json(status, answer))
}

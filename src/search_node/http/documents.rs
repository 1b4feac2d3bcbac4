//! Single documents.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::blocking;
use super::request::{Reply, Request};
use crate::search_node::PRIMARY_TERM;
use crate::search_node::cluster::settings::Operation;
use crate::search_node::cluster::{Index, Node};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::search::SourceFilter;
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
    Ok(Condition {
        create: get("op_type").as_deref() == Some("create"),
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
        "refresh",
        "require_alias",
        "routing",
        "version",
        "version_type",
        "wait_for_active_shards",
    ])?;
    refuse_pipeline(request)?;
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
    let work = Arc::clone(&target);
    let (done, position) = blocking(move || {
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

pub(super) fn refuse_pipeline(request: &Request) -> Outcome<()> {
    match request.param("pipeline") {
        None | Some("_none") => Ok(()),
        Some(_) => Err(Failure::unsupported("[pipeline] of a write")),
    }
}

/// The index to write to, made when it is missing.
pub(super) async fn node_index(node: &Arc<Node>, name: &str) -> Outcome<Arc<Index>> {
    if let Some(index) = node.write_index(name)? {
        return Ok(index);
    }
    let (node, name) = (Arc::clone(node), name.to_owned());
    blocking(move || node.for_writing(&name)).await
}

fn one(index: &Index, write: Write) -> Outcome<(Written, Option<u64>)> {
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

/// A document got by its id, or that there is none.
fn got(
    index: &Index,
    id: &str,
    filter: &SourceFilter,
    realtime: bool,
) -> Outcome<(bool, Value, Option<Box<RawValue>>)> {
    let found = if realtime {
        index
            .shard
            .get(id)?
            .map(|found| (found.seq, found.version, found.source.to_vec()))
    } else {
        let view = index.shard.view();
        view.get(id)?
            .map(|(stored, seq, version)| (seq, version, stored.source))
    };
    let mut answer = json!({"_index": index.name, "_id": id});
    match found {
        None => {
            answer["found"] = false.into();
            Ok((false, answer, None))
        }
        Some((seq, version, source)) => {
            answer["_version"] = version.into();
            answer["_seq_no"] = seq.into();
            answer["_primary_term"] = PRIMARY_TERM.into();
            answer["found"] = true.into();
            Ok((true, answer, filter.apply(&source)?))
        }
    }
}

/// Adds the source as it is to an answer.
fn with_source(answer: &Value, source: Option<Box<RawValue>>) -> Vec<u8> {
    let mut text = answer.to_string();
    if let Some(source) = source {
        text.pop();
        text.push_str(",\"_source\":");
        text.push_str(source.get());
        text.push('}');
    }
    text.into_bytes()
}

/// `_source`, `_source_includes` and `_source_excludes` of the request.
pub(super) fn source_filter(request: &Request) -> Outcome<SourceFilter> {
    let list = |key: &str| -> Vec<String> {
        let names = request.param(key).unwrap_or_default().split(',');
        names
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let includes = [list("_source_includes"), list("_source_include")].concat();
    let excludes = [list("_source_excludes"), list("_source_exclude")].concat();
    match request.param("_source") {
        Some("false") => SourceFilter::parse(&Value::Bool(false)),
        None | Some("true" | "") => Ok(SourceFilter::of(includes, excludes)),
        Some(_) => Ok(SourceFilter::of(list("_source"), excludes)),
    }
}

const GET_PARAMS: &[&str] = &[
    "_source",
    "_source_exclude",
    "_source_excludes",
    "_source_include",
    "_source_includes",
    "preference",
    "realtime",
    "refresh",
    "routing",
    "version",
    "version_type",
];

async fn get(node: &Arc<Node>, request: &Request, name: &str, id: &str) -> Outcome<Reply> {
    request.known(GET_PARAMS)?;
    let filter = source_filter(request)?;
    let realtime = request.flag("realtime", true)?;
    let index = node.one(name)?;
    index.check(Operation::Read)?;
    let (id, refresh) = (id.to_owned(), request.flag("refresh", false)?);
    blocking(move || {
        if refresh {
            index.shard.refresh()?;
        }
        let (found, answer, source) = got(&index, &id, &filter, realtime)?;
        Ok(Reply::Raw(
            if found { 200 } else { 404 },
            with_source(&answer, source),
        ))
    })
    .await
}

async fn source(node: &Arc<Node>, request: &Request, name: &str, id: &str) -> Outcome<Reply> {
    request.known(GET_PARAMS)?;
    let filter = source_filter(request)?;
    let index = node.one(name)?;
    index.check(Operation::Read)?;
    let id = id.to_owned();
    blocking(move || {
        let (found, _, source) = got(&index, &id, &filter, true)?;
        match source {
            Some(source) if found => Ok(Reply::Raw(200, source.get().as_bytes().to_vec())),
            _ => Err(Failure::missing(format!(
                "Document not found [{}]/[{id}]",
                index.name
            ))),
        }
    })
    .await
}

pub(super) async fn mget(node: &Arc<Node>, request: &Request) -> Outcome<Reply> {
    request.known(GET_PARAMS)?;
    let default = match request.path.as_slice() {
        [name, _] => Some(name.clone()),
        _ => None,
    };
    let common = source_filter(request)?;
    let body = request.json()?;
    let list: Vec<Value> = match (body.get("docs"), body.get("ids")) {
        (Some(Value::Array(docs)), None) => docs.clone(),
        (None, Some(Value::Array(ids))) => ids.iter().map(|id| json!({"_id": id})).collect(),
        _ => {
            return Err(Failure::parsing(
                "the body of _mget needs [docs], or [ids] with an index in the path",
            ));
        }
    };
    let node = Arc::clone(node);
    blocking(move || {
        let mut out = b"{\"docs\":[".to_vec();
        for (at, item) in list.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let id = match &item["_id"] {
                Value::String(id) => id.clone(),
                Value::Number(id) => id.to_string(),
                _ => {
                    return Err(Failure::new(
                        400,
                        "action_request_validation_exception",
                        format!("Validation Failed: 1: id is missing for doc {at};"),
                    ));
                }
            };
            let name = item["_index"]
                .as_str()
                .map(str::to_owned)
                .or_else(|| default.clone());
            let Some(name) = name else {
                return Err(Failure::new(
                    400,
                    "action_request_validation_exception",
                    format!("Validation Failed: 1: index is missing for doc {at};"),
                ));
            };
            let filter = match item.get("_source") {
                Some(source) => SourceFilter::parse(source)?,
                None => common.clone(),
            };
            let found = node.one(&name).and_then(|index| {
                index.check(Operation::Read)?;
                got(&index, &id, &filter, true)
            });
            match found {
                Ok((_, answer, source)) => out.extend(with_source(&answer, source)),
                Err(failure) => {
                    let error =
                        json!({"_index": name, "_id": id, "error": failure.body()["error"]});
                    out.extend(error.to_string().into_bytes());
                }
            }
        }
        out.extend(b"]}");
        Ok(Reply::Raw(200, out))
    })
    .await
}

/// The body of an update, read.
#[derive(Debug)]
pub(super) struct Update {
    doc: Option<Map<String, Value>>,
    upsert: Option<Map<String, Value>>,
    detect_noop: bool,
}

/// What an update comes to.
#[derive(Debug)]
pub(super) enum Planned {
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

    /// What is to be written to `index` for `id`.
    pub(super) fn plan(
        &self,
        index: &Index,
        id: &str,
        mut condition: Condition,
    ) -> Outcome<Planned> {
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

async fn update(node: &Arc<Node>, request: &Request, name: &str, id: &str) -> Outcome<Reply> {
    request.known(&[
        "if_primary_term",
        "if_seq_no",
        "lang",
        "refresh",
        "require_alias",
        "retry_on_conflict",
        "routing",
        "wait_for_active_shards",
    ])?;
    let refresh = Refresh::parse(request)?;
    let retries = request.count("retry_on_conflict")?.unwrap_or(0);
    let given = condition(|key| request.param(key).map(str::to_owned))?;
    let update = Update::parse(&request.json()?)?;
    check_id(id)?;
    let target = node_index(node, name).await?;
    target.check(Operation::Write)?;
    let (work, work_id) = (Arc::clone(&target), id.to_owned());
    let (done, position, result) = blocking(move || {
        for left in (0..=retries).rev() {
            let (write, result) = match update.plan(&work, &work_id, given)? {
                Planned::Noop(found) => return Ok((found, None, "noop")),
                Planned::Write(write, result) => (write, result),
            };
            match one(&work, *write) {
                Ok((done, position)) => return Ok((done, position, result)),
                Err(failure) if failure.status == 409 && left > 0 && given.unchanged.is_none() => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::internal("an update without an end"))
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

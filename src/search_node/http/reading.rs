//! Documents got by their id.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::blocking;
use super::request::{Reply, Request};
use crate::search_node::PRIMARY_TERM;
use crate::search_node::cluster::settings::Operation;
use crate::search_node::cluster::{Index, Node};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::search::SourceFilter;

/// How documents are got.
#[derive(Debug, Clone)]
struct How {
    /// What of them is shown.
    filter: SourceFilter,
    /// As they are now, or as searches see them.
    realtime: bool,
    /// Searches are to see them first.
    refresh: bool,
}

impl How {
    fn parse(request: &Request) -> Outcome<Self> {
        if request.param("version").is_some() {
            return Err(Failure::unsupported("[version] of a get"));
        }
        Ok(Self {
            filter: source_filter(request)?,
            realtime: request.flag("realtime", true)?,
            refresh: request.flag("refresh", false)?,
        })
    }

    /// A document got by its id, or that there is none.
    fn got(&self, index: &Index, id: &str) -> Outcome<(bool, Value, Option<Box<RawValue>>)> {
        if self.refresh {
            index.shard.refresh()?;
        }
        let found = if self.realtime {
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
                Ok((true, answer, self.filter.apply(&source)?))
            }
        }
    }
}

/// Refuses members that would go unheard.
fn known_keys(object: &Value, known: &[&str]) -> Outcome<()> {
    let mut keys = object
        .as_object()
        .into_iter()
        .flat_map(|object| object.keys());
    match keys.find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(Failure::parsing(format!(
            "unknown parameter [{key}] in the body of _mget; it may have [{}]",
            known.join("], [")
        ))),
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

pub(super) async fn get(
    node: &Arc<Node>,
    request: &Request,
    name: &str,
    id: &str,
) -> Outcome<Reply> {
    request.known(GET_PARAMS)?;
    let how = How::parse(request)?;
    let index = node.one(name)?;
    index.check(Operation::Read)?;
    let id = id.to_owned();
    blocking(move || {
        let (found, answer, source) = how.got(&index, &id)?;
        Ok(Reply::Raw(
            if found { 200 } else { 404 },
            with_source(&answer, source),
        ))
    })
    .await
}

pub(super) async fn source(
    node: &Arc<Node>,
    request: &Request,
    name: &str,
    id: &str,
) -> Outcome<Reply> {
    request.known(GET_PARAMS)?;
    let how = How::parse(request)?;
    let index = node.one(name)?;
    index.check(Operation::Read)?;
    let id = id.to_owned();
    blocking(move || {
        let (found, _, source) = how.got(&index, &id)?;
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
    let common = How::parse(request)?;
    let (node, request) = (Arc::clone(node), request.clone());
    blocking(move || {
        let body = request.json()?;
        known_keys(&body, &["docs", "ids"])?;
        let list: Vec<Value> = match (body.get("docs"), body.get("ids")) {
            (Some(Value::Array(docs)), None) => docs.clone(),
            (None, Some(Value::Array(ids))) => ids.iter().map(|id| json!({"_id": id})).collect(),
            _ => {
                return Err(Failure::parsing(
                    "the body of _mget needs [docs], or [ids] with an index in the path",
                ));
            }
        };
        if list.is_empty() {
            return Err(Failure::new(
                400,
                "action_request_validation_exception",
                "Validation Failed: 1: no documents to get;",
            ));
        }
        let mut out = b"{\"docs\":[".to_vec();
        for (at, item) in list.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            known_keys(item, &["_id", "_index", "_source", "routing"])?;
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
            let mut how = common.clone();
            if let Some(source) = item.get("_source") {
                how.filter = SourceFilter::parse(source)?;
            }
            let found = node.one(&name).and_then(|index| {
                index.check(Operation::Read)?;
                how.got(&index, &id)
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

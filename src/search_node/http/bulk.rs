//! Many writes in one request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::blocking;
use super::documents::{Refresh, in_index, new_id, settle, written};
use super::ndjson::{Item, Verb, parse};
use super::request::{Reply, Request};
use super::update::Update;
use crate::search_node::cluster::settings::Operation;
use crate::search_node::cluster::{Index, Node};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::shard::{Change, Condition, Write, Written};

/// Where writes to one index stand.
struct Group {
    index: Arc<Index>,
    waiting: Vec<(usize, Write)>,
    position: Option<u64>,
    last_seq: Option<u64>,
}

/// Writes that are put into the log at once.
const BATCH: usize = 1000;

pub(super) async fn bulk(node: &Arc<Node>, request: &Request) -> Outcome<Reply> {
    if !["POST", "PUT"].contains(&request.method.as_str()) {
        return Err(super::no_handler(request));
    }
    request.known(&[
        "pipeline",
        "refresh",
        "require_alias",
        "routing",
        "wait_for_active_shards",
        "_source",
        "_source_excludes",
        "_source_includes",
        "list_executed_pipelines",
        "require_data_stream",
    ])?;
    request.only(&[
        ("require_alias", "false"),
        ("pipeline", "_none"),
        ("require_data_stream", "false"),
    ])?;
    let began = Instant::now();
    let refresh = Refresh::parse(request)?;
    let default = match request.path.as_slice() {
        [name, _] => Some(name.clone()),
        _ => None,
    };
    let (work, body) = (Arc::clone(node), request.body.clone());
    let (mut results, groups) = blocking(move || {
        let items = parse(&body)?;
        Ok(run(&work, items, default.as_deref()))
    })
    .await?;
    for group in groups {
        let settled = settle(node, &group.index, group.position, group.last_seq, refresh).await;
        if let Err(failure) = settled {
            // What is not on the disk for sure was not done, as far as anybody may rely on it.
            for (index, result) in &mut results {
                if *index == group.index.name {
                    result.fail(&failure);
                }
            }
        }
    }
    let errors = results.iter().any(|(_, result)| result.is_error());
    let items: Vec<Value> = results
        .into_iter()
        .map(|(_, result)| result.show(refresh == Refresh::Now))
        .collect();
    Ok(Reply::ok(json!({
        "errors": errors,
        "took": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "items": items,
    })))
}

/// What became of one action.
struct Done {
    verb: Verb,
    index: String,
    id: String,
    result: Outcome<(Written, &'static str)>,
}

impl Done {
    fn fail(&mut self, failure: &Failure) {
        if self.result.is_ok() {
            self.result = Err(failure.clone());
        }
    }

    fn is_error(&self) -> bool {
        self.result.is_err()
    }

    fn show(self, forced: bool) -> Value {
        let body = match self.result {
            Ok((done, result)) => {
                let mut body = written(&self.index, &self.id, result, &done, forced);
                body["status"] = match result {
                    "created" => 201,
                    "not_found" => 404,
                    _ => 200,
                }
                .into();
                body
            }
            Err(failure) => json!({
                "_index": self.index,
                "_id": self.id,
                "status": failure.status,
                "error": failure.object(),
            }),
        };
        let mut item = Map::new();
        item.insert(self.verb.name().to_owned(), body);
        Value::Object(item)
    }
}

fn run(node: &Node, items: Vec<Item>, default: Option<&str>) -> (Vec<(String, Done)>, Vec<Group>) {
    let mut done: Vec<(String, Done)> = Vec::with_capacity(items.len());
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut found: BTreeMap<String, Outcome<Arc<Index>>> = BTreeMap::new();
    for item in items {
        let at = done.len();
        let name = item
            .index
            .clone()
            .or_else(|| default.map(str::to_owned))
            .unwrap_or_default();
        let index = found
            .entry(name.clone())
            .or_insert_with(|| {
                if name.is_empty() {
                    return Err(Failure::new(
                        400,
                        "action_request_validation_exception",
                        "Validation Failed: 1: index is missing;",
                    ));
                }
                let index = node.for_writing(&name)?;
                index.check(Operation::Write)?;
                node.check_room(&index)?;
                Ok(index)
            })
            .clone();
        let mut condition = item.condition;
        let id = if let Some(id) = &item.id {
            Ok(id.clone())
        } else {
            condition.fresh = true;
            new_id()
        };
        let mut entry = Done {
            verb: item.verb,
            index: index.as_ref().map_or(name, |index| index.name.clone()),
            id: id.clone().unwrap_or_default(),
            // Overwritten when the batch is applied.
            result: Err(Failure::internal("an action without a result")),
        };
        match index.and_then(|index| Ok((index, id?))) {
            Err(failure) => {
                entry.result = Err(failure);
                done.push((entry.index.clone(), entry));
            }
            Ok((index, id)) => {
                let group = groups.entry(index.name.clone()).or_insert_with(|| Group {
                    index: Arc::clone(&index),
                    waiting: Vec::new(),
                    position: None,
                    last_seq: None,
                });
                done.push((entry.index.clone(), entry));
                step(group, &item, id, condition, at, &mut done);
                if group.waiting.len() >= BATCH {
                    group.apply(&mut done);
                }
            }
        }
    }
    for group in groups.values_mut() {
        group.apply(&mut done);
    }
    (done, groups.into_values().collect())
}

/// Reads one action into the group's waiting writes; an update needs what came before it.
fn step(
    group: &mut Group,
    item: &Item,
    id: String,
    condition: Condition,
    at: usize,
    done: &mut [(String, Done)],
) {
    let result = match item.verb {
        Verb::Delete => Ok(Write {
            id,
            change: Change::Delete,
            condition,
        }),
        Verb::Index | Verb::Create => {
            group
                .index
                .read(&id, item.body.to_vec().into())
                .map(|change| Write {
                    id,
                    change,
                    condition,
                })
        }
        Verb::Update => {
            group.apply(done);
            done[at].1.result = group.update(item, &id, condition);
            return;
        }
    };
    match result {
        Ok(write) => group.waiting.push((at, write)),
        Err(failure) => done[at].1.result = Err(failure),
    }
}

impl Group {
    fn apply(&mut self, done: &mut [(String, Done)]) {
        if self.waiting.is_empty() {
            return;
        }
        let (places, writes): (Vec<usize>, Vec<Write>) =
            std::mem::take(&mut self.waiting).into_iter().unzip();
        let (results, position) = self.index.shard.write(writes);
        self.position = position.or(self.position);
        for (at, result) in places.into_iter().zip(results) {
            let entry = &mut done[at].1;
            entry.result = match result {
                Ok(written) => {
                    self.last_seq = Some(written.seq);
                    let what = match (entry.verb, written.existed) {
                        (Verb::Delete, true) => "deleted",
                        (Verb::Delete, false) => "not_found",
                        (_, true) => "updated",
                        (_, false) => "created",
                    };
                    Ok((written, what))
                }
                Err(failure) => Err(in_index(failure, &self.index)),
            };
        }
    }

    fn update(
        &mut self,
        item: &Item,
        id: &str,
        condition: Condition,
    ) -> Outcome<(Written, &'static str)> {
        let json: Value = serde_json::from_slice(&item.body).map_err(|error| {
            Failure::parsing(format!("the body of an update is no valid JSON: {error}"))
        })?;
        let update = Update::parse(&json)?;
        let (written, position, result) = update.apply(&self.index, id, condition, item.retries)?;
        if position.is_some() {
            self.position = position;
            self.last_seq = Some(written.seq);
        }
        Ok((written, result))
    }
}

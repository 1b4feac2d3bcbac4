//! Many writes in one request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::blocking;
use super::documents::{
    Planned, Refresh, Update, check_id, condition, in_index, new_id, refuse_pipeline, settle,
    written,
};
use super::request::{Reply, Request};
use crate::search_node::cluster::settings::Operation;
use crate::search_node::cluster::{Index, Node};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::shard::{Change, Condition, Write, Written};

/// One action of a request.
#[derive(Debug)]
pub(super) struct Item {
    verb: Verb,
    index: Option<String>,
    id: Option<String>,
    condition: Condition,
    retries: u64,
    body: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Index,
    Create,
    Update,
    Delete,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Index => "index",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Delete => "delete",
        }
    }
}

/// Reads newline-delimited JSON. An action that cannot be read ends the request, nothing of
/// which is then done; the error names the line.
pub(super) fn parse(body: &Bytes) -> Outcome<Vec<Item>> {
    if body.is_empty() {
        return Err(Failure::parsing("request body is required"));
    }
    if body.last() != Some(&b'\n') {
        return Err(Failure::illegal(
            "The bulk request must be terminated by a newline [\\n]",
        ));
    }
    let mut items = Vec::new();
    let mut lines = Lines {
        body,
        at: 0,
        number: 0,
    };
    while let Some((line, number)) = lines.next() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let mut item = action(&line, number)?;
        if item.verb != Verb::Delete {
            item.body = match lines.next() {
                Some((body, _)) if !body.iter().all(u8::is_ascii_whitespace) => body,
                _ => {
                    return Err(Failure::illegal(format!(
                        "Malformed action/metadata line [{number}]: the document of this [{}] is \
                         missing",
                        item.verb.name()
                    )));
                }
            };
        }
        items.push(item);
    }
    if items.is_empty() {
        return Err(Failure::new(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: no requests added;",
        ));
    }
    Ok(items)
}

struct Lines<'a> {
    body: &'a Bytes,
    at: usize,
    number: usize,
}

impl Lines<'_> {
    fn next(&mut self) -> Option<(Bytes, usize)> {
        let rest = self.body.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(rest.len());
        let line = self.body.slice(self.at..self.at + length);
        self.at += length + 1;
        self.number += 1;
        Some((line, self.number))
    }
}

fn action(line: &[u8], number: usize) -> Outcome<Item> {
    let malformed =
        |why: String| Failure::illegal(format!("Malformed action/metadata line [{number}], {why}"));
    let json: Value = serde_json::from_slice(line)
        .map_err(|error| malformed(format!("no valid JSON: {error}")))?;
    let mut members = json.as_object().into_iter().flatten();
    let (Some((verb, meta)), None) = (members.next(), members.next()) else {
        return Err(malformed("expected an object with one action".to_owned()));
    };
    let verb = match verb.as_str() {
        "index" => Verb::Index,
        "create" => Verb::Create,
        "update" => Verb::Update,
        "delete" => Verb::Delete,
        other => {
            return Err(malformed(format!(
                "expected field [create], [delete], [index] or [update] but found [{other}]"
            )));
        }
    };
    let empty = Map::new();
    let meta = match meta {
        Value::Object(meta) => meta,
        Value::Null => &empty,
        other => return Err(malformed(format!("expected an object but found [{other}]"))),
    };
    let text = |key: &str| -> Option<String> {
        match meta.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        }
    };
    for key in meta.keys() {
        match key.as_str() {
            "_index" | "_id" | "routing" | "version" | "version_type" | "if_seq_no"
            | "if_primary_term" | "op_type" | "retry_on_conflict" | "require_alias"
            | "dynamic_templates" => {}
            "pipeline" => {
                return Err(Failure::unsupported(format!(
                    "[pipeline] in line [{number}] of a bulk request"
                )));
            }
            other => {
                return Err(malformed(format!("Unknown parameter [{other}]")));
            }
        }
    }
    let mut condition = condition(text)?;
    condition.create |= verb == Verb::Create;
    let id = text("_id");
    if let Some(id) = &id {
        check_id(id)?;
    } else if matches!(verb, Verb::Update | Verb::Delete) {
        return Err(Failure::new(
            400,
            "action_request_validation_exception",
            format!("Validation Failed: 1: id is missing in line [{number}];"),
        ));
    }
    let retries = match text("retry_on_conflict") {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| malformed(format!("[retry_on_conflict: {text}] is no whole number")))?,
    };
    Ok(Item {
        verb,
        index: text("_index"),
        id,
        condition,
        retries,
        body: Bytes::new(),
    })
}

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
    refuse_pipeline(request)?;
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
            let result = group.update(item, &id, condition);
            done[at].1.result = result.map_err(|failure| in_index(failure, &group.index));
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
        let mut left = item.retries;
        loop {
            let (write, result) = match update.plan(&self.index, id, condition)? {
                Planned::Noop(found) => return Ok((found, "noop")),
                Planned::Write(write, result) => (write, result),
            };
            let (results, position) = self.index.shard.write(vec![*write]);
            self.position = position.or(self.position);
            match results.into_iter().next() {
                Some(Ok(written)) => {
                    self.last_seq = Some(written.seq);
                    return Ok((written, result));
                }
                Some(Err(failure)) if failure.status == 409 && left > 0 => left -= 1,
                Some(Err(failure)) => return Err(failure),
                None => return Err(Failure::internal("a write without a result")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_malformed_line_is_named() {
        for (body, said) in [
            ("", "body is required"),
            ("{\"index\":{}}", "newline"),
            ("{\"index\":{}}\n{}\n{x}\n", "line [3]"),
            ("{\"index\":{}}\n{}\n{\"drop\":{}}\n", "found [drop]"),
            ("{\"index\":{}}\n", "document of this [index] is missing"),
            ("{\"delete\":{}}\n", "id is missing in line [1]"),
            ("{\"index\":{\"typo\":1}}\n{}\n", "[typo]"),
            ("\n\n", "no requests added"),
        ] {
            let failure = parse(&Bytes::from(body)).unwrap_err();
            assert!(failure.reason.contains(said), "{body}: {failure}");
        }
    }

    #[test]
    fn actions_are_read_in_order() {
        let body = "{\"index\":{\"_id\":1}}\n{\"a\":1}\n\n{\"delete\":{\"_id\":\"x\"}}\n{\"update\":{\"_id\":\"y\"}}\n{\"doc\":{}}\n";
        let items = parse(&Bytes::from(body)).unwrap();
        let verbs: Vec<_> = items.iter().map(|item| item.verb).collect();
        assert_eq!(verbs, [Verb::Index, Verb::Delete, Verb::Update]);
        assert_eq!(items[0].id.as_deref(), Some("1"));
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_never_panic(body in ".{0,200}\n") {
            let _ = parse(&Bytes::from(body));
        }
    }
}

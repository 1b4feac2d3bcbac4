//! Lifecycle policies over HTTP, and rollovers.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::indices::{WHICH, resolve};
use super::request::{Reply, Request};
use crate::search_node::cluster::settings::Operation;
use crate::search_node::cluster::{
    At, Index, Lenience, Node, Rollover, age_of, now_millis, policy_of,
};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::lifecycle::{Conditions, Progress, Stored, no_policy};
use crate::search_node::query::Params;

pub(super) fn route(node: &Arc<Node>, request: &Request, path: &[&str]) -> Outcome<Reply> {
    match (request.method.as_str(), path) {
        ("PUT", ["_ilm", "policy", name]) => {
            request.known(&[])?;
            let body = request.json()?;
            let params = Params::of("put_lifecycle_request", &body)?;
            let policy = params.need("policy")?;
            params.finish()?;
            node.put_policy(name, policy)?;
            Ok(Reply::acknowledged())
        }
        ("GET", ["_ilm", "policy"]) => policies(node, request, "*"),
        ("GET", ["_ilm", "policy", patterns]) => policies(node, request, patterns),
        ("DELETE", ["_ilm", "policy", name]) => {
            request.known(&[])?;
            node.delete_policy(name)?;
            Ok(Reply::acknowledged())
        }
        ("POST", ["_ilm", verb @ ("start" | "stop")]) => {
            request.known(&[])?;
            node.stop_lifecycle(*verb == "stop")?;
            Ok(Reply::acknowledged())
        }
        ("GET", ["_ilm", "status"]) => {
            request.known(&[])?;
            let mode = match (node.state().lifecycle_stopped, node.lifecycle.is_busy()) {
                (false, _) => "RUNNING",
                (true, true) => "STOPPING",
                (true, false) => "STOPPED",
            };
            Ok(Reply::ok(json!({"operation_mode": mode})))
        }
        ("POST", ["_ilm", "move", name]) => {
            request.known(&[])?;
            move_to(node, request, name)
        }
        ("GET", [name, "_ilm", "explain"]) => explain(node, request, name),
        ("POST", [name, "_ilm", "remove"]) => {
            request.known(WHICH)?;
            let mut failed = Vec::new();
            for index in indices(node, request, name)? {
                let left = index
                    .check(Operation::Metadata)
                    .and_then(|()| node.leave_lifecycle(&index));
                if let Err(failure) = left {
                    tracing::warn!("index [{}] keeps its policy: {failure}", index.name);
                    failed.push(index.name.clone());
                }
            }
            Ok(Reply::ok(
                json!({"has_failures": !failed.is_empty(), "failed_indexes": failed}),
            ))
        }
        ("POST", [name, "_ilm", "retry"]) => {
            request.known(WHICH)?;
            let found = indices(node, request, name)?;
            let names: Vec<String> = found.iter().map(|index| index.name.clone()).collect();
            node.retry_lifecycle(&names)?;
            Ok(Reply::acknowledged())
        }
        ("POST", [alias, "_rollover"]) => rollover(node, request, alias, None),
        ("POST", [alias, "_rollover", name]) => rollover(node, request, alias, Some(name)),
        _ => Err(super::no_handler(request)),
    }
}

fn indices(node: &Node, request: &Request, name: &str) -> Outcome<Vec<Arc<Index>>> {
    let lenience = Lenience {
        closed: true,
        ..request.lenience()?
    };
    resolve(node, name, lenience)
}

fn policies(node: &Node, request: &Request, patterns: &str) -> Outcome<Reply> {
    request.known(&[])?;
    Ok(Reply::ok(node.policies(patterns)?))
}

fn at(name: &str, body: &Value, whole: bool) -> Outcome<At> {
    let params = Params::of(name, body)?;
    let read = At {
        phase: params.need_text("phase")?,
        action: params.text("action")?,
        step: params.text("name")?,
    };
    params.finish()?;
    if (whole && read.step.is_none()) || (read.step.is_some() && read.action.is_none()) {
        return Err(Failure::illegal(format!(
            "[{name}] requires [phase], [action] and [name]; [next_step] may leave out [name], or \
             [action] and [name]"
        )));
    }
    Ok(read)
}

fn move_to(node: &Node, request: &Request, name: &str) -> Outcome<Reply> {
    let body = request.json()?;
    let params = Params::of("move_to_step", &body)?;
    let from = at("current_step", params.need("current_step")?, true)?;
    let to = at("next_step", params.need("next_step")?, false)?;
    params.finish()?;
    let index = node.one(name)?;
    node.move_lifecycle(&index, &from, &to)?;
    Ok(Reply::acknowledged())
}

fn explain(node: &Node, request: &Request, name: &str) -> Outcome<Reply> {
    request.known(&[WHICH, &["only_errors", "only_managed"]].concat())?;
    let only_errors = request.flag("only_errors", false)?;
    let only_managed = request.flag("only_managed", false)?;
    let now = now_millis();
    let found = indices(node, request, name)?;
    let state = node.state();
    let mut shown = Map::new();
    for index in found {
        let Some(policy) = policy_of(&index) else {
            if !only_managed && !only_errors {
                shown.insert(
                    index.name.clone(),
                    json!({"index": index.name, "managed": false}),
                );
            }
            continue;
        };
        let entry = state.indices.get(&index.name);
        let progress = entry.and_then(|entry| entry.lifecycle.as_ref());
        let stored = state.policies.get(&policy);
        let is_wrong = stored.is_none() || progress.is_some_and(Progress::is_failed);
        if is_wrong || !only_errors {
            let mut one = explain_one(&index, &policy, stored, progress, now);
            let waits = progress
                .and_then(|progress| node.waits_for_clock(&index, &policy, stored, progress));
            if let Some(message) = waits {
                one["step_info"] = json!({ "message": message });
            }
            shown.insert(index.name.clone(), one);
        }
    }
    Ok(Reply::ok(json!({"indices": shown})))
}

fn explain_one(
    index: &Index,
    policy: &str,
    stored: Option<&Stored>,
    progress: Option<&Progress>,
    now: i64,
) -> Value {
    let since = age_of(index, progress);
    let mut shown = json!({
        "index": index.name,
        "managed": true,
        "policy": policy,
        "index_creation_date_millis": index.created,
        "time_since_index_creation": span(now.saturating_sub(index.created)),
        "lifecycle_date_millis": since,
        "age": span(now.saturating_sub(since)),
    });
    if let Some(progress) = progress {
        shown["phase"] = progress.phase.clone().into();
        shown["phase_time_millis"] = progress.phase_time.into();
        shown["action"] = progress.action.clone().into();
        shown["action_time_millis"] = progress.action_time.into();
        shown["step"] = progress.step.clone().into();
        shown["step_time_millis"] = progress.step_time.into();
        if let Some(failed) = progress.failed.as_ref().filter(|_| progress.is_failed()) {
            shown["failed_step"] = failed.step.clone().into();
            shown["is_auto_retryable_error"] = true.into();
            shown["failed_step_retry_count"] = failed.retries.into();
            shown["step_info"] = json!({"type": failed.kind, "reason": failed.reason});
        }
        if let Some(cached) = &progress.cached {
            shown["phase_execution"] = json!({
                "policy": cached.policy,
                "phase_definition": cached.phase,
                "version": cached.version,
                "modified_date_in_millis": cached.modified,
            });
        }
    }
    if stored.is_none() {
        shown["step_info"] = no_policy(policy).object();
    }
    shown
}

/// A span of time as Elasticsearch writes it: `2.5d`, with at most two digits behind the point.
fn span(millis: i64) -> String {
    let millis = millis.max(0);
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    let Some((unit, name)) = units.into_iter().find(|(unit, _)| millis >= *unit) else {
        return format!("{millis}ms");
    };
    let hundredths = (millis % unit) * 100 / unit;
    let text = format!("{}.{hundredths:02}", millis / unit);
    format!("{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn rollover(node: &Node, request: &Request, alias: &str, name: Option<&str>) -> Outcome<Reply> {
    request.known(&["dry_run", "wait_for_active_shards"])?;
    let body = request.object()?;
    let params = Params::of("rollover", &body)?;
    let conditions = params.get("conditions").unwrap_or(&Value::Null);
    let conditions = Conditions::parse("conditions", conditions)?;
    let mut of_new = Map::new();
    for key in ["settings", "mappings", "aliases"] {
        if let Some(value) = params.get(key).filter(|value| !value.is_null()) {
            of_new.insert(key.to_owned(), value.clone());
        }
    }
    params.finish()?;
    let wanted = Rollover {
        alias: alias.to_owned(),
        name: name.map(str::to_owned),
        conditions,
        body: of_new.into(),
        dry_run: request.flag("dry_run", false)?,
    };
    let rolled = node.roll_over(&wanted)?;
    let results: Map<String, Value> = rolled
        .results
        .into_iter()
        .map(|(condition, met)| (condition, met.into()))
        .collect();
    Ok(Reply::ok(json!({
        "acknowledged": rolled.done,
        "shards_acknowledged": rolled.done,
        "old_index": rolled.old,
        "new_index": rolled.new,
        "rolled_over": rolled.done,
        "dry_run": wanted.dry_run,
        "conditions": results,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_digits_behind_the_point_at_most() {
        for (millis, text) in [
            (-5, "0ms"),
            (999, "999ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (61_000, "1.01m"),
            (5_400_000, "1.5h"),
            (86_400_000 * 31, "31d"),
        ] {
            assert_eq!(span(millis), text);
        }
    }
}

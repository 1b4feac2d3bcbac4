//! Tasks over HTTP, and the requests that begin one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::request::{Reply, Request};
use super::security::Role;
use crate::search_node::cluster::Node;
use crate::search_node::dates::parse_duration_millis;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::names;
use crate::search_node::tasks::Task;

/// How long a request waits for a task at most; less when it says so.
const WAIT: Duration = Duration::from_secs(30);

/// Documents each second that `requests_per_second` asks for; infinite for no limit.
fn rate(request: &Request) -> Outcome<f32> {
    match request.param("requests_per_second") {
        None | Some("-1") => Ok(f32::INFINITY),
        Some(text) => match text.parse::<f32>() {
            Ok(rate) if rate > 0.0 => Ok(rate),
            _ => Err(Failure::illegal(format!(
                "[requests_per_second] must be a float greater than 0. Use -1 to disable \
                 throttling. Found [{text}]"
            ))),
        },
    }
}

/// Runs `work` as a task, which goes on when nobody waits for it; answers with its end, or with
/// its name when the request does not wait.
pub(super) async fn run<F>(
    node: &Arc<Node>,
    request: &Request,
    action: &'static str,
    description: String,
    work: impl FnOnce(Arc<Task>) -> F,
) -> Outcome<Reply>
where
    F: Future<Output = Outcome<Value>> + Send + 'static,
{
    let waits = request.flag("wait_for_completion", true)?;
    let task = node.tasks.begin(action, description, rate(request)?)?;
    let work = work(Arc::clone(&task));
    let inner = Arc::clone(&task);
    tokio::spawn(async move {
        let result = tokio::spawn(work).await.unwrap_or_else(|error| {
            tracing::error!("a task ended in a fault of the node: {error}");
            Err(Failure::internal(
                "the task met a fault of the node; the log has the details",
            ))
        });
        inner.finish(result);
    });
    if !waits {
        return Ok(Reply::ok(
            json!({"task": format!("{}:{}", node.cluster_uuid(), task.id)}),
        ));
    }
    let answer = task.ended().await?;
    Ok(Reply::Json(worst(&answer), answer))
}

/// The status of an answer: as in Elasticsearch, the largest of its failures.
fn worst(answer: &Value) -> u16 {
    let failures = answer["failures"].as_array().into_iter().flatten();
    let statuses = failures.filter_map(|failure| failure["status"].as_u64());
    let worst = statuses.max().and_then(|status| u16::try_from(status).ok());
    worst.unwrap_or(200)
}

/// The task that `name` stands for.
fn find(node: &Node, name: &str) -> Outcome<Arc<Task>> {
    let parts = name.rsplit_once(':');
    let Some((at, Ok(id))) = parts.map(|(at, id)| (at, id.parse::<u64>())) else {
        return Err(Failure::illegal(format!("malformed task id {name}")));
    };
    let task = if at == node.cluster_uuid() {
        node.tasks.get(id)
    } else {
        None
    };
    task.ok_or_else(|| {
        Failure::missing(format!(
            "task [{name}] isn't running and hasn't stored its results"
        ))
    })
}

/// Whether the actions that the request asks for have `action`.
fn is_wanted(request: &Request, action: &str) -> bool {
    request.param("actions").is_none_or(|patterns| {
        patterns
            .split(',')
            .any(|pattern| names::matches(pattern, action))
    })
}

fn listed(node: &Node, tasks: &[Arc<Task>]) -> Value {
    let uuid = node.cluster_uuid();
    let shown: Map<String, Value> = tasks
        .iter()
        .map(|task| (format!("{uuid}:{}", task.id), task.show(&uuid)))
        .collect();
    let mut nodes = Map::new();
    if !shown.is_empty() {
        nodes.insert(uuid, json!({"name": node.name, "tasks": shown}));
    }
    json!({"nodes": nodes})
}

pub(super) async fn route(node: &Arc<Node>, request: &Request, path: &[&str]) -> Outcome<Reply> {
    match (request.method.as_str(), path) {
        ("GET", []) => {
            request.known(&["actions", "detailed", "group_by", "nodes"])?;
            request.only(&[("group_by", "nodes")])?;
            let mut tasks = node.tasks.running();
            tasks.retain(|task| is_wanted(request, task.action));
            Ok(Reply::ok(listed(node, &tasks)))
        }
        ("GET", [name]) => {
            request.known(&["wait_for_completion"])?;
            let task = find(node, name)?;
            if request.flag("wait_for_completion", false)? {
                let limit = request.param("timeout").map(parse_duration_millis);
                let limit = limit
                    .transpose()
                    .map_err(|error| Failure::illegal(error.to_string()))?;
                let limit = limit.map_or(WAIT, Duration::from_millis).min(WAIT);
                if tokio::time::timeout(limit, task.ended()).await.is_err() {
                    return Err(Failure::new(
                        408,
                        "timeout_exception",
                        format!("task [{name}] did not end within {} ms", limit.as_millis()),
                    ));
                }
            }
            Ok(Reply::ok(task.show_with_end(&node.cluster_uuid())))
        }
        ("POST", [name, "_cancel"]) => {
            request.known(&["wait_for_completion"])?;
            let task = find(node, name)?;
            task.cancel();
            if request.flag("wait_for_completion", false)? {
                // A task looks whether it is cancelled after each batch.
                let _ = tokio::time::timeout(WAIT, task.ended()).await;
            }
            Ok(Reply::ok(listed(node, &[task])))
        }
        ("POST", ["_cancel"]) => {
            request.known(&["actions"])?;
            if request.role != Role::Admin {
                return Err(Failure::new(
                    403,
                    "security_exception",
                    "ending the tasks of all users is for administrators; name your own",
                ));
            }
            let mut tasks = node.tasks.running();
            tasks.retain(|task| is_wanted(request, task.action));
            for task in &tasks {
                task.cancel();
            }
            Ok(Reply::ok(listed(node, &tasks)))
        }
        _ => Err(super::no_handler(request)),
    }
}

/// Changes how fast a task goes on.
pub(super) fn rethrottle(node: &Node, request: &Request, name: &str) -> Outcome<Reply> {
    request.known(&["requests_per_second"])?;
    if request.param("requests_per_second").is_none() {
        return Err(Failure::illegal(
            "requests_per_second is a required parameter",
        ));
    }
    let task = find(node, name)?;
    task.set_rate(rate(request)?);
    Ok(Reply::ok(listed(node, &[task])))
}

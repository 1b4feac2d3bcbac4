//! Snapshots over HTTP: repositories, making, showing, deleting and restoring.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::blocking;
use super::request::{Reply, Request};
use super::snapshot_wishes::{restore_wish, snapshot_wish};
use super::snapshots_show::{self as show, Shown};
use crate::search_node::cluster::{Node, is_all};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::names;
use crate::search_node::snapshots::{Kind, snapshot_missing};

/// Answers everything below `_snapshot`; `path` is what follows that.
pub(super) async fn route(node: &Arc<Node>, request: &Request, path: &[&str]) -> Outcome<Reply> {
    match (request.method.as_str(), path) {
        ("PUT" | "POST", [repository, snapshot])
            if !snapshot.starts_with('_') || request.method == "PUT" =>
        {
            create(node, request, repository, snapshot).await
        }
        ("DELETE", [repository, snapshots]) => delete(node, request, repository, snapshots).await,
        ("POST", [repository, snapshot, "_restore"]) => {
            restore(node, request, repository, snapshot).await
        }
        _ => {
            let (node, request) = (Arc::clone(node), request.clone());
            blocking(move || short(&node, &request)).await
        }
    }
}

/// What reads or writes files and goes on to its end by itself.
fn short(node: &Arc<Node>, request: &Request) -> Outcome<Reply> {
    let path: Vec<&str> = request.path.iter().skip(1).map(String::as_str).collect();
    match (request.method.as_str(), path.as_slice()) {
        ("GET", []) => repositories(node, request, "_all"),
        ("GET", ["_status"]) => status(node, request, "_all", None),
        ("GET", [repository]) => repositories(node, request, repository),
        ("PUT" | "POST", [repository]) => {
            request.known(&["verify"])?;
            node.register(repository, &request.json()?, request.flag("verify", true)?)?;
            Ok(Reply::acknowledged())
        }
        ("DELETE", [repository]) => {
            request.known(&[])?;
            node.unregister(repository)?;
            Ok(Reply::acknowledged())
        }
        ("POST", [repository, "_verify"]) => {
            request.known(&[])?;
            node.repository(repository)?.verify()?;
            let mut nodes = Map::new();
            nodes.insert(node.name.clone(), json!({"name": node.name}));
            Ok(Reply::ok(json!({ "nodes": nodes })))
        }
        ("POST", [repository, "_cleanup"]) => {
            request.known(&[])?;
            let freed = node.clean_repository(repository)?;
            Ok(Reply::ok(json!({"results": {
                "deleted_bytes": freed.bytes, "deleted_blobs": freed.blobs,
            }})))
        }
        ("POST", [repository, "_verify_integrity"]) => {
            request.known(&[])?;
            let found = node.check_repository(repository)?;
            Ok(Reply::ok(show::integrity(repository, &found)))
        }
        ("GET", [repository, "_status"]) => status(node, request, repository, None),
        ("GET", [repository, snapshots]) => list(node, request, repository, snapshots),
        ("GET", [repository, snapshots, "_status"]) => {
            status(node, request, repository, Some(snapshots))
        }
        _ => Err(super::no_handler(request)),
    }
}

fn repositories(node: &Node, request: &Request, names: &str) -> Outcome<Reply> {
    request.known(&["local"])?;
    let shown: Map<String, Value> = node
        .repositories(names)?
        .into_iter()
        .map(|(name, registration)| (name, registration.show()))
        .collect();
    Ok(Reply::ok(Value::Object(shown)))
}

async fn create(
    node: &Arc<Node>,
    request: &Request,
    repository: &str,
    snapshot: &str,
) -> Outcome<Reply> {
    request.known(&["wait_for_completion"])?;
    let wait = request.flag("wait_for_completion", false)?;
    let wish = snapshot_wish(&request.object()?)?;
    let work = Arc::clone(node);
    let (repository, snapshot) = (repository.to_owned(), snapshot.to_owned());
    let named = repository.clone();
    let begun = blocking(move || work.begin_snapshot(&repository, &snapshot, wish)).await?;
    let Some(made) = carry_out(wait, move || begun.run()).await? else {
        return Ok(Reply::ok(json!({"accepted": true})));
    };
    Ok(Reply::ok(
        json!({"snapshot": Shown::of(&named, &made).value(&show::How::default())}),
    ))
}

/// Carries out work that goes on when its client leaves; what it came to, if that is waited for.
async fn carry_out<T: Send + 'static>(
    wait: bool,
    work: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> Outcome<Option<T>> {
    let work = blocking(work);
    if wait {
        return work.await.map(Some);
    }
    tokio::spawn(work);
    Ok(None)
}

async fn delete(
    node: &Arc<Node>,
    request: &Request,
    repository: &str,
    snapshots: &str,
) -> Outcome<Reply> {
    request.known(&["wait_for_completion"])?;
    request.only(&[("wait_for_completion", "true")])?;
    let (work, at, list) = (
        Arc::clone(node),
        repository.to_owned(),
        snapshots.to_owned(),
    );
    let mut aborted = Vec::new();
    for running in blocking(move || work.to_abort(&at, &list)).await? {
        running.work.cancel(Failure::new(
            500,
            "snapshot_exception",
            format!(
                "[{repository}:{}] was aborted by its deletion",
                running.snapshot
            ),
        ));
        running.ended().await;
        aborted.push(running.snapshot.clone());
    }
    let node = Arc::clone(node);
    let (repository, snapshots) = (repository.to_owned(), snapshots.to_owned());
    blocking(move || {
        node.delete_snapshots(&repository, &snapshots, &aborted)?;
        Ok(Reply::acknowledged())
    })
    .await
}

async fn restore(
    node: &Arc<Node>,
    request: &Request,
    repository: &str,
    snapshot: &str,
) -> Outcome<Reply> {
    request.known(&["wait_for_completion"])?;
    let wait = request.flag("wait_for_completion", false)?;
    let wish = restore_wish(&request.object()?)?;
    let work = Arc::clone(node);
    let (repository, owned) = (repository.to_owned(), snapshot.to_owned());
    let begun = blocking(move || work.begin_restore(&repository, &owned, &wish)).await?;
    let Some(indices) = carry_out(wait, move || begun.run()).await? else {
        return Ok(Reply::ok(json!({"accepted": true})));
    };
    let shards = indices.len();
    Ok(Reply::ok(json!({"snapshot": {
        "snapshot": snapshot,
        "indices": indices,
        "shards": {"total": shards, "failed": 0, "successful": shards},
    }})))
}

/// The snapshots of `repository` that `list` names, those at work included.
pub(super) fn find(
    node: &Node,
    repository: &str,
    list: &str,
    ignore_unavailable: bool,
) -> Outcome<Vec<Shown>> {
    let opened = node.repository(repository)?;
    // First: one that ends meanwhile is among the names then.
    let at_work = node.at_work(Kind::Snapshot, repository);
    let there = opened.names()?;
    let all = is_all(list);
    let mut found = Vec::new();
    let mut chosen = BTreeSet::new();
    for part in list.split(',') {
        let fits = |name: &str| all || part == "_all" || names::matches(part, name);
        let running = at_work.iter().filter(|running| {
            (part == "_current" || fits(&running.snapshot)) && !there.contains(&running.snapshot)
        });
        let mut any = part == "_current" || all || part.contains('*') || part == "_all";
        for running in running {
            any = true;
            if chosen.insert(running.snapshot.clone()) {
                found.push(Shown::running(running));
            }
        }
        for name in there.iter().filter(|name| fits(name)) {
            any = true;
            if !chosen.insert(name.clone()) {
                continue;
            }
            match opened.load(name) {
                Ok(description) => found.push(Shown::of(repository, &description)),
                Err(_) if ignore_unavailable => {}
                // It was deleted in this moment, and nobody asked for it by name.
                Err(failure) if failure.status == 404 && part != name => {}
                Err(failure) => return Err(failure),
            }
        }
        if !any && !ignore_unavailable {
            let mut failure = snapshot_missing(repository, part);
            if let Some(why) = node.snapshots.why_failed(repository, part) {
                failure.reason = format!("{}; it was tried and failed: {why}", failure.reason);
            }
            return Err(failure);
        }
    }
    Ok(found)
}

fn list(node: &Node, request: &Request, repository: &str, snapshots: &str) -> Outcome<Reply> {
    request.known(&[
        "after",
        "from_sort_value",
        "ignore_unavailable",
        "include_repository",
        "index_details",
        "index_names",
        "offset",
        "order",
        "size",
        "slm_policy_filter",
        "sort",
        "verbose",
    ])?;
    // Pages are those of [offset] and [size].
    request.only(&[
        ("after", ""),
        ("from_sort_value", ""),
        ("index_details", "false"),
        ("slm_policy_filter", "*"),
    ])?;
    let how = show::How {
        verbose: request.flag("verbose", true)?,
        repository: request.flag("include_repository", true)?,
        indices: request.flag("index_names", true)?,
    };
    let ignore = request.flag("ignore_unavailable", false)?;
    let mut found = Vec::new();
    for name in node.repositories(repository)?.keys() {
        found.extend(find(node, name, snapshots, ignore)?);
    }
    show::sort(&mut found, request.param("sort"), request.param("order"))?;
    let total = found.len();
    let offset = usize::try_from(request.count("offset")?.unwrap_or(0)).unwrap_or(usize::MAX);
    let size = match request.param("size") {
        None | Some("-1" | "0") => usize::MAX,
        Some(_) => usize::try_from(request.count("size")?.unwrap_or(0)).unwrap_or(usize::MAX),
    };
    let page: Vec<Value> = found
        .iter()
        .skip(offset)
        .take(size)
        .map(|shown| shown.value(&how))
        .collect();
    let remaining = total.saturating_sub(offset.saturating_add(page.len()));
    Ok(Reply::ok(
        json!({"snapshots": page, "total": total, "remaining": remaining}),
    ))
}

fn status(
    node: &Node,
    request: &Request,
    repositories: &str,
    snapshots: Option<&str>,
) -> Outcome<Reply> {
    request.known(&["ignore_unavailable"])?;
    let ignore = request.flag("ignore_unavailable", false)?;
    let mut shown = Vec::new();
    let mut restores = Vec::new();
    for name in node.repositories(repositories)?.keys() {
        match snapshots {
            None => {
                let running = node.at_work(Kind::Snapshot, name);
                shown.extend(
                    running
                        .iter()
                        .map(|running| Shown::running(running).status()),
                );
                let running = node.at_work(Kind::Restore, name);
                restores.extend(running.iter().map(|running| show::restore(running, None)));
                let failed = node.snapshots.failed_restores(name);
                restores.extend(failed.iter().map(|f| show::restore(&f.running, Some(f))));
            }
            Some(list) => {
                for found in find(node, name, list, ignore)? {
                    shown.push(found.status());
                }
            }
        }
    }
    let mut answer = json!({ "snapshots": shown });
    if snapshots.is_none() {
        answer["restores"] = restores.into();
    }
    Ok(Reply::ok(answer))
}

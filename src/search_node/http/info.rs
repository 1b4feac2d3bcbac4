//! What the node tells about itself.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::request::{Reply, Request};
use super::stats::{add, figures};
use crate::search_node::cluster::{Lenience, Node, now_millis, worst};
use crate::search_node::failure::{Failure, Outcome};

/// The version of Elasticsearch whose interface this is.
pub(super) const API_VERSION: &str = "8.11.0";

pub(super) fn root(node: &Node) -> Reply {
    Reply::ok(json!({
        "name": node.name,
        "cluster_name": node.cluster_name,
        "cluster_uuid": node.cluster_uuid(),
        "version": {
            "number": API_VERSION,
            "build_flavor": "lucid",
            "build_type": "lucid",
            "build_hash": env!("CARGO_PKG_VERSION"),
            "build_date": "unknown",
            "build_snapshot": false,
            "lucene_version": "none: tantivy",
            "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "You Know, for Search",
    }))
}

pub(super) fn route(node: &Arc<Node>, request: &Request, path: &[&str]) -> Outcome<Reply> {
    match (request.method.as_str(), path) {
        ("GET", ["_cluster", "health"]) => health(node, request, None),
        ("GET", ["_cluster", "health", name]) => health(node, request, Some(name)),
        ("GET", ["_cluster", "stats", ..]) => Ok(Reply::ok(cluster_stats(node)?)),
        ("GET", ["_cluster", "settings"]) => {
            request.known(&["flat_settings", "include_defaults", "local"])?;
            let flat = request.flag("flat_settings", false)?;
            let defaults = request.flag("include_defaults", false)?;
            Ok(Reply::ok(node.cluster_settings(flat, defaults)))
        }
        ("GET", ["_cluster", "pending_tasks"]) => Ok(Reply::ok(json!({"tasks": []}))),
        ("GET" | "POST", ["_cluster", "allocation", "explain"]) => explain(node),
        ("GET", ["_nodes", "stats", ..] | ["_nodes", _, "stats", ..]) => {
            Ok(Reply::ok(node_stats(node)?))
        }
        (_, ["_nodes", .., "hot_threads" | "usage"]) => Err(Failure::unsupported(format!(
            "{} /{}",
            request.method,
            path.join("/")
        ))),
        ("GET", ["_nodes", ..]) => Ok(Reply::ok(nodes(node))),
        ("PUT", ["_cluster", "settings"]) => {
            request.known(&["flat_settings"])?;
            let flat = request.flag("flat_settings", false)?;
            Ok(Reply::ok(
                node.put_cluster_settings(&request.json()?, flat)?,
            ))
        }
        _ => Err(super::no_handler(request)),
    }
}

/// Counts of shards: started, and copies without a place.
pub(super) fn shards(node: &Node) -> (usize, usize) {
    let open: Vec<_> = node
        .indices()
        .into_iter()
        .filter(|index| index.is_open())
        .collect();
    let waiting = open
        .iter()
        .map(|index| index.settings().replicas as usize)
        .sum::<usize>();
    (open.len(), waiting + node.broken().len())
}

fn health(node: &Node, request: &Request, name: Option<&str>) -> Outcome<Reply> {
    request.known(&[
        "allow_no_indices",
        "expand_wildcards",
        "ignore_unavailable",
        "level",
        "local",
        "wait_for_active_shards",
        "wait_for_events",
        "wait_for_no_initializing_shards",
        "wait_for_no_relocating_shards",
        "wait_for_nodes",
        "wait_for_status",
    ])?;
    request.only(&[("level", "cluster")])?;
    if let Some(nodes) = request.param("wait_for_nodes")
        && !["1", ">=1", "<=1", "ge(1)", "le(1)"].contains(&nodes)
    {
        return Err(Failure::illegal(format!(
            "[wait_for_nodes={nodes}] never comes true: there is one node"
        )));
    }
    let mut is_missing = false;
    let (status, active, waiting) = match name {
        None => {
            let (active, waiting) = shards(node);
            (node.health(), active, waiting)
        }
        Some(name) => {
            let lenience = Lenience {
                hidden: true,
                ..request.lenience()?
            };
            let targets = match node.resolve(name, lenience) {
                // It may come yet: not an error, but a wait that has not ended.
                Err(failure) if failure.status == 404 => {
                    is_missing = true;
                    Vec::new()
                }
                found => found?,
            };
            let copies: usize = targets
                .iter()
                .map(|t| t.index.settings().replicas as usize)
                .sum();
            let broken = node.broken_among(name).len();
            let status = if broken > 0 || is_missing {
                "red"
            } else {
                worst(targets.iter().map(|target| target.index.health()))
            };
            (status, targets.len(), copies + broken)
        }
    };
    let rank = |status: &str| {
        ["red", "yellow", "green"]
            .iter()
            .position(|known| *known == status)
    };
    let wanted = request.param("wait_for_status");
    let timed_out = is_missing || wanted.is_some_and(|wanted| rank(status) < rank(wanted));
    let all = active + waiting;
    let percent = if all == 0 {
        100.0
    } else {
        active as f64 * 100.0 / all as f64
    };
    let answer = json!({
        "cluster_name": node.cluster_name,
        "status": status,
        "timed_out": timed_out,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": active,
        "active_shards": active,
        "relocating_shards": 0,
        "initializing_shards": 0,
        "unassigned_shards": waiting,
        "delayed_unassigned_shards": 0,
        "number_of_pending_tasks": 0,
        "number_of_in_flight_fetch": 0,
        "task_max_waiting_in_queue_millis": 0,
        "active_shards_percent_as_number": percent,
    });
    Ok(Reply::Json(if timed_out { 408 } else { 200 }, answer))
}

fn explain(node: &Node) -> Outcome<Reply> {
    if let Some((index, why)) = node.faults().into_iter().next() {
        return Ok(Reply::ok(json!({
            "index": index,
            "shard": 0,
            "primary": true,
            "current_state": "unassigned",
            "explanation": why,
        })));
    }
    let waiting = node
        .indices()
        .into_iter()
        .find(|index| index.is_open() && index.settings().replicas > 0);
    match waiting {
        Some(index) => Ok(Reply::ok(json!({
            "index": index.name,
            "shard": 0,
            "primary": false,
            "current_state": "unassigned",
            "explanation": "this is a single node: there is nowhere to put a copy; set index.number_of_replicas to 0",
        }))),
        None => Err(Failure::illegal(
            "there are no unassigned shards to explain",
        )),
    }
}

fn totals(node: &Node) -> Value {
    let mut total = json!({});
    for index in node.indices() {
        add(&mut total, &figures(&index));
    }
    total
}

/// Size and free space of the file system that the data lies on.
pub(super) fn disk(node: &Node) -> Outcome<(u64, u64)> {
    let stat = nix::sys::statvfs::statvfs(node.dir())
        .map_err(|errno| Failure::from(std::io::Error::from(errno)))?;
    let unit = stat.fragment_size();
    Ok((
        stat.blocks().saturating_mul(unit),
        stat.blocks_available().saturating_mul(unit),
    ))
}

/// Resident memory of this process, in bytes.
pub(super) fn resident() -> u64 {
    let stat = procfs::process::Process::myself().and_then(|process| process.statm());
    stat.map_or(0, |stat| stat.resident.saturating_mul(procfs::page_size()))
}

fn cluster_stats(node: &Node) -> Outcome<Value> {
    let (size, free) = disk(node)?;
    let total = totals(node);
    let indices = node.indices();
    Ok(json!({
        "_nodes": {"total": 1, "successful": 1, "failed": 0},
        "cluster_name": node.cluster_name,
        "cluster_uuid": node.cluster_uuid(),
        "timestamp": now_millis(),
        "status": node.health(),
        "indices": {
            "count": indices.len(),
            "shards": {"total": indices.len(), "primaries": indices.len(), "replication": 0.0},
            "docs": total["docs"],
            "store": total["store"],
            "segments": total["segments"],
        },
        "nodes": {
            "count": {"total": 1, "data": 1, "master": 1},
            "versions": [API_VERSION],
            "fs": {"total_in_bytes": size, "free_in_bytes": free, "available_in_bytes": free},
        },
    }))
}

fn described(node: &Node, more: Value) -> Value {
    let mut one = json!({
        "name": node.name,
        "host": "127.0.0.1",
        "ip": "127.0.0.1",
        "roles": ["data", "ingest", "master"],
    });
    if let (Some(one), Value::Object(more)) = (one.as_object_mut(), more) {
        one.extend(more);
    }
    let mut nodes = Map::new();
    nodes.insert(node.cluster_uuid(), one);
    json!({
        "_nodes": {"total": 1, "successful": 1, "failed": 0},
        "cluster_name": node.cluster_name,
        "nodes": nodes,
    })
}

fn nodes(node: &Node) -> Value {
    described(
        node,
        json!({"version": API_VERSION, "build_flavor": "lucid", "build_hash": env!("CARGO_PKG_VERSION")}),
    )
}

fn node_stats(node: &Node) -> Outcome<Value> {
    let (size, free) = disk(node)?;
    let uptime = u64::try_from(node.started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(described(
        node,
        json!({
            "timestamp": now_millis(),
            "indices": totals(node),
            "process": {"mem": {"resident_in_bytes": resident()}},
            "uptime_in_millis": uptime,
            "translog": {"size_in_bytes": node.log.bytes()},
            "fs": {"total": {"total_in_bytes": size, "free_in_bytes": free, "available_in_bytes": free}},
        }),
    ))
}

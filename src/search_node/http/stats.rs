//! Figures of indices.

use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use super::indices::resolve;
use super::request::{Reply, Request};
use crate::search_node::cluster::{Index, Lenience, Node};
use crate::search_node::failure::{Failure, Outcome};

/// Figures of one index.
pub(super) fn figures(index: &Index) -> Value {
    let view = index.shard.view();
    let counters = &index.shard.counters;
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    json!({
        "docs": {"count": view.docs, "deleted": view.deleted},
        "shard_stats": {"total_count": 1},
        "store": {"size_in_bytes": view.bytes, "reserved_in_bytes": 0},
        "indexing": {
            "index_total": get(&counters.indexed),
            "index_time_in_millis": get(&counters.index_micros) / 1000,
            "delete_total": get(&counters.deleted),
        },
        "get": {"total": get(&counters.gets)},
        "search": {
            "query_total": get(&counters.searches),
            "query_time_in_millis": get(&counters.search_micros) / 1000,
        },
        "merges": {"total": get(&counters.merges)},
        "refresh": {"total": get(&counters.refreshes)},
        "flush": {"total": get(&counters.flushes)},
        "segments": {"count": view.parts.len(), "memory_in_bytes": index.shard.memory()},
    })
}

/// Figures of the indices that `name` means, of the kinds in `metrics`.
pub(super) fn stats(node: &Node, request: &Request, name: &str, metrics: &str) -> Outcome<Reply> {
    let indices = resolve(
        node,
        name,
        Lenience {
            hidden: name == "*",
            ..request.lenience()?
        },
    )?;
    let mut all = json!({});
    let mut shown = Map::new();
    for index in &indices {
        let figures = chosen(figures(index), metrics)?;
        add(&mut all, &figures);
        shown.insert(
            index.name.clone(),
            json!({"uuid": index.uuid, "primaries": figures, "total": figures}),
        );
    }
    let shards = indices.len();
    Ok(Reply::ok(json!({
        "_shards": {"total": shards, "successful": shards, "failed": 0},
        "_all": {"primaries": all, "total": all},
        "indices": shown,
    })))
}

/// The figures that `metrics` names, separated by commas.
fn chosen(figures: Value, metrics: &str) -> Outcome<Value> {
    let Value::Object(all) = figures else {
        return Ok(figures);
    };
    let mut shown = Map::new();
    for metric in metrics.split(',') {
        if metric == "_all" {
            return Ok(Value::Object(all));
        }
        let key = if metric == "merge" { "merges" } else { metric };
        let Some(figures) = all.get(key) else {
            return Err(Failure::unsupported(format!("metric [{metric}] of _stats")));
        };
        shown.insert(key.to_owned(), figures.clone());
    }
    Ok(Value::Object(shown))
}

/// Adds numbers of the same name.
pub(super) fn add(sum: &mut Value, more: &Value) {
    let Some(more) = more.as_object() else { return };
    for (key, value) in more {
        match value {
            Value::Object(_) => {
                if sum.get(key).is_none() {
                    sum[key] = json!({});
                }
                add(&mut sum[key], value);
            }
            value => {
                let total = sum[key].as_u64().unwrap_or(0) + value.as_u64().unwrap_or(0);
                sum[key] = total.into();
            }
        }
    }
}

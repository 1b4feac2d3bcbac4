//! Tables for people.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::cat_snapshots;
use super::info::{disk, resident, shards};
use super::request::{Reply, Request};
use crate::search_node::cluster::{Lenience, Node, now_millis};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::names;
use crate::search_node::search::{self, Run};
use crate::units::human_bytes;

/// Columns by name, and rows.
pub(super) struct Table {
    pub(super) columns: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

pub(super) fn route(node: &Arc<Node>, request: &Request, path: &[&str]) -> Outcome<Reply> {
    request.known(&[
        "allow_no_indices",
        "bytes",
        "expand_wildcards",
        "h",
        "health",
        "ignore_unavailable",
        "include_unloaded_segments",
        "local",
        "pri",
        "s",
        "time",
        "v",
    ])?;
    let table = match path {
        ["indices", rest @ ..] => indices(node, request, rest)?,
        ["health"] => health(node),
        ["nodes"] => nodes(node),
        ["aliases", rest @ ..] => aliases(node, rest),
        ["count", rest @ ..] => count(node, request, rest)?,
        ["allocation", ..] => allocation(node, request)?,
        ["repositories"] => cat_snapshots::repositories(node)?,
        ["snapshots", rest @ ..] => cat_snapshots::snapshots(node, request, rest)?,
        [other, ..] => return Err(Failure::unsupported(format!("_cat/{other}"))),
        [] => {
            return Ok(Reply::Text(200, "=^.^=\n/_cat/aliases\n/_cat/allocation\n/_cat/count\n/_cat/health\n/_cat/indices\n/_cat/nodes\n/_cat/repositories\n/_cat/snapshots\n".to_owned()));
        }
    };
    table.show(request)
}

/// Short names of columns, by which people ask for them.
const SHORT: &[(&str, &str)] = &[
    ("dc", "docs.count"),
    ("dd", "docs.deleted"),
    ("h", "health"),
    ("i", "index"),
    ("id", "uuid"),
    ("idx", "index"),
    ("n", "name"),
    ("p", "pri"),
    ("r", "rep"),
    ("s", "status"),
    ("ss", "store.size"),
];

impl Table {
    /// Places of the columns that `pattern` names. One that is not there is refused: a table
    /// without it would look as if that were all.
    fn named(&self, pattern: &str) -> Outcome<Vec<usize>> {
        let places = |pattern: &str| -> Vec<usize> {
            let columns = self.columns.iter().enumerate();
            columns
                .filter(|(_, name)| names::matches(pattern, name))
                .map(|(at, _)| at)
                .collect()
        };
        let mut found = places(pattern);
        if let Some((_, name)) = SHORT.iter().find(|(short, _)| *short == pattern)
            && found.is_empty()
        {
            found = places(name);
        }
        if found.is_empty() && !pattern.contains('*') {
            return Err(Failure::unsupported(format!(
                "column [{pattern}] of this table, which has [{}],",
                self.columns.join("], [")
            )));
        }
        Ok(found)
    }

    fn show(mut self, request: &Request) -> Outcome<Reply> {
        if let Some(keys) = request.param("s") {
            for key in keys.split(',').rev() {
                let (name, descending) = match key.split_once(':') {
                    Some((name, order)) => (name, order == "desc"),
                    None => (key, false),
                };
                let Some(at) = self.named(name).ok().and_then(|at| at.first().copied()) else {
                    return Err(Failure::illegal(format!(
                        "Unable to sort by unknown sort key `{name}`"
                    )));
                };
                self.rows.sort_by(|a, b| {
                    // Numbers come before texts, so that there is one order for all.
                    let order = match (a[at].parse::<f64>(), b[at].parse::<f64>()) {
                        (Ok(a), Ok(b)) => a.total_cmp(&b),
                        (Ok(_), Err(_)) => Ordering::Less,
                        (Err(_), Ok(_)) => Ordering::Greater,
                        (Err(_), Err(_)) => a[at].cmp(&b[at]),
                    };
                    if descending { order.reverse() } else { order }
                });
            }
        }
        let chosen: Vec<usize> = match request.param("h") {
            None => (0..self.columns.len()).collect(),
            Some(patterns) => {
                let mut chosen = Vec::new();
                for pattern in patterns.split(',') {
                    chosen.extend(self.named(pattern.trim())?);
                }
                chosen
            }
        };
        if request.param("format") == Some("json") {
            let rows: Vec<Value> = self
                .rows
                .iter()
                .map(|row| {
                    let cells = chosen
                        .iter()
                        .map(|at| (self.columns[*at].to_owned(), row[*at].clone().into()));
                    Value::Object(cells.collect::<Map<_, _>>())
                })
                .collect();
            return Ok(Reply::ok(rows.into()));
        }
        if let Some(other) = request.param("format").filter(|format| *format != "text") {
            return Err(Failure::unsupported(format!("[format: {other}]")));
        }
        let mut rows: Vec<Vec<&str>> = Vec::new();
        if request.flag("v", false)? {
            rows.push(chosen.iter().map(|at| self.columns[*at]).collect());
        }
        rows.extend(
            self.rows
                .iter()
                .map(|row| chosen.iter().map(|at| row[*at].as_str()).collect()),
        );
        let widths: Vec<usize> = (0..chosen.len())
            .map(|column| {
                rows.iter()
                    .map(|row| row[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for row in rows {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            text.push_str(cells.join(" ").trim_end());
            text.push('\n');
        }
        Ok(Reply::Text(200, text))
    }
}

/// A size as the request wants it.
fn size(request: &Request, bytes: u64) -> Outcome<String> {
    let unit = match request.param("bytes") {
        None => {
            return Ok(human_bytes(bytes)
                .replace(' ', "")
                .replace("iB", "b")
                .to_lowercase());
        }
        Some("b") => 1,
        Some("kb" | "k") => 1 << 10,
        Some("mb" | "m") => 1 << 20,
        Some("gb" | "g") => 1 << 30,
        Some(other) => return Err(Failure::illegal(format!("unknown unit [{other}]"))),
    };
    Ok((bytes / unit).to_string())
}

fn indices(node: &Node, request: &Request, rest: &[&str]) -> Outcome<Table> {
    let columns = vec![
        "health",
        "status",
        "index",
        "uuid",
        "pri",
        "rep",
        "docs.count",
        "docs.deleted",
        "store.size",
        "pri.store.size",
    ];
    let lenience = Lenience {
        closed: true,
        ..request.lenience()?
    };
    let expression = rest.first().copied().unwrap_or("*");
    let is_wanted = |health: &str| {
        request
            .param("health")
            .is_none_or(|wanted| wanted == health)
    };
    let mut rows = Vec::new();
    // Those that could not be opened have a name and nothing else.
    if is_wanted("red") {
        for (name, _) in node.broken_among(expression) {
            let mut row = vec!["red".to_owned(), "open".to_owned(), name];
            row.resize(columns.len(), String::new());
            rows.push(row);
        }
    }
    for target in node.resolve(expression, lenience)? {
        let index = target.index;
        let replicas = index.settings().replicas;
        let health = index.health();
        if !is_wanted(health) {
            continue;
        }
        let view = index.shard.view();
        let bytes = size(request, view.bytes)?;
        rows.push(vec![
            health.to_owned(),
            if index.is_open() { "open" } else { "close" }.to_owned(),
            index.name.clone(),
            index.uuid.clone(),
            "1".to_owned(),
            replicas.to_string(),
            view.docs.to_string(),
            view.deleted.to_string(),
            bytes.clone(),
            bytes,
        ]);
    }
    Ok(Table { columns, rows })
}

/// Seconds since the epoch, and the time of day.
pub(super) fn clock(millis: i64) -> (String, String) {
    let seconds = millis / 1000;
    let day = seconds.rem_euclid(86_400);
    (
        seconds.to_string(),
        format!("{:02}:{:02}:{:02}", day / 3600, day / 60 % 60, day % 60),
    )
}

fn health(node: &Node) -> Table {
    let (active, waiting) = shards(node);
    let (epoch, time) = clock(now_millis());
    let percent = if active + waiting == 0 {
        100.0
    } else {
        active as f64 * 100.0 / (active + waiting) as f64
    };
    Table {
        columns: vec![
            "epoch",
            "timestamp",
            "cluster",
            "status",
            "node.total",
            "node.data",
            "shards",
            "pri",
            "relo",
            "init",
            "unassign",
            "pending_tasks",
            "max_task_wait_time",
            "active_shards_percent",
        ],
        rows: vec![vec![
            epoch,
            time,
            node.cluster_name.clone(),
            node.health().to_owned(),
            "1".to_owned(),
            "1".to_owned(),
            active.to_string(),
            active.to_string(),
            "0".to_owned(),
            "0".to_owned(),
            waiting.to_string(),
            "0".to_owned(),
            "-".to_owned(),
            format!("{percent:.1}%"),
        ]],
    }
}

fn nodes(node: &Node) -> Table {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut load = load.split_whitespace().map(str::to_owned);
    let mut next = || load.next().unwrap_or_default();
    Table {
        columns: vec![
            "ip",
            "ram.current",
            "load_1m",
            "load_5m",
            "load_15m",
            "node.role",
            "master",
            "name",
        ],
        rows: vec![vec![
            "127.0.0.1".to_owned(),
            human_bytes(resident()),
            next(),
            next(),
            next(),
            "dim".to_owned(),
            "*".to_owned(),
            node.name.clone(),
        ]],
    }
}

fn aliases(node: &Node, rest: &[&str]) -> Table {
    let pattern = rest.first().copied().unwrap_or("*");
    let mut rows = Vec::new();
    for (index, entry) in node.state().indices {
        for (alias, of) in entry.aliases {
            if pattern
                .split(',')
                .any(|pattern| names::matches(pattern, &alias))
            {
                rows.push(vec![
                    alias,
                    index.clone(),
                    if of.filter.is_some() { "*" } else { "-" }.to_owned(),
                    "-".to_owned(),
                    "-".to_owned(),
                    of.is_write_index
                        .map_or_else(|| "-".to_owned(), |flag| flag.to_string()),
                ]);
            }
        }
    }
    Table {
        columns: vec![
            "alias",
            "index",
            "filter",
            "routing.index",
            "routing.search",
            "is_write_index",
        ],
        rows,
    }
}

fn count(node: &Node, request: &Request, rest: &[&str]) -> Outcome<Table> {
    let (sources, failed) = super::searches::sources(
        node,
        rest.first().copied().unwrap_or("*"),
        request.lenience()?,
    )?;
    let how = Run {
        failed,
        ..Run::new()
    };
    let (count, _) = search::count(&sources, None, &how)?;
    let (epoch, time) = clock(now_millis());
    Ok(Table {
        columns: vec!["epoch", "timestamp", "count"],
        rows: vec![vec![epoch, time, count.to_string()]],
    })
}

fn allocation(node: &Node, request: &Request) -> Outcome<Table> {
    let (total, free) = disk(node)?;
    let used = total.saturating_sub(free);
    let (active, _) = shards(node);
    let bytes = node
        .indices()
        .iter()
        .map(|index| index.shard.view().bytes)
        .sum();
    let percent = used.saturating_mul(100).checked_div(total).unwrap_or(0);
    Ok(Table {
        columns: vec![
            "shards",
            "disk.indices",
            "disk.used",
            "disk.avail",
            "disk.total",
            "disk.percent",
            "host",
            "ip",
            "node",
        ],
        rows: vec![vec![
            active.to_string(),
            size(request, bytes)?,
            size(request, used)?,
            size(request, free)?,
            size(request, total)?,
            percent.to_string(),
            "127.0.0.1".to_owned(),
            "127.0.0.1".to_owned(),
            node.name.clone(),
        ]],
    })
}

//! Tables of repositories and snapshots for people.

use super::cat::{Table, clock};
use super::request::Request;
use super::snapshots::find;
use super::snapshots_show as show;
use crate::search_node::cluster::Node;
use crate::search_node::failure::Outcome;

pub(super) fn repositories(node: &Node) -> Outcome<Table> {
    let names = node.repositories("_all")?.into_keys();
    Ok(Table {
        columns: vec!["id", "type"],
        rows: names.map(|name| vec![name, "fs".to_owned()]).collect(),
    })
}

pub(super) fn snapshots(node: &Node, request: &Request, rest: &[&str]) -> Outcome<Table> {
    let ignore = request.flag("ignore_unavailable", false)?;
    let mut found = Vec::new();
    for repository in node
        .repositories(rest.first().copied().unwrap_or("_all"))?
        .keys()
    {
        found.extend(find(node, repository, "_all", ignore)?);
    }
    show::sort(&mut found, None, None)?;
    let rows = found.into_iter().map(|shown| {
        let (start_epoch, start_time) = clock(shown.started);
        let (end_epoch, end_time) = shown.ended.map(clock).unwrap_or_default();
        vec![
            shown.name.clone(),
            shown.repository.clone(),
            shown.state.to_owned(),
            start_epoch,
            start_time,
            end_epoch,
            end_time,
            duration(shown.millis),
            (shown.indices.len() + shown.failures.len()).to_string(),
            shown.done().to_string(),
            shown.failures.len().to_string(),
            (shown.indices.len() + shown.failures.len()).to_string(),
        ]
    });
    Ok(Table {
        columns: vec![
            "id",
            "repository",
            "status",
            "start_epoch",
            "start_time",
            "end_epoch",
            "end_time",
            "duration",
            "indices",
            "successful_shards",
            "failed_shards",
            "total_shards",
        ],
        rows: rows.collect(),
    })
}

/// Milliseconds as people say them.
fn duration(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis}ms"),
        1_000..60_000 => format!("{}.{}s", millis / 1_000, millis % 1_000 / 100),
        60_000..3_600_000 => format!("{}.{}m", millis / 60_000, millis % 60_000 / 6_000),
        _ => format!("{}.{}h", millis / 3_600_000, millis % 3_600_000 / 360_000),
    }
}

//! Snapshots as they are shown.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::info::API_VERSION;
use crate::search_node::cluster::now_millis;
use crate::search_node::dates::utc;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::snapshots::{Description, Failed, Integrity, Progress, Running};

/// How much is shown.
#[derive(Debug)]
pub(super) struct How {
    /// Times, shards and the rest.
    pub verbose: bool,
    /// The repository's name.
    pub repository: bool,
    /// The indices' names.
    pub indices: bool,
}

impl Default for How {
    fn default() -> Self {
        Self {
            verbose: true,
            repository: true,
            indices: true,
        }
    }
}

/// A snapshot, made or at work.
#[derive(Debug)]
pub(super) struct Shown {
    pub repository: String,
    pub name: String,
    uuid: String,
    pub state: &'static str,
    pub started: i64,
    /// In milliseconds since the epoch; `None` while it is at work.
    pub ended: Option<i64>,
    pub millis: u64,
    global: bool,
    metadata: Option<Value>,
    pub indices: BTreeMap<String, Progress>,
    pub failures: BTreeMap<String, String>,
}

impl Shown {
    /// One that is made.
    pub(super) fn of(repository: &str, made: &Description) -> Self {
        let indices = made.indices.iter().map(|(name, index)| {
            let progress = Progress {
                files: index.files.len() as u64,
                bytes: index.bytes(),
                new_files: index.new_files,
                new_bytes: index.new_bytes,
                done_files: index.new_files,
                done_bytes: index.new_bytes,
                started: index.started,
                millis: Some(index.millis),
            };
            (name.clone(), progress)
        });
        Self {
            repository: repository.to_owned(),
            name: made.snapshot.clone(),
            uuid: made.uuid.clone(),
            state: made.state(),
            started: made.started,
            ended: Some(made.ended),
            millis: u64::try_from(made.ended - made.started).unwrap_or(0),
            global: made.global.is_some(),
            metadata: made.metadata.clone(),
            indices: indices.collect(),
            failures: made.failures.clone(),
        }
    }

    /// One that is at work.
    pub(super) fn running(running: &Running) -> Self {
        Self {
            repository: running.repository.clone(),
            name: running.snapshot.clone(),
            uuid: running.uuid.clone(),
            state: "IN_PROGRESS",
            started: running.started,
            ended: None,
            millis: running.millis(),
            global: running.global,
            metadata: None,
            indices: running.progress(),
            failures: BTreeMap::new(),
        }
    }

    /// Indices that are wholly taken.
    pub(super) fn done(&self) -> usize {
        self.indices.values().filter(|p| p.millis.is_some()).count()
    }

    /// As `GET _snapshot` shows it.
    pub(super) fn value(&self, how: &How) -> Value {
        let mut shown = Map::new();
        let mut set = |key: &str, value: Value| shown.insert(key.to_owned(), value);
        set("snapshot", self.name.clone().into());
        set("uuid", self.uuid.clone().into());
        if how.repository {
            set("repository", self.repository.clone().into());
        }
        if how.verbose {
            set("version", API_VERSION.into());
        }
        if how.indices {
            let names: Vec<&String> = self.indices.keys().chain(self.failures.keys()).collect();
            set("indices", json!(names));
        }
        set("data_streams", json!([]));
        set("state", self.state.into());
        if !how.verbose {
            return Value::Object(shown);
        }
        set("include_global_state", self.global.into());
        if let Some(metadata) = &self.metadata {
            set("metadata", metadata.clone());
        }
        set("start_time", utc(self.started).into());
        set("start_time_in_millis", self.started.into());
        if let Some(ended) = self.ended {
            set("end_time", utc(ended).into());
            set("end_time_in_millis", ended.into());
            set("duration_in_millis", self.millis.into());
        }
        let failures: Vec<Value> = self
            .failures
            .iter()
            .map(|(index, why)| {
                json!({"index": index, "index_uuid": index, "shard_id": 0, "reason": why,
                    "status": "INTERNAL_SERVER_ERROR"})
            })
            .collect();
        set("failures", failures.into());
        set(
            "shards",
            json!({"total": self.indices.len() + self.failures.len(),
                "failed": self.failures.len(), "successful": self.done()}),
        );
        set("feature_states", json!([]));
        Value::Object(shown)
    }

    /// As `GET _status` shows it.
    pub(super) fn status(&self) -> Value {
        let mut indices = Map::new();
        for (name, progress) in &self.indices {
            let stats = stats(std::iter::once(progress), progress.started, took(progress));
            let stage = match (progress.started, progress.millis) {
                (0, _) => "INIT",
                (_, None) => "STARTED",
                (_, Some(_)) => "DONE",
            };
            indices.insert(
                name.clone(),
                json!({
                    "shards_stats": shards(std::iter::once(progress), 0),
                    "stats": stats,
                    "shards": {"0": {"stage": stage, "stats": stats}},
                }),
            );
        }
        for (name, why) in &self.failures {
            indices.insert(
                name.clone(),
                json!({
                    "shards_stats": shards(std::iter::empty(), 1),
                    "stats": stats(std::iter::empty(), 0, 0),
                    "shards": {"0": {"stage": "FAILURE", "reason": why,
                        "stats": stats(std::iter::empty(), 0, 0)}},
                }),
            );
        }
        json!({
            "snapshot": self.name,
            "repository": self.repository,
            "uuid": self.uuid,
            "state": if self.ended.is_some() { self.state } else { "STARTED" },
            "include_global_state": self.global,
            "shards_stats": shards(self.indices.values(), self.failures.len()),
            "stats": stats(self.indices.values(), self.started, self.millis),
            "indices": indices,
        })
    }
}

/// A restore at work, or one that failed. Elasticsearch has no such list: there what is restored is
/// an index at once, and its recovery is shown.
pub(super) fn restore(running: &Running, failed: Option<&Failed>) -> Value {
    let indices: Vec<String> = running.progress().into_keys().collect();
    let mut shown = json!({
        "snapshot": running.snapshot,
        "repository": running.repository,
        "state": if failed.is_some() { "FAILED" } else { "STARTED" },
        "indices": indices,
        "start_time_in_millis": running.started,
        "time_in_millis": failed.map_or_else(|| running.millis(), |failed| failed.millis),
    });
    if let Some(failed) = failed {
        shown["reason"] = failed.why.clone().into();
    }
    shown
}

/// How long an index took, or takes so far, in milliseconds.
fn took(progress: &Progress) -> u64 {
    progress.millis.unwrap_or_else(|| match progress.started {
        0 => 0,
        started => since(started),
    })
}

fn shards<'a>(all: impl Iterator<Item = &'a Progress>, failed: usize) -> Value {
    let (mut waiting, mut at_work, mut done) = (0, 0, 0);
    for progress in all {
        match (progress.started, progress.millis) {
            (_, Some(_)) => done += 1,
            (0, None) => waiting += 1,
            _ => at_work += 1,
        }
    }
    json!({"initializing": waiting, "started": at_work, "finalizing": 0, "done": done,
        "failed": failed, "total": waiting + at_work + done + failed})
}

fn stats<'a>(all: impl Iterator<Item = &'a Progress>, started: i64, millis: u64) -> Value {
    let mut sum = Progress::default();
    let mut at_work = false;
    for progress in all {
        sum.files += progress.files;
        sum.bytes += progress.bytes;
        sum.new_files += progress.new_files;
        sum.new_bytes += progress.new_bytes;
        sum.done_files += progress.done_files;
        sum.done_bytes += progress.done_bytes;
        at_work |= progress.millis.is_none();
    }
    let mut stats = json!({
        "incremental": {"file_count": sum.new_files, "size_in_bytes": sum.new_bytes},
    });
    if at_work {
        stats["processed"] = json!({"file_count": sum.done_files, "size_in_bytes": sum.done_bytes});
    }
    stats["total"] = json!({"file_count": sum.files, "size_in_bytes": sum.bytes});
    stats["start_time_in_millis"] = started.into();
    stats["time_in_millis"] = millis.into();
    stats
}

/// Sorts as the parameters `sort` and `order` say; by begin when they say nothing.
pub(super) fn sort(all: &mut [Shown], by: Option<&str>, order: Option<&str>) -> Outcome<()> {
    let name = |shown: &Shown| (shown.name.clone(), shown.repository.clone());
    match by {
        None | Some("start_time") => all.sort_by_key(|shown| (shown.started, name(shown))),
        Some("name") => all.sort_by_key(name),
        Some("repository") => {
            all.sort_by_key(|shown| (shown.repository.clone(), shown.name.clone()));
        }
        Some("duration") => all.sort_by_key(|shown| (shown.millis, name(shown))),
        Some("index_count") => all.sort_by_key(|shown| (shown.indices.len(), name(shown))),
        Some("shard_count") => {
            all.sort_by_key(|shown| (shown.indices.len() + shown.failures.len(), name(shown)));
        }
        Some("failed_shard_count") => {
            all.sort_by_key(|shown| (shown.failures.len(), name(shown)));
        }
        Some(other) => {
            return Err(Failure::illegal(format!(
                "unknown sort order [{other}]; there are [start_time], [name], [repository], \
                 [duration], [index_count], [shard_count] and [failed_shard_count]"
            )));
        }
    }
    match order {
        None | Some("asc") => {}
        Some("desc") => all.reverse(),
        Some(other) => {
            return Err(Failure::illegal(format!(
                "[order={other}] must be [asc] or [desc]"
            )));
        }
    }
    Ok(())
}

/// What a check of all blobs found.
pub(super) fn integrity(repository: &str, found: &Integrity) -> Value {
    let log: Vec<Value> = found
        .anomalies
        .iter()
        .map(|anomaly| {
            let mut entry = json!({
                "repository": repository,
                "snapshot": {"snapshot": anomaly.snapshot},
                "anomaly": anomaly.text(),
            });
            if let Some(index) = &anomaly.index {
                entry["index"] = json!({"name": index});
            }
            if let Some((file, hash)) = &anomaly.file {
                entry["file_name"] = file.clone().into();
                entry["blob_name"] = hash.clone().into();
            }
            entry
        })
        .collect();
    json!({
        "log": log,
        "results": {
            "status": {
                "snapshots": {"verified": found.snapshots},
                "blobs": {"total": found.blobs, "verified_bytes": found.bytes},
                "unused_blobs": {"total": found.unused.0, "size_in_bytes": found.unused.1},
            },
            "total_anomalies": found.total,
            "result": if found.total == 0 { "pass" } else { "fail" },
        },
    })
}

/// Milliseconds since `started`, in milliseconds since the epoch.
fn since(started: i64) -> u64 {
    u64::try_from(now_millis() - started).unwrap_or(0)
}

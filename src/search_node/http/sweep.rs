//! Going over all documents that a search finds, in batches, with a write for each: what
//! `_delete_by_query`, `_update_by_query` and `_reindex` have in common.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::blocking;
use super::documents::{Refresh, in_index, settle};
use crate::search_node::cluster::settings::Operation;
use crate::search_node::cluster::{Index, Node, now_millis};
use crate::search_node::failure::Outcome;
use crate::search_node::search::{self, Answer, Hit, Place, Run, Source, Track};
use crate::search_node::shard::{Change, Write, Written};
use crate::search_node::tasks::Task;

/// Documents of a batch, when the request does not say how many.
pub(super) const BATCH: usize = 1000;

/// How long a batch waits for room in memory at most; a save of the index makes it.
const ROOM_LIMIT: Duration = Duration::from_secs(60);

/// How often a batch that waits looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What to go over, and how.
#[derive(Debug)]
pub(super) struct Plan {
    /// Where the documents are, as of the beginning.
    pub sources: Vec<Source>,
    /// Which of them, in which order.
    pub request: search::Request,
    /// Documents of a batch.
    pub batch: usize,
    /// Documents in all at most.
    pub max_docs: Option<u64>,
    /// Whether to go on when a document was changed in between.
    pub proceeds: bool,
    /// Whether everything is visible at the end.
    pub refreshes: bool,
}

/// What to do with a hit: where, and which write.
pub(super) type Make = Arc<dyn Fn(&[Source], Hit) -> Outcome<(Arc<Index>, Write)> + Send + Sync>;

/// What was done so far.
#[derive(Debug, Default)]
struct Counts {
    total: u64,
    created: u64,
    updated: u64,
    deleted: u64,
    batches: u64,
    conflicts: u64,
    retries: u64,
    throttled: Duration,
    failures: Vec<Value>,
}

impl Counts {
    fn show(&self, task: &Task) -> Value {
        let rate = task.rate();
        let mut shown = json!({
            "total": self.total,
            "created": self.created,
            "updated": self.updated,
            "deleted": self.deleted,
            "batches": self.batches,
            "version_conflicts": self.conflicts,
            "noops": 0,
            "retries": {"bulk": self.retries, "search": 0},
            "throttled_millis": millis(self.throttled),
            "requests_per_second": if rate.is_finite() { rate } else { -1.0 },
            "throttled_until_millis": 0,
        });
        if task.is_cancelled() {
            shown["canceled"] = "by user request".into();
        }
        shown
    }

    /// Documents that were dealt with.
    fn done(&self) -> u64 {
        self.created + self.updated + self.deleted + self.conflicts
    }

    /// Takes what became of a write into account.
    fn take(&mut self, done: Done, proceeds: bool) {
        match done.result {
            Ok(_) if done.deletes => self.deleted += 1,
            Ok(written) if written.existed => self.updated += 1,
            Ok(_) => self.created += 1,
            Err(failure) => {
                let conflict = failure.status == 409;
                self.conflicts += u64::from(conflict);
                if !(conflict && proceeds) {
                    self.failures.push(json!({
                        "index": done.index,
                        "id": done.id,
                        "cause": failure.object(),
                        "status": failure.status,
                    }));
                }
            }
        }
    }
}

/// What became of one write.
struct Done {
    index: String,
    id: String,
    deletes: bool,
    result: Outcome<Written>,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Goes over everything in `plan`, as `task`; gives the answer.
pub(super) async fn sweep(
    node: Arc<Node>,
    task: Arc<Task>,
    mut plan: Plan,
    make: Make,
) -> Outcome<Value> {
    let began = Instant::now();
    let now = now_millis();
    let mut counts = Counts::default();
    let mut after: Option<Place> = None;
    let mut touched: BTreeMap<String, Arc<Index>> = BTreeMap::new();
    while !task.is_cancelled() {
        let batch_began = Instant::now();
        let left = plan.max_docs.map(|max| max.saturating_sub(counts.done()));
        if left == Some(0) {
            break;
        }
        let (from, maker) = (after.take(), Arc::clone(&make));
        let first = from.is_none();
        let (back, batch) = blocking(move || {
            let batch = next(&mut plan, from, left, now, &maker)?;
            Ok((plan, batch))
        })
        .await?;
        plan = back;
        if first {
            counts.total = plan
                .max_docs
                .map_or(batch.total, |max| batch.total.min(max));
        }
        let size = batch.writes.len();
        if size == 0 {
            break;
        }
        after = batch.last;
        counts.batches += 1;
        let mut groups: BTreeMap<String, (Arc<Index>, Vec<Write>)> = BTreeMap::new();
        for one in batch.writes {
            match one {
                Ok((index, write)) => {
                    let group = groups.entry(index.name.clone());
                    group.or_insert_with(|| (index, Vec::new())).1.push(write);
                }
                Err(done) => counts.take(done, plan.proceeds),
            }
        }
        for (name, (index, writes)) in groups {
            let done = write(&node, &index, writes, &mut counts.retries).await?;
            touched.insert(name, index);
            for one in done {
                counts.take(one, plan.proceeds);
            }
        }
        task.report(counts.show(&task));
        if !counts.failures.is_empty() || counts.done() >= counts.total {
            break;
        }
        counts.throttled += throttle(&task, size, batch_began).await;
    }
    if plan.refreshes {
        for index in touched.into_values() {
            blocking(move || index.shard.refresh()).await?;
        }
    }
    let mut answer = counts.show(&task);
    answer["took"] = millis(began.elapsed()).into();
    answer["timed_out"] = false.into();
    answer["failures"] = counts.failures.into();
    Ok(answer)
}

/// Documents, and what to do with them.
struct Batch {
    /// How many there are in all; known of the first batch.
    total: u64,
    writes: Vec<Result<(Arc<Index>, Write), Done>>,
    last: Option<Place>,
}

/// The next batch after `after`.
fn next(
    plan: &mut Plan,
    after: Option<Place>,
    left: Option<u64>,
    now: i64,
    make: &Make,
) -> Outcome<Batch> {
    let answer = page(plan, after, left, now)?;
    let total = answer.hits.total.as_ref();
    let total = total.and_then(|total| total["value"].as_u64());
    let writes = answer.hits.found.into_iter().map(|hit| {
        let (index, id) = (hit.index.clone(), hit.id.clone());
        make(&plan.sources, hit).map_err(|failure| Done {
            index,
            id,
            deletes: false,
            result: Err(failure),
        })
    });
    Ok(Batch {
        total: total.unwrap_or(0),
        writes: writes.collect(),
        last: answer.last,
    })
}

/// The next documents after `after`, at most `left`. When they are too large for one answer there
/// are fewer of them.
fn page(plan: &mut Plan, after: Option<Place>, left: Option<u64>, now: i64) -> Outcome<Answer> {
    plan.request.track = match after {
        None => Track::All,
        Some(_) => Track::No,
    };
    let how = Run {
        after,
        now,
        ..Run::new()
    };
    loop {
        let left = left.and_then(|left| usize::try_from(left).ok());
        plan.request.size = left.map_or(plan.batch, |left| left.min(plan.batch));
        match search::search(&plan.sources, &plan.request, &how) {
            Err(failure) if failure.kind == "circuit_breaking_exception" && plan.batch > 1 => {
                plan.batch /= 2;
            }
            other => return other,
        }
    }
}

/// Writes to one index, durably, as soon as there is room.
async fn write(
    node: &Arc<Node>,
    index: &Arc<Index>,
    writes: Vec<Write>,
    retries: &mut u64,
) -> Outcome<Vec<Done>> {
    // It may have been closed or blocked since the batch before.
    index.check(Operation::Write)?;
    let began = Instant::now();
    while let Err(failure) = node.check_room(index) {
        if failure.status != 429 || failure.is_full() || began.elapsed() > ROOM_LIMIT {
            return Err(failure);
        }
        *retries += 1;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let named: Vec<(String, bool)> = writes
        .iter()
        .map(|write| (write.id.clone(), matches!(write.change, Change::Delete)))
        .collect();
    let work = Arc::clone(index);
    let (results, position) = blocking(move || Ok(work.shard.write(writes))).await?;
    settle(node, index, position, None, Refresh::Later).await?;
    let done = named.into_iter().zip(results);
    Ok(done
        .map(|((id, deletes), result)| Done {
            index: index.name.clone(),
            id,
            deletes,
            result: result.map_err(|failure| in_index(failure, index)),
        })
        .collect())
}

/// Waits until a batch of `size` that began at `began` has taken as long as it should.
async fn throttle(task: &Task, size: usize, began: Instant) -> Duration {
    let waits = Instant::now();
    while !task.is_cancelled() {
        let wanted = size as f32 / task.rate();
        let wanted = Duration::try_from_secs_f32(wanted).unwrap_or(Duration::MAX);
        match wanted.checked_sub(began.elapsed()) {
            Some(rest) if !rest.is_zero() => tokio::time::sleep(rest.min(LOOK_AGAIN)).await,
            _ => break,
        }
    }
    waits.elapsed()
}

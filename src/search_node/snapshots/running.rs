//! What is at work in repositories now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::places::Places;
use super::work::Work;
use crate::search_node::failure::{Failure, Outcome};

/// Operations at work at once at most; each reads and writes whole indices.
const MAX_RUNNING: usize = 4;

/// Snapshots and restores that failed and are remembered, the last ones.
const MAX_FAILED: usize = 100;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::search_node) enum Kind {
    /// A snapshot is made.
    Snapshot,
    /// A snapshot is restored.
    Restore,
    /// Snapshots are deleted or verified, garbage is removed.
    Upkeep,
}

/// How far an index of a snapshot is.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::search_node) struct Progress {
    /// All its files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Files that are new to the repository.
    pub new_files: u64,
    /// Bytes of them.
    pub new_bytes: u64,
    /// New files that are on the disk.
    pub done_files: u64,
    /// Bytes of them.
    pub done_bytes: u64,
    /// When its turn came, in milliseconds since the epoch; 0 before.
    pub started: i64,
    /// How long it took, in milliseconds; `None` before its end.
    pub millis: Option<u64>,
}

/// Something at work.
#[derive(Debug)]
pub(in crate::search_node) struct Running {
    /// What it is.
    pub kind: Kind,
    /// The repository.
    pub repository: String,
    /// The snapshot; empty for upkeep.
    pub snapshot: String,
    /// The snapshot's identity.
    pub uuid: String,
    /// When it was begun, in milliseconds since the epoch.
    pub started: i64,
    /// When it was begun.
    pub began: Instant,
    /// Whether the cluster's state is in it.
    pub global: bool,
    /// Whether it is called off.
    pub work: Work,
    indices: Mutex<BTreeMap<String, Progress>>,
    ended: watch::Sender<bool>,
}

impl Running {
    /// Begun now, at `started` in milliseconds since the epoch.
    pub(in crate::search_node) fn new(
        kind: Kind,
        repository: &str,
        snapshot: &str,
        started: i64,
    ) -> Self {
        Self {
            kind,
            repository: repository.to_owned(),
            snapshot: snapshot.to_owned(),
            uuid: String::new(),
            started,
            began: Instant::now(),
            global: false,
            work: Work::default(),
            indices: Mutex::new(BTreeMap::new()),
            ended: watch::Sender::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Progress>> {
        self.indices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far its indices are, by name.
    pub(in crate::search_node) fn progress(&self) -> BTreeMap<String, Progress> {
        self.lock().clone()
    }

    /// Notes how far `index` is.
    pub(in crate::search_node) fn note(&self, index: &str, change: impl FnOnce(&mut Progress)) {
        change(self.lock().entry(index.to_owned()).or_default());
    }

    /// How long it takes so far, in milliseconds.
    pub(in crate::search_node) fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes `index` out: it was deleted.
    pub(in crate::search_node) fn forget(&self, index: &str) {
        self.lock().remove(index);
    }

    /// Waits for its end.
    pub(in crate::search_node) async fn ended(&self) {
        let mut ended = self.ended.subscribe();
        // The sender lives as long as this.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

/// Something that failed.
#[derive(Debug, Clone)]
pub(in crate::search_node) struct Failed {
    /// What it was.
    pub running: Arc<Running>,
    /// Why.
    pub why: String,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// All that is at work, and where repositories may lie.
#[derive(Debug, Default)]
pub(in crate::search_node) struct Snapshots {
    /// Where repositories may lie.
    pub places: Places,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    running: Vec<Arc<Running>>,
    /// Last tries of snapshots and restores that failed, oldest first.
    failed: Vec<Failed>,
    stopped: bool,
}

/// Takes its work off the list when it is dropped.
#[derive(Debug)]
pub(in crate::search_node) struct Listed {
    /// The work.
    pub running: Arc<Running>,
    all: Arc<Snapshots>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut inner = self.all.lock();
        inner
            .running
            .retain(|running| !Arc::ptr_eq(running, &self.running));
        drop(inner);
        self.running.ended.send_replace(true);
    }
}

impl Snapshots {
    /// With repositories below `places`.
    pub(in crate::search_node) fn new(places: Places) -> Self {
        Self {
            places,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists work as long as the answer lives; refused when there is enough of it, or the node
    /// ends.
    pub(in crate::search_node) fn list(self: &Arc<Self>, running: Running) -> Outcome<Listed> {
        let running = Arc::new(running);
        let mut inner = self.lock();
        if inner.stopped {
            return Err(stopping());
        }
        if inner.running.len() >= MAX_RUNNING {
            return Err(Failure::new(
                429,
                "es_rejected_execution_exception",
                format!(
                    "{MAX_RUNNING} operations on snapshots are at work already, the limit of this \
                     node; try again when one has ended"
                ),
            ));
        }
        inner.running.push(Arc::clone(&running));
        Ok(Listed {
            running,
            all: Arc::clone(self),
        })
    }

    /// What is at work, the oldest first.
    pub(in crate::search_node) fn running(&self) -> Vec<Arc<Running>> {
        self.lock().running.clone()
    }

    /// Notes why a snapshot or a restore failed, or that it did not.
    pub(in crate::search_node) fn note(&self, running: &Arc<Running>, failed: Option<String>) {
        let mut inner = self.lock();
        inner.failed.retain(|known| {
            let known = &known.running;
            (known.kind, &known.repository, &known.snapshot)
                != (running.kind, &running.repository, &running.snapshot)
        });
        if let Some(why) = failed {
            if inner.failed.len() >= MAX_FAILED {
                inner.failed.remove(0);
            }
            inner.failed.push(Failed {
                running: Arc::clone(running),
                why,
                millis: running.millis(),
            });
        }
    }

    /// Restores from this repository that failed since the start of the node, and were not tried
    /// with success since then; oldest first.
    pub(in crate::search_node) fn failed_restores(&self, repository: &str) -> Vec<Failed> {
        let mut failed = self.lock().failed.clone();
        failed.retain(|failed| {
            failed.running.kind == Kind::Restore && failed.running.repository == repository
        });
        failed
    }

    /// Why the last try of this snapshot failed, since the start of the node.
    pub(in crate::search_node) fn why_failed(
        &self,
        repository: &str,
        name: &str,
    ) -> Option<String> {
        let inner = self.lock();
        let found = inner.failed.iter().find(|failed| {
            let running = &failed.running;
            running.kind == Kind::Snapshot
                && running.repository == repository
                && running.snapshot == name
        });
        found.map(|failed| failed.why.clone())
    }

    /// Calls everything off: the node ends.
    pub(in crate::search_node) fn stop(&self) {
        let mut inner = self.lock();
        inner.stopped = true;
        for running in &inner.running {
            running.work.cancel(stopping());
        }
    }
}

fn stopping() -> Failure {
    Failure::new(
        503,
        "snapshot_exception",
        "the node is stopping; nothing was kept, begin again when it runs",
    )
}

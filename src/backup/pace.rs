//! How much of the board a backup takes: all that nobody else wants, and while clients are at work
//! half of the processors, with rests between the reads.
//!
//! Priority alone does not do it: what clients wait for is the store that serves them and the backup,
//! and the disk, and both are slow while every processor is busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use redis::aio::MultiplexedConnection;
use reqwest::Method;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::request::Store;
use super::search::Search;
use super::{BackupError, cache, document};
use crate::config::Role;

/// How often it is looked what clients do.
const LOOK: Duration = Duration::from_millis(250);
const ANSWER: Duration = Duration::from_secs(5);
/// Operations a second that are more than the supervisor's probes, and worth a pace of their own.
const BUSY: f64 = 10.0;
/// Commands of the cache a second; the capture itself asks it ten times a second.
const BUSY_CACHE: f64 = 40.0;
/// Looks without clients before the board is taken whole.
const CALM: u32 = 3;

/// The pace of one piece of work. Until the first looks are taken clients are taken to be at work.
#[derive(Debug)]
pub(super) struct Pace {
    /// Rest after work, as a share of the time that the work took, while clients are at work.
    rest: f64,
    busy: AtomicBool,
    calmed: Notify,
    /// Reads of the document store that are ours.
    own: AtomicU64,
}

impl Pace {
    /// Looks after it as long as somebody has it.
    pub(super) fn watch(
        stores: &[Store],
        rest: f64,
        runtime: &tokio::runtime::Handle,
    ) -> Arc<Self> {
        let pace = Arc::new(Self {
            rest,
            busy: AtomicBool::new(true),
            calmed: Notify::new(),
            own: AtomicU64::new(0),
        });
        let watched = Arc::downgrade(&pace);
        let counters = stores.iter().map(Counter::of).collect::<Vec<_>>();
        runtime.spawn(async move {
            let mut counters = counters;
            let processors = Processors::of_this();
            processors.take(true);
            let mut calm = 0;
            loop {
                let Some(pace) = watched.upgrade() else {
                    return processors.take(false);
                };
                let mut busy = false;
                for counter in &mut counters {
                    busy |= counter.look(&pace).await;
                }
                calm = if busy { 0 } else { calm + 1 };
                let busy = calm < CALM;
                if pace.busy.swap(busy, Ordering::Relaxed) != busy {
                    processors.take(busy);
                    if !busy {
                        pace.calmed.notify_waiters();
                    }
                }
                drop(pace);
                sleep(LOOK).await;
            }
        });
        pace
    }

    /// Share of the time that work took which is rested after it.
    pub(super) fn rest(&self) -> f64 {
        if self.busy.load(Ordering::Relaxed) {
            self.rest
        } else {
            0.0
        }
    }

    /// Waits until no client is at work.
    pub(super) async fn calm(&self) {
        let calmed = self.calmed.notified();
        if self.busy.load(Ordering::Relaxed) {
            calmed.await;
        }
    }

    /// Counts a read of the document store that no client asked for.
    pub(super) fn asked(&self) {
        self.own.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a datastore did for clients since it was started.
struct Counter {
    store: Store,
    last: Option<(tokio::time::Instant, u64)>,
    engine: Option<Engine>,
}

enum Engine {
    Document(mongodb::Client),
    Cache(MultiplexedConnection),
    Search(Search),
}

impl Counter {
    fn of(store: &Store) -> Self {
        Self {
            store: store.clone(),
            last: None,
            engine: None,
        }
    }

    /// Whether clients are at work; what cannot be told is.
    async fn look(&mut self, pace: &Pace) -> bool {
        let Ok(Ok(count)) = timeout(ANSWER, self.count(pace)).await else {
            (self.last, self.engine) = (None, None);
            return true;
        };
        let now = tokio::time::Instant::now();
        let Some((then, before)) = self.last.replace((now, count)) else {
            return true;
        };
        let limit = match self.store.role {
            Role::Cache => BUSY_CACHE,
            Role::Document | Role::Search => BUSY,
        };
        // A counter that went back is another engine's.
        let Some(more) = count.checked_sub(before) else {
            return true;
        };
        #[allow(clippy::cast_precision_loss)]
        let more = more as f64;
        more > limit * now.duration_since(then).as_secs_f64()
    }

    async fn count(&mut self, pace: &Pace) -> Result<u64, BackupError> {
        let login = &self.store.credentials.supervisor;
        let address = self.store.address;
        if self.engine.is_none() {
            self.engine = Some(match self.store.role {
                Role::Document => Engine::Document(document::connect(address, login)?),
                Role::Cache => Engine::Cache(cache::connect(address, login, 0).await?),
                Role::Search => Engine::Search(Search::new(address, login)?),
            });
        }
        match &mut self.engine {
            Some(Engine::Document(client)) => {
                let own = pace.own.load(Ordering::Relaxed);
                let all = document::operations(client).await?;
                Ok(all.saturating_sub(own))
            }
            Some(Engine::Cache(connection)) => {
                let stats = cache::info(connection, "stats").await?;
                Ok(cache::number(&stats, "total_commands_processed"))
            }
            Some(Engine::Search(engine)) => {
                let stats = engine.call(Method::GET, "_stats", None, ANSWER).await?;
                let total = &stats["_all"]["total"];
                let of = |kind: &str, key: &str| total[kind][key].as_u64().unwrap_or(0);
                Ok(of("indexing", "index_total") + of("search", "query_total"))
            }
            None => Ok(0),
        }
    }
}

/// The processors that this process may use.
struct Processors {
    all: Vec<usize>,
}

impl Processors {
    fn of_this() -> Self {
        let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        let all = (0..CpuSet::count())
            .filter(|processor| set.is_set(*processor).unwrap_or(false))
            .collect();
        Self { all }
    }

    /// Half of them, or all. A courtesy: where it cannot be, everything works all the same.
    fn take(&self, half: bool) {
        let count = if half {
            self.all.len().div_ceil(2)
        } else {
            self.all.len()
        };
        let mut set = CpuSet::new();
        for processor in self.all.iter().take(count) {
            let _ = set.set(*processor);
        }
        // Threads that are started meanwhile take after the one that starts them.
        for _ in 0..2 {
            let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
                return;
            };
            for task in tasks.flatten() {
                let id = task.file_name().to_string_lossy().parse();
                if let Ok(id) = id {
                    let _ = sched_setaffinity(Pid::from_raw(id), &set);
                }
            }
        }
    }
}

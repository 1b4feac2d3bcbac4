//! Work that goes on after the request that began it, or may: what it has done so far, and how it
//! ended.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::failure::{Failure, Outcome};

/// Tasks at work at once at most; each reads and writes many documents.
const MAX_RUNNING: usize = 4;

/// Ended tasks that are remembered, the last ones; a restart forgets them.
const MAX_ENDED: usize = 100;

/// One piece of work.
#[derive(Debug)]
pub(super) struct Task {
    /// Its number on this node since the start.
    pub id: u64,
    /// What it does, by Elasticsearch's name of the action.
    pub action: &'static str,
    /// What it does it to.
    pub description: String,
    started_millis: i64,
    started: Instant,
    cancelled: AtomicBool,
    /// Documents each second, as the bits of a float; infinite for no limit.
    rate: AtomicU32,
    status: Mutex<Value>,
    ended: watch::Sender<Option<(Outcome<Value>, u64)>>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    next: AtomicU64,
    all: Mutex<BTreeMap<u64, Arc<Task>>>,
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Task>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a task of `rate` documents each second.
    pub(super) fn begin(
        &self,
        action: &'static str,
        description: String,
        rate: f32,
    ) -> Outcome<Arc<Task>> {
        let mut all = self.lock();
        let running = all.values().filter(|task| task.is_running()).count();
        if running >= MAX_RUNNING {
            return Err(Failure::new(
                429,
                "es_rejected_execution_exception",
                format!(
                    "{MAX_RUNNING} tasks are at work already, the limit of this node; GET /_tasks \
                     shows them, try again when one has ended"
                ),
            ));
        }
        let ended: Vec<u64> = all
            .values()
            .filter(|task| !task.is_running())
            .map(|task| task.id)
            .collect();
        for id in ended
            .iter()
            .take((ended.len() + 1).saturating_sub(MAX_ENDED))
        {
            all.remove(id);
        }
        let task = Arc::new(Task {
            id: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            action,
            description,
            started_millis: super::cluster::now_millis(),
            started: Instant::now(),
            cancelled: AtomicBool::new(false),
            rate: AtomicU32::new(rate.to_bits()),
            status: Mutex::new(json!({})),
            ended: watch::Sender::new(None),
        });
        all.insert(task.id, Arc::clone(&task));
        Ok(task)
    }

    /// The task of this number.
    pub(super) fn get(&self, id: u64) -> Option<Arc<Task>> {
        self.lock().get(&id).cloned()
    }

    /// Tasks at work, in the order in which they began.
    pub(super) fn running(&self) -> Vec<Arc<Task>> {
        let all = self.lock();
        all.values().filter(|t| t.is_running()).cloned().collect()
    }
}

impl Task {
    fn is_running(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// Asks it to end.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it is to end.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Documents each second; infinite for no limit.
    pub(super) fn rate(&self) -> f32 {
        f32::from_bits(self.rate.load(Ordering::Relaxed))
    }

    /// Changes the documents each second.
    pub(super) fn set_rate(&self, rate: f32) {
        self.rate.store(rate.to_bits(), Ordering::Relaxed);
    }

    /// Says what it has done so far.
    pub(super) fn report(&self, status: Value) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// Says how it ended.
    pub(super) fn finish(&self, result: Outcome<Value>) {
        self.ended.send_replace(Some((result, self.nanos())));
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How it ended, when it has.
    pub(super) async fn ended(&self) -> Outcome<Value> {
        let mut ended = self.ended.subscribe();
        // There is a sender as long as this task.
        match ended.wait_for(Option::is_some).await.as_deref() {
            Ok(Some((result, _))) => result.clone(),
            _ => Err(Failure::internal("a task without an end")),
        }
    }

    /// As `_tasks` shows it, on the node `node`.
    pub(super) fn show(&self, node: &str) -> Value {
        let nanos = match &*self.ended.borrow() {
            Some((_, nanos)) => *nanos,
            None => self.nanos(),
        };
        json!({
            "node": node,
            "id": self.id,
            "type": "transport",
            "action": self.action,
            "status": *self.status.lock().unwrap_or_else(PoisonError::into_inner),
            "description": self.description,
            "start_time_in_millis": self.started_millis,
            "running_time_in_nanos": nanos,
            "cancellable": true,
            "cancelled": self.is_cancelled(),
            "headers": {},
        })
    }

    /// As `_tasks` shows one task: with how it ended.
    pub(super) fn show_with_end(&self, node: &str) -> Value {
        let mut shown = json!({"completed": !self.is_running(), "task": self.show(node)});
        match &*self.ended.borrow() {
            Some((Ok(response), _)) => shown["response"] = response.clone(),
            Some((Err(failure), _)) => shown["error"] = failure.object(),
            None => {}
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_bounded_and_ended_ones_are_forgotten_in_time() {
        let tasks = Tasks::default();
        let running: Vec<_> = (0..MAX_RUNNING)
            .map(|_| tasks.begin("a", String::new(), 1.0).unwrap())
            .collect();
        assert_eq!(
            tasks.begin("a", String::new(), 1.0).unwrap_err().status,
            429
        );
        let first = running[0].id;
        running[0].finish(Ok(json!({"total": 1})));
        let shown = tasks.get(first).unwrap().show_with_end("n");
        assert_eq!(shown["completed"], true);
        assert_eq!(shown["response"]["total"], 1);
        for _ in 0..=MAX_ENDED {
            let task = tasks.begin("a", String::new(), 1.0).unwrap();
            task.finish(Err(Failure::illegal("no")));
        }
        assert!(tasks.get(first).is_none());
        assert!(tasks.all.lock().unwrap().len() <= MAX_ENDED + MAX_RUNNING);
        assert_eq!(tasks.running().len(), MAX_RUNNING - 1);
    }
}

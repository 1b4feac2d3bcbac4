//! The last values of each datastore, for the lines on the page. Nothing wakes up for it: values come
//! with the changes of the status.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::status::{Status, StatusHub};

/// Values of one line.
const VALUES: usize = 60;
/// Changes that follow each other faster count once.
const PAUSE: Duration = Duration::from_secs(5);

/// What is known of one datastore.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Lines {
    /// Milliseconds.
    pub(super) latency: VecDeque<f64>,
    /// Bytes.
    pub(super) memory: VecDeque<f64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(in super::super) struct History(Mutex<(Option<Instant>, BTreeMap<String, Lines>)>);

fn push(line: &mut VecDeque<f64>, value: Option<f64>) {
    if let Some(value) = value {
        if line.len() == VALUES {
            line.pop_front();
        }
        line.push_back(value);
    }
}

impl History {
    /// One that follows `hub` for as long as it is used.
    pub(in super::super) fn watch(hub: &StatusHub) -> Arc<Self> {
        let history = Arc::new(Self::default());
        let weak = Arc::downgrade(&history);
        let mut changes = hub.subscribe();
        let hub = hub.clone();
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                changes.borrow_and_update();
                let Some(history) = weak.upgrade() else {
                    return;
                };
                history.note(&hub.snapshot(), Instant::now());
            }
        });
        history
    }

    fn note(&self, status: &Status, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_soon = known
            .0
            .is_some_and(|last| now.saturating_duration_since(last) < PAUSE);
        if is_soon {
            return;
        }
        known.0 = Some(now);
        for store in &status.datastores {
            let lines = known.1.entry(store.name.clone()).or_default();
            let probe = store.probe.as_ref();
            push(&mut lines.latency, probe.and_then(|probe| probe.latency_ms));
            push(&mut lines.memory, store.rss_bytes.map(|bytes| bytes as f64));
        }
    }

    /// Of one datastore.
    pub(super) fn of(&self, name: &str) -> Lines {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.1.get(name).cloned().unwrap_or_default()
    }
}

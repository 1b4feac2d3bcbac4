//! Searches that go on: scrolls and points in time. Each holds its segments.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Place, Request, Source};
use crate::search_node::cluster::index::new_uuid;
use crate::search_node::failure::{Failure, Outcome};

/// Contexts at once at most, as `search.max_open_scroll_context`.
const MAX_OPEN: usize = 500;

/// What is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// What is searched.
    pub sources: Vec<Source>,
    /// The search, of a scroll.
    pub request: Option<Arc<Request>>,
    /// Where the last page ended; nothing came when there is none.
    pub last: Option<Place>,
    /// When it began, in milliseconds since the epoch.
    pub now: i64,
}

#[derive(Debug)]
struct Entry {
    kept: Kept,
    keep: Duration,
    until: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    open: Mutex<BTreeMap<String, Entry>>,
}

impl Contexts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a search for `keep` after its last use; returns its id.
    pub(crate) fn add(&self, kept: Kept, keep: Duration) -> Outcome<String> {
        let id = format!("{}{}", new_uuid()?, new_uuid()?);
        self.expire();
        let mut open = self.lock();
        if open.len() >= MAX_OPEN {
            return Err(Failure::new(
                429,
                "es_rejected_execution_exception",
                format!(
                    "Trying to create too many scroll contexts. Must be less than or equal to: \
                     [{MAX_OPEN}]. Close those that are not needed."
                ),
            ));
        }
        let until = Instant::now() + keep;
        open.insert(id.clone(), Entry { kept, keep, until });
        Ok(id)
    }

    /// The search kept as `id`; it is kept for `keep` from now, or as long as at the last time.
    pub(crate) fn get(&self, id: &str, keep: Option<Duration>) -> Outcome<Kept> {
        self.expire();
        let mut open = self.lock();
        let Some(entry) = open.get_mut(id) else {
            return Err(Failure::new(
                404,
                "search_context_missing_exception",
                format!("No search context found for id [{id}]"),
            ));
        };
        entry.keep = keep.unwrap_or(entry.keep);
        entry.until = Instant::now() + entry.keep;
        Ok(entry.kept.clone())
    }

    /// Remembers where a page of a scroll ended.
    pub(crate) fn advance(&self, id: &str, last: Place) {
        if let Some(entry) = self.lock().get_mut(id) {
            entry.kept.last = Some(last);
        }
    }

    /// Closes these; returns how many there were.
    pub(crate) fn remove(&self, ids: &[String]) -> usize {
        let mut open = self.lock();
        ids.iter().filter(|id| open.remove(*id).is_some()).count()
    }

    /// Closes all scrolls; points in time stay.
    pub(crate) fn remove_scrolls(&self) -> usize {
        let mut open = self.lock();
        let before = open.len();
        open.retain(|_, entry| entry.kept.request.is_none());
        before - open.len()
    }

    /// Closes what nobody asked for in its time.
    pub(crate) fn expire(&self) {
        let now = Instant::now();
        self.lock().retain(|_, entry| entry.until > now);
    }
}

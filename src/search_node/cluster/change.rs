//! Changes of the state: on the disk before anybody sees them, and with the indices that come or go.

use std::sync::{Arc, PoisonError};

use super::state::State;
use super::{Index, Node};
use crate::search_node::failure::{Failure, Outcome};

/// An index that is in the state no more.
pub(super) struct Gone {
    /// None when it could not be opened.
    index: Option<Arc<Index>>,
    name: String,
    uuid: String,
}

impl Node {
    /// Changes the state as `work` says, and deletes the indices that it takes out. Both hold, or
    /// none.
    pub(in crate::search_node) fn change<T>(
        &self,
        work: impl FnOnce(&mut State) -> Outcome<T>,
    ) -> Outcome<T> {
        let guard = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (result, gone) = self.publish(work, &[])?;
        drop(guard);
        self.clear(gone);
        Ok(result)
    }

    /// Removes what is left of indices that are in the state no more. What is at work on them may
    /// take a while, and concerns nobody else: the caller holds no lock.
    pub(super) fn clear(&self, gone: Vec<Gone>) {
        for Gone { index, name, uuid } in gone {
            if let Some(index) = index {
                index.shard.retire(Failure::no_index(&name));
            }
            let path = self.indices_dir().join(uuid);
            if let Err(error) = std::fs::remove_dir_all(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                // The next start removes what is left.
                tracing::warn!("index [{name}] is deleted; {}: {error}", path.display());
            }
            self.release_log();
        }
    }

    /// Saves the state that is to come. A save that failed may have replaced the file all the same:
    /// then the present state is saved again, before anything is removed that one of both names.
    fn save_state(&self, new: &State) -> Outcome<()> {
        new.save(&self.dir).inspect_err(|_| {
            if let Err(failure) = self.state().save(&self.dir) {
                tracing::error!("the state on the disk may be another one: {failure}");
            }
        })
    }

    /// Removes the directories of new indices that did not come to be; one that the state on the
    /// disk names, or may name, is data at the next start, and stays.
    pub(super) fn discard(&self, uuids: &[String]) {
        let Ok(Some(state)) = State::load(&self.dir) else {
            return;
        };
        for uuid in uuids {
            if state.indices.values().all(|entry| entry.uuid != *uuid) {
                // What is left the next start removes.
                let _ = std::fs::remove_dir_all(self.indices_dir().join(uuid));
            }
        }
    }

    /// Changes the state: it is on the disk before anybody sees it. `new` indices come with the
    /// state that names them, so that nobody sees one without the other. Returns what is gone with
    /// it, for [`Self::clear`]. The caller holds `changing`.
    pub(super) fn publish<T>(
        &self,
        work: impl FnOnce(&mut State) -> Outcome<T>,
        new: &[Arc<Index>],
    ) -> Outcome<(T, Vec<Gone>)> {
        let mut state = self.state();
        let result = work(&mut state)?;
        self.save_state(&state)?;
        let mut guard = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *guard;
        let before = std::mem::replace(&mut inner.state, state).indices;
        let mut gone = Vec::new();
        for (name, entry) in before {
            let now = inner.state.indices.get(&name);
            if now.is_none_or(|now| now.uuid != entry.uuid) {
                inner.broken.remove(&name);
                gone.push(Gone {
                    index: inner.open.remove(&name),
                    name,
                    uuid: entry.uuid,
                });
            }
        }
        let new = new
            .iter()
            .map(|index| (index.name.clone(), Arc::clone(index)));
        inner.open.extend(new);
        for (name, entry) in &inner.state.indices {
            if let Some(index) = inner.open.get(name) {
                index.set_open(!entry.closed);
            }
        }
        Ok((result, gone))
    }
}

//! What a power cut or a crash ended is finished or undone. What needs a pool that is away waits
//! for its return.

use std::sync::MutexGuard;

use super::btrfs::{self, Btrfs};
use super::catalog::Intent;
use super::error::OpError;
use super::manager::{CHANGING, Manager, clear_up, clear_up_link, is_empty, lock};
use super::rollback::keep_replaced;
use super::snapshots::remove_snapshots;

impl Manager {
    /// The right to write an intent. What an earlier operation left is cleared up first.
    pub(super) fn changing(&self) -> Result<MutexGuard<'static, ()>, OpError> {
        let changing = lock(&CHANGING);
        self.recover()?;
        Ok(changing)
    }

    /// Takes up what was cut off, and lets people write to volumes that a migration closed and
    /// could not open again, because their pool was away.
    pub fn tend(&self) {
        match self.changing() {
            Ok(_changing) => self.heal(),
            Err(error) => tracing::error!("{error}; it is tried again"),
        }
    }

    /// Only while nobody moves a volume, which is read-only for that.
    pub(super) fn heal(&self) {
        for entry in self.entries() {
            let path = self.path(&entry.name);
            let there = self.btrfs(entry.pool.as_ref(), "a volume").is_ok();
            if there
                && btrfs::is_read_only(&path)
                && let Err(error) = Btrfs::set_read_only(&path, false)
            {
                tracing::error!("{error}; volume {} cannot be written", entry.name);
            }
        }
    }

    /// Takes up the last operation that was cut off, and those whose pools are back.
    pub(super) fn recover(&self) -> Result<(), OpError> {
        let paths = &self.inner().paths;
        if let Some(intent) = Intent::load(paths)? {
            if self.has_pools_of(&intent) {
                self.settle(&intent)?;
                tracing::info!("an operation that was cut off was cleared up: {intent:?}");
            } else {
                if let Intent::Switch(switch) = &intent {
                    // Where the volume is must be known now; the rest can wait.
                    self.recover_switch(switch)?;
                }
                let mut waiting = Intent::load_waiting(paths)?;
                if !waiting.contains(&intent) {
                    waiting.push(intent.clone());
                    Intent::save_waiting(paths, &waiting)?;
                }
                tracing::warn!("an operation was cut off, and its pool is away: {intent:?}");
            }
            Intent::done(paths)?;
        }
        let waiting = Intent::load_waiting(paths)?;
        let (ready, rest): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|intent| self.has_pools_of(intent));
        if ready.is_empty() {
            return Ok(());
        }
        for intent in ready {
            match self.settle(&intent) {
                Ok(()) => tracing::info!("cleared up after its pool's return: {intent:?}"),
                // The volumes of the other pools are not kept from changing by it.
                Err(error) => tracing::error!("{error}; {intent:?} is given up"),
            }
        }
        Intent::save_waiting(paths, &rest)
    }

    fn has_pools_of(&self, intent: &Intent) -> bool {
        let mut pools = intent.pools().into_iter();
        pools.all(|pool| self.btrfs(Some(pool), "a volume").is_ok())
    }

    fn settle(&self, intent: &Intent) -> Result<(), OpError> {
        match intent {
            // Only what holds nothing and is no datastore's: anything else was put to use.
            Intent::Create { name, pool } => {
                let path = self.root(pool.as_ref()).join(name.as_str());
                let known = self.entry(name).is_ok();
                if !known && name.owner().is_none() && is_empty(&path) {
                    if pool.is_some() {
                        clear_up_link(&self.link(name));
                        clear_up_link(&self.aside(name));
                    }
                    clear_up(&path);
                }
            }
            // What was not renamed is still the volume, with all that was written to it since.
            Intent::Delete { name, pool, grave } => {
                let root = self.root(pool.as_ref());
                let grave = root.join(grave);
                if grave.exists() {
                    if pool.is_some() {
                        clear_up_link(&self.link(name));
                    }
                    self.change(|catalog| {
                        catalog.volumes.retain(|entry| entry.name != *name);
                        Ok(())
                    })?;
                    if let Err(error) = remove_snapshots(&root, name) {
                        tracing::error!("{error}; its space stays in use");
                    }
                    clear_up(&grave);
                }
            }
            Intent::Rollback {
                name,
                pool,
                staging,
                replaced,
                kept,
            } => {
                let root = self.root(pool.as_ref());
                keep_replaced(&root, name, &root.join(staging), *replaced, kept)?;
                self.forget(name);
            }
            Intent::Switch(switch) => {
                self.recover_switch(switch)?;
            }
        }
        Ok(())
    }
}

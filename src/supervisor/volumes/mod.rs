//! The volumes of a running appliance: opened when the pool is there, shown in the status
//! ([`look`], [`schedules`]), and changed with their datastores' consent ([`commands`], [`rollback`],
//! [`migrate`], [`archive`]), which are held meanwhile ([`exchange`]).

mod archive;
mod commands;
mod exchange;
mod look;
mod migrate;
mod rollback;
mod schedules;

use std::sync::{Arc, Mutex, PoisonError};

pub(super) use schedules::keep_schedules;

use tokio::sync::Semaphore;

use crate::config::{Role, Volume as Settings};
use crate::paths::Paths;
use crate::volume::{Guard, Manager, Name};

/// The alert of volumes that cannot be managed.
const ALERT: &str = "volume:catalog";
/// Alerts of volumes with damaged files begin so.
const DAMAGED: &str = "volume:damaged:";
/// The alert of a pool with damaged blocks in no file of the volume that was looked at.
fn damaged_pool(pool: Option<&Name>) -> String {
    format!("pool:damaged:{}", pool.map_or("data", Name::as_str))
}

/// Commands that may wait for the disk at once.
const THREADS: usize = 8;

/// The manager, where the pool is there.
#[derive(Debug, Clone)]
pub(super) struct Volumes {
    paths: Paths,
    settings: Settings,
    manager: Arc<Mutex<Option<Manager>>>,
    /// Threads that commands may take at once.
    threads: Arc<Semaphore>,
}

impl Volumes {
    pub(super) fn new(paths: &Paths, settings: &Settings) -> Self {
        Self {
            paths: paths.clone(),
            settings: settings.clone(),
            manager: Arc::default(),
            threads: Arc::new(Semaphore::new(THREADS)),
        }
    }

    /// The manager; opens it at the first call after the pool came. Blocks.
    pub(super) fn manager(&self) -> Result<Manager, String> {
        let mut manager = self.manager.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(fault) = Guard::new(&self.paths).check() {
            // What lies underneath is not the pool.
            *manager = None;
            return Err(format!("{}; {}", fault.message, fault.remedy));
        }
        if let Some(open) = &*manager {
            return Ok(open.clone());
        }
        let opened = Manager::open(&self.paths, &self.settings);
        let opened = opened.map_err(|error| error.to_string())?;
        *manager = Some(opened.clone());
        Ok(opened)
    }

    /// Opens the volumes and makes those of the datastores that have none yet. Blocks.
    pub(super) fn prepare(&self, roles: &[Role]) -> Result<(), String> {
        let manager = self.manager()?;
        for role in roles {
            if !self.paths.has_data(role.name()).exists() {
                manager.ensure(*role).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }
}

//! The volumes of a running appliance: opened when the pool is there, shown in the status
//! ([`look`]), and changed with their datastores' consent ([`commands`], [`rollback`]).

mod commands;
mod look;
mod rollback;

use std::sync::{Arc, Mutex, PoisonError};

pub(super) use look::{keep_schedules, shown};

use crate::config::{Role, Volume as Settings};
use crate::journal::{self, Event};
use crate::paths::Paths;
use crate::status::{Alert, StatusHub};
use crate::volume::{Guard, Manager, Name};

/// The alert of volumes that cannot be managed.
const ALERT: &str = "volume:catalog";
/// Alerts of volumes with damaged files begin so.
const DAMAGED: &str = "volume:damaged:";

/// The manager, where the pool is there.
#[derive(Debug, Clone)]
pub(super) struct Volumes {
    paths: Paths,
    settings: Settings,
    manager: Arc<Mutex<Option<Manager>>>,
}

impl Volumes {
    pub(super) fn new(paths: &Paths, settings: &Settings) -> Self {
        Self {
            paths: paths.clone(),
            settings: settings.clone(),
            manager: Arc::default(),
        }
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The manager; opens it at the first call after the pool came. Blocks.
    pub(super) fn manager(&self) -> Result<Manager, String> {
        let mut manager = self.manager.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(fault) = Guard::new(&self.paths).check() {
            // What lies underneath is not the pool.
            *manager = None;
            return Err(format!("{}; {}", fault.message, fault.remedy));
        }
        if manager.is_none() {
            let opened = Manager::open(&self.paths, &self.settings);
            *manager = Some(opened.map_err(|error| error.to_string())?);
        }
        manager.clone().ok_or_else(String::new)
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

fn raise(hub: &StatusHub, alert: Alert) {
    let (subject, text) = (
        alert.subject.clone(),
        format!("{}; {}", alert.message, alert.action),
    );
    if hub.raise(alert) {
        journal::emit(Event::AlertRaised, &subject, &text);
    }
}

/// Closes alerts that begin with `prefix` and are not in `known`.
fn clear_others(hub: &StatusHub, prefix: &str, known: &[String]) {
    for alert in hub.snapshot().alerts {
        if alert.id.starts_with(prefix) && !known.contains(&alert.id) {
            clear(hub, &alert.id);
        }
    }
}

fn clear(hub: &StatusHub, id: &str) {
    if hub.clear(id) {
        journal::emit(Event::AlertCleared, "volumes", &format!("{id} is over"));
    }
}

fn owner(name: &Name) -> Option<Role> {
    Role::ALL
        .into_iter()
        .find(|role| role.volume() == name.as_str())
}

//! Moving a volume to another pool while it is in use: copies until little is missing, then, with
//! nobody using it, the rest; compared byte by byte before it takes the place of the former one.
//!
//! What was copied stays on both sides when it is cut off, and the next attempt goes on from there.
//! Until the switch the volume is where it was.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::btrfs::{Btrfs, is_subvolume};
use super::catalog::{Intent, Switch};
use super::error::OpError;
use super::look::{Info, space_of};
use super::manager::{Claim, Manager, clear_up, clear_up_link, remove_tree};
use super::name::Name;
use super::pool::{MAIN, Registry};
use super::snapshots::{make_directory, remove_snapshots};
use super::transfer::{self, GoOn};
use crate::fsx;
use crate::units::human_bytes;

/// Rounds end when one took less than this, or after so many.
const SHORT: Duration = Duration::from_secs(3);
const ROUNDS: u32 = 10;

/// A volume on its way. Nobody else changes it while this lives.
#[derive(Debug)]
pub struct Migration {
    manager: Manager,
    _claim: Claim,
    switch: Switch,
    /// The last round that is whole on both sides.
    last: Option<u32>,
    /// The round that was compared as a whole.
    compared: Option<u32>,
}

/// Copies of the rounds, on either pool.
fn rounds(root: &Path, name: &Name) -> PathBuf {
    root.join(format!(".migrate-{name}"))
}

fn round(root: &Path, name: &Name, number: u32) -> PathBuf {
    rounds(root, name).join(number.to_string())
}

/// Numbers of the rounds that are whole under `root`.
fn whole_rounds(root: &Path, name: &Name) -> Vec<u32> {
    let mut found: Vec<u32> = std::fs::read_dir(rounds(root, name))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| transfer::is_whole(&round(root, name, *number)))
        .collect();
    found.sort_unstable();
    found
}

fn remove_rounds(root: &Path, name: &Name) -> Result<(), OpError> {
    let dir = rounds(root, name);
    for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
        remove_tree(&entry.path())?;
    }
    remove_tree(&dir)
}

impl Manager {
    /// Begins to move a volume to the pool `to`, or goes on where an earlier attempt was cut off.
    ///
    /// # Errors
    /// [`OpError`]; nothing was changed then.
    pub fn migrate(&self, name: &Name, to: &Name) -> Result<Migration, OpError> {
        let claim = self.claim(name, "migrate")?;
        let entry = self.entry(name)?;
        let from = entry.pool.clone();
        let to = (to.as_str() != MAIN).then(|| to.clone());
        let called = |pool: &Option<Name>| {
            pool.as_ref()
                .map_or_else(|| MAIN.to_owned(), Name::to_string)
        };
        if from == to {
            return Err(OpError::Refused(format!(
                "volume {name} lies on pool {} already",
                called(&to)
            )));
        }
        if let Some(to) = &to {
            Registry::load(&self.inner().paths)?.get(to)?;
        }
        self.btrfs(from.as_ref(), "a migration")?;
        self.btrfs(to.as_ref(), "a migration")?;
        let (source, target) = (self.root(from.as_ref()), self.root(to.as_ref()));
        let place = target.join(name.as_str());
        // On the pool of the catalog the link to the volume is in its place.
        let foreign = place
            .symlink_metadata()
            .is_ok_and(|meta| !meta.is_symlink());
        if foreign {
            return Err(OpError::Foreign {
                path: place.display().to_string(),
            });
        }
        let space = space_of(&target)?;
        let arrived = whole_rounds(&target, name);
        let used = self.usage(name).map_or(0, |usage| usage.referenced);
        let least = entry.quota.unwrap_or(0).max(used);
        if arrived.is_empty()
            && (least > space.total.saturating_sub(space.reserve)
                || used > space.free.saturating_sub(space.reserve))
        {
            return Err(OpError::Refused(format!(
                "pool {} has {} of {} free, {} of it stay outside all quotas; volume {name} holds \
                 {} and has a quota of {}: make room there, or make its quota smaller first",
                called(&to),
                human_bytes(space.free),
                human_bytes(space.total),
                human_bytes(space.reserve),
                human_bytes(used),
                entry.quota.map_or_else(|| "none".to_owned(), human_bytes),
            )));
        }
        let both = whole_rounds(&source, name);
        let common = arrived.into_iter().rfind(|number| both.contains(number));
        if common.is_none() {
            remove_rounds(&source, name)?;
            remove_rounds(&target, name)?;
        }
        Ok(Migration {
            manager: self.clone(),
            _claim: claim,
            switch: Switch {
                name: name.clone(),
                from,
                to,
            },
            last: common,
            compared: None,
        })
    }
}

impl Migration {
    fn source(&self) -> PathBuf {
        self.manager.root(self.switch.from.as_ref())
    }

    fn target(&self) -> PathBuf {
        self.manager.root(self.switch.to.as_ref())
    }

    /// Bytes that will be sent at most, and compared.
    pub fn bytes(&self) -> u64 {
        let usage = self.manager.usage(&self.switch.name);
        2 * usage.map_or(0, |usage| usage.referenced)
    }

    /// Copies snapshots and volume while it is in use, until a round is short, and compares what
    /// arrived.
    ///
    /// # Errors
    /// [`OpError`]; the volume is where it was, and what arrived stays for the next attempt.
    pub fn copy(&mut self, go_on: GoOn<'_>) -> Result<(), OpError> {
        self.copy_snapshots(go_on)?;
        for _ in 0..ROUNDS {
            let began = Instant::now();
            self.round(go_on)?;
            if began.elapsed() < SHORT {
                break;
            }
        }
        let Some(last) = self.last else {
            return Ok(());
        };
        self.compare(last, None, go_on)?;
        self.compared = Some(last);
        // What was written while that was read.
        self.round(go_on)
    }

    fn copy_snapshots(&self, go_on: GoOn<'_>) -> Result<(), OpError> {
        let name = &self.switch.name;
        let mut parent: Option<PathBuf> = None;
        for snapshot in self.manager.snapshots(name)? {
            let into = make_directory(&self.target(), name)?;
            let arrived = into.join(&snapshot.id);
            if !transfer::is_whole(&arrived) {
                remove_tree(&arrived)?;
                transfer::send(&snapshot.path, parent.as_deref(), &into, go_on)?;
            }
            parent = Some(snapshot.path);
        }
        Ok(())
    }

    /// Sends the difference since the last round.
    fn round(&mut self, go_on: GoOn<'_>) -> Result<(), OpError> {
        let name = &self.switch.name;
        let (source, target) = (self.source(), self.target());
        for root in [&source, &target] {
            fsx::create_dir_durable(&rounds(root, name), 0o700)?;
        }
        let number = self.last.map_or(1, |last| last + 1);
        let (here, there) = (round(&source, name, number), round(&target, name, number));
        // Left by an attempt that was cut off.
        remove_tree(&here)?;
        remove_tree(&there)?;
        Btrfs::snapshot(&source.join(name.as_str()), &here, true)?;
        // What is sent must be on the disk.
        fsx::sync_fs(&here)?;
        let parent = match self.last {
            Some(last) => Some(round(&source, name, last)),
            None => self
                .manager
                .snapshots(name)?
                .pop()
                .map(|snapshot| snapshot.path),
        };
        transfer::send(&here, parent.as_deref(), &rounds(&target, name), go_on)?;
        fsx::sync_fs(&there)?;
        if let Some(last) = self.last.filter(|last| Some(*last) != self.compared) {
            remove_tree(&round(&source, name, last))?;
            remove_tree(&round(&target, name, last))?;
        }
        self.last = Some(number);
        Ok(())
    }

    fn compare(&self, number: u32, known: Option<u32>, go_on: GoOn<'_>) -> Result<(), OpError> {
        let name = &self.switch.name;
        let here = round(&self.source(), name, number);
        let there = round(&self.target(), name, number);
        let known = known.map(|known| round(&self.source(), name, known));
        match transfer::compare(&here, &there, known.as_deref(), go_on)? {
            None => Ok(()),
            Some(differs) => Err(OpError::Refused(format!(
                "what arrived is not what was sent: {differs}; the volume stays where it is. Look \
                 at both disks (lucid volume health) before another attempt"
            ))),
        }
    }

    /// Sends what is still missing, compares it, and puts the copy in the place of the volume.
    /// Nobody may use the volume meanwhile.
    ///
    /// # Errors
    /// [`OpError`]; the volume is where it was.
    pub fn finish(&mut self, go_on: GoOn<'_>) -> Result<Info, OpError> {
        let name = self.switch.name.clone();
        let path = self.manager.path(&name);
        if let Some(by) = super::users::of(&path) {
            return Err(OpError::InUse {
                name,
                by,
                remedy: "end it first".to_owned(),
            });
        }
        self.round(go_on)?;
        let last = self.last.unwrap_or_default();
        self.compare(last, self.compared, go_on)?;
        let manager = &self.manager;
        let _changing = manager.changing()?;
        Intent::Switch(self.switch.clone()).save(&manager.inner().paths)?;
        let done = self.take_the_place(last);
        // Whoever recovers decides by what is there; so does this.
        let cleared = manager.recover_switch(&self.switch);
        manager.done();
        done?;
        cleared?;
        manager.info(&name)
    }

    fn take_the_place(&self, last: u32) -> Result<(), OpError> {
        let Switch { name, from: _, to } = &self.switch;
        let manager = &self.manager;
        let entry = manager.entry(name)?;
        let aside = manager.aside(name);
        let new = if to.is_some() {
            self.target().join(name.as_str())
        } else {
            aside.clone()
        };
        remove_tree(&new)?;
        Btrfs::snapshot(&round(&self.target(), name, last), &new, false)?;
        if let Some(quota) = entry.quota {
            Btrfs::limit(&new, quota)?;
        }
        fsx::sync_fs(&new)?;
        if to.is_some() {
            manager.put_link(name, &new, &aside)?;
        } else {
            manager.exchange(&aside, &manager.link(name))?;
        }
        Ok(())
    }
}

impl Manager {
    fn aside(&self, name: &Name) -> PathBuf {
        self.inner().paths.data().join(format!(".switch-{name}"))
    }

    /// Finishes a switch, or takes it back: what is found in the volume's place decides.
    pub(super) fn recover_switch(&self, switch: &Switch) -> Result<(), OpError> {
        let Switch { name, from, to } = switch;
        let (source, target) = (self.root(from.as_ref()), self.root(to.as_ref()));
        let link = self.link(name);
        let switched = match to {
            Some(_) => std::fs::read_link(&link).is_ok_and(|at| at == target.join(name.as_str())),
            None => is_subvolume(&link),
        };
        if switched {
            self.change(|catalog| {
                catalog.get_mut(name)?.pool.clone_from(to);
                Ok(())
            })?;
            self.forget(name);
        }
        // From here on only what nobody needs any more is removed.
        let (lost, place) = if switched {
            (&source, from)
        } else {
            (&target, to)
        };
        let aside = self.aside(name);
        if aside.is_symlink() {
            clear_up_link(&aside);
        } else {
            clear_up(&aside);
        }
        if place.is_some() {
            clear_up(&lost.join(name.as_str()));
        }
        if switched {
            for root in [&source, &target] {
                remove_rounds(root, name)?;
            }
            remove_snapshots(lost, name)?;
        }
        Ok(())
    }
}

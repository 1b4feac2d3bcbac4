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
use super::manager::{Claim, Manager, clear_up, remove_tree};
use super::name::Name;
use super::pool::{MAIN, Registry};
use super::rounds::{self, Side, remove as remove_rounds};
use super::snapshots::{directory, make_directory, remove_snapshots};
use super::transfer::{self, GoOn};
use crate::fsx::{self, FsError};
use crate::units::{MIB, human_bytes};

/// Rounds end when one took less than this, or after so many.
const SHORT: Duration = Duration::from_secs(3);
const ROUNDS: u32 = 10;
/// The room of the target is looked at after so much.
const LOOK_EVERY: u64 = 64 * MIB;

/// A volume on its way. Nobody else changes it while this lives.
#[derive(Debug)]
pub struct Migration {
    manager: Manager,
    _claim: Claim,
    switch: Switch,
    source: Side,
    target: Side,
    /// The last round that is whole on both sides.
    last: Option<u32>,
    /// The round that was compared as a whole.
    compared: Option<u32>,
}

impl Manager {
    /// Begins to move a volume to the pool `to`, or goes on where an earlier attempt was cut off.
    ///
    /// # Errors
    /// [`OpError`]; the volume is as it was then.
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
        self.is_plain(name)?;
        let (source, target) = (self.root(from.as_ref()), self.root(to.as_ref()));
        let place = target.join(name.as_str());
        // On the pool of the catalog the link to the volume is in its place.
        let there = place
            .symlink_metadata()
            .is_ok_and(|meta| !meta.is_symlink());
        let (from_side, to_side) = (
            Side::new(source.clone(), name),
            Side::new(target.clone(), name),
        );
        if there && rounds::are_one(&from_side, &to_side) {
            // The copy of an attempt that ended just before it took its place.
            remove_tree(&place)?;
        } else if there {
            return Err(OpError::Foreign {
                path: place.display().to_string(),
            });
        }
        let space = space_of(&target)?;
        let used = self.usage(name).map_or(0, |usage| usage.referenced);
        let (source, target) = (from_side, to_side);
        self.has_only_snapshots(name)?;
        let others = std::fs::read_dir(directory(target.root(), name));
        if !target.is_begun() && others.is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(OpError::Foreign {
                path: directory(target.root(), name).display().to_string(),
            });
        }
        let last = rounds::common(&source, &target);
        let wanted = entry.quota.unwrap_or(0).max(used);
        let missing = if last.is_some() { 0 } else { used };
        if wanted > space.total.saturating_sub(space.reserve)
            || missing > space.free.saturating_sub(space.reserve)
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
        if last.is_none() {
            // Of an attempt that was cut off: the volume does not lie there.
            remove_snapshots(target.root(), name)?;
            rounds::begin(&source, &target)?;
        }
        Ok(Migration {
            manager: self.clone(),
            _claim: claim,
            switch: Switch {
                name: name.clone(),
                from,
                to,
            },
            source,
            target,
            last,
            compared: None,
        })
    }
}

impl Migration {
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
        let snapshots = self.manager.snapshots(name)?;
        let into = directory(self.target.root(), name);
        // Deleted here since an earlier attempt.
        for entry in std::fs::read_dir(&into).into_iter().flatten().flatten() {
            let id = entry.file_name();
            if !snapshots.iter().any(|snapshot| id == *snapshot.id) {
                remove_tree(&entry.path())?;
            }
        }
        let mut parent: Option<PathBuf> = None;
        for snapshot in snapshots {
            let into = make_directory(self.target.root(), name)?;
            let arrived = into.join(&snapshot.id);
            if !self.target.has(&snapshot.id, &arrived) {
                remove_tree(&arrived)?;
                self.send(&snapshot.path, parent.as_deref(), &into, go_on)?;
                let known = parent.as_deref();
                self.same(&snapshot.path, &arrived, known, go_on)?;
                self.target.note(&snapshot.id)?;
            }
            parent = Some(snapshot.path);
        }
        Ok(())
    }

    /// Sends a subvolume, has it on the disk, and ends when the target has no room for it.
    fn send(
        &self,
        from: &Path,
        parent: Option<&Path>,
        into: &Path,
        go_on: GoOn<'_>,
    ) -> Result<(), OpError> {
        let mut full = None;
        let mut unseen = LOOK_EVERY;
        let mut with_room = |bytes: u64| {
            unseen += bytes;
            if unseen >= LOOK_EVERY {
                unseen = 0;
                let space = space_of(self.target.root()).ok();
                full = space.filter(|space| space.free < space.reserve);
            }
            full.is_none() && go_on(bytes)
        };
        let sent = transfer::send(from, parent, into, &mut with_room);
        if let Some(space) = full {
            return Err(OpError::Refused(format!(
                "{} of {} are left on {}: make room there, and begin again",
                human_bytes(space.free),
                human_bytes(space.total),
                into.display()
            )));
        }
        sent?;
        Ok(fsx::sync_fs(into)?)
    }

    /// Sends the difference since the last round.
    fn round(&mut self, go_on: GoOn<'_>) -> Result<(), OpError> {
        let name = &self.switch.name;
        let number = self.last.map_or(1, |last| last + 1);
        let (here, there) = (self.source.round(number), self.target.round(number));
        // Left by an attempt that was cut off.
        remove_tree(&here)?;
        remove_tree(&there)?;
        let path = self.source.root().join(name.as_str());
        Btrfs::snapshot(&path, &here, true)?;
        // What is sent must be on the disk.
        fsx::sync_fs(&here)?;
        let parent = match self.last {
            Some(last) => Some(self.source.round(last)),
            None => self
                .manager
                .snapshots(name)?
                .pop()
                .map(|snapshot| snapshot.path),
        };
        self.send(&here, parent.as_deref(), self.target.dir(), go_on)?;
        self.target.note(&number.to_string())?;
        if let Some(last) = self.last.filter(|last| Some(*last) != self.compared) {
            remove_tree(&self.source.round(last))?;
            remove_tree(&self.target.round(last))?;
        }
        self.last = Some(number);
        Ok(())
    }

    fn compare(&self, number: u32, known: Option<u32>, go_on: GoOn<'_>) -> Result<(), OpError> {
        let known = known.map(|known| self.source.round(known));
        self.same(
            &self.source.round(number),
            &self.target.round(number),
            known.as_deref(),
            go_on,
        )
    }

    /// That what arrived is what was sent; where it is not, nothing that was copied is trusted.
    fn same(
        &self,
        here: &Path,
        there: &Path,
        known: Option<&Path>,
        go_on: GoOn<'_>,
    ) -> Result<(), OpError> {
        let Some(differs) = transfer::compare(here, there, known, go_on)? else {
            return Ok(());
        };
        for side in [&self.source, &self.target] {
            remove_rounds(side.root(), &self.switch.name)?;
        }
        Err(OpError::Refused(format!(
            "what arrived is not what was sent: {differs}; the volume stays where it is. Look at both \
             disks (lucid volume health) before another attempt"
        )))
    }

    /// Sends what is still missing, compares it, and puts the copy in the place of the volume.
    /// Nobody may use the volume meanwhile; nobody can write to it.
    ///
    /// # Errors
    /// [`OpError`]; the volume is where it was.
    pub fn finish(&mut self, go_on: GoOn<'_>) -> Result<Info, OpError> {
        let manager = self.manager.clone();
        let name = self.switch.name.clone();
        manager.is_unused(&name)?;
        manager.is_plain(&name)?;
        let _changing = manager.changing()?;
        Intent::Switch(self.switch.clone()).save(&manager.inner().paths)?;
        // From here on whoever recovers lets people write again.
        let done = Btrfs::set_read_only(&manager.path(&name), true)
            .map_err(OpError::from)
            .and_then(|()| manager.is_unused(&name))
            .and_then(|()| self.round(go_on))
            .and_then(|()| self.compare(self.last.unwrap_or_default(), self.compared, go_on))
            .and_then(|()| self.take_the_place());
        let recovered = manager.recover_switch(&self.switch);
        if let (Err(error), Err(_)) = (&done, &recovered) {
            tracing::error!("{error}");
        }
        let switched = recovered?;
        manager.done();
        done?;
        if !switched {
            return Err(OpError::Refused(format!(
                "the copy of volume {name} did not take its place; the volume stays where it is"
            )));
        }
        manager.info(&name)
    }

    fn take_the_place(&self) -> Result<(), OpError> {
        let Switch { name, to, .. } = &self.switch;
        let manager = &self.manager;
        let entry = manager.entry(name)?;
        let new = if to.is_some() {
            self.target.root().join(name.as_str())
        } else {
            manager.empty_aside(name)?;
            manager.aside(name)
        };
        remove_tree(&new)?;
        let last = self.target.round(self.last.unwrap_or_default());
        Btrfs::snapshot(&last, &new, false)?;
        if let Some(quota) = entry.quota {
            Btrfs::limit(&new, quota)?;
        }
        fsx::sync_fs(&new)?;
        if to.is_some() {
            manager.put_link(name, &new)
        } else {
            manager.exchange(&new, &manager.link(name))
        }
    }
}

impl Manager {
    /// Finishes a switch, or takes it back: what is found in the volume's place decides. Answers
    /// whether it was switched.
    pub(super) fn recover_switch(&self, switch: &Switch) -> Result<bool, OpError> {
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
        } else {
            let former = source.join(name.as_str());
            // Of a pool that is away, when it is back ([`Manager::tend`]).
            if is_subvolume(&former) {
                Btrfs::set_read_only(&former, false)?;
            }
        }
        // From here on only what nobody needs any more is removed, which may fail.
        let (lost, place) = if switched {
            (&source, from)
        } else {
            (&target, to)
        };
        let mut told = vec![self.empty_aside(name)];
        if place.is_some() {
            clear_up(&lost.join(name.as_str()));
        }
        if switched {
            told.extend([&source, &target].map(|root| remove_rounds(root, name)));
            told.push(remove_snapshots(lost, name));
        }
        for error in told.into_iter().filter_map(Result::err) {
            tracing::error!("{error}; its space stays in use");
        }
        let data = self.inner().paths.data();
        fsx::sync_dir(&data).map_err(FsError::wrap("flush", &data))?;
        Ok(switched)
    }
}

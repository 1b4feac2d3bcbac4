//! The writing half of the tuner: save what was found, write, read back, restore.

use std::path::{Path, PathBuf};

use super::plan::{Absent, KnobPlan, Want};
use super::rule::selected;
use super::state::{Restore, Saved, State};
use super::tuner::{Tuner, form, is_missing, read};
use super::{Kernel, KnobError, Rule, zram};
use crate::status::Knob;

/// One file that has to be written.
struct Pending<'a> {
    name: &'a str,
    path: &'a Path,
    rule: &'a Rule,
    value: String,
    /// The entry of the state before this change.
    earlier: Option<Saved>,
}

impl Tuner {
    /// Sets the file knobs of `plan` that are not as wanted. Returns how many were changed.
    pub(super) fn set_files(&mut self, plan: &[KnobPlan]) -> usize {
        let mut pending = Vec::new();
        for knob in plan {
            match self.prepare(knob) {
                Ok(write) => pending.extend(write),
                Err(error) => self.refuse(&knob.name, &error),
            }
        }
        // Before anything is written; without it nothing could be put back.
        if let Err(error) = self.state.save(&self.state_file) {
            let error = KnobError::Unsaved(error.to_string());
            for write in pending {
                self.refuse(write.name, &error);
                self.forget(write.name, write.earlier, &error);
            }
            return 0;
        }
        let mut changed = 0;
        let mut forgotten = false;
        for write in pending {
            match self.write(&write) {
                Ok(found) => {
                    self.settled.insert(write.name.to_owned(), found);
                    changed += 1;
                }
                Err(error) => {
                    self.refuse(write.name, &error);
                    self.forget(write.name, write.earlier, &error);
                    forgotten = true;
                }
            }
        }
        if forgotten {
            // An entry too many does no harm: revert writes only over what was set.
            let _ = self.state.save(&self.state_file);
        }
        changed
    }

    /// Looks at one knob; if it has to be written, enters what was found into the state.
    fn prepare<'a>(&mut self, knob: &'a KnobPlan) -> Result<Option<Pending<'a>>, KnobError> {
        let Want::File {
            path,
            rule,
            counterpart,
            absent,
        } = &knob.want
        else {
            return Ok(None);
        };
        let kernel = self.kernel.as_ref();
        let content = match read(kernel, path) {
            Err(error) if is_missing(&error) && matches!(absent, Absent::Fine(_)) => {
                return Ok(None);
            }
            content => content?,
        };
        let found = rule.value(&content).ok_or_else(|| form(path, &content))?;
        let name = &knob.name;
        if rule.satisfied(&found) {
            self.initial
                .entry(name.clone())
                .or_insert_with(|| found.clone());
            self.settled.insert(name.clone(), found);
            return Ok(None);
        }
        let value = rule
            .to_write(&content)
            .ok_or_else(|| KnobError::NotOffered {
                offered: content.trim().to_owned(),
            })?;
        let earlier = self.state.knobs.get(name).cloned();
        let saved = if let Some(earlier) = &earlier {
            Saved {
                set: value.clone(),
                ..earlier.clone()
            }
        } else {
            let before = self.initial.get(name).cloned().unwrap_or(found);
            let restore = match counterpart {
                Some(other) if before == "0" => Some(Restore {
                    path: other.clone(),
                    value: read(kernel, other)?.trim().to_owned(),
                }),
                _ => None,
            };
            Saved {
                path: path.clone(),
                choice: rule.is_choice(),
                before,
                set: value.clone(),
                restore,
            }
        };
        self.state.knobs.insert(name.clone(), saved);
        Ok(Some(Pending {
            name,
            path,
            rule,
            value,
            earlier,
        }))
    }

    /// Writes one knob and reads it back.
    fn write(&self, write: &Pending<'_>) -> Result<String, KnobError> {
        let kernel = self.kernel.as_ref();
        put(kernel, write.path, &write.value)?;
        let content = read(kernel, write.path)?;
        match write.rule.value(&content) {
            Some(found) if write.rule.satisfied(&found) => Ok(found),
            found => Err(KnobError::ReadBack {
                written: write.value.clone(),
                found: found.unwrap_or(content),
            }),
        }
    }

    fn refuse(&mut self, name: &str, error: &KnobError) {
        self.refused.insert(name.to_owned(), error.to_string());
    }

    /// Undoes the entry of a knob that could not be set. Where the kernel made another value of
    /// what was written, that value is ours to put back.
    fn forget(&mut self, name: &str, earlier: Option<Saved>, error: &KnobError) {
        let Some(saved) = self.state.knobs.get_mut(name) else {
            return;
        };
        match (error, earlier) {
            (KnobError::ReadBack { found, .. }, _) if *found != saved.before => {
                found.clone_into(&mut saved.set);
            }
            (_, Some(earlier)) => *saved = earlier,
            (_, None) => drop(self.state.knobs.remove(name)),
        }
    }

    /// Makes the zram device where there is none. Returns whether one was made.
    pub(super) fn set_zram(&mut self, knob: &KnobPlan) -> bool {
        let Want::Zram { bytes, algorithms } = knob.want else {
            return false;
        };
        if let Some(device) = zram::in_use(self.kernel.as_ref()).first() {
            self.settled.insert(knob.name.clone(), device.clone());
            return false;
        }
        if let Some(stale) = self.state.zram.take() {
            // Ours, but not used: an earlier process died on the way, or somebody stopped it.
            let _ = zram::remove(self.kernel.as_ref(), &stale);
        }
        let (state, state_file) = (&mut self.state, &self.state_file);
        let mut keep = |device: &str| {
            state.zram = Some(device.to_owned());
            state
                .save(state_file)
                .map_err(|error| KnobError::Unsaved(error.to_string()))
        };
        match zram::create(self.kernel.as_ref(), bytes, algorithms, &mut keep) {
            Ok(device) => {
                self.settled.insert(knob.name.clone(), device);
                true
            }
            Err(error) => {
                self.state.zram = None;
                self.refuse(&knob.name, &error);
                false
            }
        }
    }

    /// Puts back what an earlier plan set and this one does not.
    pub(super) fn drop_unplanned(&mut self, plan: &[KnobPlan]) {
        let planned = |name: &str| plan.iter().any(|knob| knob.name == name);
        let orphans: Vec<String> = self
            .state
            .knobs
            .keys()
            .filter(|name| !planned(name))
            .cloned()
            .collect();
        for name in orphans {
            let knob = self.restore(&name);
            self.note_failure(knob);
        }
    }

    /// Keeps the reason why a knob that is not wanted any more could not be put back.
    pub(super) fn note_failure(&mut self, restored: Option<Knob>) {
        if let Some(knob) = restored.filter(|knob| !knob.ok) {
            self.refused.insert(knob.name, knob.reason);
        }
    }

    /// Puts everything back and keeps on file only what could not be.
    pub(super) fn restore_all(&mut self) -> Vec<Knob> {
        let names: Vec<String> = self.state.knobs.keys().cloned().collect();
        let mut knobs: Vec<Knob> = self.restore_zram().into_iter().collect();
        knobs.extend(names.iter().filter_map(|name| self.restore(name)));
        let clean = self.state.knobs.is_empty() && self.state.zram.is_none();
        let kept = if clean {
            State::remove(&self.state_file)
        } else {
            self.state.save(&self.state_file)
        };
        if let Err(error) = kept {
            knobs.push(Knob {
                name: "state".to_owned(),
                wanted: "removed".to_owned(),
                found: None,
                ok: false,
                reason: error.to_string(),
            });
        }
        knobs
    }

    /// Puts one knob back; its entry goes unless that failed.
    fn restore(&mut self, name: &str) -> Option<Knob> {
        let saved = self.state.knobs.get(name)?.clone();
        let kernel = self.kernel.as_ref();
        let result = put_back(kernel, &saved);
        let (ok, reason) = match result {
            Ok(reason) => (true, reason),
            Err(error) => (false, error.to_string()),
        };
        let found = present(kernel, &saved).ok().flatten();
        if ok {
            self.state.knobs.remove(name);
        }
        Some(Knob {
            name: name.to_owned(),
            wanted: saved.before,
            found,
            ok,
            reason,
        })
    }

    /// Removes our zram device, if there is one.
    pub(super) fn restore_zram(&mut self) -> Option<Knob> {
        let device = self.state.zram.take()?;
        let removed = zram::remove(self.kernel.as_ref(), &device);
        let knob = Knob {
            name: "zram".to_owned(),
            wanted: "none".to_owned(),
            found: removed.as_ref().err().map(|_| device.clone()),
            ok: removed.is_ok(),
            reason: match &removed {
                Ok(()) => format!("{device} is removed"),
                Err(error) => error.to_string(),
            },
        };
        if removed.is_err() {
            self.state.zram = Some(device);
        }
        Some(knob)
    }
}

/// Restores one knob unless another program changed it since. Returns what was done.
fn put_back(kernel: &dyn Kernel, saved: &Saved) -> Result<String, KnobError> {
    let found = match present(kernel, saved) {
        Err(error) if is_missing(&error) => return Ok("it is not there any more".to_owned()),
        found => found?,
    };
    if found.as_deref() == Some(saved.before.as_str()) {
        return Ok("as found before tuning".to_owned());
    }
    if found.as_deref() != Some(saved.set.as_str()) {
        return Ok(format!(
            "left alone: set to {} by tuning, changed by another program since",
            saved.set
        ));
    }
    let (path, value): (&PathBuf, &str) = match &saved.restore {
        Some(restore) => (&restore.path, &restore.value),
        None => (&saved.path, &saved.before),
    };
    put(kernel, path, value)?;
    let after = present(kernel, saved)?;
    if after.as_deref() == Some(saved.before.as_str()) {
        return Ok("put back as found before tuning".to_owned());
    }
    Err(KnobError::ReadBack {
        written: value.to_owned(),
        found: after.unwrap_or_default(),
    })
}

/// The value that a saved knob has now.
fn present(kernel: &dyn Kernel, saved: &Saved) -> Result<Option<String>, KnobError> {
    let content = read(kernel, &saved.path)?;
    Ok(if saved.choice {
        selected(&content).map(str::to_owned)
    } else {
        Some(content.trim().to_owned())
    })
}

fn put(kernel: &dyn Kernel, path: &Path, value: &str) -> Result<(), KnobError> {
    kernel
        .write(path, value)
        .map_err(|source| KnobError::Write {
            path: path.into(),
            source,
        })
}

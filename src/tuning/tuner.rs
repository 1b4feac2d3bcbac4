//! Puts the plan in force and takes it back.
//!
//! The value found before the first change is saved before anything is written, and survives a
//! crash of this program; a later start goes on with it and never takes its own values for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::plan::{Absent, Facts, KnobPlan, Want, plan};
use super::state::State;
use super::{Inputs, Kernel, KnobError, nofile, zram};
use crate::board::Board;
use crate::config::{Config, EngineKind};
use crate::journal::{Event, emit};
use crate::status::{Knob, Tuning, TuningState};

/// All knobs of one appliance. Every method reads or writes the machine and may block.
#[derive(Debug)]
pub struct Tuner {
    pub(super) kernel: Box<dyn Kernel>,
    pub(super) state_file: PathBuf,
    board: Board,
    config: Config,
    engines: Vec<(EngineKind, Option<u32>)>,
    /// Whether the plan is in force; a failed revert leaves a state that is not.
    pub(super) active: bool,
    pub(super) state: State,
    /// The plan as applied; absent in a process that did not apply it.
    planned: Option<Vec<KnobPlan>>,
    /// Knobs that were as wanted after the last apply or repair, with their value.
    pub(super) settled: BTreeMap<String, String>,
    /// Values found by the first apply, for knobs that needed no change then.
    pub(super) initial: BTreeMap<String, String>,
    /// Why a knob could not be set.
    pub(super) refused: BTreeMap<String, String>,
}

/// What a look at the knobs, or a change of them, came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// As the status shows it.
    pub tuning: Tuning,
    /// Knobs that were as wanted and are not any more.
    pub drifted: Vec<Drift>,
}

/// One knob that another program changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Name of the knob.
    pub knob: String,
    /// The value it had.
    pub expected: String,
    /// The value it has; absent when it cannot be read, or the zram device is gone.
    pub found: Option<String>,
}

/// The value of a knob, and what is wrong with it.
struct Look {
    found: Option<String>,
    ok: bool,
    reason: Option<String>,
}

impl Tuner {
    /// A tuner that goes on where an earlier process of this boot stopped: `state_file` tells
    /// what that one changed. Reads, but changes nothing.
    pub fn new(kernel: Box<dyn Kernel>, state_file: PathBuf, inputs: &Inputs<'_>) -> Self {
        let boot_id = kernel
            .read(Path::new("proc/sys/kernel/random/boot_id"))
            .map(|id| id.trim().to_owned())
            .unwrap_or_default();
        let loaded = State::load(&state_file, &boot_id).unwrap_or_else(|error| {
            let message = format!("{error}; the values found now count as those before tuning");
            emit(Event::TuningRefused, "tuning", &message);
            None
        });
        let active = loaded.is_some();
        let state = loaded.unwrap_or_else(|| State::new(&boot_id));
        let mut settled: BTreeMap<String, String> = state
            .knobs
            .iter()
            .map(|(name, saved)| (name.clone(), saved.set.clone()))
            .collect();
        if let Some(device) = &state.zram {
            settled.insert("zram".to_owned(), device.clone());
        }
        Self {
            kernel,
            state_file,
            board: inputs.board.clone(),
            config: inputs.config.clone(),
            engines: inputs.engines.to_vec(),
            active,
            state,
            planned: None,
            settled,
            initial: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Takes over a changed configuration or engine set; [`Tuner::apply`] puts it in force.
    pub fn set_inputs(&mut self, inputs: &Inputs<'_>) {
        self.board = inputs.board.clone();
        self.config = inputs.config.clone();
        self.engines = inputs.engines.to_vec();
    }

    /// What would be set, beside what is found. Changes nothing.
    pub fn plan(&self) -> Report {
        let zram = self.config.tuning.zram || self.zram_in_use();
        self.report(&self.build(zram))
    }

    /// Whether the knobs still are as they were set. Changes nothing.
    pub fn check(&self) -> Report {
        match &self.planned {
            Some(planned) => self.report(planned),
            None => self.report(&self.build(self.zram_in_use())),
        }
    }

    /// Puts the plan in force. Knobs as wanted are not written; knobs of an earlier plan that
    /// are not wanted any more get their old value. Calling it again changes nothing, and finds
    /// disks and filesystems that came since.
    pub fn apply(&mut self) -> Report {
        if !self.config.tuning.enabled {
            if self.active {
                self.revert();
            }
            return self.report(&[]);
        }
        let first = !self.active;
        self.active = true;
        let before = std::mem::take(&mut self.refused);
        self.settled.clear();
        let mut changed = 0;
        // First of all, since it decides about vm.swappiness.
        if let Some(knob) = self.build(true).iter().find(|knob| is_zram(knob)) {
            changed += usize::from(self.set_zram(knob));
        } else {
            let kept = self.restore_zram();
            self.note_failure(kept);
        }
        let plan = self.build(self.zram_in_use());
        self.drop_unplanned(&plan);
        changed += self.set_files(&plan);
        for knob in &plan {
            if let Want::Nofile(wanted) = knob.want {
                let limits = nofile::read(self.kernel.as_ref());
                if let Err(error) = limits.and_then(|limits| nofile::judge(limits, wanted)) {
                    self.refused.insert(knob.name.clone(), error.to_string());
                }
            }
        }
        for (name, reason) in &self.refused {
            if before.get(name) != Some(reason) {
                emit(Event::TuningRefused, name, reason);
            }
        }
        let report = self.report(&plan);
        self.planned = Some(plan);
        if first || changed > 0 {
            let knobs = &report.tuning.knobs;
            let ok = knobs.iter().filter(|knob| knob.ok).count();
            let message = format!(
                "{ok} of {} kernel knobs are as wanted, {changed} were changed",
                knobs.len()
            );
            emit(Event::TuningApplied, "tuning", &message);
        }
        report
    }

    /// Sets these knobs again.
    pub fn repair(&mut self, names: &[String]) -> Report {
        if !self.active {
            return self.check();
        }
        let plan = match self.planned.take() {
            Some(planned) => planned,
            None => self.build(self.zram_in_use()),
        };
        let wanted: Vec<KnobPlan> = plan
            .iter()
            .filter(|knob| names.contains(&knob.name))
            .cloned()
            .collect();
        for name in names {
            self.refused.remove(name);
        }
        if let Some(knob) = wanted.iter().find(|knob| is_zram(knob)) {
            self.set_zram(knob);
        }
        self.set_files(&wanted);
        let report = self.report(&plan);
        self.planned = Some(plan);
        report
    }

    /// Puts the values found before back, but leaves a knob that another program set since.
    /// Knobs that could not be put back stay in the state file, so that it can be tried again.
    pub fn revert(&mut self) -> Report {
        let knobs = self.restore_all();
        self.active = false;
        self.planned = None;
        self.settled.clear();
        self.initial.clear();
        self.refused.clear();
        let failed = knobs.iter().filter(|knob| !knob.ok).count();
        if !knobs.is_empty() {
            let message = format!(
                "{} of {} kernel knobs are as found before tuning or as another program set them",
                knobs.len() - failed,
                knobs.len()
            );
            emit(Event::TuningReverted, "tuning", &message);
        }
        let state = match failed {
            0 => TuningState::Off,
            _ => TuningState::Partial,
        };
        Report {
            tuning: Tuning { state, knobs },
            drifted: Vec::new(),
        }
    }

    fn build(&self, zram: bool) -> Vec<KnobPlan> {
        let bdis = self.kernel.list(Path::new("sys/class/bdi"));
        let mut btrfs = bdis.unwrap_or_default();
        btrfs.retain(|name| name.starts_with("btrfs-"));
        let inputs = Inputs {
            board: &self.board,
            config: &self.config,
            engines: &self.engines,
        };
        plan(&inputs, &Facts { zram, btrfs })
    }

    pub(super) fn zram_in_use(&self) -> bool {
        !zram::in_use(self.kernel.as_ref()).is_empty()
    }

    fn report(&self, plan: &[KnobPlan]) -> Report {
        let mut knobs = Vec::with_capacity(plan.len());
        let mut drifted = Vec::new();
        for knob in plan {
            let look = self.look(knob);
            if !look.ok
                && let Some(expected) = self.settled.get(&knob.name)
            {
                drifted.push(Drift {
                    knob: knob.name.clone(),
                    expected: expected.clone(),
                    found: look.found.clone(),
                });
            }
            let reason = match (look.ok, look.reason) {
                (true, reason) => reason.unwrap_or_else(|| knob.why.clone()),
                (false, reason) => self
                    .refused
                    .get(&knob.name)
                    .cloned()
                    .or(reason)
                    .unwrap_or_else(|| format!("not set: {}", knob.why)),
            };
            knobs.push(Knob {
                name: knob.name.clone(),
                wanted: knob.wanted(),
                found: look.found,
                ok: look.ok,
                reason,
            });
        }
        let state = if !self.config.tuning.enabled || !self.active {
            drifted.clear();
            TuningState::Off
        } else if !drifted.is_empty() {
            TuningState::Drifted
        } else if knobs.iter().all(|knob| knob.ok) {
            TuningState::Applied
        } else {
            TuningState::Partial
        };
        Report {
            tuning: Tuning { state, knobs },
            drifted,
        }
    }

    fn look(&self, knob: &KnobPlan) -> Look {
        let kernel = self.kernel.as_ref();
        let looked = match &knob.want {
            Want::File {
                path, rule, absent, ..
            } => match (read(kernel, path), absent) {
                (Err(error), Absent::Fine(why)) if is_missing(&error) => Ok(Look {
                    found: None,
                    ok: true,
                    reason: Some((*why).to_owned()),
                }),
                (content, _) => content
                    .and_then(|text| rule.value(&text).ok_or_else(|| form(path, &text)))
                    .map(|value| Look {
                        ok: rule.satisfied(&value),
                        found: Some(value),
                        reason: None,
                    }),
            },
            Want::Nofile(wanted) => nofile::read(kernel).map(|limits| {
                let judged = nofile::judge(limits, *wanted);
                Look {
                    found: Some(limits.hard.to_string()),
                    ok: judged.is_ok(),
                    reason: match judged {
                        Ok(hard) if hard < *wanted => Some(format!(
                            "{}; this process may raise the limit for them",
                            knob.why
                        )),
                        judged => judged.err().map(|error| error.to_string()),
                    },
                }
            }),
            Want::Zram { .. } => Ok(self.look_at_zram()),
        };
        looked.unwrap_or_else(|error| Look {
            found: None,
            ok: false,
            reason: Some(error.to_string()),
        })
    }

    fn look_at_zram(&self) -> Look {
        let devices = zram::in_use(self.kernel.as_ref());
        let ours = self.state.zram.as_ref().filter(|own| devices.contains(own));
        let device = ours.or(devices.first());
        let foreign = "zram is already used as swap, made by another program: left alone";
        Look {
            found: device.map(|device| zram::describe(self.kernel.as_ref(), device)),
            ok: device.is_some(),
            reason: (device.is_some() && ours.is_none()).then(|| foreign.to_owned()),
        }
    }
}

pub(super) fn is_zram(knob: &KnobPlan) -> bool {
    matches!(knob.want, Want::Zram { .. })
}

pub(super) fn read(kernel: &dyn Kernel, path: &Path) -> Result<String, KnobError> {
    kernel.read(path).map_err(|source| KnobError::Read {
        path: path.into(),
        source,
    })
}

pub(super) fn is_missing(error: &KnobError) -> bool {
    matches!(error, KnobError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

pub(super) fn form(path: &Path, text: &str) -> KnobError {
    KnobError::Form {
        path: path.into(),
        found: text.trim().chars().take(80).collect(),
    }
}

#[cfg(test)]
#[path = "tuner_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod refusal_tests;

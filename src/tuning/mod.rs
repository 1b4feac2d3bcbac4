//! Kernel knobs: plan, apply, read back, watch for drift, revert.
//!
//! A knob that cannot be written is reported with its reason; it never stops the appliance.

use std::path::PathBuf;

use crate::board::Board;
use crate::config::{Config, EngineKind};

/// What the plan depends on besides the configuration.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// The machine.
    pub board: &'a Board,
    /// Configuration.
    pub config: &'a Config,
    /// Enabled engines with the major version where it is known.
    pub engines: &'a [(EngineKind, Option<u32>)],
}

/// All knobs of one appliance, with the values found before the first change.
#[derive(Debug)]
#[allow(dead_code)]
pub struct Tuner {
    root: PathBuf,
    state_file: PathBuf,
}

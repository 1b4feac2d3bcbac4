//! `lucid tune`: the knobs, with or without a running supervisor.

use std::path::Path;

use super::args::TuneCommand;
use super::output::{Colour, Out};
use super::{CliError, Done};
use crate::board::Board;
use crate::paths::Paths;
use crate::status::{Tuning, TuningState};
use crate::supervisor::{self, Lock, LockError};

pub(super) fn run(
    paths: &Paths,
    config: Option<&Path>,
    command: TuneCommand,
    out: &mut Out,
) -> Result<Done, CliError> {
    let board = Board::read(Path::new("/"))?;
    let plan = supervisor::plan(paths, config, board, false)?;
    let mut tuner = plan.tuner();
    let report = match command {
        TuneCommand::Plan => tuner.plan(),
        TuneCommand::Check => tuner.check(),
        TuneCommand::Apply | TuneCommand::Revert => {
            // A running supervisor would at once undo what is done here.
            crate::fsx::create_dir(&paths.run(), 0o755)?;
            let _lock = Lock::take(&paths.lock()).map_err(|error| match error {
                LockError::Held { .. } => CliError::Refused(format!(
                    "{error}; it keeps the knobs as planned: change [tuning] in lucid.toml and \
                     reload it instead"
                )),
                other @ LockError::File(_) => other.into(),
            })?;
            if matches!(command, TuneCommand::Apply) {
                tuner.apply()
            } else {
                tuner.revert()
            }
        }
    };
    if !out.json(&report.tuning)? {
        print(&report.tuning, out)?;
    }
    let off = matches!(command, TuneCommand::Plan | TuneCommand::Revert);
    let well = off
        || !matches!(
            report.tuning.state,
            TuningState::Drifted | TuningState::Partial
        );
    Ok(if well { Done::Well } else { Done::Unhealthy })
}

fn print(tuning: &Tuning, out: &mut Out) -> Result<(), CliError> {
    for knob in &tuning.knobs {
        let mark = if knob.ok {
            out.paint(Colour::Green, "✓")
        } else {
            out.paint(Colour::Yellow, "✗")
        };
        let found = knob.found.as_deref().unwrap_or("nothing");
        let line = format!(
            "{mark} {:<32} wanted {:<16} found {found:<16} {}",
            knob.name, knob.wanted, knob.reason
        );
        out.line(line.trim_end())?;
    }
    Ok(())
}

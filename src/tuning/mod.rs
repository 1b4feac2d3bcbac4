//! Kernel knobs: plan, apply, read back, watch for drift, revert.
//!
//! A knob that cannot be written is reported with its reason; it never stops the appliance.
//! Which knobs, which values and why: `docs/tuning.md`.

mod disks;
mod drift;
mod kernel;
mod nofile;
mod plan;
mod rule;
mod setting;
mod simulated;
mod state;
#[cfg(test)]
mod testing;
mod tuner;
mod watch;
mod zram;

use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;

use crate::board::Board;
use crate::config::{Config, EngineKind};

pub use drift::{Decision, DriftTracker};
pub use kernel::{Kernel, RealKernel};
pub use plan::{Absent, Facts, KnobPlan, Want, plan};
pub use rule::Rule;
pub use simulated::SimulatedKernel;
pub use tuner::{Drift, Report, Tuner};
pub use watch::watch;

/// What the plan depends on besides the state of the machine.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// The machine.
    pub board: &'a Board,
    /// Configuration.
    pub config: &'a Config,
    /// Enabled engines with the major version where it is known.
    pub engines: &'a [(EngineKind, Option<u32>)],
}

/// Whether an engine wants transparent huge pages kept from its own process
/// (`PR_SET_THP_DISABLE` before exec; inherited over fork and exec).
///
/// Only MongoDB from 8.0 on gains by them: its allocator was made for huge pages. `major` is the
/// engine's major version; an unknown one is treated as an old one, because huge pages cost an
/// old MongoDB more than missing ones cost a new MongoDB.
pub const fn disable_thp(engine: EngineKind, major: Option<u32>) -> bool {
    !wants_thp(engine, major)
}

const fn wants_thp(engine: EngineKind, major: Option<u32>) -> bool {
    matches!((engine, major), (EngineKind::Mongod, Some(8..)))
}

/// Why one knob could not be read, set or put back.
#[derive(Debug, thiserror::Error)]
pub enum KnobError {
    /// Reading failed.
    #[error("cannot read {}: {}", path.display(), explain(source))]
    Read {
        /// The file, from the root of the machine.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Writing failed.
    #[error("cannot write {}: {}", path.display(), explain(source))]
    Write {
        /// The file, from the root of the machine.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The file does not hold what it should.
    #[error("{} holds {found:?}, which is not understood", path.display())]
    Form {
        /// The file, from the root of the machine.
        path: PathBuf,
        /// What stands there.
        found: String,
    },
    /// None of the wanted values is among those the kernel offers.
    #[error("this kernel offers only {offered}")]
    NotOffered {
        /// The values offered, separated by spaces.
        offered: String,
    },
    /// The kernel took the value but shows another one.
    #[error("wrote {written}, but it reads back as {found}")]
    ReadBack {
        /// The value written.
        written: String,
        /// The value read.
        found: String,
    },
    /// The values found before could not be kept, so nothing was changed.
    #[error("not set, because the value found before cannot be kept for revert: {0}")]
    Unsaved(String),
    /// A program of the system failed.
    #[error("{program} failed: {message}")]
    Program {
        /// The program.
        program: String,
        /// What it said, or why it could not be run.
        message: String,
    },
    /// A program of the system took too long and was killed.
    #[error("{program} did not end within {} s", deadline.as_secs())]
    Deadline {
        /// The program.
        program: String,
        /// The time it had.
        deadline: Duration,
    },
    /// The hard limit of open files is too low for the engines.
    #[error("the hard limit of open files is {hard}, {wanted} are wanted; {remedy}")]
    Nofile {
        /// The limit found.
        hard: u64,
        /// The limit wanted.
        wanted: u64,
        /// What to do.
        remedy: String,
    },
}

/// The kernel's answer in words that say what to do.
fn explain(error: &std::io::Error) -> String {
    let Some(code) = error.raw_os_error() else {
        return error.to_string();
    };
    match Errno::from_raw(code) {
        Errno::EROFS => "read-only file system (a container?)".to_owned(),
        Errno::EACCES | Errno::EPERM => "needs root".to_owned(),
        Errno::ENOENT | Errno::ENODEV => "this kernel has no such knob".to_owned(),
        Errno::EINVAL => "the kernel refused the value".to_owned(),
        Errno::EBUSY => "in use".to_owned(),
        other => other.desc().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mongodb_known_to_be_new_keeps_huge_pages() {
        assert!(!disable_thp(EngineKind::Mongod, Some(8)));
        assert!(!disable_thp(EngineKind::Mongod, Some(9)));
        for (engine, major) in [
            (EngineKind::Mongod, Some(7)),
            (EngineKind::Mongod, None),
            (EngineKind::Secantus, Some(8)),
            (EngineKind::Redis, Some(8)),
            (EngineKind::Valkey, Some(8)),
        ] {
            assert!(disable_thp(engine, major), "{engine:?} {major:?}");
        }
    }

    #[test]
    fn errors_name_the_file_and_the_way_out() {
        for (errno, words) in [
            (Errno::EROFS, "container"),
            (Errno::EACCES, "needs root"),
            (Errno::EPERM, "needs root"),
            (Errno::ENOENT, "no such knob"),
            (Errno::EINVAL, "refused the value"),
        ] {
            let error = KnobError::Write {
                path: "proc/sys/vm/swappiness".into(),
                source: errno.into(),
            };
            let text = error.to_string();
            assert!(
                text.contains("vm/swappiness") && text.contains(words),
                "{text}"
            );
        }
    }
}

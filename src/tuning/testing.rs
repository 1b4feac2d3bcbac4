//! Boards and configurations made by hand for the tests of this room.

use std::path::PathBuf;

use crate::board::{Board, Disk, DiskKind, Family};
use crate::config::{Config, EngineKind};
use crate::units::MIB;

use super::{Inputs, Report, SimulatedKernel, Tuner};
use crate::status::Knob;

/// An engine with its major version where known.
pub(super) type Engine = (EngineKind, Option<u32>);

/// What the image runs by default.
pub(super) const DEFAULT_SET: &[Engine] = &[
    (EngineKind::Secantus, Some(0)),
    (EngineKind::Redis, Some(8)),
];

/// A board of this family, RAM and disks.
pub(super) fn board(family: Family, memory_mib: u64, disks: &[(&str, DiskKind)]) -> Board {
    let disk = |(name, kind): &(&str, DiskKind)| Disk {
        name: (*name).to_owned(),
        kind: *kind,
        size_bytes: 1 << 30,
        model: None,
        read_only: false,
    };
    Board {
        family,
        memory_bytes: memory_mib * MIB,
        disks: disks.iter().map(disk).collect(),
        ..Board::simulated()
    }
}

/// A Pi 4 with 4 GiB, system on a card and data on a USB SSD.
pub(super) fn pi4() -> Board {
    board(
        Family::Pi4,
        3792,
        &[("mmcblk0", DiskKind::Sd), ("sda", DiskKind::UsbSsd)],
    )
}

/// Inputs of these parts.
pub(super) fn inputs<'a>(
    board: &'a Board,
    config: &'a Config,
    engines: &'a [Engine],
) -> Inputs<'a> {
    Inputs {
        board,
        config,
        engines,
    }
}

pub(super) const MONGOD_8: &[Engine] =
    &[(EngineKind::Mongod, Some(8)), (EngineKind::Redis, Some(8))];
pub(super) const THP: &str = "sys/kernel/mm/transparent_hugepage/enabled";
pub(super) const SWAPPINESS: &str = "proc/sys/vm/swappiness";
pub(super) const SOMAXCONN: &str = "proc/sys/net/core/somaxconn";
pub(super) const DIRTY: &str = "proc/sys/vm/dirty_bytes";

/// A simulated appliance: machine, folder, configuration.
pub(super) struct Bench {
    pub(super) kernel: SimulatedKernel,
    pub(super) dir: tempfile::TempDir,
    pub(super) board: Board,
    pub(super) config: Config,
}

impl Bench {
    pub(super) fn new() -> Self {
        let board = pi4();
        Self {
            kernel: SimulatedKernel::for_board(&board),
            dir: tempfile::tempdir().unwrap(),
            board,
            config: Config::default(),
        }
    }

    pub(super) fn state_file(&self) -> PathBuf {
        self.dir.path().join("run/tuning-before.json")
    }

    /// A tuner as a freshly started process makes it.
    pub(super) fn tuner(&self, engines: &[Engine]) -> Tuner {
        let inputs = inputs(&self.board, &self.config, engines);
        Tuner::new(Box::new(self.kernel.clone()), self.state_file(), &inputs)
    }

    pub(super) fn get(&self, path: &str) -> String {
        self.kernel.get(path).unwrap()
    }
}

pub(super) fn knob<'a>(report: &'a Report, name: &str) -> &'a Knob {
    let found = report.tuning.knobs.iter().find(|knob| knob.name == name);
    found.unwrap_or_else(|| panic!("{name} is missing in {report:?}"))
}

pub(super) fn drifted(report: &Report) -> Vec<&str> {
    report.drifted.iter().map(|d| d.knob.as_str()).collect()
}

/// The content of every file but the swap table, which keeps its order.
pub(super) fn machine(kernel: &SimulatedKernel) -> String {
    format!("{kernel:?}")
        .split("denied")
        .next()
        .unwrap()
        .to_owned()
}

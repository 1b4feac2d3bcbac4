//! Boards and configurations made by hand for the tests of this room.

use crate::board::{Board, CpuFeatures, Disk, DiskKind, Family, Kernel, MemoryCgroup};
use crate::config::{Config, EngineKind};
use crate::units::MIB;

use super::Inputs;

/// An engine with its major version where known.
pub(super) type Engine = (EngineKind, Option<u32>);

/// What the image runs by default.
pub(super) const DEFAULT_SET: &[Engine] = &[
    (EngineKind::Secantus, Some(0)),
    (EngineKind::Redis, Some(8)),
];

/// A board of this family, RAM and disks.
pub(super) fn board(family: Family, memory_mib: u64, disks: &[(&str, DiskKind)]) -> Board {
    Board {
        model: "test".to_owned(),
        family,
        revision: None,
        memory_bytes: memory_mib * MIB,
        cpus: 4,
        cpu: CpuFeatures {
            arch: "aarch64",
            lse_atomics: false,
            armv8_2: false,
            avx: false,
        },
        page_size: 4096,
        va_bits: None,
        kernel: Kernel {
            release: "7.3.4".to_owned(),
            version: (7, 3, 4),
        },
        memory_cgroup: MemoryCgroup::Missing("test".to_owned()),
        disks: disks
            .iter()
            .map(|(name, kind)| Disk {
                name: (*name).to_owned(),
                kind: *kind,
                size_bytes: 1 << 30,
                model: None,
                read_only: false,
            })
            .collect(),
        simulated: true,
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

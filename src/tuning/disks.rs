//! Knobs of disks and filesystems: read-ahead and I/O scheduler by the kind of device.

use super::Rule;
use super::plan::{Absent, Facts, KnobPlan, file};
use crate::board::{Board, Disk, DiskKind};

/// MongoDB's production notes: 8 to 32 sectors of 512 bytes; this is the upper end.
const READ_AHEAD_DATABASE_KIB: u64 = 16;
/// The kernel's default (`VM_READAHEAD_PAGES`).
const READ_AHEAD_CARD_KIB: u64 = 128;

/// A disk that was unplugged has no knob to set.
const DISK_GONE: Absent = Absent::Fine("the device is not there");

/// Knobs of every disk and of every mounted btrfs. `wiredtiger` says whether an engine with that
/// storage runs.
pub(super) fn knobs(board: &Board, wiredtiger: bool, facts: &Facts) -> Vec<KnobPlan> {
    let of_disk = |disk| [read_ahead(board, disk, wiredtiger), scheduler(disk)];
    let mut knobs: Vec<KnobPlan> = board.disks.iter().flat_map(of_disk).flatten().collect();
    if wiredtiger {
        knobs.extend(facts.btrfs.iter().map(|name| btrfs(board, name)));
    }
    knobs
}

fn read_ahead(board: &Board, disk: &Disk, wiredtiger: bool) -> Option<KnobPlan> {
    let (kib, why) = match disk.kind {
        DiskKind::UsbSsd | DiskKind::SataSsd | DiskKind::Nvme if wiredtiger => (
            database_read_ahead(board),
            "WiredTiger reads at random: what is read ahead is read in vain \
             (MongoDB production notes: 8 to 32 sectors)",
        ),
        DiskKind::Sd | DiskKind::Emmc => (
            READ_AHEAD_CARD_KIB,
            "a card answers slowly to every command, and programs are read in sequence; \
             the kernel's default",
        ),
        _ => return None,
    };
    Some(file(
        &format!("block.{}.read_ahead_kb", disk.name),
        &format!("sys/block/{}/queue/read_ahead_kb", disk.name),
        Rule::Exact(kib),
        DISK_GONE,
        why,
    ))
}

fn scheduler(disk: &Disk) -> Option<KnobPlan> {
    let (words, why): (&[&str], _) = match disk.kind {
        DiskKind::Nvme => (
            &["none"],
            "NVMe has deep queues of its own: ordering requests only costs time",
        ),
        DiskKind::Sd | DiskKind::Emmc | DiskKind::Rotating => (
            &["mq-deadline", "bfq"],
            "one slow queue: reads must not wait behind a burst of writes",
        ),
        DiskKind::UsbSsd | DiskKind::SataSsd => (
            &["mq-deadline", "bfq"],
            "reads must not wait behind a burst of writes; MongoDB's operations checklist asks \
             deadline for SSDs",
        ),
        // The host orders requests; unknown devices are left to whoever knows them.
        DiskKind::Virtual | DiskKind::Unknown => return None,
    };
    Some(file(
        &format!("block.{}.scheduler", disk.name),
        &format!("sys/block/{}/queue/scheduler", disk.name),
        Rule::OneOf(words),
        DISK_GONE,
        why,
    ))
}

/// The read-ahead of a disk does not reach files on btrfs, which sets at least 4 MiB of its own.
fn btrfs(board: &Board, name: &str) -> KnobPlan {
    file(
        &format!("bdi.{name}.read_ahead_kb"),
        &format!("sys/class/bdi/{name}/read_ahead_kb"),
        Rule::Exact(database_read_ahead(board)),
        DISK_GONE,
        "btrfs reads 4 MiB ahead whatever its disk says; WiredTiger reads at random \
         (MongoDB production notes: 8 to 32 sectors)",
    )
}

/// The kernel counts read-ahead in pages and rounds down, so at least one page.
fn database_read_ahead(board: &Board) -> u64 {
    READ_AHEAD_DATABASE_KIB.max(board.page_size / 1024)
}

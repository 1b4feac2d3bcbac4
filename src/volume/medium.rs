//! What kind of medium a pool lies on, and how it is mounted there.

use std::path::Path;

use crate::fsx;

/// Kinds that are treated differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// An SD card or eMMC.
    Card,
    /// An SSD, at USB or PCIe.
    Flash,
    /// A disk that turns.
    Disk,
    /// A file of another file system.
    File,
}

impl Medium {
    /// The medium of the device `node`.
    pub(super) fn of(sys: &Path, node: &Path) -> Self {
        let disk = disk_of(sys, node).unwrap_or_default();
        if disk.starts_with("loop") {
            return Self::File;
        }
        if disk.starts_with("mmcblk") {
            return Self::Card;
        }
        let rotational = sys.join("class/block").join(&disk).join("queue/rotational");
        // USB bridges that do not tell count as disks that turn.
        match fsx::read_value(&rotational).as_deref() {
            Ok("0") => Self::Flash,
            _ => Self::Disk,
        }
    }

    /// Options of btrfs(5). Discard is scheduled (`lucid volume pool trim`): at every deletion it
    /// would hold up an SD card, and some USB bridges answer it with a reset. A file gives its
    /// space back at once, which costs nothing.
    pub(super) const fn options(self) -> &'static str {
        match self {
            Self::Card | Self::Flash => "ssd,nodiscard",
            Self::Disk => "nossd,nodiscard",
            Self::File => "ssd,discard=async",
        }
    }
}

/// The disk that a partition lies on, or the disk itself.
pub(super) fn disk_of(sys: &Path, node: &Path) -> Option<String> {
    let name = node.file_name()?.to_str()?;
    let dir = std::fs::canonicalize(sys.join("class/block").join(name)).ok()?;
    let disk = if dir.join("partition").exists() {
        dir.parent()?
    } else {
        &dir
    };
    disk.file_name()?.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_ssds_disks_and_files_are_told_apart() {
        let sys = tempfile::tempdir().unwrap();
        let put = |disk: &str, rotational: &str| {
            let queue = sys.path().join("class/block").join(disk).join("queue");
            std::fs::create_dir_all(&queue).unwrap();
            let file = queue.join("rotational");
            fsx::write_volatile(&file, rotational.as_bytes(), 0o644).unwrap();
        };
        put("mmcblk0", "0\n");
        put("nvme0n1", "0\n");
        put("sda", "1\n");
        put("loop3", "0\n");
        let of = |node: &str| Medium::of(sys.path(), Path::new(node));
        assert_eq!(of("/dev/mmcblk0"), Medium::Card);
        assert_eq!(of("/dev/nvme0n1"), Medium::Flash);
        assert_eq!(of("/dev/sda"), Medium::Disk);
        assert_eq!(of("/dev/loop3"), Medium::File);
        assert!(Medium::Card.options().contains("nodiscard"));
    }
}

//! Whole disks and their kind.

use super::tree::Tree;
use super::{Disk, DiskKind};

/// Bytes of a sector in `size`, whatever the device's own block size
/// (`Documentation/ABI/stable/sysfs-block`).
const SECTOR: u64 = 512;

/// Block devices that hold nothing of their own: they are memory, files, parts or unions of
/// other devices, or drives for removable discs.
const NOT_DISKS: [&str; 9] = [
    "dm-", "fd", "loop", "md", "mtdblock", "nbd", "ram", "sr", "zram",
];

/// All disks, by name.
pub(super) fn read(tree: &Tree<'_>) -> Vec<Disk> {
    tree.names("sys/block")
        .into_iter()
        .filter_map(|name| disk(tree, name))
        .collect()
}

fn disk(tree: &Tree<'_>, name: String) -> Option<Disk> {
    let place = format!("sys/block/{name}");
    // An eMMC's boot areas (mmcblk0boot0, mmcblk0rpmb) are no disks for data; a hidden device is
    // one path of several to an NVMe disk.
    let part_of_emmc = name.starts_with("mmcblk") && !numbered(&name, "mmcblk");
    if part_of_emmc
        || NOT_DISKS.iter().any(|prefix| numbered(&name, prefix))
        || tree.flag(&format!("{place}/hidden")) == Some(true)
    {
        return None;
    }
    let sectors: u64 = tree.number(&format!("{place}/size"))?;
    if sectors == 0 {
        return None;
    }
    Some(Disk {
        kind: kind(tree, &name, &place),
        size_bytes: sectors.saturating_mul(SECTOR),
        // MMC calls its model "name".
        model: tree
            .text(&format!("{place}/device/model"))
            .or_else(|| tree.text(&format!("{place}/device/name"))),
        read_only: tree.flag(&format!("{place}/ro")) == Some(true),
        name,
    })
}

fn kind(tree: &Tree<'_>, name: &str, place: &str) -> DiskKind {
    if numbered(name, "mmcblk") {
        // The words are those of type_show in the kernel's drivers/mmc/core/bus.c.
        return match tree.text(&format!("{place}/device/type")).as_deref() {
            Some("SD" | "SDcombo") => DiskKind::Sd,
            Some("MMC") => DiskKind::Emmc,
            _ => DiskKind::Unknown,
        };
    }
    // Where the device hangs: sysfs makes each entry a link into the tree of devices.
    let links: Vec<String> = [place.to_owned(), format!("{place}/device")]
        .iter()
        .filter_map(|link| tree.link(link))
        .collect();
    let behind = |bus: &str| {
        links
            .iter()
            .any(|link| link.split('/').any(|part| numbered(part, bus)))
    };
    let rotational = tree.flag(&format!("{place}/queue/rotational"));
    let removable = tree.flag(&format!("{place}/removable")) == Some(true);
    if name.starts_with("nvme") {
        DiskKind::Nvme
    } else if name.starts_with("vd") || name.starts_with("xvd") || behind("virtio") {
        DiskKind::Virtual
    } else if behind("usb") {
        match rotational {
            Some(true) if !removable => DiskKind::Rotating,
            Some(_) => DiskKind::UsbSsd,
            None => DiskKind::Unknown,
        }
    } else {
        match rotational {
            Some(true) => DiskKind::Rotating,
            Some(false) if behind("ata") => DiskKind::SataSsd,
            _ => DiskKind::Unknown,
        }
    }
}

/// Whether `name` is `prefix` and a number.
fn numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::super::tree::fixture;
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    /// A block device in a sysfs: where it hangs, and its files.
    fn device(root: &Path, place: &str, files: &[(&str, &str)]) {
        for (name, content) in files {
            fixture::add(root, &[(&format!("sys/devices/{place}/{name}"), content)]);
        }
        let name = Path::new(place).file_name().unwrap();
        std::fs::create_dir_all(root.join("sys/block")).unwrap();
        std::os::unix::fs::symlink(
            Path::new("../devices").join(place),
            root.join("sys/block").join(name),
        )
        .unwrap();
    }

    fn kinds(devices: &[(&str, &[(&str, &str)])]) -> Vec<(String, DiskKind)> {
        let dir = tempfile::tempdir().unwrap();
        for (place, files) in devices {
            device(dir.path(), place, files);
        }
        read(&Tree::new(dir.path()))
            .into_iter()
            .map(|d| (d.name, d.kind))
            .collect()
    }

    #[test]
    fn an_emmc_is_told_from_a_card_and_its_boot_areas_are_left_out() {
        let size = ("size", "8");
        let found = kinds(&[
            ("mmc0/block/mmcblk0", &[size, ("device/type", "MMC\n")]),
            ("mmc0/block/mmcblk0boot0", &[size, ("device/type", "MMC\n")]),
            ("mmc0/block/mmcblk0boot1", &[size]),
            ("mmc0/block/mmcblk0rpmb", &[size]),
            ("mmc1/block/mmcblk1", &[size, ("device/type", "SD\n")]),
            ("mmc2/block/mmcblk2", &[size]),
        ]);
        let wanted = [
            ("mmcblk0", DiskKind::Emmc),
            ("mmcblk1", DiskKind::Sd),
            ("mmcblk2", DiskKind::Unknown),
        ];
        assert_eq!(found, wanted.map(|(n, k)| (n.to_owned(), k)));
    }

    #[test]
    fn disks_are_told_by_bus_and_rotation() {
        let size = ("size", "8");
        let still = ("queue/rotational", "0\n");
        let turning = ("queue/rotational", "1\n");
        let found = kinds(&[
            ("pci0000:00/ata1/host0/block/sda", &[size, still]),
            ("pci0000:00/ata2/host1/block/sdb", &[size, turning]),
            ("pci0000:00/usb2/2-1/host2/block/sdc", &[size, still]),
            ("pci0000:00/usb2/2-2/host3/block/sdd", &[size, turning]),
            (
                "pci0000:00/usb2/2-3/host4/block/sde",
                &[size, turning, ("removable", "1\n")],
            ),
            ("pci0000:00/usb2/2-4/host5/block/sdf", &[size]),
            ("pci0000:00/virtio0/host6/block/sdg", &[size, turning]),
            ("pci0000:00/host7/block/sdh", &[size, still]),
            ("pci0000:00/virtio1/block/vda", &[size, turning]),
            ("pci0000:00/nvme/nvme0/nvme0n1", &[size, still]),
        ]);
        let wanted = [
            ("nvme0n1", DiskKind::Nvme),
            ("sda", DiskKind::SataSsd),
            ("sdb", DiskKind::Rotating),
            ("sdc", DiskKind::UsbSsd),
            ("sdd", DiskKind::Rotating),
            ("sde", DiskKind::UsbSsd),
            ("sdf", DiskKind::Unknown),
            ("sdg", DiskKind::Virtual),
            ("sdh", DiskKind::Unknown),
            ("vda", DiskKind::Virtual),
        ];
        assert_eq!(found, wanted.map(|(n, k)| (n.to_owned(), k)));
    }

    #[test]
    fn what_is_no_disk_or_has_no_medium_is_left_out() {
        let size = ("size", "8");
        let found = kinds(&[
            ("virtual/block/loop0", &[size]),
            ("virtual/block/ram0", &[size]),
            ("virtual/block/zram0", &[size]),
            ("virtual/block/dm-0", &[size]),
            ("virtual/block/md127", &[size]),
            ("virtual/block/nbd0", &[size]),
            ("pci/block/sr0", &[size]),
            ("pci/block/fd0", &[size]),
            ("pci/block/mtdblock0", &[size]),
            ("pci/nvme0/nvme0c0n1", &[size, ("hidden", "1\n")]),
            ("pci/usb1/block/sdb", &[("size", "0\n")]),
            ("pci/usb1/block/sdc", &[("size", "many\n")]),
        ]);
        assert_eq!(found, []);
    }

    #[test]
    fn a_root_whose_own_path_looks_like_usb_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("usb1");
        let files = [("size", "8"), ("queue/rotational", "0"), ("ro", "1\n")];
        device(&root, "pci/ata1/block/sda", &files);
        let disks = read(&Tree::new(&root));
        assert_eq!(disks[0].kind, DiskKind::SataSsd);
        assert!(disks[0].read_only);
        assert_eq!(disks[0].size_bytes, 4096);
        assert_eq!(disks[0].model, None);
    }

    proptest! {
        #[test]
        fn any_name_is_numbered_or_not_without_panic(name in "\\PC*") {
            for prefix in NOT_DISKS {
                let _ = numbered(&name, prefix);
            }
        }
    }
}

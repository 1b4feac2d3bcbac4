//! What is mounted where, as this process sees it (proc(5), mountinfo).

use std::path::Path;

use procfs::FromBufRead;
use procfs::process::{MountInfo, MountInfos};

use crate::fsx;

/// A line a mount; a board with containers has hundreds.
const MAX_BYTES: u64 = 1 << 20;

/// All mounts by the file `mountinfo`; none where it cannot be read.
pub(super) fn read(mountinfo: &Path) -> Vec<MountInfo> {
    fsx::read_text(mountinfo, MAX_BYTES).map_or_else(|_| Vec::new(), |text| parse(&text))
}

/// All mounts of this process.
pub(super) fn all() -> Vec<MountInfo> {
    read(Path::new("/proc/self/mountinfo"))
}

fn parse(text: &str) -> Vec<MountInfo> {
    MountInfos::from_buf_read(text.as_bytes()).map_or_else(|_| Vec::new(), |mounts| mounts.0)
}

/// The topmost mount at `target`: of several there, the last one counts.
pub(super) fn topmost<'a>(mounts: &'a [MountInfo], target: &Path) -> Option<&'a MountInfo> {
    mounts
        .iter()
        .rev()
        .find(|mount| mount.mount_point == target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_of_several_mounts_counts() {
        let mounts = parse(
            "20 1 0:20 / /data rw - btrfs /dev/sda rw\n21 1 0:21 / /data rw - btrfs /dev/sdb ro\n\
             22 1 0:22 / /data/x rw - btrfs /dev/sdc rw\n",
        );
        let found = topmost(&mounts, Path::new("/data")).unwrap();
        assert_eq!(found.mount_source.as_deref(), Some("/dev/sdb"));
        assert!(found.super_options.contains_key("ro"));
        assert!(topmost(&mounts, Path::new("/other")).is_none());
    }
}

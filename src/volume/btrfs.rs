//! btrfs, through its own program (btrfs(8)) and sysfs.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statfs::{BTRFS_SUPER_MAGIC, statfs};

use super::{VolumeError, mounts, tool};
use crate::fsx;

/// What changes metadata waits for the disk once.
const LIMIT: Duration = Duration::from_secs(60);
/// The root directory of a subvolume (btrfs, `BTRFS_FIRST_FREE_OBJECTID`).
pub(super) const SUBVOLUME_INODE: u64 = 256;

/// A mounted pool.
#[derive(Debug, Clone)]
pub(super) struct Btrfs {
    sys: PathBuf,
}

/// What a quota group counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    /// Bytes that the subvolume refers to.
    pub(super) referenced: u64,
    /// Bytes that nobody else refers to.
    pub(super) exclusive: u64,
    /// Most that it may refer to.
    pub(super) limit: Option<u64>,
}

/// Space of one kind in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allocation {
    pub(super) used: u64,
    pub(super) total: u64,
}

fn number(path: &Path) -> Option<u64> {
    fsx::read_value(path).ok()?.parse().ok()
}

impl Btrfs {
    /// The pool at `root`; the answer tells why there is none.
    pub(super) fn at(root: &Path) -> Result<Self, String> {
        let magic = statfs(root).map_err(|errno| format!("not readable: {errno}"))?;
        if magic.filesystem_type() != BTRFS_SUPER_MAGIC {
            return Err("another file system".to_owned());
        }
        if !nix::unistd::geteuid().is_root() {
            return Err("btrfs, and this user is not root".to_owned());
        }
        if !is_subvolume(root) {
            return Err("a directory of a btrfs file system, not its mount point".to_owned());
        }
        let uuid = uuid_of(root).ok_or("btrfs without its directory in /sys/fs/btrfs")?;
        Ok(Self {
            sys: Path::new("/sys/fs/btrfs").join(uuid),
        })
    }

    fn run(args: &[&str]) -> Result<tool::Answer, VolumeError> {
        tool::run("btrfs", args, None, LIMIT)?.success()
    }

    /// Switches quota groups on; doing it again changes nothing.
    pub(super) fn enable_quotas(&self, root: &Path) -> Result<(), VolumeError> {
        if self.sys.join("qgroups").is_dir() {
            return Ok(());
        }
        Self::run(&["quota", "enable", &root.to_string_lossy()]).map(drop)
    }

    /// Subvolumes that lie in another one, by their paths; a snapshot of it does not hold them.
    pub(super) fn inner(path: &Path) -> Result<Vec<String>, VolumeError> {
        let answer = Self::run(&["subvolume", "list", "-o", &path.to_string_lossy()])?;
        let lines = answer.stdout.lines();
        // `ID 257 gen 8 top level 256 path a/b` (btrfs-subvolume(8)).
        let paths = lines.filter_map(|line| line.split_once(" path ").map(|(_, path)| path));
        Ok(paths.map(str::to_owned).collect())
    }

    /// Keeps everybody from writing into a subvolume, or lets them again.
    pub(super) fn set_read_only(path: &Path, read_only: bool) -> Result<(), VolumeError> {
        let (path, value) = (path.to_string_lossy(), read_only.to_string());
        Self::run(&["property", "set", "-ts", &path, "ro", &value]).map(drop)
    }

    pub(super) fn create(path: &Path) -> Result<(), VolumeError> {
        Self::run(&["subvolume", "create", &path.to_string_lossy()]).map(drop)
    }

    /// Removes a subvolume; what it held is freed in the background.
    pub(super) fn delete(path: &Path) -> Result<(), VolumeError> {
        // A read-only one is removed all the same.
        Self::run(&[
            "subvolume",
            "delete",
            "--commit-after",
            &path.to_string_lossy(),
        ])
        .map(drop)
    }

    pub(super) fn snapshot(from: &Path, to: &Path, read_only: bool) -> Result<(), VolumeError> {
        let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
        let mut args = vec!["subvolume", "snapshot"];
        if read_only {
            args.push("-r");
        }
        args.extend([&*from, &*to]);
        Self::run(&args).map(drop)
    }

    /// Limits what the subvolume may refer to.
    pub(super) fn limit(path: &Path, bytes: u64) -> Result<(), VolumeError> {
        let (bytes, path) = (bytes.to_string(), path.to_string_lossy());
        Self::run(&["qgroup", "limit", &bytes, &path]).map(drop)
    }

    /// The number of a subvolume, which its quota group has too.
    pub(super) fn id(path: &Path) -> Result<u64, VolumeError> {
        let answer = Self::run(&["inspect-internal", "rootid", &path.to_string_lossy()])?;
        answer
            .stdout
            .trim()
            .parse()
            .map_err(|_| answer.unexpected("no number"))
    }

    /// Reads three small files of the kernel, whatever the volume holds.
    pub(super) fn usage(&self, id: u64) -> Option<Usage> {
        let group = self.sys.join(format!("qgroups/0_{id}"));
        let limit = number(&group.join("max_referenced"));
        // BTRFS_QGROUP_LIMIT_MAX_RFER (linux/btrfs.h).
        let limited = number(&group.join("limit_flags")).is_some_and(|flags| flags & 1 != 0);
        Some(Usage {
            referenced: number(&group.join("referenced"))?,
            exclusive: number(&group.join("exclusive"))?,
            limit: limit.filter(|_| limited),
        })
    }

    /// Whether the counts of the quota groups can be trusted.
    pub(super) fn quotas_are_consistent(&self) -> bool {
        number(&self.sys.join("qgroups/inconsistent")) != Some(1)
    }

    /// Counts anew, in the background.
    pub(super) fn rescan(root: &Path) -> Result<(), VolumeError> {
        Self::run(&["quota", "rescan", &root.to_string_lossy()]).map(drop)
    }

    /// Space of metadata, by the kernel's own count.
    pub(super) fn metadata(&self) -> Option<Allocation> {
        let dir = self.sys.join("allocation/metadata");
        Some(Allocation {
            used: number(&dir.join("bytes_used"))?,
            total: number(&dir.join("total_bytes"))?,
        })
    }

    /// Bytes on the devices that hold something: what a scrub reads.
    pub(super) fn stored(&self) -> Option<u64> {
        let of = |kind: &str| {
            let dir = self.sys.join(format!("allocation/{kind}"));
            let (used, total) = (
                number(&dir.join("bytes_used"))?,
                number(&dir.join("total_bytes"))?,
            );
            let copies = number(&dir.join("disk_total"))? / total.max(1);
            Some(used * copies.max(1))
        };
        Some(of("data")? + of("metadata")? + of("system")?)
    }

    /// Bytes of the devices that are given to nothing yet.
    pub(super) fn unallocated(&self) -> Option<u64> {
        let sectors: u64 = std::fs::read_dir(self.sys.join("devices"))
            .ok()?
            .filter_map(|entry| number(&entry.ok()?.path().join("size")))
            .sum();
        let given: u64 = ["data", "metadata", "system"]
            .iter()
            .filter_map(|kind| number(&self.sys.join(format!("allocation/{kind}/disk_total"))))
            .sum();
        // The kernel counts devices in sectors of 512 bytes.
        Some((sectors * 512).saturating_sub(given))
    }
}

mod ioctl {
    #![allow(unsafe_code, missing_docs)]
    // `BTRFS_IOC_SUBVOL_GETFLAGS` (linux/btrfs.h).
    nix::ioctl_read!(subvol_getflags, 0x94, 25, u64);
}

/// `BTRFS_SUBVOL_RDONLY` (linux/btrfs.h).
const READ_ONLY: u64 = 1 << 1;

/// Whether `path` is a read-only subvolume.
pub(super) fn is_read_only(path: &Path) -> bool {
    use std::os::fd::AsRawFd;
    let Ok(dir) = std::fs::File::open(path) else {
        return false;
    };
    let mut flags = 0_u64;
    // SAFETY: the kernel writes one u64 into `flags`, and `dir` is open for the whole call.
    #[allow(unsafe_code)]
    let told = unsafe { ioctl::subvol_getflags(dir.as_raw_fd(), &raw mut flags) };
    told.is_ok() && is_subvolume(path) && flags & READ_ONLY != 0
}

/// Whether `path` is the root of a subvolume of btrfs.
pub(super) fn is_subvolume(path: &Path) -> bool {
    let magic = statfs(path).map(|stat| stat.filesystem_type());
    magic.is_ok_and(|magic| magic == BTRFS_SUPER_MAGIC)
        && std::fs::symlink_metadata(path).is_ok_and(|meta| meta.ino() == SUBVOLUME_INODE)
}

/// The identity of the file system at `root`: that whose directory in sysfs has the mount's device.
pub(super) fn uuid_of(root: &Path) -> Option<String> {
    let mounts = mounts::all();
    let device = mounts::topmost(&mounts, root)?.mount_source.as_ref()?;
    let device = std::fs::canonicalize(device).ok()?;
    let name = device.file_name()?;
    std::fs::read_dir("/sys/fs/btrfs")
        .ok()?
        .filter_map(Result::ok)
        .find(|entry| entry.path().join("devices").join(name).exists())
        .and_then(|entry| entry.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_no_pool_is_told_as_what_it_is() {
        // Shared memory is a tmpfs everywhere.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let reason = Btrfs::at(dir.path()).unwrap_err();
        assert_eq!(reason, "another file system");
        assert!(!is_subvolume(dir.path()));
        let reason = Btrfs::at(&dir.path().join("none")).unwrap_err();
        assert!(reason.contains("not readable"), "{reason}");
    }
}

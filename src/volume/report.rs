//! What became of the data pool at this boot, and whether it is still there.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::mounts;
use crate::fsx::{self, FsError};
use crate::paths::Paths;

/// A report is small.
const MAX_BYTES: u64 = 64 * 1024;

/// Something wrong, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl Fault {
    /// A fault.
    pub fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

/// The mounted device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounted {
    /// Its node.
    pub device: PathBuf,
    /// The pool on it.
    pub uuid: String,
    /// The kernel's number of this attachment; another one when the disk was gone in between
    /// (kernel doc, ABI/stable/sysfs-block, diskseq). Absent where the kernel has none.
    pub diskseq: Option<String>,
}

/// What `lucid volume prepare` leaves under `run/lucid`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// The pool in use; absent when there is none.
    pub mounted: Option<Mounted>,
    /// Why there is none; or, with a pool, what else a person should know.
    pub faults: Vec<Fault>,
}

impl Storage {
    /// The report of this boot; absent on a machine whose data directory is no pool.
    ///
    /// # Errors
    /// [`FsError`] for a report that is there and cannot be read.
    pub fn read(paths: &Paths) -> Result<Option<Self>, FsError> {
        fsx::read_json(&paths.storage_report(), MAX_BYTES)
    }

    pub(super) fn write(&self, paths: &Paths) -> Result<(), FsError> {
        fsx::create_dir(&paths.run(), 0o755)?;
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        fsx::write_volatile(&paths.storage_report(), &text, 0o644)
    }
}

/// Number of an attachment of the disk that `device` is or lies on.
pub(super) fn diskseq(sys: &Path, device: &Path) -> Option<String> {
    let link = sys.join("class/block").join(device.file_name()?);
    let dir = std::fs::canonicalize(link).ok()?;
    [dir.as_path(), dir.parent()?]
        .into_iter()
        .find_map(|dir| fsx::read_value(&dir.join("diskseq")).ok())
}

/// Whether the data pool is there: asked before an engine starts, and while it runs.
#[derive(Debug, Clone)]
pub struct Guard {
    paths: Paths,
    proc_mounts: PathBuf,
    sys: PathBuf,
}

impl Guard {
    /// A guard of the data directory of `paths`.
    pub fn new(paths: &Paths) -> Self {
        Self {
            paths: paths.clone(),
            proc_mounts: "/proc/self/mountinfo".into(),
            sys: "/sys".into(),
        }
    }

    /// Reads two small files of the kernel; touches no disk, so that a dead one cannot hold it up.
    ///
    /// # Errors
    /// The fault that keeps engines from starting. Always well where no pool is managed.
    pub fn check(&self) -> Result<(), Fault> {
        let storage = Storage::read(&self.paths).map_err(|error| {
            Fault::new(
                error.to_string(),
                "restart lucid-data.service: `systemctl restart lucid-data lucid`",
            )
        })?;
        let Some(storage) = storage else {
            return Ok(());
        };
        let Some(mounted) = storage.mounted else {
            return Err(storage.faults.into_iter().next().unwrap_or_else(|| {
                Fault::new(
                    "there is no data pool",
                    "see `journalctl -u lucid-data` and restart the board",
                )
            }));
        };
        let device = mounted.device.display();
        if diskseq(&self.sys, &mounted.device) != mounted.diskseq {
            return Err(Fault::new(
                format!("the data disk {device} is gone"),
                "attach it again: it goes back into service by itself; nothing is written elsewhere meanwhile",
            ));
        }
        let mounts = mounts::read(&self.proc_mounts);
        match mounts::topmost(&mounts, &self.paths.data()) {
            Some(mount) if !mount.super_options.contains_key("ro") => Ok(()),
            Some(_) => Err(Fault::new(
                format!("the data pool on {device} went read-only after errors"),
                "look for I/O errors: journalctl -k; check cable and power of the disk, then \
                 restart the board",
            )),
            None => Err(Fault::new(
                format!(
                    "the data pool is not mounted at {}",
                    self.paths.data().display()
                ),
                "mount it: systemctl restart lucid-data",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(dir: &Path) -> Guard {
        std::fs::create_dir_all(dir.join("sys/class/block/sda")).unwrap();
        write(dir, "sys/class/block/sda/diskseq", "9\n");
        let line = format!(
            "30 1 0:28 / {}/data rw,noatime - btrfs /dev/sda rw,ssd\n",
            dir.display()
        );
        write(dir, "mountinfo", &line);
        Guard {
            paths: Paths::new(dir),
            proc_mounts: dir.join("mountinfo"),
            sys: dir.join("sys"),
        }
    }

    fn write(dir: &Path, name: &str, text: &str) {
        fsx::write_volatile(&dir.join(name), text.as_bytes(), 0o644).unwrap();
    }

    fn report(dir: &Path, mounted: bool) {
        let storage = Storage {
            mounted: mounted.then(|| Mounted {
                device: "/dev/sda".into(),
                uuid: "A".to_owned(),
                diskseq: Some("9".to_owned()),
            }),
            faults: vec![Fault::new("the disk is blank", "name it twice")],
        };
        storage.write(&Paths::new(dir)).unwrap();
    }

    #[test]
    fn without_a_managed_pool_nothing_is_demanded() {
        let dir = tempfile::tempdir().unwrap();
        guard(dir.path()).check().unwrap();
    }

    #[test]
    fn a_pool_that_was_not_mounted_keeps_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let guard = guard(dir.path());
        report(dir.path(), false);
        assert_eq!(guard.check().unwrap_err().message, "the disk is blank");
    }

    #[test]
    fn a_disk_that_vanished_or_was_attached_anew_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let guard = guard(dir.path());
        report(dir.path(), true);
        guard.check().unwrap();
        write(dir.path(), "sys/class/block/sda/diskseq", "10\n");
        assert!(guard.check().unwrap_err().message.contains("is gone"));
        std::fs::remove_dir_all(dir.path().join("sys/class/block/sda")).unwrap();
        assert!(guard.check().unwrap_err().message.contains("is gone"));
    }

    #[test]
    fn a_pool_that_went_read_only_or_was_unmounted_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let guard = guard(dir.path());
        report(dir.path(), true);
        let at = dir.path().display();
        write(
            dir.path(),
            "mountinfo",
            &format!("30 1 0:28 / {at}/data rw - btrfs /dev/sda ro,ssd\n"),
        );
        assert!(guard.check().unwrap_err().message.contains("read-only"));
        write(
            dir.path(),
            "mountinfo",
            "1 0 0:1 / / rw - ext4 /dev/vda rw\n",
        );
        assert!(guard.check().unwrap_err().message.contains("not mounted"));
    }

    #[test]
    fn a_damaged_report_is_no_permission() {
        let dir = tempfile::tempdir().unwrap();
        let guard = guard(dir.path());
        report(dir.path(), true);
        write(dir.path(), "run/lucid/storage.json", "{");
        assert!(guard.check().unwrap_err().message.contains("storage.json"));
    }
}

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
        Self::read_file(&paths.storage_report())
    }

    fn read_file(file: &Path) -> Result<Option<Self>, FsError> {
        fsx::read_json(file, MAX_BYTES)
    }

    pub(super) fn write(&self, file: &Path) -> Result<(), FsError> {
        fsx::create_dir(file.parent().unwrap_or(Path::new("/")), 0o755)?;
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        fsx::write_volatile(file, &text, 0o644)
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

/// Whether a pool is there: asked before an engine starts, and while it runs.
#[derive(Debug, Clone)]
pub struct Guard {
    /// What pool and disk are called in messages.
    what: String,
    disk: String,
    report: PathBuf,
    target: PathBuf,
    /// Whether there is no pool to demand where nothing was reported.
    optional: bool,
    remount: &'static str,
    proc_mounts: PathBuf,
    sys: PathBuf,
}

impl Guard {
    /// A guard of the data directory of `paths`.
    pub fn new(paths: &Paths) -> Self {
        Self {
            what: "the data pool".to_owned(),
            disk: "the data disk".to_owned(),
            report: paths.storage_report(),
            target: paths.data(),
            optional: true,
            remount: "systemctl restart lucid-data",
            proc_mounts: "/proc/self/mountinfo".into(),
            sys: "/sys".into(),
        }
    }

    /// A guard of the pool `name` beside it.
    pub fn of_pool(paths: &Paths, name: &str) -> Self {
        Self {
            what: format!("pool {name}"),
            disk: format!("the disk of pool {name},"),
            report: paths.pool_report(name),
            target: paths.pool(name),
            optional: false,
            remount: "lucid volume pool mount",
            ..Self::new(paths)
        }
    }

    /// A guard of the pool that holds the volume `name`: where it was moved to another one, a link
    /// stands in its place.
    pub fn of_volume(paths: &Paths, name: &str) -> Self {
        match pool_of_link(paths, name) {
            Some(pool) => Self::of_pool(paths, &pool),
            None => Self::new(paths),
        }
    }

    /// Whether what is mounted is an attachment that is no more.
    pub(super) fn is_gone(&self) -> bool {
        let mounted = Storage::read_file(&self.report).ok().flatten();
        let mounted = mounted.and_then(|storage| storage.mounted);
        mounted.is_some_and(|mounted| diskseq(&self.sys, &mounted.device) != mounted.diskseq)
    }

    /// Reads two small files of the kernel; touches no disk, so that a dead one cannot hold it up.
    ///
    /// # Errors
    /// The fault that keeps engines from starting. Always well where the data is no managed pool.
    pub fn check(&self) -> Result<(), Fault> {
        let Self {
            what,
            disk,
            remount,
            ..
        } = self;
        let mount = format!("mount it: {remount}");
        let storage = Storage::read_file(&self.report)
            .map_err(|error| Fault::new(error.to_string(), &mount))?;
        let Some(storage) = storage else {
            return if self.optional {
                Ok(())
            } else {
                Err(Fault::new(format!("{what} is not mounted"), &mount))
            };
        };
        let Some(mounted) = storage.mounted else {
            return Err(storage.faults.into_iter().next().unwrap_or_else(|| {
                Fault::new(
                    format!("{what} is not there"),
                    "see `journalctl -u lucid-data` and restart the board",
                )
            }));
        };
        let device = mounted.device.display();
        if diskseq(&self.sys, &mounted.device) != mounted.diskseq {
            return Err(Fault::new(
                format!("{disk} {device} is gone"),
                "attach it again: it goes back into service by itself; nothing is written elsewhere meanwhile",
            ));
        }
        let mounts = mounts::read(&self.proc_mounts);
        match mounts::topmost(&mounts, &self.target) {
            Some(mount) if !mount.super_options.contains_key("ro") => Ok(()),
            Some(_) => Err(Fault::new(
                format!("{what} on {device} went read-only after errors"),
                "look for I/O errors: journalctl -k; check cable and power of the disk, then \
                 restart the board",
            )),
            None => Err(Fault::new(
                format!("{what} is not mounted at {}", self.target.display()),
                mount,
            )),
        }
    }
}

/// The pool that the link in a volume's place leads to; absent where there is no such link.
fn pool_of_link(paths: &Paths, name: &str) -> Option<String> {
    let target = std::fs::read_link(paths.data().join(name)).ok()?;
    let pool = target.parent()?.file_name()?.to_str()?.to_owned();
    (target == paths.pool(&pool).join(name)).then_some(pool)
}

/// The directory of a volume itself, also where it lies on another pool.
pub fn directory_of(paths: &Paths, name: &str) -> PathBuf {
    let root = pool_of_link(paths, name).map_or_else(|| paths.data(), |pool| paths.pool(&pool));
    root.join(name)
}

/// Pools that are to be there at this boot beside the data pool, by their reports: asking touches
/// no disk.
pub fn pools_of_boot(paths: &Paths) -> Vec<String> {
    let entries = std::fs::read_dir(paths.pools());
    let mut names: Vec<_> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(name.strip_suffix(".json")?.to_owned())
        })
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
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
            proc_mounts: dir.join("mountinfo"),
            sys: dir.join("sys"),
            ..Guard::new(&Paths::new(dir))
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
        storage.write(&Paths::new(dir).storage_report()).unwrap();
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
    fn a_volume_that_was_moved_is_guarded_by_its_own_pool() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        std::fs::create_dir_all(paths.data().join("redis")).unwrap();
        std::os::unix::fs::symlink(
            paths.pool("ssd").join("mongodb"),
            paths.data().join("mongodb"),
        )
        .unwrap();
        Guard::of_volume(&paths, "redis").check().unwrap();
        let fault = Guard::of_volume(&paths, "mongodb").check().unwrap_err();
        assert_eq!(fault.message, "pool ssd is not mounted");
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

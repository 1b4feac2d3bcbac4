//! Mounting pools under `run/lucid-pools`, and giving them back.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use super::super::medium::Medium;
use super::super::report::{Fault, Guard, Mounted, Storage, diskseq};
use super::super::{VolumeError, btrfs, device, mounts, tool};
use super::registry::{self, Entry, Registry};
use crate::fsx::{self, FsError};
use crate::paths::Paths;

/// How long a disk may take to appear after the others.
const WAIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(30);

/// Mounts every pool that is not exported, and leaves a report of each. What cannot be mounted is
/// in its report, and keeps only its own volumes' datastores from starting. Blocks.
///
/// # Errors
/// [`FsError`] where the list of pools cannot be read or a report not be written.
pub fn mount_all(paths: &Paths) -> Result<(), FsError> {
    let began = Instant::now();
    for known in Registry::load(paths)?.pools {
        loop {
            // Whoever exports it meanwhile is waited for, and believed.
            let lock = registry::lock(&paths.run())?;
            let pools = Registry::load(paths)?.pools;
            let pool = pools.into_iter().find(|pool| pool.uuid == known.uuid);
            let Some(pool) = pool.filter(|pool| !pool.exported) else {
                break;
            };
            let (mounted, faults) = match mount(paths, &pool, None) {
                Ok(mounted) => (Some(mounted), Vec::new()),
                Err(Refusal::Missing(_)) if began.elapsed() < WAIT => {
                    drop(lock);
                    tool::pause(POLL);
                    continue;
                }
                Err(refusal) => (None, vec![refusal.fault(&pool)]),
            };
            Storage { mounted, faults }.write(&paths.pool_report(pool.name.as_str()))?;
            break;
        }
    }
    Ok(())
}

/// Whether the data pool and every other one that is not exported are there.
///
/// # Errors
/// The first fault.
pub fn check(paths: &Paths) -> Result<(), Fault> {
    Guard::new(paths).check()?;
    let registry = Registry::load(paths)
        .map_err(|error| Fault::new(error.to_string(), "restore the file from a snapshot"))?;
    let mut missed = registry.pools.iter().filter(|pool| !pool.exported);
    missed.try_for_each(|pool| Guard::of_pool(paths, pool.name.as_str()).check())
}

/// Why a pool is not mounted.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No device has it.
    Missing(String),
    /// Something else is mounted in its place.
    Taken(PathBuf),
    /// Several have: which one is meant?
    Twice(Vec<PathBuf>),
    /// A step failed.
    Failed(VolumeError),
}

impl From<VolumeError> for Refusal {
    fn from(error: VolumeError) -> Self {
        Self::Failed(error)
    }
}

impl From<FsError> for Refusal {
    fn from(error: FsError) -> Self {
        Self::Failed(error.into())
    }
}

impl Refusal {
    pub(super) fn fault(&self, pool: &Entry) -> Fault {
        let name = &pool.name;
        match self {
            Self::Missing(what) => Fault::new(
                format!("pool {name} is missing: {what}"),
                format!(
                    "attach its disk, then: lucid volume pool mount; when it will not come back: \
                     lucid volume pool export {name}"
                ),
            ),
            Self::Twice(devices) => {
                let devices: Vec<_> = devices.iter().map(|d| d.display().to_string()).collect();
                Fault::new(
                    format!(
                        "pool {name} is on {} devices at once: {}; one is a copy, and none is used",
                        devices.len(),
                        devices.join(", ")
                    ),
                    "detach the copy, or give it another identity with `btrfstune -u DEVICE`, then: \
                     lucid volume pool mount",
                )
            }
            Self::Taken(target) => Fault::new(
                format!(
                    "pool {name} is not mounted: something else is mounted at {}",
                    target.display()
                ),
                format!("umount {}, then: lucid volume pool mount", target.display()),
            ),
            Self::Failed(error) => Fault::new(
                format!("pool {name} cannot be mounted: {error}"),
                "see `journalctl -k`, then: lucid volume pool mount",
            ),
        }
    }
}

/// Mounts one pool; one that is mounted stays so. `known` is the device that has it, where that is
/// known: a look at all of them may miss one that just changed.
pub(super) fn mount(paths: &Paths, pool: &Entry, known: Option<&Path>) -> Result<Mounted, Refusal> {
    let name = pool.name.as_str();
    let target = paths.pool(name);
    if Guard::of_pool(paths, name).is_gone() {
        // What lies on the lost attachment cannot be written any more.
        let _ = umount2(&target, MntFlags::MNT_DETACH);
    }
    let mounted = |device: &Path| Mounted {
        diskseq: diskseq(Path::new("/sys"), device),
        device: device.to_path_buf(),
        uuid: pool.uuid.clone(),
    };
    let now = mounts::all();
    if let Some(source) =
        mounts::topmost(&now, &target).and_then(|mount| mount.mount_source.clone())
    {
        return match btrfs::uuid_of(&target) {
            Some(uuid) if uuid == pool.uuid => Ok(mounted(Path::new(&source))),
            _ => Err(Refusal::Taken(target)),
        };
    }
    if let Some(file) = &pool.file {
        attach(file)?;
    }
    let mut holders = device::holders(&pool.uuid)?;
    holders.extend(known.map(Path::to_path_buf));
    holders.sort();
    holders.dedup();
    let device = match holders.as_slice() {
        [] => {
            let what = pool.file.as_ref().map_or_else(
                || format!("no disk has the file system {}", pool.uuid),
                |file| format!("{} is not there, or holds something else", file.display()),
            );
            return Err(Refusal::Missing(what));
        }
        [one] => one.clone(),
        several => return Err(Refusal::Twice(several.to_vec())),
    };
    fsx::create_dir(&target, 0o755)?;
    mount_at(&device, &target)?;
    Ok(mounted(&device))
}

/// Has nothing written into the directory underneath a mount: what a program puts there while the
/// pool is away would vanish under it. Where the file system cannot, nothing is lost.
fn close(target: &Path, closed: bool) {
    let Ok(dir) = std::fs::File::open(target) else {
        return;
    };
    let empty = std::fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_none());
    if let Ok(mut flags) = ioctl_getflags(&dir)
        && (empty || !closed)
    {
        flags.set(IFlags::IMMUTABLE, closed);
        let _ = ioctl_setflags(&dir, flags);
    }
}

/// Mounts a device of btrfs as its medium wants it.
pub(in crate::volume) fn mount_at(device: &Path, target: &Path) -> Result<(), VolumeError> {
    use nix::mount::{MsFlags, mount};
    let options = Medium::of(Path::new("/sys"), device).options();
    close(target, true);
    let flags = MsFlags::MS_NOATIME | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some(device), target, Some("btrfs"), flags, Some(options)).map_err(|source| {
        VolumeError::Mount {
            device: device.to_path_buf(),
            target: target.to_path_buf(),
            source,
        }
    })
}

/// Gives a file a device, unless it has one.
pub(super) fn attach(file: &Path) -> Result<(), VolumeError> {
    let name = file.to_string_lossy();
    if !file.is_file() || loop_of(file)?.is_some() {
        return Ok(());
    }
    tool::run("losetup", &["--find", "--nooverlap", &name], None, LIMIT)?.success()?;
    Ok(())
}

/// The loop device of a file.
pub(super) fn loop_of(file: &Path) -> Result<Option<PathBuf>, VolumeError> {
    let name = file.to_string_lossy();
    let args = ["--noheadings", "--output", "NAME", "--associated", &name];
    let answer = tool::run("losetup", &args, None, LIMIT)?.success()?;
    let device = answer.stdout.lines().next().map(str::trim);
    Ok(device
        .filter(|device| !device.is_empty())
        .map(PathBuf::from))
}

/// Unmounts a pool and frees the device of its file.
pub(super) fn unmount(paths: &Paths, pool: &Entry) -> Result<(), VolumeError> {
    let target = paths.pool(pool.name.as_str());
    let now = mounts::all();
    if mounts::topmost(&now, &target).is_some() {
        umount2(&target, MntFlags::empty()).map_err(|source| VolumeError::Unmount {
            target: target.clone(),
            source,
        })?;
    }
    if let Some(device) = pool.file.as_deref().map(loop_of).transpose()?.flatten() {
        tool::run(
            "losetup",
            &["--detach", &device.to_string_lossy()],
            None,
            LIMIT,
        )?
        .success()?;
    }
    close(&target, false);
    let _ = std::fs::remove_dir(&target);
    let report = paths.pool_report(pool.name.as_str());
    let _ = std::fs::remove_file(report);
    Ok(())
}

/// Tells the disks of all mounted pools what is free, so that flash can use it. Answers a line a
/// pool. Blocks.
pub fn trim(paths: &Paths) -> Vec<Result<String, VolumeError>> {
    let now = mounts::all();
    let pools = Registry::load(paths).unwrap_or_default().pools;
    let targets = std::iter::once(paths.data())
        .chain(pools.iter().map(|pool| paths.pool(pool.name.as_str())))
        .filter(|target| mounts::topmost(&now, target).is_some());
    targets
        .map(|target| {
            let target = target.to_string_lossy();
            // A disk that knows no discard is no failure.
            let args = ["--verbose", "--quiet-unsupported", &target];
            let answer = tool::run("fstrim", &args, None, Duration::from_secs(900))?.success()?;
            let said = answer.stdout.trim();
            Ok(if said.is_empty() {
                format!("{target}: its disk knows no discard")
            } else {
                said.to_owned()
            })
        })
        .collect()
}

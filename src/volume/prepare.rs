//! `lucid volume prepare`: once a boot, before the supervisor. Every step may be cut off and is
//! taken up again by the next start.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;

use super::device::{self, Probe};
use super::plan::{self, Action, Inputs, LABEL, Named, Record};
use super::report::{Fault, Guard, Mounted, Storage, diskseq};
use super::{VolumeError, partition, pool, tool};
use crate::config::{Data, Role};
use crate::fsx::{self, FsError};
use crate::paths::Paths;

/// The data partition of the image.
const DATA_PARTITION: u32 = 6;
/// How long a disk that is named may take to appear: USB disks spin up after the kernel's start.
const DISK_WAIT: Duration = Duration::from_secs(30);
/// The card is there, since the root is on it; only its link may be late.
const CARD_WAIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
const BTRFS_LIMIT: Duration = Duration::from_secs(60);
/// A file system that is smaller than its device by less than this fills it.
const SLACK: u64 = 16 * 1024 * 1024;
/// Subvolume of the appliance's own files.
const SYSTEM: &str = "system";

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// The pool is mounted; the report may hold notes.
    Mounted(Storage),
    /// Nothing was mounted and nothing was changed.
    Refused(Fault),
}

/// Finds, makes where that is safe, and mounts the data pool of the appliance under `paths`, and
/// leaves a report for the supervisor. Blocks. Doing it again changes nothing.
///
/// # Errors
/// [`VolumeError`] when a step failed; the report then holds it too.
pub fn prepare(paths: &Paths, data: &Data) -> Result<Outcome, VolumeError> {
    let result = attempt(paths, data);
    let storage = match &result {
        Ok(Outcome::Mounted(storage)) => storage.clone(),
        Ok(Outcome::Refused(fault)) => Storage {
            mounted: None,
            faults: vec![fault.clone()],
        },
        Err(error) => Storage {
            mounted: None,
            faults: vec![Fault::new(
                format!("the data pool is not there: {error}"),
                "see `journalctl -u lucid-data` and `journalctl -k`, then restart the board",
            )],
        },
    };
    storage.write(&paths.storage_report())?;
    result
}

fn attempt(paths: &Paths, data: &Data) -> Result<Outcome, VolumeError> {
    if let Ok(reason) = fsx::read_text(&paths.state_fault(), 4096) {
        // Which pool is ours, and that it holds data, stands in the state partition.
        return Ok(Outcome::Refused(Fault::new(
            format!("{}: it is not known which data is ours", reason.trim()),
            "restart the board; if that does not help, take the card out and run e2fsck on its \
             fifth partition, or write the image anew: data on a disk of its own is found again",
        )));
    }
    let mut notes = Vec::new();
    let card = card(paths, data.disk.is_empty(), &mut notes);
    let named = (!data.disk.is_empty()).then(|| named(data)).transpose()?;
    let action = plan::plan(Inputs {
        record: record(paths)?,
        named,
        card,
    });
    let (probe, uuid) = match action {
        Action::Refuse(fault) => return Ok(Outcome::Refused(fault)),
        Action::Mount { probe, uuid, note } => {
            notes.extend(note);
            (probe, uuid)
        }
        Action::Make { probe, erase } => {
            let uuid = make(paths, &probe, erase)?;
            (probe, uuid)
        }
    };
    if Guard::new(paths).is_gone() {
        // What lies on the lost attachment cannot be written any more.
        for target in [paths.journal(), paths.credentials(), paths.data()] {
            let _ = umount2(&target, MntFlags::MNT_DETACH);
        }
    }
    mount_pool(&probe, &paths.data())?;
    fill(&probe, &paths.data(), &mut notes);
    lay_out(paths)?;
    remember(paths, &uuid, true)?;
    // Each has a report of its own, and keeps only its own volumes from service.
    if let Err(error) = pool::mount_all(paths) {
        notes.push(Fault::new(
            format!("no other pool is mounted: {error}"),
            "move the file away and adopt the pools again: lucid volume pool adopt",
        ));
    }
    Ok(Outcome::Mounted(Storage {
        mounted: Some(Mounted {
            diskseq: diskseq(Path::new("/sys"), &probe.path),
            device: probe.path,
            uuid,
        }),
        faults: notes,
    }))
}

/// Waits until `path` exists.
fn appears(path: &Path, limit: Duration) -> bool {
    let began = Instant::now();
    while !path.exists() {
        if began.elapsed() >= limit {
            return false;
        }
        tool::pause(POLL);
    }
    true
}

/// The data partition of the boot medium, grown when the data is to lie there.
fn card(paths: &Paths, grow: bool, notes: &mut Vec<Fault>) -> Result<Probe, String> {
    // The sixth partition of any other machine is none of ours.
    let medium = fsx::read_text(&paths.image_mark(), 64)
        .map_err(|_| "this machine was not started from an image of Lucid".to_owned())?;
    let cmdline =
        fsx::read_text(Path::new("/proc/cmdline"), 64 * 1024).map_err(|error| error.to_string())?;
    let link = device::partition(&cmdline, medium.trim(), DATA_PARTITION)
        .ok_or("the kernel command line names another medium than this image's")?;
    if !appears(&link, CARD_WAIT) {
        return Err(format!("{} is not there", link.display()));
    }
    let path = std::fs::canonicalize(&link).map_err(|error| error.to_string())?;
    if grow && let Err(error) = partition::grow(&path) {
        notes.push(Fault::new(
            format!("the data partition could not be grown: {error}"),
            "the appliance runs with the space that is there; `journalctl -k` may tell more",
        ));
    }
    device::probe(&path).map_err(|error| error.to_string())
}

fn named(data: &Data) -> Result<Named, VolumeError> {
    let path = Path::new("/dev/disk/by-id").join(&data.disk);
    let found = appears(&path, DISK_WAIT).then(|| device::probe(&path));
    Ok(Named {
        name: data.disk.clone(),
        erase: data.erase == data.disk,
        found: found.transpose()?,
    })
}

fn record(paths: &Paths) -> Result<Option<Record>, VolumeError> {
    Ok(fsx::read_json(&paths.pool_record(), 4096)?)
}

/// Writes the record where it is not so already: an unchanged one costs no write.
fn remember(paths: &Paths, uuid: &str, complete: bool) -> Result<(), VolumeError> {
    let new = Record {
        uuid: uuid.to_owned(),
        complete,
    };
    if record(paths)?.as_ref() == Some(&new) {
        return Ok(());
    }
    let file = paths.pool_record();
    fsx::create_dir(file.parent().unwrap_or(Path::new("/")), 0o755)?;
    let text = serde_json::to_vec(&new).unwrap_or_default();
    Ok(fsx::write_atomic(&file, &text, 0o644)?)
}

/// Makes the file system. What is about to happen is written down first: after a power cut the
/// next start knows that there was no data yet.
fn make(paths: &Paths, probe: &Probe, erase: bool) -> Result<String, VolumeError> {
    let random = Path::new("/proc/sys/kernel/random/uuid");
    let uuid = fsx::read_text(random, 64)?.trim().to_owned();
    remember(paths, &uuid, false)?;
    let device = probe.path.to_string_lossy();
    if erase {
        tool::run("wipefs", &["--all", "--lock", &device], None, BTRFS_LIMIT)?.success()?;
    }
    pool::make_btrfs(&uuid, LABEL, &device)?;
    Ok(uuid)
}

fn is_mounted(target: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| std::fs::metadata(path).ok().map(|meta| meta.dev());
    target
        .parent()
        .is_some_and(|parent| device(parent) != device(target))
}

fn mount_pool(probe: &Probe, target: &Path) -> Result<(), VolumeError> {
    if is_mounted(target) {
        return Ok(());
    }
    pool::mount_at(&probe.path, target)
}

/// Lets the file system fill its device, which may have grown.
fn fill(probe: &Probe, target: &Path, notes: &mut Vec<Fault>) {
    let size = statvfs(target).map_or(probe.bytes, |stat| stat.blocks() * stat.fragment_size());
    if probe.bytes < size + SLACK {
        return;
    }
    let args = ["filesystem", "resize", "max", &target.to_string_lossy()];
    if let Err(error) = tool::run("btrfs", &args, None, BTRFS_LIMIT).and_then(tool::Answer::success)
    {
        notes.push(Fault::new(
            format!("the data pool does not fill its device: {error}"),
            "the appliance runs with the space that is there",
        ));
    }
}

/// Subvolumes of the datastores, and the directories of the appliance on the data disk.
fn lay_out(paths: &Paths) -> Result<(), VolumeError> {
    let data = paths.data();
    for name in Role::ALL.map(Role::volume).into_iter().chain([SYSTEM]) {
        let path = data.join(name);
        // The volume may lie on another pool, which is not mounted yet.
        if path.symlink_metadata().is_err() {
            let args = ["subvolume", "create", &path.to_string_lossy()];
            tool::run("btrfs", &args, None, BTRFS_LIMIT)?.success()?;
        }
    }
    let journal = paths.system().join("journal");
    fsx::create_dir(&journal, 0o755)?;
    if let Ok(Some(group)) = nix::unistd::Group::from_name("systemd-journal") {
        std::os::unix::fs::chown(&journal, None, Some(group.gid.as_raw()))
            .map_err(FsError::wrap("change the group of", &journal))?;
    }
    set_mode(&journal, 0o2755)?;
    bind(&journal, &paths.journal())?;
    // Passwords belong to the data: a disk that moves to another board stays readable there.
    let credentials = paths.system().join("credentials");
    fsx::create_dir(&credentials, 0o700)?;
    set_mode(&credentials, 0o700)?;
    bind(&credentials, &paths.credentials())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), FsError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(FsError::wrap("set the mode of", path))
}

fn bind(source: &PathBuf, target: &Path) -> Result<(), VolumeError> {
    fsx::create_dir(target, 0o755)?;
    if is_mounted(target) {
        return Ok(());
    }
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .map_err(|errno| VolumeError::Mount {
        device: source.clone(),
        target: target.to_path_buf(),
        source: errno,
    })
}

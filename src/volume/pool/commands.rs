//! What a person does with pools, as root and without a supervisor.

use std::cell::Cell;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::super::catalog::Catalog;
use super::super::device::{self, Content};
use super::super::error::OpError;
use super::super::look::{Space, space_of};
use super::super::medium::Medium;
use super::super::name::Name;
use super::super::report::{Guard, Storage};
use super::super::{VolumeError, mounts, plan, tool};
use super::registry::{Entry, Registry};
use super::{MAIN, mounting};
use crate::fsx::{self, FsError};
use crate::paths::Paths;
use crate::status::now_rfc3339;
use crate::units::human_bytes;

/// Making a file system.
const MAKE_LIMIT: Duration = Duration::from_secs(300);
const LIMIT: Duration = Duration::from_secs(60);

/// A pool and how it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Pool {
    /// Name; `data` is the one that holds the catalog.
    pub name: String,
    /// Its file system.
    pub uuid: Option<String>,
    /// The device that is mounted.
    pub device: Option<PathBuf>,
    /// What kind of medium that is.
    pub medium: Option<Medium>,
    /// Where it is mounted.
    pub path: PathBuf,
    /// `mounted`, `exported` or `missing`.
    pub state: &'static str,
    /// Why it is missing, and the way out.
    pub fault: Option<String>,
    /// Space, when it is mounted.
    #[serde(flatten)]
    pub space: Option<Space>,
    /// Volumes on it.
    pub volumes: Vec<String>,
}

/// All pools, the one of the data first.
///
/// # Errors
/// [`OpError::File`] where catalog or registry cannot be read.
pub fn list(paths: &Paths) -> Result<Vec<Pool>, OpError> {
    let catalog = Catalog::load(paths)?;
    let on = |pool: Option<&Name>| {
        let volumes = catalog.volumes.iter();
        let on = volumes.filter(|volume| volume.pool.as_ref() == pool);
        on.map(|volume| volume.name.to_string()).collect()
    };
    let now = mounts::all();
    let look = |name: &str, path: PathBuf, guard: &Guard, volumes| {
        let fault = guard.check().err();
        let mount = mounts::topmost(&now, &path).filter(|_| fault.is_none());
        let device = mount.and_then(|mount| mount.mount_source.as_ref().map(PathBuf::from));
        Pool {
            name: name.to_owned(),
            uuid: None,
            medium: device
                .as_deref()
                .map(|device| Medium::of(Path::new("/sys"), device)),
            device,
            state: if mount.is_some() {
                "mounted"
            } else {
                "missing"
            },
            fault: fault.map(|fault| format!("{}; {}", fault.message, fault.remedy)),
            space: mount.and_then(|_| space_of(&path).ok()),
            path,
            volumes,
        }
    };
    let mut main = look(MAIN, paths.data(), &Guard::new(paths), on(None));
    let storage = Storage::read(paths)?.and_then(|storage| storage.mounted);
    main.uuid = storage.map(|mounted| mounted.uuid);
    if main.fault.is_none() && main.state == "missing" {
        main.fault = Some("a directory of another file system".to_owned());
    }
    let mut all = vec![main];
    for entry in Registry::load(paths)?.pools {
        let name = entry.name.as_str();
        let guard = Guard::of_pool(paths, name);
        let mut pool = look(name, paths.pool(name), &guard, on(Some(&entry.name)));
        pool.uuid = Some(entry.uuid);
        if entry.exported {
            (pool.state, pool.fault) = ("exported", None);
        }
        all.push(pool);
    }
    Ok(all)
}

fn refuse<T>(why: String) -> Result<T, OpError> {
    Err(OpError::Refused(why))
}

/// A name that no other pool has.
fn free_name(registry: &Registry, name: &Name) -> Result<(), OpError> {
    if name.as_str() == MAIN {
        return refuse(
            "`data` is the pool that holds the appliance's own files; choose another name"
                .to_owned(),
        );
    }
    if registry.pools.iter().any(|pool| pool.name == *name) {
        return refuse(format!(
            "there is a pool {name} already: lucid volume pool list; choose another name"
        ));
    }
    Ok(())
}

/// Who uses a device, for people: mounted, swapped to, or part of something.
fn user_of(device: &Path) -> Option<String> {
    let name = device.file_name()?.to_str()?;
    let dir = std::fs::canonicalize(Path::new("/sys/class/block").join(name)).ok()?;
    let mut parts = vec![dir.clone()];
    for entry in std::fs::read_dir(&dir).ok()?.filter_map(Result::ok) {
        if entry.path().join("partition").exists() {
            parts.push(entry.path());
        }
    }
    let now = mounts::all();
    let swaps = fsx::read_text(Path::new("/proc/swaps"), 1 << 16).unwrap_or_default();
    parts.iter().find_map(|part| {
        let node = Path::new("/dev").join(part.file_name()?);
        let mounted = now.iter().find(|mount| {
            let source = mount.mount_source.as_deref().map(std::fs::canonicalize);
            source.is_some_and(|source| source.is_ok_and(|source| source == node))
        });
        if let Some(mount) = mounted {
            let at = mount.mount_point.display();
            return Some(format!("{} is mounted at {at}", node.display()));
        }
        if swaps
            .lines()
            .any(|line| line.split(' ').next() == node.to_str())
        {
            return Some(format!("{} is swap", node.display()));
        }
        let mut holders = std::fs::read_dir(part.join("holders")).ok()?;
        holders
            .next()
            .map(|_| format!("{} is part of another device", node.display()))
    })
}

/// What `lsblk` shows of a device: what would be lost.
fn shown(device: &Path) -> String {
    let device = device.to_string_lossy();
    let columns = "NAME,SIZE,FSTYPE,LABEL";
    let answer = tool::run("lsblk", &["--json", "-o", columns, &device], None, LIMIT);
    let json = answer
        .and_then(tool::Answer::success)
        .ok()
        .and_then(|answer| serde_json::from_str::<serde_json::Value>(&answer.stdout).ok());
    let mut told = Vec::new();
    let mut open: Vec<serde_json::Value> = json.map_or_else(Vec::new, |json| {
        json["blockdevices"].as_array().cloned().unwrap_or_default()
    });
    while let Some(entry) = open.pop() {
        let words =
            ["name", "size", "fstype", "label"].map(|key| entry[key].as_str().unwrap_or(""));
        told.push(words.join(" ").trim().to_owned());
        open.extend(
            entry["children"]
                .as_array()
                .into_iter()
                .flatten()
                .rev()
                .cloned(),
        );
    }
    told.join("; ")
}

/// What a pool is to be made on.
#[derive(Debug)]
enum Ground {
    Device(PathBuf),
    File(PathBuf),
}

fn ground(on: &Path) -> Result<Ground, OpError> {
    if on.starts_with("/dev") {
        let path = std::fs::canonicalize(on).map_err(FsError::wrap("find", on))?;
        let meta = std::fs::metadata(&path).map_err(FsError::wrap("read", &path))?;
        if !meta.file_type().is_block_device() {
            return refuse(format!("{} is no disk and no partition", on.display()));
        }
        if let Some(user) = user_of(&path) {
            return refuse(format!(
                "{} is in use: {user}; nothing of it is touched",
                on.display()
            ));
        }
        return Ok(Ground::Device(path));
    }
    if !on.is_absolute() {
        return refuse(format!("{} is no absolute path", on.display()));
    }
    let Ok(meta) = on.symlink_metadata() else {
        return Ok(Ground::File(on.to_path_buf()));
    };
    if !meta.is_file() {
        return refuse(format!("{} is no file", on.display()));
    }
    let path = std::fs::canonicalize(on).map_err(FsError::wrap("find", on))?;
    if let Some(device) = mounting::loop_of(&path)? {
        return refuse(format!(
            "{} is in use as {}; nothing of it is touched",
            on.display(),
            device.display()
        ));
    }
    Ok(Ground::File(path))
}

/// Makes a pool on a disk, a partition or a file, and mounts it. What holds anything is erased
/// only where `erase` repeats `on`.
///
/// # Errors
/// [`OpError`]; nothing was changed then, unless a program of the system failed on the way.
pub fn create(
    paths: &Paths,
    name: &Name,
    on: &Path,
    size: Option<u64>,
    erase: Option<&Path>,
) -> Result<Entry, OpError> {
    let mounted = Cell::new(None);
    let created = Registry::change(paths, |registry| {
        free_name(registry, name)?;
        let erase = erase == Some(on);
        let (node, file) = match ground(on)? {
            Ground::Device(_) if size.is_some() => {
                return refuse("a size is for files; a disk is taken as a whole".to_owned());
            }
            Ground::Device(path) => (path, None),
            Ground::File(path) => {
                if let Some(known) = registry
                    .pools
                    .iter()
                    .find(|p| p.file.as_deref() == Some(&path))
                {
                    return refuse(format!(
                        "{} holds pool {}: lucid volume pool remove {1}",
                        on.display(),
                        known.name
                    ));
                }
                make_file(&path, size, erase)?;
                (path.clone(), Some(path))
            }
        };
        let made = format(name, on, &node, file.is_some(), erase).and_then(|uuid| {
            let entry = Entry {
                name: name.clone(),
                uuid,
                file: file.clone(),
                created: now_rfc3339(),
                exported: false,
            };
            mount_new(paths, &entry, &node)?;
            mounted.set(Some(entry.clone()));
            Ok(entry)
        });
        if made.is_err()
            && let Some(file) = file.filter(|_| !erase)
        {
            // It was made here, and holds nothing.
            let _ = std::fs::remove_file(file);
        }
        let entry = made?;
        registry.pools.push(entry.clone());
        Ok(entry)
    });
    take_back(paths, created, mounted.take())
}

/// What was mounted and could not be noted down is unmounted again.
fn take_back(
    paths: &Paths,
    done: Result<Entry, OpError>,
    mounted: Option<Entry>,
) -> Result<Entry, OpError> {
    if done.is_err()
        && let Some(entry) = mounted
        && let Err(error) = mounting::unmount(paths, &entry)
    {
        tracing::error!("{error}");
    }
    done
}

fn too_small(on: &Path, bytes: u64) -> String {
    format!(
        "{} has {}, a pool needs {}",
        on.display(),
        human_bytes(bytes),
        human_bytes(plan::LEAST_BYTES)
    )
}

fn make_file(path: &Path, size: Option<u64>, erase: bool) -> Result<(), OpError> {
    let there = path.symlink_metadata().is_ok();
    if there && !erase {
        return refuse(format!(
            "{} is there already; nothing of it is touched: name another file, or allow that it is \
             erased: --erase {0}",
            path.display()
        ));
    }
    let Some(size) = size else {
        return refuse(format!(
            "a pool in a file needs a size: --size 20G for {}",
            path.display()
        ));
    };
    if size < plan::LEAST_BYTES {
        return refuse(too_small(path, size));
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    let space = space_of(dir)?;
    if size > space.free {
        return refuse(format!(
            "{} has {} free, a file of {} has no room",
            dir.display(),
            human_bytes(space.free),
            human_bytes(size)
        ));
    }
    let options = || {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        file.set_len(size)?;
        file.sync_all()
    };
    Ok(options().map_err(FsError::wrap("make", path))?)
}

/// Makes the file system; answers its identity.
fn format(
    name: &Name,
    on: &Path,
    node: &Path,
    is_file: bool,
    erase: bool,
) -> Result<String, OpError> {
    let probe = device::probe(node)?;
    if probe.content != Content::Nothing && !erase {
        let lost = if is_file {
            String::new()
        } else {
            format!(" ({})", shown(node))
        };
        return refuse(format!(
            "{} holds {}{lost}; it is left as it is. To erase all of it, repeat its name: --erase {0}",
            on.display(),
            probe.content
        ));
    }
    if probe.bytes < plan::LEAST_BYTES {
        return refuse(too_small(on, probe.bytes));
    }
    let device = node.to_string_lossy();
    if probe.content != Content::Nothing {
        tool::run("wipefs", &["--all", "--lock", &device], None, LIMIT)?.success()?;
    }
    let uuid = fsx::read_value(Path::new("/proc/sys/kernel/random/uuid"))?;
    make_btrfs(&uuid, &format!("lucid-{name}"), &device)?;
    Ok(uuid)
}

/// One copy of data, two of metadata: a single bad block of a tree would cost everything below it.
/// Discarding a whole disk first would take minutes. Without --force mkfs itself refuses a device
/// that holds something.
pub(in crate::volume) fn make_btrfs(
    uuid: &str,
    label: &str,
    device: &str,
) -> Result<(), VolumeError> {
    let args = [
        "--quiet",
        "--nodiscard",
        "--data",
        "single",
        "--metadata",
        "dup",
        "--uuid",
        uuid,
        "--label",
        label,
        device,
    ];
    tool::run("mkfs.btrfs", &args, None, MAKE_LIMIT)?.success()?;
    Ok(())
}

fn mount_new(paths: &Paths, entry: &Entry, node: &Path) -> Result<(), OpError> {
    let known = entry.file.is_none().then_some(node);
    let mounted = mounting::mount(paths, entry, known).map_err(|refusal| {
        let fault = refusal.fault(entry);
        OpError::Refused(format!("{}; {}", fault.message, fault.remedy))
    })?;
    let storage = Storage {
        mounted: Some(mounted),
        faults: Vec::new(),
    };
    Ok(storage.write(&paths.pool_report(entry.name.as_str()))?)
}

/// Takes a btrfs file system that is there, with everything on it; also one that was exported.
///
/// # Errors
/// [`OpError`]; nothing was changed then.
pub fn adopt(paths: &Paths, name: &Name, on: &Path) -> Result<Entry, OpError> {
    let mounted = Cell::new(None);
    let adopted = Registry::change(paths, |registry| {
        let (node, file) = match ground(on)? {
            Ground::Device(path) => (path, None),
            Ground::File(path) => (path.clone(), Some(path)),
        };
        let probe = device::probe(&node)?;
        let Content::Btrfs { uuid, .. } = probe.content else {
            return refuse(format!(
                "{} holds {}, no btrfs: `lucid volume pool create` makes a new pool",
                on.display(),
                probe.content
            ));
        };
        let main = Storage::read(paths)?.and_then(|storage| storage.mounted);
        if main.is_some_and(|main| main.uuid == uuid) {
            return refuse(format!("{} is a copy of the data pool", on.display()));
        }
        let known = registry.pools.iter().position(|pool| pool.uuid == uuid);
        let entry = if let Some(known) = known {
            let pool = &registry.pools[known];
            if pool.name != *name || !pool.exported {
                return refuse(format!(
                    "{} is pool {} already{}",
                    on.display(),
                    pool.name,
                    if pool.exported {
                        ": adopt it by this name"
                    } else {
                        ""
                    }
                ));
            }
            let entry = Entry {
                file,
                exported: false,
                ..pool.clone()
            };
            registry.pools[known] = entry.clone();
            entry
        } else {
            free_name(registry, name)?;
            let entry = Entry {
                name: name.clone(),
                uuid,
                file,
                created: now_rfc3339(),
                exported: false,
            };
            registry.pools.push(entry.clone());
            entry
        };
        mount_new(paths, &entry, &node)?;
        mounted.set(Some(entry.clone()));
        Ok(entry)
    });
    take_back(paths, adopted, mounted.take())
}

/// Lets a pool fill what it lies on; a file grows to `size` first. Answers its space.
///
/// # Errors
/// [`OpError`]; it is as it was then.
pub fn grow(paths: &Paths, name: &Name, size: Option<u64>) -> Result<Space, OpError> {
    let (target, file) = if name.as_str() == MAIN {
        (paths.data(), None)
    } else {
        let entry = Registry::load(paths)?.get(name)?.clone();
        (paths.pool(name.as_str()), entry.file)
    };
    if mounts::topmost(&mounts::all(), &target).is_none() {
        return refuse(format!(
            "pool {name} is not mounted: lucid volume pool mount"
        ));
    }
    match (&file, size) {
        (None, Some(_)) => {
            return refuse(format!(
                "pool {name} lies in no file: a size is nothing it can be given"
            ));
        }
        (Some(file), Some(size)) => {
            let now = std::fs::metadata(file)
                .map_err(FsError::wrap("read", file))?
                .len();
            if size < now {
                return refuse(format!(
                    "{} has {} already; a pool only grows",
                    file.display(),
                    human_bytes(now)
                ));
            }
            std::fs::OpenOptions::new()
                .write(true)
                .open(file)
                .and_then(|file| file.set_len(size))
                .map_err(FsError::wrap("grow", file))?;
            if let Some(device) = mounting::loop_of(file)? {
                let device = device.to_string_lossy();
                tool::run("losetup", &["--set-capacity", &device], None, LIMIT)?.success()?;
            }
        }
        (_, None) => {}
    }
    let args = ["filesystem", "resize", "max", &target.to_string_lossy()];
    tool::run("btrfs", &args, None, LIMIT)?.success()?;
    space_of(&target)
}

/// Volumes on a pool that something uses now.
fn in_use(paths: &Paths, name: &Name) -> Option<String> {
    super::super::users::of(&paths.pool(name.as_str()))
}

/// Unmounts a pool, so that its disk can be pulled; its volumes are away until it is adopted again.
///
/// # Errors
/// [`OpError`]; it stays in service then.
pub fn export(paths: &Paths, name: &Name) -> Result<(), OpError> {
    Registry::change(paths, |registry| {
        let entry = registry.get(name)?.clone();
        if let Some(user) = in_use(paths, name) {
            return refuse(format!(
                "pool {name} is in use by {user}; stop it first: lucid datastore stop NAME"
            ));
        }
        mounting::unmount(paths, &entry)?;
        for pool in &mut registry.pools {
            if pool.name == *name {
                pool.exported = true;
            }
        }
        Ok(())
    })
}

/// Forgets a pool, which keeps what it holds. `confirm` repeats its name.
///
/// # Errors
/// [`OpError`]; it stays then. One that holds volumes is not forgotten.
pub fn remove(paths: &Paths, name: &Name, confirm: Option<&str>) -> Result<(), OpError> {
    Registry::change(paths, |registry| {
        let entry = registry.get(name)?.clone();
        let catalog = Catalog::load(paths)?;
        let volumes: Vec<_> = catalog
            .volumes
            .iter()
            .filter(|volume| volume.pool.as_ref() == Some(name))
            .map(|volume| volume.name.to_string())
            .collect();
        if !volumes.is_empty() {
            return refuse(format!(
                "pool {name} holds the volumes {}; migrate or delete them first",
                volumes.join(", ")
            ));
        }
        if confirm != Some(name.as_str()) {
            return refuse(format!(
                "pool {name} would be unmounted and forgotten (what is on it stays there); repeat \
                 its name to confirm it: --confirm {name}"
            ));
        }
        mounting::unmount(paths, &entry)?;
        registry.pools.retain(|pool| pool.name != *name);
        Ok(())
    })
}

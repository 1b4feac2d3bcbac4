//! Making pools, and taking those that are there.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use super::super::device::{self, Content};
use super::super::error::OpError;
use super::super::name::Name;
use super::super::report::Storage;
use super::super::{VolumeError, plan, tool};
use super::ground::{Ground, ground, make_file, shown, too_small};
use super::registry::{Entry, Registry};
use super::{MAIN, mounting, refuse};
use crate::fsx;
use crate::paths::Paths;
use crate::status::now_rfc3339;

/// Making a file system.
const MAKE_LIMIT: Duration = Duration::from_secs(300);
const LIMIT: Duration = Duration::from_secs(60);

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

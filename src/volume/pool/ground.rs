//! What a pool may be made on: nothing that somebody uses, and nothing that holds anything unless
//! its name says so.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::error::OpError;
use super::super::look::space_of;
use super::super::{mounts, plan, tool};
use super::{mounting, refuse};
use crate::fsx::{self, FsError};
use crate::units::human_bytes;

const LIMIT: Duration = Duration::from_secs(60);

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
pub(super) fn shown(device: &Path) -> String {
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
pub(super) enum Ground {
    Device(PathBuf),
    File(PathBuf),
}

pub(super) fn ground(on: &Path) -> Result<Ground, OpError> {
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

pub(super) fn too_small(on: &Path, bytes: u64) -> String {
    format!(
        "{} has {}, a pool needs {}",
        on.display(),
        human_bytes(bytes),
        human_bytes(plan::LEAST_BYTES)
    )
}

pub(super) fn make_file(path: &Path, size: Option<u64>, erase: bool) -> Result<(), OpError> {
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

//! The data that a datastore holds: whether it is still there, and whether it has room.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::credentials;
use super::prepare::{Blocked, Plan};
use crate::config::{EngineKind, Role};
use crate::engine::Context;
use crate::fsx;
use crate::paths::Paths;
use crate::units::{ByteSize, MIB, human_bytes};
use crate::volume::room;

/// Free space that an engine needs to start and to recover: its log files and a checkpoint.
const fn least_free(engine: EngineKind) -> u64 {
    match engine {
        EngineKind::Secantus | EngineKind::Mongod => 48 * MIB,
        EngineKind::Redis | EngineKind::Valkey => 8 * MIB,
        // Its log and one buffer are at most as large.
        EngineKind::SearchNode => 128 * MIB,
        EngineKind::Elasticsearch => 256 * MIB,
    }
}

/// A datastore that has held data must find it again: an empty directory under a volume that is
/// not mounted would take writes that vanish when the volume comes back.
pub(super) fn kept(plan: &Plan, role: Role, data_dir: &Path) -> Result<(), Blocked> {
    let marker = plan.paths.has_data(role.name());
    if !marker.exists() {
        return Ok(());
    }
    let begin_anew = format!("to begin with an empty store, remove {}", marker.display());
    if is_empty(data_dir) {
        return Err(Blocked::new(
            format!("{} is empty, but {role} has held data", data_dir.display()),
            format!("mount its volume, then it starts by itself; {begin_anew}"),
        ));
    }
    let credentials = credentials::file(&plan.paths, role);
    if !credentials.exists() {
        return Err(Blocked::new(
            format!(
                "{} is missing, but {role} has held data",
                credentials.display()
            ),
            format!(
                "restore the file, the store knows only its passwords; {begin_anew} and its volume's content"
            ),
        ));
    }
    Ok(())
}

/// Whether `dir` is missing or holds nothing but what a file system makes itself.
fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).map_or(true, |entries| {
        entries
            .flatten()
            .all(|entry| entry.file_name() == "lost+found")
    })
}

/// Whether the data of a datastore that has held some is gone: its volume was unmounted.
pub(super) fn lost_volume(paths: &Paths, context: &Context) -> bool {
    paths.has_data(context.role.name()).exists() && is_empty(&context.data_dir)
}

/// Remembers that a datastore holds data.
pub(super) fn mark(marker: &Path) -> Result<(), fsx::FsError> {
    if let Some(parent) = marker.parent() {
        fsx::create_dir(parent, 0o755)?;
    }
    fsx::write_atomic(marker, b"", 0o644)
}

/// That an engine has the room that it needs to start.
pub(super) fn space(context: &Context) -> Result<(), Blocked> {
    let dir = &context.data_dir;
    let stat = statvfs(dir).map_err(|errno| {
        Blocked::file(&fsx::FsError {
            action: "look at the space of",
            path: dir.clone(),
            source: errno.into(),
        })
    })?;
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    let least = least_free(context.config.common(context.role).engine);
    if free < least {
        return Err(Blocked::new(
            format!(
                "disk full: {} has {} free, {} needs {} to start and recover",
                dir.display(),
                human_bytes(free),
                context.role,
                human_bytes(least)
            ),
            "free space or enlarge the file system; the datastore then starts by itself",
        ));
    }
    let room = room(dir, &context.config.volume);
    if let Some(room) = room.filter(|room| room.left < least) {
        let volume = context.role.volume();
        let remedy = match room.larger {
            Some(larger) => format!(
                "enlarge it: lucid volume resize {volume} {}; the datastore then starts by itself",
                ByteSize(larger)
            ),
            None => {
                "its quota is as large as the pool and volume.max_quota allow: move the data to \
                     a larger disk, or raise volume.max_quota"
                    .to_owned()
            }
        };
        return Err(Blocked::new(
            format!(
                "volume {volume} is full: {} are left of its quota of {}, {} needs {} to start and \
                 recover",
                human_bytes(room.left),
                human_bytes(room.quota),
                context.role,
                human_bytes(least)
            ),
            remedy,
        ));
    }
    Ok(())
}

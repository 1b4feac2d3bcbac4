//! Which user an engine runs as, and what belongs to that user.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{Gid, Uid, User, fchownat};

use super::prepare::Blocked;
use super::process::RunAs;
use crate::config::{EngineKind, Role};
use crate::engine::Context;
use crate::fsx;

/// The engine's own user when the supervisor is root; an ordinary user's engines run as it.
pub(super) fn run_as(role: Role) -> Result<Option<RunAs>, Blocked> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    match User::from_name(role.user()) {
        Ok(Some(user)) => Ok(Some(RunAs {
            uid: user.uid,
            gid: user.gid,
        })),
        _ => Err(Blocked::new(
            format!(
                "there is no user {}, which the engine of {role} runs as",
                role.user()
            ),
            "make it with `systemd-sysusers systemd/lucid.sysusers`, or run lucid as an ordinary user",
        )),
    }
}

pub(super) fn mode_of(path: &Path) -> Option<u32> {
    std::fs::metadata(path)
        .ok()
        .map(|meta| meta.permissions().mode() & 0o7777)
}

/// Gives a path, and never what a link points to: the engine's user may have put one there.
pub(super) fn give(path: &Path, owner: Option<Uid>, group: Option<Gid>) -> Result<(), Blocked> {
    let wanted = |meta: &std::fs::Metadata| {
        owner.is_none_or(|uid| meta.uid() == uid.as_raw())
            && group.is_none_or(|gid| meta.gid() == gid.as_raw())
    };
    if std::fs::symlink_metadata(path).is_ok_and(|meta| wanted(&meta)) {
        return Ok(());
    }
    fchownat(AT_FDCWD, path, owner, group, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|errno| {
        Blocked::file(&fsx::FsError {
            action: "change the owner of",
            path: path.to_path_buf(),
            source: errno.into(),
        })
    })
}

/// Makes the volume's directory, which belongs to the engine, and that of the rendered files,
/// which belongs to the supervisor and is only readable for the engine.
pub(super) fn directories(context: &Context, run_as: Option<RunAs>) -> Result<(), Blocked> {
    let engine = context.config.common(context.role).engine;
    for dir in [&context.data_dir, &context.conf_dir] {
        fsx::create_dir(dir, 0o755).map_err(|error| Blocked::file(&error))?;
        if let Some(RunAs { uid, gid }) = run_as {
            // Elasticsearch makes its key store beside its configuration.
            let engines_own = dir == &context.data_dir || engine == EngineKind::Elasticsearch;
            let owner = if engines_own { uid } else { Uid::effective() };
            let meta = std::fs::symlink_metadata(dir).map_err(fsx::FsError::wrap("read", dir));
            let meta = meta.map_err(|error| Blocked::file(&error))?;
            if engines_own && meta.uid() != uid.as_raw() {
                // Data of an earlier run under another user goes to the new one as a whole.
                give_tree(dir, uid, gid, 0)?;
            }
            give(dir, Some(owner), Some(gid))?;
        }
        if mode_of(dir) != Some(0o750) {
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o750))
                .map_err(fsx::FsError::wrap("set the mode of", dir))
                .map_err(|error| Blocked::file(&error))?;
        }
    }
    match run_as.and_then(|run_as| closed_parent(&context.conf_dir, run_as)) {
        Some(closed) => Err(Blocked::new(
            format!(
                "user {} cannot enter {}",
                context.role.user(),
                closed.display()
            ),
            format!(
                "run `chmod o+x {}`, or put the appliance elsewhere with --root",
                closed.display()
            ),
        )),
        None => Ok(()),
    }
}

/// Engines keep flat trees; the bound only guards against a loop of mounts.
const MAX_DEPTH: u32 = 32;

fn give_tree(path: &Path, uid: Uid, gid: Gid, depth: u32) -> Result<(), Blocked> {
    give(path, Some(uid), Some(gid))?;
    let is_dir = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    if is_dir && depth < MAX_DEPTH {
        let entries = std::fs::read_dir(path)
            .map_err(fsx::FsError::wrap("list", path))
            .map_err(|error| Blocked::file(&error))?;
        for entry in entries.flatten() {
            give_tree(&entry.path(), uid, gid, depth + 1)?;
        }
    }
    Ok(())
}

/// The first parent that `run_as` may not pass through.
pub(super) fn closed_parent(path: &Path, run_as: RunAs) -> Option<PathBuf> {
    let parents: Vec<_> = path
        .ancestors()
        .skip(1)
        .filter(|p| !p.as_os_str().is_empty())
        .collect();
    parents
        .into_iter()
        .rev()
        .find(|parent| {
            std::fs::metadata(parent).is_ok_and(|meta| {
                let bit = if meta.uid() == run_as.uid.as_raw() {
                    0o100
                } else if meta.gid() == run_as.gid.as_raw() {
                    0o010
                } else {
                    0o001
                };
                meta.mode() & bit == 0
            })
        })
        .map(Path::to_path_buf)
}

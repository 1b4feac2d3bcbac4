//! What goes into a backup: the datastores that serve, snapshots of volumes, and the system's files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::super::handle::CommandError;
use super::super::prepare::{self, Plan, Purpose};
use super::super::process::RunAs;
use crate::backup::request::{Files, Store};
use crate::config::Role;
use crate::fsx::{self, FsError};
use crate::paths::Paths;
use crate::status::Status;
use crate::volume::{Kind, Manager, Name, OpError, Origin};

/// What a scratch engine may cache at most, in bytes: a drill goes on beside everything else.
const SCRATCH_CACHE: u64 = 64 << 20;
/// Files of the system are small ones.
const MAX_FILE: u64 = 4 << 20;

/// The datastore of `role`, as it is configured.
pub(super) fn store(plan: &Plan, role: Role) -> Result<Store, CommandError> {
    let prepared = prepare::prepare(plan, role, Purpose::Describe).map_err(|blocked| {
        CommandError::Refused(format!("{role}: {}; {}", blocked.reason, blocked.remedy))
    })?;
    let context = prepared.context;
    let (ip, port) = context.local_addr();
    Ok(Store {
        role,
        engine: prepared.engine.kind(),
        version: context.detected.version.clone(),
        program: context.detected.binary.clone(),
        address: SocketAddr::new(ip, port),
        volume: context.data_dir.clone(),
        run_as: prepared
            .run_as
            .map(|RunAs { uid, gid }| (uid.as_raw(), gid.as_raw())),
        // A cache that is too small for its keys is none.
        memory: crate::config::EngineMemory {
            cache: if role == Role::Cache {
                context.memory.cache
            } else {
                context.memory.cache.min(SCRATCH_CACHE)
            },
            ..context.memory
        },
        cpus: context.cpus,
        config: context.config,
        credentials: context.credentials,
    })
}

/// Every enabled datastore. All of them must serve: half a backup is none.
pub(super) fn stores(plan: &Plan, status: &Status) -> Result<Vec<Store>, CommandError> {
    let mut found = Vec::new();
    for common in plan.config.enabled() {
        let role = common.role;
        let serves = status
            .datastores
            .iter()
            .any(|one| one.name == role.name() && one.state.serves());
        if !serves {
            return Err(CommandError::Refused(format!(
                "datastore {role} does not serve, so that nothing can be read from it; `lucid \
                 status` shows why. Backups go on when it is ready"
            )));
        }
        found.push(store(plan, role)?);
    }
    Ok(found)
}

/// Snapshots of the volumes, which are removed when this is dropped.
pub(super) struct Volumes {
    manager: Manager,
    taken: Vec<(Name, String)>,
    pub(super) files: Vec<Files>,
}

impl Drop for Volumes {
    fn drop(&mut self) {
        for (name, id) in &self.taken {
            if let Err(error) = self.manager.delete_snapshot(name, id) {
                tracing::warn!("{error}; remove snapshot {id} of volume {name}");
            }
        }
    }
}

/// Takes a snapshot of every volume that no datastore has and no backups lie in. A plain directory
/// is read as it is.
pub(super) fn volumes(manager: &Manager) -> Result<Volumes, OpError> {
    manager.remove_backup_snapshots();
    let mut found = Volumes {
        manager: manager.clone(),
        taken: Vec::new(),
        files: Vec::new(),
    };
    for info in manager.list() {
        let entry = &info.entry;
        if entry.kind == Kind::Backups || entry.name.owner().is_some() {
            continue;
        }
        let path = match manager.snapshot(&entry.name, Origin::Backup) {
            Ok(snapshot) => {
                let path = manager.snapshot_path(&entry.name, &snapshot.id);
                found.taken.push((entry.name.clone(), snapshot.id));
                path
            }
            Err(OpError::Unsupported { .. }) => info.path.clone(),
            Err(error) => return Err(error),
        };
        found.files.push(Files {
            part: format!("volume:{}", entry.name),
            path,
            volume: Some(entry.kind.name().to_owned()),
            quota: entry.quota,
        });
    }
    Ok(found)
}

/// Files of the system, copied to where they stay as they are; removed when this is dropped.
pub(super) struct System {
    dir: PathBuf,
}

impl Drop for System {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!("{}: {error}", self.dir.display());
        }
    }
}

impl System {
    /// Copies configuration, credentials and catalogs.
    pub(super) fn gather(paths: &Paths) -> Result<Self, FsError> {
        let dir = paths.run().join("backup-system");
        let _ = std::fs::remove_dir_all(&dir);
        fsx::create_dir(&dir, 0o700)?;
        let system = Self { dir };
        copy(&paths.etc(), &system.dir.join("etc"), &|name| {
            name != "credentials"
        })?;
        copy(
            &paths.credentials(),
            &system.dir.join("credentials"),
            &|_| true,
        )?;
        // Journal and history are not what an appliance is made of.
        copy(&paths.system(), &system.dir.join("data"), &|name| {
            Path::new(name).extension().is_some_and(|end| end == "json")
        })?;
        Ok(system)
    }

    pub(super) fn files(&self) -> Files {
        Files {
            part: "system".to_owned(),
            path: self.dir.clone(),
            volume: None,
            quota: None,
        }
    }
}

/// Files of a directory and of those below it. One that is too long is none of the configuration: it
/// is told, not passed over.
fn copy(from: &Path, to: &Path, takes: &dyn Fn(&str) -> bool) -> Result<(), FsError> {
    fsx::create_dir(to, 0o700)?;
    let entries = match std::fs::read_dir(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(FsError::wrap("read", from))?,
    };
    for entry in entries {
        let entry = entry.map_err(FsError::wrap("read", from))?;
        let path = entry.path();
        let name = entry.file_name();
        if !takes(&name.to_string_lossy()) {
            continue;
        }
        // What a link leads to is what the configuration means.
        let meta = match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            meta => meta.map_err(FsError::wrap("look at", &path))?,
        };
        let target = to.join(&name);
        if meta.is_dir() {
            copy(&path, &target, takes)?;
        } else if meta.len() > MAX_FILE {
            let cause = std::io::Error::other("it is too long for a file of the system");
            return Err(FsError::wrap("back up", &path)(cause));
        } else if meta.is_file() {
            std::fs::copy(&path, &target).map_err(FsError::wrap("copy", &path))?;
        }
    }
    Ok(())
}

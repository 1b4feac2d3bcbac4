//! Everything that must hold before an engine may start, and everything made for its start.
//!
//! Blocks on files and on asking the program for its version; runs off the runtime.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statvfs::statvfs;
use nix::unistd::{Gid, Uid, User, fchownat};
use sha2::{Digest, Sha256};

use super::credentials::{self, CredentialError};
use super::limits::Limits;
use super::ports;
use super::process::RunAs;
use crate::board::Board;
use crate::config::{Config, EngineKind, EngineMemory, MemoryPlan, Role};
use crate::engine::{self, CommandSpec, Context, Credentials, Detected, Engine, Version};
use crate::fsx;
use crate::paths::Paths;
use crate::units::{ByteSize, MIB, human_bytes};
use crate::volume::{Guard, room};

/// One valid configuration with all that follows from it; shared by all datastores.
#[derive(Debug)]
pub struct Plan {
    /// Layout.
    pub paths: Paths,
    /// Configuration.
    pub config: Config,
    /// The machine.
    pub board: Board,
    /// Memory shares.
    pub memory: MemoryPlan,
    /// Where engines' programs are searched, in order.
    pub search: Vec<PathBuf>,
    pub(super) limits: Limits,
}

/// A start that is ready to happen.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) engine: &'static dyn Engine,
    pub(super) context: Context,
    pub(super) spec: CommandSpec,
    pub(super) run_as: Option<RunAs>,
    pub(super) fingerprint: String,
    /// What preflight found that does not forbid the start.
    pub(super) warnings: Vec<String>,
    /// Credentials were made just now.
    pub(super) new_credentials: bool,
}

/// Why a start cannot happen now, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blocked {
    pub(super) reason: String,
    pub(super) remedy: String,
    /// An engine of ours that is already there: adopt it.
    pub(super) adoptable: Option<i32>,
}

impl Blocked {
    fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            remedy: remedy.into(),
            adoptable: None,
        }
    }

    fn file(error: &fsx::FsError) -> Self {
        let remedy = match error.source.raw_os_error() {
            Some(nix::libc::EROFS) => {
                "the file system is read-only: look for I/O errors with `dmesg`, remount it writable"
            }
            Some(nix::libc::ENOSPC) => "the file system is full: free space",
            Some(nix::libc::EACCES | nix::libc::EPERM) => {
                "run as root, or give this user the directory"
            }
            _ => "check the path and its file system",
        };
        Self::new(error.to_string(), remedy)
    }
}

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

/// How strict to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A start: every precondition must hold.
    Start,
    /// A reload: the engine runs, and what would keep the new configuration from running must be
    /// known before it is stopped.
    Change,
    /// An adoption: the engine runs already, only describe it.
    Describe,
}

/// Prepares the start of `role`.
pub(super) fn prepare(plan: &Plan, role: Role, purpose: Purpose) -> Result<Prepared, Blocked> {
    if purpose == Purpose::Start {
        Guard::new(&plan.paths)
            .check()
            .map_err(|fault| Blocked::new(fault.message, fault.remedy))?;
    }
    let common = plan.config.common(role);
    let engine = engine::of(common.engine);
    let detected = engine
        .detect(common.binary, &plan.search)
        .map_err(|error| Blocked::new(error.to_string(), "see `lucid doctor`"))?;
    let mut findings = engine.preflight(&detected, &plan.board);
    findings.extend(engine.check_listen(&plan.config));
    let data_dir = plan.paths.data().join(role.volume());
    if purpose != Purpose::Describe {
        if purpose == Purpose::Start {
            kept(plan, role, &data_dir)?;
        }
        findings.extend(engine.check_data(&data_dir));
        if let Some(finding) = findings.iter().find(|finding| finding.blocks) {
            return Err(Blocked::new(&finding.message, &finding.remedy));
        }
    }
    let (credentials, new_credentials) = credentials::load_or_create(&plan.paths, role)
        .map_err(|error| Blocked::new(error.to_string(), "then start the datastore again"))?;
    let Some(memory) = plan.memory.of(role) else {
        return Err(Blocked::new(
            format!("{role} is not enabled"),
            "enable it in lucid.toml",
        ));
    };
    let run_as = run_as(role)?;
    let context = Context {
        role,
        config: plan.config.clone(),
        detected,
        memory,
        cpus: plan.board.cpus,
        conf_dir: plan.paths.engine_conf(role.name()),
        data_dir,
        credentials,
    };
    let spec = engine.command(&context);
    let files = engine.render(&context);
    let fingerprint = fingerprint(&context.detected, &spec, &files, memory, run_as);
    if purpose == Purpose::Start {
        directories(&context, run_as)?;
        space(&context)?;
        for file in &files {
            let unchanged = std::fs::symlink_metadata(&file.path).is_ok_and(|meta| meta.is_file())
                && fsx::read_text(&file.path, file.content.len() as u64)
                    .is_ok_and(|old| old == file.content)
                && mode_of(&file.path) == Some(file.mode);
            if !unchanged {
                fsx::write_atomic(&file.path, file.content.as_bytes(), file.mode)
                    .map_err(|error| Blocked::file(&error))?;
            }
            if let Some(RunAs { uid, gid }) = run_as {
                give(&file.path, Some(uid), Some(gid))?;
            }
        }
        port(plan, role)?;
    }
    let warnings = findings
        .into_iter()
        .filter(|finding| !finding.blocks)
        .map(|finding| format!("{}; {}", finding.message, finding.remedy))
        .collect();
    Ok(Prepared {
        engine,
        context,
        spec,
        run_as,
        fingerprint,
        warnings,
        new_credentials,
    })
}

/// A datastore that has held data must find it again: an empty directory under a volume that is
/// not mounted would take writes that vanish when the volume comes back.
fn kept(plan: &Plan, role: Role, data_dir: &Path) -> Result<(), Blocked> {
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

/// The URI that clients of `role` connect with.
///
/// # Errors
/// As [`credentials::load`].
pub fn client_uri(
    paths: &Paths,
    config: &Config,
    role: Role,
) -> Result<(String, Credentials), CredentialError> {
    let credentials = credentials::load(paths, role)?;
    let version = Version {
        number: (0, 0, 0),
        text: String::new(),
    };
    // A URI depends on address and account alone; nothing else of this is looked at.
    let context = Context {
        role,
        config: config.clone(),
        detected: Detected {
            binary: PathBuf::new(),
            version,
        },
        memory: EngineMemory {
            max: 0,
            high: 0,
            cache: 0,
        },
        cpus: 1,
        conf_dir: PathBuf::new(),
        data_dir: PathBuf::new(),
        credentials: credentials.clone(),
    };
    Ok((
        engine::of(config.common(role).engine).uri(&context),
        credentials,
    ))
}

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

fn mode_of(path: &Path) -> Option<u32> {
    std::fs::metadata(path)
        .ok()
        .map(|meta| meta.permissions().mode() & 0o7777)
}

/// Gives a path, and never what a link points to: the engine's user may have put one there.
fn give(path: &Path, owner: Option<Uid>, group: Option<Gid>) -> Result<(), Blocked> {
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
fn directories(context: &Context, run_as: Option<RunAs>) -> Result<(), Blocked> {
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
fn closed_parent(path: &Path, run_as: RunAs) -> Option<PathBuf> {
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

fn space(context: &Context) -> Result<(), Blocked> {
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
    let data = dir.parent().unwrap_or(dir);
    if let Some((left, quota)) = room(data, dir).filter(|(left, _)| *left < least) {
        let volume = context.role.volume();
        return Err(Blocked::new(
            format!(
                "volume {volume} is full: {} are left of its quota of {}, {} needs {} to start and \
                 recover",
                human_bytes(left),
                human_bytes(quota),
                context.role,
                human_bytes(least)
            ),
            format!(
                "enlarge it: lucid volume resize {volume} {}; the datastore then starts by itself",
                ByteSize(quota.saturating_mul(2))
            ),
        ));
    }
    Ok(())
}

fn port(plan: &Plan, role: Role) -> Result<(), Blocked> {
    let common = plan.config.common(role);
    for ip in common.listen {
        let address = SocketAddr::new(*ip, common.port);
        let Err(error) = TcpListener::bind(address) else {
            continue;
        };
        let key = format!("datastore.{role}.port");
        if error.kind() != std::io::ErrorKind::AddrInUse {
            return Err(Blocked::new(
                format!("cannot listen on {address}: {error}"),
                format!("correct datastore.{role}.listen or {key} in lucid.toml"),
            ));
        }
        let owner = ports::owner(address.port());
        let output = plan.paths.engine_output(role.name());
        let adoptable = owner
            .as_ref()
            .filter(|owner| owner.writes_to(&output))
            .map(|o| o.pid);
        let who = owner.map_or_else(
            || "another program".to_owned(),
            |owner| format!("{} (process {})", owner.name, owner.pid),
        );
        return Err(Blocked {
            adoptable,
            ..Blocked::new(
                format!("port {} is taken by {who}", address.port()),
                format!("stop that program, or set another {key} in lucid.toml"),
            )
        });
    }
    Ok(())
}

fn fingerprint(
    detected: &Detected,
    spec: &CommandSpec,
    files: &[engine::RenderedFile],
    memory: EngineMemory,
    run_as: Option<RunAs>,
) -> String {
    let mut hash = Sha256::new();
    // A debug form is stable within one build, which is all that a fingerprint needs: another
    // build may well start engines otherwise.
    hash.update(format!("{detected:?}{spec:?}{files:?}{memory:?}{run_as:?}"));
    hash.finalize()
        .iter()
        .take(16)
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

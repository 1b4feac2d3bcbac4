//! Everything that must hold before an engine may start, and everything made for its start.
//!
//! Blocks on files and on asking the program for its version; runs off the runtime.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::credentials::{self, CredentialError};
use super::held_data::{kept, space};
use super::limits::Limits;
use super::ownership::{directories, give, mode_of, run_as};
use super::ports;
use super::process::RunAs;
use crate::board::Board;
use crate::config::{Config, EngineMemory, MemoryPlan, Role};
use crate::engine::{self, CommandSpec, Context, Credentials, Detected, Engine, Version};
use crate::fsx;
use crate::paths::Paths;
use crate::volume::{Guard, directory_of};

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
    pub(super) fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            remedy: remedy.into(),
            adoptable: None,
        }
    }

    pub(super) fn file(error: &fsx::FsError) -> Self {
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
        Guard::of_volume(&plan.paths, role.volume())
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
    let data_dir = directory_of(&plan.paths, role.volume());
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

//! Resource limits: one cgroup v2 an engine, every value read back after it was written.
//!
//! On Raspberry Pi kernels the memory controller is off unless the kernel command line says
//! `cgroup_enable=memory`; then a limit would silently do nothing. What cannot be put in force is
//! reported with its reason.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::board::{Board, MemoryCgroup};
use crate::config::{EngineMemory, Role};

/// Limits of one engine besides memory. Weights are relative to 100 (kernel doc, cgroup-v2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Weights {
    cpu: u32,
    io: u32,
    /// Threads and processes; far above what an engine needs, far below a fork bomb.
    pids: u32,
}

const BACKUP: Weights = Weights {
    cpu: 10,
    io: 10,
    pids: 512,
};

const fn weights(role: Role) -> Weights {
    match role {
        Role::Document => Weights {
            cpu: 200,
            io: 200,
            pids: 4096,
        },
        Role::Cache => Weights {
            cpu: 300,
            io: 100,
            pids: 64,
        },
        Role::Search => Weights {
            cpu: 100,
            io: 100,
            pids: 4096,
        },
    }
}

/// The supervisor's part of the cgroup tree.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    base: Result<PathBuf, String>,
}

/// An engine's cgroup: what is in force, and what is not and why.
#[derive(Debug)]
pub(super) struct Enforced {
    /// `cgroup.procs` for the child to join; absent where there is no cgroup at all.
    pub(super) procs: Option<File>,
    /// The cgroup, to ask for OOM kills later.
    pub(super) path: Option<PathBuf>,
    /// Why the memory limit is not in force; absent when it is.
    pub(super) memory_missing: Option<String>,
    /// Other values that are not in force, joined. Kernels without the I/O cost model, as those of
    /// Raspberry Pi, have no `io.weight`.
    pub(super) others_missing: Option<String>,
}

impl Limits {
    /// Finds the supervisor's own cgroup and makes room for engines below it: the supervisor
    /// moves into a leaf of its own, since a cgroup with controllers for children may hold no
    /// processes itself.
    pub(super) fn find(board: &Board, own_cgroup: &str, root_name: &str) -> Self {
        let mount = match &board.memory_cgroup {
            MemoryCgroup::Available(mount) => mount,
            MemoryCgroup::Missing(reason) => {
                return Self {
                    base: Err(reason.clone()),
                };
            }
        };
        let own = own_cgroup
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .map_or("/", str::trim)
            .trim_start_matches('/');
        // A supervisor that was itself moved into its leaf by an earlier instance.
        let own = own.strip_suffix("/supervisor").unwrap_or(own);
        let base = if own.is_empty() {
            mount.join(root_name)
        } else {
            mount.join(own)
        };
        let prepared = prepare(&base, !own.is_empty());
        Self {
            base: prepared.map(|()| base),
        }
    }

    /// No limits, for `reason`.
    pub(super) fn none(reason: &str) -> Self {
        Self {
            base: Err(reason.to_owned()),
        }
    }

    /// Makes the cgroup of `role` with its limits. Blocks on sysfs only.
    pub(super) fn enforce(&self, role: Role, memory: EngineMemory) -> Enforced {
        self.make(&format!("engine-{role}"), weights(role), memory)
    }

    /// Makes the cgroup of the process for backups: every client comes first.
    pub(super) fn backup(&self, memory: EngineMemory) -> Enforced {
        self.make("backup", BACKUP, memory)
    }

    fn make(&self, name: &str, weights: Weights, memory: EngineMemory) -> Enforced {
        let base = match &self.base {
            Ok(base) => base,
            Err(reason) => {
                return Enforced::nothing(reason.clone());
            }
        };
        let path = base.join(name);
        if let Err(error) = create(&path) {
            return Enforced::nothing(error);
        }
        let memory_missing = missing(
            &path,
            &[("memory.max", memory.max), ("memory.high", memory.high)],
        );
        let others_missing = missing(
            &path,
            &[
                ("cpu.weight", u64::from(weights.cpu)),
                ("io.weight", u64::from(weights.io)),
                ("pids.max", u64::from(weights.pids)),
            ],
        );
        let procs = OpenOptions::new()
            .write(true)
            .open(path.join("cgroup.procs"))
            .ok();
        Enforced {
            procs,
            path: Some(path),
            memory_missing,
            others_missing,
        }
    }
}

impl Enforced {
    fn nothing(reason: String) -> Self {
        Self {
            procs: None,
            path: None,
            memory_missing: Some(reason),
            others_missing: None,
        }
    }
}

/// Sets values in a cgroup; what is not in force then, joined.
fn missing(cgroup: &Path, wanted: &[(&str, u64)]) -> Option<String> {
    let failed: Vec<_> = wanted
        .iter()
        .filter_map(|(file, value)| set(&cgroup.join(file), &value.to_string()).err())
        .collect();
    (!failed.is_empty()).then(|| failed.join("; "))
}

fn prepare(base: &Path, holds_us: bool) -> Result<(), String> {
    create(base)?;
    if holds_us {
        let leaf = base.join("supervisor");
        create(&leaf)?;
        write(&leaf.join("cgroup.procs"), "0")?;
    }
    let delegated = std::fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
    if !delegated
        .split_whitespace()
        .any(|controller| controller == "memory")
    {
        return Err(format!(
            "the memory controller is not handed down to {}; start lucid by its systemd unit, or \
             with Delegate=yes",
            base.display()
        ));
    }
    for controller in ["memory", "cpu", "io", "pids"] {
        // One missing controller must not keep the others out; the read back tells of it.
        let _ = write(
            &base.join("cgroup.subtree_control"),
            &format!("+{controller}"),
        );
    }
    Ok(())
}

fn create(path: &Path) -> Result<(), String> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(format!("cannot create {}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, value: &str) -> Result<(), String> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes and reads back.
fn set(path: &Path, value: &str) -> Result<(), String> {
    write(path, value)?;
    let found =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    // io.weight reads as "default 100"; memory values are rounded down to pages.
    let found = found.lines().next().unwrap_or_default();
    let found = found.strip_prefix("default ").unwrap_or(found).trim();
    let near = match (found.parse::<u64>(), value.parse::<u64>()) {
        (Ok(found), Ok(wanted)) => found <= wanted && wanted - found < 65_536,
        _ => false,
    };
    if near {
        Ok(())
    } else {
        Err(format!("{}: wrote {value}, reads {found}", path.display()))
    }
}

/// How often the OOM killer struck: in `cgroup` where there is one, else on the whole machine.
pub(super) fn oom_kills(cgroup: Option<&Path>) -> u64 {
    let (path, key) = match cgroup {
        Some(cgroup) => (cgroup.join("memory.events"), "oom_kill "),
        None => (PathBuf::from("/proc/vmstat"), "oom_kill "),
    };
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::MIB;

    const MEMORY: EngineMemory = EngineMemory {
        max: 256 * MIB,
        high: 230 * MIB,
        cache: 64 * MIB,
    };

    #[test]
    fn a_missing_memory_controller_is_told_with_its_reason() {
        let limits = Limits {
            base: Err("add cgroup_enable=memory".to_owned()),
        };
        let enforced = limits.enforce(Role::Cache, MEMORY);
        assert!(enforced.procs.is_none());
        assert!(
            enforced
                .memory_missing
                .unwrap()
                .contains("cgroup_enable=memory")
        );
    }

    #[test]
    fn a_limit_that_reads_back_otherwise_is_not_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let engine = dir.path().join("engine-cache");
        std::fs::create_dir(&engine).unwrap();
        for file in [
            "memory.max",
            "memory.high",
            "cpu.weight",
            "io.weight",
            "cgroup.procs",
        ] {
            crate::fsx::write_atomic(&engine.join(file), b"", 0o644).unwrap();
        }
        // A file that swallows what is written, as a kernel without the controller would.
        std::os::unix::fs::symlink("/dev/null", engine.join("pids.max")).unwrap();
        let limits = Limits {
            base: Ok(dir.path().to_path_buf()),
        };
        let enforced = limits.enforce(Role::Cache, MEMORY);
        assert_eq!(enforced.memory_missing, None);
        assert!(enforced.others_missing.unwrap().contains("pids.max"));
    }
}

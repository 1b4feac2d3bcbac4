//! Boards and contexts for this room's unit tests.

use std::path::PathBuf;

use super::{Context, Credentials, Detected, Login, Version};
use crate::board::{Board, CpuFeatures, Family, Kernel, MemoryCgroup};
use crate::config::{Config, EngineKind, EngineMemory, Role};
use crate::units::{GIB, MIB};

/// A Raspberry Pi 4 with 4 GB, as the kernel shows it.
pub(super) fn pi4() -> Board {
    Board {
        model: "Raspberry Pi 4 Model B Rev 1.4".to_owned(),
        family: Family::Pi4,
        revision: None,
        memory_bytes: 4 * GIB / 100 * 95,
        cpus: 4,
        cpu: CpuFeatures {
            arch: "aarch64",
            lse_atomics: false,
            armv8_2: false,
            avx: false,
        },
        page_size: 4096,
        va_bits: Some(48),
        kernel: Kernel {
            release: "6.12.47".to_owned(),
            version: (6, 12, 47),
        },
        memory_cgroup: MemoryCgroup::Available(PathBuf::from("/sys/fs/cgroup")),
        disks: Vec::new(),
        simulated: false,
    }
}

/// A Raspberry Pi 5 with 4 GB.
pub(super) fn pi5() -> Board {
    let mut board = pi4();
    board.model = "Raspberry Pi 5 Model B Rev 1.0".to_owned();
    board.family = Family::Pi5;
    board.cpu.lse_atomics = true;
    board.cpu.armv8_2 = true;
    board
}

/// A context with the default configuration, version 7.0.15 and a cache of 64 MiB.
pub(super) fn context(role: Role, engine: EngineKind) -> Context {
    let mut config = Config::default();
    match role {
        Role::Document => config.datastore.document.engine = engine,
        Role::Cache => config.datastore.cache.engine = engine,
        Role::Search => config.datastore.search.engine = engine,
    }
    let (supervisor, client) = super::account_names(role);
    let login = |user: &str, password: &str| Login {
        user: user.to_owned(),
        password: password.to_owned(),
    };
    Context {
        role,
        config,
        detected: Detected {
            binary: PathBuf::from("/usr/bin/engine"),
            version: Version {
                number: (7, 0, 15),
                text: "7.0.15".to_owned(),
            },
        },
        memory: EngineMemory {
            max: 256 * MIB,
            high: 230 * MIB,
            cache: 64 * MIB,
        },
        cpus: 4,
        conf_dir: PathBuf::from("/run/lucid/conf/x"),
        data_dir: PathBuf::from("/data/x"),
        credentials: Credentials {
            supervisor: login(supervisor, "sv-password"),
            client: login(client, "cl-password"),
        },
    }
}

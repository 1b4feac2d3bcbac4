//! `lucid.toml`: one file, one typed and validated value.

mod api;
mod backup;
mod datastores;
mod load;
mod memory;
mod panel;
mod role;
mod rules;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use api::Api;
pub use backup::{Backup, Repository as BackupRepository, crontab};
pub use datastores::{AppendFsync, Cache, Common, Datastores, Document, Search, SearchTls};
pub use load::{ConfigError, Problem};
pub use memory::{EngineMemory, MemoryPlan, PlanError, Share};
pub use panel::{DayTime, Panel, PanelDriver, reserved};
pub use role::{EngineKind, Role};

use crate::units::{ByteSize, GIB, MIB, Span};

/// The documented default file, printed by `lucid config default`.
pub const DEFAULT_FILE: &str = include_str!("default.toml");

/// The whole configuration. Every key is documented in `default.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the data lies.
    pub data: Data,
    /// Which datastores run, and how.
    pub datastore: Datastores,
    /// How memory is shared.
    pub memory: Memory,
    /// Kernel knobs.
    pub tuning: Tuning,
    /// Lifecycle.
    pub supervisor: Supervisor,
    /// How engines are watched.
    pub probe: ProbeSettings,
    /// What engines write.
    pub log: Log,
    /// Lights and button.
    pub panel: Panel,
    /// Volumes of the data pool.
    pub volume: Volume,
    /// Backups.
    pub backup: Backup,
    /// The HTTP API and the page.
    pub api: Api,
}

/// `[data]`: read by `lucid volume prepare`, at the start of the board.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// Name of the disk that holds the data, as in `/dev/disk/by-id`; empty for the data
    /// partition of the medium that the board starts from.
    pub disk: String,
    /// The same name once more: what the disk holds may be erased when the pool is made.
    pub erase: String,
}

/// `[volume]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Volume {
    /// Quota of a volume that is made without one.
    pub default_quota: ByteSize,
    /// Smallest quota.
    pub min_quota: ByteSize,
    /// Largest quota.
    pub max_quota: ByteSize,
    /// Percent of a quota at which a warning opens.
    pub warning_percent: u8,
    /// Percent of a quota at which the alert is critical.
    pub critical_percent: u8,
}

/// `[memory]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Kept for the operating system and the supervisor; by the board's RAM when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve: Option<ByteSize>,
    /// Share of each role in what the reserve leaves.
    pub weights: BTreeMap<Role, u32>,
}

/// `[tuning]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tuning {
    /// Whether knobs are set at all.
    pub enabled: bool,
    /// Whether a clean stop puts the knobs back.
    pub revert_on_stop: bool,
    /// How often knobs are read back.
    pub check_interval: Span,
    /// Whether a compressed swap device in RAM is made.
    pub zram: bool,
    /// Knobs left alone, by name.
    pub skip: Vec<String>,
}

/// `[supervisor]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Supervisor {
    /// How long a start may take until readiness.
    pub start_timeout: Span,
    /// How long an engine may take to stop before it is killed.
    pub stop_timeout: Span,
    /// First wait after a failure.
    pub backoff_min: Span,
    /// Longest wait after a failure.
    pub backoff_max: Span,
    /// A run this long forgets earlier failures.
    pub stable_after: Span,
    /// Failures within `crash_loop_window` that make a crash loop.
    pub crash_loop_failures: u32,
    /// See `crash_loop_failures`.
    pub crash_loop_window: Span,
    /// How often a crash loop is tried again.
    pub crash_loop_retry: Span,
}

/// `[probe]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeSettings {
    /// Time between reads of the canary.
    pub interval: Span,
    /// Time between writes of the canary; each costs a flush on the data disk.
    pub write_interval: Span,
    /// A probe that takes longer has failed.
    pub timeout: Span,
    /// Failures in a row after which an engine is hung, killed and restarted.
    pub failures: u32,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Lines a second that an engine may write in the long run.
    pub lines_per_second: u32,
    /// Lines it may write at once.
    pub burst: u32,
    /// Lines kept in memory for `lucid logs`.
    pub keep: u32,
}

impl Default for Volume {
    fn default() -> Self {
        Self {
            default_quota: ByteSize(10 * GIB),
            min_quota: ByteSize(64 * MIB),
            max_quota: ByteSize(100 * GIB),
            warning_percent: 80,
            critical_percent: 90,
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        let weights = [(Role::Document, 50), (Role::Cache, 30), (Role::Search, 20)];
        Self {
            reserve: None,
            weights: weights.into(),
        }
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            enabled: true,
            revert_on_stop: true,
            check_interval: seconds(15),
            zram: true,
            skip: Vec::new(),
        }
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Self {
            start_timeout: seconds(120),
            stop_timeout: seconds(30),
            backoff_min: Span(Duration::from_millis(100)),
            backoff_max: seconds(30),
            stable_after: seconds(60),
            crash_loop_failures: 5,
            crash_loop_window: seconds(300),
            crash_loop_retry: seconds(300),
        }
    }
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            interval: seconds(1),
            write_interval: seconds(30),
            timeout: seconds(2),
            failures: 3,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            lines_per_second: 50,
            burst: 500,
            keep: 500,
        }
    }
}

const fn seconds(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}

impl Config {
    /// What every datastore has, for `role`.
    pub fn common(&self, role: Role) -> Common<'_> {
        macro_rules! common {
            ($table:expr) => {
                Common {
                    role,
                    enabled: $table.enabled,
                    engine: $table.engine,
                    binary: $table.binary.as_deref(),
                    port: $table.port,
                    listen: &$table.listen,
                    memory: $table.memory,
                }
            };
        }
        match role {
            Role::Document => common!(self.datastore.document),
            Role::Cache => common!(self.datastore.cache),
            Role::Search => common!(self.datastore.search),
        }
    }

    /// Enabled roles in start order.
    pub fn enabled(&self) -> impl Iterator<Item = Common<'_>> {
        Role::ALL
            .into_iter()
            .map(|role| self.common(role))
            .filter(|common| common.enabled)
    }
}

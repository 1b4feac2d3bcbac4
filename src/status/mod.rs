//! The one snapshot of the appliance's state.
//!
//! Rooms publish into a [`StatusHub`]; panel, API, CLI and metrics read the [`Status`] it holds
//! and nothing else, so a LED, a page and a journal line can never disagree. The JSON shape is a
//! contract (`docs/architecture.md`).

#[cfg(test)]
pub(crate) mod fixture;
mod hub;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use hub::{Running, StatusHub};

/// The whole appliance in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApplianceState {
    /// Some datastore is not ready yet and none has failed.
    Starting,
    /// Every enabled datastore is ready and nothing critical is known.
    Ready,
    /// Serving, but something a person must know is wrong.
    Degraded,
    /// At least one datastore cannot serve without a person.
    Failed,
    /// Shutting down on request.
    Stopping,
}

/// Where a datastore stands in its lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatastoreState {
    /// Not running, by request.
    Stopped,
    /// Checking preconditions, making directories, rendering configuration.
    Preparing,
    /// Its process runs but has not yet passed the readiness probe.
    Starting,
    /// Passed a real write and read.
    Ready,
    /// Up, but something a person must know is wrong.
    Degraded,
    /// Asked to stop, not gone yet.
    Stopping,
    /// Waiting before the next start after a failure.
    Backoff,
    /// Crash loop: retried rarely, a person is needed.
    Failed,
    /// A precondition is missing; starts by itself once it holds.
    Blocked,
}

impl DatastoreState {
    /// Whether clients are served.
    pub const fn serves(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }
}

/// The last probe of a datastore.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Whether the engine answered correctly within its deadline.
    pub ok: bool,
    /// Round trip in milliseconds; absent when it failed.
    pub latency_ms: Option<f64>,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// What went wrong.
    pub error: Option<String>,
}

/// One datastore.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Datastore {
    /// `document`, `cache` or `search`.
    pub name: String,
    /// The program that plays the role: `secantus`, `redis`, …
    pub engine: String,
    /// As the engine reports it; absent until it was detected.
    pub engine_version: Option<String>,
    /// Lifecycle state.
    pub state: DatastoreState,
    /// Process id while it runs.
    pub pid: Option<i32>,
    /// `host:port` for clients.
    pub endpoint: String,
    /// Unplanned restarts since the supervisor's start.
    pub restarts: u64,
    /// Resident memory of the process group's leader.
    pub rss_bytes: Option<u64>,
    /// The planned limit (`memory.max`).
    pub memory_max_bytes: Option<u64>,
    /// Last probe.
    pub probe: Option<Probe>,
    /// Why it is in this state and what to do, for every state but `ready`.
    pub reason: Option<String>,
}

/// What the machine is, as far as a reader of the status needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoardSummary {
    /// `Raspberry Pi 4 Model B Rev 1.4`, or the machine's own name.
    pub model: String,
    /// RAM that the kernel has.
    pub memory_bytes: u64,
    /// Kernel page size in bytes.
    pub page_size: u64,
    /// SoC temperature in degrees Celsius; absent where no sensor is readable.
    pub temperature_celsius: Option<f64>,
    /// Currently throttled; absent where the board cannot tell.
    pub throttled: Option<bool>,
    /// Supply voltage too low now; absent where the board cannot tell.
    pub undervoltage: Option<bool>,
    /// Revolutions a minute of the board's fan; absent where there is none.
    #[serde(default)]
    pub fan_rpm: Option<u32>,
    /// Whether the wall clock was ever set.
    pub clock_set: bool,
    /// True when nothing of this is real hardware.
    pub simulated: bool,
}

/// State of all kernel knobs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TuningState {
    /// Every knob reads back as wanted.
    Applied,
    /// A knob was changed behind our back and is not repaired yet.
    Drifted,
    /// Some knob could not be set here.
    Partial,
    /// Tuning is switched off.
    Off,
}

/// One kernel knob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Knob {
    /// Stable name, such as `vm.max_map_count`.
    pub name: String,
    /// The value the plan wants.
    pub wanted: String,
    /// The value read back; absent where it cannot be read.
    pub found: Option<String>,
    /// Whether found satisfies wanted.
    pub ok: bool,
    /// Why wanted, or why it could not be set.
    pub reason: String,
}

/// Tuning as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Summary.
    pub state: TuningState,
    /// Every knob of the plan.
    pub knobs: Vec<Knob>,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// Name, unique.
    pub name: String,
    /// Kind of content, such as `mongodb` or `redis`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `healthy`, `warning`, `critical` or `missing`.
    pub state: String,
    /// Bytes in use; absent where it cannot be told.
    pub used_bytes: Option<u64>,
    /// Quota; absent where none is enforced.
    pub quota_bytes: Option<u64>,
    /// Share of the quota, or of the file system where there is none.
    pub percent: Option<f64>,
    /// Whether it is there, on the pool where there is one.
    pub mounted: bool,
    /// Bytes a day, by regression over two weeks; absent where too little is known.
    #[serde(default)]
    pub growth_bytes_per_day: Option<f64>,
    /// Seconds until its quota is full; absent where it does not grow.
    #[serde(default)]
    pub full_in_seconds: Option<u64>,
}

/// Backups; all absent until a backup ran.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// Last good backup, RFC 3339.
    pub last: Option<String>,
    /// Next planned run, RFC 3339.
    pub next: Option<String>,
    /// Result of the last run.
    pub last_result: Option<String>,
    /// Last restore drill, RFC 3339.
    pub last_drill: Option<String>,
}

/// What the panel shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Panel {
    /// Driver in use; `none` where there is no panel.
    pub driver: String,
    /// Pattern shown.
    pub pattern: String,
    /// What the pattern tells a person.
    #[serde(default)]
    pub meaning: String,
    /// Names of the lamps, in the order of `frames.levels`.
    #[serde(default)]
    pub lamps: Vec<String>,
    /// What the lamps do, over and over.
    #[serde(default)]
    pub frames: Vec<PanelFrame>,
    /// Where presses of the button come from; absent where there is none.
    #[serde(default)]
    pub button: Option<String>,
    /// What could have driven the lights, best first, and why it does or does not.
    #[serde(default)]
    pub choices: Vec<PanelChoice>,
}

/// Levels of the lamps for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanelFrame {
    /// One a lamp, 0 to 255.
    pub levels: Vec<u8>,
    /// Milliseconds.
    pub ms: u32,
}

/// A way to drive the lights or to read the button.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanelChoice {
    /// `overlay`, `gpio`, `rppal`, `board`, `simulated`, `button`.
    pub name: String,
    /// Whether it is in use.
    pub used: bool,
    /// What it drives, or why it is not used and what would help.
    pub reason: String,
}

/// Something that runs and must not be cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Number of the work, unique for this run of the supervisor.
    pub id: u64,
    /// `backup`, `restore`, `update`, `migrate`, …
    pub kind: String,
    /// The datastore, volume or pool concerned.
    pub subject: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// Id of the alert that is open while the appliance is in rescue.
pub const RESCUE_ALERT: &str = "rescue";

/// How bad an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Should be known.
    Warning,
    /// Needs a person now.
    Critical,
}

/// Something a person should know, until it is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Stable id of this condition and subject, such as `limit-not-enforced:cache`.
    pub id: String,
    /// How bad.
    pub severity: Severity,
    /// The datastore, knob, volume or device concerned.
    pub subject: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub action: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// How the search indices follow the documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    /// `following`, `rebuilding` or `waiting`.
    pub state: String,
    /// Seconds between the last change and its arrival in the indices.
    pub lag_seconds: Option<f64>,
    /// Changes since the supervisor was started.
    pub changes: u64,
    /// Why it waits.
    pub error: Option<String>,
}

/// The snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of `lucid`.
    pub version: String,
    /// Summary, always derived from the rest; see [`Status::derive`].
    pub state: ApplianceState,
    /// When `state` last changed, RFC 3339.
    pub since: String,
    /// Since the supervisor's start, on the monotonic clock.
    pub uptime_seconds: u64,
    /// The machine.
    pub board: BoardSummary,
    /// Enabled datastores, in start order.
    pub datastores: Vec<Datastore>,
    /// Kernel knobs.
    pub tuning: Tuning,
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// Backups.
    pub backup: Backup,
    /// Panel.
    pub panel: Panel,
    /// How the search indices follow the documents; absent where they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed: Option<Feed>,
    /// What runs and must not be cut off, oldest first.
    #[serde(default)]
    pub work: Vec<Work>,
    /// Why work that can wait (backups, scrubs, drills) is held back; absent when it is not.
    #[serde(default)]
    pub background_paused: Option<String>,
    /// Open alerts, oldest first.
    pub alerts: Vec<Alert>,
}

impl Status {
    /// The summary of everything else. `stopping` is decided by the caller, since only the
    /// supervisor knows that it was asked to stop.
    pub fn derive(&self) -> ApplianceState {
        use DatastoreState as D;
        let any = |wanted: &[D]| self.datastores.iter().any(|d| wanted.contains(&d.state));
        if any(&[D::Failed, D::Blocked]) {
            ApplianceState::Failed
        } else if any(&[D::Degraded, D::Backoff])
            || self.alerts.iter().any(|a| a.severity == Severity::Critical)
        {
            ApplianceState::Degraded
        } else if self.datastores.is_empty() || any(&[D::Preparing, D::Starting]) {
            ApplianceState::Starting
        } else if any(&[D::Stopping, D::Stopped]) {
            ApplianceState::Degraded
        } else {
            ApplianceState::Ready
        }
    }
}

impl Alert {
    /// An alert that begins now.
    pub fn new(
        id: impl Into<String>,
        severity: Severity,
        subject: impl Into<String>,
        message: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            severity,
            subject: subject.into(),
            message: message.into(),
            action: action.into(),
            since: now_rfc3339(),
        }
    }
}

/// The wall clock now, RFC 3339 in UTC with seconds.
pub fn now_rfc3339() -> String {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0);
    now.ok()
        .and_then(|now| now.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339_in_utc() {
        let now = now_rfc3339();
        assert!(now.len() == 20 && now.ends_with('Z'), "{now}");
    }
}

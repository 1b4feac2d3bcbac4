//! Whether a disk is well: one verdict with reasons, from what the disk says of itself ([`smart`])
//! and what the kernel and btrfs know of it ([`kernel`]).

mod kernel;
mod log;
mod smart;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::medium::disk_of;
use super::report::pools_of_boot;
use super::{VolumeError, mounts, tool};
use crate::fsx::{self, FsError};
use crate::paths::Paths;
use crate::status::now_rfc3339;

/// A disk that spins up first.
const LIMIT: Duration = Duration::from_secs(60);
const MAX_BYTES: u64 = 1 << 20;
/// Percent of its life used at which a disk should be replaced soon, and now.
const WORN: u64 = 80;
const WORN_OUT: u64 = 95;

/// How a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It says nothing of itself.
    Unknown,
    /// Nothing is known against it.
    Healthy,
    /// Should be known.
    Warning,
    /// May lose data at any time.
    Critical,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceHealth {
    /// Kernel name.
    pub device: String,
    /// As it calls itself.
    pub model: Option<String>,
    /// The worst that is known.
    pub verdict: Verdict,
    /// Why, for every verdict but healthy.
    pub reasons: Vec<String>,
    /// Percent of its life that is used.
    pub wear_percent: Option<u64>,
    /// Bytes written in its life.
    pub written_bytes: Option<u64>,
    /// Bytes written a day, over its life or since the start of the board.
    pub written_bytes_per_day: Option<u64>,
    /// Days until its life is used up at this rate.
    pub days_left: Option<u64>,
    /// Degrees Celsius.
    pub temperature_celsius: Option<i64>,
    /// Hours under power.
    pub power_on_hours: Option<u64>,
}

/// All disks of the pool and the boot medium, at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthReport {
    /// When they were asked, RFC 3339.
    pub at: String,
    /// Disks.
    pub devices: Vec<DeviceHealth>,
}

/// Reasons with their weight, gathered.
#[derive(Debug, Default)]
struct Findings {
    known: bool,
    worst: Option<Verdict>,
    reasons: Vec<String>,
}

impl Findings {
    fn add(&mut self, verdict: Verdict, reason: String) {
        self.known = true;
        self.worst = self.worst.max(Some(verdict));
        self.reasons.push(reason);
    }

    fn verdict(&self) -> Verdict {
        match self.worst {
            Some(worst) => worst,
            None if self.known => Verdict::Healthy,
            None => Verdict::Unknown,
        }
    }
}

impl DeviceHealth {
    fn new(device: &str) -> Self {
        Self {
            device: device.to_owned(),
            model: None,
            verdict: Verdict::Unknown,
            reasons: Vec::new(),
            wear_percent: None,
            written_bytes: None,
            written_bytes_per_day: None,
            days_left: None,
            temperature_celsius: None,
            power_on_hours: None,
        }
    }

    /// How long its life lasts if it goes on being used as until now.
    fn forecast(&mut self) {
        if let (Some(wear), Some(hours)) = (self.wear_percent, self.power_on_hours)
            && wear > 0
            && hours >= 24
        {
            let days = hours / 24;
            self.days_left = Some(days * 100u64.saturating_sub(wear) / wear);
        }
        if let (Some(written), Some(hours)) = (self.written_bytes, self.power_on_hours)
            && hours >= 24
        {
            self.written_bytes_per_day = Some(written / (hours / 24));
        }
    }
}

fn judge_wear(health: &DeviceHealth, findings: &mut Findings) {
    match health.wear_percent {
        Some(wear) if wear >= WORN_OUT => findings.add(
            Verdict::Critical,
            format!("{wear} % of its life is used: replace it now"),
        ),
        Some(wear) if wear >= WORN => findings.add(
            Verdict::Warning,
            format!("{wear} % of its life is used: replace it soon"),
        ),
        _ => {}
    }
}

/// Asks one disk. `node` is the device or partition that the pool lies on; `met` what btrfs met on
/// its devices, `log` what the kernel wrote. Blocks.
fn ask(sys: &Path, node: &Path, met: &[Value], log: Option<&Value>) -> DeviceHealth {
    let name = disk_of(sys, node).unwrap_or_else(|| node.display().to_string());
    let mut health = DeviceHealth::new(&name);
    let mut findings = Findings::default();
    let dir = sys.join("class/block").join(&name).join("device");
    let silence = if name.starts_with("mmcblk") {
        kernel::read_mmc(&dir, &mut health, &mut findings);
        "an SD card tells nothing of its life".to_owned()
    } else {
        let said = ask_smart(&format!("/dev/{name}"));
        let silence = match &said {
            Ok(json) => {
                smart::read(json, &mut health, &mut findings);
                let words = json["smartctl"]["messages"][0]["string"].as_str();
                format!(
                    "the disk tells nothing of itself: {}",
                    words.unwrap_or("no SMART")
                )
            }
            Err(problem) => problem.clone(),
        };
        kernel::read_kernel(&dir, &mut findings);
        silence
    };
    for json in met {
        kernel::read_btrfs(json, node, &mut findings);
    }
    if let Some(json) = log {
        log::read(json, &name, log::Bridge::of(&dir).as_ref(), &mut findings);
    }
    judge_wear(&health, &mut findings);
    health.forecast();
    kernel::since_start(sys, &name, &mut health);
    health.verdict = findings.verdict();
    health.reasons = findings.reasons;
    if health.verdict == Verdict::Unknown {
        health.reasons.push(silence);
    }
    health
}

fn ask_smart(device: &str) -> Result<Value, String> {
    // Its exit code is a set of bits about the disk, not about success (smartctl(8)).
    let answer = tool::run("smartctl", &["--json=c", "-a", device], None, LIMIT)
        .map_err(|error| format!("{error}; the package smartmontools has it"))?;
    serde_json::from_str(&answer.stdout)
        .map_err(|error| answer.unexpected(error.to_string()).to_string())
}

/// Errors that btrfs met on the devices of the pool at `data`.
fn ask_btrfs(data: &Path) -> Option<Value> {
    let data = data.to_string_lossy();
    let args = ["--format", "json", "device", "stats", &data];
    let answer = tool::run("btrfs", &args, None, LIMIT).and_then(tool::Answer::success);
    serde_json::from_str(&answer.ok()?.stdout).ok()
}

/// Asks the disk of the pool and, where it is another one, that of the boot medium. Blocks; needs
/// root.
pub fn ask_all(paths: &Paths) -> HealthReport {
    let sys = Path::new("/sys");
    let mounts = mounts::all();
    let data = paths.data();
    let mut nodes: Vec<PathBuf> = Vec::new();
    let others = pools_of_boot(paths);
    let others = others.iter().map(|pool| paths.pool(pool));
    let targets = std::iter::once(data.clone())
        .chain(others)
        .chain([PathBuf::from("/boot/firmware"), PathBuf::from("/")]);
    let mut met = Vec::new();
    for target in targets {
        let mount = mounts::topmost(&mounts, &target);
        if mount.is_some_and(|mount| mount.fs_type == "btrfs") {
            met.extend(ask_btrfs(&target));
        }
        let node = mount.and_then(|mount| std::fs::canonicalize(mount.mount_source.as_ref()?).ok());
        if let Some(node) = node.filter(|node| node.starts_with("/dev")) {
            let disk = disk_of(sys, &node);
            if !nodes.iter().any(|known| disk_of(sys, known) == disk) {
                nodes.push(node);
            }
        }
    }
    let log = tool::run("dmesg", &["--json", "--kernel"], None, LIMIT)
        .and_then(tool::Answer::success)
        .ok()
        .and_then(|answer| serde_json::from_str(&answer.stdout).ok());
    let asked = nodes.iter().map(|node| ask(sys, node, &met, log.as_ref()));
    HealthReport {
        at: now_rfc3339(),
        devices: asked.collect(),
    }
}

impl HealthReport {
    /// Leaves the report for the supervisor, which may not ask disks itself.
    ///
    /// # Errors
    /// [`VolumeError::File`].
    pub fn write(&self, paths: &Paths) -> Result<(), VolumeError> {
        fsx::create_dir(&paths.run(), 0o755)?;
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        Ok(fsx::write_volatile(&paths.health_report(), &text, 0o644)?)
    }

    /// The last report of this boot.
    ///
    /// # Errors
    /// [`FsError`] for one that is there and cannot be read.
    pub fn read(paths: &Paths) -> Result<Option<Self>, FsError> {
        fsx::read_json(&paths.health_report(), MAX_BYTES)
    }
}

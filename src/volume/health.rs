//! Whether a disk is well: one verdict with reasons, from what the disk says of itself (SMART, NVMe
//! through smartctl's JSON; eMMC in sysfs), what the kernel counted, and what btrfs met.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{VolumeError, tool};
use crate::fsx::{self, FsError};
use crate::paths::Paths;
use crate::status::now_rfc3339;

/// A disk that spins up first.
const LIMIT: Duration = Duration::from_secs(60);
const MAX_BYTES: u64 = 1 << 20;
/// Percent of its life used at which a disk should be replaced soon, and now.
const WORN: u64 = 80;
const WORN_OUT: u64 = 95;
/// Degrees Celsius above which flash loses data faster than its makers promise (JESD218: 55 °C
/// active for client drives; most makers give 70 °C as the limit).
const HOT: i64 = 70;

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

/// What `smartctl --json -a` says (its `smartctl_schema`): NVMe's health log, ATA's attributes.
fn read_smart(json: &Value, health: &mut DeviceHealth, findings: &mut Findings) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    health.model = text(&json["model_name"]).or_else(|| text(&json["scsi_model_name"]));
    health.temperature_celsius = json["temperature"]["current"].as_i64();
    health.power_on_hours = json["power_on_time"]["hours"].as_u64();
    match json["smart_status"]["passed"].as_bool() {
        Some(true) => findings.known = true,
        Some(false) => findings.add(
            Verdict::Critical,
            "the disk itself says that it is failing (SMART)".to_owned(),
        ),
        None => {}
    }
    let log = &json["nvme_smart_health_information_log"];
    if log.is_object() {
        read_nvme(log, health, findings);
    }
    if let Some(table) = json["ata_smart_attributes"]["table"].as_array() {
        read_ata(table, health, findings);
    }
    if let Some(celsius) = health.temperature_celsius.filter(|celsius| *celsius >= HOT) {
        findings.add(
            Verdict::Warning,
            format!("it is {celsius} °C hot: give it air"),
        );
    }
}

fn read_nvme(log: &Value, health: &mut DeviceHealth, findings: &mut Findings) {
    let number = |key: &str| log[key].as_u64();
    findings.known = true;
    health.wear_percent = number("percentage_used");
    // A data unit is a thousand blocks of 512 bytes (NVMe base specification, SMART log).
    health.written_bytes = number("data_units_written").map(|units| units.saturating_mul(512_000));
    if number("critical_warning").is_some_and(|bits| bits != 0) {
        findings.add(
            Verdict::Critical,
            format!(
                "critical warning {:#x} (NVMe)",
                number("critical_warning").unwrap_or(0)
            ),
        );
    }
    if let Some(errors) = number("media_errors").filter(|errors| *errors > 0) {
        findings.add(
            Verdict::Warning,
            format!("{errors} errors of its memory were not corrected"),
        );
    }
    if let (Some(spare), Some(least)) = (
        number("available_spare"),
        number("available_spare_threshold"),
    ) && spare <= least
    {
        findings.add(
            Verdict::Critical,
            format!("its spare memory is down to {spare} %, {least} % is the least"),
        );
    }
}

/// Attributes that mean the same with every maker (smartmontools, drivedb.h).
fn read_ata(table: &[Value], health: &mut DeviceHealth, findings: &mut Findings) {
    let attribute = |id: u64| table.iter().find(|entry| entry["id"].as_u64() == Some(id));
    let raw = |id: u64| attribute(id).and_then(|entry| entry["raw"]["value"].as_u64());
    findings.known = true;
    for (id, verdict, what) in [
        (5, Verdict::Warning, "sectors were replaced by spare ones"),
        (197, Verdict::Critical, "sectors cannot be read"),
        (198, Verdict::Critical, "sectors are lost"),
    ] {
        if let Some(count) = raw(id).filter(|count| *count > 0) {
            findings.add(verdict, format!("{count} {what}"));
        }
    }
    if let Some(count) = raw(199).filter(|count| *count > 0) {
        findings.add(
            Verdict::Warning,
            format!("{count} transfers had errors: look at the cable"),
        );
    }
    // Life left, as a value that counts down from 100: Samsung, Micron, SandForce, Intel.
    let left = [177, 202, 231, 233].into_iter().find_map(|id| {
        attribute(id)?["value"]
            .as_u64()
            .filter(|value| *value <= 100)
    });
    health.wear_percent = left.map(|left| 100 - left);
    // Total_LBAs_Written, in sectors of 512 bytes.
    health.written_bytes = raw(241).map(|sectors| sectors.saturating_mul(512));
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

fn text(path: &Path) -> Option<String> {
    let text = fsx::read_text(path, 4096).ok()?;
    Some(text.trim().to_owned())
}

/// What the kernel shows of an eMMC (`Documentation/driver-api/mmc/mmc-dev-attrs.rst`): life in
/// steps of ten percent, and the reserve's state. SD cards show neither.
fn read_mmc(dir: &Path, health: &mut DeviceHealth, findings: &mut Findings) {
    health.model = health.model.take().or_else(|| text(&dir.join("name")));
    let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    if let Some(life) = text(&dir.join("life_time")) {
        let steps = life.split_whitespace().filter_map(hex).max().unwrap_or(0);
        // 1 is 0 to 10 percent, 10 is 90 to 100, 11 is beyond; 0 says nothing (JESD84-B51).
        if steps > 0 {
            findings.known = true;
            health.wear_percent = Some((steps - 1) * 10);
        }
    }
    match text(&dir.join("pre_eol_info")).as_deref().and_then(hex) {
        Some(1) => findings.known = true,
        Some(2) => findings.add(
            Verdict::Warning,
            "four fifths of its reserve are used".to_owned(),
        ),
        Some(3) => findings.add(Verdict::Critical, "its reserve is used up".to_owned()),
        _ => {}
    }
}

/// Errors that the kernel counted at a SCSI or USB disk (sysfs, `ioerr_cnt`, hexadecimal).
fn read_kernel(dir: &Path, findings: &mut Findings) {
    let count = text(&dir.join("ioerr_cnt"))
        .and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
    // A few are normal: questions that a bridge does not understand count as well.
    if let Some(count) = count.filter(|count| *count > 100) {
        findings.add(
            Verdict::Warning,
            format!("the kernel counted {count} failed commands: look at cable and power"),
        );
    }
}

/// `btrfs --format json device stats`: errors that the file system met, since they were reset.
fn read_btrfs(json: &Value, device: &Path, findings: &mut Findings) {
    let all = json["device-stats"].as_array();
    let mine = all.into_iter().flatten().find(|entry| {
        let name = entry["device"].as_str();
        name.is_some_and(|name| Path::new(name) == device)
    });
    // That nothing was met so far says nothing about the disk.
    let Some(stats) = mine else { return };
    for (key, verdict, what) in [
        ("write_io_errs", Verdict::Critical, "writes failed"),
        ("read_io_errs", Verdict::Critical, "reads failed"),
        ("flush_io_errs", Verdict::Critical, "flushes failed"),
        (
            "corruption_errs",
            Verdict::Critical,
            "blocks were not as written",
        ),
        ("generation_errs", Verdict::Critical, "blocks were old ones"),
    ] {
        let value = &stats[key];
        let count = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        if let Some(count) = count.filter(|count| *count > 0) {
            findings.add(verdict, format!("{count} {what} (btrfs device stats)"));
        }
    }
}

/// The disk that a partition lies on, or the disk itself.
fn disk_of(sys: &Path, node: &Path) -> Option<String> {
    let name = node.file_name()?.to_str()?;
    let dir = std::fs::canonicalize(sys.join("class/block").join(name)).ok()?;
    let disk = if dir.join("partition").exists() {
        dir.parent()?
    } else {
        &dir
    };
    disk.file_name()?.to_str().map(str::to_owned)
}

/// Asks one disk. `node` is the device or partition that the pool lies on. Blocks.
fn ask(sys: &Path, node: &Path, data: &Path) -> DeviceHealth {
    let name = disk_of(sys, node).unwrap_or_else(|| node.display().to_string());
    let mut health = DeviceHealth::new(&name);
    let mut findings = Findings::default();
    let dir = sys.join("class/block").join(&name).join("device");
    if name.starts_with("mmcblk") {
        read_mmc(&dir, &mut health, &mut findings);
    } else {
        let device = format!("/dev/{name}");
        // Its exit code is a set of bits about the disk, not about success (smartctl(8)).
        let args = ["--json=c", "-a", &device];
        match tool::run("smartctl", &args, None, LIMIT).map(|answer| answer.stdout) {
            Ok(text) => match serde_json::from_str::<Value>(&text) {
                Ok(json) => read_smart(&json, &mut health, &mut findings),
                Err(error) => tracing::debug!("smartctl about {device}: {error}"),
            },
            Err(error) => tracing::debug!("{error}"),
        }
        read_kernel(&dir, &mut findings);
    }
    let args = [
        "--format",
        "json",
        "device",
        "stats",
        &data.to_string_lossy(),
    ];
    if let Ok(answer) = tool::run("btrfs", &args, None, LIMIT).and_then(tool::Answer::success)
        && let Ok(json) = serde_json::from_str::<Value>(&answer.stdout)
    {
        read_btrfs(&json, node, &mut findings);
    }
    judge_wear(&health, &mut findings);
    health.forecast();
    since_start(sys, &name, &mut health);
    health.verdict = findings.verdict();
    health.reasons = findings.reasons;
    health
}

/// Where the disk does not tell what was written to it, the kernel does, since the start of the
/// board (`Documentation/block/stat.rst`: the seventh number is sectors written).
fn since_start(sys: &Path, name: &str, health: &mut DeviceHealth) {
    if health.written_bytes_per_day.is_some() {
        return;
    }
    let sectors = text(&sys.join("class/block").join(name).join("stat"))
        .and_then(|stat| stat.split_whitespace().nth(6)?.parse::<u64>().ok());
    let seconds = text(Path::new("/proc/uptime"))
        .and_then(|uptime| uptime.split('.').next()?.parse::<u64>().ok());
    if let (Some(sectors), Some(seconds)) = (sectors, seconds.filter(|seconds| *seconds >= 3600)) {
        health.written_bytes_per_day = Some(sectors.saturating_mul(512) / seconds * 86_400);
    }
}

/// Asks the disk of the pool and, where it is another one, that of the boot medium. Blocks; needs
/// root.
pub fn ask_all(paths: &Paths) -> HealthReport {
    let sys = Path::new("/sys");
    let mounts = fsx::read_text(Path::new("/proc/self/mountinfo"), MAX_BYTES).unwrap_or_default();
    let data = paths.data();
    let mut nodes: Vec<PathBuf> = Vec::new();
    for target in [data.as_path(), Path::new("/boot/firmware"), Path::new("/")] {
        let node = super::btrfs::source_of(&mounts, target);
        let node = node.and_then(|node| std::fs::canonicalize(node).ok());
        if let Some(node) = node.filter(|node| node.starts_with("/dev")) {
            let disk = disk_of(sys, &node);
            if !nodes.iter().any(|known| disk_of(sys, known) == disk) {
                nodes.push(node);
            }
        }
    }
    HealthReport {
        at: now_rfc3339(),
        devices: nodes.iter().map(|node| ask(sys, node, &data)).collect(),
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
        let file = paths.health_report();
        match fsx::read_text(&file, MAX_BYTES) {
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| FsError::wrap("understand", &file)(std::io::Error::other(error))),
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn smart(json: &Value) -> DeviceHealth {
        let mut health = DeviceHealth::new("sda");
        let mut findings = Findings::default();
        read_smart(json, &mut health, &mut findings);
        judge_wear(&health, &mut findings);
        health.forecast();
        health.verdict = findings.verdict();
        health.reasons = findings.reasons;
        health
    }

    #[test]
    fn an_nvme_disk_tells_wear_and_when_its_life_ends() {
        let health = smart(&json!({
            "model_name": "NVMe 256", "smart_status": {"passed": true},
            "temperature": {"current": 41}, "power_on_time": {"hours": 2400},
            "nvme_smart_health_information_log": {
                "critical_warning": 0, "available_spare": 100, "available_spare_threshold": 10,
                "percentage_used": 20, "data_units_written": 2_000_000, "media_errors": 0
            }
        }));
        assert_eq!(health.verdict, Verdict::Healthy, "{health:?}");
        assert_eq!(health.wear_percent, Some(20));
        assert_eq!(health.days_left, Some(400));
        assert_eq!(health.written_bytes_per_day, Some(10_240_000_000));
    }

    #[test]
    fn a_disk_that_fails_says_why() {
        let nvme = smart(&json!({
            "smart_status": {"passed": false}, "temperature": {"current": 82},
            "nvme_smart_health_information_log": {
                "critical_warning": 4, "available_spare": 5, "available_spare_threshold": 10,
                "percentage_used": 97, "media_errors": 3
            }
        }));
        assert_eq!(nvme.verdict, Verdict::Critical);
        assert_eq!(nvme.reasons.len(), 6, "{:?}", nvme.reasons);
        let attribute = |id: u64, value: u64, raw: u64| json!({"id": id, "value": value, "raw": {"value": raw}});
        let ata = smart(&json!({
            "smart_status": {"passed": true}, "power_on_time": {"hours": 240},
            "ata_smart_attributes": {"table": [
                attribute(5, 100, 0), attribute(197, 100, 2), attribute(199, 100, 7),
                attribute(177, 15, 900), attribute(241, 99, 4_000_000)
            ]}
        }));
        assert_eq!(ata.verdict, Verdict::Critical);
        let reasons = ata.reasons.join("; ");
        for part in ["2 sectors cannot be read", "cable", "85 % of its life"] {
            assert!(reasons.contains(part), "{reasons}");
        }
        assert_eq!(ata.written_bytes, Some(2_048_000_000));
    }

    #[test]
    fn a_disk_that_says_nothing_is_unknown_and_never_healthy() {
        assert_eq!(smart(&json!({})).verdict, Verdict::Unknown);
        let usb = json!({"smartctl": {"messages": [{"string": "Unknown USB bridge"}]}});
        assert_eq!(smart(&usb).verdict, Verdict::Unknown);
    }

    #[test]
    fn an_emmc_is_read_from_sysfs_and_an_sd_card_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            fsx::write_volatile(&dir.path().join(name), text.as_bytes(), 0o644).unwrap();
        };
        let look = || {
            let mut health = DeviceHealth::new("mmcblk0");
            let mut findings = Findings::default();
            read_mmc(dir.path(), &mut health, &mut findings);
            judge_wear(&health, &mut findings);
            (findings.verdict(), health)
        };
        put("name", "SC32G\n");
        let (verdict, health) = look();
        assert_eq!(
            (verdict, health.model.as_deref()),
            (Verdict::Unknown, Some("SC32G"))
        );
        put("life_time", "0x02 0x03\n");
        put("pre_eol_info", "0x01\n");
        let (verdict, health) = look();
        assert_eq!((verdict, health.wear_percent), (Verdict::Healthy, Some(20)));
        put("life_time", "0x0b 0x01\n");
        put("pre_eol_info", "0x03\n");
        assert_eq!(look().0, Verdict::Critical);
    }

    #[test]
    fn errors_that_btrfs_met_count_for_the_device_that_had_them() {
        let json = json!({"device-stats": [
            {"device": "/dev/sda", "devid": "1", "write_io_errs": "0", "read_io_errs": "2",
             "flush_io_errs": "0", "corruption_errs": "1", "generation_errs": "0"},
            {"device": "/dev/sdb", "write_io_errs": 5}
        ]});
        let mut findings = Findings::default();
        read_btrfs(&json, Path::new("/dev/sda"), &mut findings);
        assert_eq!(findings.verdict(), Verdict::Critical);
        assert_eq!(findings.reasons.len(), 2);
        let mut none = Findings::default();
        read_btrfs(&json, Path::new("/dev/sdc"), &mut none);
        assert_eq!(none.verdict(), Verdict::Unknown);
    }
}

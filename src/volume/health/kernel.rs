//! What the kernel and btrfs know of a disk: life of an eMMC, failed commands, errors that the file
//! system met, bytes written since the start.

use std::path::Path;

use serde_json::Value;

use super::{DeviceHealth, Findings, Verdict};
use crate::fsx;

fn text(path: &Path) -> Option<String> {
    fsx::read_value(path).ok()
}

/// What the kernel shows of an eMMC (`Documentation/driver-api/mmc/mmc-dev-attrs.rst`): life in
/// steps of ten percent, and the reserve's state. SD cards show neither.
pub(super) fn read_mmc(dir: &Path, health: &mut DeviceHealth, findings: &mut Findings) {
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
pub(super) fn read_kernel(dir: &Path, findings: &mut Findings) {
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
pub(super) fn read_btrfs(json: &Value, device: &Path, findings: &mut Findings) {
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

/// Where the disk does not tell what was written to it, the kernel does, since the start of the
/// board (`Documentation/block/stat.rst`: the seventh number is sectors written).
pub(super) fn since_start(sys: &Path, name: &str, health: &mut DeviceHealth) {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::judge_wear;
    use super::*;

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

//! What a disk says of itself: NVMe's health log and ATA's attributes, in smartctl's JSON.

use serde_json::Value;

use super::{DeviceHealth, Findings, Verdict};

/// Degrees Celsius above which flash loses data faster than its makers promise (JESD218: 55 °C
/// active for client drives; most makers give 70 °C as the limit).
const HOT: i64 = 70;

/// What `smartctl --json -a` says (its `smartctl_schema`): NVMe's health log, ATA's attributes.
pub(super) fn read(json: &Value, health: &mut DeviceHealth, findings: &mut Findings) {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::judge_wear;
    use super::*;

    fn smart(json: &Value) -> DeviceHealth {
        let mut health = DeviceHealth::new("sda");
        let mut findings = Findings::default();
        read(json, &mut health, &mut findings);
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
}

//! What the kernel's log says of a disk since the start of the board: I/O errors, resets of its USB
//! bridge, voltage that dropped.

use std::path::Path;

use serde_json::Value;

use super::{Findings, Verdict};
use crate::fsx;

/// One reset belongs to the plugging in of many bridges.
const RESETS: usize = 3;

/// A USB device that a disk is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bridge {
    /// Port, as the kernel's log names it: `2-1`.
    port: String,
    /// `uas` or `usb-storage`.
    driver: String,
    /// `VENDOR:PRODUCT`, in hexadecimal.
    id: String,
}

impl Bridge {
    /// The bridge of a disk, by the path of `dir`, its directory in sysfs.
    pub(super) fn of(dir: &Path) -> Option<Self> {
        let dir = std::fs::canonicalize(dir).ok()?;
        // An interface, such as 2-1:1.0, lies below its device, 2-1.
        let is_interface = |dir: &&Path| {
            let name = dir.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.contains('-') && name.contains(":1."))
        };
        let interface = dir.ancestors().find(is_interface)?;
        let device = interface.parent()?;
        let driver = std::fs::read_link(interface.join("driver")).ok();
        let text = |file: &str| fsx::read_value(&device.join(file)).unwrap_or_default();
        Some(Self {
            port: device.file_name()?.to_str()?.to_owned(),
            driver: driver
                .and_then(|driver| Some(driver.file_name()?.to_str()?.to_owned()))
                .unwrap_or_default(),
            id: format!("{}:{}", text("idVendor"), text("idProduct")),
        })
    }
}

/// `dmesg --json` (dmesg(1)): what it says of the disk `name`.
pub(super) fn read(json: &Value, name: &str, bridge: Option<&Bridge>, findings: &mut Findings) {
    let count = |fits: &dyn Fn(&str) -> bool| {
        let lines = json["dmesg"].as_array().into_iter().flatten();
        lines
            .filter(|line| line["msg"].as_str().is_some_and(fits))
            .count()
    };
    let error = format!("I/O error, dev {name}, ");
    let errors = count(&|line| line.contains(&error));
    if errors > 0 {
        findings.add(
            Verdict::Warning,
            format!("{errors} I/O errors since the start of the board: journalctl -k"),
        );
    }
    let Some(bridge) = bridge else { return };
    let reset = format!("usb {}: reset ", bridge.port);
    let resets = count(&|line| line.starts_with(&reset));
    if resets >= RESETS {
        let quirk = if bridge.driver == "uas" {
            format!(
                "; if it goes on, add usb-storage.quirks={}:u to cmdline.txt",
                bridge.id
            )
        } else {
            String::new()
        };
        findings.add(
            Verdict::Warning,
            format!(
                "its USB bridge ({}) was reset {resets} times since the start of the board: look at \
                 cable and power{quirk}",
                bridge.driver
            ),
        );
    }
    let drops = count(&|line| line.ends_with("Undervoltage detected!"));
    if drops > 0 {
        findings.add(
            Verdict::Warning,
            format!(
                "the board had too little voltage {drops} times since its start: disks at USB drop \
                 out then; use the power supply made for it"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(texts: &[&str]) -> Value {
        let lines: Vec<_> = texts.iter().map(|text| json!({"msg": text})).collect();
        json!({ "dmesg": lines })
    }

    #[test]
    fn errors_resets_and_voltage_of_this_disk_are_counted() {
        let reset = "usb 2-1: reset SuperSpeed USB device number 2 using xhci_hcd";
        let log = lines(&[
            "I/O error, dev sda, sector 2048 op 0x0:(READ)",
            "blk_update_request: I/O error, dev sda, sector 9",
            "I/O error, dev sdab, sector 1",
            reset,
            reset,
            reset,
            "usb 2-1.4: reset high-speed USB device number 3",
            "hwmon hwmon1: Undervoltage detected!",
        ]);
        let bridge = Bridge {
            port: "2-1".to_owned(),
            driver: "uas".to_owned(),
            id: "152d:0578".to_owned(),
        };
        let mut findings = Findings::default();
        read(&log, "sda", Some(&bridge), &mut findings);
        let reasons = findings.reasons.join("\n");
        assert!(reasons.contains("2 I/O errors"), "{reasons}");
        assert!(reasons.contains("reset 3 times") && reasons.contains("quirks=152d:0578:u"));
        assert!(reasons.contains("too little voltage 1 times"));
        let mut card = Findings::default();
        read(&log, "mmcblk0", None, &mut card);
        assert_eq!(card.verdict(), Verdict::Unknown);
    }

    #[test]
    fn the_bridge_of_a_disk_is_found_in_its_path() {
        let sys = tempfile::tempdir().unwrap();
        let device = sys.path().join("usb2/2-1");
        let disk = device.join("2-1:1.0/host0/target0:0:0/0:0:0:0");
        std::fs::create_dir_all(&disk).unwrap();
        std::fs::create_dir_all(sys.path().join("drivers/uas")).unwrap();
        std::os::unix::fs::symlink(
            sys.path().join("drivers/uas"),
            device.join("2-1:1.0/driver"),
        )
        .unwrap();
        for (file, text) in [("idVendor", "152d\n"), ("idProduct", "0578\n")] {
            fsx::write_volatile(&device.join(file), text.as_bytes(), 0o644).unwrap();
        }
        let bridge = Bridge::of(&disk).unwrap();
        assert_eq!(
            (bridge.port.as_str(), bridge.driver.as_str()),
            ("2-1", "uas")
        );
        assert_eq!(bridge.id, "152d:0578");
        assert_eq!(Bridge::of(sys.path()), None);
    }
}

//! Temperature, throttling, supply voltage, clock.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Signals;
use super::tree::Tree;

/// 2026-01-01 00:00 UTC in seconds since 1970: no later than this version of Lucid, so an
/// earlier clock is wrong. A clock that nothing set starts in 1970.
const CLOCK_FLOOR: u64 = 1_767_225_600;

/// Bits of the firmware's `get_throttled` word that mean "now" (Raspberry Pi documentation,
/// "vcgencmd", get_throttled). Bits 16 to 19 say the same of the past and are not asked.
const UNDERVOLTAGE: u32 = 1 << 0;
/// Frequency capped, throttled, soft temperature limit (which lowers the clock of a 3B+).
const SLOWED: u32 = 1 << 1 | 1 << 2 | 1 << 3;

/// Thermal zones of processors, best first: Raspberry Pi, other boards, Intel package, ACPI.
const ZONES: [&str; 5] = [
    "cpu-thermal",
    "cpu_thermal",
    "soc-thermal",
    "x86_pkg_temp",
    "acpitz",
];

/// Monitoring chips inside processors that have no thermal zone.
const CHIPS: [&str; 3] = ["coretemp", "k10temp", "cpu_thermal"];

/// Chips of fans: the one of a Pi 5 (pwm-fan), and boards whose firmware drives one.
const FANS: [&str; 2] = ["pwmfan", "rpi_poe_fan"];

/// Reads the signals as they are at `now`.
pub(super) fn read_at(root: &Path, now: SystemTime) -> Signals {
    let tree = Tree::new(root);
    let throttle = throttle_word(&tree);
    let alarm = alarms(&tree).find_map(|name| tree.flag(&name));
    let firmware = throttle.map(|word| word & UNDERVOLTAGE != 0);
    Signals {
        temperature_celsius: temperature(&tree),
        throttled: match (throttle.map(|word| word & SLOWED != 0), cooled(&tree)) {
            (None, None) => None,
            (a, b) => Some(a == Some(true) || b == Some(true)),
        },
        undervoltage: match (firmware, alarm) {
            (None, None) => None,
            (a, b) => Some(a == Some(true) || b == Some(true)),
        },
        fan_rpm: hwmon(&tree, &FANS).find_map(|chip| tree.number(&format!("{chip}/fan1_input"))),
        clock_set: clock_set(&tree, now),
    }
}

/// Alarms of the supply voltage, where the kernel was built to ask the firmware for it
/// (`SENSORS_RASPBERRYPI_HWMON`).
fn alarms<'a>(tree: &'a Tree<'_>) -> impl Iterator<Item = String> + 'a {
    hwmon(tree, &["rpi_volt"]).map(|chip| format!("{chip}/in0_lcrit_alarm"))
}

/// See [`Signals::voltage_alarm`].
pub(super) fn voltage_alarm(root: &Path) -> Option<PathBuf> {
    let tree = Tree::new(root);
    alarms(&tree)
        .map(|name| tree.path(&name))
        .find(|path| path.exists())
}

/// The firmware's throttling word, which Raspberry Pi's own kernel shows in hexadecimal without
/// `0x` (raspberrypi/linux pull 2397). The kernel calls the file deprecated and warns once per
/// boot when it is read, but hwmon, its replacement, knows the voltage only.
///
/// The file hangs on the firmware's device: `soc/soc:firmware` up to the Pi 4; the parent's name
/// carries an address on the Pi 5, and there some kernels have no such file.
fn throttle_word(tree: &Tree<'_>) -> Option<u32> {
    const PLATFORM: &str = "sys/devices/platform";
    tree.names(PLATFORM)
        .iter()
        .filter(|name| name.starts_with("soc"))
        .find_map(|soc| {
            throttle_bits(&tree.text(&format!("{PLATFORM}/{soc}/{soc}:firmware/get_throttled"))?)
        })
}

/// Whether the kernel itself slows the processor because of heat
/// (`Documentation/driver-api/thermal/cpu-cooling-api.rst`): what a kernel knows that cannot ask
/// the firmware. `None` where no cooling device slows a processor.
fn cooled(tree: &Tree<'_>) -> Option<bool> {
    const CLASS: &str = "sys/class/thermal";
    let devices = tree.names(CLASS).into_iter();
    let states: Vec<bool> = devices
        .filter(|name| name.starts_with("cooling_device"))
        .filter(|name| {
            let kind = tree.text(&format!("{CLASS}/{name}/type"));
            kind.is_some_and(|kind| kind.contains("cpufreq"))
        })
        .filter_map(|name| tree.flag(&format!("{CLASS}/{name}/cur_state")))
        .collect();
    (!states.is_empty()).then(|| states.contains(&true))
}

fn throttle_bits(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// Directories of hwmon chips of the given names.
fn hwmon<'a>(tree: &'a Tree<'_>, names: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    let chips = tree.names("sys/class/hwmon");
    chips
        .into_iter()
        .map(|chip| format!("sys/class/hwmon/{chip}"))
        .filter(|chip| {
            tree.text(&format!("{chip}/name"))
                .is_some_and(|name| names.contains(&name.as_str()))
        })
}

/// The processor's temperature in degrees Celsius.
fn temperature(tree: &Tree<'_>) -> Option<f64> {
    let zones: Vec<(String, String)> = tree
        .names("sys/class/thermal")
        .into_iter()
        .filter(|name| name.starts_with("thermal_zone"))
        .map(|name| format!("sys/class/thermal/{name}"))
        .filter_map(|zone| Some((tree.text(&format!("{zone}/type"))?, zone)))
        .collect();
    let from_zone = ZONES.iter().find_map(|wanted| {
        let mut of_type = zones.iter().filter(|(kind, _)| kind == wanted);
        of_type.find_map(|(_, zone)| degrees(tree.number(&format!("{zone}/temp"))?))
    });
    from_zone.or_else(|| {
        hwmon(tree, &CHIPS).find_map(|chip| degrees(tree.number(&format!("{chip}/temp1_input"))?))
    })
}

/// Thousandths of a degree as degrees (`Documentation/driver-api/thermal/sysfs-api.rst`). What no
/// running chip has, a sensor that is not wired reports.
fn degrees(millidegrees: i32) -> Option<f64> {
    (-40_000..=150_000)
        .contains(&millidegrees)
        .then(|| f64::from(millidegrees) / 1000.0)
}

/// Whether the clock can be trusted; the rule is told at [`Signals::read`].
fn clock_set(tree: &Tree<'_>, now: SystemTime) -> bool {
    // systemd-timesyncd.service(8): the file is touched at each synchronisation; its directory
    // lives as long as the service.
    const TIMESYNC: &str = "run/systemd/timesync";
    if now < SystemTime::UNIX_EPOCH + Duration::from_secs(CLOCK_FLOOR) {
        return false;
    }
    let unsynchronised =
        tree.path(TIMESYNC).is_dir() && !tree.path(&format!("{TIMESYNC}/synchronized")).exists();
    !unsynchronised || from_hardware_clock(tree)
}

/// Whether the kernel took the time from a real-time clock, and that clock itself was set: the
/// one of a Pi 5 without a battery starts in 1970 (`Documentation/ABI/testing/sysfs-class-rtc`).
fn from_hardware_clock(tree: &Tree<'_>) -> bool {
    tree.names("sys/class/rtc").iter().any(|rtc| {
        let place = format!("sys/class/rtc/{rtc}");
        tree.flag(&format!("{place}/hctosys")) == Some(true)
            && tree
                .number::<u64>(&format!("{place}/since_epoch"))
                .is_some_and(|seconds| seconds >= CLOCK_FLOOR)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree::fixture::machine;
    use super::*;
    use proptest::prelude::*;

    fn at(files: &[(&str, &str)], seconds: u64) -> Signals {
        let dir = machine(files);
        read_at(
            dir.path(),
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        )
    }

    const WORD: &str = "sys/devices/platform/soc/soc:firmware/get_throttled";

    #[test]
    fn only_the_bits_of_the_present_count() {
        for (word, throttled, undervoltage) in [
            ("0", false, false),
            ("f0000", false, false),
            ("50005", true, true),
            ("1", false, true),
            ("2", true, false),
            ("4", true, false),
            ("80008", true, false),
            ("0x50000\n", false, false),
        ] {
            let signals = at(&[(WORD, word)], 0);
            assert_eq!(signals.throttled, Some(throttled), "{word}");
            assert_eq!(signals.undervoltage, Some(undervoltage), "{word}");
        }
    }

    #[test]
    fn a_word_that_cannot_be_read_is_unknown_not_fine() {
        for files in [&[][..], &[(WORD, "")], &[(WORD, "throttled")]] {
            let signals = at(files, 0);
            assert_eq!((signals.throttled, signals.undervoltage), (None, None));
        }
    }

    #[test]
    fn the_voltage_alarm_counts_beside_the_word_and_alone() {
        let chip = ("sys/class/hwmon/hwmon1/name", "rpi_volt\n");
        let alarm = ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n");
        let quiet = ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n");
        assert_eq!(at(&[chip, alarm], 0).undervoltage, Some(true));
        assert_eq!(at(&[chip, alarm], 0).throttled, None);
        assert_eq!(at(&[chip, quiet], 0).undervoltage, Some(false));
        assert_eq!(at(&[chip, alarm, (WORD, "0")], 0).undervoltage, Some(true));
        assert_eq!(at(&[chip, quiet, (WORD, "1")], 0).undervoltage, Some(true));
        let other = ("sys/class/hwmon/hwmon1/name", "acpi\n");
        assert_eq!(at(&[other, alarm], 0).undervoltage, None);
    }

    #[test]
    fn the_processors_own_zone_is_preferred() {
        let files = [
            ("sys/class/thermal/thermal_zone0/type", "acpitz\n"),
            ("sys/class/thermal/thermal_zone0/temp", "27800\n"),
            ("sys/class/thermal/thermal_zone1/type", "x86_pkg_temp\n"),
            ("sys/class/thermal/thermal_zone1/temp", "61500\n"),
            ("sys/class/thermal/cooling_device0/type", "cpu-thermal\n"),
        ];
        assert_eq!(at(&files, 0).temperature_celsius, Some(61.5));
        assert_eq!(at(&files[..2], 0).temperature_celsius, Some(27.8));
    }

    #[test]
    fn impossible_temperatures_are_unknown_and_chips_serve_where_zones_do_not() {
        let zone = ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
        for wrong in ["-274000", "999999", "warm", ""] {
            let temp = ("sys/class/thermal/thermal_zone0/temp", wrong);
            assert_eq!(at(&[zone, temp], 0).temperature_celsius, None, "{wrong}");
        }
        let chip = [
            ("sys/class/hwmon/hwmon3/name", "k10temp\n"),
            ("sys/class/hwmon/hwmon3/temp1_input", "-2125\n"),
        ];
        assert_eq!(at(&chip, 0).temperature_celsius, Some(-2.125));
    }

    #[test]
    fn a_processor_that_the_kernel_slows_is_throttled_whoever_else_is_silent() {
        let device = |state| {
            at(
                &[
                    ("sys/class/thermal/cooling_device0/type", "cpufreq-cpu0\n"),
                    ("sys/class/thermal/cooling_device0/cur_state", state),
                    ("sys/class/thermal/cooling_device1/type", "pwm-fan\n"),
                    ("sys/class/thermal/cooling_device1/cur_state", "3\n"),
                ],
                0,
            )
            .throttled
        };
        assert_eq!(device("0\n"), Some(false));
        assert_eq!(device("2\n"), Some(true));
        let fan_alone = [("sys/class/thermal/cooling_device1/type", "pwm-fan\n")];
        assert_eq!(at(&fan_alone, 0).throttled, None);
    }

    #[test]
    fn the_speed_of_the_boards_fan_is_read_and_no_other_fan() {
        let fan = |name| {
            let files = [
                ("sys/class/hwmon/hwmon2/name", name),
                ("sys/class/hwmon/hwmon2/fan1_input", "3120\n"),
            ];
            at(&files, 0).fan_rpm
        };
        assert_eq!(fan("pwmfan\n"), Some(3120));
        assert_eq!(fan("nct6775\n"), None);
    }

    #[test]
    fn a_clock_before_the_floor_is_not_set_whatever_else_is_said() {
        let synchronised = [("run/systemd/timesync/synchronized", "")];
        assert!(!at(&synchronised, CLOCK_FLOOR - 1).clock_set);
        assert!(at(&synchronised, CLOCK_FLOOR).clock_set);
        assert!(at(&[], CLOCK_FLOOR).clock_set);
        assert!(!at(&[], 0).clock_set);
    }

    #[test]
    fn a_remembered_time_is_not_a_set_clock() {
        let waiting = ("run/systemd/timesync/lock", "");
        assert!(!at(&[waiting], CLOCK_FLOOR).clock_set);
        let took = ("sys/class/rtc/rtc0/hctosys", "1\n");
        let did_not = ("sys/class/rtc/rtc0/hctosys", "0\n");
        let right = ("sys/class/rtc/rtc0/since_epoch", "1790000000\n");
        let unset = ("sys/class/rtc/rtc0/since_epoch", "51\n");
        assert!(at(&[waiting, took, right], CLOCK_FLOOR).clock_set);
        assert!(!at(&[waiting, took, unset], CLOCK_FLOOR).clock_set);
        assert!(!at(&[waiting, did_not, right], CLOCK_FLOOR).clock_set);
    }

    proptest! {
        #[test]
        fn any_word_and_temperature_are_read_or_refused_without_panic(text in "\\PC*", milli: i32) {
            let _ = throttle_bits(&text);
            prop_assert_eq!(degrees(milli).is_some(), (-40_000..=150_000).contains(&milli));
        }
    }
}

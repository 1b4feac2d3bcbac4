//! Each captured tree in `tests/boards` is read whole and compared field by field; the machine
//! that runs the tests is compared with what other programs say of it.

// clippy.toml spares tests, but not the helpers of an integration test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

use lucid::board::{Board, CpuFeatures, Disk, DiskKind, Family, Kernel, MemoryCgroup, Signals};

fn tree(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/boards")
        .join(name)
}

fn board(name: &str) -> Board {
    Board::read(&tree(name)).unwrap()
}

fn disk(name: &str, kind: DiskKind, sectors: u64, model: Option<&str>) -> Disk {
    Disk {
        name: name.to_owned(),
        kind,
        size_bytes: sectors * 512,
        model: model.map(str::to_owned),
        read_only: false,
    }
}

fn kernel(release: &str, version: (u32, u32, u32)) -> Kernel {
    Kernel {
        release: release.to_owned(),
        version,
    }
}

/// A Cortex-A53 or A72, or (with `armv8_2`) an A76.
fn arm(armv8_2: bool) -> CpuFeatures {
    CpuFeatures {
        arch: "aarch64",
        lse_atomics: armv8_2,
        armv8_2,
        avx: false,
    }
}

/// The reason why the memory cgroup is missing, taken out so that the rest compares whole.
fn take_reason(board: &mut Board) -> String {
    let none = MemoryCgroup::Missing(String::new());
    match std::mem::replace(&mut board.memory_cgroup, none) {
        MemoryCgroup::Missing(reason) => reason,
        MemoryCgroup::Available(point) => panic!("available at {}", point.display()),
    }
}

fn signals(name: &str, celsius: f64, throttled: Option<bool>, undervoltage: Option<bool>) {
    let found = Signals::read(&tree(name));
    assert_eq!(found.temperature_celsius, Some(celsius));
    assert_eq!(found.throttled, throttled);
    assert_eq!(found.undervoltage, undervoltage);
}

#[test]
fn a_zero_2_w_is_read_from_proc_and_told_to_enable_its_memory_cgroup() {
    let mut found = board("zero-2-w");
    let reason = take_reason(&mut found);
    assert!(reason.contains("cgroup_disable=memory"), "{reason}");
    assert!(reason.contains("add cgroup_enable=memory"), "{reason}");
    assert!(reason.contains("cmdline.txt"), "{reason}");
    let wanted = Board {
        model: "Raspberry Pi Zero 2 W Rev 1.0".to_owned(),
        family: Family::Zero2W,
        revision: Some(0x90_2120),
        memory_bytes: 427_104 * 1024,
        cpus: 4,
        cpu: arm(false),
        page_size: 4096,
        va_bits: Some(39),
        kernel: kernel("6.12.47+rpt-rpi-v8", (6, 12, 47)),
        memory_cgroup: MemoryCgroup::Missing(String::new()),
        disks: vec![disk("mmcblk0", DiskKind::Sd, 62_333_952, Some("SC32G"))],
        simulated: false,
    };
    assert_eq!(found, wanted);
    assert!(found.is_pi());
    signals("zero-2-w", 47.774, Some(false), Some(false));
}

#[test]
fn a_pi_3b_plus_under_an_old_kernel_reports_its_weak_supply_and_its_stick() {
    let mut found = board("pi-3b-plus");
    let reason = take_reason(&mut found);
    assert!(reason.contains("cgroup_enable=memory"), "{reason}");
    let wanted = Board {
        model: "Raspberry Pi 3 Model B Plus Rev 1.3".to_owned(),
        family: Family::Pi3,
        revision: Some(0xa0_20d3),
        memory_bytes: 932_808 * 1024,
        cpus: 4,
        cpu: arm(false),
        page_size: 4096,
        va_bits: Some(39),
        kernel: kernel("5.15.84-v8+", (5, 15, 84)),
        memory_cgroup: MemoryCgroup::Missing(String::new()),
        disks: vec![
            disk("mmcblk0", DiskKind::Sd, 31_116_288, Some("USDU1")),
            disk("sda", DiskKind::UsbSsd, 60_062_500, Some("Ultra Fit")),
        ],
        simulated: false,
    };
    assert_eq!(found, wanted);
    signals("pi-3b-plus", 61.224, Some(true), Some(true));
}

#[test]
fn a_pi_4b_with_the_memory_cgroup_enabled_has_no_armv8_2() {
    let wanted = Board {
        model: "Raspberry Pi 4 Model B Rev 1.5".to_owned(),
        family: Family::Pi4,
        revision: Some(0xc0_3115),
        memory_bytes: 3_885_372 * 1024,
        cpus: 4,
        cpu: arm(false),
        page_size: 4096,
        va_bits: Some(39),
        kernel: kernel("6.12.47+rpt-rpi-v8", (6, 12, 47)),
        memory_cgroup: MemoryCgroup::Available(PathBuf::from("/sys/fs/cgroup")),
        disks: vec![
            Disk {
                read_only: true,
                ..disk("mmcblk0", DiskKind::Sd, 124_735_488, Some("SD64G"))
            },
            disk(
                "sda",
                DiskKind::UsbSsd,
                976_773_168,
                Some("Portable SSD T5"),
            ),
        ],
        simulated: false,
    };
    assert_eq!(board("pi-4b"), wanted);
    // It was throttled and short of voltage in the past; only the present counts.
    signals("pi-4b", 52.095, Some(false), Some(false));
}

#[test]
fn a_pi_5_with_a_4k_kernel_has_armv8_2_and_admits_what_it_cannot_know() {
    let wanted = Board {
        model: "Raspberry Pi 5 Model B Rev 1.1".to_owned(),
        family: Family::Pi5,
        revision: Some(0xd0_4171),
        memory_bytes: 8_128_640 * 1024,
        cpus: 4,
        cpu: arm(true),
        page_size: 4096,
        va_bits: Some(48),
        kernel: kernel("7.3.4+deb13-arm64", (7, 3, 4)),
        memory_cgroup: MemoryCgroup::Available(PathBuf::from("/sys/fs/cgroup")),
        disks: vec![
            disk("mmcblk0", DiskKind::Sd, 62_333_952, Some("SN32G")),
            disk(
                "nvme0n1",
                DiskKind::Nvme,
                1_000_215_216,
                Some("RPI SSD 512GB"),
            ),
        ],
        simulated: false,
    };
    assert_eq!(board("pi-5-4k"), wanted);
    signals("pi-5-4k", 44.65, None, None);
    assert!(Signals::read(&tree("pi-5-4k")).clock_set);
}

#[test]
fn a_pi_5_with_a_16k_kernel_reports_its_page_size() {
    let mut found = board("pi-5-16k");
    let reason = take_reason(&mut found);
    assert!(reason.contains("add cgroup_enable=memory"), "{reason}");
    let wanted = Board {
        model: "Raspberry Pi 5 Model B Rev 1.0".to_owned(),
        family: Family::Pi5,
        revision: Some(0xc0_4170),
        memory_bytes: 4_147_200 * 1024,
        cpus: 4,
        cpu: arm(true),
        page_size: 16_384,
        va_bits: Some(47),
        kernel: kernel("6.12.47+rpt-rpi-2712", (6, 12, 47)),
        memory_cgroup: MemoryCgroup::Missing(String::new()),
        disks: vec![
            disk("mmcblk0", DiskKind::Sd, 249_737_216, Some("SD128")),
            disk(
                "sda",
                DiskKind::Rotating,
                3_907_029_168,
                Some("Expansion HDD"),
            ),
        ],
        simulated: false,
    };
    assert_eq!(found, wanted);
    signals("pi-5-16k", 85.15, Some(true), Some(false));
}

#[test]
fn a_pi_5_that_only_remembers_the_time_has_no_set_clock() {
    assert!(!Signals::read(&tree("pi-5-16k")).clock_set);
}

#[test]
fn an_x86_machine_with_cgroup_v1_says_who_holds_the_memory_controller() {
    let mut found = board("x86");
    let reason = take_reason(&mut found);
    assert!(reason.contains("/sys/fs/cgroup/memory"), "{reason}");
    assert!(reason.contains("cgroup_no_v1=memory"), "{reason}");
    let wanted = Board {
        model: "Intel(R) Xeon(R) Processor (x86_64)".to_owned(),
        family: Family::Other,
        revision: None,
        memory_bytes: 16_384_000 * 1024,
        cpus: 2,
        cpu: CpuFeatures {
            arch: "x86_64",
            lse_atomics: false,
            armv8_2: false,
            avx: true,
        },
        page_size: 4096,
        va_bits: Some(47),
        kernel: kernel("6.18.44", (6, 18, 44)),
        memory_cgroup: MemoryCgroup::Missing(String::new()),
        disks: vec![disk("vda", DiskKind::Virtual, 536_870_912, None)],
        simulated: false,
    };
    assert_eq!(found, wanted);
    assert!(!found.is_pi());
    let found = Signals::read(&tree("x86"));
    assert_eq!(found.temperature_celsius, None);
    assert_eq!(found.throttled, None);
    assert_eq!(found.undervoltage, None);
}

#[test]
fn a_summary_carries_board_and_signals_into_the_status() {
    let board = board("pi-5-16k");
    let summary = board.summary(&Signals::read(&tree("pi-5-16k")));
    let json = serde_json::to_value(summary).unwrap();
    assert_eq!(json["model"], "Raspberry Pi 5 Model B Rev 1.0");
    assert_eq!(json["memory_bytes"], 4_147_200_u64 * 1024);
    assert_eq!(json["page_size"], 16_384);
    assert_eq!(json["temperature_celsius"], 85.15);
    assert_eq!(json["throttled"], true);
    assert_eq!(json["undervoltage"], false);
    assert_eq!(json["clock_set"], false);
    assert_eq!(json["simulated"], false);
}

/// What a program of the system prints, trimmed.
fn said_by(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_machine_that_runs_this_agrees_with_what_its_own_programs_say() {
    let board = Board::read(Path::new("/")).unwrap();
    assert_eq!(
        board.page_size.to_string(),
        said_by("getconf", &["PAGE_SIZE"])
    );
    assert_eq!(
        board.cpus.to_string(),
        said_by("getconf", &["_NPROCESSORS_ONLN"])
    );
    assert_eq!(board.kernel.release, said_by("uname", &["-r"]));
    assert_eq!(board.cpu.arch, said_by("uname", &["-m"]));
    // sysinfo(2) counts in its own unit; ram_total() has multiplied it out.
    let ram = nix::sys::sysinfo::sysinfo().unwrap().ram_total();
    assert_eq!(board.memory_bytes, ram);
    assert!(!board.model.is_empty());
    assert!(!board.simulated);
}

#[test]
fn the_machine_that_runs_this_has_the_features_its_processor_says() {
    let cpu = Board::read(Path::new("/")).unwrap().cpu;
    #[cfg(target_arch = "x86_64")]
    assert_eq!(cpu.avx, std::arch::is_x86_feature_detected!("avx"));
    #[cfg(target_arch = "aarch64")]
    {
        use std::arch::is_aarch64_feature_detected as detected;
        assert_eq!(cpu.lse_atomics, detected!("lse"));
        assert_eq!(
            cpu.armv8_2,
            detected!("lse") && detected!("rdm") && detected!("dpb")
        );
    }
    assert_ne!(cpu.arch, "unknown");
}

#[test]
fn the_stack_of_this_process_lies_within_the_width_reported() {
    let board = Board::read(Path::new("/")).unwrap();
    let here = std::ptr::from_ref(&board).addr() as u64;
    if let Some(bits) = board.va_bits {
        assert!(here < 1 << bits, "{here:x} needs more than {bits} bits");
    }
}

#[test]
fn every_disk_of_this_machine_has_the_size_the_partition_table_gives() {
    // Blocks of 1024 bytes: major, minor, blocks, name (proc_partitions(5)).
    let table = std::fs::read_to_string("/proc/partitions").unwrap();
    let blocks = |name: &str| -> Option<u64> {
        table.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            (fields.len() == 4 && fields[3] == name).then(|| fields[2].parse().ok())?
        })
    };
    for disk in Board::read(Path::new("/")).unwrap().disks {
        assert_eq!(
            blocks(&disk.name),
            Some(disk.size_bytes / 1024),
            "{}",
            disk.name
        );
    }
}

#[test]
fn a_memory_cgroup_of_this_machine_is_there_or_explained() {
    match Board::read(Path::new("/")).unwrap().memory_cgroup {
        MemoryCgroup::Available(point) => {
            let list = std::fs::read_to_string(point.join("cgroup.controllers")).unwrap();
            assert!(list.contains("memory"), "{list}");
        }
        MemoryCgroup::Missing(reason) => assert!(reason.contains("; "), "{reason}"),
    }
}

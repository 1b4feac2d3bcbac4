//! Kernel knobs on the machine that runs the tests.
//!
//! Whoever changes or compares the real kernel's values holds a file lock, so that nothing else
//! does at the same time; a guard puts every value back even when a test fails. Without root it is skipped, and
//! says so. The tests marked `ignored` are run by the others, in a restricted environment.

// Helpers of tests may fail and talk as tests do.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lucid::board::{Board, Disk, DiskKind, Signals};
use lucid::config::{Config, EngineKind};
use lucid::status::{StatusHub, TuningState};
use lucid::tuning::{Inputs, RealKernel, Report, Tuner, watch};
use tokio_util::sync::CancellationToken;

/// Set for the tests that are run in a restricted environment.
const RESTRICTED: &str = "LUCID_TEST_RESTRICTED";
/// A disk whose queue can be tuned without disturbing anybody.
const SPARE: &str = "loop7";
const ENGINES: &[(EngineKind, Option<u32>)] =
    &[(EngineKind::Mongod, Some(8)), (EngineKind::Redis, Some(8))];

fn board(disks: &[(&str, DiskKind)]) -> Board {
    let disk = |(name, kind): &(&str, DiskKind)| Disk {
        name: (*name).to_owned(),
        kind: *kind,
        size_bytes: 1 << 30,
        model: None,
        read_only: false,
    };
    Board {
        memory_bytes: 1 << 30,
        disks: disks.iter().map(disk).collect(),
        simulated: false,
        ..Board::simulated()
    }
}

fn tuner(state_file: PathBuf, board: &Board, config: &Config) -> Tuner {
    let inputs = Inputs {
        board,
        config,
        engines: ENGINES,
    };
    Tuner::new(Box::new(RealKernel::new()), state_file, &inputs)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// The word in brackets, or the whole content.
fn value(content: &str) -> &str {
    let bracketed = content
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    bracketed.map_or(content, |(word, _)| word)
}

#[allow(clippy::disallowed_methods)]
fn write(path: &str, content: &str) {
    std::fs::write(path, content).unwrap_or_else(|e| panic!("{path}: {e}"));
}

/// One user of the real kernel at a time, over all test processes of this machine.
fn lock() -> std::fs::File {
    let path = std::env::temp_dir().join("lucid-test-kernel.lock");
    let file = std::fs::File::create(path).unwrap();
    file.lock().unwrap();
    file
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Every file that the plan may write, with the value it has; puts all back at the end.
struct Guard {
    values: BTreeMap<String, String>,
    zram: Vec<String>,
}

fn zram_devices() -> Vec<String> {
    let names = std::fs::read_dir("/sys/block")
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<String> = names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("zram"))
        .collect();
    names.sort();
    names
}

impl Guard {
    fn new() -> Self {
        let thp = "/sys/kernel/mm/transparent_hugepage";
        let queue = format!("/sys/block/{SPARE}/queue");
        let paths = [
            "/proc/sys/vm/max_map_count".to_owned(),
            "/proc/sys/vm/overcommit_memory".to_owned(),
            "/proc/sys/vm/swappiness".to_owned(),
            // The limit in percent after the one in bytes, which cannot be set to 0.
            "/proc/sys/vm/dirty_background_bytes".to_owned(),
            "/proc/sys/vm/dirty_background_ratio".to_owned(),
            "/proc/sys/vm/dirty_bytes".to_owned(),
            "/proc/sys/vm/dirty_ratio".to_owned(),
            "/proc/sys/net/core/somaxconn".to_owned(),
            "/proc/sys/net/ipv4/tcp_max_syn_backlog".to_owned(),
            format!("{thp}/enabled"),
            format!("{thp}/defrag"),
            format!("{thp}/khugepaged/max_ptes_none"),
            format!("{queue}/read_ahead_kb"),
            format!("{queue}/scheduler"),
        ];
        Self {
            values: paths
                .into_iter()
                .map(|path| (path.clone(), read(&path)))
                .filter(|(_, content)| !content.is_empty())
                .collect(),
            zram: zram_devices(),
        }
    }

    fn assert_restored(&self) {
        for (path, before) in &self.values {
            assert_eq!(&read(path), before, "{path}");
        }
        assert_eq!(zram_devices(), self.zram);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        for (path, before) in &self.values {
            if &read(path) != before && before != "0" {
                write(path, value(before));
            }
        }
        for name in zram_devices() {
            if !self.zram.contains(&name) {
                let _ = Command::new("swapoff").arg(format!("/dev/{name}")).output();
                let id = name.trim_start_matches("zram");
                write("/sys/class/zram-control/hot_remove", id);
            }
        }
    }
}

/// Untuned values, whatever the machine had: another appliance may run here.
fn untune() {
    let thp = "/sys/kernel/mm/transparent_hugepage";
    for (path, content) in [
        ("/proc/sys/vm/max_map_count", "65530"),
        ("/proc/sys/vm/overcommit_memory", "0"),
        ("/proc/sys/vm/swappiness", "60"),
        ("/proc/sys/vm/dirty_background_ratio", "10"),
        ("/proc/sys/vm/dirty_ratio", "20"),
        ("/proc/sys/net/core/somaxconn", "4096"),
        ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "2048"),
        (&format!("{thp}/enabled"), "madvise"),
        (&format!("{thp}/defrag"), "madvise"),
        (&format!("{thp}/khugepaged/max_ptes_none"), "511"),
        (&format!("/sys/block/{SPARE}/queue/read_ahead_kb"), "128"),
        (&format!("/sys/block/{SPARE}/queue/scheduler"), "none"),
    ] {
        if Path::new(path).exists() {
            write(path, content);
        }
    }
}

fn found<'a>(report: &'a Report, name: &str) -> &'a lucid::status::Knob {
    let knob = report.tuning.knobs.iter().find(|knob| knob.name == name);
    knob.unwrap_or_else(|| panic!("{name} is missing"))
}

#[tokio::test]
async fn the_real_kernel_is_tuned_watched_repaired_and_restored() {
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let _lock = lock();
    let _machine = Guard::new();
    untune();
    let guard = Guard::new();
    let dir = tempfile::tempdir().unwrap();
    let state_file = dir.path().join("run/lucid/tuning-before.json");
    let board = board(&[(SPARE, DiskKind::UsbSsd)]);
    let config = Config::default();

    // Apply: whatever is reported as set must read back so, by another way than the tuner's.
    let mut first = tuner(state_file.clone(), &board, &config);
    let report = first.apply();
    for knob in &report.tuning.knobs {
        eprintln!(
            "{:32} wanted {:14} found {:24} {} {}",
            knob.name,
            knob.wanted,
            knob.found.as_deref().unwrap_or("-"),
            if knob.ok { "ok " } else { "NOT" },
            knob.reason
        );
    }
    for (name, path) in [
        ("vm.max_map_count", "/proc/sys/vm/max_map_count"),
        ("vm.overcommit_memory", "/proc/sys/vm/overcommit_memory"),
        ("vm.swappiness", "/proc/sys/vm/swappiness"),
        ("vm.dirty_bytes", "/proc/sys/vm/dirty_bytes"),
        ("net.core.somaxconn", "/proc/sys/net/core/somaxconn"),
        ("thp.enabled", "/sys/kernel/mm/transparent_hugepage/enabled"),
        ("thp.defrag", "/sys/kernel/mm/transparent_hugepage/defrag"),
    ] {
        let knob = found(&report, name);
        assert!(knob.ok, "{knob:?}");
        assert_eq!(knob.found.as_deref(), Some(value(&read(path))), "{name}");
        assert_eq!(value(&read(path)), knob.wanted, "{name}");
    }
    let scheduler = read(&format!("/sys/block/{SPARE}/queue/scheduler"));
    if !scheduler.is_empty() {
        assert_eq!(value(&scheduler), "mq-deadline");
        assert_eq!(
            read(&format!("/sys/block/{SPARE}/queue/read_ahead_kb")),
            "16"
        );
    }
    let zram = found(&report, "zram");
    assert_eq!(
        zram.ok,
        read("/proc/swaps").contains("/dev/zram"),
        "{zram:?}"
    );

    // A second process, as after a crash, neither writes nor forgets the originals.
    let saved = read(state_file.to_str().unwrap());
    let second = tuner(state_file.clone(), &board, &config).apply();
    assert_eq!(second.tuning, report.tuning);
    assert_eq!(read(state_file.to_str().unwrap()), saved);
    drop(first);

    // Drift from outside is repaired by the watcher.
    let hub = StatusHub::new(board.summary(&Signals::simulated()));
    let shared = Arc::new(Mutex::new(tuner(state_file.clone(), &board, &config)));
    let cancel = CancellationToken::new();
    let interval = Duration::from_millis(50);
    let task = tokio::spawn(watch(shared.clone(), hub.clone(), cancel.clone(), interval));
    let wanted = found(&report, "vm.swappiness").wanted.clone();
    for (path, foreign, wanted) in [
        ("/proc/sys/vm/swappiness", "42", wanted.as_str()),
        (
            "/sys/kernel/mm/transparent_hugepage/enabled",
            "never",
            "always",
        ),
        ("/proc/sys/vm/dirty_ratio", "33", "0"),
    ] {
        write(path, foreign);
        let start = Instant::now();
        while value(&read(path)) != wanted {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{path} not repaired"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_ne!(hub.snapshot().tuning.state, TuningState::Off);

    // A program that keeps at it raises an alert and is answered at most once a minute.
    for _ in 0..4 {
        write("/proc/sys/vm/swappiness", "42");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let alerts = hub.snapshot().alerts;
    assert!(
        alerts
            .iter()
            .any(|a| a.id == "tuning-flapping:vm.swappiness"),
        "{alerts:?}"
    );
    write("/proc/sys/vm/swappiness", "42");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(read("/proc/sys/vm/swappiness"), "42");
    write("/proc/sys/vm/swappiness", &wanted);
    cancel.cancel();
    task.await.unwrap();

    // Revert by a process that knows only the state file: exactly what was found.
    let reverted = tuner(state_file.clone(), &board, &config).revert();
    assert_eq!(reverted.tuning.state, TuningState::Off, "{reverted:#?}");
    guard.assert_restored();
    assert!(!state_file.exists());
}

/// Runs one ignored test of this file through `wrapper`, which ends in the program to run.
fn run_restricted(wrapper: &[&str], test: &str) {
    let _lock = lock();
    let _machine = Guard::new();
    untune();
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("test");
    // Another user may not be allowed to reach the build directory.
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(&program)
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(RESTRICTED, "1")
        .current_dir("/")
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

/// Applies with everything denied: nothing changes, every knob has a reason, revert is clean.
fn assert_refused(words: &str) {
    assert!(
        std::env::var_os(RESTRICTED).is_some(),
        "only under restrictions"
    );
    let guard = Guard::new();
    let dir = tempfile::tempdir().unwrap();
    let state_file = dir.path().join("tuning-before.json");
    let board = board(&[(SPARE, DiskKind::UsbSsd)]);
    let mut tuner = tuner(state_file.clone(), &board, &Config::default());
    let report = tuner.apply();
    assert_eq!(report.tuning.state, TuningState::Partial);
    let mut refused = 0;
    for knob in report.tuning.knobs.iter().filter(|knob| !knob.ok) {
        eprintln!("{}: {}", knob.name, knob.reason);
        assert!(!knob.reason.is_empty());
        refused += usize::from(knob.reason.contains(words));
    }
    assert!(refused >= 8, "only {refused} of {report:#?}");
    guard.assert_restored();
    assert!(tuner.check().drifted.is_empty());
    assert_eq!(tuner.revert().tuning.state, TuningState::Off);
    assert!(!state_file.exists());
}

#[test]
fn in_a_container_with_read_only_proc_and_sys_every_knob_is_refused_with_its_reason() {
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let script =
        "mount -o bind,ro /proc/sys /proc/sys && mount -o bind,ro /sys /sys && exec \"$@\"";
    let wrapper = ["unshare", "-m", "sh", "-c", script, "sh"];
    run_restricted(&wrapper, "restricted_read_only");
}

#[test]
fn without_root_every_knob_is_refused_with_its_reason() {
    if !is_root() {
        eprintln!("skipped: needs root to become somebody else");
        return;
    }
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    run_restricted(&nobody, "restricted_unprivileged");
}

#[test]
#[ignore = "run by in_a_container_with_read_only_proc_and_sys"]
fn restricted_read_only() {
    assert_refused("read-only file system");
}

#[test]
#[ignore = "run by without_root"]
fn restricted_unprivileged() {
    assert_refused("needs root");
}

//! The panel's cost, measured on a process of its own: what the kernel keeps wakes nobody, and the
//! drivers take little memory.

// clippy.toml spares tests, but not the helpers of an integration test.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lucid::board::{Board, Signals};
use lucid::config::{Panel as Settings, PanelDriver};
use lucid::panel::{Machine, Panel};
use lucid::status::StatusHub;

/// Set for the process that is the panel; its value is the tree with the LEDs.
const CHILD: &str = "LUCID_TEST_PANEL";
/// Set where that panel is off.
const OFF: &str = "LUCID_TEST_PANEL_OFF";
/// The test that is started as the panel.
const SELF: &str = "a_pattern_that_the_kernel_keeps_costs_no_wake_up_in_thirty_seconds";
const MEASURED: Duration = Duration::from_secs(30);

/// LEDs as files: the kernel's part of the rhythm is not played, its cost is not the panel's.
fn machine(dir: &Path) {
    for led in ["lucid:red", "lucid:green", "lucid:blue"] {
        let at = dir.join("class/leds").join(led);
        lucid::fsx::create_dir(&at, 0o755).unwrap();
        for (name, text) in [
            ("trigger", "[none] timer pattern\n"),
            ("brightness", "0\n"),
            ("max_brightness", "1\n"),
            ("pattern", ""),
            ("repeat", ""),
        ] {
            lucid::fsx::write_volatile(&at.join(name), text.as_bytes(), 0o644).unwrap();
        }
    }
}

/// Runs the panel alone, in this process.
fn be_the_panel(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(Duration::from_millis(100))
        .build()
        .unwrap();
    let machine = Machine {
        sys: dir.to_path_buf(),
        dev: dir.join("dev"),
    };
    let mut settings = Settings::default();
    if std::env::var_os(OFF).is_some() {
        settings.driver = PanelDriver::Off;
    }
    let hub = StatusHub::new(Board::simulated().summary(&Signals::simulated()));
    runtime.block_on(async {
        let (panel, _handle, _actions) = Panel::open(settings, machine, hub).await;
        panel.run().await;
    });
}

/// Ends the child however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How often any thread of a process gave up the processor by itself: one a wake-up.
fn wakeups(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: &Path| {
        let text = std::fs::read_to_string(task.join("status")).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.map_or(0, |number| number.trim().parse::<u64>().unwrap())
    };
    tasks.map(|task| of(&task.unwrap().path())).sum()
}

/// A process that is nothing but the panel of `dir`, once it has settled.
fn start(dir: &Path, off: bool) -> Running {
    machine(dir);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", SELF])
        .env(CHILD, dir)
        .stdout(Stdio::null());
    if off {
        command.env(OFF, "1");
    }
    let child = Running(command.spawn().unwrap());
    let pattern = dir.join("class/leds/lucid:blue/pattern");
    let began = std::time::Instant::now();
    while !off && std::fs::read_to_string(&pattern).unwrap().is_empty() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "no pattern was handed over"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    // The threads that wrote the files go away.
    std::thread::sleep(Duration::from_secs(2));
    child
}

/// Memory that a process has for itself, in KiB.
fn private_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let of = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    of("Private_Dirty:") + of("Private_Clean:")
}

#[test]
fn a_pattern_that_the_kernel_keeps_costs_no_wake_up_in_thirty_seconds() {
    if let Some(dir) = std::env::var_os(CHILD) {
        be_the_panel(Path::new(&dir));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let child = start(dir.path(), false);
    let before = wakeups(child.0.id());
    std::thread::sleep(MEASURED);
    let woken = wakeups(child.0.id()) - before;
    eprintln!("woken {woken} times in {} s", MEASURED.as_secs());
    assert_eq!(woken, 0);
}

#[test]
fn lamps_take_less_than_a_mebibyte_of_memory() {
    let (on, off) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (with, without) = (start(on.path(), false), start(off.path(), true));
    let (with, without) = (private_kib(with.0.id()), private_kib(without.0.id()));
    eprintln!("with lamps {with} KiB, without {without} KiB");
    assert!(with.saturating_sub(without) <= 1024, "{with} {without}");
}

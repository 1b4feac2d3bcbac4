use nix::errno::Errno;

use super::*;
use crate::board::DiskKind;
use crate::fsx;
use crate::tuning::SimulatedKernel;
use crate::tuning::testing::{DEFAULT_SET, Engine, board, inputs, pi4};

const THP: &str = "sys/kernel/mm/transparent_hugepage/enabled";
const SWAPPINESS: &str = "proc/sys/vm/swappiness";
const SOMAXCONN: &str = "proc/sys/net/core/somaxconn";
const DIRTY: &str = "proc/sys/vm/dirty_bytes";
const MONGOD_8: &[Engine] = &[(EngineKind::Mongod, Some(8)), (EngineKind::Redis, Some(8))];

/// A simulated appliance: machine, folder, configuration.
struct Bench {
    kernel: SimulatedKernel,
    dir: tempfile::TempDir,
    board: Board,
    config: Config,
}

impl Bench {
    fn new() -> Self {
        let board = pi4();
        Self {
            kernel: SimulatedKernel::for_board(&board),
            dir: tempfile::tempdir().unwrap(),
            board,
            config: Config::default(),
        }
    }

    fn state_file(&self) -> PathBuf {
        self.dir.path().join("run/tuning-before.json")
    }

    /// A tuner as a freshly started process makes it.
    fn tuner(&self, engines: &[Engine]) -> Tuner {
        let inputs = inputs(&self.board, &self.config, engines);
        Tuner::new(Box::new(self.kernel.clone()), self.state_file(), &inputs)
    }

    fn get(&self, path: &str) -> String {
        self.kernel.get(path).unwrap()
    }
}

fn knob<'a>(report: &'a Report, name: &str) -> &'a Knob {
    let found = report.tuning.knobs.iter().find(|knob| knob.name == name);
    found.unwrap_or_else(|| panic!("{name} is missing in {report:?}"))
}

fn drifted(report: &Report) -> Vec<&str> {
    report.drifted.iter().map(|d| d.knob.as_str()).collect()
}

/// The content of every file but the swap table, which keeps its order.
fn machine(kernel: &SimulatedKernel) -> String {
    format!("{kernel:?}")
        .split("denied")
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn apply_sets_everything_and_revert_restores_exactly_what_was_found() {
    let bench = Bench::new();
    let before = machine(&bench.kernel);
    let mut tuner = bench.tuner(DEFAULT_SET);
    assert_eq!(tuner.plan().tuning.state, TuningState::Off);
    assert_eq!(bench.kernel.writes(), 0);
    let report = tuner.apply();
    assert_eq!(report.tuning.state, TuningState::Applied, "{report:#?}");
    assert_eq!(
        knob(&report, "thp.enabled").found.as_deref(),
        Some("madvise")
    );
    assert_eq!(bench.get(THP), "always [madvise] never");
    assert_eq!(bench.get(SWAPPINESS), "133");
    assert_eq!(bench.get("proc/sys/vm/dirty_ratio"), "0");
    assert_eq!(
        knob(&report, "zram").found.as_deref(),
        Some("zram0 1896M zstd")
    );
    assert_eq!(tuner.check(), report);
    let report = tuner.revert();
    assert_eq!(report.tuning.state, TuningState::Off, "{report:#?}");
    assert!(report.tuning.knobs.iter().all(|knob| knob.ok));
    assert_eq!(machine(&bench.kernel), before);
    assert!(!bench.state_file().exists());
    assert_eq!(tuner.check().tuning.state, TuningState::Off);
}

#[test]
fn a_knob_that_is_as_wanted_is_not_written_and_a_floor_is_never_lowered() {
    let bench = Bench::new();
    bench.kernel.set(SOMAXCONN, "100000");
    bench.kernel.set(THP, "always madvise [never]");
    bench.tuner(DEFAULT_SET).apply();
    assert_eq!(bench.get(SOMAXCONN), "100000");
    assert_eq!(bench.get(THP), "always madvise [never]");
    let writes = bench.kernel.writes();
    let report = bench.tuner(DEFAULT_SET).apply();
    assert_eq!(report.tuning.state, TuningState::Applied);
    assert_eq!(bench.kernel.writes(), writes, "a second apply wrote again");
    assert!(
        !fsx::read_text(&bench.state_file(), 1 << 20)
            .unwrap()
            .contains("somaxconn")
    );
}

#[test]
fn after_a_crash_the_next_process_keeps_the_originals() {
    let bench = Bench::new();
    let before = machine(&bench.kernel);
    bench.tuner(DEFAULT_SET).apply();
    let mut next = bench.tuner(MONGOD_8);
    assert_eq!(
        next.check().tuning.state,
        TuningState::Drifted,
        "THP is not as mongod wants"
    );
    assert_eq!(next.apply().tuning.state, TuningState::Applied);
    assert_eq!(bench.get(THP), "[always] madvise never");
    bench.tuner(MONGOD_8).revert();
    assert_eq!(machine(&bench.kernel), before);
}

#[test]
fn a_crash_while_zram_was_made_leaves_one_device() {
    let bench = Bench::new();
    bench.kernel.fail_program("swapon", "killed");
    bench.tuner(DEFAULT_SET).apply();
    // As if the process had died before the clean-up.
    bench
        .kernel
        .read(Path::new("sys/class/zram-control/hot_add"))
        .unwrap();
    let mut state = State::load(&bench.state_file(), &bench.tuner(&[]).state.boot_id)
        .unwrap()
        .unwrap();
    state.zram = Some("zram0".to_owned());
    state.save(&bench.state_file()).unwrap();
    bench.kernel.mend_program("swapon");
    let mut tuner = bench.tuner(DEFAULT_SET);
    assert_eq!(tuner.apply().tuning.state, TuningState::Applied);
    let block = bench.kernel.list(Path::new("sys/block")).unwrap();
    assert_eq!(
        block.iter().filter(|name| name.starts_with("zram")).count(),
        1
    );
}

#[test]
fn knobs_of_an_earlier_plan_are_put_back_when_the_plan_changes() {
    let bench = Bench::new();
    let mut tuner = bench.tuner(MONGOD_8);
    tuner.apply();
    assert_eq!(bench.get("proc/sys/vm/max_map_count"), "128000");
    let mut config = Config::default();
    config.tuning.zram = false;
    tuner.set_inputs(&inputs(&bench.board, &config, &[]));
    let report = tuner.apply();
    assert_eq!(report.tuning.state, TuningState::Applied, "{report:#?}");
    assert_eq!(bench.get("proc/sys/vm/max_map_count"), "65530");
    assert_eq!(bench.get("proc/sys/vm/overcommit_memory"), "0");
    assert_eq!(bench.get(SWAPPINESS), "1");
    assert!(!bench.get("proc/swaps").contains("zram"));
    config.tuning.enabled = false;
    tuner.set_inputs(&inputs(&bench.board, &config, &[]));
    assert_eq!(tuner.apply().tuning.state, TuningState::Off);
    assert_eq!(bench.get(SWAPPINESS), "60");
    assert!(!bench.state_file().exists());
}

#[test]
fn a_state_of_an_earlier_boot_is_ignored() {
    let bench = Bench::new();
    bench.tuner(DEFAULT_SET).apply();
    bench
        .kernel
        .set("proc/sys/kernel/random/boot_id", "another");
    let mut tuner = bench.tuner(DEFAULT_SET);
    assert_eq!(tuner.check().tuning.state, TuningState::Off);
    assert!(tuner.revert().tuning.knobs.is_empty());
    assert_eq!(bench.get(SWAPPINESS), "133", "a stale state was restored");
}

#[test]
fn a_damaged_state_starts_anew_instead_of_failing() {
    let bench = Bench::new();
    fsx::create_dir(bench.state_file().parent().unwrap(), 0o755).unwrap();
    fsx::write_atomic(&bench.state_file(), b"{", 0o644).unwrap();
    let mut tuner = bench.tuner(DEFAULT_SET);
    assert_eq!(tuner.apply().tuning.state, TuningState::Applied);
    tuner.revert();
    assert_eq!(bench.get(SWAPPINESS), "60");
}

#[test]
fn nothing_is_written_when_the_found_values_cannot_be_kept() {
    let bench = Bench::new();
    let before = machine(&bench.kernel);
    // A file where the directory should be: no state can be saved there, not even by root.
    fsx::write_atomic(&bench.dir.path().join("run"), b"", 0o644).unwrap();
    let report = bench.tuner(DEFAULT_SET).apply();
    assert_eq!(report.tuning.state, TuningState::Partial);
    assert_eq!(machine(&bench.kernel), before);
    let knob = knob(&report, "vm.swappiness");
    assert!(
        !knob.ok && knob.reason.contains("cannot be kept"),
        "{knob:?}"
    );
}

#[test]
fn drift_is_noticed_and_repaired_and_the_original_survives_it() {
    let bench = Bench::new();
    let before = machine(&bench.kernel);
    let mut tuner = bench.tuner(DEFAULT_SET);
    tuner.apply();
    bench.kernel.set(SWAPPINESS, "10");
    bench.kernel.set(THP, "[always] madvise never");
    bench
        .kernel
        .write(Path::new("proc/sys/vm/dirty_ratio"), "30")
        .unwrap();
    bench
        .kernel
        .run("swapoff", &["/dev/zram0"], std::time::Duration::MAX)
        .unwrap();
    let report = tuner.check();
    assert_eq!(report.tuning.state, TuningState::Drifted);
    let names = ["zram", "vm.swappiness", "thp.enabled", "vm.dirty_bytes"];
    assert_eq!(drifted(&report), names);
    let repaired = tuner.repair(&names.map(str::to_owned));
    assert_eq!(repaired.tuning.state, TuningState::Applied, "{repaired:#?}");
    tuner.revert();
    assert_eq!(machine(&bench.kernel), before);
}

#[test]
fn drift_of_a_knob_that_needed_no_change_is_put_back_to_what_was_found() {
    let bench = Bench::new();
    bench.kernel.set(SOMAXCONN, "70000");
    let mut tuner = bench.tuner(DEFAULT_SET);
    tuner.apply();
    bench.kernel.set(SOMAXCONN, "128");
    assert_eq!(drifted(&tuner.check()), ["net.core.somaxconn"]);
    tuner.repair(&["net.core.somaxconn".to_owned()]);
    assert_eq!(bench.get(SOMAXCONN), "65535");
    tuner.revert();
    assert_eq!(bench.get(SOMAXCONN), "70000");
}

#[test]
fn a_repair_that_fails_says_why_and_gives_the_other_program_its_value() {
    let bench = Bench::new();
    let mut tuner = bench.tuner(DEFAULT_SET);
    tuner.apply();
    bench.kernel.set(SWAPPINESS, "10");
    bench.kernel.deny("proc/sys", Errno::EROFS);
    let report = tuner.repair(&["vm.swappiness".to_owned()]);
    assert_eq!(report.tuning.state, TuningState::Drifted);
    assert!(knob(&report, "vm.swappiness").reason.contains("read-only"));
    bench.kernel.allow();
    tuner.revert();
    assert_eq!(bench.get(SWAPPINESS), "10");
}

#[test]
fn revert_leaves_what_another_program_set_since() {
    let bench = Bench::new();
    let mut tuner = bench.tuner(DEFAULT_SET);
    tuner.apply();
    bench.kernel.set(SWAPPINESS, "10");
    let report = tuner.revert();
    assert_eq!(bench.get(SWAPPINESS), "10");
    let knob = knob(&report, "vm.swappiness");
    assert!(knob.ok && knob.reason.contains("left alone"), "{knob:?}");
    assert_eq!(bench.get(DIRTY), "0");
    assert!(!bench.state_file().exists());
}

#[test]
fn a_revert_that_fails_can_be_tried_again_by_another_process() {
    let bench = Bench::new();
    let before = machine(&bench.kernel);
    let mut tuner = bench.tuner(DEFAULT_SET);
    tuner.apply();
    bench.kernel.deny("proc/sys/vm", Errno::EPERM);
    bench
        .kernel
        .fail_program("swapoff", "Cannot allocate memory");
    let report = tuner.revert();
    assert_eq!(report.tuning.state, TuningState::Partial);
    assert!(knob(&report, "vm.swappiness").reason.contains("needs root"));
    assert!(knob(&report, "zram").reason.contains("allocate"));
    assert_eq!(tuner.check().tuning.state, TuningState::Off);
    bench.kernel.allow();
    bench.kernel.mend_program("swapoff");
    let report = bench.tuner(DEFAULT_SET).revert();
    assert_eq!(report.tuning.state, TuningState::Off, "{report:#?}");
    assert_eq!(machine(&bench.kernel), before);
}

#[test]
fn what_cannot_be_written_is_reported_and_the_rest_is_set() {
    let bench = Bench::new();
    bench.kernel.deny("proc/sys", Errno::EROFS);
    bench.kernel.deny("sys/class", Errno::EACCES);
    bench.kernel.remove(SOMAXCONN);
    bench.kernel.set("sys/block/sda/queue/scheduler", "[none]");
    let mut tuner = bench.tuner(DEFAULT_SET);
    let report = tuner.apply();
    assert_eq!(report.tuning.state, TuningState::Partial);
    for (name, words) in [
        ("vm.overcommit_memory", "read-only"),
        ("net.core.somaxconn", "no such knob"),
        ("zram", "needs root"),
        ("block.sda.scheduler", "offers only [none]"),
    ] {
        let knob = knob(&report, name);
        assert!(!knob.ok && knob.reason.contains(words), "{knob:?}");
    }
    assert!(knob(&report, "thp.enabled").ok);
    assert_eq!(
        knob(&report, "vm.swappiness").wanted,
        "1",
        "there is no zram"
    );
    assert!(
        drifted(&tuner.check()).is_empty(),
        "never set is not drifted"
    );
    let report = tuner.revert();
    assert_eq!(report.tuning.state, TuningState::Off, "{report:#?}");
    assert!(
        !report
            .tuning
            .knobs
            .iter()
            .any(|k| k.name.starts_with("vm."))
    );
}

#[test]
fn a_kernel_without_huge_pages_suits_all_but_a_new_mongodb() {
    let bench = Bench::new();
    for name in ["enabled", "defrag", "khugepaged/max_ptes_none"] {
        bench
            .kernel
            .remove(&format!("sys/kernel/mm/transparent_hugepage/{name}"));
    }
    let report = bench.tuner(DEFAULT_SET).apply();
    assert_eq!(report.tuning.state, TuningState::Applied, "{report:#?}");
    assert_eq!(knob(&report, "thp.enabled").found, None);
    let report = bench.tuner(MONGOD_8).apply();
    assert_eq!(report.tuning.state, TuningState::Partial);
}

#[test]
fn zram_made_by_another_program_is_left_alone() {
    let bench = Bench::new();
    bench
        .kernel
        .set("proc/swaps", "Filename\n/dev/zram0 partition 1 0 100");
    bench.kernel.set("sys/block/zram0/disksize", "1048576");
    bench.kernel.set("sys/block/zram0/comp_algorithm", "[lzo]");
    let mut tuner = bench.tuner(DEFAULT_SET);
    let report = tuner.apply();
    let zram = knob(&report, "zram");
    assert!(
        zram.ok && zram.reason.contains("another program"),
        "{zram:?}"
    );
    assert_eq!(zram.found.as_deref(), Some("zram0 1M lzo"));
    tuner.revert();
    assert!(bench.get("proc/swaps").contains("zram0"));
}

#[test]
fn an_unplugged_disk_is_neither_drift_nor_an_obstacle() {
    let bench = Bench::new();
    let mut tuner = bench.tuner(DEFAULT_SET);
    tuner.apply();
    for name in ["read_ahead_kb", "scheduler"] {
        bench.kernel.remove(&format!("sys/block/sda/queue/{name}"));
    }
    assert_eq!(tuner.check().tuning.state, TuningState::Applied);
    assert_eq!(tuner.revert().tuning.state, TuningState::Off);
}

#[test]
fn a_filesystem_mounted_later_is_tuned_by_the_next_apply() {
    let bench = Bench::new();
    let mut tuner = bench.tuner(DEFAULT_SET);
    tuner.apply();
    let path = "sys/class/bdi/btrfs-1/read_ahead_kb";
    bench.kernel.set(path, "4096");
    assert_eq!(tuner.apply().tuning.state, TuningState::Applied);
    assert_eq!(bench.get(path), "16");
    tuner.revert();
    assert_eq!(bench.get(path), "4096");
}

#[test]
fn open_files_are_judged_by_what_the_process_may_do() {
    let mut bench = Bench::new();
    bench.board = board(bench.board.family, 4096, &[("vda", DiskKind::Virtual)]);
    let limits = "Max open files            1024                 20000                files";
    bench.kernel.set("proc/self/limits", limits);
    let report = bench.tuner(MONGOD_8).apply();
    let nofile = knob(&report, "nofile");
    assert!(
        nofile.ok && nofile.reason.contains("may raise"),
        "{nofile:?}"
    );
    bench.kernel.set("proc/self/status", "CapEff: 0");
    let report = bench.tuner(MONGOD_8).apply();
    let nofile = knob(&report, "nofile");
    assert_eq!(nofile.found.as_deref(), Some("20000"));
    assert!(
        !nofile.ok && nofile.reason.contains("LimitNOFILE"),
        "{nofile:?}"
    );
    assert_eq!(report.tuning.state, TuningState::Partial);
}

//! What cannot be set, and what comes and goes.

use nix::errno::Errno;

use super::*;
use crate::board::DiskKind;
use crate::fsx;
use crate::tuning::testing::{
    Bench, DEFAULT_SET, MONGOD_8, SOMAXCONN, SWAPPINESS, board, drifted, knob, machine,
};

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

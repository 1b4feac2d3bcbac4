use super::*;
use crate::fsx;
use crate::tuning::state::State;
use crate::tuning::testing::{
    Bench, DEFAULT_SET, DIRTY, MONGOD_8, SOMAXCONN, SWAPPINESS, THP, drifted, inputs, knob, machine,
};

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

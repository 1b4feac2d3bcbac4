use super::*;
use crate::config::Config;
use crate::status::Status;
use crate::tuning::SimulatedKernel;
use crate::tuning::testing::{DEFAULT_SET, inputs, pi4};

const SWAPPINESS: &str = "proc/sys/vm/swappiness";
const INTERVAL: Duration = Duration::from_secs(15);

struct Bench {
    kernel: SimulatedKernel,
    tuner: Arc<Mutex<Tuner>>,
    hub: StatusHub,
    cancel: CancellationToken,
    _dir: tempfile::TempDir,
}

fn bench() -> Bench {
    let (board, config) = (pi4(), Config::default());
    let kernel = SimulatedKernel::for_board(&board);
    let dir = tempfile::tempdir().unwrap();
    let tuner = Tuner::new(
        Box::new(kernel.clone()),
        dir.path().join("state.json"),
        &inputs(&board, &config, DEFAULT_SET),
    );
    let hub = StatusHub::new(board.summary(&crate::board::Signals::simulated()));
    Bench {
        kernel,
        tuner: Arc::new(Mutex::new(tuner)),
        hub,
        cancel: CancellationToken::new(),
        _dir: dir,
    }
}

impl Bench {
    fn start(&self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(watch(
            Arc::clone(&self.tuner),
            self.hub.clone(),
            self.cancel.clone(),
            INTERVAL,
        ))
    }

    /// Waits on the paused clock until the status is so.
    async fn until(&self, what: &str, is_so: impl Fn(&Status) -> bool) {
        let mut reader = self.hub.subscribe();
        let waited = tokio::time::timeout(Duration::from_mins(20), reader.wait_for(is_so));
        assert!(waited.await.is_ok_and(|s| s.is_ok()), "never {what}");
    }

    fn swappiness(&self) -> Option<String> {
        self.kernel.get(SWAPPINESS)
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_by_another_program_is_repaired_within_one_interval() {
    let bench = bench();
    bench.tuner.lock().unwrap().apply();
    let task = bench.start();
    let applied = |s: &Status| s.tuning.state == TuningState::Applied;
    bench.until("applied", applied).await;
    bench.kernel.set(SWAPPINESS, "10");
    tokio::time::sleep(INTERVAL * 2).await;
    assert_eq!(bench.swappiness().as_deref(), Some("133"));
    bench.until("applied again", applied).await;
    assert!(bench.hub.snapshot().alerts.is_empty());
    bench.cancel.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn flapping_opens_an_alert_slows_the_repairs_and_calm_closes_it() {
    let bench = bench();
    bench.tuner.lock().unwrap().apply();
    let task = bench.start();
    let mut repairs = 0;
    for _ in 0..12 {
        if bench.swappiness().as_deref() != Some("10") {
            bench.kernel.set(SWAPPINESS, "10");
            repairs += 1;
        }
        tokio::time::sleep(INTERVAL).await;
    }
    assert!(
        (5..=7).contains(&repairs),
        "{repairs} repairs in three minutes"
    );
    let alerts = bench.hub.snapshot().alerts;
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].id, "tuning-flapping:vm.swappiness");
    assert!(alerts[0].action.contains("skip"), "{alerts:?}");
    bench.until("calm", |s| s.alerts.is_empty()).await;
    bench
        .until("applied", |s| s.tuning.state == TuningState::Applied)
        .await;
    bench.cancel.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reverted_knobs_are_not_repaired() {
    let bench = bench();
    bench.tuner.lock().unwrap().apply();
    let task = bench.start();
    bench
        .until("applied", |s| s.tuning.state == TuningState::Applied)
        .await;
    bench.tuner.lock().unwrap().revert();
    bench
        .until("off", |s| s.tuning.state == TuningState::Off)
        .await;
    tokio::time::sleep(INTERVAL * 4).await;
    assert_eq!(bench.swappiness().as_deref(), Some("60"));
    bench.cancel.cancel();
    task.await.unwrap();
}

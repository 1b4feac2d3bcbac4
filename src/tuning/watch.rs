//! The loop that notices other programs' changes and repairs them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::drift::{Decision, DriftTracker};
use super::tuner::{Drift, Report, Tuner};
use crate::journal::{Event, emit};
use crate::status::{Alert, Severity, StatusHub, TuningState};

/// Shorter intervals would only cost time.
const SHORTEST: Duration = Duration::from_millis(10);

/// Reads the knobs every `interval` until `cancel`, publishes them, repairs what drifted and
/// opens an alert for what flaps. A check is some dozens of small reads off the runtime.
///
/// Call [`Tuner::apply`] before, also after a crash: a knob that needed no change is watched only
/// from then on. While the tuner is not in force (before [`Tuner::apply`], after [`Tuner::revert`]) it only
/// publishes that.
pub async fn watch(
    tuner: Arc<Mutex<Tuner>>,
    hub: StatusHub,
    cancel: CancellationToken,
    interval: Duration,
) {
    let mut tracker = DriftTracker::default();
    let mut ticks = tokio::time::interval(interval.max(SHORTEST));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            _ = ticks.tick() => round(&tuner, &hub, &mut tracker).await,
        }
    }
}

async fn round(tuner: &Arc<Mutex<Tuner>>, hub: &StatusHub, tracker: &mut DriftTracker) {
    let Some(report) = on_tuner(tuner, |tuner| tuner.check()).await else {
        return;
    };
    if report.tuning.state == TuningState::Off {
        for knob in std::mem::take(tracker).flapping() {
            hub.clear(&alert_id(knob));
        }
    }
    hub.update(|status| status.tuning = report.tuning);
    let now = Instant::now().into_std();
    let decided: Vec<(Drift, Decision)> = report
        .drifted
        .into_iter()
        .map(|drift| {
            let decision = tracker.drifted(&drift.knob, now);
            (drift, decision)
        })
        .filter(|(_, decision)| *decision != Decision::Wait)
        .collect();
    if !decided.is_empty() {
        let names: Vec<String> = decided.iter().map(|(d, _)| d.knob.clone()).collect();
        let Some(repaired) = on_tuner(tuner, move |tuner| tuner.repair(&names)).await else {
            return;
        };
        for (drift, decision) in &decided {
            tell(hub, drift, *decision, &repaired);
        }
        hub.update(|status| status.tuning = repaired.tuning);
    }
    for knob in tracker.calmed(now) {
        hub.clear(&alert_id(&knob));
    }
}

/// Works on the tuner off the runtime; `None` only while the runtime shuts down.
async fn on_tuner<F>(tuner: &Arc<Mutex<Tuner>>, work: F) -> Option<Report>
where
    F: FnOnce(&mut Tuner) -> Report + Send + 'static,
{
    let tuner = Arc::clone(tuner);
    let work = move || work(&mut tuner.lock().unwrap_or_else(PoisonError::into_inner));
    tokio::task::spawn_blocking(work).await.ok()
}

fn tell(hub: &StatusHub, drift: &Drift, decision: Decision, repaired: &Report) {
    let knob = &drift.knob;
    let found = drift.found.as_deref().unwrap_or("nothing readable");
    let result = match repaired.tuning.knobs.iter().find(|k| &k.name == knob) {
        Some(again) if !again.ok => format!("it could not be set again: {}", again.reason),
        _ => "it was set again".to_owned(),
    };
    let message = format!(
        "{knob} was {} and another program changed it to {found}; {result}",
        drift.expected
    );
    match decision {
        Decision::Repair => emit(Event::TuningDrift, knob, &message),
        Decision::RepairAndAlert => {
            let message = format!("{message}; this happens again and again");
            emit(Event::TuningFlapping, knob, &message);
            hub.raise(Alert::new(
                alert_id(knob),
                Severity::Warning,
                knob.as_str(),
                message,
                format!(
                    "find the other program (sysctl.d, tuned, a udev rule) and remove its \
                     setting, or add \"{knob}\" to [tuning] skip"
                ),
            ));
        }
        Decision::RepairQuietly | Decision::Wait => {}
    }
}

fn alert_id(knob: &str) -> String {
    format!("tuning-flapping:{knob}")
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;

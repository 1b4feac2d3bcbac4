//! Telling the journal and systemd how the appliance fares.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{interval, timeout};

use super::console::Console;
use super::handle::Datastores;
use super::hardware_watchdog::HardwareWatchdog;
use super::notify;
use crate::journal::{self, Event};
use crate::status::{ApplianceState, StatusHub};

/// Systemd hears `READY=1` at the latest after this, so that a datastore that needs a person
/// does not make the whole unit fail.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// Longest that the watchdog waits for a datastore's task to answer.
const PING_LIMIT: Duration = Duration::from_secs(2);

/// Tells the journal, systemd and the console when the appliance's state changes.
pub(super) async fn tell_states(hub: StatusHub, mut console: Option<Console>) {
    let mut changes = hub.subscribe();
    let started = tokio::time::Instant::now();
    let mut told = None;
    let mut ready_sent = false;
    loop {
        let state = changes.borrow_and_update().state;
        if told != Some(state) {
            told = Some(state);
            let event = match state {
                ApplianceState::Ready => Some(Event::ApplianceReady),
                ApplianceState::Degraded => Some(Event::ApplianceDegraded),
                ApplianceState::Failed => Some(Event::ApplianceFailed),
                ApplianceState::Starting | ApplianceState::Stopping => None,
            };
            let summary = summary(&hub);
            notify::status(&summary);
            if let Some(event) = event {
                journal::emit(event, "appliance", &summary);
            }
        }
        if let Some(console) = &mut console {
            console.tell(&hub.snapshot());
        }
        if !ready_sent && (state != ApplianceState::Starting || started.elapsed() >= SETTLE_LIMIT) {
            ready_sent = true;
            notify::ready();
        }
        let settle = started + SETTLE_LIMIT;
        tokio::select! {
            result = changes.changed() => if result.is_err() { return },
            () = tokio::time::sleep_until(settle), if !ready_sent => {}
        }
    }
}

fn summary(hub: &StatusHub) -> String {
    let status = hub.snapshot();
    let parts: Vec<_> = status
        .datastores
        .iter()
        .map(|d| format!("{} {}", d.name, format!("{:?}", d.state).to_lowercase()))
        .collect();
    format!(
        "{}: {}",
        format!("{:?}", status.state).to_lowercase(),
        parts.join(", ")
    )
}

/// Feeds systemd's watchdog and the board's own while every datastore's task answers. An engine
/// that hangs is not the supervisor's own health; a task that does not answer is.
pub(super) async fn watchdog(
    period: Duration,
    datastores: Datastores,
    hardware: Option<Arc<HardwareWatchdog>>,
) {
    let mut ticks = interval(period / 3);
    loop {
        ticks.tick().await;
        let handles: Vec<_> = {
            let datastores = datastores.lock().unwrap_or_else(PoisonError::into_inner);
            datastores
                .iter()
                .map(|(role, handle)| (*role, handle.pings.clone()))
                .collect()
        };
        let mut healthy = true;
        for (role, pings) in handles {
            let (answer, answered) = oneshot::channel();
            let asked = timeout(PING_LIMIT.min(period / 6), async {
                // A closed channel belongs to a datastore that has just been shut down.
                if pings.send(answer).await.is_ok() {
                    let _ = answered.await;
                }
            });
            if asked.await.is_err() {
                tracing::error!("the task of datastore {role} does not answer the watchdog");
                healthy = false;
            }
        }
        if healthy {
            notify::watchdog();
            if let Some(hardware) = &hardware {
                hardware.feed();
            }
        }
    }
}

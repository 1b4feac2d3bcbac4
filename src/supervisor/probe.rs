//! Readiness and liveness of one running engine, by real operations.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::config::ProbeSettings;
use crate::engine::{Client, EngineError, Fault};

/// First wait between attempts on a starting engine; doubles up to [`longest_wait`].
const FIRST_ATTEMPT: Duration = Duration::from_millis(1);

/// Longest wait between two attempts on an engine that was launched `since` ago: short while
/// every moment counts, long once it has a large store to read.
fn longest_wait(since: Duration) -> Duration {
    Duration::from_millis(if since < Duration::from_secs(5) {
        5
    } else {
        100
    })
}

/// How often an engine is asked for faults that it serves with.
const FAULT_INTERVAL: Duration = Duration::from_secs(5);

/// What a prober tells.
#[derive(Debug)]
pub(super) enum Event {
    /// Not ready yet, and why; the engine is still starting.
    NotYet(EngineError),
    /// The write probe passed for the first time.
    Ready(Duration),
    /// A probe passed.
    Passed(Duration),
    /// A probe failed.
    Failed(EngineError),
    /// Faults of an engine that serves; empty when there are none any more.
    Faults(Vec<Fault>),
}

/// Who is probed, and how.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) engine: &'static str,
    pub(super) address: SocketAddr,
    pub(super) settings: ProbeSettings,
}

/// Probes until the receiver is gone.
pub(super) async fn run(mut client: Box<dyn Client>, target: Target, events: mpsc::Sender<Event>) {
    if until_ready(client.as_mut(), &target, &events)
        .await
        .is_none()
    {
        return;
    }
    let settings = &target.settings;
    let mut written = Instant::now();
    let mut asked: Option<Instant> = None;
    loop {
        sleep(settings.interval.0).await;
        let began = Instant::now();
        let result = if written.elapsed() >= settings.write_interval.0 {
            written = began;
            bounded(&target, "write probe", client.write_probe()).await
        } else {
            bounded(&target, "read probe", client.read_probe()).await
        };
        let passed = result.is_ok();
        let event = match result {
            Ok(()) => Event::Passed(began.elapsed()),
            Err(error) => Event::Failed(error),
        };
        if events.send(event).await.is_err() {
            return;
        }
        if passed && asked.is_none_or(|at| at.elapsed() >= FAULT_INTERVAL) {
            asked = Some(Instant::now());
            let event = match bounded(&target, "status query", client.faults()).await {
                Ok(faults) => Event::Faults(faults),
                Err(error) => Event::Failed(error),
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// Waits for the port, makes accounts, passes the write probe.
async fn until_ready(
    client: &mut dyn Client,
    target: &Target,
    events: &mpsc::Sender<Event>,
) -> Option<()> {
    let started = Instant::now();
    let mut wait = FIRST_ATTEMPT;
    // Drivers wait long after a refused connection; a bare connect does not.
    while !matches!(
        timeout(
            target.settings.timeout.0,
            TcpStream::connect(target.address)
        )
        .await,
        Ok(Ok(_))
    ) {
        if events.is_closed() {
            return None;
        }
        sleep(wait).await;
        wait = (wait * 2).min(longest_wait(started.elapsed()));
    }
    wait = FIRST_ATTEMPT;
    loop {
        let began = Instant::now();
        let attempt = match bounded(target, "first-start accounts", client.bootstrap()).await {
            Ok(()) => bounded(target, "write probe", client.write_probe()).await,
            Err(error) => Err(error),
        };
        match attempt {
            Ok(()) => return events.send(Event::Ready(began.elapsed())).await.ok(),
            Err(error) => events.send(Event::NotYet(error)).await.ok()?,
        }
        sleep(wait).await;
        wait = (wait * 2).min(longest_wait(started.elapsed()));
    }
}

async fn bounded<T>(
    target: &Target,
    operation: &'static str,
    call: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let limit = target.settings.timeout.0;
    timeout(limit, call)
        .await
        .unwrap_or(Err(EngineError::Timeout {
            engine: target.engine,
            operation,
            limit,
        }))
}

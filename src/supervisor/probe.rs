//! Readiness and liveness of one running engine, by real operations.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
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
    /// Changes with a reload.
    pub(super) settings: watch::Receiver<ProbeSettings>,
}

impl Target {
    /// Longest that a probe may take.
    fn limit(&self) -> Duration {
        self.settings.borrow().timeout.0
    }
}

/// Probes until the receiver is gone.
pub(super) async fn run(mut client: Box<dyn Client>, target: Target, events: mpsc::Sender<Event>) {
    if until_ready(client.as_mut(), &target, &events)
        .await
        .is_none()
    {
        return;
    }
    let mut written = Instant::now();
    // After a write that failed only a write can tell that all is well again: reads may come from
    // memory while the disk takes nothing.
    let mut write_again = false;
    let mut asked: Option<Instant> = None;
    loop {
        let settings = target.settings.borrow().clone();
        sleep(settings.interval.0).await;
        let began = Instant::now();
        let write = write_again || written.elapsed() >= settings.write_interval.0;
        let result = if write {
            bounded(&target, "write probe", client.write_probe()).await
        } else {
            bounded(&target, "read probe", client.read_probe()).await
        };
        let passed = result.is_ok();
        if write {
            write_again = !passed;
            written = began;
        }
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
        timeout(target.limit(), TcpStream::connect(target.address)).await,
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
    let limit = target.limit();
    timeout(limit, call)
        .await
        .unwrap_or(Err(EngineError::Timeout {
            engine: target.engine,
            operation,
            limit,
        }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::engine::Login;

    /// An engine whose reads come from memory while its writes are refused.
    #[derive(Default)]
    struct Scripted {
        refuse_writes: Arc<AtomicBool>,
        writes: Arc<AtomicU32>,
    }

    impl Client for Scripted {
        fn bootstrap(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
            async { Ok(()) }.boxed()
        }
        fn read_probe(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
            async { Ok(()) }.boxed()
        }
        fn write_probe(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
            self.writes.fetch_add(1, Ordering::Relaxed);
            let refuse = self.refuse_writes.load(Ordering::Relaxed);
            async move {
                let (engine, operation, limit) = ("test", "write", Duration::ZERO);
                if refuse {
                    Err(EngineError::Timeout {
                        engine,
                        operation,
                        limit,
                    })
                } else {
                    Ok(())
                }
            }
            .boxed()
        }
        fn faults(&mut self) -> BoxFuture<'_, Result<Vec<Fault>, EngineError>> {
            async { Ok(Vec::new()) }.boxed()
        }
        fn quiesce(&mut self) -> BoxFuture<'_, Result<(), EngineError>> {
            async { Ok(()) }.boxed()
        }
        fn set_password<'a>(&'a mut self, _: &'a Login) -> BoxFuture<'a, Result<(), EngineError>> {
            async { Ok(()) }.boxed()
        }
    }

    #[tokio::test]
    async fn a_read_never_clears_what_a_write_found() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (span, long) = (Duration::from_millis(5), Duration::from_millis(50));
        let settings = watch::Sender::new(ProbeSettings {
            interval: crate::units::Span(span),
            write_interval: crate::units::Span(long),
            ..ProbeSettings::default()
        });
        let target = Target {
            engine: "test",
            address: listener.local_addr().unwrap(),
            settings: settings.subscribe(),
        };
        let client = Scripted::default();
        let (refuse, writes) = (
            Arc::clone(&client.refuse_writes),
            Arc::clone(&client.writes),
        );
        let (sender, mut events) = mpsc::channel(1);
        let prober = tokio::spawn(run(Box::new(client), target, sender));
        assert!(matches!(events.recv().await, Some(Event::Ready(_))));
        refuse.store(true, Ordering::Relaxed);
        while !matches!(events.recv().await, Some(Event::Failed(_))) {}
        for _ in 0..20 {
            let event = events.recv().await;
            assert!(matches!(event, Some(Event::Failed(_))), "{event:?}");
        }
        refuse.store(false, Ordering::Relaxed);
        let before = writes.load(Ordering::Relaxed);
        while !matches!(events.recv().await, Some(Event::Passed(_))) {}
        assert!(
            writes.load(Ordering::Relaxed) > before,
            "passed without a write"
        );
        prober.abort();
    }
}

//! What the board feels, and what follows: alerts, a flush when the supply voltage drops, and a
//! pause of work that can wait while the board has too little power or is too hot.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::alerts::{clear, raise_as};
use crate::board::Signals;
use crate::fsx;
use crate::journal::Event;
use crate::readable::urgent;
use crate::status::{Alert, Severity, StatusHub};

/// A flush of a slow card with much in the page cache.
const FLUSH_LIMIT: Duration = Duration::from_secs(30);
const VOLTAGE: &str = "undervoltage";
const HEAT: &str = "heat";

/// Publishes `signals`, opens and closes their alerts. Answers true when the voltage has just
/// dropped.
pub(super) fn publish(hub: &StatusHub, signals: &Signals) -> bool {
    let (low, hot) = (
        signals.undervoltage == Some(true),
        signals.throttled == Some(true),
    );
    let reason = if low {
        Some("the supply voltage is too low")
    } else if hot {
        Some("the processor is slowed because of heat")
    } else {
        None
    };
    hub.update(|status| {
        signals.show_in(&mut status.board);
        status.background_paused = reason.map(str::to_owned);
    });
    let heat = signals
        .temperature_celsius
        .map_or_else(String::new, |celsius| format!(" at {celsius:.0} °C"));
    turn(
        hub,
        hot,
        Alert::new(
            HEAT,
            Severity::Warning,
            "board",
            format!("the processor is slowed{heat}"),
            "give the board air or a fan; scheduled snapshots wait, and new checks are refused, until it \
             has cooled down",
        ),
        Event::AlertRaised,
    );
    turn(
        hub,
        low,
        Alert::new(
            VOLTAGE,
            Severity::Critical,
            "board",
            "the supply voltage is too low: the board may reset at any moment",
            "use the power supply made for this board, and a short thick cable; give disks a \
             supply of their own",
        ),
        Event::PowerLow,
    )
}

/// Opens or closes `alert`; answers true when it is new.
fn turn(hub: &StatusHub, holds: bool, alert: Alert, event: Event) -> bool {
    if holds {
        return raise_as(hub, alert, event);
    }
    clear(hub, &alert.id, "board");
    false
}

/// Brings what lies in the page cache of the data to the disk, before the power goes for good.
pub(super) async fn flush(data: PathBuf) {
    let dir = data.display().to_string();
    let flushed = tokio::task::spawn_blocking(move || fsx::sync_fs(&data));
    match timeout(FLUSH_LIMIT, flushed).await {
        Ok(Ok(Ok(()))) => tracing::info!("{dir} was flushed, since the voltage is low"),
        Ok(Ok(Err(error))) => tracing::error!("{error}; shut the board down before the power goes"),
        _ => tracing::error!(
            "flushing {dir} takes longer than {} s; shut the board down before the power goes",
            FLUSH_LIMIT.as_secs()
        ),
    }
}

/// The kernel's alarm of the supply voltage, where there is one: told at once instead of at the
/// next look (`Documentation/hwmon/sysfs-interface.rst`, poll on alarms).
#[derive(Debug)]
pub(super) struct Alarm {
    path: PathBuf,
    file: File,
    waiter: AsyncFd<std::os::fd::OwnedFd>,
}

impl Alarm {
    /// The alarm under `root`.
    pub(super) fn open(root: &Path) -> Option<Self> {
        let path = Signals::voltage_alarm(root)?;
        let file = File::open(&path).ok()?;
        Self::of(path, file)
    }

    fn of(path: PathBuf, file: File) -> Option<Self> {
        let waiter = urgent(file.as_fd().try_clone_to_owned().ok()?).ok()?;
        Some(Self { path, file, waiter })
    }

    /// Waits until the kernel says that it changed.
    pub(super) async fn changed(&mut self) {
        // Reading is what makes the kernel tell of the next change.
        let _ = nix::sys::uio::pread(self.file.as_fd(), &mut [0; 8], 0);
        match self.waiter.ready(Interest::PRIORITY).await {
            Ok(mut ready) => ready.clear_ready(),
            Err(error) => {
                tracing::warn!(
                    "{} cannot be waited for: {error}; the voltage is looked at every ten seconds",
                    self.path.display()
                );
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, OwnedFd};

    use super::*;
    use crate::status::fixture::hub;

    fn signals(undervoltage: Option<bool>, throttled: Option<bool>) -> Signals {
        Signals {
            temperature_celsius: Some(81.0),
            undervoltage,
            throttled,
            ..Signals::default()
        }
    }

    #[test]
    fn low_voltage_is_critical_pauses_what_can_wait_and_is_new_once() {
        let hub = hub();
        assert!(!publish(&hub, &signals(None, None)));
        assert_eq!(hub.snapshot().alerts, []);
        assert_eq!(hub.snapshot().background_paused, None);
        assert!(publish(&hub, &signals(Some(true), Some(false))));
        assert!(!publish(&hub, &signals(Some(true), Some(false))));
        let status = hub.snapshot();
        assert_eq!(status.alerts[0].severity, Severity::Critical);
        assert!(status.background_paused.unwrap().contains("voltage"));
        assert!(!publish(&hub, &signals(Some(false), Some(false))));
        assert_eq!(hub.snapshot().alerts, []);
        assert!(publish(&hub, &signals(Some(true), None)));
    }

    #[test]
    fn a_hot_board_is_told_with_its_temperature_and_pauses_what_can_wait() {
        let hub = hub();
        publish(&hub, &signals(Some(false), Some(true)));
        let status = hub.snapshot();
        assert!(status.alerts[0].message.contains("81 °C"), "{status:?}");
        assert!(status.background_paused.unwrap().contains("heat"));
        publish(&hub, &signals(Some(false), Some(false)));
        assert_eq!(hub.snapshot().background_paused, None);
    }

    #[tokio::test]
    async fn an_alarm_wakes_at_once_and_only_when_it_is_told() {
        // Urgent data of a connection wakes in the same way as an alarm in sysfs.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        let file = File::from(OwnedFd::from(receiver.try_clone().unwrap()));
        let mut alarm = Alarm::of(PathBuf::from("alarm"), file).unwrap();
        let silent = timeout(Duration::from_millis(50), alarm.changed()).await;
        assert!(silent.is_err());
        let flags = nix::sys::socket::MsgFlags::MSG_OOB;
        nix::sys::socket::send(sender.as_raw_fd(), b"!", flags).unwrap();
        timeout(Duration::from_secs(5), alarm.changed())
            .await
            .unwrap();
        receiver.set_nonblocking(true).unwrap();
        let _ = receiver.read(&mut [0; 1]);
    }

    #[tokio::test]
    async fn a_flush_of_a_missing_directory_only_tells() {
        flush(PathBuf::from("/nonexistent")).await;
        let dir = tempfile::tempdir().unwrap();
        flush(dir.path().to_path_buf()).await;
    }
}

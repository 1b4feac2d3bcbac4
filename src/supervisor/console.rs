//! The board's console: for who has a screen or a serial cable and nothing else.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::status::{ApplianceState, DatastoreState, Severity, Status};

/// Where the state of the appliance is written at each change.
#[derive(Debug)]
pub(super) struct Console {
    tty: File,
    told: String,
}

impl Console {
    /// Never blocks and never becomes the controlling terminal.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = nix::libc::O_NOCTTY | nix::libc::O_NONBLOCK;
        let tty = OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(path)?;
        Ok(Self {
            tty,
            told: String::new(),
        })
    }

    /// Writes what `status` says, unless it says the same as before.
    pub(super) fn tell(&mut self, status: &Status) {
        let text = text(status);
        if text == self.told {
            return;
        }
        // A terminal that does not take it is nobody's; the journal has it all.
        let _ = self.tty.write_all(text.as_bytes());
        self.told = text;
    }
}

/// One line for the whole, then one for everything that is wrong. States on the way to ready are
/// left out, so that the console of a healthy board shows two lines.
fn text(status: &Status) -> String {
    let mut text = format!("lucid: {}\n", name(status.state));
    for datastore in &status.datastores {
        let wrong = matches!(
            datastore.state,
            DatastoreState::Failed | DatastoreState::Blocked | DatastoreState::Degraded
        );
        if let Some(reason) = datastore.reason.as_ref().filter(|_| wrong) {
            let _ = writeln!(text, "lucid: {}: {reason}", datastore.name);
        }
    }
    for alert in &status.alerts {
        if alert.severity == Severity::Critical && !alert.id.starts_with("down:") {
            let _ = writeln!(
                text,
                "lucid: {}: {}; {}",
                alert.subject, alert.message, alert.action
            );
        }
    }
    text
}

const fn name(state: ApplianceState) -> &'static str {
    match state {
        ApplianceState::Starting => "STARTING",
        ApplianceState::Ready => "READY",
        ApplianceState::Degraded => "DEGRADED",
        ApplianceState::Failed => "FAILED",
        ApplianceState::Stopping => "STOPPING",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Alert, StatusHub, fixture};

    fn hub(state: DatastoreState, reason: Option<&str>) -> StatusHub {
        let hub = fixture::hub();
        let mut datastore = fixture::datastore("cache", state);
        datastore.reason = reason.map(str::to_owned);
        hub.update(|status| status.datastores = vec![datastore]);
        hub
    }

    #[test]
    fn what_is_wrong_is_written_with_its_remedy_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console");
        File::create(&path).unwrap();
        let mut console = Console::open(&path).unwrap();
        let hub = hub(DatastoreState::Blocked, Some("the disk is gone; attach it"));
        hub.raise(Alert::new(
            "data-disk",
            Severity::Critical,
            "data",
            "gone",
            "attach it",
        ));
        console.tell(&hub.snapshot());
        console.tell(&hub.snapshot());
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            written,
            "lucid: FAILED\nlucid: cache: the disk is gone; attach it\n\
             lucid: data: gone; attach it\n"
        );
    }

    #[test]
    fn a_ready_appliance_says_so_in_one_line() {
        let hub = hub(DatastoreState::Ready, None);
        assert_eq!(text(&hub.snapshot()), "lucid: READY\n");
    }
}

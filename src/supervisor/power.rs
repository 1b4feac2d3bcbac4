//! What ends the appliance on request of a person at the box. systemd carries it out where it runs
//! the appliance: it alone may unmount, and only it stops the units around the supervisor too.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command as Program;
use tokio::time::timeout;

use super::handle::Handle;

/// Queueing a job takes milliseconds; a busy board may need longer.
const LIMIT: Duration = Duration::from_secs(15);
/// Stops everything that uses the data disk and unmounts it; part of the image.
const REMOVAL: &str = "lucid-remove.service";

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    /// systemd said no.
    #[error("`{command}` failed: {problem}; log in and run it, or `lucid status`")]
    Systemd {
        /// The command line.
        command: String,
        /// Its last words.
        problem: String,
    },
    /// There is no disk that could be pulled.
    #[error(
        "the data lies on the medium that the board starts from, so there is no disk to release; \
         hold the button for 3 s to shut down"
    )]
    NoDisk,
    /// Not started by systemd.
    #[error(
        "the data disk can only be released on a board that was started from Lucid's image; stop \
         the supervisor instead"
    )]
    NoImage,
}

impl Handle {
    /// Stops everything and switches the board off; without systemd it ends the supervisor.
    ///
    /// # Errors
    /// [`PowerError::Systemd`].
    pub async fn power_off(&self) -> Result<(), PowerError> {
        if !under_systemd() {
            self.end.notify_one();
            return Ok(());
        }
        systemctl(&["--no-block", "poweroff"]).await
    }

    /// Stops everything and unmounts the data disk, so that it can be pulled.
    ///
    /// # Errors
    /// [`PowerError`]; nothing was stopped then.
    pub async fn release_data_disk(&self) -> Result<(), PowerError> {
        if !under_systemd() || !self.is_image {
            return Err(PowerError::NoImage);
        }
        if !self.has_disk {
            return Err(PowerError::NoDisk);
        }
        systemctl(&["--no-block", "start", REMOVAL]).await
    }
}

/// Makes sure that somebody can log in, for rescue. A failure is told: the console is left.
pub(super) async fn open_ssh() {
    if under_systemd()
        && let Err(error) = systemctl(&["--no-block", "start", "ssh.service"]).await
    {
        tracing::error!("{error}");
    }
}

/// Whether systemd started this program, and is there to be asked (sd_booted(3)).
fn under_systemd() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some() && Path::new("/run/systemd/system").is_dir()
}

async fn systemctl(arguments: &[&str]) -> Result<(), PowerError> {
    let failed = |problem: String| PowerError::Systemd {
        command: format!("systemctl {}", arguments.join(" ")),
        problem,
    };
    let mut program = Program::new("systemctl");
    program
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    match timeout(LIMIT, program.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let words = String::from_utf8_lossy(&output.stderr);
            Err(failed(words.trim().to_owned()))
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {} s", LIMIT.as_secs()))),
    }
}

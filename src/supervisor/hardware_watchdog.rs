//! The board's hardware watchdog: resets the board when the supervisor's loop stops feeding it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest that a Raspberry Pi's watchdog counts (bcm2835_wdt: 15 s).
const TIMEOUT_SECONDS: i32 = 15;

/// `WDIOC_SETTIMEOUT` (linux/watchdog.h): sets seconds, gives back what the driver made of them.
mod request {
    nix::ioctl_readwrite!(set_timeout, b'W', 6, i32);
}

/// Why there is no watchdog.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchdogError {
    #[error("cannot open the watchdog {}: {source}; is its driver loaded, does another program hold it?", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("the watchdog {} takes no timeout of {TIMEOUT_SECONDS} s: {source}", path.display())]
    Timeout {
        path: PathBuf,
        source: nix::errno::Errno,
    },
}

/// An armed watchdog. Dropping it leaves it armed: a supervisor that crashed is replaced within
/// the timeout, or the board is reset.
#[derive(Debug)]
pub(super) struct HardwareWatchdog {
    device: File,
    timeout: Duration,
}

impl HardwareWatchdog {
    /// Opens and thereby arms it; an instance that takes over after a crash feeds it so.
    pub(super) fn open(path: &Path) -> Result<Self, WatchdogError> {
        let device = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(|source| WatchdogError::Open {
                path: path.to_path_buf(),
                source,
            })?;
        let mut seconds = TIMEOUT_SECONDS;
        // SAFETY: the descriptor is open for the whole call, and the request reads and writes
        // exactly one int, which `seconds` is.
        #[allow(unsafe_code)]
        let result = unsafe { request::set_timeout(device.as_raw_fd(), &raw mut seconds) };
        result.map_err(|source| WatchdogError::Timeout {
            path: path.to_path_buf(),
            source,
        })?;
        let seconds = u64::try_from(seconds).unwrap_or(1).max(1);
        Ok(Self {
            device,
            timeout: Duration::from_secs(seconds),
        })
    }

    /// After this long without [`Self::feed`] the board is reset.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// One sign of life. A driver that refuses it resets the board, which is what it is for.
    pub(super) fn feed(&self) {
        if let Err(error) = (&self.device).write_all(b"\0") {
            tracing::error!("cannot feed the hardware watchdog: {error}");
        }
    }

    /// For a clean stop: the magic character lets the driver stop counting once the device is
    /// closed (kernel doc, watchdog-api).
    pub(super) fn disarm(&self) {
        if let Err(error) = (&self.device).write_all(b"V") {
            tracing::error!("cannot disarm the hardware watchdog: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_that_cannot_be_opened_is_told_with_its_path() {
        let error = HardwareWatchdog::open(Path::new("/nonexistent/watchdog")).unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/watchdog"),
            "{error}"
        );
    }

    #[test]
    fn a_device_that_is_no_watchdog_is_refused() {
        let error = HardwareWatchdog::open(Path::new("/dev/null")).unwrap_err();
        assert!(matches!(error, WatchdogError::Timeout { .. }), "{error}");
    }
}

//! The key that the panel's overlay declares (gpio-keys), read from its input device
//! (`Documentation/input/input.rst`).

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use super::Change;
use crate::panel::driver::{DriverError, Machine};
use crate::readable::readable;

/// `label` of the keys in `overlays/lucid-panel-overlay.dts`: the input device's name.
const NAME: &str = "lucid-panel";
/// `EV_KEY` and the key of the overlay, `KEY_PROG1` (linux/input-event-codes.h). No session
/// manager acts on that key.
const EV_KEY: u16 = 1;
const KEY_PROG1: u16 = 148;
/// `struct input_event` of a 64-bit kernel: seconds, microseconds, type, code, value.
const EVENT_BYTES: usize = 24;
/// Bytes of a bitmap of all keys (`KEY_CNT` is 768).
const KEY_BYTES: usize = 96;

/// Requests of linux/input.h.
mod request {
    nix::ioctl_read_buf!(keys_down, b'E', 0x18, u8);
    nix::ioctl_write_ptr!(set_clock, b'E', 0xa0, nix::libc::c_int);
}

/// The open input device.
#[derive(Debug)]
pub(in crate::panel) struct Keys {
    path: PathBuf,
    device: File,
    /// Wakes when there is something to read.
    waiter: AsyncFd<OwnedFd>,
}

impl Keys {
    pub(super) fn open(machine: &Machine) -> Result<Self, DriverError> {
        let class = machine.sys.join("class/input");
        let named = |event: &str| {
            let name = std::fs::read_to_string(class.join(event).join("device/name"));
            name.is_ok_and(|name| name.trim() == NAME)
        };
        let event = std::fs::read_dir(&class)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .find(|name| name.starts_with("event") && named(name))
            .ok_or_else(|| {
                DriverError::Missing(format!(
                    "no input device is named {NAME}: the panel's overlay is not in the device \
                     tree, or its driver gpio_keys is not loaded; or name a line in panel.button"
                ))
            })?;
        let path = machine.dev.join("input").join(event);
        let file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(&path)
            .map_err(DriverError::file(&path))?;
        let monotonic = nix::libc::CLOCK_MONOTONIC;
        // SAFETY: the descriptor is open for the whole call, and the request reads exactly one
        // int, which `monotonic` is.
        #[allow(unsafe_code)]
        let set = unsafe { request::set_clock(file.as_raw_fd(), &raw const monotonic) };
        set.map_err(|errno| DriverError::Broken {
            path: path.clone(),
            problem: format!("it takes no clock: {errno}"),
        })?;
        let waiter = file.as_fd().try_clone_to_owned().and_then(readable);
        Ok(Self {
            waiter: waiter.map_err(DriverError::file(&path))?,
            device: file,
            path,
        })
    }

    pub(super) fn place(&self) -> String {
        format!("key of {} ({NAME})", self.path.display())
    }

    pub(super) fn is_pressed(&self) -> bool {
        let mut down = [0u8; KEY_BYTES];
        // SAFETY: the descriptor is open for the whole call, and the kernel writes at most the
        // length of the buffer that is passed with it.
        #[allow(unsafe_code)]
        let read = unsafe { request::keys_down(self.device.as_raw_fd(), &mut down) };
        let (byte, bit) = (usize::from(KEY_PROG1 / 8), KEY_PROG1 % 8);
        read.is_ok() && down[byte] & (1 << bit) != 0
    }

    pub(super) async fn change(&mut self) -> Result<Change, DriverError> {
        loop {
            let ready = self.waiter.readable().await;
            let mut ready = ready.map_err(DriverError::file(&self.path))?;
            let mut bytes = [0u8; EVENT_BYTES];
            match (&self.device).read(&mut bytes) {
                Ok(EVENT_BYTES) => {
                    if let Some(change) = change(&bytes) {
                        return Ok(change);
                    }
                }
                Ok(_) => {
                    return Err(DriverError::Broken {
                        path: self.path.clone(),
                        problem: "it ended".to_owned(),
                    });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(DriverError::file(&self.path)(error)),
            }
        }
    }
}

/// What one event says of the panel's key; repetitions (value 2) say nothing.
fn change(bytes: &[u8; EVENT_BYTES]) -> Option<Change> {
    let (times, rest) = bytes.split_at(16);
    let number = |at: usize| {
        let bytes = times.get(at..at + 8)?.try_into().ok()?;
        u64::try_from(i64::from_ne_bytes(bytes)).ok()
    };
    let short = |at: usize| Some(u16::from_ne_bytes(rest.get(at..at + 2)?.try_into().ok()?));
    let value = i32::from_ne_bytes(rest.get(4..8)?.try_into().ok()?);
    let is_key = short(0)? == EV_KEY && short(2)? == KEY_PROG1;
    (is_key && (value == 0 || value == 1)).then_some(Change {
        pressed: value == 1,
        at: Duration::from_secs(number(0)?) + Duration::from_micros(number(8)?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> [u8; EVENT_BYTES] {
        let mut bytes = Vec::new();
        bytes.extend(7i64.to_ne_bytes());
        bytes.extend(500_000i64.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
        bytes.try_into().unwrap()
    }

    #[test]
    fn only_the_panels_key_going_down_or_up_is_a_change() {
        let at = Duration::from_millis(7500);
        let pressed = |pressed| Some(Change { pressed, at });
        assert_eq!(change(&event(EV_KEY, KEY_PROG1, 1)), pressed(true));
        assert_eq!(change(&event(EV_KEY, KEY_PROG1, 0)), pressed(false));
        assert_eq!(change(&event(EV_KEY, KEY_PROG1, 2)), None);
        assert_eq!(change(&event(EV_KEY, 116, 1)), None);
        assert_eq!(change(&event(0, 0, 0)), None);
    }

    #[test]
    fn a_missing_key_is_told_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine {
            sys: dir.path().to_path_buf(),
            dev: dir.path().to_path_buf(),
        };
        let error = Keys::open(&machine).unwrap_err().to_string();
        assert!(
            error.contains("overlay") && error.contains("panel.button"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: [u8; EVENT_BYTES]) {
            let _ = change(&bytes);
        }
    }
}

//! Where presses come from: the kernel's key driver, as the panel's overlay declares it, or a line
//! of a GPIO chip. Both wait in the kernel, debounced there, and wake nobody between presses.

mod keys;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use gpiocdev::Request;
use gpiocdev::line::{EdgeKind, Value};
use tokio::io::unix::AsyncFd;

use super::driver::{DriverError, Machine, open_button};
use crate::config::{Panel as Settings, PanelDriver};
use crate::readable::readable;
use crate::status::PanelChoice;

/// The button went down or came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) pressed: bool,
    /// On `CLOCK_MONOTONIC`, by the kernel.
    pub(super) at: Duration,
}

/// The button, or its absence.
#[derive(Debug)]
pub(super) enum Button {
    None,
    Line {
        request: Request,
        /// Wakes when there is something to read.
        waiter: AsyncFd<OwnedFd>,
        line: u32,
        place: String,
    },
    Keys(keys::Keys),
}

impl Button {
    /// Opens what is there, and says what that is or why there is none. Needs the runtime.
    pub(super) fn open(settings: &Settings, machine: &Machine) -> (Self, PanelChoice) {
        let opened = match settings.button {
            _ if matches!(settings.driver, PanelDriver::Off | PanelDriver::Simulated) => Err(
                DriverError::Missing("a panel that is off or simulated has no button".to_owned()),
            ),
            Some(line) => open_button(settings, line, machine).and_then(|(request, place)| {
                let fd = request.as_fd().try_clone_to_owned();
                let waiter = fd
                    .and_then(readable)
                    .map_err(DriverError::file(&machine.dev))?;
                Ok(Self::Line {
                    request,
                    waiter,
                    line,
                    place,
                })
            }),
            None => keys::Keys::open(machine).map(Self::Keys),
        };
        let (button, used, reason) = match opened {
            Ok(button) => {
                let place = button.place().unwrap_or_default();
                (button, true, place)
            }
            Err(error) => (Self::None, false, error.to_string()),
        };
        let choice = PanelChoice {
            name: "button".to_owned(),
            used,
            reason,
        };
        (button, choice)
    }

    /// For people.
    pub(super) fn place(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Line { place, .. } => Some(place.clone()),
            Self::Keys(keys) => Some(keys.place()),
        }
    }

    /// Whether it is down now.
    pub(super) fn is_pressed(&self) -> bool {
        match self {
            Self::None => false,
            Self::Line { request, line, .. } => request
                .value(*line)
                .is_ok_and(|value| value == Value::Active),
            Self::Keys(keys) => keys.is_pressed(),
        }
    }

    /// The next change; never comes where there is no button.
    pub(super) async fn change(&mut self) -> Result<Change, DriverError> {
        match self {
            Self::None => std::future::pending().await,
            Self::Keys(keys) => keys.change().await,
            Self::Line {
                request,
                waiter,
                place,
                ..
            } => {
                let failed = |problem: String| DriverError::Broken {
                    path: PathBuf::from(&*place),
                    problem,
                };
                let ready = waiter.readable().await;
                let mut ready = ready.map_err(|error| failed(error.to_string()))?;
                let event = request.read_edge_event();
                // Several edges may wait: the descriptor is asked again whether there is more.
                if !request.has_edge_event().unwrap_or(false) {
                    ready.clear_ready();
                }
                let event = event.map_err(|error| failed(error.to_string()))?;
                Ok(Change {
                    pressed: event.kind == EdgeKind::Rising,
                    at: Duration::from_nanos(event.timestamp_ns),
                })
            }
        }
    }
}

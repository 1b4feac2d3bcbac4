//! Lamps that are drawn: in the terminal by `lucid panel show --watch`, and by whoever follows the
//! status.

use super::{Driver, DriverError, Rhythm};
use crate::panel::show::{Frame, Layout};

/// Three lamps that show all there is to a pattern.
#[derive(Debug)]
pub(super) struct Simulated;

impl Driver for Simulated {
    fn layout(&self) -> Layout {
        Layout::Rgb
    }

    fn dimmable(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        "no lamp of this machine: drawn in the terminal and in the status".to_owned()
    }

    fn show(&mut self, _frames: &[Frame]) -> Result<Rhythm, DriverError> {
        Ok(Rhythm::Kept)
    }

    fn set(&mut self, _levels: &[u8]) -> Result<(), DriverError> {
        Ok(())
    }

    fn give_back(&mut self) {}
}

//! What drives the lamps: the best that is there, and why not the others.

mod gpio;
mod leds;
mod registers;
mod simulated;

use std::fmt;
use std::path::{Path, PathBuf};

pub(super) use gpio::open_button;

use super::show::{Frame, Layout};
use crate::config::{Panel as Settings, PanelDriver};
use crate::status::PanelChoice;

/// Where the machine's devices are; another root for tests.
#[derive(Debug, Clone)]
pub struct Machine {
    /// `/sys`
    pub sys: PathBuf,
    /// `/dev`
    pub dev: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            sys: PathBuf::from("/sys"),
            dev: PathBuf::from("/dev"),
        }
    }
}

/// Why lamps or the button cannot be driven.
#[derive(Debug, thiserror::Error)]
pub(in crate::panel) enum DriverError {
    /// Nothing of it is there, or the configuration does not ask for it.
    #[error("{0}")]
    Missing(String),
    /// Somebody else has the line.
    #[error(
        "line {line} of {chip} is in use by {by}; name another in panel.pins or panel.button, or free it"
    )]
    Claimed {
        /// The chip's label.
        chip: String,
        /// The line.
        line: u32,
        /// The consumer as the kernel names it.
        by: String,
    },
    /// The chip has no such line, or it is not for the panel.
    #[error("line {line} of {chip} cannot be used: {why}")]
    Line {
        /// The chip's label.
        chip: String,
        /// The line.
        line: u32,
        /// Why.
        why: String,
    },
    /// This user may not.
    #[error("this user may not use {}; run as root, or give the user the device", .0.display())]
    Denied(PathBuf),
    /// It was there and does not work.
    #[error("{} does not work: {problem}", path.display())]
    Broken {
        /// The file or device.
        path: PathBuf,
        /// What the kernel said.
        problem: String,
    },
    /// It does not answer.
    #[error("{0} did not answer within a second")]
    Hung(&'static str),
}

impl DriverError {
    pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => Self::Denied(path.to_path_buf()),
            _ => Self::Broken {
                path: path.to_path_buf(),
                problem: error.to_string(),
            },
        }
    }
}

/// A way to drive lamps, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// LEDs that the configuration names, or that the panel's overlay declares.
    Overlay,
    /// Lines of a GPIO chip.
    Gpio,
    /// Registers of the pins.
    Rppal,
    /// The board's own LEDs.
    Board,
    /// Drawn.
    Simulated,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Overlay,
        Self::Gpio,
        Self::Rppal,
        Self::Board,
        Self::Simulated,
    ];

    /// In the list of choices.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Gpio => "gpio",
            Self::Rppal => "rppal",
            Self::Board => "board",
            Self::Simulated => "simulated",
        }
    }

    /// `panel.driver` of the status: the same words as in the configuration.
    pub(super) const fn driver(self) -> &'static str {
        match self {
            Self::Overlay | Self::Board => "leds",
            other => other.name(),
        }
    }

    /// Whether the configuration names lamps that are this kind's.
    fn is_named(self, settings: &Settings) -> bool {
        match self {
            Self::Overlay => !settings.leds.is_empty(),
            Self::Gpio | Self::Rppal => !settings.pins.is_empty(),
            Self::Board | Self::Simulated => false,
        }
    }

    const fn belongs_to(self, driver: PanelDriver) -> bool {
        match driver {
            PanelDriver::Auto => true,
            PanelDriver::Leds => matches!(self, Self::Overlay | Self::Board | Self::Simulated),
            PanelDriver::Gpio => matches!(self, Self::Gpio | Self::Simulated),
            PanelDriver::Rppal => matches!(self, Self::Rppal | Self::Simulated),
            PanelDriver::Simulated => matches!(self, Self::Simulated),
            PanelDriver::Off => false,
        }
    }
}

/// Who keeps the rhythm after [`Driver::show`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rhythm {
    /// The kernel, or nobody has to: no wake-ups.
    Kept,
    /// Who called: by [`Driver::set`] at each frame.
    Wanted,
}

/// Lamps.
pub(super) trait Driver: Send + fmt::Debug {
    fn layout(&self) -> Layout;
    /// Whether levels between dark and full make a difference.
    fn dimmable(&self) -> bool;
    /// What is driven, for people.
    fn describe(&self) -> String;
    /// Shows the first frame at once; the kernel goes on by itself where it can.
    fn show(&mut self, frames: &[Frame]) -> Result<Rhythm, DriverError> {
        if let Some(first) = frames.first() {
            self.set(&first.levels)?;
        }
        Ok(if frames.len() > 1 {
            Rhythm::Wanted
        } else {
            Rhythm::Kept
        })
    }
    /// Levels now.
    fn set(&mut self, levels: &[u8]) -> Result<(), DriverError>;
    /// Gives the lamps back as they were found, for a command that only tried them.
    fn give_back(&mut self);
}

/// The driver in use, with the list of choices for `lucid panel show`.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) kind: Kind,
    pub(super) driver: Box<dyn Driver>,
    pub(super) choices: Vec<PanelChoice>,
    /// Why what the configuration names by name or number is not in use.
    pub(super) missing: Option<String>,
}

/// The best driver that `settings` allow and the machine has, without those in `failed`. There is
/// always one: what cannot be lit is drawn. `None` where the panel is off. Blocks.
pub(super) fn choose(
    settings: &Settings,
    machine: &Machine,
    failed: &[(Kind, String)],
) -> Option<Chosen> {
    if settings.driver == PanelDriver::Off {
        return None;
    }
    let mut chosen: Option<(Kind, Box<dyn Driver>)> = None;
    let mut choices = Vec::new();
    let mut missing = None;
    for kind in Kind::ALL
        .into_iter()
        .filter(|kind| kind.belongs_to(settings.driver))
    {
        let mut choice = PanelChoice {
            name: kind.name().to_owned(),
            used: false,
            reason: "not needed".to_owned(),
        };
        if chosen.is_none() {
            let lately = failed.iter().find(|(other, _)| *other == kind);
            let opened = match lately {
                Some((_, problem)) => Err(DriverError::Missing(problem.clone())),
                None => open(kind, settings, machine),
            };
            match opened {
                Ok(driver) => {
                    choice.used = true;
                    choice.reason = driver.describe();
                    chosen = Some((kind, driver));
                }
                Err(error) => {
                    choice.reason = error.to_string();
                    if kind.is_named(settings) {
                        missing.get_or_insert_with(|| choice.reason.clone());
                    }
                }
            }
        }
        choices.push(choice);
    }
    chosen.map(|(kind, driver)| Chosen {
        // The registers light the lines that the GPIO device does not.
        missing: missing.filter(|_| kind != Kind::Rppal),
        kind,
        driver,
        choices,
    })
}

fn open(
    kind: Kind,
    settings: &Settings,
    machine: &Machine,
) -> Result<Box<dyn Driver>, DriverError> {
    Ok(match kind {
        Kind::Overlay => Box::new(leds::Leds::named(&settings.leds, &machine.sys)?),
        Kind::Board => Box::new(leds::Leds::of_board(&machine.sys)?),
        Kind::Gpio => Box::new(gpio::Lines::open(settings, machine)?),
        Kind::Rppal => Box::new(registers::Registers::open(settings, machine)?),
        Kind::Simulated => Box::new(simulated::Simulated),
    })
}

/// Lamps for `settings.pins`.
fn layout_of_pins(settings: &Settings) -> Result<Layout, DriverError> {
    Layout::of(settings.pins.len())
        .ok_or_else(|| DriverError::Missing("panel.pins names no line".to_owned()))
}

//! Registers of the pins, through `rppal`: for Raspberry Pi's own kernel, where the GPIO device
//! cannot be used. It goes past the kernel's book of who has which line, so a pin that serves
//! another function is refused by what the registers say.

use rppal::gpio::{Error, Gpio, Mode, OutputPin};

use super::gpio::Chip;
use super::{Driver, DriverError, Machine, layout_of_pins};
use crate::config::Panel as Settings;
use crate::panel::show::Layout;

/// Lamps on pins of the header.
#[derive(Debug)]
pub(super) struct Registers {
    layout: Layout,
    pins: Vec<OutputPin>,
    active_low: bool,
}

impl Registers {
    pub(super) fn open(settings: &Settings, machine: &Machine) -> Result<Self, DriverError> {
        let layout = layout_of_pins(settings)?;
        if !settings.chip.is_empty() {
            return Err(DriverError::Missing(
                "panel.chip names a chip, and this driver knows the header alone".to_owned(),
            ));
        }
        let device = ["gpiomem", "gpiomem0"].map(|name| machine.dev.join(name));
        if !device.iter().any(|path| path.exists()) {
            return Err(DriverError::Missing(format!(
                "{} is not there: it is Raspberry Pi's own kernel that has it",
                device[0].display()
            )));
        }
        // The kernel's book, where it can be read.
        if let Ok(chip) = Chip::find("", machine) {
            for line in &settings.pins {
                chip.check(*line)?;
            }
        }
        let broken = |error: &Error| match error {
            Error::PermissionDenied(path) => DriverError::Denied(path.into()),
            other => DriverError::Broken {
                path: device[0].clone(),
                problem: other.to_string(),
            },
        };
        let gpio = Gpio::new().map_err(|error| broken(&error))?;
        let mut pins = Vec::new();
        for line in &settings.pins {
            let refused = |why: String| DriverError::Line {
                chip: "the header".to_owned(),
                line: *line,
                why,
            };
            let number =
                u8::try_from(*line).map_err(|_| refused("there is no such pin".to_owned()))?;
            let pin = gpio.get(number).map_err(|error| broken(&error))?;
            match pin.mode() {
                Mode::Input | Mode::Output | Mode::Null => {}
                other => {
                    return Err(refused(format!("it serves another function ({other})")));
                }
            }
            pins.push(if settings.pins_active_low {
                pin.into_output_high()
            } else {
                pin.into_output_low()
            });
        }
        Ok(Self {
            layout,
            pins,
            active_low: settings.pins_active_low,
        })
    }
}

impl Driver for Registers {
    fn layout(&self) -> Layout {
        self.layout
    }

    fn dimmable(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        let lamps = self.layout.lamps().iter().zip(&self.pins);
        let names: Vec<_> = lamps
            .map(|(lamp, pin)| format!("{lamp} on GPIO {}", pin.pin()))
            .collect();
        format!(
            "{} by their registers; blinking kept by the supervisor, dark without it",
            names.join(", ")
        )
    }

    fn set(&mut self, levels: &[u8]) -> Result<(), DriverError> {
        for (pin, level) in self.pins.iter_mut().zip(levels) {
            if (*level > 0) == self.active_low {
                pin.set_low();
            } else {
                pin.set_high();
            }
        }
        Ok(())
    }

    fn give_back(&mut self) {
        // Dropping a pin gives it its former mode back.
    }
}

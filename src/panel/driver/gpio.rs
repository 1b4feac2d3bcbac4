//! Lines of a GPIO chip, through its character device.

use std::path::PathBuf;
use std::time::Duration;

use gpiocdev::Request;
use gpiocdev::line::{Bias, EdgeDetection, EventClock, Value, Values};

use super::{Driver, DriverError, Machine, layout_of_pins};
use crate::config::{Panel as Settings, reserved};
use crate::panel::show::Layout;

/// Chips of the 40-pin header, by label: up to the Pi 3, of the Pi 4, of the Pi 5.
const HEADERS: [&str; 3] = ["pinctrl-bcm2835", "pinctrl-bcm2711", "pinctrl-rp1"];
/// Mechanical buttons bounce for 5 to 20 ms.
const DEBOUNCE: Duration = Duration::from_millis(20);
const CONSUMER: &str = "lucid";

/// A GPIO chip that was found.
#[derive(Debug)]
pub(super) struct Chip {
    path: PathBuf,
    label: String,
    lines: u32,
    device: gpiocdev::Chip,
}

impl Chip {
    /// The one that `wanted` names by label, name or path; the header's where it is empty.
    pub(super) fn find(wanted: &str, machine: &Machine) -> Result<Self, DriverError> {
        let mut seen = Vec::new();
        let mut paths: Vec<_> = std::fs::read_dir(&machine.dev)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().map(|name| name.to_string_lossy());
                name.is_some_and(|name| name.starts_with("gpiochip"))
            })
            .collect();
        paths.sort();
        for path in paths {
            let chip = gpiocdev::Chip::from_path(&path).map_err(|error| broken(&path, &error))?;
            let info = chip.info().map_err(|error| broken(&path, &error))?;
            let matches = if wanted.is_empty() {
                HEADERS.contains(&info.label.as_str())
            } else {
                wanted == info.label || wanted == info.name || path.as_os_str() == wanted
            };
            if matches {
                return Ok(Self {
                    path,
                    label: info.label,
                    lines: info.num_lines,
                    device: chip,
                });
            }
            seen.push(format!("{} ({})", info.name, info.label));
        }
        let seen = match seen.as_slice() {
            [] => "no GPIO chip".to_owned(),
            _ => seen.join(", "),
        };
        Err(DriverError::Missing(if wanted.is_empty() {
            format!(
                "no GPIO chip of a Raspberry Pi's header is there: {} has {seen}",
                machine.dev.display()
            )
        } else {
            format!(
                "panel.chip names {wanted:?}, and {} has {seen}",
                machine.dev.display()
            )
        }))
    }

    /// That a line is there, is the panel's to use, and is nobody else's.
    pub(super) fn check(&self, line: u32) -> Result<(), DriverError> {
        let refused = |why: String| DriverError::Line {
            chip: self.label.clone(),
            line,
            why,
        };
        if line >= self.lines {
            return Err(refused(format!("it has {} lines", self.lines)));
        }
        if let Some(why) = reserved(line).filter(|_| HEADERS.contains(&self.label.as_str())) {
            return Err(refused(why.to_owned()));
        }
        let info = self.device.line_info(line);
        let info = info.map_err(|error| broken(&self.path, &error))?;
        if info.used {
            return Err(DriverError::Claimed {
                chip: self.label.clone(),
                line,
                by: if info.consumer.is_empty() {
                    "another function of the pin".to_owned()
                } else {
                    format!("{:?}", info.consumer)
                },
            });
        }
        Ok(())
    }
}

fn broken(path: &std::path::Path, error: &gpiocdev::Error) -> DriverError {
    let text = error.to_string();
    // The library hides the number of the error of an open behind a text.
    if text.contains("ermission denied") {
        DriverError::Denied(path.to_path_buf())
    } else {
        DriverError::Broken {
            path: path.to_path_buf(),
            problem: text,
        }
    }
}

/// Lamps on lines.
#[derive(Debug)]
pub(super) struct Lines {
    layout: Layout,
    pins: Vec<u32>,
    path: PathBuf,
    label: String,
    request: Request,
}

impl Lines {
    pub(super) fn open(settings: &Settings, machine: &Machine) -> Result<Self, DriverError> {
        let layout = layout_of_pins(settings)?;
        let chip = Chip::find(&settings.chip, machine)?;
        for line in &settings.pins {
            chip.check(*line)?;
        }
        let mut builder = Request::builder();
        builder
            .on_chip(&chip.path)
            .with_consumer(CONSUMER)
            .with_lines(&settings.pins);
        if settings.pins_active_low {
            builder.as_active_low();
        }
        builder.as_output(Value::Inactive);
        let request = builder.request();
        Ok(Self {
            layout,
            pins: settings.pins.clone(),
            request: request.map_err(|error| broken(&chip.path, &error))?,
            path: chip.path,
            label: chip.label,
        })
    }
}

impl Driver for Lines {
    fn layout(&self) -> Layout {
        self.layout
    }

    fn dimmable(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        let lamps = self.layout.lamps().iter().zip(&self.pins);
        let names: Vec<_> = lamps
            .map(|(lamp, line)| format!("{lamp} on line {line}"))
            .collect();
        format!(
            "{} of {} ({}); blinking kept by the supervisor, dark without it",
            names.join(", "),
            self.label,
            self.path.display()
        )
    }

    fn set(&mut self, levels: &[u8]) -> Result<(), DriverError> {
        let mut values = Values::default();
        for (line, level) in self.pins.iter().zip(levels) {
            values.set(*line, Value::from(*level > 0));
        }
        self.request
            .set_values(&values)
            .map_err(|error| broken(&self.path, &error))
    }

    fn give_back(&mut self) {
        // Closing the request, with the end of this value, gives the lines back.
    }
}

/// The line of the button, with edges of both kinds.
pub(in crate::panel) fn open_button(
    settings: &Settings,
    line: u32,
    machine: &Machine,
) -> Result<(Request, String), DriverError> {
    let chip = Chip::find(&settings.chip, machine)?;
    chip.check(line)?;
    let mut builder = Request::builder();
    builder
        .on_chip(&chip.path)
        .with_consumer(CONSUMER)
        .with_line(line)
        .as_input()
        .with_edge_detection(EdgeDetection::BothEdges)
        .with_event_clock(EventClock::Monotonic)
        .with_debounce_period(DEBOUNCE);
    if settings.button_active_low {
        builder.as_active_low().with_bias(Bias::PullUp);
    } else {
        builder.with_bias(Bias::PullDown);
    }
    let request = builder.request();
    let request = request.map_err(|error| broken(&chip.path, &error))?;
    let place = format!("line {line} of {} ({})", chip.label, chip.path.display());
    Ok((request, place))
}

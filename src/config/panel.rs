//! `[panel]`: lights and button.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::rules::Rules;

/// `[panel]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Panel {
    /// What drives the lights.
    pub driver: PanelDriver,
    /// LEDs of `/sys/class/leds`: none for those of the overlay or the board, else one for every
    /// state, two (green, red) or three (red, green, blue).
    pub leds: Vec<String>,
    /// Lines of the GPIO chip, likewise.
    pub pins: Vec<u32>,
    /// Whether the lamps at `pins` light when their line is low.
    pub pins_active_low: bool,
    /// Line of the button.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub button: Option<u32>,
    /// Whether the button pulls its line to ground.
    pub button_active_low: bool,
    /// Label, name or path of the GPIO chip; empty for the one of the board's header.
    pub chip: String,
    /// Percent, 1 to 100.
    pub brightness: u8,
    /// Local time at which the night begins; empty for no night.
    pub night_from: DayTime,
    /// Local time at which it ends.
    pub night_to: DayTime,
    /// Percent at night, 1 to 100.
    pub night_brightness: u8,
}

/// What drives the lights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PanelDriver {
    /// The best that is there.
    Auto,
    /// The kernel's LED class.
    Leds,
    /// The GPIO character device.
    Gpio,
    /// Raspberry Pi's own kernel: registers of the pins.
    Rppal,
    /// Drawn in the terminal and in the status.
    Simulated,
    /// No lights and no button.
    Off,
}

/// A time of day, `22:30`; absent when empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DayTime(pub Option<(u8, u8)>);

impl FromStr for DayTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let parse = |text: &str, below: u8| {
            (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()))
                .then(|| text.parse().ok())
                .flatten()
                .filter(|value| *value < below)
        };
        text.split_once(':')
            .and_then(|(hour, minute)| Some((parse(hour, 24)?, parse(minute, 60)?)))
            .map(|time| Self(Some(time)))
            .ok_or_else(|| format!("{text:?} is no time of day; write \"22:30\", or \"\" for none"))
    }
}

impl TryFrom<String> for DayTime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DayTime> for String {
    fn from(time: DayTime) -> Self {
        time.to_string()
    }
}

impl fmt::Display for DayTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((hour, minute)) => write!(f, "{hour:02}:{minute:02}"),
            None => Ok(()),
        }
    }
}

impl Default for Panel {
    fn default() -> Self {
        Self {
            driver: PanelDriver::Auto,
            leds: Vec::new(),
            pins: Vec::new(),
            pins_active_low: false,
            button: None,
            button_active_low: true,
            chip: String::new(),
            brightness: 100,
            night_from: DayTime(None),
            night_to: DayTime(None),
            night_brightness: 10,
        }
    }
}

/// Why a line of the header is not for the panel. Numbers are those of the SoC ("BCM").
///
/// Sources: Raspberry Pi documentation, "GPIO and the 40-pin header" (2 to 27 are on the header; 0
/// and 1 belong to the EEPROM of a HAT); the image puts its serial console on 14 and 15.
pub fn reserved(line: u32) -> Option<&'static str> {
    match line {
        0 | 1 => Some("it belongs to the I2C EEPROM of a HAT"),
        14 | 15 => Some("the serial console is on it"),
        2..=27 => None,
        _ => Some("it is not on the header: SD card, Wi-Fi or the board's own parts hang on it"),
    }
}

/// Lines that any GPIO chip may have at most, far above real ones.
const MAX_LINE: u32 = 1023;

impl Rules<'_> {
    pub(super) fn panel(&mut self, panel: &Panel) {
        let lamps = "none, one, two (green, red) or three (red, green, blue)";
        let is_name = |name: &String| {
            !name.is_empty() && !name.contains('/') && !name.starts_with('.') && name.len() < 64
        };
        self.require(
            panel.leds.len() <= 3 && panel.leds.iter().all(is_name) && distinct(&panel.leds),
            "panel.leds",
            &format!("{:?}", panel.leds),
            format!("{lamps} names under /sys/class/leds, each once"),
        );
        self.require(
            panel.pins.len() <= 3 && distinct(&panel.pins),
            "panel.pins",
            &format!("{:?}", panel.pins),
            format!("{lamps} lines, each once"),
        );
        self.lines("panel.pins", &panel.chip, &panel.pins);
        if let Some(button) = panel.button {
            self.lines("panel.button", &panel.chip, &[button]);
            self.require(
                !panel.pins.contains(&button),
                "panel.button",
                &button.to_string(),
                "a line that is not in panel.pins",
            );
        }
        for (key, percent) in [
            ("panel.brightness", panel.brightness),
            ("panel.night_brightness", panel.night_brightness),
        ] {
            let holds = (1..=100).contains(&percent);
            self.require(holds, key, &percent.to_string(), "1 to 100");
        }
        self.require(
            panel.night_from.0.is_some() == panel.night_to.0.is_some()
                && (panel.night_from.0.is_none() || panel.night_from != panel.night_to),
            "panel.night_to",
            &panel.night_to.to_string(),
            "another time than panel.night_from, or both empty",
        );
    }

    fn lines(&mut self, key: &str, chip: &str, lines: &[u32]) {
        for line in lines {
            let refused = if chip.is_empty() {
                reserved(*line)
            } else {
                (*line > MAX_LINE).then_some("no GPIO chip has so many lines")
            };
            let allowed = match refused {
                Some(why) if chip.is_empty() => {
                    format!("2 to 13 and 16 to 27; GPIO {line} is reserved: {why}")
                }
                _ => format!("0 to {MAX_LINE}"),
            };
            self.require(refused.is_none(), key, &line.to_string(), allowed);
        }
    }
}

fn distinct<T: PartialEq>(values: &[T]) -> bool {
    (1..values.len()).all(|index| !values[..index].contains(&values[index]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_of_day_are_read_or_refused_by_name() {
        assert_eq!("22:05".parse(), Ok(DayTime(Some((22, 5)))));
        assert_eq!("".parse(), Ok(DayTime(None)));
        for wrong in ["24:00", "7:00", "07:60", "0700", "now", "07:0a", "-1:00"] {
            let error = wrong.parse::<DayTime>().unwrap_err();
            assert!(error.contains(wrong) && error.contains("22:30"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn every_time_of_day_is_written_as_it_is_read(hour in 0u8..24, minute in 0u8..60) {
            let time = DayTime(Some((hour, minute)));
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }
    }
}

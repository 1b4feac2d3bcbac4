//! The kernel's LED class (`Documentation/leds/leds-class.rst`). Rhythms are handed to its
//! triggers, so that they go on with the supervisor dead or busy.

use std::path::{Path, PathBuf};

use super::{Driver, DriverError, Rhythm};
use crate::panel::show::{Frame, Layout};

/// Names in `overlays/lucid-panel-overlay.dts`, best layout first.
const OVERLAY: [&[&str]; 3] = [
    &["lucid:red", "lucid:green", "lucid:blue"],
    &["lucid:green", "lucid:red"],
    &["lucid:status"],
];

/// The LEDs that a Raspberry Pi has on its board: names of kernels since 6.1, and older ones.
const BOARD: [&[&str]; 4] = [&["ACT", "PWR"], &["ACT"], &["led0", "led1"], &["led0"]];

/// One LED.
#[derive(Debug)]
struct Led {
    dir: PathBuf,
    max: u32,
    /// Trigger and brightness as they were found.
    found: (Option<String>, Option<String>),
    triggers: Vec<String>,
    /// The trigger set now, as far as this program knows.
    trigger: Option<&'static str>,
}

impl Led {
    fn open(dir: PathBuf) -> Result<Self, DriverError> {
        let path = dir.join("max_brightness");
        let max = read(&path)?;
        let max = max.parse().ok().filter(|max| *max > 0);
        let max = max.ok_or_else(|| DriverError::Broken {
            problem: "it holds no number".to_owned(),
            path,
        })?;
        let list = read(&dir.join("trigger"))?;
        let names = || list.split_whitespace();
        let selected = names().find_map(|name| name.strip_prefix('[')?.strip_suffix(']'));
        let led = Self {
            max,
            found: (
                selected.map(str::to_owned),
                read(&dir.join("brightness")).ok(),
            ),
            triggers: names()
                .map(|name| name.trim_matches(['[', ']']).to_owned())
                .collect(),
            trigger: None,
            dir,
        };
        // Whether it may be written is known before anything is changed.
        std::fs::OpenOptions::new()
            .write(true)
            .open(led.dir.join("trigger"))
            .map_err(DriverError::file(&led.dir.join("trigger")))?;
        Ok(led)
    }

    fn write(&self, name: &str, value: &str) -> Result<(), DriverError> {
        use std::io::Write;
        let path = self.dir.join(name);
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(value.as_bytes()))
            .map_err(DriverError::file(&path))
    }

    fn set_trigger(&mut self, trigger: &'static str) -> Result<(), DriverError> {
        if self.trigger != Some(trigger) {
            self.trigger = None;
            self.write("trigger", trigger)?;
            self.trigger = Some(trigger);
        }
        Ok(())
    }

    fn has(&self, trigger: &str) -> bool {
        self.triggers.iter().any(|name| name == trigger)
    }

    /// A lamp that is to be lit is lit, whatever its range.
    fn level(&self, level: u8) -> u32 {
        (u32::from(level) * self.max).div_ceil(255)
    }

    /// Hands the rhythm to the kernel; false where no trigger can keep it.
    fn keep(&mut self, steps: &[(u8, u32)]) -> Result<bool, DriverError> {
        match steps {
            [] => Ok(true),
            [(level, _)] => {
                self.hold(*level)?;
                Ok(true)
            }
            _ if self.has("pattern") => {
                self.set_trigger("pattern")?;
                let text = pattern_text(steps.iter().map(|(level, ms)| (self.level(*level), *ms)));
                self.write("repeat", "-1")?;
                self.write("pattern", &text)?;
                Ok(true)
            }
            [(on, on_ms), (0, off_ms)] if self.has("timer") => {
                self.set_trigger("timer")?;
                self.write("delay_on", &on_ms.to_string())?;
                self.write("delay_off", &off_ms.to_string())?;
                self.write("brightness", &self.level(*on).to_string())?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn hold(&mut self, level: u8) -> Result<(), DriverError> {
        self.set_trigger("none")?;
        self.write("brightness", &self.level(level).to_string())
    }
}

/// The text of `pattern`: each level for its time, then at once to the next one. A tuple of no
/// length is what makes the kernel step instead of fade
/// (`Documentation/devicetree/bindings/leds/leds-trigger-pattern.txt`).
fn pattern_text(steps: impl Iterator<Item = (u32, u32)>) -> String {
    let tuples: Vec<_> = steps
        .map(|(level, ms)| format!("{level} {ms} {level} 0"))
        .collect();
    tuples.join(" ")
}

fn read(path: &Path) -> Result<String, DriverError> {
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(DriverError::file(path))
}

/// What one lamp of several does: equal levels in a row are one step.
fn steps_of(frames: &[Frame], lamp: usize) -> Vec<(u8, u32)> {
    let mut steps: Vec<(u8, u32)> = Vec::new();
    for frame in frames {
        let level = frame.levels.get(lamp).copied().unwrap_or(0);
        match steps.last_mut() {
            Some((last, ms)) if *last == level => *ms += frame.ms,
            _ => steps.push((level, frame.ms)),
        }
    }
    steps
}

/// LEDs that make up a panel.
#[derive(Debug)]
pub(super) struct Leds {
    layout: Layout,
    leds: Vec<Led>,
}

impl Leds {
    /// Those with these names; none named means those of the panel's overlay.
    pub(super) fn named(names: &[String], sys: &Path) -> Result<Self, DriverError> {
        if names.is_empty() {
            return Self::first_of(&OVERLAY, sys)?.ok_or_else(|| {
                DriverError::Missing(
                    "no LED of the panel's overlay is there: it is not in the device tree, or its \
                     driver leds-gpio is not loaded (docs/panel.md)"
                        .to_owned(),
                )
            });
        }
        let class = sys.join("class/leds");
        for name in names {
            if !class.join(name).exists() {
                return Err(DriverError::Missing(format!(
                    "panel.leds names {name:?}, and {} has {}",
                    class.display(),
                    listing(&class)
                )));
            }
        }
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        Self::open(&names, &class)
    }

    /// Those that the board itself has.
    pub(super) fn of_board(sys: &Path) -> Result<Self, DriverError> {
        Self::first_of(&BOARD, sys)?.ok_or_else(|| {
            DriverError::Missing(format!(
                "no ACT or PWR in {}: it has {}",
                sys.join("class/leds").display(),
                listing(&sys.join("class/leds"))
            ))
        })
    }

    fn first_of(sets: &[&[&str]], sys: &Path) -> Result<Option<Self>, DriverError> {
        let class = sys.join("class/leds");
        sets.iter()
            .find(|names| names.iter().all(|name| class.join(name).exists()))
            .map(|names| Self::open(names, &class))
            .transpose()
    }

    fn open(names: &[&str], class: &Path) -> Result<Self, DriverError> {
        let layout = Layout::of(names.len())
            .ok_or_else(|| DriverError::Missing("panel.leds names too many".to_owned()))?;
        let leds = names.iter().map(|name| Led::open(class.join(name)));
        Ok(Self {
            layout,
            leds: leds.collect::<Result<_, _>>()?,
        })
    }
}

fn listing(class: &Path) -> String {
    let mut names: Vec<_> = std::fs::read_dir(class)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    if names.is_empty() {
        "no LED".to_owned()
    } else {
        names.join(", ")
    }
}

impl Driver for Leds {
    fn layout(&self) -> Layout {
        self.layout
    }

    fn dimmable(&self) -> bool {
        self.leds.iter().all(|led| led.max > 1)
    }

    fn describe(&self) -> String {
        let lamps = self.layout.lamps().iter().zip(&self.leds);
        let names: Vec<_> = lamps
            .map(|(lamp, led)| format!("{lamp} on {}", led.dir.display()))
            .collect();
        let kept = if self.leds.iter().all(|led| led.has("pattern")) {
            "blinking kept by the kernel"
        } else {
            "the kernel's pattern trigger is not loaded (ledtrig-pattern): most rhythms stop with \
             the supervisor"
        };
        format!("{}; {kept}", names.join(", "))
    }

    fn show(&mut self, frames: &[Frame]) -> Result<Rhythm, DriverError> {
        let mut kept = true;
        for (lamp, led) in self.leds.iter_mut().enumerate() {
            kept &= led.keep(&steps_of(frames, lamp))?;
        }
        if kept {
            return Ok(Rhythm::Kept);
        }
        if let Some(first) = frames.first() {
            self.set(&first.levels)?;
        }
        Ok(Rhythm::Wanted)
    }

    fn set(&mut self, levels: &[u8]) -> Result<(), DriverError> {
        for (led, level) in self.leds.iter_mut().zip(levels) {
            led.hold(*level)?;
        }
        Ok(())
    }

    fn give_back(&mut self) {
        for led in &mut self.leds {
            led.trigger = None;
            let (trigger, brightness) = &led.found;
            // The program ends: there is nobody left to tell of a failure.
            if let Some(trigger) = trigger {
                let _ = led.write("trigger", trigger);
            }
            if trigger.as_deref() == Some("none")
                && let Some(brightness) = brightness
            {
                let _ = led.write("brightness", brightness);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panel::pattern::Pattern;
    use crate::panel::show::{Light, frames};

    const LIGHT: Light = Light {
        brightness: 100,
        dimmable: false,
    };

    /// A tree with LEDs; `pattern` and the delays are files that the kernel makes with a trigger.
    fn machine(leds: &[&str], triggers: &str, max: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for led in leds {
            let at = dir.path().join("class/leds").join(led);
            crate::fsx::create_dir(&at, 0o755).unwrap();
            for (name, text) in [
                ("trigger", triggers),
                ("brightness", "0\n"),
                ("max_brightness", max),
                ("pattern", ""),
                ("repeat", ""),
                ("delay_on", ""),
                ("delay_off", ""),
            ] {
                put(&at.join(name), text);
            }
        }
        dir
    }

    fn put(path: &Path, text: &str) {
        crate::fsx::write_volatile(path, text.as_bytes(), 0o644).unwrap();
    }

    /// What stands in a file that nothing truncates, as in sysfs each write stands for itself.
    fn holds(dir: &tempfile::TempDir, led: &str, name: &str, text: &str) -> bool {
        let path = dir.path().join("class/leds").join(led).join(name);
        std::fs::read_to_string(path).unwrap().starts_with(text)
    }

    #[test]
    fn a_rhythm_becomes_steps_of_the_kernels_pattern_trigger() {
        let dir = machine(&["ACT"], "none [heartbeat] timer pattern\n", "255");
        let mut leds = Leds::of_board(dir.path()).unwrap();
        assert_eq!(leds.layout(), Layout::One);
        let shown = leds.show(&frames(Pattern::Degraded, Layout::One, LIGHT));
        assert_eq!(shown.unwrap(), Rhythm::Kept);
        assert!(holds(&dir, "ACT", "trigger", "pattern"));
        assert!(holds(&dir, "ACT", "repeat", "-1"));
        let text = "255 200 255 0 0 250 0 0 255 200 255 0 0 1500 0 0";
        assert!(holds(&dir, "ACT", "pattern", text));
        leds.give_back();
        assert!(holds(&dir, "ACT", "trigger", "heartbeat"));
    }

    #[test]
    fn without_the_pattern_trigger_an_even_rhythm_goes_to_the_timer_and_others_are_kept_by_hand() {
        let dir = machine(&["ACT"], "[none] timer\n", "1");
        let mut leds = Leds::of_board(dir.path()).unwrap();
        assert!(leds.describe().contains("ledtrig-pattern"), "{leds:?}");
        let shown = leds.show(&frames(Pattern::Failed, Layout::One, LIGHT));
        assert_eq!(shown.unwrap(), Rhythm::Kept);
        assert!(holds(&dir, "ACT", "trigger", "timer"));
        assert!(holds(&dir, "ACT", "delay_on", "100"));
        let shown = leds.show(&frames(Pattern::Storage, Layout::One, LIGHT));
        assert_eq!(shown.unwrap(), Rhythm::Wanted);
        assert!(holds(&dir, "ACT", "trigger", "none"));
        assert!(holds(&dir, "ACT", "brightness", "1"));
    }

    #[test]
    fn the_overlay_comes_before_the_board_and_three_lamps_before_two() {
        let all = [
            "ACT",
            "PWR",
            "lucid:red",
            "lucid:green",
            "lucid:blue",
            "input3::capslock",
        ];
        let dir = machine(&all, "[none] pattern\n", "255");
        let leds = Leds::named(&[], dir.path()).unwrap();
        assert_eq!(leds.layout(), Layout::Rgb);
        assert_eq!(Leds::of_board(dir.path()).unwrap().layout(), Layout::Two);
        let named = Leds::named(&["input3::capslock".to_owned()], dir.path()).unwrap();
        assert_eq!(named.layout(), Layout::One);
    }

    #[test]
    fn leds_that_are_not_there_are_named_with_those_that_are() {
        let dir = machine(&["ACT"], "[none]\n", "255");
        let error = Leds::named(&[], dir.path()).unwrap_err().to_string();
        assert!(error.contains("overlay"), "{error}");
        let error = Leds::named(&["GREEN".to_owned()], dir.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("GREEN") && error.contains("ACT"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        let error = Leds::of_board(empty.path()).unwrap_err().to_string();
        assert!(error.contains("no LED"), "{error}");
    }

    #[test]
    fn a_lamp_that_vanishes_is_told_with_its_path() {
        let dir = machine(&["ACT"], "[none] pattern\n", "255");
        let mut leds = Leds::of_board(dir.path()).unwrap();
        std::fs::remove_dir_all(dir.path().join("class")).unwrap();
        let error = leds
            .show(&frames(Pattern::Ready, Layout::One, LIGHT))
            .unwrap_err()
            .to_string();
        assert!(error.contains("class/leds/ACT"), "{error}");
    }

    #[test]
    fn a_dim_lamp_of_any_range_is_lit() {
        let dir = machine(&["ACT"], "[none] pattern\n", "7");
        let leds = Leds::of_board(dir.path()).unwrap();
        assert_eq!(leds.leds[0].level(1), 1);
        assert_eq!(leds.leds[0].level(0), 0);
        assert_eq!(leds.leds[0].level(255), 7);
        assert!(leds.dimmable());
    }
}

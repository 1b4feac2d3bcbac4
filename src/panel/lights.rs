//! Lamps that stay lit by the best driver that works: one that fails is replaced by the next, and
//! gets another chance later. Rhythms that no driver keeps are kept here.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::driver::{self, Chosen, Driver, DriverError, Kind, Machine, Rhythm};
use super::pattern::{Pattern, counted};
use super::show::{self, Frame, Light};
use crate::config::Panel as Settings;
use crate::status::PanelChoice;

/// Lamps answer within microseconds; behind a firmware call within a few milliseconds.
const DRIVER_LIMIT: Duration = Duration::from_secs(1);
/// A driver that failed gets another chance after this.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// What is on the lamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) pattern: Pattern,
    /// As so many blinks as repeat the state.
    pub(super) counted: bool,
    /// Percent.
    pub(super) brightness: u8,
}

#[derive(Debug)]
struct Failure {
    kind: Kind,
    problem: String,
    since: Instant,
}

/// The lamps of one panel.
#[derive(Debug)]
pub(super) struct Lights {
    settings: Settings,
    machine: Machine,
    chosen: Option<(Kind, Box<dyn Driver>)>,
    choices: Vec<PanelChoice>,
    missing: Option<String>,
    failed: Vec<Failure>,
    shown: Option<Shown>,
    frames: Vec<Frame>,
    /// Which frame is lit, and until when, while the rhythm is kept here.
    by_hand: Option<(usize, Instant)>,
}

impl Lights {
    /// Finds a driver; there is none only where the panel is off.
    pub(super) async fn open(settings: Settings, machine: Machine) -> Self {
        let mut lights = Self {
            settings,
            machine,
            chosen: None,
            choices: Vec::new(),
            missing: None,
            failed: Vec::new(),
            shown: None,
            frames: Vec::new(),
            by_hand: None,
        };
        lights.choose().await;
        lights
    }

    /// What can drive the lamps, best first.
    pub(super) fn choices(&self) -> &[PanelChoice] {
        &self.choices
    }

    /// Why lamps that the configuration names are not in use.
    pub(super) fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// When a driver that failed gets another chance.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        let first = self.failed.iter().map(|failure| failure.since).min()?;
        Some(first + RETRY_AFTER)
    }

    /// What is shown; `None` before the first pattern, and after a failure.
    pub(super) const fn shown(&self) -> Option<Shown> {
        self.shown
    }

    /// Whether no driver failed lately.
    pub(super) const fn is_whole(&self) -> bool {
        self.failed.is_empty()
    }

    /// When the next frame is due, while the rhythm is kept here.
    pub(super) fn next_step(&self) -> Option<Instant> {
        self.by_hand.map(|(_, until)| until)
    }

    /// Names of lamps, frames and driver, for the status.
    pub(super) fn published(&self) -> (&'static str, &'static [&'static str], Vec<Frame>) {
        let Some((kind, driver)) = &self.chosen else {
            return ("none", &[], Vec::new());
        };
        (kind.driver(), driver.layout().lamps(), self.frames.clone())
    }

    /// Puts a pattern on the lamps; answers what failed on the way.
    pub(super) async fn show(&mut self, wanted: Shown) -> Vec<String> {
        let mut failures = Vec::new();
        if self.failed.iter().any(|f| f.since.elapsed() >= RETRY_AFTER) {
            self.failed.clear();
            self.chosen = None;
            self.choose().await;
        }
        // Each driver fails once at most; the last one cannot.
        while let Some((_, driver)) = &self.chosen {
            let light = Light {
                brightness: wanted.brightness,
                dimmable: driver.dimmable(),
            };
            let layout = driver.layout();
            let frames = if wanted.counted {
                let beats = counted(wanted.pattern.count());
                show::of_beats(&beats, wanted.pattern, layout, light)
            } else {
                show::frames(wanted.pattern, layout, light)
            };
            let handed = frames.clone();
            match self.drive(move |driver| driver.show(&handed)).await {
                Ok(rhythm) => {
                    let first = frames.first().map_or(0, |frame| frame.ms);
                    let until = Instant::now() + Duration::from_millis(first.into());
                    self.by_hand = (rhythm == Rhythm::Wanted).then_some((0, until));
                    self.frames = frames;
                    break;
                }
                Err(failure) => failures.push(failure),
            }
        }
        self.shown = Some(wanted);
        failures
    }

    /// Lights the next frame of a rhythm that is kept here; answers what failed.
    pub(super) async fn step(&mut self) -> Option<String> {
        let (index, until) = self.by_hand?;
        let next = (index + 1) % self.frames.len().max(1);
        let Some(frame) = self.frames.get(next).cloned() else {
            self.by_hand = None;
            return None;
        };
        // From when the last frame was to end, so that delays do not add up; after a long one from
        // now on.
        let now = Instant::now();
        let begin = if now.duration_since(until) < DRIVER_LIMIT {
            until
        } else {
            now
        };
        self.by_hand = Some((next, begin + Duration::from_millis(frame.ms.into())));
        let shown = self.drive(move |driver| driver.set(&frame.levels)).await;
        if shown.is_err() {
            // Shown anew, by the next driver.
            self.shown = None;
            self.by_hand = None;
        }
        shown.err()
    }

    /// Gives the lamps back as they were found.
    pub(super) async fn give_back(&mut self) {
        let given = self.drive(|driver| {
            driver.give_back();
            Ok(())
        });
        if let Err(failure) = given.await {
            tracing::warn!("{failure}");
        }
    }

    /// Calls the driver off the runtime, since a lamp behind a firmware may keep its caller
    /// waiting. One that fails is replaced; the answer tells both.
    async fn drive<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut dyn Driver) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, String> {
        let Some((kind, mut driver)) = self.chosen.take() else {
            return Err("the panel is off".to_owned());
        };
        let call = tokio::task::spawn_blocking(move || {
            let result = work(&mut *driver);
            (driver, result)
        });
        let error = match timeout(DRIVER_LIMIT, call).await {
            Ok(Ok((driver, Ok(done)))) => {
                self.chosen = Some((kind, driver));
                return Ok(done);
            }
            Ok(Ok((_, Err(error)))) => error,
            _ => DriverError::Hung(kind.name()),
        };
        self.failed.push(Failure {
            kind,
            problem: error.to_string(),
            since: Instant::now(),
        });
        self.choose().await;
        let now = self
            .chosen
            .as_ref()
            .map_or("nothing", |(kind, _)| kind.name());
        Err(format!("{error}; the panel goes on with: {now}"))
    }

    async fn choose(&mut self) {
        let (settings, machine) = (self.settings.clone(), self.machine.clone());
        let failed: Vec<_> = self
            .failed
            .iter()
            .map(|failure| (failure.kind, failure.problem.clone()))
            .collect();
        let chosen =
            tokio::task::spawn_blocking(move || driver::choose(&settings, &machine, &failed));
        if let Ok(Ok(Some(Chosen {
            kind,
            driver,
            choices,
            missing,
        }))) = timeout(DRIVER_LIMIT * 5, chosen).await
        {
            self.chosen = Some((kind, driver));
            self.choices = choices;
            self.missing = missing;
        }
    }
}

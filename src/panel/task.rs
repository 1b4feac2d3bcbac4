//! The panel's task: shows what the snapshot says, plays what somebody asks for, watches the
//! button. It sleeps until one of them changes; a rhythm that the kernel keeps wakes nobody.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::button::{Button, Change};
use super::condition::Condition;
use super::driver::{self, Chosen, Driver, DriverError, Kind, Machine, Rhythm};
use super::gesture::{Action, Gesture, Step};
use super::night;
use super::pattern::{Beat, Pattern, counted, length};
use super::show::{self, Frame, Light};
use crate::config::Panel as Settings;
use crate::journal::{self, Event};
use crate::status::{Alert, PanelChoice, PanelFrame, Severity, StatusHub};

/// Lamps answer within microseconds; behind a firmware call within a few milliseconds.
const DRIVER_LIMIT: Duration = Duration::from_secs(1);
/// A driver that failed gets another chance at the first change after this.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// How long the button must stay down at power-on.
const RESCUE_HOLD: Duration = Duration::from_secs(2);
/// How long a short press identifies the box before it repeats the state.
const TELL: Duration = Duration::from_secs(2);
/// How long each pattern of a test is shown, at least.
const TEST_EACH: Duration = Duration::from_secs(4);
const REFUSED: Duration = Duration::from_secs(1);
/// The alert of a panel that does not work as the configuration asks.
const ALERT: &str = "panel";

/// What others ask of the panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Show which box this is, for so long; nothing ends it at once.
    Identify(Duration),
    /// Walk through every state.
    Test,
    /// Say that what the button asked for is not possible.
    Refuse,
    /// The supervisor has ended: show this and end too.
    Finish(Pattern),
}

/// The other end of a running panel.
#[derive(Debug, Clone)]
pub struct PanelHandle {
    commands: mpsc::Sender<Command>,
}

impl PanelHandle {
    /// Passes a command on; false when the panel has ended or is off.
    pub async fn send(&self, command: Command) -> bool {
        self.commands.send(command).await.is_ok()
    }
}

/// Something that is shown for a while instead of the state.
#[derive(Debug, Clone, Copy)]
struct Play {
    pattern: Pattern,
    /// As so many blinks.
    counted: bool,
    /// Counts from when it is first shown.
    length: Duration,
}

/// What is on the lamps.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    pattern: Pattern,
    counted: bool,
    brightness: u8,
}

/// The panel of one appliance.
#[derive(Debug)]
pub struct Panel {
    settings: Settings,
    machine: Machine,
    hub: StatusHub,
    chosen: Option<(Kind, Box<dyn Driver>)>,
    choices: Vec<PanelChoice>,
    failed: Vec<(Kind, String, Instant)>,
    button: Button,
    button_choice: PanelChoice,
    gesture: Gesture,
    plays: VecDeque<Play>,
    /// When the first of `plays` ends.
    play_until: Option<Instant>,
    shown: Option<Shown>,
    frames: Vec<Frame>,
    /// Which frame is lit, and until when, while the rhythm is kept here.
    by_hand: Option<(usize, Instant)>,
    commands: mpsc::Receiver<Command>,
    actions: mpsc::Sender<Action>,
}

impl Panel {
    /// Finds lamps and button. What the button asks for comes out of the receiver.
    pub async fn open(
        settings: Settings,
        machine: Machine,
        hub: StatusHub,
    ) -> (Self, PanelHandle, mpsc::Receiver<Action>) {
        let (sender, commands) = mpsc::channel(8);
        let (actions, wanted) = mpsc::channel(4);
        let (button, button_choice) = Button::open(&settings, &machine);
        let mut panel = Self {
            settings,
            machine,
            hub,
            chosen: None,
            choices: Vec::new(),
            failed: Vec::new(),
            button,
            button_choice,
            gesture: Gesture::default(),
            plays: VecDeque::new(),
            play_until: None,
            shown: None,
            frames: Vec::new(),
            by_hand: None,
            commands,
            actions,
        };
        panel.choose().await;
        panel.tell_configured();
        (panel, PanelHandle { commands: sender }, wanted)
    }

    /// Whether the button is held down now and for two seconds more: the appliance is to start in
    /// rescue. Answers at once where it is not down.
    pub async fn rescue_wanted(&mut self) -> bool {
        if !self.button.is_pressed() {
            return false;
        }
        self.show(Pattern::Rescue, false).await;
        let released = timeout(RESCUE_HOLD, async {
            while let Ok(Change { pressed, .. }) = self.button.change().await {
                if !pressed {
                    return;
                }
            }
        });
        let held = released.await.is_err() && self.button.is_pressed();
        if held {
            // The release to come is no gesture.
            let now = monotonic();
            self.gesture.press(now);
            self.gesture.press(now);
        }
        held
    }

    /// Shows one pattern until dropped or for ever, without a supervisor.
    pub async fn hold(&mut self, pattern: Pattern) {
        self.show(pattern, false).await;
    }

    /// Keeps the rhythm of [`Panel::hold`], where nobody else does, for `length`.
    pub async fn linger(&mut self, length: Duration) {
        let end = Instant::now() + length;
        while let Some((_, until)) = self.by_hand {
            if until >= end {
                break;
            }
            sleep_until(until).await;
            self.next_frame().await;
        }
        sleep_until(end).await;
    }

    /// Publishes what drives the lamps, without showing anything.
    pub fn announce(&self) {
        self.publish();
    }

    /// Puts the lamps back as they were found.
    pub async fn give_back(&mut self) {
        self.drive(|driver| {
            driver.give_back();
            Ok(())
        })
        .await
        .ok();
    }

    /// Runs until told to finish or dropped.
    pub async fn run(mut self) {
        let mut conditions = self.hub.view(Condition::of);
        loop {
            let condition = *conditions.borrow_and_update();
            let look = self.refresh(condition).await;
            let step = self.by_hand.map(|(_, until)| until);
            let gesture = self.gesture_deadline();
            tokio::select! {
                changed = conditions.changed() => if changed.is_err() { return },
                change = self.button.change() => self.pressed(change),
                Some(command) = self.commands.recv() => {
                    if self.command(command, condition).await { return }
                }
                () = at(gesture) => {
                    let step = self.gesture.tick(monotonic());
                    self.gestured(step);
                }
                () = at(self.play_until) => { self.plays.pop_front(); self.play_until = None; }
                () = at(step) => self.next_frame().await,
                () = at(look) => {}
            }
        }
    }

    /// Shows what is to be shown now; gives the time of the next look that nothing else causes.
    async fn refresh(&mut self, condition: Condition) -> Option<Instant> {
        let (pattern, counted) = if let Some(pattern) = self.gesture.pattern(monotonic()) {
            (pattern, false)
        } else if let Some(play) = self.plays.front().copied() {
            self.play_until
                .get_or_insert_with(|| Instant::now() + play.length);
            (play.pattern, play.counted)
        } else {
            (condition.pattern(), false)
        };
        let (brightness, wait) = night::brightness(
            &self.settings,
            condition.clock_set,
            &jiff::ZonedDateTime::now(),
        );
        let wanted = Shown {
            pattern,
            counted,
            brightness,
        };
        if self.shown.as_ref() != Some(&wanted) {
            self.show_at(wanted).await;
        }
        wait.map(|wait| Instant::now() + wait)
    }

    fn gesture_deadline(&self) -> Option<Instant> {
        let now = monotonic();
        let deadline = self.gesture.deadline(now)?;
        Some(Instant::now() + deadline.saturating_sub(now))
    }

    fn pressed(&mut self, change: Result<Change, DriverError>) {
        let change = match change {
            Ok(change) => change,
            Err(error) => {
                self.button = Button::None;
                self.button_choice.used = false;
                self.button_choice.reason = error.to_string();
                self.alert(&format!("the button is gone: {error}"));
                self.publish();
                return;
            }
        };
        let step = if change.pressed {
            // Whoever presses has seen what is played.
            self.stop_playing();
            self.gesture.press(change.at)
        } else {
            self.gesture.release(change.at)
        };
        self.gestured(step);
    }

    fn gestured(&mut self, step: Step) {
        match step {
            Step::Nothing => {}
            Step::Cancelled => tell(
                Event::ButtonCancelled,
                "what the button began was taken back",
            ),
            Step::Do(Action::Tell) => {
                let pattern = Condition::of(&self.hub.snapshot()).pattern();
                let count = Play {
                    pattern,
                    counted: true,
                    length: length(&counted(pattern.count())),
                };
                self.play([identify(TELL), count, count]);
                let message = format!("the button asked for the state: {}", pattern.meaning());
                tell(Event::ButtonPressed, &message);
            }
            Step::Do(action) => {
                let message = match action {
                    Action::PowerOff => "the button asked to shut down",
                    _ => "the button asked to release the data disk",
                };
                tell(Event::ButtonPressed, message);
                // Whoever carries it out may be busy; the button is not.
                if self.actions.try_send(action).is_err() {
                    self.play([refused()]);
                }
            }
        }
    }

    /// Whether the task is to end.
    async fn command(&mut self, command: Command, condition: Condition) -> bool {
        match command {
            Command::Identify(Duration::ZERO) => self.stop_playing(),
            Command::Identify(length) => self.play([identify(length)]),
            Command::Refuse => self.play([refused()]),
            Command::Test => self.play(Pattern::STATES.map(|pattern| Play {
                pattern,
                counted: false,
                length: TEST_EACH.max(length(&pattern.rhythm())),
            })),
            Command::Finish(pattern) => {
                let (brightness, _) = night::brightness(
                    &self.settings,
                    condition.clock_set,
                    &jiff::ZonedDateTime::now(),
                );
                self.show_at(Shown {
                    pattern,
                    counted: false,
                    brightness,
                })
                .await;
                return true;
            }
        }
        false
    }

    fn play<const N: usize>(&mut self, plays: [Play; N]) {
        self.plays = plays.into();
        self.play_until = None;
    }

    fn stop_playing(&mut self) {
        self.plays.clear();
        self.play_until = None;
    }

    async fn show(&mut self, pattern: Pattern, counted: bool) {
        let brightness = self.settings.brightness;
        self.show_at(Shown {
            pattern,
            counted,
            brightness,
        })
        .await;
    }

    async fn show_at(&mut self, wanted: Shown) {
        if self
            .failed
            .iter()
            .any(|(_, _, since)| since.elapsed() >= RETRY_AFTER)
        {
            self.failed.clear();
            self.chosen = None;
            self.choose().await;
        }
        // A driver that fails is replaced by the next one; the last cannot fail.
        for _ in 0..=5 {
            let Some((_, driver)) = &self.chosen else {
                break;
            };
            let light = Light {
                brightness: wanted.brightness,
                dimmable: driver.dimmable(),
            };
            let layout = driver.layout();
            let frames = if wanted.counted {
                let beats: Vec<Beat> = counted(wanted.pattern.count());
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
                Err(error) => self.lost(&error).await,
            }
        }
        self.shown = Some(wanted);
        self.publish();
    }

    async fn next_frame(&mut self) {
        let Some((index, until)) = self.by_hand else {
            return;
        };
        let next = (index + 1) % self.frames.len().max(1);
        let Some(frame) = self.frames.get(next).cloned() else {
            self.by_hand = None;
            return;
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
        if let Err(error) = shown {
            self.lost(&error).await;
            // Shown anew, by the next driver.
            self.shown = None;
            self.by_hand = None;
        }
    }

    /// Calls the driver off the runtime: a lamp behind a firmware may keep its caller waiting.
    async fn drive<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut dyn Driver) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let Some((kind, mut driver)) = self.chosen.take() else {
            return Err(DriverError::NotAsked("the panel is off".to_owned()));
        };
        let call = tokio::task::spawn_blocking(move || {
            let result = work(&mut *driver);
            (driver, result)
        });
        if let Ok(Ok((driver, result))) = timeout(DRIVER_LIMIT, call).await {
            self.chosen = Some((kind, driver));
            return result;
        }
        self.failed
            .push((kind, "it hung".to_owned(), Instant::now()));
        self.choose().await;
        Err(DriverError::Hung(kind.name()))
    }

    /// The driver in use does not work any more.
    async fn lost(&mut self, error: &DriverError) {
        if let Some((kind, _)) = self.chosen.take() {
            self.failed.push((kind, error.to_string(), Instant::now()));
            self.choose().await;
        }
        let now = self
            .chosen
            .as_ref()
            .map_or("nothing", |(kind, _)| kind.name());
        self.alert(&format!("{error}; the panel goes on with: {now}"));
    }

    async fn choose(&mut self) {
        let (settings, machine) = (self.settings.clone(), self.machine.clone());
        let failed: Vec<_> = self
            .failed
            .iter()
            .map(|(kind, problem, _)| (*kind, problem.clone()))
            .collect();
        let chosen =
            tokio::task::spawn_blocking(move || driver::choose(&settings, &machine, &failed));
        if let Ok(Ok(Some(Chosen {
            kind,
            driver,
            choices,
        }))) = timeout(DRIVER_LIMIT * 5, chosen).await
        {
            self.chosen = Some((kind, driver));
            self.choices = choices;
        }
    }

    /// Tells where something that the configuration names is not to be had.
    fn tell_configured(&self) {
        let settings = &self.settings;
        let missing = self
            .choices
            .iter()
            .find(|choice| match choice.name.as_str() {
                "overlay" => !settings.leds.is_empty() && !choice.used,
                "gpio" => {
                    !settings.pins.is_empty() && !choice.used && choice.reason != "not needed"
                }
                _ => false,
            });
        if let Some(choice) = missing.filter(|_| {
            // The registers do what the GPIO device was asked for.
            !self.choices.iter().any(|c| c.used && c.name == "rppal")
        }) {
            self.alert(&format!("the lamps cannot be used: {}", choice.reason));
        }
        if settings.button.is_some() && !self.button_choice.used {
            self.alert(&format!(
                "the button cannot be used: {}",
                self.button_choice.reason
            ));
        }
    }

    fn alert(&self, message: &str) {
        let action = "see `lucid panel show` and docs/panel.md";
        let new = self.hub.raise(Alert::new(
            ALERT,
            Severity::Warning,
            "panel",
            message,
            action,
        ));
        if new {
            tell(Event::AlertRaised, &format!("{message}; {action}"));
        } else {
            tracing::warn!("{message}");
        }
    }

    fn publish(&self) {
        let driver = self
            .chosen
            .as_ref()
            .map_or("none", |(kind, _)| kind.driver());
        let lamps = self
            .chosen
            .as_ref()
            .map(|(_, driver)| driver.layout().lamps())
            .unwrap_or_default();
        let pattern = match &self.shown {
            Some(shown) if self.chosen.is_some() => shown.pattern,
            _ => Pattern::Dark,
        };
        let frames = self.frames.iter().map(|frame| PanelFrame {
            levels: frame.levels.clone(),
            ms: frame.ms,
        });
        let frames: Vec<_> = frames.collect();
        let mut choices = self.choices.clone();
        choices.push(self.button_choice.clone());
        self.hub.update(|status| {
            let panel = &mut status.panel;
            driver.clone_into(&mut panel.driver);
            pattern.name().clone_into(&mut panel.pattern);
            pattern.meaning().clone_into(&mut panel.meaning);
            panel.lamps = lamps.iter().map(|lamp| (*lamp).to_owned()).collect();
            panel.frames = frames;
            panel.button = self.button.place();
            panel.choices = choices;
        });
    }
}

fn identify(length: Duration) -> Play {
    Play {
        pattern: Pattern::Identify,
        counted: false,
        length,
    }
}

fn refused() -> Play {
    Play {
        pattern: Pattern::Refused,
        counted: false,
        length: REFUSED,
    }
}

fn tell(event: Event, message: &str) {
    journal::emit(event, "panel", message);
}

/// Sleeps until then; for ever where there is no time.
async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// The clock of the button's time stamps.
fn monotonic() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map(Duration::from)
        .unwrap_or_default()
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;

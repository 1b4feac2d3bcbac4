//! The panel's task: shows what the snapshot says, plays what somebody asks for, watches the
//! button. It sleeps until one of them changes; a rhythm that the kernel keeps wakes nobody.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::ZonedDateTime;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::button::{Button, Change};
use super::condition::Condition;
use super::driver::{DriverError, Machine};
use super::gesture::{Action, Gesture, Step};
use super::lights::{Lights, Shown};
use super::night;
use super::pattern::{Pattern, counted, length};
use crate::config::Panel as Settings;
use crate::journal::{self, Event};
use crate::status::{Alert, PanelChoice, Severity, StatusHub};

/// How long the button must stay down at power-on.
const RESCUE_HOLD: Duration = Duration::from_secs(2);
/// How long a short press identifies the box before it repeats the state.
const TELL: Duration = Duration::from_secs(2);
const REFUSED: Duration = Duration::from_secs(1);
/// The alert of a panel that does not work as the configuration asks.
const ALERT: &str = "panel";

/// What others ask of the panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Show which box this is, for so long; no time at all ends it at once.
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
    /// Passes a command on; false when the panel has ended.
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

impl Play {
    const fn of(pattern: Pattern, length: Duration) -> Self {
        Self {
            pattern,
            counted: false,
            length,
        }
    }
}

/// The panel of one appliance.
#[derive(Debug)]
pub struct Panel {
    settings: Settings,
    hub: StatusHub,
    lights: Lights,
    button: Button,
    button_choice: PanelChoice,
    /// Lamps failed since they last worked whole.
    failed_before: bool,
    gesture: Gesture,
    plays: VecDeque<Play>,
    /// When the first of `plays` ends.
    play_until: Option<Instant>,
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
        let panel = Self {
            lights: Lights::open(settings.clone(), machine).await,
            settings,
            hub,
            button,
            button_choice,
            failed_before: false,
            gesture: Gesture::default(),
            plays: VecDeque::new(),
            play_until: None,
            commands,
            actions,
        };
        panel.tell_missing();
        (panel, PanelHandle { commands: sender }, wanted)
    }

    /// Whether the button is held down now and for two seconds more: the appliance is to start in
    /// rescue. Answers at once where it is not down.
    pub async fn rescue_wanted(&mut self) -> bool {
        if !self.button.is_pressed() {
            return false;
        }
        self.hold(Pattern::Rescue).await;
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
            self.gesture.spend();
        }
        held
    }

    /// Shows one pattern, without a supervisor.
    pub async fn hold(&mut self, pattern: Pattern) {
        let brightness = self.settings.brightness;
        self.show(pattern, false, brightness).await;
    }

    /// Keeps the rhythm of [`Panel::hold`], where nobody else does, for `length`.
    pub async fn linger(&mut self, length: Duration) {
        let end = Instant::now() + length;
        while let Some(until) = self.lights.next_step().filter(|until| *until < end) {
            sleep_until(until).await;
            self.step().await;
        }
        sleep_until(end).await;
    }

    /// Publishes what drives the lamps, without showing anything.
    pub fn announce(&self) {
        self.publish();
    }

    /// Puts the lamps back as they were found.
    pub async fn give_back(&mut self) {
        self.lights.give_back().await;
    }

    /// Runs until told to finish or dropped.
    pub async fn run(mut self) {
        let mut conditions = self.hub.view(Condition::of);
        loop {
            let condition = *conditions.borrow_and_update();
            let look = self.refresh(condition).await;
            let retry = self.lights.retry_at();
            let step = self.lights.next_step();
            let gesture = self.gesture_deadline();
            tokio::select! {
                // The button first: a press that takes something back counts before the end of
                // the time for it.
                biased;
                change = self.button.change() => self.pressed(change),
                changed = conditions.changed() => if changed.is_err() { return },
                Some(command) = self.commands.recv() => match command {
                    Command::Finish(pattern) => {
                        let (brightness, _) = self.brightness(condition);
                        self.show(pattern, false, brightness).await;
                        return;
                    }
                    command => self.command(command),
                },
                () = at(gesture) => {
                    let step = self.gesture.tick(monotonic());
                    self.gestured(step);
                }
                () = at(self.play_until) => { self.plays.pop_front(); self.play_until = None; }
                () = at(step) => self.step().await,
                () = at(look) => {}
                () = at(retry) => self.again(condition).await,
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
        let (brightness, wait) = self.brightness(condition);
        let wanted = Shown {
            pattern,
            counted,
            brightness,
        };
        if self.lights.shown() != Some(wanted) {
            self.show(pattern, counted, brightness).await;
        }
        wait.map(|wait| Instant::now() + wait)
    }

    /// Gives drivers that failed another chance.
    async fn again(&mut self, condition: Condition) {
        if let Some(shown) = self.lights.shown() {
            self.show(shown.pattern, shown.counted, shown.brightness)
                .await;
        } else {
            self.refresh(condition).await;
        }
    }

    fn brightness(&self, condition: Condition) -> (u8, Option<Duration>) {
        night::brightness(&self.settings, condition.clock_set, &ZonedDateTime::now())
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
            self.play([]);
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
            Step::Tell => {
                let pattern = Condition::of(&self.hub.snapshot()).pattern();
                let count = Play {
                    pattern,
                    counted: true,
                    length: length(&counted(pattern.count())),
                };
                self.play([Play::of(Pattern::Identify, TELL), count, count]);
                let message = format!("the button asked for the state: {}", pattern.meaning());
                tell(Event::ButtonPressed, &message);
            }
            Step::Do(action) => {
                let message = match action {
                    Action::PowerOff => "the button asked to shut down",
                    Action::ReleaseDataDisk => "the button asked to release the data disk",
                };
                tell(Event::ButtonPressed, message);
                // Whoever carries it out may be busy; the button is not.
                if self.actions.try_send(action).is_err() {
                    self.command(Command::Refuse);
                }
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Identify(Duration::ZERO) => self.play([]),
            Command::Identify(length) => self.play([Play::of(Pattern::Identify, length)]),
            Command::Refuse => self.play([Play::of(Pattern::Refused, REFUSED)]),
            Command::Test => {
                self.play(Pattern::STATES.map(|pattern| Play::of(pattern, pattern.test_time())));
            }
            // What is left to show is shown by `run`, which ends.
            Command::Finish(_) => {}
        }
    }

    fn play<const N: usize>(&mut self, plays: [Play; N]) {
        self.plays = plays.into();
        self.play_until = None;
    }

    async fn show(&mut self, pattern: Pattern, counted: bool, brightness: u8) {
        let shown = Shown {
            pattern,
            counted,
            brightness,
        };
        let failures = self.lights.show(shown).await;
        if failures.is_empty() && self.lights.is_whole() && self.failed_before {
            self.failed_before = false;
            if self.hub.clear(ALERT) {
                tell(Event::AlertCleared, "the lamps work again");
            }
            self.tell_missing();
        }
        for failure in failures {
            self.failed_before = true;
            self.alert(&failure);
        }
        self.publish();
    }

    async fn step(&mut self) {
        if let Some(failure) = self.lights.step().await {
            self.failed_before = true;
            self.alert(&failure);
        }
    }

    /// Tells where something that the configuration names is not to be had.
    fn tell_missing(&self) {
        let lamps = self.lights.missing();
        let lamps = lamps.map(|reason| format!("the lamps cannot be used: {reason}"));
        let button = (self.settings.button.is_some() && !self.button_choice.used)
            .then(|| format!("the button cannot be used: {}", self.button_choice.reason));
        let problems: Vec<_> = lamps.into_iter().chain(button).collect();
        if !problems.is_empty() {
            self.alert(&problems.join("; "));
        }
    }

    fn alert(&self, message: &str) {
        let action = "see `lucid panel show` and docs/panel.md";
        let alert = Alert::new(ALERT, Severity::Warning, "panel", message, action);
        if self.hub.raise(alert) {
            tell(Event::AlertRaised, &format!("{message}; {action}"));
        } else {
            tracing::warn!("{message}");
        }
    }

    fn publish(&self) {
        let (driver, lamps, frames) = self.lights.published();
        let pattern = match self.lights.shown() {
            Some(shown) if driver != "none" => shown.pattern,
            _ => Pattern::Dark,
        };
        let mut choices = self.lights.choices().to_vec();
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

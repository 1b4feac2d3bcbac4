//! The panel's task against trees of LEDs.

use std::path::PathBuf;

use super::*;
use crate::config::PanelDriver;
use crate::status::{ApplianceState, DatastoreState, Status, fixture};

/// A board with one LED, whose files take what is written to them.
struct Bench {
    dir: tempfile::TempDir,
    hub: StatusHub,
}

impl Bench {
    fn new(leds: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for led in leds {
            let at = dir.path().join("class/leds").join(led);
            crate::fsx::create_dir(&at, 0o755).unwrap();
            for (name, text) in [
                ("trigger", "[none] timer pattern\n"),
                ("brightness", "0\n"),
                ("max_brightness", "1\n"),
                ("pattern", ""),
                ("repeat", ""),
            ] {
                crate::fsx::write_volatile(&at.join(name), text.as_bytes(), 0o644).unwrap();
            }
        }
        let hub = fixture::hub();
        Self { dir, hub }
    }

    async fn open(&self, settings: Settings) -> (Panel, PanelHandle, mpsc::Receiver<Action>) {
        let machine = Machine {
            sys: self.dir.path().to_path_buf(),
            dev: self.dir.path().join("dev"),
        };
        Panel::open(settings, machine, self.hub.clone()).await
    }

    fn state(&self, state: DatastoreState) {
        self.hub.update(|status| {
            status.datastores = vec![fixture::datastore("cache", state)];
        });
    }

    fn led(&self, name: &str) -> PathBuf {
        self.dir.path().join("class/leds").join(name)
    }

    /// Waits until the snapshot says so.
    async fn until(&self, what: impl Fn(&Status) -> bool) -> Duration {
        let began = std::time::Instant::now();
        let mut changes = self.hub.subscribe();
        let wait = changes.wait_for(|status| what(status));
        timeout(Duration::from_secs(20), wait)
            .await
            .unwrap()
            .unwrap();
        began.elapsed()
    }

    async fn shows(&self, pattern: Pattern) -> Duration {
        self.until(|status| status.panel.pattern == pattern.name())
            .await
    }
}

#[tokio::test]
async fn a_change_of_state_is_on_the_lamp_within_50_ms() {
    let bench = Bench::new(&["ACT"]);
    bench.state(DatastoreState::Starting);
    let (panel, _handle, _actions) = bench.open(Settings::default()).await;
    let task = tokio::spawn(panel.run());
    bench.shows(Pattern::Starting).await;
    let mut times = Vec::new();
    for (state, pattern) in [
        (DatastoreState::Ready, Pattern::Ready),
        (DatastoreState::Degraded, Pattern::Degraded),
        (DatastoreState::Failed, Pattern::Failed),
        (DatastoreState::Ready, Pattern::Ready),
        (DatastoreState::Starting, Pattern::Starting),
    ] {
        bench.state(state);
        times.push(bench.shows(pattern).await);
        let first = std::fs::read_to_string(bench.led("ACT").join("pattern")).unwrap();
        let on = pattern.rhythm()[0].1;
        assert!(
            first.starts_with(&format!("1 {on} 1 0 0 ")),
            "{pattern:?}: {first}"
        );
    }
    times.sort();
    eprintln!("changes of state were on the lamp after {times:?}");
    // The published pattern comes after the lamp's. Half of them, since this machine may be busy.
    assert!(times[2] <= Duration::from_millis(50), "{times:?}");
    task.abort();
}

#[tokio::test]
async fn measurements_do_not_wake_the_panel() {
    let bench = Bench::new(&["ACT"]);
    bench.state(DatastoreState::Ready);
    let mut view = bench.hub.view(Condition::of);
    view.borrow_and_update();
    for rss in 0..100 {
        bench
            .hub
            .update_datastore("cache", |d| d.rss_bytes = Some(rss));
    }
    assert!(!view.has_changed().unwrap());
    bench.state(DatastoreState::Degraded);
    assert!(view.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn identify_ends_by_itself_or_at_once() {
    let bench = Bench::new(&[]);
    bench.state(DatastoreState::Ready);
    let (panel, handle, _actions) = bench.open(Settings::default()).await;
    let task = tokio::spawn(panel.run());
    bench.shows(Pattern::Ready).await;
    assert!(handle.send(Command::Identify(Duration::from_secs(5))).await);
    bench.shows(Pattern::Identify).await;
    let began = Instant::now();
    bench.shows(Pattern::Ready).await;
    assert_eq!(began.elapsed().as_secs(), 5);
    handle
        .send(Command::Identify(Duration::from_secs(500)))
        .await;
    bench.shows(Pattern::Identify).await;
    handle.send(Command::Identify(Duration::ZERO)).await;
    let began = Instant::now();
    bench.shows(Pattern::Ready).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_test_walks_through_every_state_and_comes_back() {
    let bench = Bench::new(&[]);
    bench.state(DatastoreState::Ready);
    let (panel, handle, _actions) = bench.open(Settings::default()).await;
    let task = tokio::spawn(panel.run());
    bench.shows(Pattern::Ready).await;
    handle.send(Command::Test).await;
    for pattern in Pattern::STATES {
        bench.shows(pattern).await;
    }
    bench.shows(Pattern::Ready).await;
    task.abort();
}

#[tokio::test]
async fn a_lamp_that_vanishes_is_told_and_the_next_driver_goes_on() {
    let bench = Bench::new(&["lucid:status", "ACT"]);
    bench.state(DatastoreState::Starting);
    let (panel, _handle, _actions) = bench.open(Settings::default()).await;
    let task = tokio::spawn(panel.run());
    bench.shows(Pattern::Starting).await;
    let used = |status: &Status, name: &str| {
        let mut choices = status.panel.choices.iter();
        choices.any(|choice| choice.used && choice.name == name)
    };
    assert!(used(&bench.hub.snapshot(), "overlay"));
    std::fs::remove_dir_all(bench.led("lucid:status")).unwrap();
    bench.state(DatastoreState::Ready);
    bench.until(|status| used(status, "board")).await;
    bench.until(|status| status.panel.pattern == "ready").await;
    let status = bench.hub.snapshot();
    let alert = status
        .alerts
        .iter()
        .find(|alert| alert.id == ALERT)
        .unwrap();
    assert!(alert.message.contains("lucid:status"), "{alert:?}");
    assert_eq!(
        status.state,
        ApplianceState::Ready,
        "a lamp is no datastore"
    );
    std::fs::remove_dir_all(bench.led("ACT")).unwrap();
    bench.state(DatastoreState::Failed);
    bench.until(|status| used(status, "simulated")).await;
    bench.shows(Pattern::Failed).await;
    task.abort();
}

#[tokio::test]
async fn lamps_that_the_configuration_names_and_that_are_not_there_are_told() {
    let bench = Bench::new(&["ACT"]);
    let settings = Settings {
        leds: vec!["FRONT".to_owned()],
        button: Some(26),
        ..Settings::default()
    };
    let (panel, ..) = bench.open(settings).await;
    let alerts = bench.hub.snapshot().alerts;
    let alert = alerts.iter().find(|alert| alert.id == ALERT).unwrap();
    let message = &alert.message;
    assert!(
        message.contains("FRONT") && message.contains("GPIO chip"),
        "{alert:?}"
    );
    panel.announce();
    let choices = bench.hub.snapshot().panel.choices;
    let of = |name: &str| choices.iter().find(|choice| choice.name == name).unwrap();
    assert!(of("overlay").reason.contains("FRONT"), "{choices:?}");
    assert!(of("board").used && !of("button").used);
}

#[tokio::test]
async fn lamps_that_are_not_needed_are_not_missing() {
    let bench = Bench::new(&["lucid:status"]);
    let settings = Settings {
        pins: vec![17],
        ..Settings::default()
    };
    bench.open(settings).await;
    assert_eq!(bench.hub.snapshot().alerts, []);
}

#[tokio::test]
async fn a_simulated_panel_reads_no_button_of_the_machine() {
    let bench = Bench::new(&["ACT"]);
    let event = bench.dir.path().join("class/input/event0/device");
    crate::fsx::create_dir(&event, 0o755).unwrap();
    crate::fsx::write_volatile(&event.join("name"), b"lucid-panel\n", 0o644).unwrap();
    let settings = |driver| Settings {
        driver,
        ..Settings::default()
    };
    let choice = async |driver| {
        let (panel, ..) = bench.open(settings(driver)).await;
        panel.announce();
        let mut choices = bench.hub.snapshot().panel.choices.into_iter();
        choices
            .find(|choice| choice.name == "button")
            .unwrap()
            .reason
    };
    // The real one would be opened, and is not there in this tree.
    assert!(choice(PanelDriver::Auto).await.contains("input/event0"));
    assert!(choice(PanelDriver::Simulated).await.contains("simulated"));
}

#[tokio::test]
async fn a_panel_that_is_off_touches_no_lamp_and_takes_commands_without_harm() {
    let bench = Bench::new(&["ACT"]);
    let settings = Settings {
        driver: PanelDriver::Off,
        ..Settings::default()
    };
    let before = std::fs::read_to_string(bench.led("ACT").join("trigger")).unwrap();
    let (panel, handle, _actions) = bench.open(settings).await;
    let task = tokio::spawn(panel.run());
    handle.send(Command::Test).await;
    bench.until(|status| status.panel.driver == "none").await;
    handle.send(Command::Finish(Pattern::Safe)).await;
    task.await.unwrap();
    let after = std::fs::read_to_string(bench.led("ACT").join("trigger")).unwrap();
    assert_eq!(before, after);
}

#[tokio::test]
async fn the_last_pattern_stays_on_the_lamp() {
    let bench = Bench::new(&["ACT"]);
    bench.state(DatastoreState::Ready);
    let (panel, handle, _actions) = bench.open(Settings::default()).await;
    let task = tokio::spawn(panel.run());
    bench.shows(Pattern::Ready).await;
    handle.send(Command::Finish(Pattern::Safe)).await;
    task.await.unwrap();
    let text = std::fs::read_to_string(bench.led("ACT").join("pattern")).unwrap();
    assert!(text.starts_with("1 3000 1 0 0 3000 0 0"), "{text}");
}

#[tokio::test]
async fn without_a_button_the_start_is_no_rescue_and_takes_no_time() {
    let bench = Bench::new(&[]);
    let (mut panel, ..) = bench.open(Settings::default()).await;
    let began = std::time::Instant::now();
    assert!(!panel.rescue_wanted().await);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(bench.hub.snapshot().alerts.len(), 0);
}

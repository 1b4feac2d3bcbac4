//! The data pool and the configuration from the card, as far as they can be tried on a machine that
//! is no board. On boards: `tests/image/run`.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Appliance, Options};

fn put(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn read(root: &Path, name: &str) -> String {
    std::fs::read_to_string(root.join(name)).unwrap_or_default()
}

#[test]
fn no_partition_of_a_machine_that_is_no_image_is_taken() {
    let appliance = Appliance::lay(Options::cache());
    let output = appliance.run(&["volume", "prepare"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message.contains("not started from an image of Lucid"),
        "{message}"
    );
    // Nothing starts on what was refused, and the reason is told.
    let mut appliance = appliance;
    appliance.start();
    let cache = appliance.wait_datastore("cache", "blocked", Duration::from_secs(20));
    let reason = cache["reason"].as_str().unwrap();
    assert!(
        reason.contains("not started from an image of Lucid"),
        "{reason}"
    );
    let status = appliance.status();
    assert!(
        status["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .any(|alert| alert["id"] == "data-pool"),
        "{status}"
    );
    assert!(!appliance.root().join("data/redis").exists());
    appliance.stop();
}

#[test]
fn a_pool_that_goes_while_engines_run_stops_them_with_the_reason() {
    let appliance = Appliance::ready(Options::cache());
    put(
        appliance.root(),
        "run/lucid/storage.json",
        r#"{"mounted": {"device": "/dev/lost", "uuid": "A", "diskseq": "7"}, "faults": []}"#,
    );
    let cache = appliance.wait_datastore("cache", "blocked", Duration::from_secs(40));
    let reason = cache["reason"].as_str().unwrap();
    assert!(reason.contains("/dev/lost is gone"), "{reason}");
    std::fs::remove_file(appliance.root().join("run/lucid/storage.json")).unwrap();
    appliance.wait_state("ready");
}

#[test]
fn a_configuration_from_the_card_is_taken_once_and_only_when_it_is_valid() {
    let appliance = Appliance::lay(Options::cache());
    let root = appliance.root();
    let before = read(root, "etc/lucid/lucid.toml");
    let card = root.join("card.toml");
    let take = || appliance.run(&["config", "take", card.to_str().unwrap()]);

    put(root, "card.toml", "[probe]\ninterval = \"fast\"\n");
    let output = take();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(read(root, "etc/lucid/lucid.toml"), before);
    let fault = read(root, "run/lucid/config-fault");
    assert!(fault.contains("card.toml:2: probe.interval"), "{fault}");

    put(
        root,
        "card.toml",
        "\u{feff}[probe]\r\ninterval = \"2s\"\r\n",
    );
    assert!(take().status.success());
    assert_eq!(
        read(root, "etc/lucid/lucid.toml"),
        "[probe]\ninterval = \"2s\"\n"
    );
    assert!(!root.join("run/lucid/config-fault").exists());

    // What is changed on the appliance later holds, until the card brings something new.
    put(root, "etc/lucid/lucid.toml", "[probe]\ninterval = \"3s\"\n");
    assert!(take().status.success());
    assert!(read(root, "etc/lucid/lucid.toml").contains("3s"));

    std::fs::remove_file(&card).unwrap();
    assert!(take().status.success(), "a card without the file is well");
}

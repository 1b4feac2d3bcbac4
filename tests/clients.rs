//! The official Python clients against a whole appliance.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Appliance, Options};

#[test]
fn the_official_python_clients_work_with_the_uris_that_are_shown() {
    let python = std::env::var("LUCID_TEST_PYTHON")
        .expect("LUCID_TEST_PYTHON is not set: run the tests with ./scripts/test");
    let appliance = Appliance::ready(Options::both());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/clients.py");
    let output = Command::new(python)
        .arg(script)
        .args([appliance.uri("document"), appliance.uri("cache")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("Ran 9 tests"), "{text}");
}

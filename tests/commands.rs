//! What a person types: datastores, passwords, logs, status, and the answers' shapes.

// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::time::Duration;

use common::{Appliance, Options, alive};
use nix::sys::signal::Signal;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn datastores_are_stopped_started_and_restarted_by_command() {
    let appliance = Appliance::ready(Options::both());
    let document = appliance.pid("document");
    let cache = appliance.pid("cache");
    assert!(
        appliance
            .run(&["datastore", "stop", "cache"])
            .status
            .success()
    );
    assert_eq!(appliance.datastore("cache")["state"], "stopped");
    assert_eq!(appliance.status()["state"], "degraded");
    assert!(!alive(cache));
    assert!(
        appliance
            .run(&["datastore", "start", "cache"])
            .status
            .success()
    );
    let started = appliance.pid("cache");
    assert!(
        appliance
            .run(&["datastore", "restart", "cache"])
            .status
            .success()
    );
    assert_ne!(appliance.pid("cache"), started);
    assert_eq!(appliance.pid("document"), document);
    let output = appliance.run(&["datastore", "start", "search"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("datastore.search.enabled"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotated_passwords_hold_at_once_without_a_restart_and_the_old_ones_do_not() {
    let appliance = Appliance::ready(Options::both());
    for name in ["cache", "document"] {
        let (pid, old) = (appliance.pid(name), appliance.uri(name));
        let output = appliance.run(&["credentials", "rotate", name]);
        assert!(output.status.success(), "{output:?}");
        assert_ne!(appliance.uri(name), old);
        if name == "cache" {
            assert!(redis::Client::open(old).unwrap().get_connection().is_err());
            let pong: String = redis::cmd("PING").query(&mut appliance.redis()).unwrap();
            assert_eq!(pong, "PONG");
        } else {
            let ping = mongodb::bson::doc! {"listDatabases": 1};
            let old = mongodb::Client::with_uri_str(&old).await.unwrap();
            assert!(
                old.database("admin")
                    .run_command(ping.clone())
                    .await
                    .is_err()
            );
            let new = appliance.mongo().await;
            new.database("lucid")
                .run_command(mongodb::bson::doc! {"dbStats": 1})
                .await
                .unwrap();
        }
        assert_eq!(appliance.pid(name), pid);
    }
    // A reload afterwards finds nothing to restart, and a crash starts with the new password.
    let pid = appliance.pid("cache");
    appliance.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(appliance.pid("cache"), pid);
    common::signal(pid, Signal::SIGKILL);
    appliance.wait_datastore("cache", "ready", SOON);
    let pong: String = redis::cmd("PING").query(&mut appliance.redis()).unwrap();
    assert_eq!(pong, "PONG");
}

#[test]
fn engine_output_is_kept_and_followed() {
    let appliance = Appliance::ready(Options::cache());
    let output = appliance.run(&["logs", "cache"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Ready to accept connections"), "{text}");
    let mut follow = appliance
        .command(&["logs", "cache", "--follow", "-n", "0"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    appliance.run(&["datastore", "restart", "cache"]);
    std::thread::sleep(Duration::from_millis(500));
    follow.kill().unwrap();
    let output = follow.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Ready to accept connections"), "{text}");
}

#[test]
fn the_status_has_the_promised_shape() {
    let appliance = Appliance::ready(Options::both());
    let status = appliance.status();
    for key in [
        "version",
        "state",
        "since",
        "uptime_seconds",
        "board",
        "datastores",
        "tuning",
        "volumes",
        "backup",
        "panel",
        "alerts",
    ] {
        assert!(status.get(key).is_some(), "{key} is missing in {status:#}");
    }
    for key in ["model", "memory_bytes", "page_size", "simulated"] {
        assert!(!status["board"][key].is_null(), "board.{key} is missing");
    }
    let datastore = &status["datastores"][0];
    for key in [
        "name",
        "engine",
        "engine_version",
        "state",
        "pid",
        "endpoint",
        "restarts",
        "rss_bytes",
        "memory_max_bytes",
        "probe",
    ] {
        assert!(
            !datastore[key].is_null(),
            "datastores[].{key} is missing in {datastore:#}"
        );
    }
    assert!(datastore.get("reason").is_some());
    for key in ["ok", "latency_ms", "at"] {
        assert!(!datastore["probe"][key].is_null(), "probe.{key} is missing");
    }
    assert_eq!(status["board"]["simulated"], false);
}

#[test]
fn a_simulation_says_so_and_writes_no_knob() {
    let mut appliance = Appliance::lay(Options::cache().with("tuning.enabled = true"));
    let before = std::fs::read_to_string("/proc/sys/vm/swappiness").unwrap();
    let mut command = appliance.command(&["supervise", "--simulate"]);
    appliance.start_command(&mut command);
    let status = appliance.wait("cache ready", SOON, |status| {
        status["datastores"][0]["state"] == "ready"
            || status["datastores"][0]["state"] == "degraded"
    });
    assert_eq!(status["board"]["simulated"], true);
    assert!(
        status["board"]["model"]
            .as_str()
            .unwrap()
            .contains("Raspberry Pi 4")
    );
    assert_eq!(
        std::fs::read_to_string("/proc/sys/vm/swappiness").unwrap(),
        before
    );
    let text = appliance.run(&["status"]).stdout;
    assert!(String::from_utf8_lossy(&text).contains("SIMULATED"));
}

#[test]
fn the_cli_answers_usage_errors_with_2_and_json_with_one_document() {
    let appliance = Appliance::lay(Options::cache());
    assert_eq!(appliance.run(&["no-such-command"]).status.code(), Some(2));
    assert_eq!(
        appliance
            .run(&["datastore", "start", "queue"])
            .status
            .code(),
        Some(2)
    );
    let output = appliance.run(&["--json", "status"]);
    assert_eq!(output.status.code(), Some(1));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(value["error"].as_str().unwrap().contains("lucid supervise"));
    let output = appliance.run(&["config", "default"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("[datastore.document]"));
    let effective = appliance.json(&["config", "show", "--effective"]);
    assert!(
        effective["memory_plan"]["shares"][0]["memory"]["max"]
            .as_u64()
            .unwrap()
            > 0
    );
    let man = appliance.root().join("man");
    assert!(
        appliance
            .run(&["man", &man.to_string_lossy()])
            .status
            .success()
    );
    assert!(man.join("lucid.1").exists());
    let output = appliance.run(&["completions", "bash"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("_lucid"));
}

#[test]
fn a_datastore_that_a_person_stopped_stays_so_over_supervisors() {
    let mut appliance = Appliance::ready(Options::both());
    assert!(
        appliance
            .run(&["datastore", "stop", "cache"])
            .status
            .success()
    );
    appliance.signal(Signal::SIGUSR2);
    assert!(appliance.wait_exit(SOON).success());
    appliance.start();
    appliance.wait_datastore("document", "ready", SOON);
    assert_eq!(appliance.datastore("cache")["state"], "stopped");
    // While it is stopped its password can be changed as well.
    let old = appliance.uri("cache");
    let output = appliance.run(&["credentials", "rotate", "cache"]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        appliance
            .run(&["datastore", "start", "cache"])
            .status
            .success()
    );
    assert!(redis::Client::open(old).unwrap().get_connection().is_err());
    let pong: String = redis::cmd("PING").query(&mut appliance.redis()).unwrap();
    assert_eq!(pong, "PONG");
    appliance.signal(Signal::SIGUSR2);
    assert!(appliance.wait_exit(SOON).success());
    appliance.start();
    appliance.wait_state("ready");
}

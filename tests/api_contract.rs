//! The API against its own description, by a program that makes up requests.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use common::api::Served;
use reqwest::Method;
use serde_json::Value;

/// Sends made-up requests to every path; what is found is printed.
fn schemathesis(served: &Served, key: Option<&str>) {
    let python = std::env::var("LUCID_TEST_PYTHON")
        .expect("LUCID_TEST_PYTHON is not set: run the tests with ./scripts/test");
    let base = format!("http://127.0.0.1:{}", served.port);
    let mut command = Command::new(python);
    command
        .args(["-m", "schemathesis.cli", "run", &format!("{base}/openapi.json"), "--url", &base])
        .args(["--no-color", "--continue-on-failure", "-n", "15", "--max-time", "25"])
        .args(["--suppress-health-check", "all", "--seed", "1"])
        // No answer of 5xx, and none that the description does not allow.
        .arg("--checks")
        .arg("not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance")
        // What would end the datastores that are asked, or begin work for minutes.
        .args(["--exclude-path-regex", "/datastores/|/backup/create|/backups/(restore|drill|verify)"])
        .current_dir(served.appliance.root());
    if let Some(key) = key {
        command.args(["-H", &format!("Authorization: Bearer {key}")]);
    }
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(told.contains("Tested: "), "{told}");
}

#[test]
fn made_up_requests_get_only_answers_that_the_description_allows() {
    let mut served = Served::ready("api.requests_per_minute = 0\napi.backups_per_minute = 0");
    schemathesis(&served, Some(&served.admin));
    schemathesis(&served, None);
    // Nothing of it did any harm.
    served.appliance.wait_state("ready");
    served.get("/health").is(200);
    served.appliance.stop();
}

#[test]
fn the_description_has_every_path_of_the_platform_and_no_shape_twice() {
    let output = Command::new(common::LUCID).arg("openapi").output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let paths = document["paths"].as_object().unwrap();
    for (method, path) in [
        (Method::POST, "/mongodb/query"),
        (Method::GET, "/mongodb/stats"),
        (Method::POST, "/redis/cache"),
        (Method::GET, "/redis/session/{session_id}"),
        (Method::POST, "/elasticsearch/search"),
        (Method::GET, "/elasticsearch/analytics"),
        (Method::POST, "/backup/create"),
        (Method::GET, "/backup/status"),
        (Method::GET, "/volumes"),
        (Method::POST, "/volumes/{volume_name}/backup"),
    ] {
        let whole = format!("{}{path}", common::api::BASE);
        let method = method.as_str().to_lowercase();
        assert!(paths[&whole].get(&method).is_some(), "{method} {whole}");
    }
    // Two types of one name would be one shape, and one of them a lie.
    let source = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/public")).unwrap();
    let mut names = BTreeSet::new();
    for file in source {
        let path = file.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut is_schema = false;
        for line in text.lines() {
            if line.contains("derive(") {
                is_schema = line.contains("ToSchema");
            }
            let name = line
                .split("struct ")
                .nth(1)
                .or_else(|| line.split("enum ").nth(1));
            if let Some(name) = name.filter(|_| is_schema) {
                let name = name.split([' ', '{', '(']).next().unwrap().to_owned();
                assert!(
                    names.insert(name.clone()),
                    "{name} is there twice ({})",
                    path.display()
                );
                is_schema = false;
            }
        }
    }
    assert!(names.len() > 40, "{names:?}");
}

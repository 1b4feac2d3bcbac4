//! `docs/api.md` shows what the API answers, and the dashboard and alert rules name metrics that exist.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use common::api::{BASE, Served};
use common::{Options, free_port, on_pool, said};
use lucid::units::GIB;
use reqwest::Method;
use serde_json::{Value, json};

const MARKS: (&str, &str) = ("<!-- transcripts: begin -->", "<!-- transcripts: end -->");

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What differs from run to run, by the name of its field.
fn still(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("job_id") {
                // It may have ended already.
                for (name, value) in [
                    ("state", "running".into()),
                    ("completed_at", Value::Null),
                    ("message", Value::Null),
                ] {
                    fields.insert(name.to_owned(), value);
                }
            }
            for (name, value) in fields {
                let shown = match name.as_str() {
                    "timestamp" | "started_at" | "created_at" | "last_activity" | "next"
                    | "last" | "taken" => Some("2026-11-27T12:00:00Z"),
                    "$oid" | "_id" => Some("6b093aa8d91f0b06e7e30882"),
                    "_index" => Some("lucid-sessions-2026.11"),
                    "job_id" => Some("20261127T120000-1"),
                    "version" if value.as_str().is_some_and(|text| text != "v1") => Some("8.2.11"),
                    "mount_point" => Some("/data/…"),
                    "last_result" => Some("…"),
                    _ => None,
                };
                match shown {
                    Some(shown) if value.is_string() => *value = shown.into(),
                    _ if value.is_number()
                        && !["count", "total", "ttl", "n", "doc_count"]
                            .contains(&name.as_str()) =>
                    {
                        *value = 0.into();
                    }
                    // Seconds pass on a busy machine.
                    _ if name == "ttl"
                        && value.as_u64().is_some_and(|s| (840..900).contains(&s)) =>
                    {
                        *value = 900.into();
                    }
                    _ => still(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(still),
        _ => {}
    }
}

#[test]
fn the_document_shows_what_the_ten_calls_answer() {
    let (port, search) = (free_port(), free_port());
    let options = Options::both().with(&format!(
        "api.port = {port}\ndatastore.search.enabled = true\ndatastore.search.port = {search}\n\
         backup.schedule = \"0 2 * * *\"\nbackup.verify = \"\"\nbackup.drill = \"\""
    ));
    let (appliance, _pool) = on_pool(options, 8 * GIB);
    let mut served = Served::over(appliance, port);
    said(&served.appliance, &["schema", "apply"]);
    let session = json!({
        "session_id": "s-1", "user_id": "u-1", "status": "active",
        "created_at": "2026-11-27T12:00:00Z", "updated_at": "2026-11-27T12:00:00Z",
    });
    served
        .post("/documents/sessions", &json!({ "documents": [session] }))
        .is(201);
    served
        .post("/redis/session", &json!({ "session_id": "token-0123456789", "user_id": "u-1", "data": { "device": "phone" } }))
        .is(201);
    let waiting = std::time::Instant::now();
    while served.get("/search/sessions").is(200)["results"]["total"] == 0 {
        assert!(waiting.elapsed().as_secs() < 60);
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    let calls = [
        (
            "POST",
            "/mongodb/query",
            Some(
                json!({ "collection": "sessions", "filter": { "status": "active" }, "fields": ["session_id", "user_id", "created_at"] }),
            ),
        ),
        ("GET", "/mongodb/stats", None),
        (
            "POST",
            "/redis/cache",
            Some(
                json!({ "operation": "set", "key": "lucid:cache:manifest:42", "value": { "chunks": 3 }, "ttl": 300 }),
            ),
        ),
        ("GET", "/redis/session/token-0123456789", None),
        (
            "POST",
            "/elasticsearch/search",
            Some(json!({ "index": "lucid-sessions", "filters": { "user_id": "u-1" } })),
        ),
        (
            "GET",
            "/elasticsearch/analytics?name=sessions_by_status",
            None,
        ),
        ("POST", "/backup/create", Some(json!({}))),
        ("GET", "/backup/status", None),
        ("GET", "/volumes", None),
        (
            "POST",
            "/volumes/redis/backup?output_path=redis-1.lucid",
            None,
        ),
    ];
    let mut shown = String::from(
        "Made by `tests/api_docs.rs`; moments and numbers that differ from run to run are replaced.\n",
    );
    for (method, to, body) in calls {
        let mut command = Command::new("curl");
        command.args([
            "-s",
            "-X",
            method,
            "-H",
            &format!("X-API-Key: {}", served.admin),
            "-w",
            "\n%{http_code}",
        ]);
        let mut line = format!("curl -X {method} -H \"X-API-Key: $KEY\"");
        if let Some(body) = &body {
            command.args([
                "-H",
                "Content-Type: application/json",
                "-d",
                &body.to_string(),
            ]);
            let _ = write!(
                line,
                " -H 'Content-Type: application/json' \\\n  -d '{body}'"
            );
        }
        command.arg(format!("http://127.0.0.1:{port}{BASE}{to}"));
        let _ = write!(line, " \\\n  'http://127.0.0.1:8088{BASE}{to}'");
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (answer, status) = text.rsplit_once('\n').unwrap();
        assert!(status.starts_with('2'), "{method} {to}: {text}");
        let mut answer: Value = serde_json::from_str(answer).unwrap();
        if to == "/backup/status" {
            // It may have ended already.
            answer["running"] = json!([]);
        }
        still(&mut answer);
        let pretty = serde_json::to_string_pretty(&answer).unwrap();
        let _ = write!(
            shown,
            "\n### {method} {}\n\n```sh\n{line}\n```\n\n{status}:\n\n```json\n{pretty}\n```\n",
            to.split('?').next().unwrap()
        );
        if to == "/backup/create" {
            served
                .appliance
                .wait("the backup", std::time::Duration::from_secs(60), |status| {
                    !status["backup"]["last"].is_null()
                });
        }
    }
    served.appliance.stop();
    let file = path("docs/api.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (from, to) = (
        text.find(MARKS.0).unwrap() + MARKS.0.len(),
        text.find(MARKS.1).unwrap(),
    );
    if std::env::var_os("LUCID_BLESS").is_some() {
        let new = format!("{}\n{shown}{}", &text[..from], &text[to..]);
        std::fs::write(&file, new).unwrap();
        return;
    }
    let (old, new) = (text[from..to].trim(), shown.trim());
    let differs = old.lines().zip(new.lines()).find(|(old, new)| old != new);
    assert_eq!(differs, None, "LUCID_BLESS=1 renews docs/api.md");
    assert_eq!(
        old.lines().count(),
        new.lines().count(),
        "LUCID_BLESS=1 renews docs/api.md"
    );
}

#[test]
fn dashboard_and_alert_rules_name_metrics_that_exist() {
    let mut served = Served::ready("");
    let metrics = served
        .send(Some(&served.reader), Method::GET, "/metrics", None)
        .text;
    served.appliance.stop();
    // Those of the board, of backups and of growth come with what they measure.
    let source = std::fs::read_to_string(path("src/api/public/metrics.rs")).unwrap();
    for file in [
        "docs/monitoring/grafana-dashboard.json",
        "docs/monitoring/alerts.yml",
    ] {
        let text = std::fs::read_to_string(path(file)).unwrap();
        for (at, _) in text.match_indices("lucid_") {
            let name: String = text[at..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            assert!(source.contains(&format!("\"{name}\"")), "{file}: {name}");
        }
    }
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let name: String = line
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        assert!(metrics.contains(&format!("# TYPE {name} ")), "{line}");
        assert!(
            line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(),
            "{line}"
        );
    }
    assert!(metrics.contains("lucid_build_info{version="));
}

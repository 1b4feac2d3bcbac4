//! Lifecycle policies and rollovers of the search node, over HTTP.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

#[path = "../common/mod.rs"]
mod common;
mod phases;
mod restarts;
mod rollover;
mod settings;

use std::time::{Duration, Instant};

use common::search::Node;
use serde_json::{Value, json};

/// Looks again and again until `check` finds what it wants.
fn wait<T>(what: &str, check: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn often(node: &Node) {
    node.call(
        "PUT",
        "/_cluster/settings",
        json!({"persistent": {"indices.lifecycle.poll_interval": "1s",
            "indices.lifecycle.steady_clock": "0s"}}),
    );
}

fn policy(node: &Node, name: &str, phases: &Value) {
    let body = json!({"policy": {"phases": phases}});
    let answer = node.call("PUT", &format!("/_ilm/policy/{name}"), body);
    assert_eq!(answer["acknowledged"], true);
}

fn get(node: &Node, path: &str) -> Value {
    let (status, answer) = node.try_call("GET", path, None).unwrap();
    assert!(status < 300, "GET {path}: {status} {answer}");
    answer
}

fn is_there(node: &Node, index: &str) -> bool {
    node.try_call("HEAD", &format!("/{index}"), None).unwrap().0 == 200
}

fn explain(node: &Node, index: &str) -> Value {
    get(node, &format!("/{index}/_ilm/explain"))["indices"][index].clone()
}

fn put(node: &Node, index: &str, id: &str) {
    let path = format!("/{index}/_doc/{id}?refresh=true");
    node.call("PUT", &path, json!({"n": 1}));
}

/// Waits until an index is in `phase` at `step`.
fn at(node: &Node, index: &str, phase: &str, step: &str) -> Value {
    wait(&format!("{index} does not come to {phase}/{step}"), || {
        let (status, answer) = node.try_call("GET", &format!("/{index}/_ilm/explain"), None)?;
        assert_eq!(status, 200, "{answer}");
        let shown = answer["indices"][index].clone();
        (shown["phase"] == phase && shown["step"] == step).then_some(shown)
    })
}

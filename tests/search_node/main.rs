//! The search node as a process of its own, over HTTP.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod access;
#[path = "../common/mod.rs"]
mod common;
mod refusals;
mod searches;

use std::time::Duration;

use common::search::{Node, PASSWORD};
use common::{Appliance, Options, free_port};
use serde_json::{Value, json};

/// Acknowledged documents that are not there as they were written.
fn lost(node: &Node, acknowledged: &[(String, u64)]) -> Vec<String> {
    let mut missing = Vec::new();
    for some in acknowledged.chunks(1000) {
        let ids: Vec<&str> = some.iter().map(|(id, _)| id.as_str()).collect();
        let answer = node.call("POST", "/a/_mget", json!({"ids": ids}));
        let docs = answer["docs"].as_array().unwrap();
        let pairs = some.iter().zip(docs);
        missing.extend(
            pairs
                .filter(|((id, number), doc)| doc["_id"] != **id || doc["_source"]["n"] != *number)
                .map(|((id, _), _)| id.clone()),
        );
    }
    missing
}

#[test]
fn acknowledged_documents_survive_20_times_kill_9_during_bulk_and_single_writes() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(String, u64)> = Vec::new();
    let mut next = 0;
    for round in 0..20 {
        let mut node = Node::start(dir.path());
        if !acknowledged.is_empty() {
            assert_eq!(
                lost(&node, &acknowledged),
                Vec::<String>::new(),
                "round {round}"
            );
        }
        let pid = node.child.id();
        let before = acknowledged.len();
        let (under_way, begun) = std::sync::mpsc::channel();
        let killer = std::thread::spawn(move || {
            begun.recv_timeout(Duration::from_secs(60)).unwrap();
            std::thread::sleep(Duration::from_millis(round * 7 % 50));
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        });
        loop {
            // A number of its own for each try: one that was not acknowledged may be there.
            next += 1;
            let id = format!("single-{next}");
            let single = node.try_call("PUT", &format!("/a/_doc/{id}"), Some(json!({"n": next})));
            match single {
                Some((201, _)) => acknowledged.push((id, next)),
                _ => break,
            }
            let ids: Vec<String> = (0..20).map(|item| format!("bulk-{next}-{item}")).collect();
            let lines: Vec<String> = ids
                .iter()
                .map(|id| format!("{{\"index\":{{\"_id\":\"{id}\"}}}}\n{{\"n\":{next}}}\n"))
                .collect();
            match node.send("boss", "POST", "/a/_bulk", Some(lines.concat())) {
                Some((200, answer)) => {
                    assert_eq!(answer["errors"], false, "{answer}");
                    acknowledged.extend(ids.into_iter().map(|id| (id, next)));
                }
                _ => break,
            }
            if acknowledged.len() > before + 60 {
                // The receiver is gone once it has killed the node.
                let _ = under_way.send(());
            }
        }
        killer.join().unwrap();
        node.child.wait().unwrap();
    }
    assert!(acknowledged.len() > 20 * 60, "{}", acknowledged.len());
    let node = Node::start(dir.path());
    assert_eq!(lost(&node, &acknowledged), Vec::<String>::new());
    let search = json!({"query": {"match_all": {}}, "size": 0, "track_total_hits": true});
    let total = node.call("POST", "/a/_search", search)["hits"]["total"]["value"].as_u64();
    assert!(total.unwrap() >= acknowledged.len() as u64);
}

#[test]
fn writes_keep_versions_and_refuse_conflicts() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    let made = node.call("PUT", "/a/_doc/1", json!({"n": 1}));
    assert_eq!(
        (&made["result"], &made["_version"]),
        (&json!("created"), &json!(1))
    );
    let (status, kind, _) = node.refused("PUT", "/a/_create/1", json!({"n": 2}));
    assert_eq!(
        (status, kind.as_str()),
        (409, "version_conflict_engine_exception")
    );
    let (status, ..) = node.refused("PUT", "/a/_doc/1?if_seq_no=7&if_primary_term=1", json!({}));
    assert_eq!(status, 409);
    let updated = node.call("POST", "/a/_update/1", json!({"doc": {"m": 2}}));
    assert_eq!(
        (&updated["result"], &updated["_version"]),
        (&json!("updated"), &json!(2))
    );
    let same = node.call("POST", "/a/_update/1", json!({"doc": {"m": 2}}));
    assert_eq!(same["result"], "noop");
    let found = node.call("GET", "/a/_doc/1", json!({}));
    assert_eq!(found["_source"], json!({"n": 1, "m": 2}));
    node.call("DELETE", "/a/_doc/1", json!({}));
    let (status, _) = node.try_call("GET", "/a/_doc/1", None).unwrap();
    assert_eq!(status, 404);
    let again = node.call("PUT", "/a/_doc/1", json!({"n": 3}));
    assert_eq!(again["_version"], 4);
}

/// Status and body of `path` with the URI that `lucid credentials show search` prints.
fn get(runtime: &tokio::runtime::Runtime, uri: &str, path: &str) -> (u16, Value) {
    runtime.block_on(async {
        let http = lucid::http::client().no_proxy().build().unwrap();
        let answer = http.get(format!("{uri}{path}")).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    })
}

#[test]
fn a_supervised_node_is_ready_serves_its_uri_and_comes_back_after_kill_9() {
    let port = free_port();
    let search = format!("datastore.search.enabled = true\ndatastore.search.port = {port}");
    let mut appliance = Appliance::ready(Options::cache().with(&search));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (status, who) = get(
        &runtime,
        &appliance.uri("search"),
        "_security/_authenticate",
    );
    assert_eq!((status, &who["username"]), (200, &json!("lucid")), "{who}");

    let pid = appliance.pid("search");
    common::signal(pid, nix::sys::signal::Signal::SIGKILL);
    appliance.wait_restarted("search", pid, Duration::from_secs(20));
    let (status, health) = get(&runtime, &appliance.uri("search"), "_cluster/health");
    assert_eq!(
        (status, &health["status"]),
        (200, &json!("green")),
        "{health}"
    );

    let before = appliance.uri("search");
    let refused = appliance.run(&["credentials", "rotate", "search"]);
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && message.contains("stopped"),
        "{message}"
    );
    assert_eq!(appliance.uri("search"), before);
    assert!(
        appliance
            .run(&["datastore", "stop", "search"])
            .status
            .success()
    );
    let rotated = appliance.run(&["credentials", "rotate", "search"]);
    assert!(rotated.status.success(), "{rotated:?}");
    assert!(
        appliance
            .run(&["datastore", "start", "search"])
            .status
            .success()
    );
    appliance.wait_datastore("search", "ready", Duration::from_secs(20));
    let after = appliance.uri("search");
    assert_ne!(after, before);
    assert_eq!(get(&runtime, &after, "").0, 200);
    assert_eq!(get(&runtime, &before, "").0, 401);
    appliance.stop();
}

#[test]
fn requests_that_wait_keep_nobody_else_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call(
        "PUT",
        "/slow",
        json!({"settings": {"refresh_interval": "6s"}}),
    );
    node.call("PUT", "/slow/_doc/first?refresh=true", json!({"n": 0}));
    let base = node.base.clone();
    let waiters: Vec<_> = (0..24)
        .map(|number| {
            let url = format!("{base}/slow/_doc/{number}?refresh=wait_for");
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let client = lucid::http::client().no_proxy().build().unwrap();
                    let request = client.put(url).basic_auth("boss", Some(PASSWORD));
                    let answer = request.json(&json!({"n": 1})).send().await.unwrap();
                    answer.status().as_u16()
                })
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let began = std::time::Instant::now();
    // The guest has no place of its own.
    let search = Some(json!({"query": {"match_all": {}}}).to_string());
    for _ in 0..5 {
        let (status, _) = node
            .send("guest", "POST", "/slow/_search", search.clone())
            .unwrap();
        assert_eq!(status, 200);
        node.call("PUT", "/fast/_doc/1", json!({"n": 1}));
    }
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), 201);
    }
}

//! The search node as a process of its own, over HTTP.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::fmt::Write as _;
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
fn documents_are_searched_sorted_aggregated_and_paged() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call(
        "PUT",
        "/shop",
        json!({"mappings": {"properties": {
            "name": {"type": "text"}, "kind": {"type": "keyword"}, "price": {"type": "double"},
            "day": {"type": "date"},
            "parts": {"type": "nested", "properties": {"id": {"type": "keyword"}, "n": {"type": "integer"}}}
        }}}),
    );
    for (id, name, kind, price, parts) in [
        (
            "1",
            "red apple",
            "fruit",
            1.5,
            json!([{"id": "a", "n": 1}, {"id": "b", "n": 2}]),
        ),
        (
            "2",
            "green apple pie",
            "cake",
            4.0,
            json!([{"id": "a", "n": 2}]),
        ),
        ("3", "pear", "fruit", 2.0, json!([])),
    ] {
        let body = json!({"name": name, "kind": kind, "price": price, "day": format!("2025-01-0{id}"), "parts": parts});
        node.call("PUT", &format!("/shop/_doc/{id}?refresh=true"), body);
    }
    let ids = |query: Value| -> Vec<String> {
        let body = json!({"query": query, "sort": [{"price": "desc"}]});
        let answer = node.call("POST", "/shop/_search", body);
        let hits = answer["hits"]["hits"].as_array().unwrap();
        hits.iter()
            .map(|hit| hit["_id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(json!({"match": {"name": "apple"}})), ["2", "1"]);
    assert_eq!(ids(json!({"match_phrase": {"name": "apple pie"}})), ["2"]);
    assert_eq!(ids(json!({"term": {"kind": "fruit"}})), ["3", "1"]);
    assert_eq!(ids(json!({"range": {"price": {"gt": 1.5}}})), ["2", "3"]);
    assert_eq!(
        ids(json!({"range": {"day": {"gte": "2025-01-02", "lt": "2025-01-02||+1d/d"}}})),
        ["2"]
    );
    assert_eq!(
        ids(json!({"bool": {"must_not": {"term": {"kind": "cake"}}}})),
        ["3", "1"]
    );
    assert_eq!(ids(json!({"prefix": {"kind": "fr"}})), ["3", "1"]);
    assert_eq!(ids(json!({"wildcard": {"kind": "*a*e"}})), ["2"]);
    assert_eq!(ids(json!({"fuzzy": {"name": "peer"}})), ["3"]);
    assert_eq!(
        ids(json!({"query_string": {"query": "name:(apple AND NOT pie)"}})),
        ["1"]
    );
    let both = json!({"nested": {"path": "parts", "query": {"bool": {"must": [
        {"term": {"parts.id": "a"}}, {"term": {"parts.n": 2}}]}}}});
    assert_eq!(ids(both), ["2"]);

    let answer = node.call(
        "POST",
        "/shop/_search",
        json!({"size": 0, "aggs": {"kinds": {"terms": {"field": "kind"}, "aggs": {"cost": {"avg": {"field": "price"}}}}}}),
    );
    let first = &answer["aggregations"]["kinds"]["buckets"][0];
    assert_eq!(
        (&first["key"], &first["doc_count"], &first["cost"]["value"]),
        (&json!("fruit"), &json!(2), &json!(1.75))
    );

    let page = json!({"size": 2, "sort": [{"price": "asc"}], "search_after": [1.5]});
    let hits = node.call("POST", "/shop/_search", page);
    assert_eq!(hits["hits"]["hits"][0]["_id"], "3");
    let first = node.call("POST", "/shop/_search?scroll=1m", json!({"size": 2}));
    let scroll = json!({"scroll": "1m", "scroll_id": first["_scroll_id"]});
    let second = node.call("POST", "/_search/scroll", scroll);
    assert_eq!(second["hits"]["hits"].as_array().unwrap().len(), 1);
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

#[test]
fn bad_input_is_refused_with_its_name_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    let strict = json!({"aliases": {"other-name": {}},
        "mappings": {"dynamic": "strict", "properties": {"n": {"type": "integer"}}}});
    node.call("PUT", "/a", strict);
    for (method, path, body, kind, said) in [
        (
            "PUT",
            "/a/_doc/1",
            json!({"x": 1}),
            "strict_dynamic_mapping_exception",
            "[x]",
        ),
        (
            "PUT",
            "/a/_doc/1",
            json!({"n": "many"}),
            "document_parsing_exception",
            "[n]",
        ),
        (
            "PUT",
            "/A",
            json!({}),
            "invalid_index_name_exception",
            "lowercase",
        ),
        (
            "PUT",
            "/a",
            json!({}),
            "resource_already_exists_exception",
            "[a/",
        ),
        (
            "POST",
            "/a/_search",
            json!({"query": {"knn": {}}}),
            "unsupported_operation_exception",
            "[knn]",
        ),
        (
            "POST",
            "/a/_search",
            json!({"query": {"nonsense": {}}}),
            "parsing_exception",
            "[nonsense]",
        ),
        (
            "POST",
            "/a/_search",
            json!({"size": 20000}),
            "illegal_argument_exception",
            "10000",
        ),
        (
            "GET",
            "/b/_doc/1",
            json!({}),
            "index_not_found_exception",
            "[b]",
        ),
        (
            "DELETE",
            "/*",
            json!({}),
            "illegal_argument_exception",
            "Wildcard",
        ),
        (
            "PUT",
            "/b",
            json!({"settings": {"number_of_shards": 3}}),
            "unsupported_operation_exception",
            "one shard",
        ),
        (
            "PUT",
            "/_slm/policy/x",
            json!({}),
            "unsupported_operation_exception",
            "_slm",
        ),
        (
            "PUT",
            "/b",
            json!({"settings": {"index.lifecycle.parse_origination_date": true}}),
            "unsupported_operation_exception",
            "lifecycle",
        ),
        (
            "PUT",
            "/a/_doc/1?wait_for_active_shards=2",
            json!({"n": 1}),
            "illegal_argument_exception",
            "one copy",
        ),
        (
            "PUT",
            "/a/_doc/1?format=yaml",
            json!({"n": 1}),
            "unsupported_operation_exception",
            "format=yaml",
        ),
        (
            "PUT",
            "/_mapping",
            json!({"properties": {}}),
            "illegal_argument_exception",
            "no handler",
        ),
        (
            "POST",
            "/*/_close",
            json!({}),
            "illegal_argument_exception",
            "name the indices",
        ),
        (
            "POST",
            "/_aliases",
            json!({"actions": [{"remove_index": {"index": "*"}}]}),
            "illegal_argument_exception",
            "name the indices",
        ),
        (
            "POST",
            "/_aliases",
            json!({"actions": [{"remove_index": {"index": "_all"}}]}),
            "illegal_argument_exception",
            "name the indices",
        ),
        (
            "POST",
            "/_aliases",
            json!({"actions": [{"remove_index": {"index": "other-name"}}]}),
            "illegal_argument_exception",
            "matches an alias",
        ),
        (
            "POST",
            "/a/_update/1?retry_on_conflict=3&if_seq_no=0&if_primary_term=1",
            json!({"doc": {"n": 1}}),
            "action_request_validation_exception",
            "can not be retried",
        ),
    ] {
        let (status, found, reason) = node.refused(method, path, body);
        assert_eq!(found, kind, "{method} {path}: {status} {reason}");
        assert!(reason.contains(said), "{method} {path}: {reason}");
    }
    let lines = "{\"index\":{\"_id\":\"1\"}}\n{\"n\":1}\n{\"index\":{\"_id\":\"2\"}}\n{\"x\":1}\n";
    let (status, answer) = node
        .send(
            "boss",
            "POST",
            "/a/_bulk?refresh=true",
            Some(lines.to_owned()),
        )
        .unwrap();
    assert_eq!((status, &answer["errors"]), (200, &json!(true)), "{answer}");
    assert_eq!(answer["items"][0]["index"]["status"], 201);
    assert_eq!(answer["items"][1]["index"]["status"], 400);
    let update = "{\"update\":{\"_id\":\"1\",\"retry_on_conflict\":9,\"if_seq_no\":7,\"if_primary_term\":1}}\n{\"doc\":{\"n\":2}}\n";
    let (_, answer) = node
        .send("boss", "POST", "/a/_bulk", Some(update.to_owned()))
        .unwrap();
    assert_eq!(answer["items"][0]["update"]["status"], 400, "{answer}");
    assert_eq!(node.call("GET", "/a/_count", json!({}))["count"], 1);
}

#[test]
fn readers_read_and_strangers_get_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call("PUT", "/a/_doc/1?refresh=true", json!({"n": 1}));
    let (status, _) = node.send("guest", "GET", "/a/_doc/1", None).unwrap();
    assert_eq!(status, 200);
    let (status, _) = node
        .send("guest", "PUT", "/a/_doc/2", Some("{}".to_owned()))
        .unwrap();
    assert_eq!(status, 403);
    let document = Some("{}".to_owned());
    let (status, _) = node
        .send("guest", "POST", "/a/_doc/_search", document)
        .unwrap();
    assert_eq!(status, 403, "a document named like a search");
    let search = Some(json!({"query": {"match_all": {}}}).to_string());
    let (status, _) = node.send("guest", "POST", "/a/_search", search).unwrap();
    assert_eq!(status, 200);
    let (status, _) = node.send("nobody", "GET", "/", None).unwrap();
    assert_eq!(status, 401);
}

#[test]
fn an_api_key_may_what_its_owner_may_and_makes_no_keys() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call("PUT", "/a/_doc/1?refresh=true", json!({"n": 1}));
    let body = Some(json!({"name": "page"}).to_string());
    let (status, key) = node
        .send("guest", "POST", "/_security/api_key", body.clone())
        .unwrap();
    assert_eq!(status, 200, "{key}");
    let by_key = |method: &str, path: &str, body: Option<String>| {
        node.runtime.block_on(async {
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let key = format!("ApiKey {}", key["encoded"].as_str().unwrap());
            let request = node.http.request(method, format!("{}{path}", node.base));
            let request = request.header("authorization", key);
            let request = request.header("content-type", "application/json");
            let sent = request.body(body.unwrap_or_default()).send().await.unwrap();
            sent.status().as_u16()
        })
    };
    assert_eq!(by_key("GET", "/a/_doc/1", None), 200);
    assert_eq!(by_key("PUT", "/a/_doc/2", Some("{}".to_owned())), 403);
    assert_eq!(by_key("POST", "/_security/api_key", body), 400);
    let id = json!({"ids": [key["id"]]});
    node.call("DELETE", "/_security/api_key", id);
    assert_eq!(by_key("GET", "/a/_doc/1", None), 401);
}

/// Status and body of `path` with the URI that `lucid credentials show search` prints.
fn get(runtime: &tokio::runtime::Runtime, uri: &str, path: &str) -> (u16, Value) {
    runtime.block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
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
fn the_best_hits_are_the_same_whether_all_are_counted_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call(
        "PUT",
        "/a",
        json!({"settings": {"refresh_interval": -1}, "mappings": {"properties": {
            "t": {"type": "text", "fields": {"flat": {"type": "text", "norms": false}}},
            "k": {"type": "keyword"}, "parts": {"type": "nested", "properties": {"n": {"type": "integer"}}}
        }}}),
    );
    // Words of very different frequency, in texts of different length, in several segments, with
    // documents replaced and deleted since.
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    for round in 0..6 {
        let mut lines = String::new();
        for number in 0..900 {
            let length = 1 + random(2 << round);
            let words: Vec<String> = (0..length)
                .map(|_| format!("w{}", random(40) * random(40) / 40))
                .collect();
            let id = if number % 10 == 0 {
                number
            } else {
                round * 900 + number
            };
            let doc = json!({"t": words.join(" "), "k": format!("k{}", number % 2), "parts": [{"n": number}]});
            writeln!(lines, "{{\"index\":{{\"_id\":\"{id}\"}}}}\n{doc}").unwrap();
            if number % 50 == 7 {
                writeln!(lines, "{{\"delete\":{{\"_id\":\"{}\"}}}}", number / 2).unwrap();
            }
        }
        let (status, _) = node
            .send("boss", "POST", "/a/_bulk?refresh=true", Some(lines))
            .unwrap();
        assert_eq!(status, 200);
    }
    let mut pruned = 0;
    for query in [
        json!({"match": {"t": "w0"}}),
        json!({"match": {"t": "w0 w1"}}),
        json!({"match": {"t": "w0 w30 w2 w7"}}),
        json!({"match": {"t.flat": "w0 w2"}}),
        json!({"match": {"t": {"query": "w0 w1", "operator": "and"}}}),
        json!({"match": {"t": {"query": "w0 w1 w2", "minimum_should_match": 2}}}),
        json!({"term": {"k": "k1"}}),
        json!({"bool": {"should": [{"match": {"t": "w0"}}, {"match": {"t": {"query": "w3", "boost": 3}}}]}}),
        json!({"bool": {"must": [{"match": {"t": "w0 w1"}}], "must_not": [{"term": {"k": "k0"}}]}}),
        json!({"match_all": {}}),
    ] {
        for (from, size) in [(0, 10), (5, 40), (0, 700)] {
            let ask = |track: Value| {
                let body = json!({
                    "query": query, "from": from, "size": size, "track_total_hits": track, "_source": false
                });
                node.call("POST", "/a/_search", body)
            };
            let all = ask(json!(true));
            for track in [json!(200), json!(false)] {
                let some = ask(track.clone());
                let close =
                    |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-5;
                let (all, some) = (&all["hits"], &some["hits"]);
                let (wanted, found) = (
                    all["hits"].as_array().unwrap(),
                    some["hits"].as_array().unwrap(),
                );
                assert_eq!(found.len(), wanted.len(), "{query}");
                for (a, b) in wanted.iter().zip(found) {
                    assert!(
                        a["_id"] == b["_id"] && close(&a["_score"], &b["_score"]),
                        "{query} {track}: {a} {b}"
                    );
                }
                assert!(close(&all["max_score"], &some["max_score"]), "{query}");
                let total = all["total"]["value"].as_u64().unwrap();
                if track == json!(200) && total > 200 {
                    assert_eq!(
                        some["total"],
                        json!({"value": 200, "relation": "gte"}),
                        "{query}"
                    );
                    pruned += 1;
                } else if track == json!(200) {
                    assert_eq!(some["total"]["value"], total, "{query}");
                }
            }
        }
    }
    assert!(pruned >= 10, "{pruned}");
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
                    let client = reqwest::Client::builder().no_proxy().build().unwrap();
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

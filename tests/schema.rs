//! `lucid schema` against a real search node.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::search::{Node, PASSWORD};
use common::{LUCID, free_port};
use serde_json::{Value, json};

const ENTITIES: [&str; 8] = [
    "sessions",
    "blocks",
    "users",
    "transactions",
    "manifests",
    "audit-logs",
    "logs",
    "metrics",
];

/// A node, and a root whose `lucid` finds it.
struct Search {
    root: tempfile::TempDir,
    node: Node,
}

/// Runs `lucid` on this root.
fn lucid(root: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(LUCID);
    command.arg("--root").arg(root).args(args);
    command.output().unwrap()
}

/// Writes a file below the root's configuration.
fn write(root: &Path, name: &str, text: &str) {
    let file = root.join("etc/lucid").join(name);
    lucid::fsx::create_dir(file.parent().unwrap(), 0o700).unwrap();
    lucid::fsx::write_atomic(&file, text.as_bytes(), 0o600).unwrap();
}

/// Tells `lucid` where the node is and who may ask it.
fn configure(root: &Path, port: &str) {
    let text = format!(
        "datastore.document.enabled = false\ndatastore.search.enabled = true\ndatastore.search.port = {port}\n"
    );
    write(root, "lucid.toml", &text);
    let login = json!({"user": "boss", "password": PASSWORD});
    let both = json!({"supervisor": login, "client": login}).to_string();
    write(root, "credentials/search.json", &both);
}

impl Search {
    fn ready() -> Self {
        let root = tempfile::tempdir().unwrap();
        let node = Node::start(root.path());
        configure(root.path(), node.base.rsplit(':').next().unwrap());
        Self { root, node }
    }

    fn call(&self, method: &str, path: &str, body: Value) -> Value {
        self.node.call(method, &format!("/{path}"), body)
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.node.try_call("GET", &format!("/{path}"), None);
        let (status, answer) = answer.unwrap();
        assert!(status < 300, "GET {path}: {status} {answer}");
        answer
    }

    fn run(&self, args: &[&str]) -> Output {
        lucid(self.root.path(), args)
    }

    fn apply(&self, more: &[&str]) -> Value {
        let args = [&["--json", "schema", "apply"], more].concat();
        let output = self.run(&args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The index that an alias writes to.
    fn writer(&self, alias: &str) -> String {
        let of_alias = self.get(&format!("_alias/{alias}"));
        let mut indices = of_alias.as_object().unwrap().iter();
        let found = indices.find(|(_, entry)| entry["aliases"][alias]["is_write_index"] == true);
        found.unwrap().0.clone()
    }
}

fn changes(report: &Value) -> Vec<String> {
    let objects = report["objects"]
        .as_array()
        .unwrap_or_else(|| panic!("{report}"));
    let changed = objects
        .iter()
        .filter(|object| !["unchanged", "kept"].contains(&object["change"].as_str().unwrap()));
    changed
        .map(|object| format!("{} {}", object["kind"].as_str().unwrap(), object["name"]))
        .collect()
}

#[test]
fn the_schema_is_applied_once_and_then_nothing_changes() {
    let search = Search::ready();
    let dry = search.apply(&["--dry-run"]);
    assert_eq!(search.get("_ilm/policy"), json!({}), "it was to do nothing");
    let first = search.apply(&["--only", "search"]);
    assert_eq!(changes(&first), changes(&dry));
    // 6 policies, 1 component, 8 templates, 8 indices, 8 aliases for writing, 3 for reading.
    assert_eq!(first["changed"], 34, "{first}");
    let second = search.apply(&[]);
    assert_eq!(second["changed"], 0, "{:?}", changes(&second));
    let output = search.run(&["schema", "apply"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("nothing to change: all 34"), "{text}");
    assert_eq!(text.lines().count(), 35, "{text}");

    for entity in ENTITIES {
        let alias = format!("lucid-{entity}");
        let index = search.writer(&alias);
        let month = index.strip_prefix(&format!("{alias}-")).unwrap();
        assert_eq!((month.len(), &month[4..5]), (7, "."), "{index}");
        let settings = search.get(&format!("{index}/_settings?flat_settings=true"));
        let settings = &settings[&index]["settings"];
        assert_eq!(settings["index.number_of_shards"], "1");
        assert_eq!(settings["index.number_of_replicas"], "0");
        assert_eq!(settings["index.lifecycle.rollover_alias"], alias);
        let explain = search.get(&format!("{alias}/_ilm/explain"));
        let explain = &explain["indices"][&index];
        assert_eq!(explain["managed"], true, "{explain}");
        assert_ne!(explain["step"], "ERROR", "{explain}");
    }
    assert_eq!(search.get("_cluster/health")["status"], "green");
    let policies = search.get("_ilm/policy");
    for name in ["lucid-sessions", "lucid-audit-logs"] {
        let phases = &policies[name]["policy"]["phases"];
        assert_eq!(phases["warm"]["min_age"], "7d");
        assert_eq!(phases["cold"]["min_age"], "30d");
        assert_eq!(phases["delete"]["min_age"], "90d");
    }
    assert_eq!(
        policies["lucid-logs"]["policy"]["phases"]["delete"]["min_age"],
        "30d"
    );
    assert_eq!(
        policies["lucid-permanent"]["policy"]["phases"]["delete"],
        json!(null)
    );
}

#[test]
fn documents_with_the_fields_of_the_reference_are_found_by_them() {
    let search = Search::ready();
    search.apply(&[]);
    let now = "2026-11-26T15:00:00Z";
    for (entity, read, document, query) in [
        (
            "sessions",
            "lucid_sessions",
            json!({"session_id": "s1", "user_id": "u1", "owner_address": "T1", "name": "a first session",
                "status": "completed", "merkle_root": "ab", "created_at": now, "started_at": now,
                "completed_at": now, "size_bytes": 5_000_000_000_i64, "chunk_count": 2,
                "chunks": [{"chunk_id": "c1", "index": 0, "size_bytes": 1, "hash_blake3": "ff"}],
                "metadata": {"original_size": 10, "compression_ratio": 0.5, "client": "x"}}),
            json!({"bool": {"filter": [{"term": {"owner_address": "T1"}}, {"term": {"status": "completed"}},
                {"range": {"started_at": {"gte": "2026-11-01", "lte": "2026-11-30"}}},
                {"nested": {"path": "chunks", "query": {"term": {"chunks.chunk_id": "c1"}}}}],
                "must": [{"match": {"name": "first"}}]}}),
        ),
        (
            "blocks",
            "lucid_blocks",
            json!({"block_height": 7, "block_hash": "h7", "previous_hash": "h6", "merkle_root": "ab",
                "timestamp": now, "miner_id": "m", "nonce": 1, "size": 9,
                "transactions": [{"tx_id": "t1", "tx_type": "anchor", "sender": "u1"}]}),
            json!({"bool": {"filter": [{"range": {"block_height": {"gte": 1, "lte": 9}}}, {"term": {"miner_id": "m"}},
                {"nested": {"path": "transactions", "query": {"term": {"transactions.tx_type": "anchor"}}}}]}}),
        ),
        (
            "users",
            "lucid_users",
            json!({"user_id": "u1", "email": "a@b.org", "username": "ann", "first_name": "Ann", "roles": ["User"],
                "tron_address": "T1", "status": "active", "created_at": now, "last_login": now,
                "hardware_wallet_enabled": true}),
            json!({"bool": {"filter": [{"term": {"email": "a@b.org"}}, {"term": {"roles": "User"}}]}}),
        ),
        (
            "transactions",
            "lucid-transactions",
            json!({"tx_id": "t1", "tx_type": "anchor", "sender": "u1", "timestamp": now, "status": "confirmed",
                "block_height": 7, "payload": {"session_id": "s1", "payout_amount": 1.5}, "fee": 0.1}),
            json!({"term": {"payload.session_id": "s1"}}),
        ),
        (
            "manifests",
            "lucid-manifests",
            json!({"manifest_id": "m1", "session_id": "s1", "user_id": "u1", "merkle_root": "ab", "chunk_count": 1,
                "chunks": [{"chunk_id": "c1", "index": 0, "size": 5, "hash": "ff", "encryption_key": "secret"}],
                "blockchain_anchored": true, "validation_errors": ["none at all"]}),
            json!({"term": {"user_id": "u1"}}),
        ),
        (
            "audit-logs",
            "lucid-audit-logs",
            json!({"log_id": "l1", "user_id": "u1", "action": "login", "result": "success", "timestamp": now,
                "details": {"reason": "a good one"}, "message": "logged in", "ip_address": "10.0.0.1"}),
            json!({"bool": {"filter": [{"term": {"action": "login"}}], "must": [{"match": {"message": "logged"}}]}}),
        ),
        (
            "logs",
            "lucid-logs",
            json!({"timestamp": now, "level": "warn", "service": "api", "message": "slow answer", "user_id": "u1"}),
            json!({"match": {"message": "slow"}}),
        ),
        (
            "metrics",
            "lucid-metrics",
            json!({"timestamp": now, "service": "api", "metric_name": "rps", "value": 1.5, "tags": {"host": "pi"}}),
            json!({"range": {"value": {"gt": 1}}}),
        ),
    ] {
        let path = format!("lucid-{entity}/_doc/1?refresh=true");
        let written = search.call("PUT", &path, document.clone());
        assert_eq!(written["_index"], search.writer(&format!("lucid-{entity}")));
        let found = search.call("POST", &format!("{read}/_search"), json!({"query": query}));
        assert_eq!(found["hits"]["total"]["value"], 1, "{entity}: {found}");
        assert_eq!(found["hits"]["hits"][0]["_source"], document);
    }
    let sort = json!({"sort": [{"started_at": "desc"}], "query": {"match_all": {}}});
    search.call("POST", "lucid_sessions/_search", sort);
    // A key that stands in a manifest is kept and not searched for.
    let secret = json!({"query": {"query_string": {"query": "secret"}}});
    let found = search.call("POST", "lucid-manifests/_search", secret);
    assert_eq!(found["hits"]["total"]["value"], 0);
    assert_eq!(search.apply(&[])["changed"], 0, "documents change nothing");
}

#[test]
fn what_somebody_changed_is_put_right_and_a_field_of_another_type_is_told() {
    let search = Search::ready();
    search.call(
        "PUT",
        "lucid-blocks-2020.01",
        json!({"mappings": {"properties": {"block_height": {"type": "keyword"}}},
            "aliases": {"lucid-blocks": {"is_write_index": true}}}),
    );
    search.call("PUT", "lucid_users", json!({}));
    let output = search.run(&["schema", "apply"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for said in [
        "nothing was changed",
        "index [lucid-blocks-2020.01]: field [block_height] is [keyword] and must be [long]",
        "is_write_index",
        "index [lucid_users] has the name",
    ] {
        assert!(text.contains(said), "{text}");
    }
    assert_eq!(search.get("_ilm/policy"), json!({}), "nothing is half done");
    // The way out that it tells.
    search.call(
        "POST",
        "_aliases",
        json!({"actions": [{"add": {"index": "lucid-blocks-2020.01", "alias": "lucid-blocks", "is_write_index": false}}]}),
    );
    search.call("DELETE", "lucid_users", json!({}));
    search.apply(&[]);
    let both = search.get("_alias/lucid_blocks");
    assert_eq!(
        both.as_object().unwrap().len(),
        2,
        "old blocks are still found"
    );
    assert_eq!(search.apply(&[])["changed"], 0);

    let sessions = search.writer("lucid-sessions");
    search.call(
        "PUT",
        &format!("{sessions}/_settings"),
        json!({"index.refresh_interval": "1s"}),
    );
    search.call(
        "PUT",
        "_ilm/policy/lucid-logs",
        json!({"policy": {"phases": {"delete": {"min_age": "1d", "actions": {"delete": {}}}}}}),
    );
    search.call("DELETE", "_index_template/lucid-users-template", json!({}));
    search.call(
        "DELETE",
        &format!("{sessions}/_alias/lucid_sessions"),
        json!({}),
    );
    // How long logs are kept is not changed unasked.
    let output = search.run(&["schema", "apply", "--dry-run"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let kept = text.lines().find(|line| line.starts_with("kept")).unwrap();
    assert!(
        kept.contains("lucid-logs: it deletes at the age of [1d]"),
        "{kept}"
    );
    let dry = search.apply(&["--dry-run"]);
    assert_eq!(
        (&dry["changed"], changes(&dry).len()),
        (&json!(3), 3),
        "{dry}"
    );
    let mut put_right = changes(&search.apply(&["--reset-policies"]));
    put_right.sort();
    assert_eq!(
        put_right,
        [
            "alias \"lucid_sessions\"".to_owned(),
            format!("index \"{sessions}\""),
            "index template \"lucid-users-template\"".to_owned(),
            "policy \"lucid-logs\"".to_owned(),
        ]
    );
    assert_eq!(search.apply(&[])["changed"], 0);
    // What was rolled over stays behind its aliases.
    search.call(
        "PUT",
        &format!("{sessions}/_doc/1"),
        json!({"session_id": "s"}),
    );
    search.call("POST", "lucid-sessions/_rollover", json!({}));
    assert_eq!(
        search.writer("lucid-sessions"),
        format!("{sessions}-000002")
    );
    assert_eq!(search.apply(&[])["changed"], 0);
}

#[test]
fn without_an_engine_the_cause_and_the_way_out_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let refused = |more: &[&str]| {
        let output = lucid(root, &[&["schema", "apply"], more].concat());
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let off = "datastore.search.enabled = false\ndatastore.document.enabled = false\n";
    write(root, "lucid.toml", off);
    let text = refused(&["--only", "search"]);
    assert!(text.contains("datastore.search.enabled = true"), "{text}");
    let text = refused(&[]);
    assert!(text.contains("document and search are off"), "{text}");
    write(root, "lucid.toml", "datastore.search.enabled = true\n");
    let text = refused(&[]);
    for role in ["document: ", "search: "] {
        assert!(
            text.contains(role) && text.contains("first start"),
            "{text}"
        );
    }
    configure(root, &free_port().to_string());
    let text = refused(&[]);
    assert!(text.contains("does not answer"), "{text}");
    assert!(text.contains("lucid datastore start search"), "{text}");
    assert!(!text.contains("horse"), "{text}");
    let output = lucid(root, &["--json", "schema", "show"]);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["search"].as_array().unwrap().len(), 23);
}

#[test]
fn a_wrong_password_is_told_and_not_shown() {
    let search = Search::ready();
    let login = json!({"user": "boss", "password": "stolen"});
    let both = json!({"supervisor": login, "client": login}).to_string();
    write(search.root.path(), "credentials/search.json", &both);
    let output = search.run(&["schema", "apply"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("401") && text.contains("lucid credentials show"),
        "{text}"
    );
    assert!(!text.contains("stolen"), "{text}");
}

#[test]
fn a_datastore_that_is_away_keeps_no_other_from_its_schema() {
    let search = Search::ready();
    let root = search.root.path();
    let config = std::fs::read_to_string(root.join("etc/lucid/lucid.toml")).unwrap();
    let config = config.replace("document.enabled = false", "document.enabled = true");
    write(root, "lucid.toml", &config);
    let output = search.run(&["schema", "apply"]);
    assert_eq!(output.status.code(), Some(1));
    let (shown, told) = (&output.stdout, &output.stderr);
    let (shown, told) = (
        String::from_utf8_lossy(shown),
        String::from_utf8_lossy(told),
    );
    assert!(shown.contains("objects were created or updated"), "{shown}");
    assert!(told.contains("document: ") && told.contains("first start"));
}

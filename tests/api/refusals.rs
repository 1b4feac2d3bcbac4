//! What cannot be done, and how that is told.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::common::api::{BASE, Served};
use crate::common::said;

#[test]
fn a_datastore_that_is_down_is_told_at_once_and_the_others_go_on() {
    let mut served = Served::ready("");
    said(&served.appliance, &["datastore", "stop", "document"]);
    let began = Instant::now();
    let query = json!({ "collection": "sessions" });
    let refused = served.post("/mongodb/query", &query);
    assert_eq!(refused.code(503), "LUCID_ERR_5001");
    assert!(refused.headers.contains_key("retry-after"));
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    served.get("/stats/redis").is(200);
    let all = served.get("/stats").is(200);
    assert!(
        all["mongodb"].is_null() && all["errors"]["mongodb"].is_string(),
        "{all}"
    );
    said(&served.appliance, &["datastore", "start", "document"]);
    served.post("/mongodb/query", &query).is(200);
    // The cache is restarted under the connection that is open.
    said(&served.appliance, &["datastore", "restart", "cache"]);
    served.get("/stats/redis").is(200);
    said(&served.appliance, &["credentials", "rotate", "cache"]);
    served.get("/cache/keys").is(200);
    served.appliance.stop();
}

#[test]
fn what_is_too_large_malformed_or_nowhere_is_told_in_one_shape() {
    let mut served = Served::ready("api.body_limit = \"64K\"");
    let large =
        json!({ "operation": "set", "key": "lucid:cache:a:1", "value": "x".repeat(70_000) });
    assert_eq!(
        served.post("/redis/cache", &large).code(413),
        "LUCID_ERR_1003"
    );
    assert_eq!(served.get("/nothing").code(404), "LUCID_ERR_4001");
    assert_eq!(
        served.call(Method::PUT, "/health", None).code(405),
        "LUCID_ERR_4001"
    );
    let unknown = json!({ "operation": "get", "key": "lucid:cache:a:1", "extra": 1 });
    assert_eq!(
        served.post("/redis/cache", &unknown).code(422),
        "LUCID_ERR_1001"
    );
    let answer = served.send(
        Some(&served.admin),
        Method::POST,
        &format!("{BASE}/redis/cache"),
        None,
    );
    assert_eq!(answer.code(415), "LUCID_ERR_1004");
    served.appliance.stop();
}

#[test]
fn shards_are_refused_by_name_where_the_store_is_one_node() {
    let mut served = Served::ready("");
    let status = served.get("/sharding/status").is(200);
    assert_eq!(
        (&status["enabled"], &status["shards"]),
        (&json!(false), &json!([]))
    );
    let by = |kind: &str| json!({ "collection": "sessions", "shard_key": [{ "field": "session_id", "kind": kind }] });
    for (path, body) in [
        ("/sharding/enable", json!({})),
        ("/sharding/shard-collection", by("hashed")),
    ] {
        let refused = served.post(path, &body).is(409);
        assert_eq!(refused["error"]["code"], "LUCID_ERR_4004");
        let told = refused["error"]["message"].as_str().unwrap();
        assert!(
            told.contains("shards") && told.contains("one node"),
            "{told}"
        );
    }
    let mut hashed = by("hashed");
    hashed["unique"] = json!(true);
    for bad in [by("text"), hashed] {
        let refused = served.post("/sharding/shard-collection", &bad);
        assert_eq!(refused.code(422), "LUCID_ERR_1001");
    }
    let mut nowhere = by("asc");
    nowhere["collection"] = json!("nothing");
    let refused = served.post("/sharding/shard-collection", &nowhere);
    assert_eq!(refused.code(404), "LUCID_ERR_5002");
    served.appliance.stop();
}

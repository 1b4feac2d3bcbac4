//! The HTTP API against real datastores.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::time::{Duration, Instant};

use common::api::{BASE, Served};
use common::network::Neighbour;
use common::said;
use reqwest::Method;
use serde_json::{Value, json};

fn session(id: &str, user: &str) -> Value {
    json!({
        "session_id": id, "user_id": user, "status": "active",
        "created_at": "2026-11-27T12:00:00Z", "metadata": { "note": "größe" },
    })
}

#[test]
fn documents_are_checked_written_found_changed_and_removed() {
    let mut served = Served::ready("");
    let put = json!({ "documents": [session("s1", "u1"), session("s2", "u2")] });
    let answer = served.post("/documents/sessions", &put).is(201);
    assert_eq!(answer["ids"], json!(["s1", "s2"]));
    assert_eq!(
        served.post("/documents/sessions", &put).code(409),
        "LUCID_ERR_4002"
    );
    let bad = json!({ "documents": [{ "session_id": 7, "status": "lost" }] });
    let refused = served.post("/documents/sessions", &bad).is(422);
    let rules: Vec<&str> = refused["error"]["details"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["path"].as_str().unwrap())
        .collect();
    assert_eq!(rules, ["session_id", "status", "user_id"]);
    assert_eq!(
        served.post("/documents/nothing", &put).code(404),
        "LUCID_ERR_5002"
    );

    let query = json!({
        "collection": "sessions", "filter": { "created_at": { "$gte": "2026-11-01T00:00:00Z" } },
        "fields": ["session_id"], "sort": [{ "field": "session_id", "order": "desc" }], "limit": 1,
    });
    let found = served.post("/mongodb/query", &query).is(200);
    assert_eq!(found["count"], 1);
    assert_eq!(found["documents"][0]["session_id"], "s2");
    let pipeline = json!({
        "collection": "sessions",
        "pipeline": [{ "$group": { "_id": "$status", "n": { "$sum": 1 } } }],
    });
    let found = served.post("/mongodb/query", &pipeline).is(200);
    assert_eq!(found["documents"][0], json!({ "_id": "active", "n": 2 }));
    for bad in [
        json!({ "collection": "sessions", "filter": { "$where": "sleep(1)" } }),
        json!({ "collection": "sessions", "pipeline": [{ "$out": "users" }] }),
        json!({ "collection": "sessions", "filter": {}, "pipeline": [] }),
        json!({ "collection": "sessions", "limit": 0 }),
    ] {
        assert_eq!(
            served.post("/mongodb/query", &bad).code(422),
            "LUCID_ERR_1001"
        );
    }
    let secret =
        json!({ "collection": "users", "filter": { "password_hash": { "$regex": "^a" } } });
    assert_eq!(
        served.post("/mongodb/query", &secret).code(403),
        "LUCID_ERR_2003"
    );

    let update = json!({ "filter": { "session_id": "s1" }, "update": { "$set": { "status": "Completed" } } });
    let changed = served
        .call(Method::PATCH, "/documents/sessions", Some(&update))
        .is(200);
    assert_eq!(
        (changed["matched"].as_u64(), changed["modified"].as_u64()),
        (Some(1), Some(1))
    );
    assert_eq!(
        served.get("/documents/sessions/s1").is(200)["status"],
        "completed"
    );
    assert_eq!(
        served
            .call(Method::DELETE, "/documents/sessions/s1", None)
            .code(400),
        "LUCID_ERR_1002"
    );
    served
        .call(Method::DELETE, "/documents/sessions/s1?confirm=true", None)
        .is(200);
    assert_eq!(
        served.get("/documents/sessions/s1").code(404),
        "LUCID_ERR_4001"
    );

    let stats = served.get("/mongodb/stats").is(200);
    assert!(stats["collections"].as_u64().unwrap() >= 15, "{stats}");
    served.appliance.stop();
}

#[test]
fn sessions_values_and_limits_of_the_cache_do_what_they_say() {
    let mut served = Served::ready("");
    let set = json!({ "operation": "set", "key": "lucid:cache:manifest:1", "value": { "a": [1] }, "ttl": 60 });
    assert_eq!(served.post("/redis/cache", &set).is(200)["ttl"], 60);
    let get = json!({ "operation": "get", "key": "lucid:cache:manifest:1" });
    assert_eq!(
        served.post("/redis/cache", &get).is(200)["value"],
        json!({ "a": [1] })
    );
    let bad = json!({ "operation": "get", "key": "other:1" });
    assert_eq!(
        served.post("/redis/cache", &bad).code(422),
        "LUCID_ERR_1001"
    );

    let make =
        json!({ "session_id": "0123456789abcdef", "user_id": "u1", "data": { "ip": "::1" } });
    served.post("/redis/session", &make).is(201);
    assert_eq!(
        served.post("/redis/session", &make).code(409),
        "LUCID_ERR_4002"
    );
    let found = served.get("/redis/session/0123456789abcdef").is(200);
    assert_eq!(
        (&found["user_id"], &found["data"]["ip"]),
        (&json!("u1"), &json!("::1"))
    );
    assert!(found["ttl"].as_u64().unwrap() <= 900);
    let extend = json!({ "ttl": 5000 });
    let path = "/redis/session/0123456789abcdef";
    let longer = served.call(Method::PATCH, path, Some(&extend)).is(200);
    assert!(longer["ttl"].as_u64().unwrap() > 4000, "{longer}");
    let shown = served.get("/cache/sessions").is(200);
    assert_eq!(shown[0]["session"], "…cdef");
    served.call(Method::DELETE, path, None).is(204);
    assert_eq!(served.get(path).code(404), "LUCID_ERR_4001");

    let call = json!({ "kind": "user", "identifier": "u1", "limit": 3, "window": 60 });
    let allowed: Vec<bool> = (0..5)
        .map(|_| served.post("/redis/rate-limit", &call).is(200)["allowed"] == true)
        .collect();
    assert_eq!(allowed, [true, true, true, false, false]);
    let limits = served.get("/cache/rate-limits").is(200);
    assert_eq!(
        (&limits[0]["identifier"], &limits[0]["count"]),
        (&json!("u1"), &json!(3))
    );

    let keys = served.get("/cache/keys?pattern=lucid:cache:*").is(200);
    assert_eq!(keys["keys"][0]["key"], "lucid:cache:manifest:1");
    // A key that is not the platform's stays.
    let mut cache = served.appliance.redis();
    let () = redis::cmd("SET")
        .arg("mine")
        .arg("1")
        .query(&mut cache)
        .unwrap();
    assert_eq!(
        served.post("/cache/flush", &json!({})).code(400),
        "LUCID_ERR_1002"
    );
    let flushed = served.post("/cache/flush?confirm=true", &json!({})).is(200);
    assert!(flushed["keys_deleted"].as_u64().unwrap() >= 2, "{flushed}");
    let mine: String = redis::cmd("GET").arg("mine").query(&mut cache).unwrap();
    assert_eq!(mine, "1");
    served.appliance.stop();
}

#[test]
fn searches_find_what_was_indexed() {
    let mut served = Served::ready("");
    let uri = served.appliance.uri("search");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let access: lucid::store::Access = std::sync::Arc::new(move |_| Ok(uri.clone()));
        let stores = lucid::store::Stores::new(&access);
        let documents = (0..3).map(|n| {
            let Value::Object(mut fields) = session(&format!("s{n}"), "u1") else {
                unreachable!()
            };
            fields.remove("metadata");
            fields.insert("name".to_owned(), format!("recording number {n}").into());
            (format!("s{n}"), fields)
        });
        let documents: Vec<_> = documents.collect();
        let done = stores
            .search
            .index("lucid-sessions", &documents)
            .await
            .unwrap();
        assert_eq!((done.done, done.failed.len()), (3, 0), "{done:?}");
        stores.search.refresh("lucid-sessions").await.unwrap();
    });
    let search = json!({ "query": "recording", "filters": { "user_id": "u1" }, "size": 2 });
    let found = served.post("/elasticsearch/search", &search).is(200);
    assert_eq!(found["results"]["total"], 3, "{found}");
    assert_eq!(found["results"]["hits"].as_array().unwrap().len(), 2);
    let found = served
        .get("/search/sessions?user_id=u1&query=number&size=10")
        .is(200);
    assert_eq!(found["results"]["total"], 3);
    let analytics = served.get("/elasticsearch/analytics").is(200);
    let buckets = &analytics["results"]["sessions_by_status"]["buckets"];
    assert_eq!(buckets[0], json!({ "key": "active", "doc_count": 3 }));
    let values = served
        .get("/search/suggest?field=session_id&query=s")
        .is(200);
    assert_eq!(values, json!(["s0", "s1", "s2"]));
    assert!(
        !served
            .get("/search/indices")
            .is(200)
            .as_array()
            .unwrap()
            .is_empty()
    );
    for bad in [
        "/search/sessions?size=0",
        "/search/sessions?from_date=yesterday",
    ] {
        assert_eq!(served.get(bad).code(422), "LUCID_ERR_1001");
    }
    assert_eq!(served.get("/search/nothing").code(404), "LUCID_ERR_4001");
    let people = format!("{BASE}/search/users");
    let refused = served.send(Some(&served.reader), Method::GET, &people, None);
    assert_eq!(refused.code(403), "LUCID_ERR_2003");
    served.appliance.stop();
}

#[test]
fn who_may_what_is_kept_and_guesses_are_limited() {
    let mut served = Served::ready("");
    let path = |path: &str| format!("{BASE}{path}");
    let get = |key: Option<&str>, to: &str| served.send(key, Method::GET, to, None);
    // What is open.
    for open in [
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/",
        &path("/health/ping"),
    ] {
        assert_eq!(get(None, open).status, 200, "{open}");
    }
    let stranger = get(None, &path("/health"));
    assert_eq!(stranger.code(401), "LUCID_ERR_2001");
    assert!(stranger.headers.contains_key("www-authenticate"));
    assert!(stranger.headers.contains_key("x-request-id"));
    let (reader, writer) = (Some(served.reader.as_str()), Some(served.writer.as_str()));
    get(reader, &path("/health")).is(200);
    assert!(
        get(reader, "/metrics")
            .text
            .contains("lucid_datastore_up{datastore=\"cache\"} 1")
    );
    let put = json!({ "documents": [session("s1", "u1")] });
    let insert = |key| served.send(key, Method::POST, &path("/documents/sessions"), Some(&put));
    assert_eq!(insert(reader).code(403), "LUCID_ERR_2002");
    insert(writer).is(201);
    let drop = |key| {
        served.send(
            key,
            Method::DELETE,
            &path("/collections/sessions?confirm=true"),
            None,
        )
    };
    assert_eq!(drop(writer).code(403), "LUCID_ERR_2002");

    // A token may what its key may, or less.
    let token = served.send(
        writer,
        Method::POST,
        &path("/auth/token"),
        Some(&json!({ "role": "reader" })),
    );
    let token = token.is(200)["access_token"].as_str().unwrap().to_owned();
    get(Some(&token), &path("/health")).is(200);
    assert_eq!(insert(Some(&token)).code(403), "LUCID_ERR_2002");
    let more = served.send(
        reader,
        Method::POST,
        &path("/auth/token"),
        Some(&json!({ "role": "admin" })),
    );
    assert_eq!(more.code(403), "LUCID_ERR_2003");

    // A key that was revoked is none from then on.
    said(&served.appliance, &["api", "key", "revoke", "reader"]);
    assert_eq!(get(reader, &path("/health")).code(401), "LUCID_ERR_2001");
    let mut last = get(Some("lucid_wrong"), &path("/health"));
    for _ in 0..12 {
        last = get(Some("lucid_wrong"), &path("/health"));
    }
    assert_eq!(last.code(429), "LUCID_ERR_3002");
    assert!(last.headers.contains_key("retry-after"));

    // On the socket root is known without a key.
    let output = std::process::Command::new("curl")
        .args(["-s", "--unix-socket"])
        .arg(served.appliance.root().join("run/lucid/lucid.sock"))
        .arg(format!("http://lucid{}", path("/health")))
        .output()
        .unwrap();
    let health: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(health["services"]["mongodb"]["status"], "healthy");
    served.appliance.stop();
}

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
fn backups_volumes_and_jobs_are_shown_and_begun() {
    let mut served = Served::ready("");
    let status = served.get("/backup/status").is(200);
    assert!(status["running"].is_array(), "{status}");
    assert_eq!(
        served
            .post("/backups/restore", &json!({ "backup_id": "latest" }))
            .code(400),
        "LUCID_ERR_1002"
    );
    served.get("/volumes").is(200);
    served.get("/jobs").is(200);
    assert_eq!(served.get("/jobs/none").code(404), "LUCID_ERR_4001");
    for bad in ["../../etc", "..%2F..%2Fetc"] {
        let answer = served.get(&format!("/volumes/{bad}"));
        assert!(answer.status == 404 || answer.status == 422, "{answer:?}");
    }
    let out = served.post("/volumes/redis/backup?output_path=../../etc/x", &json!({}));
    assert_eq!(out.code(422), "LUCID_ERR_1001");
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

/// Address of this machine for another one: one of those for documentation (RFC 5737).
const HERE: &str = "203.0.113.1";

#[test]
fn over_the_network_the_api_speaks_tls_alone_and_on_the_board_both() {
    let other = Neighbour::new(HERE, "203.0.113.2");
    let listen = "api.listen = [\"0.0.0.0\"]\n";
    let mut served = Served::ready(&format!("{listen}api.tls = \"generated\"\n"));
    let certificate = "etc/lucid/credentials/api-certificate/tls/certificate.pem";
    let certificate = served.appliance.root().join(certificate);
    let trust = ["--cacert", certificate.to_str().unwrap()];
    let key = format!("authorization: Bearer {}", served.reader);
    let far = format!("{HERE}:{}{BASE}/health", served.port);
    let https = format!("https://{far}");
    let (well, text) = other.curl(&[trust[0], trust[1], "--header", &key, &https]);
    assert!(well && text.contains("\"healthy\""), "{text}");
    let (well, text) = other.curl(&[trust[0], trust[1], &https]);
    assert!(well && text.contains("LUCID_ERR_2001"), "{text}");
    let (well, text) = other.curl(&["--header", &key, &https]);
    assert!(!well && text.contains("certificate"), "{text}");
    let (well, text) = other.curl(&["--header", &key, &format!("http://{far}")]);
    assert!(well && text.contains("speaks TLS"), "{text}");
    served.get("/health").is(200);
    served.appliance.stop();

    // Keys never cross a network in the clear.
    let config = served.appliance.config_file();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("api.tls = \"generated\"\n", "")).unwrap();
    let output = served.appliance.run(&["config", "check"]);
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("api.tls = \"generated\""), "{told}");
}

/// How many documents behind an alias match.
fn total(served: &Served, path: &str) -> u64 {
    served.get(path).is(200)["results"]["total"]
        .as_u64()
        .unwrap()
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn the_search_indices_follow_the_documents_over_restarts_and_can_be_made_anew() {
    let mut served = Served::ready("");
    let many: Vec<Value> = (0..700).map(|n| session(&format!("s{n}"), "u1")).collect();
    let put = json!({ "documents": many });
    served.post("/documents/sessions", &put).is(201);
    wait_for("all are found", || {
        total(&served, "/search/sessions?user_id=u1") == 700
    });
    let update =
        json!({ "filter": { "session_id": "s7" }, "update": { "$set": { "user_id": "u2" } } });
    served
        .call(Method::PATCH, "/documents/sessions", Some(&update))
        .is(200);
    served
        .call(Method::DELETE, "/documents/sessions/s8?confirm=true", None)
        .is(200);
    wait_for("changes arrive", || {
        total(&served, "/search/sessions?user_id=u2") == 1
            && total(&served, "/search/sessions?user_id=u1") == 698
    });
    let feed = served.appliance.status()["feed"].clone();
    assert_eq!(feed["state"], "following", "{feed}");
    assert!(feed["lag_seconds"].as_f64().unwrap() < 30.0, "{feed}");
    // Its place is noted within seconds; what comes while nobody follows is taken in later.
    std::thread::sleep(Duration::from_secs(6));
    let uri = served.appliance.uri("document");
    served.appliance.stop();
    drop(uri);
    served.appliance.start();
    served.appliance.wait_state("ready");
    served
        .post(
            "/documents/sessions",
            &json!({ "documents": [session("later", "u3")] }),
        )
        .is(201);
    wait_for("what came later is found", || {
        total(&served, "/search/sessions?user_id=u3") == 1
    });
    assert_eq!(total(&served, "/search/sessions"), 700);

    // What is in the index and is no document goes; what is missing comes.
    let search = served.appliance.uri("search");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let access: lucid::store::Access = std::sync::Arc::new(move |_| Ok(search.clone()));
        let stores = lucid::store::Stores::new(&access);
        let Value::Object(stray) = session("stray", "u4") else {
            unreachable!()
        };
        stores
            .search
            .index("lucid-sessions", &[("stray".to_owned(), stray)])
            .await
            .unwrap();
        stores.search.refresh("lucid-sessions").await.unwrap();
    });
    assert_eq!(total(&served, "/search/sessions?user_id=u4"), 1);
    let told = said(&served.appliance, &["search", "reindex", "sessions"]);
    assert!(told.contains("sessions: 700 documents"), "{told}");
    wait_for("the stray is gone", || {
        total(&served, "/search/sessions?user_id=u4") == 0
    });
    assert_eq!(total(&served, "/search/sessions"), 700);
    served.appliance.stop();
}

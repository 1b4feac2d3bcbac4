//! Documents, values, searches, backups and volumes.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::api::{BASE, Served};
use crate::session;

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

//! The search indices follow the documents.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::api::Served;
use crate::common::said;
use crate::session;

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

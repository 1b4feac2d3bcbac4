//! `lucid schema` against the real document store.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use common::{Appliance, Options, failed, said};
use mongodb::bson::{DateTime, Document, doc};
use serde_json::Value;

fn block<T>(appliance: &Appliance, work: impl AsyncFnOnce(mongodb::Database) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let uri = appliance.uri("document");
    runtime.block_on(async {
        let client = mongodb::Client::with_uri_str(uri).await.unwrap();
        work(client.database("lucid")).await
    })
}

fn schema(appliance: &Appliance, args: &[&str]) -> Value {
    let args = [&["--json", "schema"], args, &["--only", "document"]].concat();
    serde_json::from_str(&said(appliance, &args)).unwrap()
}

#[test]
fn collections_validators_and_indexes_are_made_once_checked_and_never_dropped() {
    let mut appliance = Appliance::ready(Options::document());
    let dry = schema(&appliance, &["apply", "--dry-run"]);
    assert_eq!(dry["changed"], 15 + 15 + 73);
    let told = failed(&appliance, &["schema", "check", "--only", "document"]);
    assert!(told.contains("would be created"), "{told}");
    let made = schema(&appliance, &["apply"]);
    assert_eq!(made["changed"], 15 + 15 + 73, "{made}");
    assert_eq!(made["failed"], 0, "{made}");
    let again = schema(&appliance, &["apply"]);
    assert_eq!(again["changed"], 0, "{again}");
    said(&appliance, &["schema", "check", "--only", "document"]);

    // The store holds to the rules itself, whoever writes.
    block(&appliance, async |database| {
        let users = database.collection::<Document>("users");
        let now = DateTime::now();
        let user = doc! {
            "user_id": "1", "email": "a@b.org", "created_at": now, "updated_at": now,
            "status": "active",
        };
        users.insert_one(&user).await.unwrap();
        let twice = users.insert_one(&user).await.unwrap_err().to_string();
        assert!(
            twice.contains("11000") || twice.contains("duplicate"),
            "{twice}"
        );
        for bad in [
            doc! { "email": "nobody" },
            doc! { "status": "lost" },
            doc! { "user_id": 7 },
        ] {
            let mut other = user.clone();
            other.insert("user_id", "2");
            other.insert("email", "c@d.org");
            other.extend(bad.clone());
            let refused = users.insert_one(&other).await.unwrap_err().to_string();
            assert!(refused.contains("121"), "{bad}: {refused}");
        }
        // Two without an address are no duplicates of each other.
        for id in ["3", "4"] {
            let mut other = user.clone();
            other.extend(
                doc! { "user_id": id, "email": format!("{id}@d.org"), "tron_address": null },
            );
            users.insert_one(&other).await.unwrap();
        }
    });

    // Drift is told and repaired as far as nothing is dropped for it.
    block(&appliance, async |database| {
        let command = doc! { "collMod": "users", "validationLevel": "off" };
        database.run_command(command).await.unwrap();
        let blocks = database.collection::<Document>("blocks");
        blocks.drop_index("blocks_timestamp_desc").await.unwrap();
        blocks.drop_index("blocks_miner_id_asc").await.unwrap();
        let other = doc! { "key": { "timestamp": 1 }, "name": "blocks_timestamp_desc" };
        let own = doc! { "key": { "extra_data": 1 }, "name": "mine" };
        let command = doc! { "createIndexes": "blocks", "indexes": [other, own] };
        database.run_command(command).await.unwrap();
    });
    let told = failed(&appliance, &["schema", "check", "--only", "document"]);
    for wanted in [
        "updated    validator           users",
        "drifted    index               blocks_timestamp_desc: key is another",
        "created    index               blocks_miner_id_asc",
        "drifted    index               mine: is none of Lucid's",
    ] {
        assert!(told.contains(wanted), "{wanted} is missing in:\n{told}");
    }
    let repaired = schema(&appliance, &["apply"]);
    assert_eq!(repaired["changed"], 2, "{repaired}");
    assert_eq!(repaired["another_way"], 2, "{repaired}");
    block(&appliance, async |database| {
        let users = database.collection::<Document>("users");
        assert_eq!(users.count_documents(doc! {}).await.unwrap(), 3);
        let blocks = database.collection::<Document>("blocks");
        let names = blocks.list_index_names().await.unwrap();
        assert!(names.contains(&"mine".to_owned()), "{names:?}");
    });
    appliance.stop();
}

#[test]
fn one_object_that_is_refused_keeps_no_other_from_being_made() {
    let mut appliance = Appliance::ready(Options::document());
    block(&appliance, async |database| {
        // Two sessions of one id: the unique index cannot be made.
        let sessions = database.collection::<Document>("sessions");
        let two = [doc! { "session_id": "1" }, doc! { "session_id": "1" }];
        sessions.insert_many(two).await.unwrap();
    });
    let args = ["--json", "schema", "apply", "--only", "document"];
    let output = appliance.run(&args);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["failed"], 1, "{report}");
    assert_eq!(report["changed"], 14 + 15 + 72, "{report}");
    let objects = report["objects"].as_array().unwrap();
    let refused = objects
        .iter()
        .find(|one| one["change"] == "failed")
        .unwrap();
    assert_eq!(refused["name"], "sessions_session_id_unique");
    appliance.stop();
}

#[test]
fn the_schema_is_shown_without_an_engine() {
    let dir = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(common::LUCID)
        .arg("--root")
        .arg(dir.path())
        .args(["--json", "schema", "show", "--only", "document"])
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["document"].as_array().unwrap().len(), 15);
}

//! Documents (15).

use lucid::store::StoreError;
use lucid::store::documents::{NewIndex, Query, Update};
use mongodb::bson::Bson;
use serde_json::json;

use super::{Bench, fields, session};

fn query(filter: serde_json::Value) -> Query {
    Query {
        filter: fields(filter),
        limit: 100,
        ..Query::default()
    }
}

#[test]
fn a_document_gets_its_id_and_its_times_and_is_read_back() {
    Bench::documents().run(async |stores, _| {
        let user = fields(json!({ "email": "Someone@Example.org", "status": "active" }));
        let ids = stores.documents.insert("users", &[user]).await.unwrap();
        let found = stores.documents.get("users", &ids[0]).await.unwrap();
        assert_eq!(found.get_str("email").unwrap(), "someone@example.org");
        assert!(
            found.get_datetime("created_at").is_ok() && found.get_datetime("updated_at").is_ok()
        );
    });
}

#[test]
fn every_broken_rule_is_told_and_nothing_is_written() {
    Bench::documents().run(async |stores, _| {
        let good = session("s1", "u1");
        let bad = fields(
            json!({ "session_id": 7, "user_id": "u", "status": "lost", "created_at": "now" }),
        );
        let error = stores
            .documents
            .insert("sessions", &[good, bad])
            .await
            .unwrap_err();
        let StoreError::Invalid(rules) = error else {
            panic!("{error}")
        };
        let paths: Vec<&str> = rules.iter().map(|rule| rule.path.as_str()).collect();
        assert_eq!(paths, ["session_id", "status", "created_at"]);
        assert_eq!(
            stores
                .documents
                .count("sessions", &fields(json!({})))
                .await
                .unwrap(),
            0
        );
    });
}

#[test]
fn a_second_document_of_one_id_is_refused() {
    Bench::documents().run(async |stores, _| {
        stores
            .documents
            .insert("sessions", &[session("s1", "u1")])
            .await
            .unwrap();
        let error = stores
            .documents
            .insert("sessions", &[session("s1", "u2")])
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Exists {
                    what: "document",
                    ..
                }
            ),
            "{error}"
        );
    });
}

#[test]
fn documents_are_found_by_typed_filters_in_order_and_in_part() {
    Bench::documents().run(async |stores, _| {
        let many: Vec<_> = (0..20)
            .map(|n| {
                let mut one = session(&format!("s{n:02}"), &format!("u{}", n % 2));
                one.insert(
                    "created_at".into(),
                    format!("2026-11-{:02}T00:00:00Z", n + 1).into(),
                );
                one.insert("chunk_count".into(), n.into());
                one
            })
            .collect();
        stores.documents.insert("sessions", &many).await.unwrap();
        let wanted = Query {
            fields: vec!["session_id".into()],
            sort: vec![("chunk_count".into(), -1)],
            skip: 1,
            limit: 3,
            ..query(json!({ "user_id": "u1", "created_at": { "$lt": "2026-11-19T00:00:00Z" } }))
        };
        let found = stores.documents.find("sessions", &wanted).await.unwrap();
        let ids: Vec<&str> = found
            .iter()
            .map(|one| one.get_str("session_id").unwrap())
            .collect();
        assert_eq!(ids, ["s15", "s13", "s11"]);
        assert!(!found[0].contains_key("user_id"));
    });
}

#[test]
fn an_update_tells_what_matched_and_what_changed() {
    Bench::documents().run(async |stores, _| {
        stores
            .documents
            .insert("sessions", &[session("s1", "u1"), session("s2", "u1")])
            .await
            .unwrap();
        let update = |status: &str, many| Update {
            filter: fields(json!({ "user_id": "u1" })),
            update: fields(json!({ "$set": { "status": status } })),
            many,
            upsert: false,
        };
        let done = stores
            .documents
            .update("sessions", &update("paused", true))
            .await
            .unwrap();
        assert_eq!((done.matched, done.modified, done.inserted), (2, 2, 0));
        let one = stores
            .documents
            .update("sessions", &update("completed", false))
            .await
            .unwrap();
        assert_eq!((one.matched, one.modified), (1, 1));
    });
}

#[test]
fn an_update_that_breaks_a_rule_or_the_identity_is_refused() {
    Bench::documents().run(async |stores, _| {
        stores
            .documents
            .insert("sessions", &[session("s1", "u1")])
            .await
            .unwrap();
        for update in [
            json!({ "$set": { "status": "lost" } }),
            json!({ "$set": { "session_id": "s2" } }),
            json!({ "$unset": { "user_id": "" } }),
            json!({ "$rename": { "status": "other" } }),
        ] {
            let wanted = Update {
                filter: fields(json!({ "session_id": "s1" })),
                update: fields(update),
                ..Update::default()
            };
            let error = stores
                .documents
                .update("sessions", &wanted)
                .await
                .unwrap_err();
            assert!(matches!(error, StoreError::Invalid(_)), "{error}");
        }
    });
}

#[test]
fn an_upsert_makes_the_document_once() {
    Bench::documents().run(async |stores, _| {
        let wanted = Update {
            filter: fields(json!({ "key": "max_sessions_per_user" })),
            update: fields(json!({ "$set": { "value": 7, "description": "d" } })),
            many: false,
            upsert: true,
        };
        let first = stores
            .documents
            .update("system_config", &wanted)
            .await
            .unwrap();
        let second = stores
            .documents
            .update("system_config", &wanted)
            .await
            .unwrap();
        assert_eq!((first.inserted, second.inserted, second.matched), (1, 0, 1));
    });
}

#[test]
fn one_or_all_that_match_are_removed_and_never_everything_by_mistake() {
    Bench::documents().run(async |stores, _| {
        let many: Vec<_> = (0..5).map(|n| session(&format!("s{n}"), "u1")).collect();
        stores.documents.insert("sessions", &many).await.unwrap();
        let all = fields(json!({ "user_id": "u1" }));
        assert_eq!(
            stores
                .documents
                .delete("sessions", &all, false)
                .await
                .unwrap(),
            1
        );
        let error = stores
            .documents
            .delete("sessions", &fields(json!({})), true)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("every document"), "{error}");
        assert_eq!(
            stores
                .documents
                .delete("sessions", &all, true)
                .await
                .unwrap(),
            4
        );
    });
}

#[test]
fn an_aggregation_counts_and_cannot_write_or_show_secrets() {
    Bench::documents().run(async |stores, _| {
        let user = |n: i32| {
            fields(json!({ "email": format!("u{n}@b.org"), "status": "active", "password_hash": format!("h{n}") }))
        };
        stores.documents.insert("users", &[user(1), user(2)]).await.unwrap();
        let stages = [fields(json!({ "$group": { "_id": "$status", "n": { "$sum": 1 }, "hashes": { "$push": "$password_hash" } } }))];
        let found = stores.documents.aggregate("users", &stages, 100).await.unwrap();
        assert_eq!(found[0].get("n").and_then(Bson::as_i32), Some(2));
        assert!(found[0].get_array("hashes").unwrap().is_empty());
        let writes = [fields(json!({ "$out": "sessions" }))];
        assert!(stores.documents.aggregate("users", &writes, 100).await.is_err());
    });
}

#[test]
fn secrets_are_neither_answered_nor_asked_for() {
    Bench::documents().run(async |stores, _| {
        let user = fields(json!({ "user_id": "u1", "email": "a@b.org", "status": "active", "password_hash": "h" }));
        stores.documents.insert("users", &[user]).await.unwrap();
        assert!(!stores.documents.get("users", "u1").await.unwrap().contains_key("password_hash"));
        let found = stores.documents.find("users", &query(json!({}))).await.unwrap();
        assert!(!found[0].contains_key("password_hash"));
        let asked = query(json!({ "password_hash": { "$gt": "a" } }));
        let error = stores.documents.find("users", &asked).await.unwrap_err();
        assert!(matches!(error, StoreError::Forbidden(_)), "{error}");
    });
}

#[test]
fn operators_that_run_code_are_refused() {
    Bench::documents().run(async |stores, _| {
        for filter in [
            json!({ "$where": "sleep(5000)" }),
            json!({ "status": { "$where": "1" } }),
            json!({ "$expr": { "$function": { "body": "f", "args": [], "lang": "js" } } }),
        ] {
            let error = stores
                .documents
                .find("sessions", &query(filter))
                .await
                .unwrap_err();
            assert!(matches!(error, StoreError::Invalid(_)), "{error}");
        }
    });
}

#[test]
fn collections_are_made_renamed_counted_and_removed() {
    Bench::documents().run(async |stores, _| {
        let documents = &stores.documents;
        documents
            .create_collection("notes", None, None)
            .await
            .unwrap();
        let twice = documents
            .create_collection("notes", None, None)
            .await
            .unwrap_err();
        assert!(matches!(twice, StoreError::Exists { .. }), "{twice}");
        documents
            .rename_collection("notes", "letters", false)
            .await
            .unwrap();
        assert!(documents.collection("notes").await.is_err());
        assert_eq!(documents.counts_of("letters").await.unwrap().documents, 0);
        documents.drop_collection("letters").await.unwrap();
        assert!(documents.drop_collection("letters").await.is_err());
        for bad in ["system.users", "a/b", "", "$x"] {
            assert!(
                documents.create_collection(bad, None, None).await.is_err(),
                "{bad}"
            );
        }
    });
}

#[test]
fn indexes_are_listed_made_rebuilt_and_removed_but_not_that_of_the_id() {
    Bench::documents().run(async |stores, _| {
        let documents = &stores.documents;
        assert_eq!(documents.indexes("sessions").await.unwrap().len(), 8);
        let wanted = NewIndex {
            keys: vec![
                ("user_id".into(), Bson::Int32(1)),
                ("status".into(), Bson::Int32(-1)),
            ],
            ..NewIndex::default()
        };
        let name = documents.create_index("sessions", &wanted).await.unwrap();
        assert_eq!(name, "user_id_1_status_-1");
        assert_eq!(documents.reindex("sessions").await.unwrap(), 8);
        assert_eq!(documents.indexes("sessions").await.unwrap().len(), 9);
        documents.drop_index("sessions", &name).await.unwrap();
        assert!(documents.drop_index("sessions", &name).await.is_err());
        assert!(matches!(
            documents.drop_index("sessions", "_id_").await,
            Err(StoreError::Forbidden(_))
        ));
    });
}

#[test]
fn what_the_engine_lacks_is_refused_by_name() {
    Bench::documents().run(async |stores, _| {
        let text = NewIndex {
            keys: vec![("metadata".into(), Bson::from("text"))],
            ..NewIndex::default()
        };
        let error = stores
            .documents
            .create_index("sessions", &text)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.to_lowercase().contains("text"), "{error}");
    });
}

#[test]
fn what_is_too_old_goes_by_the_setting_and_the_rest_stays() {
    Bench::documents().run(async |stores, _| {
        let log = |id: &str, time: &str| {
            fields(json!({ "log_id": id, "event_type": "login", "timestamp": time }))
        };
        let now = jiff::Timestamp::now().to_string();
        let logs = [log("old", "2020-01-01T00:00:00Z"), log("new", &now)];
        stores.documents.insert("audit_logs", &logs).await.unwrap();
        let done = stores.documents.expire().await.unwrap();
        assert_eq!(
            (done[0].collection.as_str(), done[0].days, done[0].removed),
            ("audit_logs", 90, 1)
        );
        let setting = fields(json!({ "key": "audit_log_retention_days", "value": 365 }));
        stores
            .documents
            .insert("system_config", &[setting])
            .await
            .unwrap();
        let done = stores.documents.expire().await.unwrap();
        assert_eq!((done[0].days, done[0].removed), (365, 0));
        stores.documents.get("audit_logs", "new").await.unwrap();
    });
}

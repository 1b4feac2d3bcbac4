//! What a backup takes from the one before it, and what it keeps beside that. Needs root.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use common::backups::{RESTORE, Whole, all_three};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use serde_json::Value;

/// Of the document store.
const VOLUME: &str = "mongodb";

/// The collections of the last backup by name, each with its hash and when it was read.
fn last_collections(one: &Whole) -> BTreeMap<String, (String, String)> {
    let listed: Value = serde_json::from_str(&one.said(&["--json", "backup", "list"])).unwrap();
    let last = listed[0]["backups"].as_array().unwrap().last().unwrap();
    let parts = last["parts"].as_array().unwrap();
    let documents = parts
        .iter()
        .find(|part| part["name"] == "document")
        .unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    documents["facts"]["collections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let name = format!("{}.{}", text(&one["db"]), text(&one["name"]));
            (name, (text(&one["hash"]), text(&one["read"])))
        })
        .collect()
}

#[test]
fn what_the_log_does_not_name_is_taken_from_the_last_backup_and_a_rollback_is_noticed() {
    let mut one = all_three();
    let order = |id: i32| {
        one.block(async |client| {
            let orders = client.database("shop").collection::<Document>("orders");
            orders.insert_one(doc! { "_id": id }).await.unwrap();
        });
    };
    one.said(&[
        "volume", "create", "chunks-a", "--type", "chunks", "--size", "100M",
    ]);
    one.fill(1);
    order(1);
    one.said(&["backup", "create"]);
    let first = last_collections(&one);
    order(2);
    one.said(&["backup", "create"]);
    let second = last_collections(&one);
    assert_eq!(second["lucid.users"], first["lucid.users"]);
    assert_ne!(second["shop.orders"], first["shop.orders"]);
    one.said(&["backup", "drill"]);

    // The same number of bytes, and other ones.
    let taken = one.said(&["volume", "snapshot", "take", VOLUME, "--quiesce"]);
    let taken = taken.trim();
    one.fill(2);
    one.said(&["backup", "create"]);
    let third = last_collections(&one);
    assert_ne!(third["lucid.users"].0, first["lucid.users"].0);
    one.said(&["backup", "drill"]);

    // The log of the state before knows nothing of what was lost.
    one.said(&["volume", "rollback", VOLUME, taken, "--confirm", VOLUME]);
    one.appliance.wait_state("ready");
    order(3);
    one.said(&["backup", "create"]);
    let fourth = last_collections(&one);
    assert_eq!(fourth["lucid.users"].0, first["lucid.users"].0);
    one.said(&["backup", "drill"]);
    one.appliance.stop();
}

/// Documents by their id, byte for byte.
type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

fn id_of(document: &Document) -> Vec<u8> {
    let id = doc! { "_id": document.get("_id").unwrap() };
    RawDocumentBuf::try_from(&id).unwrap().into_bytes()
}

fn contents(one: &Whole, name: &str) -> Contents {
    one.block(async |client| {
        let all = client.database("shop").collection::<RawDocumentBuf>(name);
        let mut cursor = all.find(doc! {}).await.unwrap();
        let mut found = Contents::new();
        while cursor.advance().await.unwrap() {
            let bytes = cursor.current().as_bytes().to_vec();
            let document = Document::from_reader(bytes.as_slice()).unwrap();
            assert_eq!(found.insert(id_of(&document), bytes), None);
        }
        found
    })
}

/// What the last backup says of the orders.
fn orders(one: &Whole) -> Value {
    let listed: Value = serde_json::from_str(&one.said(&["--json", "backup", "list"])).unwrap();
    let last = listed[0]["backups"].as_array().unwrap().last().unwrap();
    let all = last["parts"][0]["facts"]["collections"].as_array().unwrap();
    let found = all.iter().find(|one| one["name"] == "orders");
    found.unwrap().clone()
}

/// Ids of all kinds; a unique index over another field.
fn fill(one: &Whole) {
    one.block(async |client| {
        let orders = client.database("shop").collection::<Document>("orders");
        let id = |n: i32| match n % 5 {
            0 => Bson::Int32(n),
            1 => Bson::String(format!("order {n}")),
            2 => Bson::ObjectId(ObjectId::parse_str(format!("{n:024x}")).unwrap()),
            3 => Bson::Document(doc! { "shop": n, "no": 1.5 }),
            _ => Bson::Int64(i64::from(n) << 40),
        };
        let many: Vec<_> = (0..1000)
            .map(|n| doc! { "n": n, "_id": id(n), "place": n, "text": "x".repeat(200) })
            .collect();
        orders.insert_many(many).await.unwrap();
        let unique = doc! {
            "createIndexes": "orders",
            "indexes": [{ "key": { "place": 1 }, "name": "orders_place", "unique": true }],
        };
        client.database("shop").run_command(unique).await.unwrap();
    });
}

/// The difference of a restored dump put over its file, as mongorestore applies a log.
fn replayed(dump: &Path) -> Contents {
    let documents = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut found = Vec::new();
        while !rest.is_empty() {
            found.push(Document::from_reader(&mut rest).unwrap());
        }
        found
    };
    let bytes = |document: &Document| RawDocumentBuf::try_from(document).unwrap().into_bytes();
    let mut found = Contents::new();
    for document in documents(&dump.join("shop/orders.bson")) {
        found.insert(id_of(&document), bytes(&document));
    }
    for entry in documents(&dump.join("oplog.bson")) {
        if entry.get_str("ns").unwrap() != "shop.orders" {
            continue;
        }
        let document = entry.get_document("o").unwrap();
        match entry.get_str("op").unwrap() {
            "d" => found.remove(&id_of(document)),
            "i" => found.insert(id_of(document), bytes(document)),
            other => panic!("{other}"),
        };
    }
    found
}

#[test]
fn few_changes_are_kept_beside_the_collection_and_come_back_with_it() {
    let mut one = all_three();
    fill(&one);
    one.said(&["backup", "create"]);
    let first = orders(&one);
    one.block(async |client| {
        let orders = client.database("shop").collection::<Document>("orders");
        let at = |n: i32| doc! { "n": n };
        // Two places change hands, which a unique index allows one after the other alone.
        for (n, place) in [(1, -1), (2, 1), (1, 2)] {
            let set = doc! { "$set": { "place": place } };
            orders.update_one(at(n), set).await.unwrap();
        }
        orders
            .delete_many(doc! { "n": { "$gte": 10, "$lt": 20 } })
            .await
            .unwrap();
        let mut session = client.start_session().await.unwrap();
        session.start_transaction().await.unwrap();
        for n in 1000..1020 {
            let new = doc! { "_id": f64::from(n) + 0.5, "n": n, "place": n };
            orders.insert_one(new).session(&mut session).await.unwrap();
        }
        session.commit_transaction().await.unwrap();
        // The same number of another kind is the same id.
        orders.delete_one(doc! { "_id": 100 }).await.unwrap();
        let other = doc! { "_id": 100.0, "n": 100, "place": 100 };
        orders.insert_one(other).await.unwrap();
    });
    let wanted = contents(&one, "orders");
    one.said(&["backup", "create"]);
    let second = orders(&one);
    for key in ["read", "hash", "count"] {
        assert_eq!(second[key], first[key], "{key}");
    }
    assert_eq!(second["difference"]["named"], 34, "{second}");
    assert_eq!(second["difference"]["count"], 23, "{second}");
    one.said(&["backup", "drill"]);
    std::thread::sleep(Duration::from_millis(1100));
    let moment = jiff::Timestamp::now().to_string();
    std::thread::sleep(Duration::from_millis(1100));

    // Of what was named before some is named again, and gone.
    one.block(async |client| {
        let orders = client.database("shop").collection::<Document>("orders");
        let gone = doc! { "n": { "$gte": 1010, "$lt": 1015 } };
        orders.delete_many(gone).await.unwrap();
        let more = (2000..2030).map(|n| doc! { "_id": n, "n": n, "place": n });
        orders.insert_many(more).await.unwrap();
    });
    let latest = contents(&one, "orders");
    one.said(&["backup", "create"]);
    let third = orders(&one);
    assert_eq!(third["read"], first["read"]);
    assert_eq!(third["difference"]["named"], 64, "{third}");
    assert_eq!(third["difference"]["count"], 48, "{third}");
    one.said(&["backup", "drill"]);

    let out = one.appliance.root().join("restic");
    let listed = one.appliance.json(&["backup", "list"]);
    let last = listed[0]["backups"].as_array().unwrap().last().unwrap();
    let snapshot = last["parts"][0]["snapshot"].as_str().unwrap();
    one.restic(&["restore", snapshot, "--target", out.to_str().unwrap()]);
    assert_eq!(replayed(&out.join("document/dump")), latest);

    let told = one.said(&[
        "backup",
        "restore",
        "collection",
        "shop.orders",
        "--as",
        "shop.back",
    ]);
    assert!(
        told.contains("1035 documents, content hash equal"),
        "{told}"
    );
    assert_eq!(contents(&one, "back"), latest);

    one.said(&[&RESTORE[..], &["--at", &moment]].concat());
    one.appliance.wait_state("ready");
    assert_eq!(contents(&one, "orders"), wanted);
    one.said(&RESTORE);
    one.appliance.wait_state("ready");
    assert_eq!(contents(&one, "orders"), latest);
    one.appliance.stop();
}

#[test]
fn a_collection_of_which_much_changed_is_read_as_a_whole() {
    let mut one = all_three();
    fill(&one);
    one.said(&["backup", "create"]);
    let first = orders(&one);
    let touch = |below: i32| {
        one.block(async |client| {
            let orders = client.database("shop").collection::<Document>("orders");
            let set = doc! { "$inc": { "seen": 1 } };
            orders
                .update_many(doc! { "n": { "$lt": below } }, set)
                .await
                .unwrap();
        });
    };
    touch(100);
    one.said(&["backup", "create"]);
    assert_eq!(orders(&one)["difference"]["named"], 100);
    // With those of before it is more than an eighth.
    touch(150);
    one.said(&["backup", "create"]);
    let third = orders(&one);
    assert!(third.get("difference").is_none(), "{third}");
    assert_ne!(third["read"], first["read"]);
    // It is what the next ones build on.
    touch(10);
    one.said(&["backup", "create"]);
    let fourth = orders(&one);
    assert_eq!(fourth["read"], third["read"]);
    assert_eq!(fourth["difference"]["named"], 10);
    let told = one.said(&["backup", "drill"]);
    assert!(told.contains("content hashes equal"), "{told}");
    one.appliance.stop();
}

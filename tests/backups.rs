//! Backups of a running appliance with all three datastores, on a real btrfs: what goes in comes
//! out, restic reads it, damage is found. Needs root.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::time::Duration;

use common::backups::{RESTORE, Whole, all_three, files};
use common::{Options, on_pool, said};
use lucid::units::GIB;
use mongodb::bson::{Document, doc};

#[test]
fn what_was_backed_up_comes_back_into_every_datastore_and_restic_reads_it() {
    let mut one = all_three();
    one.said(&[
        "volume", "create", "chunks-a", "--type", "chunks", "--size", "100M",
    ]);
    one.fill(1);
    let before = one.state();
    let told = one.said(&["backup", "create"]);
    assert!(told.contains("checked"), "{told}");
    let list = one.appliance.json(&["backup", "list"]);
    let backup = &list[0]["backups"][0];
    let first = backup["id"].as_str().unwrap();
    let parts: Vec<_> = backup["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        parts,
        ["document", "cache", "search", "volume:chunks-a", "system"]
    );
    // The key has been shown to nobody yet.
    let alerts = one.appliance.status()["alerts"].to_string();
    assert!(alerts.contains("backup:key"), "{alerts}");

    // restic's own view of it.
    one.restic(&["check", "--read-data"]);
    let out = one.appliance.root().join("restic");
    let document = backup["parts"][0]["snapshot"].as_str().unwrap();
    one.restic(&["restore", document, "--target", out.to_str().unwrap()]);
    let users = std::fs::metadata(out.join("document/dump/lucid/users.bson")).unwrap();
    let facts = &backup["parts"][0]["facts"]["collections"];
    let known = facts
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "users")
        .unwrap();
    assert_eq!(known["bytes"], users.len());
    assert_eq!(known["count"], 2000);

    let drilled = one.said(&["backup", "drill"]);
    assert!(
        drilled.contains("counts and content hashes equal"),
        "{drilled}"
    );
    assert!(drilled.contains("keys, file and count equal"), "{drilled}");
    assert!(drilled.contains("1 indices with 20 documents"), "{drilled}");

    one.fill(2);
    let second = one.state();
    assert_ne!(second, before);
    // Another content of the same length is another one, and the older backup stays what it was.
    one.said(&["backup", "create"]);
    let drilled = one.said(&["backup", "drill"]);
    assert!(drilled.contains("content hashes equal"), "{drilled}");
    one.fill(3);
    let everything = ["backup", "restore", "everything", "--confirm", "everything"];
    one.said(&everything);
    one.appliance.wait_state("ready");
    assert_eq!(one.state(), second);
    // One datastore after the other.
    let restore = ["backup", "restore", "datastore", "document"];
    assert!(one.failed(&restore).contains("--confirm document"));
    for role in ["document", "cache", "search"] {
        let restore = ["backup", "restore", "datastore", role, "--backup", first];
        let dry = one.said(&[&restore[..], &["--dry-run"]].concat());
        assert!(dry.contains("nothing was changed"), "{dry}");
        one.said(&[&restore[..], &["--confirm", role]].concat());
        one.appliance.wait_state("ready");
    }
    one.said(&[
        "backup",
        "restore",
        "volume",
        "chunks-a",
        "--confirm",
        "chunks-a",
        "--backup",
        first,
    ]);
    assert_eq!(one.state(), before);
    // What was replaced is there still.
    let kept = one.said(&["volume", "snapshot", "list", "mongodb"]);
    assert!(kept.contains("-replaced"), "{kept}");

    // Pieces.
    one.fill(4);
    let twice = ["backup", "restore", "collection", "lucid.users"];
    assert!(one.failed(&twice).contains("is there already"));
    let beside = one.said(&[&twice[..], &["--as", "lucid.users_before"]].concat());
    assert!(
        beside.contains("2000 documents, content hash equal"),
        "{beside}"
    );
    let index = one.said(&[
        "backup",
        "restore",
        "index",
        "articles",
        "--as",
        "articles-before",
    ]);
    assert!(index.contains("20 documents"), "{index}");
    let keys = [
        "backup",
        "restore",
        "keys",
        "lucid:user:",
        "--confirm",
        "lucid:user:",
    ];
    assert!(one.said(&keys).contains("1 keys"));
    let mut cache = one.appliance.redis();
    let value: String = redis::cmd("GET")
        .arg("lucid:user:1")
        .query(&mut cache)
        .unwrap();
    let other: String = redis::cmd("HGET")
        .arg("other")
        .arg("field")
        .query(&mut cache)
        .unwrap();
    assert_eq!((value.as_str(), other.as_str()), ("2", "4"));
    one.appliance.stop();
}

/// Changes of every kind; what is there after them.
fn change(one: &Whole) -> Vec<String> {
    one.block(async |client| {
        let shop = client.database("shop");
        let orders = shop.collection::<Document>("orders");
        let list = doc! { "_id": 1, "list": [1, 2, 3], "nested": { "a": 1 }, "gone": 1 };
        orders
            .insert_many([list, doc! { "_id": 2 }, doc! { "_id": 3 }])
            .await
            .unwrap();
        for update in [
            doc! { "$set": { "nested.b": 2 }, "$push": { "list": 4 }, "$unset": { "gone": 1 } },
            doc! { "$pop": { "list": 1 } },
            doc! { "$inc": { "nested.a": 5 } },
        ] {
            orders.update_one(doc! { "_id": 1 }, update).await.unwrap();
        }
        orders
            .replace_one(doc! { "_id": 2 }, doc! { "other": "one" })
            .await
            .unwrap();
        orders.delete_one(doc! { "_id": 3 }).await.unwrap();
        let index = doc! { "key": { "other": 1 }, "name": "orders_other" };
        shop.run_command(doc! { "createIndexes": "orders", "indexes": [index] })
            .await
            .unwrap();
        shop.create_collection("short").await.unwrap();
        shop.collection::<Document>("short").drop().await.unwrap();
    });
    orders(one)
}

fn orders(one: &Whole) -> Vec<String> {
    one.block(async |client| {
        let orders = client.database("shop").collection::<Document>("orders");
        let mut all = orders.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
        let mut seen = Vec::new();
        while all.advance().await.unwrap() {
            seen.push(format!("{:?}", all.current()));
        }
        seen.extend(orders.list_index_names().await.unwrap());
        seen.extend(
            client
                .database("shop")
                .list_collection_names()
                .await
                .unwrap(),
        );
        seen
    })
}

#[test]
fn documents_come_back_as_of_a_moment_between_two_backups() {
    let mut one = all_three();
    one.said(&["backup", "create"]);
    let wanted = change(&one);
    std::thread::sleep(Duration::from_millis(1100));
    let moment = jiff::Timestamp::now().to_string();
    std::thread::sleep(Duration::from_millis(1100));
    let lose = || {
        one.block(async |client| {
            let shop = client.database("shop");
            shop.collection::<Document>("orders").drop().await.unwrap();
        });
    };
    lose();
    let at = [&RESTORE[..], &["--at"]].concat();
    let told = one.failed(&[&at[..], &[&moment]].concat());
    assert!(
        told.contains("`lucid backup create` takes in what came after"),
        "{told}"
    );
    one.said(&["backup", "create"]);
    let told = one.said(&[&at[..], &[&moment]].concat());
    assert!(told.contains("changes after it were applied"), "{told}");
    one.appliance.wait_state("ready");
    assert_eq!(orders(&one), wanted);
    let told = one.failed(&[&at[..], &["2020-01-01T00:00:00Z"]].concat());
    assert!(told.contains("no backup of this appliance"), "{told}");
    let told = one.failed(&[&at[..], &["yesterday"]].concat());
    assert!(told.contains("is no moment"), "{told}");
    one.appliance.stop();
}

#[test]
fn backups_come_by_themselves_when_their_time_comes() {
    let every_minute = "backup.schedule = \"* * * * *\"\nbackup.verify = \"\"\n\
                        backup.drill = \"\"\nbackup.jitter = \"0s\"";
    let (mut appliance, _pool) = on_pool(Options::cache().with(every_minute), 2 * GIB);
    let status = appliance.wait("a backup", Duration::from_secs(150), |status| {
        !status["backup"]["last"].is_null()
    });
    assert!(!status["backup"]["next"].is_null(), "{status}");
    let jobs = said(&appliance, &["job", "list"]);
    assert!(jobs.contains("backup of local  done"), "{jobs}");
    appliance.stop();
}

#[test]
fn one_flipped_bit_in_any_kind_of_file_is_found_and_named() {
    let mut one = all_three();
    one.said(&[
        "volume", "create", "chunks-a", "--type", "chunks", "--size", "100M",
    ]);
    one.fill(1);
    one.said(&["backup", "create"]);
    for kind in ["data", "index", "keys", "snapshots"] {
        let all = files(&one.repository().join(kind));
        assert!(!all.is_empty(), "{kind}");
        // The largest, in its middle, and the first one at both ends.
        let largest = all
            .iter()
            .max_by_key(|path| path.metadata().unwrap().len())
            .unwrap();
        let length = usize::try_from(largest.metadata().unwrap().len()).unwrap();
        for at in [0, length / 2, length - 1] {
            let good = std::fs::read(largest).unwrap();
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(largest, &bad).unwrap();
            let told = one.failed(&["backup", "verify"]);
            let name = largest.file_name().unwrap().to_str().unwrap();
            assert!(
                told.contains(&name[..8]) || kind == "keys",
                "{kind} at {at}: {told}"
            );
            std::fs::write(largest, &good).unwrap();
        }
    }
    let config = one.repository().join("config");
    let good = std::fs::read(&config).unwrap();
    let mut bad = good.clone();
    bad[20] ^= 1;
    std::fs::write(&config, &bad).unwrap();
    one.failed(&["backup", "verify"]);
    std::fs::write(&config, &good).unwrap();
    let well = one.said(&["backup", "verify"]);
    assert!(well.contains("is as it was written"), "{well}");
    one.appliance.stop();
}

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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::pool::Pool;
use common::{Appliance, Options, failed, free_port, on_pool, said};
use lucid::units::GIB;
use mongodb::bson::{Bson, Document, doc};
use serde_json::{Value, json};

/// Nothing happens by itself.
const STILL: &str = "backup.schedule = \"\"\nbackup.verify = \"\"\nbackup.drill = \"\"\n\
                     backup.rest_percent = 0";

struct Box3 {
    appliance: Appliance,
    pool: Pool,
    search: u16,
}

fn all_three() -> Box3 {
    let search = free_port();
    let options = Options::both().with(STILL).with(&format!(
        "datastore.search.enabled = true\ndatastore.search.port = {search}"
    ));
    let (appliance, pool) = on_pool(options, 8 * GIB);
    Box3 {
        appliance,
        pool,
        search,
    }
}

/// Every type that BSON has.
fn one_of_each() -> Document {
    use mongodb::bson::oid::ObjectId;
    use mongodb::bson::spec::BinarySubtype;
    use mongodb::bson::{Binary, DateTime, Decimal128, Regex, Timestamp};
    doc! {
        "_id": ObjectId::parse_str("64b7f0f0f0f0f0f0f0f0f0f0").unwrap(),
        "double": 1.5, "nan": f64::NAN, "int": 7_i32, "long": i64::MAX, "bool": true,
        "text": "größe \u{0} zero", "null": Bson::Null, "array": [1, "two", [3]],
        "nested": { "a": { "b": {} } }, "date": DateTime::from_millis(-1),
        "binary": Binary { subtype: BinarySubtype::UserDefined(0x80), bytes: vec![0, 255] },
        "uuid": Binary { subtype: BinarySubtype::Uuid, bytes: vec![7; 16] },
        "decimal": "12345678901234567890.123".parse::<Decimal128>().unwrap(),
        "regex": Bson::RegularExpression(Regex {
            pattern: "^a/b$".try_into().unwrap(), options: "i".try_into().unwrap(),
        }),
        "code": Bson::JavaScriptCode("function() {}".to_owned()),
        "timestamp": Timestamp { time: 1, increment: 2 },
        "min": Bson::MinKey, "max": Bson::MaxKey,
    }
}

impl Box3 {
    fn block<T>(&self, work: impl AsyncFnOnce(&mongodb::Client) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let uri = self.appliance.uri("document");
        runtime.block_on(async {
            let client = mongodb::Client::with_uri_str(uri).await.unwrap();
            work(&client).await
        })
    }

    fn search(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> Value {
        let uri = self.appliance.uri("search");
        let (start, end) = (uri.find("//").unwrap() + 2, uri.find('@').unwrap());
        let (user, password) = uri[start..end].split_once(':').unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut request = lucid::http::client()
                .build()
                .unwrap()
                .request(method, format!("http://127.0.0.1:{}/{path}", self.search))
                .basic_auth(user, Some(password));
            if let Some(body) = body {
                request = request.json(body);
            }
            let response = request.send().await.unwrap();
            assert!(response.status().is_success(), "{path}: {response:?}");
            response.json().await.unwrap()
        })
    }

    fn fill(&self, version: i32) {
        self.block(async |client| {
            let db = client.database("lucid");
            let users = db.collection::<Document>("users");
            users.delete_many(doc! {}).await.unwrap();
            let many: Vec<_> = (0..2000)
                .map(|n| doc! { "_id": n, "version": version, "name": format!("user {n}") })
                .collect();
            users.insert_many(many).await.unwrap();
            if version == 1 {
                db.run_command(doc! {
                    "createIndexes": "users",
                    "indexes": [{ "key": { "name": 1 }, "name": "users_name", "unique": true }],
                })
                .await
                .unwrap();
                db.run_command(doc! {
                    "create": "checked",
                    "validator": { "age": { "$gte": 0 } }, "validationLevel": "strict",
                })
                .await
                .unwrap();
                let types = client.database("odd").collection::<Document>("a/b..c");
                types.insert_one(one_of_each()).await.unwrap();
            }
        });
        let mut cache = self.appliance.redis();
        redis::cmd("SET")
            .arg("lucid:user:1")
            .arg(version)
            .query::<()>(&mut cache)
            .unwrap();
        redis::cmd("SETEX")
            .arg("lucid:temp")
            .arg(100_000)
            .arg(version)
            .query::<()>(&mut cache)
            .unwrap();
        redis::cmd("HSET")
            .arg("other")
            .arg("field")
            .arg(version)
            .query::<i64>(&mut cache)
            .unwrap();
        for n in 0..20 {
            let path = format!("articles/_doc/{n}");
            let body = json!({ "title": format!("article {n}"), "version": version });
            self.search(reqwest::Method::PUT, &path, Some(&body));
        }
        self.search(reqwest::Method::POST, "articles/_refresh", None);
        std::fs::write(self.pool.data().join("chunks-a/file"), version.to_string()).unwrap();
    }

    /// What clients see of it all.
    fn state(&self) -> BTreeMap<String, String> {
        let mut seen = BTreeMap::new();
        self.block(async |client| {
            for (db, name) in [("lucid", "users"), ("odd", "a/b..c")] {
                let mut all = client
                    .database(db)
                    .collection::<Document>(name)
                    .find(doc! {})
                    .sort(doc! { "_id": 1 })
                    .await
                    .unwrap();
                let mut text = String::new();
                while all.advance().await.unwrap() {
                    text.push_str(&format!("{:?}", all.current().as_bytes()));
                }
                seen.insert(format!("{db}.{name}"), text);
                let indexes = client
                    .database(db)
                    .collection::<Document>(name)
                    .list_index_names()
                    .await
                    .unwrap();
                seen.insert(format!("{db}.{name} indexes"), format!("{indexes:?}"));
            }
            let refused = client
                .database("lucid")
                .collection::<Document>("checked")
                .insert_one(doc! { "age": -1 })
                .await;
            seen.insert("validator".to_owned(), refused.is_err().to_string());
        });
        let mut cache = self.appliance.redis();
        for key in ["lucid:user:1", "lucid:temp"] {
            let value: Option<String> = redis::cmd("GET").arg(key).query(&mut cache).unwrap();
            let ttl: i64 = redis::cmd("TTL").arg(key).query(&mut cache).unwrap();
            seen.insert(key.to_owned(), format!("{value:?} {}", ttl > 0));
        }
        let hash: BTreeMap<String, String> = redis::cmd("HGETALL")
            .arg("other")
            .query(&mut cache)
            .unwrap();
        seen.insert("other".to_owned(), format!("{hash:?}"));
        let found = self.search(
            reqwest::Method::GET,
            "articles/_search?size=100&sort=version",
            None,
        );
        let hits = found["hits"]["hits"].as_array().unwrap();
        let mut hits: Vec<_> = hits.iter().map(|hit| hit["_source"].to_string()).collect();
        hits.sort();
        seen.insert("articles".to_owned(), hits.join(" "));
        let file = std::fs::read_to_string(self.pool.data().join("chunks-a/file")).unwrap();
        seen.insert("chunks-a".to_owned(), file);
        seen
    }

    fn said(&self, args: &[&str]) -> String {
        said(&self.appliance, args)
    }

    fn failed(&self, args: &[&str]) -> String {
        failed(&self.appliance, args)
    }

    fn repository(&self) -> PathBuf {
        self.pool.data().join("backups/repository")
    }

    fn restic(&self, args: &[&str]) -> String {
        let words = self.appliance.json(&["backup", "key", "show"]);
        let output = Command::new("restic")
            .args(["-r", self.repository().to_str().unwrap(), "--no-cache"])
            .args(args)
            .env("RESTIC_PASSWORD", words["words"].as_str().unwrap())
            .env("HOME", "/nonexistent")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{args:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }
}

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
    assert_ne!(one.state(), before);
    // One datastore after the other.
    let restore = ["backup", "restore", "datastore", "document"];
    assert!(one.failed(&restore).contains("--confirm document"));
    for role in ["document", "cache", "search"] {
        let dry = one.said(&["backup", "restore", "datastore", role, "--dry-run"]);
        assert!(dry.contains("nothing was changed"), "{dry}");
        one.said(&["backup", "restore", "datastore", role, "--confirm", role]);
        one.appliance.wait_state("ready");
    }
    one.said(&[
        "backup",
        "restore",
        "volume",
        "chunks-a",
        "--confirm",
        "chunks-a",
    ]);
    assert_eq!(one.state(), before);
    // What was replaced is there still.
    let kept = one.said(&["volume", "snapshot", "list", "mongodb"]);
    assert!(kept.contains("-replaced"), "{kept}");

    // Pieces.
    one.fill(3);
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
    assert_eq!((value.as_str(), other.as_str()), ("1", "3"));
    one.appliance.stop();
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
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

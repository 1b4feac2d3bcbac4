//! An appliance with all three datastores on a pool, for tests of backups.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use lucid::units::GIB;
use mongodb::bson::{Bson, Document, doc};
use serde_json::{Value, json};

use super::pool::Pool;
use super::{Appliance, Options, failed, free_port, on_pool, said};

/// Nothing happens by itself.
pub const STILL: &str = "backup.schedule = \"\"\nbackup.verify = \"\"\nbackup.drill = \"\"\n\
                     backup.rest_percent = 0";

/// Restores the document store in its place.
pub const RESTORE: [&str; 6] = [
    "backup",
    "restore",
    "datastore",
    "document",
    "--confirm",
    "document",
];

pub struct Whole {
    pub appliance: Appliance,
    pub pool: Pool,
    pub search: u16,
}

pub fn all_three() -> Whole {
    all_three_with("")
}

/// With more configuration.
pub fn all_three_with(more: &str) -> Whole {
    let search = free_port();
    let options = Options::both()
        .with(STILL)
        .with(&format!(
            "datastore.search.enabled = true\ndatastore.search.port = {search}"
        ))
        .with(more);
    let (appliance, pool) = on_pool(options, 8 * GIB);
    Whole {
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

impl Whole {
    pub fn block<T>(&self, work: impl AsyncFnOnce(&mongodb::Client) -> T) -> T {
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

    pub fn search(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> Value {
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

    pub fn fill(&self, version: i32) {
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
        if version == 1 {
            let dir = self.pool.data().join("chunks-a");
            std::fs::write(dir.join("empty"), "").unwrap();
            std::fs::hard_link(dir.join("file"), dir.join("second name")).unwrap();
            std::os::unix::fs::symlink("file", dir.join("link")).unwrap();
        }
    }

    /// What clients see of it all.
    pub fn state(&self) -> BTreeMap<String, String> {
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
                    write!(text, "{:?}", all.current().as_bytes()).unwrap();
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

    pub fn said(&self, args: &[&str]) -> String {
        said(&self.appliance, args)
    }

    pub fn failed(&self, args: &[&str]) -> String {
        failed(&self.appliance, args)
    }

    pub fn repository(&self) -> PathBuf {
        self.pool.data().join("backups/repository")
    }

    pub fn restic(&self, args: &[&str]) -> String {
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

pub fn files(dir: &Path) -> Vec<PathBuf> {
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

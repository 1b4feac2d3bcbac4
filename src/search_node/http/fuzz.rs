//! What the fuzz targets call: searches and bulk bodies as they come over HTTP.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::ndjson::{Verb, parse};
use super::request::{Reply, Request};
use super::security::Role;
use super::update::Update;
use crate::search_node::cluster::Node;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Mapping, read_accepted, read_document};

/// Buffers of the node, in bytes.
const MEMORY: u64 = 64 << 20;

/// Documents of the index that is searched.
const DOCS: i64 = 60;

const WORDS: [&str; 5] = ["red", "green", "blue", "quick brown fox", "the lazy dog"];

/// Fields of all types, and objects.
fn mapping() -> Value {
    json!({"properties": {
        "title": {"type": "text", "fields": {"raw": {"type": "keyword"},
            "en": {"type": "text", "analyzer": "english"}}},
        "tag": {"type": "keyword", "normalizer": "lowercase"},
        "n": {"type": "long"}, "i": {"type": "integer"}, "b": {"type": "byte"},
        "price": {"type": "double"}, "half": {"type": "half_float"},
        "scaled": {"type": "scaled_float", "scaling_factor": 100},
        "flag": {"type": "boolean"}, "ip": {"type": "ip"},
        "day": {"type": "date"}, "custom": {"type": "date", "format": "yyyy/MM/dd||epoch_second"},
        "suggest": {"type": "completion"},
        "user": {"properties": {"name": {"type": "keyword"}, "age": {"type": "short"}}},
        "part": {"type": "nested", "properties": {"id": {"type": "keyword"}, "n": {"type": "float"}}},
        "raw": {"type": "object", "enabled": false}
    }})
}

fn document(number: i64) -> Value {
    let word = |at: i64| {
        let place = usize::try_from(at).unwrap_or(0) % WORDS.len();
        WORDS.get(place).copied().unwrap_or_default()
    };
    json!({
        "title": format!("{} {}", word(number), word(number / 5)),
        "tag": [word(number), format!("Tag {}", number % 7)],
        "n": number * 1000, "i": -number, "b": number % 100,
        "price": number as f64 / 3.0, "half": 0.5, "scaled": number as f64 / 7.0,
        "flag": number.rem_euclid(2) == 0, "ip": format!("10.0.{number}.1"),
        "day": format!("2024-0{}-1{}T12:00:00Z", 1 + number % 9, number % 10),
        "custom": number * 86_400,
        "suggest": {"input": [word(number), "Red Wine"], "weight": number},
        "user": {"name": word(number / 3), "age": number},
        "part": [{"id": "a", "n": number}, {"id": word(number), "n": 1.5}],
        "raw": {"any": [1, "x"]}
    })
}

/// A node with one index, `i`, of some segments.
#[derive(Debug)]
pub struct Searched {
    node: Arc<Node>,
    runtime: tokio::runtime::Runtime,
}

impl Searched {
    /// Its data lie in `dir`, which must be empty.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let node = Node::open(dir, "fuzz", "fuzz", MEMORY, &[]);
        let node = node.map_err(|failure| failure.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let searched = Self { node, runtime };
        let index = json!({"mappings": mapping()}).to_string();
        searched.call("PUT", &["i"], index.into_bytes())?;
        for number in 0..DOCS {
            let body = document(number).to_string().into_bytes();
            searched.call("PUT", &["i", "_doc", &number.to_string()], body)?;
            if number % 20 == 19 {
                searched.call("POST", &["i", "_refresh"], Vec::new())?;
            }
        }
        searched.call("DELETE", &["i", "_doc", "7"], Vec::new())?;
        searched.call("POST", &["i", "_refresh"], Vec::new())?;
        Ok(searched)
    }

    fn call(&self, method: &str, path: &[&str], body: Vec<u8>) -> Result<(), String> {
        self.ask(method, path, Bytes::from(body))
            .map(|_| ())
            .map_err(|failure| format!("{method} {path:?}: {failure}"))
    }

    fn ask(&self, method: &str, path: &[&str], body: Bytes) -> Outcome<Reply> {
        let request = Request {
            method: method.to_owned(),
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            params: std::collections::BTreeMap::new(),
            body,
            user: "fuzz".to_owned(),
            role: Role::Admin,
            by_key: false,
        };
        self.runtime.block_on(super::route(&self.node, &request))
    }

    /// Searches with this body.
    ///
    /// # Panics
    /// When it is neither answered with JSON nor refused.
    pub fn search(&self, body: &[u8]) {
        match self.ask("POST", &["i", "_search"], Bytes::copy_from_slice(body)) {
            Ok(Reply::Raw(200, answer)) => {
                let answer: Result<Value, _> = serde_json::from_slice(&answer);
                assert!(answer.is_ok(), "{answer:?}");
            }
            Ok(other) => unreachable!("{other:?}"),
            Err(failure) => is_refused(&failure),
        }
    }
}

fn is_refused(failure: &Failure) {
    assert!((400..500).contains(&failure.status), "{failure}");
}

/// Reads the body of a bulk request and its documents.
///
/// # Panics
/// When what was taken once is not taken again, as when the log is replayed.
pub fn bulk(body: &[u8]) {
    let items = match parse(&Bytes::copy_from_slice(body)) {
        Ok(items) => items,
        Err(failure) => return is_refused(&failure),
    };
    for item in items {
        let Ok(json) = serde_json::from_slice::<Value>(&item.body) else {
            continue;
        };
        let read = match item.verb {
            Verb::Index | Verb::Create => index(&json, &item.body),
            Verb::Update => Update::parse(&json).map(|_| ()),
            Verb::Delete => Ok(()),
        };
        if let Err(failure) = read {
            is_refused(&failure);
        }
    }
}

fn index(json: &Value, raw: &[u8]) -> Outcome<()> {
    let mut mapping = Mapping::empty()?.merged(&mapping())?;
    let read = read_document(&mapping, "id", json, raw)?;
    if let Some(new) = read.new_fields {
        mapping = mapping.merged(&new)?;
        let again = read_document(&mapping, "id", json, raw)?;
        assert!(again.new_fields.is_none(), "{:?}", again.new_fields);
    }
    let accepted = read_accepted(&mapping, "id", json, raw);
    assert!(accepted.is_ok(), "{accepted:?}");
    Ok(())
}

//! An index to aggregate over.

use std::sync::Arc;

use serde_json::{Value, json};
use tantivy::DocId;

use crate::search_node::aggs::{Aggs, Host, Matches, Partial};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Mapping, read_document};
use crate::search_node::shard::{Bits, Change, Condition, Log, Shard, View, Write};

/// 2025-05-14T10:20:30Z.
pub(super) const NOW: i64 = 1_747_218_030_000;

/// A real index, all of whose documents are found; the score of each is its number plus one.
pub(super) struct Index {
    name: String,
    view: Arc<View>,
    _dir: tempfile::TempDir,
}

/// A mapping that has a field of each kind.
pub(super) fn mapping() -> Value {
    json!({"properties": {
        "tag": {"type": "keyword"},
        "text": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
        "n": {"type": "long"},
        "x": {"type": "double"},
        "f": {"type": "float"},
        "on": {"type": "boolean"},
        "at": {"type": "date"},
        "day": {"type": "date", "format": "yyyy-MM-dd"},
        "ip": {"type": "ip"},
        "hidden": {"type": "keyword", "doc_values": false},
        "items": {"type": "nested", "properties": {
            "name": {"type": "keyword"},
            "price": {"type": "double"},
            "parts": {"type": "nested", "properties": {"size": {"type": "long"}}}
        }}
    }})
}

impl Index {
    /// Of the usual mapping; each list of documents becomes a segment.
    pub(super) fn new(name: &str, segments: &[Vec<Value>]) -> Self {
        Self::with(name, &mapping(), segments)
    }

    /// Of one segment.
    pub(super) fn of(docs: Value) -> Self {
        let Value::Array(docs) = docs else {
            panic!("no list")
        };
        Self::new("index", &[docs])
    }

    pub(super) fn with(name: &str, mapping: &Value, segments: &[Vec<Value>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mapping = Arc::new(Mapping::empty().unwrap().merged(mapping).unwrap());
        let log = Log::open(dir.path()).unwrap();
        let place = dir.path().join("index");
        Shard::create(&place).unwrap();
        let shard = Shard::open(&place, [1; 16], log, Arc::clone(&mapping)).unwrap();
        let mut id = 0;
        for docs in segments {
            let mut writes = Vec::new();
            for doc in docs {
                let raw = doc.to_string().into_bytes();
                id += 1;
                let parsed = read_document(&mapping, &id.to_string(), doc, &raw).unwrap();
                assert!(parsed.new_fields.is_none(), "not mapped: {doc}");
                writes.push(Write {
                    id: id.to_string(),
                    change: Change::Index {
                        source: raw.into(),
                        parsed,
                    },
                    condition: Condition::default(),
                });
            }
            for result in shard.write(writes).0 {
                result.unwrap();
            }
            shard.refresh().unwrap();
        }
        Self {
            name: name.to_owned(),
            view: shard.view(),
            _dir: dir,
        }
    }

    pub(super) fn collect(&self, aggs: &Aggs) -> Outcome<Partial> {
        self.collect_where(aggs, |_| true)
    }

    /// Aggregates over the documents whose position in their segment `found` takes.
    pub(super) fn collect_where(
        &self,
        aggs: &Aggs,
        found: impl Fn(DocId) -> bool,
    ) -> Outcome<Partial> {
        let parts = self.view.parts.iter();
        let docs: Vec<Vec<DocId>> = parts
            .map(|part| part.roots.iter().filter(|doc| found(*doc)).collect())
            .collect();
        let scores: Vec<Vec<f32>> = docs
            .iter()
            .map(|docs| docs.iter().map(|doc| *doc as f32 + 1.0).collect())
            .collect();
        let matches: Vec<_> = docs
            .iter()
            .zip(&scores)
            .map(|(docs, scores)| Matches { docs, scores })
            .collect();
        aggs.collect(self, &matches)
    }
}

impl Host for Index {
    fn view(&self) -> &View {
        &self.view
    }

    fn index_name(&self) -> &str {
        &self.name
    }

    fn now(&self) -> i64 {
        NOW
    }

    fn matching(&self, part: usize, query: &Value, nested: Option<&str>) -> Outcome<Bits> {
        let part = &self.view.parts[part];
        let term = query.get("term").and_then(Value::as_object);
        let Some((field, value)) = term.and_then(|term| term.iter().next()) else {
            return Err(Failure::parsing("unknown query"));
        };
        let leaf = self.view.mapping.leaf(field).unwrap();
        let mut bits = Bits::empty(part.segment.max_doc());
        let column = part
            .segment
            .reader
            .fast_fields()
            .str(&leaf.column())
            .unwrap();
        let Some(column) = column else {
            return Ok(bits);
        };
        let wanted = column
            .dictionary()
            .term_ord(value.as_str().unwrap())
            .unwrap();
        let docs = if nested.is_some() {
            &part.live
        } else {
            &part.roots
        };
        for doc in docs.iter() {
            if column.term_ords(doc).any(|ord| Some(ord) == wanted) {
                bits.insert(doc);
            }
        }
        Ok(bits)
    }

    fn hit(&self, part: usize, doc: DocId, score: f32, options: &Value) -> Outcome<Value> {
        let stored = self.view.parts[part].segment.stored(doc)?;
        let mut hit = json!({"_index": self.name, "_id": stored.id, "_score": score});
        if options["_source"] != false {
            hit["_source"] = serde_json::from_slice(&stored.source).unwrap();
        }
        Ok(hit)
    }

    fn check(&self) -> Outcome<()> {
        Ok(())
    }
}

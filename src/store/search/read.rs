//! Searching.

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::{Body, part};
use super::query::{Wanted, field};
use super::{Search, index_name};
use crate::store::StoreError;

/// Suggestions of one answer at most.
const SUGGESTIONS: u64 = 20;
/// Aggregations that a client may ask for.
const KINDS: [&str; 11] = [
    "terms",
    "avg",
    "sum",
    "min",
    "max",
    "value_count",
    "cardinality",
    "stats",
    "date_histogram",
    "histogram",
    "range",
];
/// Aggregations by name: index, and what is asked for.
pub const AGGREGATIONS: [(&str, &str); 5] = [
    ("sessions_by_status", "lucid-sessions"),
    ("sessions_by_day", "lucid-sessions"),
    ("transactions_by_type", "lucid-transactions"),
    ("blocks_by_day", "lucid-blocks"),
    ("audit_by_event", "lucid-audit-logs"),
];

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hits {
    /// How many match.
    pub total: u64,
    /// Score of the best, where texts were compared.
    pub max_score: Option<f64>,
    /// Milliseconds that the engine took.
    pub took: u64,
    /// Documents with `_id`, `_index` and `_score` besides their fields.
    pub hits: Vec<Map<String, Value>>,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexInfo {
    /// Its name.
    pub name: String,
    /// `green`, `yellow` or `red`.
    pub health: String,
    /// Documents.
    pub documents: u64,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// How the engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Name of the cluster.
    pub cluster: String,
    /// `green`, `yellow` or `red`.
    pub status: String,
    /// Nodes.
    pub nodes: u64,
    /// Nodes that hold data.
    pub data_nodes: u64,
    /// Shards that are open.
    pub active_shards: u64,
    /// Shards on the move.
    pub relocating_shards: u64,
    /// Shards without a place.
    pub unassigned_shards: u64,
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
        .unwrap_or(0)
}

fn named(name: &str) -> Option<Value> {
    let by_day =
        |field: &str| json!({ "date_histogram": { "field": field, "calendar_interval": "day" } });
    let by = |field: &str| json!({ "terms": { "field": field, "size": 50 } });
    Some(match name {
        "sessions_by_status" => by("status"),
        "sessions_by_day" => by_day("created_at"),
        "transactions_by_type" => by("tx_type"),
        "blocks_by_day" => by_day("timestamp"),
        "audit_by_event" => by("event_type"),
        _ => return None,
    })
}

/// Only aggregations that count and compare, not too deep.
fn check(aggregations: &Map<String, Value>, depth: u32) -> Result<(), StoreError> {
    if depth > 3 || aggregations.len() > 10 {
        let message = "ten aggregations, three in each other, at most";
        return Err(StoreError::invalid("aggregations", "depth", message));
    }
    for (name, aggregation) in aggregations {
        let path = format!("aggregations.{name}");
        let wrong = |rule, message: String| StoreError::invalid(&path, rule, message);
        let aggregation = aggregation
            .as_object()
            .ok_or_else(|| wrong("type", "is an object with one kind".to_owned()))?;
        for (kind, value) in aggregation {
            match kind.as_str() {
                "aggs" | "aggregations" => {
                    let inner = value.as_object();
                    let inner =
                        inner.ok_or_else(|| wrong("type", format!("{kind} is an object")))?;
                    check(inner, depth + 1)?;
                }
                kind if KINDS.contains(&kind) => {
                    let is_fine = value.is_object()
                        && value
                            .get("size")
                            .is_none_or(|size| size.as_u64().is_some_and(|size| size <= 1000))
                        && value.get("script").is_none();
                    if !is_fine {
                        let message =
                            format!("{kind} is an object without script, size 1000 at most");
                        return Err(wrong("value", message));
                    }
                }
                other => {
                    let message = format!("{other} is not allowed; allowed: {}", KINDS.join(", "));
                    return Err(wrong("kind", message));
                }
            }
        }
    }
    Ok(())
}

impl Search {
    /// Documents that match.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn search(&self, wanted: &Wanted) -> Result<Hits, StoreError> {
        let body = wanted.body()?;
        let path = format!("{}/_search?ignore_unavailable=true", part(&wanted.index));
        let what = ("index", wanted.index.as_str());
        let answer = self
            .client
            .ask(Method::POST, &path, Body::Json(&body), what)
            .await?;
        Ok(hits(&answer))
    }

    /// What an aggregation answers.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn aggregate(
        &self,
        wanted: &Wanted,
        aggregations: &Map<String, Value>,
    ) -> Result<Value, StoreError> {
        check(aggregations, 1)?;
        let mut body = wanted.body()?;
        body["aggs"] = Value::Object(aggregations.clone());
        body["size"] = 0.into();
        let path = format!("{}/_search?ignore_unavailable=true", part(&wanted.index));
        let what = ("index", wanted.index.as_str());
        let answer = self
            .client
            .ask(Method::POST, &path, Body::Json(&body), what)
            .await?;
        Ok(answer
            .get("aggregations")
            .cloned()
            .unwrap_or_else(|| json!({})))
    }

    /// One of the [`AGGREGATIONS`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where there is none of this name.
    pub async fn analytics(&self, name: &str, wanted: &Wanted) -> Result<Value, StoreError> {
        let Some(aggregation) = named(name) else {
            return Err(StoreError::not_found("aggregation", name));
        };
        let mut all = Map::new();
        all.insert(name.to_owned(), aggregation);
        self.aggregate(wanted, &all).await
    }

    /// Values of a keyword field that begin with `begin`, the most frequent first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn suggest(
        &self,
        index: &str,
        name: &str,
        begin: &str,
        size: u64,
    ) -> Result<Vec<String>, StoreError> {
        index_name(index)?;
        field(name)?;
        if begin.is_empty() || begin.len() > 100 {
            return Err(StoreError::invalid("query", "length", "1 to 100 bytes"));
        }
        let body = json!({
            "size": 0,
            "query": { "prefix": { name: { "value": begin } } },
            "aggs": { "values": { "terms": { "field": name, "size": size.min(SUGGESTIONS) * 4 } } },
        });
        let path = format!("{}/_search?ignore_unavailable=true", part(index));
        let what = ("index", index);
        let answer = self
            .client
            .ask(Method::POST, &path, Body::Json(&body), what)
            .await?;
        let buckets = answer["aggregations"]["values"]["buckets"].as_array();
        let mut found: Vec<String> = buckets
            .into_iter()
            .flatten()
            .filter_map(|bucket| bucket["key"].as_str().map(str::to_owned))
            // Of a document with several values, those of the others.
            .filter(|value| value.starts_with(begin))
            .collect();
        found.truncate(usize::try_from(size.min(SUGGESTIONS)).unwrap_or(20));
        Ok(found)
    }

    /// Indices of the platform.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn indices(&self) -> Result<Vec<IndexInfo>, StoreError> {
        let path = "_cat/indices/lucid*?format=json&bytes=b&expand_wildcards=open";
        let answer = self
            .client
            .ask(Method::GET, path, Body::None, ("index", "lucid*"))
            .await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut found: Vec<IndexInfo> = answer
            .as_array()
            .into_iter()
            .flatten()
            .map(|index| IndexInfo {
                name: text(&index["index"]),
                health: text(&index["health"]),
                documents: number(&index["docs.count"]),
                bytes: number(&index["store.size"]),
            })
            .collect();
        found.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(found)
    }

    /// How the engine is.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn health(&self) -> Result<Health, StoreError> {
        let told = self
            .client
            .ask(Method::GET, "_cluster/health", Body::None, ("cluster", ""))
            .await?;
        let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        Ok(Health {
            cluster: text("cluster_name"),
            status: text("status"),
            nodes: number(&told["number_of_nodes"]),
            data_nodes: number(&told["number_of_data_nodes"]),
            active_shards: number(&told["active_shards"]),
            relocating_shards: number(&told["relocating_shards"]),
            unassigned_shards: number(&told["unassigned_shards"]),
        })
    }
}

fn hits(answer: &Value) -> Hits {
    let hits = answer["hits"]["hits"].as_array();
    let found = hits.into_iter().flatten().map(|hit| {
        let mut document = hit["_source"].as_object().cloned().unwrap_or_default();
        for name in ["_id", "_index", "_score"] {
            document.insert(name.to_owned(), hit[name].clone());
        }
        document
    });
    Hits {
        total: number(&answer["hits"]["total"]["value"]),
        max_score: answer["hits"]["max_score"].as_f64(),
        took: number(&answer["took"]),
        hits: found.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregations_that_run_scripts_or_are_too_deep_are_refused() {
        let of = |value: Value| check(value.as_object().unwrap(), 1);
        assert!(of(json!({ "a": { "terms": { "field": "status" } } })).is_ok());
        for bad in [
            json!({ "a": { "terms": { "script": "x" } } }),
            json!({ "a": { "scripted_metric": {} } }),
            json!({ "a": { "terms": { "field": "x", "size": 100_000 } } }),
            json!({ "a": 1 }),
            json!({ "a": { "aggs": { "b": { "aggs": { "c": { "aggs": { "d": {} } } } } } } }),
        ] {
            assert!(of(bad.clone()).is_err(), "{bad}");
        }
        for (name, _) in AGGREGATIONS {
            assert!(named(name).is_some());
        }
    }
}

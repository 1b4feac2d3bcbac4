//! Aggregations over small real indices.

mod buckets;
mod composite;
mod errors;
mod histograms;
mod host;
mod merging;
mod metrics;
mod nested;
mod ranges;
mod terms;

use serde_json::{Value, json};

use super::{Aggs, Host};
use crate::search_node::failure::Outcome;
use host::Index;

/// Aggregates over all documents of the indices together.
fn over(indices: &[&Index], aggs: &Value) -> Outcome<Value> {
    let aggs = Aggs::parse(aggs)?;
    let mut partial = aggs.empty();
    for index in indices {
        partial = aggs.merge(partial, index.collect(&aggs)?)?;
    }
    let hosts: Vec<&dyn Host> = indices.iter().map(|index| *index as &dyn Host).collect();
    aggs.finish(partial, &hosts)
}

/// The answer of one aggregation over one index.
fn one(index: &Index, agg: &Value) -> Value {
    over(&[index], &json!({"it": agg})).unwrap()["it"].take()
}

/// What is wrong with one aggregation over one index.
fn wrong(index: &Index, agg: &Value) -> String {
    let failure = over(&[index], &json!({"it": agg})).unwrap_err();
    assert!(
        failure.status == 400 || failure.status == 429,
        "{failure:?}"
    );
    failure.to_string()
}

/// Keys and numbers of documents of an answer's buckets.
fn counts(answer: &Value) -> Vec<(Value, u64)> {
    let buckets = answer["buckets"].as_array().unwrap().iter();
    buckets
        .map(|bucket| (bucket["key"].clone(), bucket["doc_count"].as_u64().unwrap()))
        .collect()
}

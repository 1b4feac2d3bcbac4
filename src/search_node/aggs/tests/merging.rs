use proptest::prelude::*;
use serde_json::{Value, json};

use super::host::Index;
use super::over;

fn aggs() -> Value {
    let subs = json!({
        "s": {"stats": {"field": "n"}},
        "e": {"extended_stats": {"field": "n"}},
        "c": {"cardinality": {"field": "tag"}},
        "p": {"percentiles": {"field": "n"}},
        "h": {"top_hits": {"size": 2, "sort": [{"n": "desc"}], "_source": ["n"]}},
    });
    json!({
        "s": {"stats": {"field": "n"}},
        "t": {"terms": {"field": "tag", "size": 3}, "aggs": subs},
        "n": {"terms": {"field": "n", "order": {"_key": "asc"}, "missing": 3}},
        "d": {"date_histogram": {"field": "at", "calendar_interval": "month"}, "aggs": {
            "t": {"terms": {"field": "tag", "order": {"m": "desc"}}, "aggs": {
                "m": {"max": {"field": "n"}}}},
            "i": {"nested": {"path": "items"}, "aggs": {"n": {"terms": {"field": "items.name"}}}},
        }},
        "z": {"date_histogram": {"field": "at", "calendar_interval": "1d", "min_doc_count": 1,
            "time_zone": "Europe/Berlin"}},
        "x": {"histogram": {"field": "n", "interval": 4}},
        "r": {"range": {"field": "n", "ranges": [{"to": 5}, {"from": 2, "to": 9}, {"from": 9}]},
            "aggs": {"f": {"filter": {"term": {"tag": "a"}}}}},
        "f": {"filters": {"filters": {"a": {"term": {"tag": "a"}}}, "other_bucket": true}},
        "m": {"missing": {"field": "tag"}},
        "g": {"global": {}, "aggs": {"n": {"value_count": {"field": "n"}}}},
        "c": {"composite": {"size": 4, "sources": [
            {"d": {"date_histogram": {"field": "at", "fixed_interval": "7d", "missing_bucket": true}}},
            {"t": {"terms": {"field": "tag", "order": "desc"}}}]}},
    })
}

fn doc() -> impl Strategy<Value = Value> {
    let tags = proptest::collection::vec(prop::sample::select(vec!["a", "b", "c", "d", "e"]), 0..3);
    let numbers = proptest::collection::vec(-5_i64..15, 0..3);
    let at = prop::option::of(1_700_000_000_000_i64..1_730_000_000_000);
    let items = proptest::collection::vec(prop::sample::select(vec!["x", "y"]), 0..3);
    (tags, numbers, at, items).prop_map(|(tags, numbers, at, items)| {
        let items: Vec<Value> = items.iter().map(|name| json!({"name": name})).collect();
        json!({"tag": tags, "n": numbers, "at": at, "items": items})
    })
}

/// Hits that are equal otherwise are in the order of their index: compared without it.
fn without_ids(mut answer: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(strip),
            Value::Object(object) => {
                if object.contains_key("_id") {
                    object.retain(|key, _| key == "sort");
                }
                object.values_mut().for_each(strip);
            }
            _ => {}
        }
    }
    strip(&mut answer);
    answer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_does_not_matter_how_documents_are_spread(
        docs in proptest::collection::vec((doc(), 0_usize..2, 0_usize..3), 0..24),
    ) {
        let all = docs.iter().map(|(doc, _, _)| doc.clone()).collect();
        let whole = Index::new("whole", &[all]);
        let part = |index: usize| {
            let segment = |segment: usize| -> Vec<Value> {
                let docs = docs.iter().filter(|(_, i, s)| (*i, *s) == (index, segment));
                docs.map(|(doc, _, _)| doc.clone()).collect()
            };
            let segments: Vec<_> = (0..3).map(segment).filter(|docs| !docs.is_empty()).collect();
            Index::new(&format!("part{index}"), &segments)
        };
        let (first, second) = (part(0), part(1));
        let expected = without_ids(over(&[&whole], &aggs()).unwrap());
        for indices in [[&first, &second], [&second, &first]] {
            let found = without_ids(over(&indices, &aggs()).unwrap());
            prop_assert_eq!(&found, &expected);
        }
    }

    #[test]
    fn terms_and_histograms_count_as_counting_by_hand_does(
        docs in proptest::collection::vec(doc(), 0..24),
    ) {
        let index = Index::new("index", std::slice::from_ref(&docs));
        let answer = over(&[&index], &aggs()).unwrap();
        let has = |doc: &Value, tag: &Value| doc["tag"].as_array().unwrap().contains(tag);
        for bucket in answer["t"]["buckets"].as_array().unwrap() {
            let docs: Vec<_> = docs.iter().filter(|doc| has(doc, &bucket["key"])).collect();
            prop_assert_eq!(bucket["doc_count"].as_u64(), Some(docs.len() as u64));
            let numbers = docs.iter().flat_map(|doc| doc["n"].as_array().unwrap());
            let numbers: Vec<i64> = numbers.map(|n| n.as_i64().unwrap()).collect();
            prop_assert_eq!(bucket["s"]["count"].as_u64(), Some(numbers.len() as u64));
            prop_assert_eq!(bucket["s"]["sum"].as_f64(), Some(numbers.iter().sum::<i64>() as f64));
            let max = numbers.iter().max().map(|max| *max as f64);
            prop_assert_eq!(bucket["s"]["max"].as_f64(), max);
        }
        let dated = docs.iter().filter(|doc| doc["at"].is_i64()).count() as u64;
        for name in ["d", "z"] {
            let buckets = answer[name]["buckets"].as_array().unwrap().iter();
            let counted: u64 = buckets.map(|bucket| bucket["doc_count"].as_u64().unwrap()).sum();
            prop_assert_eq!(counted, dated);
        }
    }
}

#[test]
fn indices_can_be_aggregated_by_several_threads() {
    fn moves<T: Send>() {}
    fn shared<T: Sync>() {}
    moves::<crate::search_node::aggs::Partial>();
    shared::<crate::search_node::aggs::Aggs>();
}

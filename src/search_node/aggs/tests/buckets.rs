use serde_json::{Value, json};

use super::host::Index;
use super::{one, over};
use crate::search_node::aggs::Aggs;

fn index() -> Index {
    Index::new(
        "index",
        &[
            vec![
                json!({"tag": "a", "n": 1}),
                json!({"tag": ["a", "b"], "n": 2}),
            ],
            vec![json!({"tag": "c"}), json!({"n": 4})],
        ],
    )
}

#[test]
fn filters_have_named_or_anonymous_buckets() {
    let filter = json!({"filter": {"term": {"tag": "a"}}, "aggs": {"s": {"sum": {"field": "n"}}}});
    assert_eq!(
        one(&index(), &filter),
        json!({"doc_count": 2, "s": {"value": 3.0}})
    );
    let named = json!({"filters": {
        "filters": {"z": {"term": {"tag": "a"}}, "y": {"term": {"tag": "b"}}},
        "other_bucket_key": "rest",
    }});
    assert_eq!(
        one(&index(), &named).to_string(),
        r#"{"buckets":{"y":{"doc_count":1},"z":{"doc_count":2},"rest":{"doc_count":2}}}"#
    );
    let anonymous = json!({"filters": {
        "filters": [{"term": {"tag": "a"}}, {"term": {"tag": "zzz"}}],
        "other_bucket": true,
    }});
    assert_eq!(
        one(&index(), &anonymous)["buckets"],
        json!([{"doc_count": 2}, {"doc_count": 0}, {"doc_count": 2}])
    );
}

#[test]
fn missing_counts_documents_without_a_value() {
    let missing = |field: &str| one(&index(), &json!({"missing": {"field": field}}));
    assert_eq!(missing("tag"), json!({"doc_count": 1}));
    assert_eq!(missing("nowhere"), json!({"doc_count": 4}));
}

#[test]
fn global_looks_at_all_documents() {
    let aggs = json!({
        "all": {"global": {}, "aggs": {
            "n": {"sum": {"field": "n"}}, "t": {"terms": {"field": "tag"}}}},
        "found": {"sum": {"field": "n"}},
    });
    let aggs = Aggs::parse(&aggs).unwrap();
    let index = index();
    let partial = index.collect_where(&aggs, |doc| doc == 1).unwrap();
    let answer = aggs.finish(partial, &[&index]).unwrap();
    assert_eq!(answer["all"]["doc_count"], 4);
    assert_eq!(answer["all"]["n"]["value"], 7.0);
    assert_eq!(
        answer["all"]["t"]["buckets"][0],
        json!({"key": "a", "doc_count": 2})
    );
    assert_eq!(answer["found"]["value"], 6.0);
}

#[test]
fn the_best_hits_of_each_bucket_are_shown() {
    let hits = |body: Value| one(&index(), &json!({"top_hits": body}))["hits"].clone();
    let best = hits(json!({"size": 1, "_source": false}));
    assert_eq!(
        best,
        json!({"total": {"value": 4, "relation": "eq"}, "max_score": 2.0,
            "hits": [{"_index": "index", "_id": "2", "_score": 2.0}]})
    );
    let sorted = hits(json!({"sort": [{"n": {"order": "desc"}}], "size": 9}));
    assert_eq!(sorted["max_score"], Value::Null);
    let ids: Vec<_> = sorted["hits"].as_array().unwrap().iter().collect();
    assert_eq!(ids[0]["_source"], json!({"n": 4}));
    assert_eq!(ids[0]["sort"], json!([4]));
    assert_eq!(ids[0]["_score"], Value::Null);
    assert_eq!(ids[3]["sort"], json!([null]));
    let tags = hits(json!({"sort": {"tag": {"order": "asc", "missing": "_first"}}, "from": 1}));
    let tags: Vec<_> = tags["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| &hit["sort"][0])
        .collect();
    assert_eq!(tags, ["a", "a", "c"]);
    let scored = hits(json!({"sort": ["_score", "_doc"], "size": 1}));
    assert_eq!(scored["hits"][0]["sort"][0], 2.0);

    let other = Index::new("other", &[vec![json!({"tag": "a", "n": 9})]]);
    let best = json!({"top_hits": {"size": 1, "sort": [{"n": "desc"}]}});
    let aggs = json!({"t": {"terms": {"field": "tag"}, "aggs": {"best": best}}});
    let answer = over(&[&index(), &other], &aggs).unwrap();
    let bucket = &answer["t"]["buckets"][0]["best"]["hits"];
    assert_eq!(bucket["total"]["value"], 3);
    assert_eq!(bucket["hits"][0]["_index"], "other");
    let bucket = &answer["t"]["buckets"][1]["best"]["hits"];
    assert_eq!(bucket["hits"][0]["_id"], "2");
}

#[test]
fn hits_need_scores_only_when_they_are_sorted_by_them() {
    let needs = |aggs: Value| Aggs::parse(&aggs).unwrap().needs_scores();
    let within = |hits: Value| json!({"t": {"terms": {"field": "tag"}, "aggs": {"h": hits}}});
    assert!(needs(within(json!({"top_hits": {}}))));
    assert!(!needs(within(json!({"top_hits": {"sort": ["n"]}}))));
    assert!(needs(within(
        json!({"top_hits": {"sort": ["n"], "track_scores": true}})
    )));
    assert!(!needs(within(json!({"avg": {"field": "n"}}))));
}

#[test]
fn an_index_without_documents_has_empty_answers() {
    let none = Index::new("none", &[]);
    let aggs = json!({
        "t": {"terms": {"field": "tag"}},
        "d": {"date_histogram": {"field": "at", "fixed_interval": "1d"}},
        "r": {"range": {"field": "n", "ranges": [{"from": 1}]}},
        "f": {"filters": {"filters": {"a": {"term": {"tag": "a"}}}}},
        "s": {"stats": {"field": "n"}, "meta": {"why": "so"}},
        "h": {"top_hits": {}},
        "c": {"composite": {"sources": [{"t": {"terms": {"field": "tag"}}}]}},
        "n": {"nested": {"path": "items"}},
        "g": {"global": {}},
    });
    let answer = over(&[&none], &aggs).unwrap();
    let parsed = Aggs::parse(&aggs).unwrap();
    assert_eq!(parsed.finish(parsed.empty(), &[]).unwrap(), answer);
    assert_eq!(answer["t"]["buckets"], json!([]));
    assert_eq!(answer["d"]["buckets"], json!([]));
    assert_eq!(answer["r"]["buckets"][0]["doc_count"], 0);
    assert_eq!(answer["f"]["buckets"]["a"]["doc_count"], 0);
    assert_eq!(answer["s"]["meta"]["why"], "so");
    assert_eq!(answer["h"]["hits"]["max_score"], Value::Null);
    assert_eq!(answer["c"], json!({"buckets": []}));
    assert_eq!(answer["n"], json!({"doc_count": 0}));
    // What is wrong with the request is said all the same.
    assert!(over(&[&none], &json!({"t": {"terms": {"field": "text"}}})).is_err());
}

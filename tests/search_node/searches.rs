//! Searches: what is found, in which order.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::common::search::Node;

#[test]
fn documents_are_searched_sorted_aggregated_and_paged() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call(
        "PUT",
        "/shop",
        json!({"mappings": {"properties": {
            "name": {"type": "text"}, "kind": {"type": "keyword"}, "price": {"type": "double"},
            "day": {"type": "date"},
            "parts": {"type": "nested", "properties": {"id": {"type": "keyword"}, "n": {"type": "integer"}}}
        }}}),
    );
    for (id, name, kind, price, parts) in [
        (
            "1",
            "red apple",
            "fruit",
            1.5,
            json!([{"id": "a", "n": 1}, {"id": "b", "n": 2}]),
        ),
        (
            "2",
            "green apple pie",
            "cake",
            4.0,
            json!([{"id": "a", "n": 2}]),
        ),
        ("3", "pear", "fruit", 2.0, json!([])),
    ] {
        let body = json!({"name": name, "kind": kind, "price": price, "day": format!("2025-01-0{id}"), "parts": parts});
        node.call("PUT", &format!("/shop/_doc/{id}?refresh=true"), body);
    }
    let ids = |query: Value| -> Vec<String> {
        let body = json!({"query": query, "sort": [{"price": "desc"}]});
        let answer = node.call("POST", "/shop/_search", body);
        let hits = answer["hits"]["hits"].as_array().unwrap();
        hits.iter()
            .map(|hit| hit["_id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(json!({"match": {"name": "apple"}})), ["2", "1"]);
    assert_eq!(ids(json!({"match_phrase": {"name": "apple pie"}})), ["2"]);
    assert_eq!(ids(json!({"term": {"kind": "fruit"}})), ["3", "1"]);
    assert_eq!(ids(json!({"range": {"price": {"gt": 1.5}}})), ["2", "3"]);
    assert_eq!(
        ids(json!({"range": {"day": {"gte": "2025-01-02", "lt": "2025-01-02||+1d/d"}}})),
        ["2"]
    );
    assert_eq!(
        ids(json!({"bool": {"must_not": {"term": {"kind": "cake"}}}})),
        ["3", "1"]
    );
    assert_eq!(ids(json!({"prefix": {"kind": "fr"}})), ["3", "1"]);
    assert_eq!(ids(json!({"wildcard": {"kind": "*a*e"}})), ["2"]);
    assert_eq!(ids(json!({"fuzzy": {"name": "peer"}})), ["3"]);
    assert_eq!(
        ids(json!({"query_string": {"query": "name:(apple AND NOT pie)"}})),
        ["1"]
    );
    let both = json!({"nested": {"path": "parts", "query": {"bool": {"must": [
        {"term": {"parts.id": "a"}}, {"term": {"parts.n": 2}}]}}}});
    assert_eq!(ids(both), ["2"]);

    let answer = node.call(
        "POST",
        "/shop/_search",
        json!({"size": 0, "aggs": {"kinds": {"terms": {"field": "kind"}, "aggs": {"cost": {"avg": {"field": "price"}}}}}}),
    );
    let first = &answer["aggregations"]["kinds"]["buckets"][0];
    assert_eq!(
        (&first["key"], &first["doc_count"], &first["cost"]["value"]),
        (&json!("fruit"), &json!(2), &json!(1.75))
    );

    let page = json!({"size": 2, "sort": [{"price": "asc"}], "search_after": [1.5]});
    let hits = node.call("POST", "/shop/_search", page);
    assert_eq!(hits["hits"]["hits"][0]["_id"], "3");
    let first = node.call("POST", "/shop/_search?scroll=1m", json!({"size": 2}));
    let scroll = json!({"scroll": "1m", "scroll_id": first["_scroll_id"]});
    let second = node.call("POST", "/_search/scroll", scroll);
    assert_eq!(second["hits"]["hits"].as_array().unwrap().len(), 1);
}

#[test]
fn the_best_hits_are_the_same_whether_all_are_counted_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call(
        "PUT",
        "/a",
        json!({"settings": {"refresh_interval": -1}, "mappings": {"properties": {
            "t": {"type": "text", "fields": {"flat": {"type": "text", "norms": false}}},
            "k": {"type": "keyword"}, "parts": {"type": "nested", "properties": {"n": {"type": "integer"}}}
        }}}),
    );
    // Words of very different frequency, in texts of different length, in several segments, with
    // documents replaced and deleted since.
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    for round in 0..6 {
        let mut lines = String::new();
        for number in 0..900 {
            let length = 1 + random(2 << round);
            let words: Vec<String> = (0..length)
                .map(|_| format!("w{}", random(40) * random(40) / 40))
                .collect();
            let id = if number % 10 == 0 {
                number
            } else {
                round * 900 + number
            };
            let doc = json!({"t": words.join(" "), "k": format!("k{}", number % 2), "parts": [{"n": number}]});
            writeln!(lines, "{{\"index\":{{\"_id\":\"{id}\"}}}}\n{doc}").unwrap();
            if number % 50 == 7 {
                writeln!(lines, "{{\"delete\":{{\"_id\":\"{}\"}}}}", number / 2).unwrap();
            }
        }
        let (status, _) = node
            .send("boss", "POST", "/a/_bulk?refresh=true", Some(lines))
            .unwrap();
        assert_eq!(status, 200);
    }
    let mut pruned = 0;
    for query in [
        json!({"match": {"t": "w0"}}),
        json!({"match": {"t": "w0 w1"}}),
        json!({"match": {"t": "w0 w30 w2 w7"}}),
        json!({"match": {"t.flat": "w0 w2"}}),
        json!({"match": {"t": {"query": "w0 w1", "operator": "and"}}}),
        json!({"match": {"t": {"query": "w0 w1 w2", "minimum_should_match": 2}}}),
        json!({"term": {"k": "k1"}}),
        json!({"bool": {"should": [{"match": {"t": "w0"}}, {"match": {"t": {"query": "w3", "boost": 3}}}]}}),
        json!({"bool": {"must": [{"match": {"t": "w0 w1"}}], "must_not": [{"term": {"k": "k0"}}]}}),
        json!({"match_all": {}}),
    ] {
        for (from, size) in [(0, 10), (5, 40), (0, 700)] {
            let ask = |track: Value| {
                let body = json!({
                    "query": query, "from": from, "size": size, "track_total_hits": track, "_source": false
                });
                node.call("POST", "/a/_search", body)
            };
            let all = ask(json!(true));
            for track in [json!(200), json!(false)] {
                let some = ask(track.clone());
                let close =
                    |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-5;
                let (all, some) = (&all["hits"], &some["hits"]);
                let (wanted, found) = (
                    all["hits"].as_array().unwrap(),
                    some["hits"].as_array().unwrap(),
                );
                assert_eq!(found.len(), wanted.len(), "{query}");
                for (a, b) in wanted.iter().zip(found) {
                    assert!(
                        a["_id"] == b["_id"] && close(&a["_score"], &b["_score"]),
                        "{query} {track}: {a} {b}"
                    );
                }
                assert!(close(&all["max_score"], &some["max_score"]), "{query}");
                let total = all["total"]["value"].as_u64().unwrap();
                if track == json!(200) && total > 200 {
                    assert_eq!(
                        some["total"],
                        json!({"value": 200, "relation": "gte"}),
                        "{query}"
                    );
                    pruned += 1;
                } else if track == json!(200) {
                    assert_eq!(some["total"]["value"], total, "{query}");
                }
            }
        }
    }
    assert!(pruned >= 10, "{pruned}");
}

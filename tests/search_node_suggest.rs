//! Suggestions of the search node, over HTTP.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use common::search::Node;
use serde_json::{Value, json};

fn texts(answer: &Value, name: &str, entry: usize) -> Vec<String> {
    let options = answer["suggest"][name][entry]["options"].as_array();
    let options = options.unwrap_or_else(|| panic!("{answer}")).iter();
    options
        .map(|option| option["text"].as_str().unwrap().to_owned())
        .collect()
}

/// Documents with `title`, in two segments.
fn shelf(node: &Node) {
    let mapping = json!({"mappings": {"properties": {
        "title": {"type": "text"}, "tag": {"type": "keyword", "normalizer": "lowercase"},
        "n": {"type": "long"}}}});
    node.call("PUT", "/shelf", mapping);
    for (number, title) in [
        "search engine",
        "search engines",
        "the searched engine",
        "surch party",
        "a party of searchers",
        "engine room",
    ]
    .iter()
    .enumerate()
    {
        let path = format!("/shelf/_doc/{number}?refresh=true");
        node.call("PUT", &path, json!({"title": title, "tag": title, "n": 1}));
    }
}

#[test]
fn words_near_a_missing_one_are_suggested_by_likeness_and_frequency() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    shelf(&node);
    let suggest = |term: Value, text: &str| {
        let mut term = term;
        term["field"] = "title".into();
        let body = json!({"suggest": {"s": {"text": text, "term": term}}});
        node.call("POST", "/shelf/_search", body)
    };
    let answer = suggest(json!({}), "seerch ängine enigne");
    // Suggestions alone come without hits.
    assert_eq!(answer["hits"]["total"]["value"], 0);
    assert_eq!(answer["hits"]["hits"], json!([]));
    let entries = &answer["suggest"]["s"];
    assert_eq!(entries.as_array().unwrap().len(), 3);
    assert_eq!(entries[0]["text"], "seerch");
    assert_eq!(
        (&entries[0]["offset"], &entries[0]["length"]),
        (&json!(0), &json!(6))
    );
    assert_eq!(
        (&entries[1]["offset"], &entries[1]["length"]),
        (&json!(7), &json!(6))
    );
    assert_eq!(
        (&entries[2]["offset"], &entries[2]["length"]),
        (&json!(14), &json!(6))
    );
    assert_eq!(texts(&answer, "s", 0), ["search", "surch"]);
    let first = &entries[0]["options"][0];
    assert_eq!(first["freq"], 2);
    assert!((first["score"].as_f64().unwrap() - 0.833_333).abs() < 0.001);
    // The first character must be equal.
    assert_eq!(texts(&answer, "s", 1), Vec::<String>::new());
    assert_eq!(texts(&answer, "s", 2), ["engine", "engines"]);
    let freq = &entries[2]["options"][0]["freq"];
    assert_eq!(*freq, 3, "over all segments");

    let loose = suggest(json!({"prefix_length": 0, "max_edits": 1}), "ängine");
    assert_eq!(texts(&loose, "s", 0), ["engine"]);
    let one = suggest(json!({"max_edits": 1}), "seerch");
    assert_eq!(texts(&one, "s", 0), ["search"]);
    // A word that occurs has no need of others, unless they are more frequent or always wanted.
    let known = json!({"max_term_freq": 10});
    assert!(texts(&suggest(known, "surch"), "s", 0).is_empty());
    let popular = json!({"suggest_mode": "popular", "max_term_freq": 10});
    assert_eq!(texts(&suggest(popular, "surch"), "s", 0), ["search"]);
    let always = json!({"suggest_mode": "always", "max_term_freq": 10, "max_edits": 1});
    assert_eq!(texts(&suggest(always, "engines"), "s", 0), ["engine"]);
    let rare = json!({"suggest_mode": "always", "max_term_freq": 0.1});
    assert!(texts(&suggest(rare, "engine"), "s", 0).is_empty());
    let frequent = suggest(json!({"min_doc_freq": 1}), "seerch");
    assert_eq!(texts(&frequent, "s", 0), ["search"]);
    let sorted = suggest(json!({"sort": "frequency", "size": 1}), "searchess");
    assert_eq!(texts(&sorted, "s", 0).len(), 1);
    assert!(texts(&suggest(json!({"min_word_length": 7}), "seerch"), "s", 0).is_empty());
    for distance in [
        "damerau_levenshtein",
        "levenshtein",
        "jaro_winkler",
        "ngram",
    ] {
        let answer = suggest(json!({"string_distance": distance}), "seerch");
        assert_eq!(texts(&answer, "s", 0)[0], "search", "{distance}");
    }

    // A keyword is one word, in the case of its normalizer.
    let tag = json!({"suggest": {"s": {"text": "Engine Rom", "term": {"field": "tag"}}}});
    let answer = node.call("POST", "/shelf/_search", tag);
    assert_eq!(texts(&answer, "s", 0), ["engine room"]);
}

#[test]
fn suggestions_stand_beside_hits_and_come_by_parameters_and_in_lists() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    shelf(&node);
    let body = json!({
        "size": 0, "query": {"match": {"title": "engine"}},
        "suggest": {"text": "seerch", "b": {"term": {"field": "title"}},
            "a": {"text": "parti", "term": {"field": "title"}}}
    });
    let answer = node.call("POST", "/shelf/_search", body.clone());
    assert_eq!(answer["hits"]["total"]["value"], 3);
    assert_eq!(texts(&answer, "b", 0), ["search", "surch"]);
    assert_eq!(texts(&answer, "a", 0), ["party"]);

    let path = "/shelf/_search?suggest_field=title&suggest_text=surch&suggest_size=1&\
                suggest_mode=always&q=room";
    let answer = node.call("GET", path, json!({}));
    assert_eq!(answer["hits"]["total"]["value"], 1);
    assert_eq!(answer["suggest"]["title"][0]["text"], "surch");

    let lines = format!("{{\"index\":\"shelf\"}}\n{body}\n{{}}\n{{\"suggest\":{{\"x\":1}}}}\n");
    let (status, answer) = node.send("boss", "POST", "/_msearch", Some(lines)).unwrap();
    assert_eq!(status, 200);
    assert_eq!(texts(&answer["responses"][0], "b", 0), ["search", "surch"]);
    assert_eq!(answer["responses"][1]["status"], 400);

    // Each index is a shard: their words add up.
    node.call(
        "PUT",
        "/more",
        json!({"mappings": {"properties": {"title": {"type": "text"}}}}),
    );
    node.call(
        "PUT",
        "/more/_doc/1?refresh=true",
        json!({"title": "research surch"}),
    );
    let both = json!({"suggest": {"s": {"text": "serch", "term": {"field": "title"}}}});
    let answer = node.call("POST", "/shelf,more/_search", both.clone());
    let options = &answer["suggest"]["s"][0]["options"];
    assert_eq!(texts(&answer, "s", 0), ["search", "surch"]);
    assert_eq!(
        (&options[0]["freq"], &options[1]["freq"]),
        (&json!(2), &json!(2))
    );

    node.call("PUT", "/empty", json!({}));
    for (path, body, said) in [
        (
            "/shelf,empty",
            both.clone(),
            "no mapping found for field [title]",
        ),
        (
            "/shelf",
            json!({"suggest": {"s": {"text": "x", "term": {"field": "n"}}}}),
            "[n]",
        ),
        (
            "/shelf",
            json!({"suggest": {"s": {"text": "x", "phrase": {"field": "n"}}}}),
            "[phrase]",
        ),
        (
            "/shelf",
            json!({"suggest": {"s": {"prefix": "x", "completion": {"field": "title"}}}}),
            "not a completion suggest field",
        ),
    ] {
        let (status, _, reason) = node.refused("POST", &format!("{path}/_search"), body);
        assert_eq!(status, 400);
        assert!(reason.contains(said), "{reason}");
    }
    let (_, _, reason) = node.refused("POST", "/shelf/_search?scroll=1m", both.clone());
    assert!(reason.contains("[suggest]"), "{reason}");
    let filter = json!({"aliases": {"few": {"filter": {"term": {"n": 1}}}}});
    node.call("PUT", "/shelf/_alias/few", filter["aliases"]["few"].clone());
    let (_, kind, _) = node.refused("POST", "/few/_search", both);
    assert_eq!(kind, "unsupported_operation_exception");
}

fn songs(node: &Node) {
    let mapping = json!({"mappings": {"properties": {
        "suggest": {"type": "completion", "fields": {"word": {"type": "keyword"}}},
        "title": {"type": "text"}}}});
    node.call("PUT", "/music", mapping);
    for (id, suggest) in [
        (
            "1",
            json!({"input": ["Nevermind", "Nirvana"], "weight": 34}),
        ),
        (
            "2",
            json!([{"input": "Nirvana Unplugged", "weight": 50}, {"input": "Nirv", "weight": 3}]),
        ),
        ("3", json!("Norvana")),
        ("4", json!(["Nevermore", "Nirvana"])),
        ("5", json!({"input": "Über alles", "weight": "7"})),
    ] {
        let path = format!("/music/_doc/{id}?refresh=true");
        node.call(
            "PUT",
            &path,
            json!({"suggest": suggest, "title": "a song", "n": {"m": id}}),
        );
    }
}

#[test]
fn inputs_that_begin_so_are_completed_by_weight() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    songs(&node);
    let complete = |prefix: &str, completion: Value| {
        let mut completion = completion;
        completion["field"] = "suggest".into();
        let body = json!({"_source": ["title"],
            "suggest": {"s": {"prefix": prefix, "completion": completion}}});
        node.call("POST", "/music/_search", body)
    };
    let answer = complete("NIR", json!({}));
    let entry = &answer["suggest"]["s"][0];
    assert_eq!(
        (&entry["text"], &entry["offset"], &entry["length"]),
        (&json!("NIR"), &json!(0), &json!(3))
    );
    assert_eq!(
        texts(&answer, "s", 0),
        ["Nirvana Unplugged", "Nirvana", "Nirvana"]
    );
    assert_eq!(
        entry["options"][0],
        json!({"text": "Nirvana Unplugged", "_index": "music", "_id": "2", "_score": 50.0,
            "_source": {"title": "a song"}})
    );
    let single = complete("nir", json!({"skip_duplicates": true}));
    assert_eq!(texts(&single, "s", 0), ["Nirvana Unplugged", "Nirvana"]);
    assert_eq!(
        texts(&complete("nir", json!({"size": 1})), "s", 0),
        ["Nirvana Unplugged"]
    );
    assert_eq!(
        texts(&complete("nirvana u", json!({})), "s", 0),
        ["Nirvana Unplugged"]
    );
    assert!(texts(&complete("", json!({})), "s", 0).is_empty());
    assert!(texts(&complete("xyz", json!({})), "s", 0).is_empty());

    let fuzzy = complete("nirb", json!({"fuzzy": true, "skip_duplicates": true}));
    assert_eq!(texts(&fuzzy, "s", 0), ["Nirvana Unplugged", "Nirvana"]);
    assert_eq!(fuzzy["suggest"]["s"][0]["options"][0]["_score"], 150.0);
    let two = complete(
        "nirva",
        json!({"fuzzy": {"fuzziness": 2}, "skip_duplicates": true}),
    );
    assert!(texts(&two, "s", 0).contains(&"Norvana".to_owned()), "{two}");
    let bytes = json!({"fuzzy": {"prefix_length": 0}});
    assert!(texts(&complete("uber", bytes), "s", 0).is_empty());
    let chars = json!({"fuzzy": {"prefix_length": 0, "unicode_aware": true}});
    assert_eq!(texts(&complete("uber", chars), "s", 0), ["Über alles"]);

    // What is deleted or replaced is not suggested any more, after merges and a restart neither.
    node.call("DELETE", "/music/_doc/2?refresh=true", json!({}));
    node.call(
        "PUT",
        "/music/_doc/1?refresh=true",
        json!({"suggest": "Nirvana 2"}),
    );
    assert_eq!(
        texts(&complete("nir", json!({})), "s", 0),
        ["Nirvana", "Nirvana 2"]
    );
    node.call("POST", "/music/_forcemerge?max_num_segments=1", json!({}));
    node.call("POST", "/music/_flush", json!({}));
    drop(node);
    let node = Node::start(dir.path());
    let body = json!({"suggest": {"text": "nir", "s": {"completion": {"field": "suggest"}}}});
    let answer = node.call("POST", "/music/_search", body);
    assert_eq!(texts(&answer, "s", 0), ["Nirvana", "Nirvana 2"]);
}

#[test]
fn completion_is_a_type_of_its_own_with_its_errors() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    songs(&node);
    let count =
        |query: Value| node.call("POST", "/music/_count", json!({"query": query}))["count"].clone();
    assert_eq!(count(json!({"exists": {"field": "suggest"}})), 5);
    node.call(
        "PUT",
        "/music/_doc/6?refresh=true",
        json!({"suggest": null}),
    );
    assert_eq!(count(json!({"exists": {"field": "suggest"}})), 5);
    // A multi-field has the inputs alone.
    assert_eq!(count(json!({"term": {"suggest.word": "Nirvana"}})), 2);
    assert_eq!(count(json!({"multi_match": {"query": "song"}})), 5);
    for query in [
        json!({"match": {"suggest": "nirvana"}}),
        json!({"term": {"suggest": "nirvana"}}),
        json!({"prefix": {"suggest": "nir"}}),
        json!({"range": {"suggest": {"gt": "a"}}}),
    ] {
        let (status, kind, reason) = node.refused("POST", "/music/_count", json!({"query": query}));
        assert_eq!(
            (status, kind.as_str()),
            (400, "unsupported_operation_exception")
        );
        assert!(reason.contains("[suggest]"), "{reason}");
    }
    for (value, why) in [
        (json!({"input": "a", "weight": -1}), "interval"),
        (json!({"input": "a", "weight": 1.5}), "integer"),
        (
            json!({"input": "a", "weight": 2_147_483_648_u64}),
            "interval",
        ),
        (json!({"input": 5}), "string or array"),
        (json!(5), "expected text or object"),
        (json!({"input": "a", "contexts": {"c": "d"}}), "contexts"),
        (json!("a\u{1f}b"), "reserved"),
    ] {
        let body = json!({"suggest": value});
        let (status, answer) = node.try_call("PUT", "/music/_doc/x", Some(body)).unwrap();
        assert_eq!(status, 400, "{answer}");
        assert_eq!(answer["error"]["type"], "document_parsing_exception");
        let cause = answer["error"]["caused_by"]["reason"].as_str().unwrap();
        assert!(cause.contains(why), "{cause}");
    }
    let change = |definition: Value| {
        let body = json!({"properties": {"suggest": definition}});
        node.try_call("PUT", "/music/_mapping", Some(body)).unwrap()
    };
    let longer = json!({"type": "completion", "max_input_length": 70});
    assert_eq!(change(longer).0, 200);
    for (definition, said) in [
        (
            json!({"type": "completion", "analyzer": "english"}),
            "analyzer",
        ),
        (
            json!({"type": "completion", "preserve_separators": false}),
            "preserve_separators",
        ),
        (
            json!({"type": "completion", "max_input_length": 0}),
            "max_input_length",
        ),
        (json!({"type": "completion", "contexts": []}), "contexts"),
        (json!({"type": "text"}), "type"),
    ] {
        let (status, answer) = change(definition);
        assert_eq!(status, 400, "{answer}");
        assert!(answer.to_string().contains(said), "{answer}");
    }
    let body = json!({"properties": {"part": {"type": "nested", "properties": {
        "s": {"type": "completion"}}}}});
    node.call("PUT", "/music/_mapping", body);
    let body = json!({"suggest": {"s": {"prefix": "a", "completion": {"field": "part.s"}}}});
    let (_, kind, _) = node.refused("POST", "/music/_search", body);
    assert_eq!(kind, "unsupported_operation_exception");
    let (status, _, _) = node.refused("POST", "/music/_search", json!({"sort": "suggest"}));
    assert_eq!(status, 400);
}

//! Who may do what.

use serde_json::json;

use crate::common::search::Node;

#[test]
fn readers_read_and_strangers_get_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call("PUT", "/a/_doc/1?refresh=true", json!({"n": 1}));
    let (status, _) = node.send("guest", "GET", "/a/_doc/1", None).unwrap();
    assert_eq!(status, 200);
    let (status, _) = node
        .send("guest", "PUT", "/a/_doc/2", Some("{}".to_owned()))
        .unwrap();
    assert_eq!(status, 403);
    let document = Some("{}".to_owned());
    let (status, _) = node
        .send("guest", "POST", "/a/_doc/_search", document)
        .unwrap();
    assert_eq!(status, 403, "a document named like a search");
    let search = Some(json!({"query": {"match_all": {}}}).to_string());
    let (status, _) = node.send("guest", "POST", "/a/_search", search).unwrap();
    assert_eq!(status, 200);
    let (status, _) = node.send("nobody", "GET", "/", None).unwrap();
    assert_eq!(status, 401);
}

#[test]
fn an_api_key_may_what_its_owner_may_and_makes_no_keys() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.call("PUT", "/a/_doc/1?refresh=true", json!({"n": 1}));
    let body = Some(json!({"name": "page"}).to_string());
    let (status, key) = node
        .send("guest", "POST", "/_security/api_key", body.clone())
        .unwrap();
    assert_eq!(status, 200, "{key}");
    let by_key = |method: &str, path: &str, body: Option<String>| {
        node.runtime.block_on(async {
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let key = format!("ApiKey {}", key["encoded"].as_str().unwrap());
            let request = node.http.request(method, format!("{}{path}", node.base));
            let request = request.header("authorization", key);
            let request = request.header("content-type", "application/json");
            let sent = request.body(body.unwrap_or_default()).send().await.unwrap();
            sent.status().as_u16()
        })
    };
    assert_eq!(by_key("GET", "/a/_doc/1", None), 200);
    assert_eq!(by_key("PUT", "/a/_doc/2", Some("{}".to_owned())), 403);
    assert_eq!(by_key("POST", "/_security/api_key", body), 400);
    let id = json!({"ids": [key["id"]]});
    node.call("DELETE", "/_security/api_key", id);
    assert_eq!(by_key("GET", "/a/_doc/1", None), 401);
}

//! API keys: made, shown and invalidated by those they stand for.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::request::{Reply, Request};
use super::security::Role;
use crate::search_node::cluster::{Node, now_millis};
use crate::search_node::dates::parse_duration_millis;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::names;

/// API keys of one user that still open something, at most.
const MAX_KEYS: usize = 100;

/// Whether a key still opens anything.
pub(super) fn is_live(key: &Value) -> bool {
    let expiration = key["expiration"].as_i64();
    key["invalidated"] != true && expiration.is_none_or(|at| at > now_millis())
}

/// `_security/…`
pub(super) fn route(node: &Arc<Node>, request: &Request, path: &[&str]) -> Outcome<Reply> {
    match (request.method.as_str(), path) {
        ("GET", ["_authenticate"]) => Ok(Reply::ok(json!({
            "username": request.user,
            "roles": [request.role.name()],
            "full_name": null,
            "email": null,
            "metadata": {},
            "enabled": true,
            "authentication_realm": {"name": "lucid", "type": "file"},
            "lookup_realm": {"name": "lucid", "type": "file"},
            "authentication_type": if request.by_key { "api_key" } else { "realm" },
        }))),
        ("PUT" | "POST", ["api_key"]) => create_key(node, request),
        ("GET", ["api_key"]) => {
            request.known(&["id", "name", "owner"])?;
            let own = request.role != Role::Admin || request.flag("owner", false)?;
            Ok(Reply::ok(json!({"api_keys": keys(node, request, own)})))
        }
        ("DELETE", ["api_key"]) => invalidate(node, request),
        _ => Err(Failure::unsupported(format!(
            "{} /_security/{}",
            request.method,
            path.join("/")
        ))),
    }
}

fn create_key(node: &Node, request: &Request) -> Outcome<Reply> {
    request.known(&["refresh"])?;
    if request.by_key {
        return Err(Failure::illegal(
            "creating derived api keys requires an explicit role descriptor that is empty, and \
             those open nothing; make keys with the user's password",
        ));
    }
    let body = request.json()?;
    let Some(name) = body["name"].as_str() else {
        return Err(Failure::illegal("an API key needs a [name]"));
    };
    if body
        .get("role_descriptors")
        .is_some_and(|roles| *roles != json!({}) && !roles.is_null())
    {
        return Err(Failure::unsupported(
            "[role_descriptors] of an API key: it has its owner's role,",
        ));
    }
    let expiration = match body["expiration"].as_str() {
        None => None,
        Some(text) => {
            let millis =
                parse_duration_millis(text).map_err(|error| Failure::illegal(error.to_string()))?;
            Some(now_millis().saturating_add(i64::try_from(millis).unwrap_or(i64::MAX)))
        }
    };
    let id = crate::search_node::cluster::index::new_uuid()?;
    let secret = crate::search_node::cluster::index::new_uuid()?;
    let mut key = json!({
        "name": name,
        "username": request.user,
        "role": request.role.name(),
        "creation": now_millis(),
        "invalidated": false,
        "hash": BASE64.encode(Sha256::digest(secret.as_bytes())),
        "metadata": body.get("metadata").cloned().unwrap_or_else(|| json!({})),
    });
    if let Some(at) = expiration {
        key["expiration"] = at.into();
    }
    node.change(|state| {
        state.api_keys.retain(|_, key| is_live(key));
        let mut owners = state.api_keys.values().map(|key| &key["username"]);
        if owners
            .by_ref()
            .filter(|owner| **owner == key["username"])
            .count()
            >= MAX_KEYS
        {
            return Err(Failure::illegal(format!(
                "user [{}] has [{MAX_KEYS}] API keys, the limit; DELETE /_security/api_key \
                 invalidates those that are not needed",
                request.user
            )));
        }
        state.api_keys.insert(id.clone(), key);
        Ok(())
    })?;
    let mut answer = json!({
        "id": id,
        "name": name,
        "api_key": secret,
        "encoded": BASE64.encode(format!("{id}:{secret}")),
    });
    if let Some(at) = expiration {
        answer["expiration"] = at.into();
    }
    Ok(Reply::ok(answer))
}

/// The keys that the request names; of the user alone, or of all.
fn keys(node: &Node, request: &Request, own: bool) -> Vec<Value> {
    let fits = |key: &str, value: &str| request.param(key).is_none_or(|p| names::matches(p, value));
    node.api_keys()
        .into_iter()
        .filter(|(id, key)| {
            fits("id", id)
                && fits("name", key["name"].as_str().unwrap_or_default())
                && (!own || key["username"] == request.user.as_str())
        })
        .map(|(id, mut key)| {
            if let Some(object) = key.as_object_mut() {
                object.shift_remove("hash");
                object.insert("id".to_owned(), id.into());
                object.insert("realm".to_owned(), "lucid".into());
            }
            key
        })
        .collect()
}

fn invalidate(node: &Node, request: &Request) -> Outcome<Reply> {
    let body = request.json()?;
    let ids: Vec<&str> = body["ids"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let name = body["name"].as_str();
    if ids.is_empty() && name.is_none() {
        return Err(Failure::illegal("one of [ids] or [name] is needed"));
    }
    let mut done = Vec::new();
    let mut before = Vec::new();
    node.change(|state| {
        for (id, key) in &mut state.api_keys {
            let own = request.role == Role::Admin || key["username"] == request.user.as_str();
            let named = name.is_some_and(|name| key["name"] == name);
            if own && (ids.contains(&id.as_str()) || named) {
                if key["invalidated"] == true {
                    before.push(id.clone());
                } else {
                    key["invalidated"] = true.into();
                    done.push(id.clone());
                }
            }
        }
        Ok(())
    })?;
    Ok(Reply::ok(json!({
        "invalidated_api_keys": done,
        "previously_invalidated_api_keys": before,
        "error_count": 0,
    })))
}

//! Who asks, and what they may do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use super::request::{Reply, Request};
use crate::search_node::cluster::{Node, now_millis};
use crate::search_node::dates::parse_duration_millis;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::names;

/// Credentials whose check succeeded lately; each costs thousands of hashes.
const REMEMBERED: usize = 64;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Everything.
    Admin,
    /// Documents, indices, templates; not the snapshots and keys of others.
    Writer,
    /// Reading.
    Reader,
}

/// Somebody who may ask.
#[derive(Debug, Clone)]
pub(crate) struct User {
    /// Name.
    pub name: String,
    /// `{PBKDF2}ROUNDS$SALT$HASH`.
    pub password_hash: String,
    /// What they may do.
    pub role: Role,
}

/// Who an accepted request comes from.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// Name.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

/// All users.
#[derive(Debug)]
pub(crate) struct Users {
    users: Vec<User>,
    seen: Mutex<HashMap<[u8; 32], Arc<Identity>>>,
}

impl Users {
    /// These.
    pub(crate) fn new(users: Vec<User>) -> Self {
        Self {
            users,
            seen: Mutex::new(HashMap::new()),
        }
    }

    /// Who sends this header, when its check succeeded lately.
    pub(super) fn known(&self, header: &str) -> Option<Arc<Identity>> {
        let digest: [u8; 32] = Sha256::digest(header.as_bytes()).into();
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&digest)
            .cloned()
    }

    /// Who sends this header; takes some milliseconds.
    pub(super) fn authenticate(&self, header: Option<&str>, node: &Node) -> Outcome<Arc<Identity>> {
        let Some(header) = header else {
            return Err(unauthorized(
                "missing authentication credentials for REST request",
            ));
        };
        if let Some(key) = header.strip_prefix("ApiKey ") {
            return by_key(key, node);
        }
        let decoded = header
            .strip_prefix("Basic ")
            .and_then(|encoded| BASE64.decode(encoded.trim()).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((name, password)) = decoded.as_deref().and_then(|text| text.split_once(':'))
        else {
            return Err(unauthorized(
                "the Authorization header is neither Basic nor ApiKey",
            ));
        };
        let user = self.users.iter().find(|user| user.name == name);
        let fits = user.is_some_and(|user| verify(&user.password_hash, password));
        let Some(user) = user.filter(|_| fits) else {
            return Err(unauthorized(&format!(
                "unable to authenticate user [{name}] for REST request"
            )));
        };
        let identity = Arc::new(Identity {
            name: user.name.clone(),
            role: user.role,
        });
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        let digest: [u8; 32] = Sha256::digest(header.as_bytes()).into();
        seen.insert(digest, Arc::clone(&identity));
        Ok(identity)
    }
}

fn unauthorized(reason: &str) -> Failure {
    Failure::new(401, "security_exception", reason)
}

fn verify(hash: &str, password: &str) -> bool {
    let parts = hash
        .strip_prefix("{PBKDF2}")
        .and_then(|rest| rest.split_once('$'))
        .and_then(|(rounds, rest)| Some((rounds.parse::<u32>().ok()?, rest.split_once('$')?)));
    let Some((rounds, (salt, wanted))) = parts else {
        return false;
    };
    let (Ok(salt), Ok(wanted)) = (BASE64.decode(salt), BASE64.decode(wanted)) else {
        return false;
    };
    let mut found = vec![0; wanted.len()];
    pbkdf2::pbkdf2_hmac::<Sha512>(password.as_bytes(), &salt, rounds, &mut found);
    same(&found, &wanted)
}

/// Compares in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
}

fn by_key(encoded: &str, node: &Node) -> Outcome<Arc<Identity>> {
    let decoded = BASE64
        .decode(encoded.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let Some((id, secret)) = decoded.as_deref().and_then(|text| text.split_once(':')) else {
        return Err(unauthorized("the API key is malformed"));
    };
    let Some(key) = node.api_key(id) else {
        return Err(unauthorized("unable to find the API key"));
    };
    let wanted = key["hash"]
        .as_str()
        .and_then(|hash| BASE64.decode(hash).ok());
    let found = Sha256::digest(secret.as_bytes());
    if !wanted.is_some_and(|wanted| same(&found, &wanted)) {
        return Err(unauthorized("invalid credentials for API key"));
    }
    if key["invalidated"] == true {
        return Err(unauthorized("api key has been invalidated"));
    }
    if key["expiration"]
        .as_i64()
        .is_some_and(|at| at <= now_millis())
    {
        return Err(unauthorized("api key is expired"));
    }
    let role = match key["role"].as_str() {
        Some("admin") => Role::Admin,
        Some("writer") => Role::Writer,
        _ => Role::Reader,
    };
    Ok(Arc::new(Identity {
        name: key["username"].as_str().unwrap_or_default().to_owned(),
        role,
    }))
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Writer => "writer",
            Role::Reader => "reader",
        }
    }

    /// Refuses what this role may not do.
    pub(super) fn check(self, request: &Request) -> Outcome<()> {
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        let reads = matches!(request.method.as_str(), "GET" | "HEAD")
            || matches!(
                path.as_slice(),
                ["_search" | "_msearch" | "_count" | "_mget" | "_analyze" | "_pit"]
                    | [
                        _,
                        "_search" | "_msearch" | "_count" | "_mget" | "_analyze" | "_pit"
                    ]
                    | ["_search", "scroll", ..]
            );
        let own_key = matches!(path.as_slice(), ["_security", ..]);
        let allowed = match self {
            Role::Admin => true,
            Role::Writer => !matches!(path.as_slice(), ["_snapshot", ..]) || reads,
            Role::Reader => reads || own_key && request.method != "PUT",
        };
        if allowed {
            return Ok(());
        }
        Err(Failure::new(
            403,
            "security_exception",
            format!(
                "action [{} /{}] is unauthorized for user [{}] with role [{}]",
                request.method,
                request.path.join("/"),
                request.user,
                self.name()
            ),
        ))
    }
}

impl Node {
    fn api_key(&self, id: &str) -> Option<Value> {
        self.state().api_keys.get(id).cloned()
    }
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
            "authentication_type": "realm",
        }))),
        ("PUT" | "POST", ["api_key"]) => create_key(node, request),
        ("GET", ["api_key"]) => Ok(Reply::ok(json!({"api_keys": keys(node, request)}))),
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

fn keys(node: &Node, request: &Request) -> Vec<Value> {
    let fits = |key: &str, value: &str| request.param(key).is_none_or(|p| names::matches(p, value));
    let is_admin = request.role == Role::Admin;
    node.state()
        .api_keys
        .into_iter()
        .filter(|(id, key)| {
            fits("id", id)
                && fits("name", key["name"].as_str().unwrap_or_default())
                && (is_admin || key["username"] == request.user.as_str())
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

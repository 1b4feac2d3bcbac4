//! Who asks, and what they may do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256, Sha512};

use super::request::Request;
use crate::search_node::cluster::Node;
use crate::search_node::failure::{Failure, Outcome};

/// Credentials whose check succeeded lately; each costs thousands of hashes.
const REMEMBERED: usize = 64;

/// What a user may do; each may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Reading.
    Reader,
    /// Documents, indices, templates, policies and settings; not snapshots, and not the keys of others.
    Writer,
    /// Everything.
    Admin,
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
    /// Whether an API key stands for them.
    pub by_key: bool,
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
            return self.by_key(key, node);
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
        let user = self.user(name);
        // A name that is not there takes as long as a wrong password, and tells nothing.
        let hash = user.or(self.users.first()).map(|user| &user.password_hash);
        let fits = hash.is_some_and(|hash| verify(hash, password));
        let Some(user) = user.filter(|_| fits) else {
            return Err(unauthorized(&format!(
                "unable to authenticate user [{name}] for REST request"
            )));
        };
        let identity = Arc::new(Identity {
            name: user.name.clone(),
            role: user.role,
            by_key: false,
        });
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        let digest: [u8; 32] = Sha256::digest(header.as_bytes()).into();
        seen.insert(digest, Arc::clone(&identity));
        Ok(identity)
    }

    fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// Who an API key stands for: its owner, with what both may do.
    fn by_key(&self, encoded: &str, node: &Node) -> Outcome<Arc<Identity>> {
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
        if !super::keys::is_live(&key) {
            return Err(unauthorized("api key is expired"));
        }
        let owner = key["username"].as_str().unwrap_or_default();
        let Some(owner) = self.user(owner) else {
            return Err(unauthorized(&format!(
                "the API key belongs to user [{owner}], who is not there any more"
            )));
        };
        let role = match key["role"].as_str() {
            Some("admin") => Role::Admin,
            Some("writer") => Role::Writer,
            _ => Role::Reader,
        };
        Ok(Arc::new(Identity {
            name: owner.name.clone(),
            role: role.min(owner.role),
            by_key: true,
        }))
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

/// Whether a request changes nothing that others see.
fn reads(method: &str, path: &[&str]) -> bool {
    match method {
        // A repository may have any name, that of a search too.
        "POST" | "DELETE" if path.first() == Some(&"_snapshot") => false,
        "GET" | "HEAD" => !matches!(
            path,
            ["_refresh" | "_flush", ..] | [_, "_refresh" | "_flush", ..]
        ),
        "POST" => matches!(
            path,
            ["_search" | "_msearch" | "_count" | "_mget" | "_analyze"]
                | [
                    _,
                    "_search" | "_msearch" | "_count" | "_mget" | "_analyze" | "_pit",
                ]
                | ["_search", "scroll", ..]
        ),
        "DELETE" => matches!(path, ["_search", "scroll", ..] | ["_pit"]),
        _ => false,
    }
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Writer => "writer",
            Role::Reader => "reader",
        }
    }

    /// Refuses what this role may not do.
    pub(super) fn check(self, request: &Request) -> Outcome<()> {
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        let allowed = match self {
            Role::Admin => true,
            Role::Writer => {
                !matches!(path.as_slice(), ["_snapshot", ..]) || reads(&request.method, &path)
            }
            // Keys are those of the user, with no more than the user may do.
            Role::Reader => reads(&request.method, &path) || path.first() == Some(&"_security"),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn asked(role: Role, method: &str, path: &str) -> bool {
        let request = Request {
            method: method.to_owned(),
            path: path.split('/').map(str::to_owned).collect(),
            params: BTreeMap::new(),
            body: bytes::Bytes::new(),
            user: "somebody".to_owned(),
            role,
            by_key: false,
        };
        role.check(&request).is_ok()
    }

    #[test]
    fn readers_reach_nothing_that_changes_what_others_see() {
        for (method, path) in [
            ("GET", "_search"),
            ("POST", "a/_search"),
            ("POST", "_msearch"),
            ("POST", "a/_mget"),
            ("POST", "a/_count"),
            ("POST", "a/_pit"),
            ("DELETE", "_pit"),
            ("POST", "_search/scroll"),
            ("DELETE", "_search/scroll"),
            ("GET", "a/_doc/_flush"),
            ("POST", "_security/api_key"),
        ] {
            assert!(asked(Role::Reader, method, path), "{method} {path}");
        }
        for (method, path) in [
            ("PUT", "a"),
            ("DELETE", "a"),
            ("DELETE", "_all"),
            ("POST", "_bulk"),
            ("POST", "a/_bulk"),
            ("PUT", "a/_doc/_search"),
            ("POST", "a/_doc/_search"),
            ("DELETE", "a/_search"),
            ("PUT", "_search"),
            ("PUT", "a/_search"),
            ("POST", "a/_update/1"),
            ("GET", "_refresh"),
            ("GET", "a/_refresh"),
            ("POST", "a/_flush"),
            ("GET", "_flush"),
            ("POST", "a/_close"),
            ("PUT", "a/_mapping"),
            ("PUT", "a/_settings"),
            ("PUT", "_index_template/t"),
            ("DELETE", "_index_template/t"),
            ("POST", "_aliases"),
            ("POST", "a/_forcemerge"),
        ] {
            assert!(!asked(Role::Reader, method, path), "{method} {path}");
            assert!(asked(Role::Writer, method, path), "{method} {path}");
        }
    }

    #[test]
    fn snapshots_are_seen_by_all_and_changed_by_administrators_alone() {
        for (method, path) in [("GET", "_snapshot/r/_all"), ("GET", "_cat/snapshots")] {
            assert!(asked(Role::Reader, method, path), "{method} {path}");
        }
        for (method, path) in [
            ("PUT", "_snapshot/r"),
            ("POST", "_snapshot/_search"),
            ("POST", "_snapshot/_count"),
            ("POST", "_snapshot/r/_cleanup"),
            ("POST", "_snapshot/r/_verify"),
            ("PUT", "_snapshot/r/s"),
            ("DELETE", "_snapshot/r/s"),
            ("POST", "_snapshot/r/s/_restore"),
            ("DELETE", "_snapshot/r"),
        ] {
            assert!(!asked(Role::Reader, method, path), "{method} {path}");
            assert!(!asked(Role::Writer, method, path), "{method} {path}");
            assert!(asked(Role::Admin, method, path), "{method} {path}");
        }
    }

    #[test]
    fn a_key_may_no_more_than_its_owner_may_now() {
        assert_eq!(Role::Admin.min(Role::Reader), Role::Reader);
        assert_eq!(Role::Writer.min(Role::Admin), Role::Writer);
    }
}

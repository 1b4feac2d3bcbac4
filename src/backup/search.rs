//! The search engine: a snapshot in a repository of its own, which lies in its volume.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::BackupError;
use crate::engine::{HEALTH_INDEX, Login};

/// Name of the part.
pub(super) const PART: &str = "search";
/// Where the engine's repository lies in it.
pub(super) const DIR: &str = "/search/repository";
/// Name of the engine's repository, and of its directory below the one that it may use.
pub(super) const REPOSITORY: &str = "lucid-backup";
/// `path_repo` of the engine's configuration, in its volume.
const PATH_REPO: &str = "snapshots";
const LIMIT: Duration = Duration::from_secs(3600);
const ANSWER: Duration = Duration::from_secs(60);
/// How much of an answer is shown in an error, in characters.
const SHOWN: usize = 300;

fn failed(cause: impl std::fmt::Display) -> BackupError {
    BackupError::Capture {
        part: PART.to_owned(),
        cause: cause.to_string(),
    }
}

/// One search engine, over its REST interface.
#[derive(Debug)]
pub(super) struct Search {
    base: String,
    login: Login,
    http: reqwest::Client,
}

impl Search {
    pub(super) fn new(address: SocketAddr, login: &Login) -> Result<Self, BackupError> {
        let http = crate::http::client().no_proxy().build().map_err(failed)?;
        Ok(Self {
            base: format!("http://{address}"),
            login: login.clone(),
            http,
        })
    }

    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Value, BackupError> {
        let mut request = self
            .http
            .request(method, format!("{}/{path}", self.base))
            .timeout(limit)
            .basic_auth(&self.login.user, Some(&self.login.password));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let text = response.text().await.map_err(failed)?;
        if !status.is_success() {
            let shown: String = text.chars().take(SHOWN).collect();
            return Err(failed(format!("{path}: {status}: {shown}")));
        }
        serde_json::from_str(&text).map_err(failed)
    }

    /// Documents by index, of those that belong to clients.
    pub(super) async fn counts(&self) -> Result<BTreeMap<String, u64>, BackupError> {
        let _: Value = self.call(Method::POST, "_refresh", None, ANSWER).await?;
        let rows = self
            .call(
                Method::GET,
                "_cat/indices?format=json&h=index",
                None,
                ANSWER,
            )
            .await?;
        let mut found = BTreeMap::new();
        for row in rows.as_array().into_iter().flatten() {
            let name = row["index"].as_str().unwrap_or_default();
            if name.is_empty() || name == HEALTH_INDEX {
                continue;
            }
            let path = format!("{name}/_count");
            let answer = self.call(Method::GET, &path, None, ANSWER).await?;
            found.insert(
                name.to_owned(),
                answer["count"].as_u64().unwrap_or_default(),
            );
        }
        Ok(found)
    }

    /// Makes the engine's repository be known to it.
    pub(super) async fn register(
        &self,
        location: &str,
        read_only: bool,
    ) -> Result<(), BackupError> {
        let settings = json!({
            "type": "fs",
            "settings": { "location": location, "readonly": read_only, "compress": false },
        });
        let path = format!("_snapshot/{REPOSITORY}");
        self.call(Method::PUT, &path, Some(&settings), ANSWER)
            .await
            .map(drop)
    }

    /// Takes a snapshot and removes those before it. Answers the directory of the repository, and
    /// the documents by index.
    pub(super) async fn capture(
        &self,
        volume: &Path,
        id: &str,
    ) -> Result<(PathBuf, String, BTreeMap<String, [u64; 2]>), BackupError> {
        self.register(REPOSITORY, false).await?;
        let before = self.counts().await?;
        let name = format!("lucid-{}", id.to_lowercase());
        let path = format!("_snapshot/{REPOSITORY}/{name}?wait_for_completion=true");
        let what = json!({
            "indices": format!("*,-{HEALTH_INDEX}"),
            "ignore_unavailable": true,
            "include_global_state": false,
        });
        let answer = self.call(Method::PUT, &path, Some(&what), LIMIT).await?;
        let snapshot = &answer["snapshot"];
        let (state, bad) = (&snapshot["state"], &snapshot["shards"]["failed"]);
        // PARTIAL is a failure too.
        if state != "SUCCESS" || bad.as_u64() != Some(0) {
            return Err(failed(format!(
                "the snapshot ended as {state} with {bad} failed shards"
            )));
        }
        let after = self.counts().await?;
        let taken: Vec<&str> = snapshot["indices"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        // Clients write meanwhile: what the snapshot holds lies between.
        let counts = taken
            .into_iter()
            .map(|index| {
                let of = |counts: &BTreeMap<String, u64>| counts.get(index).copied();
                let one = of(&before).or(of(&after)).unwrap_or(0);
                let two = of(&after).unwrap_or(one);
                (index.to_owned(), [one.min(two), one.max(two)])
            })
            .collect();
        self.remove_others(&name).await?;
        Ok((volume.join(PATH_REPO).join(REPOSITORY), name, counts))
    }

    async fn remove_others(&self, newest: &str) -> Result<(), BackupError> {
        let path = format!("_snapshot/{REPOSITORY}/_all");
        let all = self.call(Method::GET, &path, None, ANSWER).await?;
        let names = all["snapshots"].as_array().into_iter().flatten();
        for name in names.filter_map(|one| one["snapshot"].as_str()) {
            if name != newest {
                let path = format!("_snapshot/{REPOSITORY}/{name}");
                self.call(Method::DELETE, &path, None, LIMIT).await?;
            }
        }
        Ok(())
    }

    /// Restores a snapshot of the repository, as far as `indices` name it, each under the name
    /// that `renamed` begins with.
    pub(super) async fn restore(
        &self,
        snapshot: &str,
        indices: &str,
        renamed: Option<&str>,
    ) -> Result<(), BackupError> {
        let path = format!("_snapshot/{REPOSITORY}/{snapshot}/_restore?wait_for_completion=true");
        let mut what = json!({ "indices": indices, "include_global_state": false });
        if let Some(to) = renamed {
            what["rename_pattern"] = json!("(.+)");
            what["rename_replacement"] = json!(to);
        }
        let answer = self.call(Method::POST, &path, Some(&what), LIMIT).await?;
        let bad = &answer["snapshot"]["shards"]["failed"];
        if bad.as_u64() == Some(0) {
            return Ok(());
        }
        Err(failed(format!(
            "{bad} shards of snapshot {snapshot} were not restored"
        )))
    }
}

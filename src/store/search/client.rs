//! Requests to the search engine.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, Url};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::config::Role;
use crate::store::{Access, StoreError};

/// It runs on this machine.
const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(20);
/// Connections that are kept: a request each.
const POOL: usize = 16;
/// How much of an answer is shown in an error, in characters.
const SHOWN: usize = 300;

/// See the module.
pub(super) struct Client {
    access: Access,
    open: Mutex<Option<(String, Url, reqwest::Client)>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// What is sent.
pub(super) enum Body<'a> {
    None,
    Json(&'a Value),
    /// Lines of JSON.
    Lines(String),
}

fn down(cause: impl std::fmt::Display) -> StoreError {
    StoreError::Down {
        store: Role::Search,
        cause: cause.to_string(),
    }
}

/// What is itself in a path: stars and dots of names of indices too.
const PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'*');

/// One part of a path.
pub(super) fn part(text: &str) -> String {
    utf8_percent_encode(text, PART).to_string()
}

impl Client {
    pub(super) fn new(access: Access) -> Self {
        Self {
            access,
            open: Mutex::new(None),
        }
    }

    async fn http(&self) -> Result<(Url, reqwest::Client), StoreError> {
        let uri = (self.access)(Role::Search).map_err(down)?;
        let mut open = self.open.lock().await;
        if let Some((_, base, http)) = open.as_ref().filter(|(of, _, _)| *of == uri) {
            return Ok((base.clone(), http.clone()));
        }
        let base = Url::parse(&uri).map_err(down)?;
        let http = crate::http::client()
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .pool_max_idle_per_host(POOL)
            // The engine's own certificate is the appliance's own.
            .tls_danger_accept_invalid_certs(
                base.host_str().is_some_and(|host| host == "127.0.0.1"),
            )
            .build()
            .map_err(down)?;
        *open = Some((uri, base.clone(), http.clone()));
        Ok((base, http))
    }

    /// Asks, and answers what the engine does.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] with `what` where the engine says 404.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Body<'_>,
        what: (&'static str, &str),
    ) -> Result<Value, StoreError> {
        let (base, http) = self.http().await?;
        let url = base.join(path).map_err(down)?;
        let mut request = http.request(method, url);
        match body {
            Body::None => {}
            Body::Json(body) => request = request.json(body),
            Body::Lines(lines) => {
                request = request
                    .header("content-type", "application/x-ndjson")
                    .body(lines);
            }
        }
        let failed = |error: reqwest::Error| {
            if error.is_timeout() && !error.is_connect() {
                StoreError::Slow {
                    store: Role::Search,
                    seconds: ANSWER.as_secs(),
                }
            } else {
                // The URL has the password in it.
                down(error.without_url())
            }
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(failed)?;
        let answer: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let reason = || {
            let reason = answer["error"]["reason"]
                .as_str()
                .or_else(|| answer["error"].as_str());
            reason.map_or_else(|| text.chars().take(SHOWN).collect(), str::to_owned)
        };
        match status {
            200..=299 => Ok(answer),
            404 => Err(StoreError::not_found(what.0, what.1)),
            400 => Err(StoreError::invalid("", "engine", reason())),
            401 | 403 => Err(StoreError::Forbidden(format!(
                "the search engine does not allow it: {}",
                reason()
            ))),
            409 => Err(StoreError::Conflict(reason())),
            429 | 503 => Err(down(reason())),
            _ => Err(StoreError::Refused {
                store: Role::Search,
                cause: reason(),
            }),
        }
    }
}

//! Requests to the engine.

use std::time::Duration;

use reqwest::{Method, Url};
use serde_json::Value;

use super::{Request, SchemaError};

/// An engine that is at work on something long still answers these.
const LIMIT: Duration = Duration::from_secs(30);

/// How much of an answer is shown in an error, in characters.
const SHOWN: usize = 300;

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    base: Url,
    http: reqwest::Client,
}

impl Client {
    /// Of the engine at `uri`, with user and password in it.
    pub(super) fn new(uri: &str) -> Result<Self, SchemaError> {
        let base = Url::parse(uri).map_err(|error| SchemaError::Address(error.to_string()))?;
        let http = crate::http::client()
            // A proxy of the environment has no business between two programs of one machine.
            .no_proxy()
            .timeout(LIMIT)
            .build()
            .map_err(|error| SchemaError::Silent(error.to_string()))?;
        Ok(Self { base, http })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), SchemaError> {
        let url = self
            .base
            .join(path)
            .map_err(|error| SchemaError::Address(error.to_string()))?;
        // The URL has the password in it.
        let silent = |error: reqwest::Error| SchemaError::Silent(cause(&error.without_url()));
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(silent)?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(silent)?;
        let answer = serde_json::from_str(&text);
        Ok((
            status,
            answer.unwrap_or_else(|_| text.chars().take(SHOWN).collect::<String>().into()),
        ))
    }

    /// What is at `path`; `None` when nothing is.
    pub(super) async fn get(&self, path: &str, what: &str) -> Result<Option<Value>, SchemaError> {
        let (status, answer) = self.send(Method::GET, path, None).await?;
        match status {
            200..=299 => Ok(Some(answer)),
            404 => Ok(None),
            _ => Err(refused(what, status, &answer)),
        }
    }

    /// Makes or changes something.
    pub(super) async fn change(&self, what: &str, request: &Request) -> Result<(), SchemaError> {
        let method = match request.method {
            "POST" => Method::POST,
            _ => Method::PUT,
        };
        let (status, answer) = self
            .send(method, &request.path, Some(&request.body))
            .await?;
        match status {
            200..=299 => Ok(()),
            _ => Err(refused(what, status, &answer)),
        }
    }
}

fn refused(what: &str, status: u16, answer: &Value) -> SchemaError {
    let reason = match answer["error"]["reason"].as_str() {
        Some(reason) => reason.to_owned(),
        None => answer.to_string(),
    };
    let way_out = match status {
        401 | 403 => "; `lucid credentials show search` prints the account that is used",
        429 | 503 => "; try again in a moment: what was done so far is kept",
        _ => "",
    };
    SchemaError::Refused {
        what: what.to_owned(),
        status,
        reason: format!("{reason}{way_out}"),
    }
}

/// The innermost cause: what the kernel said, not what it happened in.
fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

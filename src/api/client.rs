//! The other end of the control socket.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;

use super::{BASE, ErrorBody, socket_of};
use crate::config::Role;
use crate::paths::Paths;
use crate::status::Status;

/// Longer than the longest that the daemon takes to answer.
const LIMIT: Duration = Duration::from_secs(40);

/// A change of a volume whose datastore is stopped and started for it: longer than the supervisor
/// waits for both.
const LONG_LIMIT: Duration = Duration::from_secs(900);

/// Why the supervisor did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error(
        "no supervisor runs on this root ({} does not answer: {cause}); start it with \
         `lucid supervise` or `systemctl start lucid`, or name its root with --root DIR",
        socket.display()
    )]
    NotRunning {
        /// The socket.
        socket: PathBuf,
        /// What the connection said.
        cause: String,
    },
    /// This user may not use the socket.
    #[error("this user may not use {}; run as root or as the user who started it", .0.display())]
    Denied(PathBuf),
    /// It takes longer than any answer should.
    #[error(
        "the supervisor takes its time; what was asked for goes on: `lucid status` and `lucid job \
         list` show how"
    )]
    Slow,
    /// The supervisor said no.
    #[error("{0}")]
    Refused(String),
    /// The answer is not what this version understands.
    #[error("the supervisor's answer cannot be read ({0}); is it of another version?")]
    Answer(String),
}

/// One line that an engine wrote.
#[derive(Debug, Deserialize)]
pub(crate) struct LogLine {
    pub(crate) at: String,
    pub(crate) text: String,
}

/// A client of one appliance.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    http: reqwest::Client,
}

impl Client {
    /// A client for the appliance at `paths`; connects with the first call.
    ///
    /// # Errors
    /// [`ClientError::Answer`] where the HTTP client cannot be made.
    pub fn new(paths: &Paths) -> Result<Self, ClientError> {
        let socket = socket_of(paths);
        let http = crate::http::client()
            .unix_socket(socket.clone())
            .build()
            .map_err(|error| ClientError::Answer(error.to_string()))?;
        Ok(Self { socket, http })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
        limit: Option<Duration>,
    ) -> Result<Response, ClientError> {
        let mut request = self
            .http
            .request(method, format!("http://lucid{BASE}{path}"));
        if let Some(limit) = limit {
            request = request.timeout(limit);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.explain(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.json::<ErrorBody>().await;
        Err(match body {
            Ok(body) => ClientError::Refused(body.error.message),
            Err(_) if status == StatusCode::NOT_FOUND => {
                ClientError::Answer(format!("it does not know {path}"))
            }
            Err(error) => ClientError::Answer(error.to_string()),
        })
    }

    fn explain(&self, error: &reqwest::Error) -> ClientError {
        if error.is_timeout() {
            return ClientError::Slow;
        }
        let mut source: Option<&dyn std::error::Error> = Some(error);
        while let Some(cause) = source {
            if let Some(io) = cause.downcast_ref::<std::io::Error>() {
                return if io.kind() == ErrorKind::PermissionDenied {
                    ClientError::Denied(self.socket.clone())
                } else {
                    ClientError::NotRunning {
                        socket: self.socket.clone(),
                        cause: io.to_string(),
                    }
                };
            }
            source = cause.source();
        }
        ClientError::NotRunning {
            socket: self.socket.clone(),
            cause: error.to_string(),
        }
    }

    /// The status snapshot.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        let response = self.call(Method::GET, "/status", None, Some(LIMIT)).await?;
        response
            .json()
            .await
            .map_err(|error| ClientError::Answer(error.to_string()))
    }

    /// Calls `each` for the snapshot now and at each change, until that answers false or the
    /// supervisor ends.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) async fn follow_status(
        &self,
        each: impl FnMut(Status) -> bool,
    ) -> Result<(), ClientError> {
        let response = self
            .call(Method::GET, "/status?follow=true", None, None)
            .await?;
        self.lines(response, each).await
    }

    /// A request with or without a body; the answer is JSON, or nothing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<serde_json::Value, ClientError> {
        let response = self.call(method, path, body, Some(LONG_LIMIT)).await?;
        let text = response
            .text()
            .await
            .map_err(|error| self.explain(&error))?;
        if text.is_empty() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_str(&text).map_err(|error| ClientError::Answer(error.to_string()))
    }

    /// `test`, or `identify?seconds=N`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn panel(&self, request: &str) -> Result<(), ClientError> {
        self.call(
            Method::POST,
            &format!("/panel/{request}"),
            None,
            Some(LIMIT),
        )
        .await?;
        Ok(())
    }

    /// `start`, `stop` or `restart`; returns when the command was taken.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn act(&self, role: Role, action: &str) -> Result<(), ClientError> {
        self.call(
            Method::POST,
            &format!("/datastores/{role}/{action}"),
            None,
            Some(LIMIT),
        )
        .await?;
        Ok(())
    }

    /// A new password for the client account.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rotate(&self, role: Role) -> Result<(), ClientError> {
        let path = format!("/datastores/{role}/credentials/rotate");
        self.call(Method::POST, &path, None, Some(LIMIT)).await?;
        Ok(())
    }

    /// Calls `each` for the last `lines` lines of an engine and, with `follow`, for every line to
    /// come. `each` ends it by answering false.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) async fn logs(
        &self,
        role: Role,
        lines: usize,
        follow: bool,
        each: impl FnMut(LogLine) -> bool,
    ) -> Result<(), ClientError> {
        let path = format!("/datastores/{role}/logs?lines={lines}&follow={follow}");
        let limit = (!follow).then_some(LIMIT);
        let response = self.call(Method::GET, &path, None, limit).await?;
        self.lines(response, each).await
    }

    /// Calls `each` for every line of a body of JSON lines, until that answers false.
    async fn lines<T: serde::de::DeserializeOwned>(
        &self,
        response: Response,
        mut each: impl FnMut(T) -> bool,
    ) -> Result<(), ClientError> {
        let mut body = response.bytes_stream();
        let mut rest = Vec::new();
        while let Some(chunk) = body.next().await {
            rest.extend(chunk.map_err(|error| self.explain(&error))?);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let line = serde_json::from_slice(&line)
                    .map_err(|error| ClientError::Answer(error.to_string()))?;
                if !each(line) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_supervisor_that_takes_its_time_is_not_called_missing() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        crate::fsx::create_dir(&paths.run(), 0o755).unwrap();
        // It listens, and never answers.
        let _silent = tokio::net::UnixListener::bind(paths.socket()).unwrap();
        let client = Client::new(&paths).unwrap();
        let limit = Some(Duration::from_millis(100));
        let error = client
            .call(Method::GET, "/status", None, limit)
            .await
            .unwrap_err();
        assert!(matches!(error, ClientError::Slow), "{error}");
    }
}

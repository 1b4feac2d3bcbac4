//! The control socket: HTTP over a unix socket, for the command line and local programs.
//!
//! The socket's mode keeps everybody but its owner and group out; nothing here listens on the
//! network.

mod backups;
mod client;
mod feed;
pub mod public;
mod volumes;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRef, Path as UrlPath, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::sync::broadcast::error::RecvError;

pub use client::{Client, ClientError};

use crate::config::Role;
use crate::fsx::FsError;
use crate::panel::{Command as PanelCommand, PanelHandle};
use crate::supervisor::{Action, CommandError, Handle, Line};

/// What the command line asks is below this; what clients of the platform ask, below
/// [`public::BASE`].
pub const BASE: &str = "/control/v1";
/// A command is taken at once or, while a datastore prepares, within seconds.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// Changes that follow each other faster than this go out as one.
const STREAM_PAUSE: Duration = Duration::from_millis(20);
/// Whoever has not found the box within an hour asks again.
pub const MAX_IDENTIFY: Duration = Duration::from_secs(3600);

/// An error on the wire.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    pub(crate) error: ErrorDetail,
}

/// See [`ErrorBody`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ErrorDetail {
    /// Stable, for programs.
    pub(crate) code: String,
    /// For people: the thing, the cause, the way out.
    pub(crate) message: String,
}

struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = ErrorDetail {
            code: self.code.to_owned(),
            message: self.message,
        };
        (self.status, Json(ErrorBody { error })).into_response()
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let (status, code) = match error {
            CommandError::NotEnabled(_) => (StatusCode::NOT_FOUND, "LUCID_ERR_NOT_ENABLED"),
            CommandError::Ending(_) => (StatusCode::SERVICE_UNAVAILABLE, "LUCID_ERR_STOPPING"),
            CommandError::NotFound(_) => (StatusCode::NOT_FOUND, "LUCID_ERR_NOT_FOUND"),
            CommandError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "LUCID_ERR_VALIDATION"),
            CommandError::Refused(_) => (StatusCode::CONFLICT, "LUCID_ERR_REFUSED"),
            CommandError::Config(_) => (StatusCode::UNPROCESSABLE_ENTITY, "LUCID_ERR_CONFIG"),
        };
        Self {
            status,
            code,
            message: error.to_string(),
        }
    }
}

/// Listens on `path`, replacing a socket that a dead supervisor left: the root's lock is held
/// by the caller, so nobody alive owns it.
///
/// # Errors
/// [`FsError`] with the path.
pub fn listen(path: &Path) -> Result<UnixListener, FsError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(FsError::wrap("replace", path)(error));
        }
        _ => {}
    }
    // A path too long for a socket address (108 bytes) gets a message of its own.
    let listener = UnixListener::bind(path).map_err(FsError::wrap("listen on", path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .map_err(FsError::wrap("set the mode of", path))?;
    Ok(listener)
}

/// Serves until dropped.
///
/// # Errors
/// Only when the listener fails for good.
pub async fn serve(
    listener: UnixListener,
    handle: Handle,
    panel: PanelHandle,
    platform: Option<Router>,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/status", get(status))
        .route("/panel/test", post(panel_test))
        .route("/panel/identify", post(panel_identify))
        .route("/reload", post(reload))
        .route("/datastores/{name}/{action}", post(act))
        .route("/datastores/{name}/logs", get(logs))
        .route("/datastores/{name}/credentials/rotate", post(rotate))
        .merge(volumes::router())
        .merge(backups::router())
        .with_state(App { handle, panel });
    let router = Router::new().nest(BASE, router);
    let router = match platform {
        Some(platform) => router.merge(platform),
        None => router,
    };
    let service = router.into_make_service_with_connect_info::<public::Peer>();
    axum::serve(listener, service).await
}

/// What requests are served with.
#[derive(Debug, Clone)]
struct App {
    handle: Handle,
    panel: PanelHandle,
}

impl FromRef<App> for Handle {
    fn from_ref(app: &App) -> Self {
        app.handle.clone()
    }
}

#[derive(Debug, Deserialize)]
struct StatusQuery {
    #[serde(default)]
    follow: bool,
}

/// The snapshot; with `follow` one a line, now and at each change.
async fn status(State(handle): State<Handle>, Query(query): Query<StatusQuery>) -> Response {
    if !query.follow {
        return Json(handle.hub().snapshot()).into_response();
    }
    let changes = handle.hub().subscribe();
    let lines = stream::unfold(
        (handle, changes, true),
        |(handle, mut changes, first)| async move {
            if !first {
                tokio::time::sleep(STREAM_PAUSE).await;
                changes.changed().await.ok()?;
            }
            changes.borrow_and_update();
            let line = serde_json::to_string(&handle.hub().snapshot()).ok()? + "\n";
            let line = Ok::<_, std::io::Error>(Bytes::from(line));
            Some((line, (handle, changes, false)))
        },
    );
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (headers, Body::from_stream(lines)).into_response()
}

/// Passes a command to the panel, where there is one that shows something.
async fn to_panel(app: &App, command: PanelCommand) -> Result<StatusCode, Failure> {
    let refused = |message: &str| Failure {
        status: StatusCode::CONFLICT,
        code: "LUCID_ERR_REFUSED",
        message: message.to_owned(),
    };
    if app.handle.hub().snapshot().panel.driver == "none" {
        return Err(refused(
            "the panel is off; set panel.driver = \"auto\" in lucid.toml and restart the supervisor",
        ));
    }
    if app.panel.send(command).await {
        Ok(StatusCode::ACCEPTED)
    } else {
        Err(refused(
            "the panel has ended; the supervisor is shutting down",
        ))
    }
}

async fn panel_test(State(app): State<App>) -> Result<StatusCode, Failure> {
    to_panel(&app, PanelCommand::Test).await
}

#[derive(Debug, Deserialize)]
struct IdentifyQuery {
    #[serde(default = "default_identify")]
    seconds: u64,
}

const fn default_identify() -> u64 {
    60
}

/// Shows which box this is; 0 seconds ends it.
async fn panel_identify(
    State(app): State<App>,
    Query(query): Query<IdentifyQuery>,
) -> Result<StatusCode, Failure> {
    if query.seconds > MAX_IDENTIFY.as_secs() {
        return Err(Failure {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            code: "LUCID_ERR_VALIDATION",
            message: format!(
                "seconds is {}; allowed: 0 to {}",
                query.seconds,
                MAX_IDENTIFY.as_secs()
            ),
        });
    }
    let command = PanelCommand::Identify(Duration::from_secs(query.seconds));
    to_panel(&app, command).await
}

fn role(name: &str) -> Result<Role, Failure> {
    Role::ALL
        .into_iter()
        .find(|role| role.name() == name)
        .ok_or_else(|| Failure {
            status: StatusCode::NOT_FOUND,
            code: "LUCID_ERR_NOT_FOUND",
            message: format!(
                "there is no datastore {name:?}; there are document, cache and search"
            ),
        })
}

async fn limited<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, Failure> {
    match tokio::time::timeout(COMMAND_LIMIT, work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Failure {
            status: StatusCode::GATEWAY_TIMEOUT,
            code: "LUCID_ERR_TIMEOUT",
            message: format!(
                "not done within {} s; `lucid status` shows how it goes on",
                COMMAND_LIMIT.as_secs()
            ),
        }),
    }
}

async fn reload(State(handle): State<Handle>) -> Result<StatusCode, Failure> {
    limited(handle.reload()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn act(
    State(handle): State<Handle>,
    UrlPath((name, action)): UrlPath<(String, String)>,
) -> Result<StatusCode, Failure> {
    let role = role(&name)?;
    let action = match action.as_str() {
        "start" => Action::Start,
        "stop" => Action::Stop,
        "restart" => Action::Restart,
        other => {
            return Err(Failure {
                status: StatusCode::NOT_FOUND,
                code: "LUCID_ERR_NOT_FOUND",
                message: format!("there is no action {other:?}; there are start, stop, restart"),
            });
        }
    };
    limited(handle.act(role, action)).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn rotate(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
) -> Result<StatusCode, Failure> {
    limited(handle.rotate(role(&name)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct LogQuery {
    #[serde(default = "default_lines")]
    lines: usize,
    #[serde(default)]
    follow: bool,
}

const fn default_lines() -> usize {
    100
}

/// Newline-delimited JSON, one [`Line`] each.
async fn logs(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Failure> {
    let lines = handle.lines(role(&name)?)?;
    let follower = query.follow.then(|| lines.follow());
    let first = lines
        .last(query.lines)
        .iter()
        .map(to_json)
        .collect::<String>();
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
    let Some(follower) = follower else {
        return Ok((headers, first).into_response());
    };
    let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from(first))]);
    let rest = stream::unfold(follower, |mut follower| async move {
        loop {
            match follower.recv().await {
                Ok(line) => return Some((Ok(Bytes::from(to_json(&line))), follower)),
                // Too slow: what was missed is in the journal.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let body = Body::from_stream(futures_util::StreamExt::chain(first, rest));
    Ok((headers, body).into_response())
}

fn to_json(line: &Line) -> String {
    serde_json::to_string(line).unwrap_or_default() + "\n"
}

/// The socket of an appliance, for messages.
pub(crate) fn socket_of(paths: &crate::paths::Paths) -> PathBuf {
    paths.socket()
}

//! The appliance itself: its status, whether it lives and is ready, tokens.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::documents::now;
use super::extract::{At, Sent};
use super::fault::{ErrorBody, Fault, code};
use super::guard::proof;
use super::keys::{ApiRole, Principal};
use crate::status::{Datastore, DatastoreState};
use crate::store::StoreError;
use crate::supervisor::Action;

/// The life of a token.
const TOKEN_SECONDS: i64 = 900;

/// At the root of the server, where orchestrators look.
pub(super) fn probes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
}

pub(super) fn reader() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(token))
}

pub(super) fn admin() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(act))
}

/// In short.
#[derive(Debug, Serialize, ToSchema)]
struct ProbeView {
    /// `ok`, or the state of the appliance.
    status: String,
    timestamp: String,
}

/// Whether the supervisor lives
#[utoipa::path(get, path = "/healthz", tag = "system", security(()),
    responses((status = 200, body = ProbeView), (status = "default", body = ErrorBody)))]
async fn livez() -> Json<ProbeView> {
    Json(ProbeView {
        status: "ok".to_owned(),
        timestamp: now(),
    })
}

/// Whether the datastores serve clients
#[utoipa::path(get, path = "/readyz", tag = "system", security(()),
    responses((status = 200, body = ProbeView), (status = 503, body = ProbeView), (status = "default", body = ErrorBody)))]
async fn readyz(State(api): State<Api>) -> (StatusCode, Json<ProbeView>) {
    let status = api.handle.hub().snapshot();
    let serves = |store: &Datastore| {
        matches!(
            store.state,
            DatastoreState::Ready | DatastoreState::Degraded
        )
    };
    let is_ready = !status.datastores.is_empty() && status.datastores.iter().all(serves);
    let name = serde_json::to_value(status.state).ok();
    let answer = ProbeView {
        status: name
            .and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_default(),
        timestamp: now(),
    };
    let code = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(answer))
}

/// The status of the appliance, as `lucid status --json` has it
#[utoipa::path(get, path = "/status", tag = "system",
    responses((status = 200, body = Object), (status = "default", body = ErrorBody)))]
async fn status(State(api): State<Api>) -> Result<Json<Map<String, Value>>, Fault> {
    match serde_json::to_value(api.handle.hub().snapshot()) {
        Ok(Value::Object(fields)) => Ok(Json(fields)),
        _ => Err(Fault::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            code::INTERNAL,
            "the status cannot be written",
        )),
    }
}

/// What a token is to be good for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    /// Less than the key may; the same where it is absent.
    #[serde(default)]
    role: Option<ApiRole>,
}

/// A token.
#[derive(Debug, Serialize, ToSchema)]
struct TokenView {
    /// For `Authorization: Bearer`.
    access_token: String,
    token_type: String,
    /// Seconds.
    expires_in: i64,
    role: ApiRole,
}

/// Get a token for a while in the place of a key
#[utoipa::path(post, path = "/auth/token", tag = "system", request_body = TokenBody,
    responses((status = 200, body = TokenView), (status = "default", body = ErrorBody)))]
async fn token(
    State(api): State<Api>,
    axum::Extension(who): axum::Extension<Principal>,
    headers: HeaderMap,
    Sent(wanted): Sent<TokenBody>,
) -> Result<Json<TokenView>, Fault> {
    let role = wanted.role.unwrap_or(who.role);
    if role > who.role {
        let message = format!(
            "{} may not have more than {}: leave role out, or use a key that may more",
            who.name,
            who.role.name()
        );
        return Err(StoreError::Forbidden(message).into());
    }
    let made = proof(&headers).and_then(|key| api.keys.token(key, role, TOKEN_SECONDS));
    let access_token = made.ok_or_else(|| {
        let message = "a token is given for a key alone: not for another token, nor on the socket";
        Fault::from(StoreError::Forbidden(message.to_owned()))
    })?;
    Ok(Json(TokenView {
        access_token,
        token_type: "Bearer".to_owned(),
        expires_in: TOKEN_SECONDS,
        role,
    }))
}

/// What was asked of a datastore.
#[derive(Debug, Serialize, ToSchema)]
struct ActView {
    success: bool,
    message: String,
    timestamp: String,
}

/// What a datastore is to do.
pub(super) fn action(name: &str) -> Option<Action> {
    match name {
        "start" => Some(Action::Start),
        "stop" => Some(Action::Stop),
        "restart" => Some(Action::Restart),
        _ => None,
    }
}

/// Start, stop or restart a datastore
#[utoipa::path(post, path = "/datastores/{service}/{action}", tag = "system",
    params(("service" = String, Path, pattern = "^(mongodb|redis|elasticsearch)$"), ("action" = String, Path, pattern = "^(start|stop|restart)$")),
    responses((status = 202, body = ActView), (status = "default", body = ErrorBody)))]
async fn act(
    State(api): State<Api>,
    At((service, name)): At<(String, String)>,
) -> Result<(StatusCode, Json<ActView>), Fault> {
    let role = super::health::role(&service);
    let role = role.ok_or_else(|| StoreError::not_found("service", &service))?;
    let action = action(&name).ok_or_else(|| StoreError::not_found("action", &name))?;
    api.handle.act(role, action).await?;
    let answer = ActView {
        success: true,
        message: format!("{service}: {name} has begun; GET /health/{service} tells how it goes"),
        timestamp: now(),
    };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

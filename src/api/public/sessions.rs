//! Sessions of users.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::cache::{DeletedAnswer, LimitQuery, cleared, limit, seconds};
use super::documents::Confirm;
use super::extract::{Asked, At, Sent};
use super::fault::{ErrorBody, Fault};
use crate::store::StoreError;
use crate::store::cache::{SESSION_TTL, Session};

pub(super) fn reader() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(sessions))
}

pub(super) fn writer() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(session))
        .routes(routes!(create_session))
        .routes(routes!(change_session))
        .routes(routes!(delete_session))
}

pub(super) fn admin() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(clear_sessions))
}

/// End all sessions
#[utoipa::path(post, path = "/cache/clear-sessions", tag = "cache", params(Confirm),
    responses((status = 200, body = DeletedAnswer), (status = "default", body = ErrorBody)))]
async fn clear_sessions(
    State(api): State<Api>,
    Asked(sure): Asked<Confirm>,
) -> Result<Json<DeletedAnswer>, Fault> {
    if !sure.confirm {
        return Err(Fault::unconfirmed("logs everybody out"));
    }
    cleared(&api, "lucid:session:*").await
}

/// A session in a list: tokens let whoever has them in, so that only their ends are shown.
#[derive(Debug, Serialize, ToSchema)]
struct SessionEntry {
    /// The last characters of the token.
    session: String,
    ttl: Option<u64>,
}

/// Sessions that are there
#[utoipa::path(get, path = "/cache/sessions", tag = "cache", params(LimitQuery),
    responses((status = 200, body = Vec<SessionEntry>), (status = "default", body = ErrorBody)))]
async fn sessions(
    State(api): State<Api>,
    Asked(wanted): Asked<LimitQuery>,
) -> Result<Json<Vec<SessionEntry>>, Fault> {
    let limit = limit(wanted.limit)?;
    let page = api
        .stores
        .cache
        .keys("lucid:session:token:*", limit, None)
        .await?;
    let entries = page.keys.into_iter().map(|key| {
        let id: Vec<char> = key
            .name
            .chars()
            .skip("lucid:session:token:".len())
            .collect();
        let end: String = id.iter().skip(id.len().saturating_sub(4)).collect();
        SessionEntry {
            session: format!("…{end}"),
            ttl: key.ttl,
        }
    });
    Ok(Json(entries.collect()))
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
struct SessionView {
    session_id: String,
    user_id: String,
    created_at: String,
    last_activity: String,
    /// Seconds that it has left.
    ttl: u64,
    /// What the caller keeps in it.
    data: Map<String, Value>,
}

impl From<Session> for SessionView {
    fn from(session: Session) -> Self {
        Self {
            session_id: session.id,
            user_id: session.user_id,
            created_at: session.created_at,
            last_activity: session.last_activity,
            ttl: session.ttl,
            data: session.data,
        }
    }
}

/// A session
#[utoipa::path(get, path = "/redis/session/{session_id}", tag = "cache",
    params(("session_id" = String, Path)),
    responses((status = 200, body = SessionView), (status = "default", body = ErrorBody)))]
async fn session(State(api): State<Api>, At(id): At<String>) -> Result<Json<SessionView>, Fault> {
    let found = api.stores.cache.session(&id).await?;
    let found = found.ok_or_else(|| StoreError::not_found("session", "of this token"))?;
    Ok(Json(found.into()))
}

/// A session to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SessionBody {
    /// Its token: long and random.
    #[schema(min_length = 16, max_length = 512)]
    session_id: String,
    #[schema(min_length = 1, max_length = 512)]
    user_id: String,
    /// What to keep in it.
    #[serde(default)]
    data: Map<String, Value>,
    /// Seconds; 900 where it is absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 2_592_000)]
    ttl: Option<u32>,
}

fn life(ttl: Option<u32>) -> Result<Duration, Fault> {
    match ttl {
        Some(0 | 2_592_001..) => Err(Fault::invalid("ttl", "range", "1 s to 30 days")),
        ttl => Ok(seconds(ttl, SESSION_TTL)),
    }
}

/// Make a session
#[utoipa::path(post, path = "/redis/session", tag = "cache", request_body = SessionBody,
    responses((status = 201, body = SessionView), (status = "default", body = ErrorBody)))]
async fn create_session(
    State(api): State<Api>,
    Sent(wanted): Sent<SessionBody>,
) -> Result<(StatusCode, Json<SessionView>), Fault> {
    if wanted.session_id.len() < 16 {
        return Err(Fault::invalid(
            "session_id",
            "minLength",
            "16 bytes at least, or it is guessed",
        ));
    }
    let ttl = life(wanted.ttl)?;
    let made = api
        .stores
        .cache
        .create_session(&wanted.session_id, &wanted.user_id, wanted.data, ttl)
        .await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// What to do with a session.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TouchBody {
    /// Lets it live so many seconds from now on; without it the use alone is noted.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 2_592_000)]
    ttl: Option<u32>,
}

/// Note a use of a session, and extend it
#[utoipa::path(patch, path = "/redis/session/{session_id}", tag = "cache", request_body = TouchBody,
    params(("session_id" = String, Path)),
    responses((status = 200, body = SessionView), (status = "default", body = ErrorBody)))]
async fn change_session(
    State(api): State<Api>,
    At(id): At<String>,
    Sent(wanted): Sent<TouchBody>,
) -> Result<Json<SessionView>, Fault> {
    let gone = || Fault::from(StoreError::not_found("session", "of this token"));
    if wanted.ttl.is_some() {
        let ttl = life(wanted.ttl)?;
        if !api.stores.cache.extend_session(&id, ttl).await? {
            return Err(gone());
        }
    }
    if !api.stores.cache.touch_session(&id).await? {
        return Err(gone());
    }
    let found = api.stores.cache.session(&id).await?.ok_or_else(gone)?;
    Ok(Json(found.into()))
}

/// End a session
#[utoipa::path(delete, path = "/redis/session/{session_id}", tag = "cache",
    params(("session_id" = String, Path)),
    responses((status = 204), (status = "default", body = ErrorBody)))]
async fn delete_session(State(api): State<Api>, At(id): At<String>) -> Result<StatusCode, Fault> {
    if api.stores.cache.delete_session(&id).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(StoreError::not_found("session", "of this token").into())
}

//! Rate limits of the platform's callers.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::cache::{DeletedAnswer, LimitQuery, cleared, limit};
use super::documents::Confirm;
use super::extract::{Asked, Sent};
use super::fault::{ErrorBody, Fault};
use crate::store::cache::OnFault;

pub(super) fn reader() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(limits))
}

pub(super) fn writer() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(check_limit))
}

pub(super) fn admin() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(clear_limits))
}

/// Forget all rate limits
#[utoipa::path(post, path = "/cache/clear-rate-limits", tag = "cache", params(Confirm),
    responses((status = 200, body = DeletedAnswer), (status = "default", body = ErrorBody)))]
async fn clear_limits(
    State(api): State<Api>,
    Asked(sure): Asked<Confirm>,
) -> Result<Json<DeletedAnswer>, Fault> {
    if !sure.confirm {
        return Err(Fault::unconfirmed("lets everybody in again"));
    }
    cleared(&api, "lucid:ratelimit:*").await
}

/// A rate limit in a list.
#[derive(Debug, Serialize, ToSchema)]
struct LimitEntry {
    key: String,
    identifier: String,
    /// Calls that count now.
    count: u64,
    ttl: Option<u64>,
}

/// Rate limits that count now
#[utoipa::path(get, path = "/cache/rate-limits", tag = "cache", params(LimitQuery),
    responses((status = 200, body = Vec<LimitEntry>), (status = "default", body = ErrorBody)))]
async fn limits(
    State(api): State<Api>,
    Asked(wanted): Asked<LimitQuery>,
) -> Result<Json<Vec<LimitEntry>>, Fault> {
    let found = api.stores.cache.rate_limits(limit(wanted.limit)?).await?;
    let entries = found.into_iter().map(|key| LimitEntry {
        identifier: key
            .name
            .splitn(4, ':')
            .last()
            .unwrap_or_default()
            .to_owned(),
        count: key.members.unwrap_or(0),
        ttl: key.ttl,
        key: key.name,
    });
    Ok(Json(entries.collect()))
}

/// A call to ask for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LimitBody {
    /// `user`, `ip`, `endpoint` and so on.
    #[schema(pattern = "^[a-z0-9_-]{1,64}$")]
    kind: String,
    /// Who calls.
    #[schema(min_length = 1, max_length = 512)]
    identifier: String,
    /// Calls within the window.
    #[serde(default = "hundred_calls")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    limit: u32,
    /// Seconds.
    #[serde(default = "a_minute")]
    #[schema(minimum = 1, maximum = 86_400)]
    window: u32,
    /// Only looks, and counts nothing.
    #[serde(default)]
    dry_run: bool,
    /// Turns calls down while the cache cannot be asked: for logins.
    #[serde(default)]
    fail_closed: bool,
}

const fn hundred_calls() -> u32 {
    100
}

const fn a_minute() -> u32 {
    60
}

/// What comes of a call.
#[derive(Debug, Serialize, ToSchema)]
struct LimitAnswer {
    allowed: bool,
    limit: u64,
    remaining: u64,
    current_count: u64,
    /// Milliseconds until a call that is turned down would be let in.
    retry_after_ms: u64,
}

/// Ask for one call within a rate limit
#[utoipa::path(post, path = "/redis/rate-limit", tag = "cache", request_body = LimitBody,
    responses((status = 200, body = LimitAnswer), (status = "default", body = ErrorBody)))]
async fn check_limit(
    State(api): State<Api>,
    Sent(wanted): Sent<LimitBody>,
) -> Result<Json<LimitAnswer>, Fault> {
    let on_fault = if wanted.fail_closed {
        OnFault::Closed
    } else {
        OnFault::Open
    };
    let verdict = api
        .stores
        .cache
        .rate_limit(
            &wanted.kind,
            &wanted.identifier,
            wanted.limit.into(),
            Duration::from_secs(wanted.window.into()),
            !wanted.dry_run,
            on_fault,
        )
        .await?;
    Ok(Json(LimitAnswer {
        allowed: verdict.allowed,
        limit: verdict.limit,
        remaining: verdict.remaining,
        current_count: verdict.count,
        retry_after_ms: u64::try_from(verdict.retry_after.as_millis()).unwrap_or(u64::MAX),
    }))
}

//! The cache: values under keys.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::documents::{Confirm, now};
use super::extract::{Asked, At, Sent};
use super::fault::{ErrorBody, Fault};
use super::keys::{ApiRole, Principal};
use crate::store::StoreError;
use crate::store::cache::{DEFAULT_TTL, Key, KeyInfo};

/// What stands for a value that is a secret.
const MASKED: &str = "********";

pub(super) fn reader() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(keys))
        .routes(routes!(value))
}

pub(super) fn writer() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(operate))
        .routes(routes!(set))
}

pub(super) fn admin() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(delete))
        .routes(routes!(flush))
}

/// What to do with a value.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Operation {
    /// Put it there.
    Set,
    /// Answer it.
    Get,
    /// Take it away.
    Delete,
    /// Whether it is there.
    Exists,
}

/// A cache operation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OperateBody {
    operation: Operation,
    /// `lucid:{service}:{entity}:{id}`.
    #[schema(
        example = "lucid:cache:manifest:42",
        pattern = "^lucid:[a-z0-9_-]{1,64}:[a-z0-9_-]{1,64}:.+$"
    )]
    key: String,
    /// Any JSON; a text is kept as it is. For `set`.
    #[serde(default)]
    value: Option<Value>,
    /// Seconds; an hour where it is absent. For `set`.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 315_360_000)]
    ttl: Option<u32>,
    /// Leaves a value that is there. For `set`.
    #[serde(default)]
    nx: bool,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
struct OperateAnswer {
    success: bool,
    key: String,
    /// The value, for `get`.
    value: Option<Value>,
    /// Whether the key was there.
    exists: bool,
    /// Seconds that it has left, where it is there and ends.
    ttl: Option<u64>,
    timestamp: String,
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A text that is JSON is answered as that.
fn value_of(text: String) -> Value {
    match serde_json::from_str(&text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
        _ => Value::String(text),
    }
}

pub(super) fn seconds(ttl: Option<u32>, default: Duration) -> Duration {
    ttl.map_or(default, |ttl| Duration::from_secs(ttl.into()))
}

/// Secrets are the administrators' alone.
fn not_secret(key: &Key, who: &Principal) -> Result<(), Fault> {
    if key.is_secret() && who.role < ApiRole::Admin {
        let message =
            "sessions, locks and authentication are not changed as plain values".to_owned();
        return Err(StoreError::Forbidden(message).into());
    }
    Ok(())
}

/// A cache operation: set, get, delete, exists
#[utoipa::path(post, path = "/redis/cache", tag = "cache", request_body = OperateBody,
    responses((status = 200, body = OperateAnswer), (status = "default", body = ErrorBody)))]
async fn operate(
    State(api): State<Api>,
    axum::Extension(who): axum::Extension<Principal>,
    Sent(wanted): Sent<OperateBody>,
) -> Result<Json<OperateAnswer>, Fault> {
    let key = Key::parse(&wanted.key)?;
    not_secret(&key, &who)?;
    let cache = &api.stores.cache;
    let mut answer = OperateAnswer {
        success: true,
        key: wanted.key,
        value: None,
        exists: false,
        ttl: None,
        timestamp: now(),
    };
    match wanted.operation {
        Operation::Set => {
            let value = wanted.value.as_ref();
            let value =
                value.ok_or_else(|| Fault::invalid("value", "required", "is what is set"))?;
            let ttl = seconds(wanted.ttl, DEFAULT_TTL);
            answer.success = cache.set(&key, &text_of(value), ttl, wanted.nx).await?;
            answer.exists = true;
            answer.ttl = answer.success.then_some(ttl.as_secs());
        }
        Operation::Get => {
            if let Some(found) = cache.get(&key).await? {
                answer.exists = true;
                answer.ttl = found.ttl;
                answer.value = Some(value_of(found.text));
            }
        }
        Operation::Delete => answer.exists = cache.delete(&[key]).await? == 1,
        Operation::Exists => answer.exists = cache.exists(&key).await?,
    }
    Ok(Json(answer))
}

/// Which keys.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct KeysQuery {
    /// `*` and `?` stand for others; begins with `lucid:`, or is `*`.
    #[serde(default = "everything")]
    pattern: String,
    /// About how many.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000)]
    limit: u16,
    /// Goes on where the last answer ended.
    #[serde(default)]
    cursor: Option<String>,
}

fn everything() -> String {
    "*".to_owned()
}

pub(super) const fn hundred() -> u16 {
    100
}

/// A key in a list.
#[derive(Debug, Serialize, ToSchema)]
struct KeyView {
    key: String,
    /// Type of its value.
    #[serde(rename = "type")]
    kind: String,
    /// Seconds that it has left; null where it stays.
    ttl: Option<u64>,
    /// What the cache needs for it, in bytes.
    size: Option<u64>,
}

impl From<KeyInfo> for KeyView {
    fn from(key: KeyInfo) -> Self {
        Self {
            key: key.name,
            kind: key.kind,
            ttl: key.ttl,
            size: key.bytes,
        }
    }
}

/// Keys.
#[derive(Debug, Serialize, ToSchema)]
struct KeysAnswer {
    keys: Vec<KeyView>,
    /// Where to go on; null at the end.
    cursor: Option<String>,
    timestamp: String,
}

pub(super) fn limit(found: u16) -> Result<usize, Fault> {
    if (1..=1000).contains(&found) {
        return Ok(found.into());
    }
    Err(Fault::invalid(
        "limit",
        "range",
        format!("1 to 1000; found {found}"),
    ))
}

/// Keys of the platform
#[utoipa::path(get, path = "/cache/keys", tag = "cache", params(KeysQuery),
    responses((status = 200, body = KeysAnswer), (status = "default", body = ErrorBody)))]
async fn keys(
    State(api): State<Api>,
    axum::Extension(who): axum::Extension<Principal>,
    Asked(wanted): Asked<KeysQuery>,
) -> Result<Json<KeysAnswer>, Fault> {
    let limit = limit(wanted.limit)?;
    let page = api
        .stores
        .cache
        .keys(&wanted.pattern, limit, wanted.cursor.as_deref())
        .await?;
    // Names of sessions are what lets in whoever knows them; others are not told that they are there.
    let may_see = |key: &KeyInfo| {
        let is_secret = Key::parse(&key.name).is_ok_and(|key| key.is_secret());
        who.role == ApiRole::Admin || !is_secret
    };
    let keys = page.keys.into_iter().filter(may_see);
    Ok(Json(KeysAnswer {
        keys: keys.map(KeyView::from).collect(),
        cursor: page.cursor,
        timestamp: now(),
    }))
}

/// A value.
#[derive(Debug, Serialize, ToSchema)]
struct ValueAnswer {
    key: String,
    /// The value; stars where it is a secret.
    value: Value,
    ttl: Option<u64>,
    exists: bool,
    timestamp: String,
}

/// The value of a key
#[utoipa::path(get, path = "/cache/keys/{key}", tag = "cache", params(("key" = String, Path)),
    responses((status = 200, body = ValueAnswer), (status = "default", body = ErrorBody)))]
async fn value(
    State(api): State<Api>,
    axum::Extension(who): axum::Extension<Principal>,
    At(name): At<String>,
) -> Result<Json<ValueAnswer>, Fault> {
    let key = Key::parse(&name)?;
    let found = api.stores.cache.get(&key).await?;
    let found = found.ok_or_else(|| StoreError::not_found("key", &name))?;
    let value = if key.is_secret() && who.role < ApiRole::Admin {
        MASKED.into()
    } else {
        value_of(found.text)
    };
    Ok(Json(ValueAnswer {
        key: name,
        value,
        ttl: found.ttl,
        exists: true,
        timestamp: now(),
    }))
}

/// A value to set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetBody {
    /// Any JSON.
    value: Value,
    /// Seconds; an hour where it is absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 315_360_000)]
    ttl: Option<u32>,
    /// Leaves a value that is there.
    #[serde(default)]
    nx: bool,
}

/// Set a value
#[utoipa::path(put, path = "/cache/keys/{key}", tag = "cache", request_body = SetBody,
    params(("key" = String, Path)),
    responses((status = 200, body = OperateAnswer), (status = "default", body = ErrorBody)))]
async fn set(
    State(api): State<Api>,
    axum::Extension(who): axum::Extension<Principal>,
    At(name): At<String>,
    Sent(wanted): Sent<SetBody>,
) -> Result<Json<OperateAnswer>, Fault> {
    let key = Key::parse(&name)?;
    not_secret(&key, &who)?;
    let ttl = seconds(wanted.ttl, DEFAULT_TTL);
    let done = api
        .stores
        .cache
        .set(&key, &text_of(&wanted.value), ttl, wanted.nx)
        .await?;
    Ok(Json(OperateAnswer {
        success: done,
        key: name,
        value: None,
        exists: true,
        ttl: done.then_some(ttl.as_secs()),
        timestamp: now(),
    }))
}

/// Keys that were removed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeletedAnswer {
    success: bool,
    pattern: String,
    keys_deleted: u64,
    timestamp: String,
}

/// Remove a key
#[utoipa::path(delete, path = "/cache/keys/{key}", tag = "cache", params(("key" = String, Path), Confirm),
    responses((status = 200, body = DeletedAnswer), (status = "default", body = ErrorBody)))]
async fn delete(
    State(api): State<Api>,
    At(name): At<String>,
    Asked(sure): Asked<Confirm>,
) -> Result<Json<DeletedAnswer>, Fault> {
    let key = Key::parse(&name)?;
    if !sure.confirm {
        return Err(Fault::unconfirmed("removes a key"));
    }
    let keys_deleted = api.stores.cache.delete(&[key]).await?;
    if keys_deleted == 0 {
        return Err(StoreError::not_found("key", &name).into());
    }
    Ok(Json(DeletedAnswer {
        success: true,
        pattern: name,
        keys_deleted,
        timestamp: now(),
    }))
}

/// What to flush.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FlushQuery {
    /// Which keys; all of the platform where it is absent. Other keys are never touched.
    #[serde(default = "everything")]
    pattern: String,
    /// Says that it is meant.
    #[serde(default)]
    confirm: bool,
}

/// Remove keys of the platform by a pattern
#[utoipa::path(post, path = "/cache/flush", tag = "cache", params(FlushQuery),
    responses((status = 200, body = DeletedAnswer), (status = "default", body = ErrorBody)))]
async fn flush(
    State(api): State<Api>,
    Asked(wanted): Asked<FlushQuery>,
) -> Result<Json<DeletedAnswer>, Fault> {
    if !wanted.confirm {
        return Err(Fault::unconfirmed("removes every key that matches"));
    }
    cleared(&api, &wanted.pattern).await
}

pub(super) async fn cleared(api: &Api, pattern: &str) -> Result<Json<DeletedAnswer>, Fault> {
    let flushed = api.stores.cache.flush(pattern).await?;
    Ok(Json(DeletedAnswer {
        success: true,
        pattern: if pattern == "*" {
            "all".to_owned()
        } else {
            pattern.to_owned()
        },
        keys_deleted: flushed.keys,
        timestamp: now(),
    }))
}

/// How many.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LimitQuery {
    /// About how many.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: u16,
}

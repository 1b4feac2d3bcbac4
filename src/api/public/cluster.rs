//! The replica set and shards of the document store.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::documents::{now, to_json};
use super::extract::Sent;
use super::fault::{ErrorBody, Fault};
use super::indexes::{IndexKey, IndexKind};

pub(super) fn reader() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(replication))
        .routes(routes!(sharding))
}

pub(super) fn admin() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(enable_sharding))
        .routes(routes!(shard_collection))
}

/// The replica set of the document store
#[utoipa::path(get, path = "/mongodb/replication", tag = "cluster",
    responses((status = 200, body = Object), (status = "default", body = ErrorBody)))]
async fn replication(
    State(api): State<Api>,
) -> Result<Json<serde_json::Map<String, serde_json::Value>>, Fault> {
    let told = api.stores.documents.replica_set().await?;
    Ok(Json(to_json(told)))
}

/// A shard.
#[derive(Debug, Serialize, ToSchema)]
struct ShardView {
    id: String,
    host: String,
    state: ShardState,
}

/// Whether a shard is whole.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ShardState {
    Up,
    Unknown,
}

/// Over how many nodes documents are spread.
#[derive(Debug, Serialize, ToSchema)]
struct Sharding {
    /// Whether the store is a router before shards; one node holds every collection whole.
    enabled: bool,
    shards: Vec<ShardView>,
    timestamp: String,
}

/// Shards of the document store
#[utoipa::path(get, path = "/sharding/status", tag = "cluster",
    responses((status = 200, body = Sharding), (status = "default", body = ErrorBody)))]
async fn sharding(State(api): State<Api>) -> Result<Json<Sharding>, Fault> {
    let found = api.stores.documents.shards().await?;
    let enabled = found.is_some();
    let shards = found
        .unwrap_or_default()
        .into_iter()
        .map(|shard| ShardView {
            id: shard.id,
            host: shard.host,
            state: if shard.is_up {
                ShardState::Up
            } else {
                ShardState::Unknown
            },
        });
    Ok(Json(Sharding {
        enabled,
        shards: shards.collect(),
        timestamp: now(),
    }))
}

/// What was done to shards.
#[derive(Debug, Serialize, ToSchema)]
struct ShardingDone {
    success: bool,
    message: String,
    timestamp: String,
}

impl ShardingDone {
    fn said(message: String) -> Json<Self> {
        Json(Self {
            success: true,
            message,
            timestamp: now(),
        })
    }
}

/// Let collections be spread over shards
#[utoipa::path(post, path = "/sharding/enable", tag = "cluster",
    responses((status = 200, body = ShardingDone), (status = "default", body = ErrorBody)))]
async fn enable_sharding(State(api): State<Api>) -> Result<Json<ShardingDone>, Fault> {
    api.stores.documents.enable_sharding().await?;
    Ok(ShardingDone::said(
        "collections can be spread over shards".to_owned(),
    ))
}

/// A collection to spread.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ShardBody {
    collection: String,
    /// Fields in their order, by value or by hash.
    #[schema(min_items = 1)]
    shard_key: Vec<IndexKey>,
    /// Whether a value of the key may be there once; not with a hash.
    #[serde(default)]
    unique: bool,
}

/// Spread a collection over shards
#[utoipa::path(post, path = "/sharding/shard-collection", tag = "cluster", request_body = ShardBody,
    responses((status = 200, body = ShardingDone), (status = "default", body = ErrorBody)))]
async fn shard_collection(
    State(api): State<Api>,
    Sent(wanted): Sent<ShardBody>,
) -> Result<Json<ShardingDone>, Fault> {
    let keys = &wanted.shard_key;
    let is_hashed = |key: &IndexKey| matches!(key.kind, IndexKind::Hashed);
    let fits = |key: &IndexKey| is_hashed(key) || matches!(key.kind, IndexKind::Asc);
    if keys.is_empty() || !keys.iter().all(fits) {
        return Err(Fault::invalid(
            "shard_key",
            "kind",
            "one field at least, each asc or hashed",
        ));
    }
    if wanted.unique && keys.iter().any(is_hashed) {
        return Err(Fault::invalid(
            "unique",
            "conflict",
            "a hash is not unique: leave unique out, or take asc",
        ));
    }
    let keys: Vec<_> = keys
        .iter()
        .map(|key| (key.field.clone(), key.kind.bson()))
        .collect();
    api.stores
        .documents
        .shard_collection(&wanted.collection, &keys, wanted.unique)
        .await?;
    Ok(ShardingDone::said(format!(
        "{} is spread over shards",
        wanted.collection
    )))
}

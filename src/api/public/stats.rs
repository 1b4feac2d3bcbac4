//! How much the datastores hold, and how fast they answer.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::collections::CountsView;
use super::documents::now;
use super::extract::At;
use super::fault::{ErrorBody, Fault};
use super::health::SERVICES;
use crate::config::Role;
use crate::store::StoreError;

pub(super) fn reader() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(stats))
        .routes(routes!(mongodb))
        .routes(routes!(collection))
        .routes(routes!(redis))
        .routes(routes!(cache_stats))
        .routes(routes!(memory))
        .routes(routes!(elasticsearch))
        .routes(routes!(performance))
}

/// How much the document store holds.
#[derive(Debug, Serialize, ToSchema)]
struct MongoStats {
    connected: bool,
    version: String,
    database: String,
    collections: u64,
    views: u64,
    objects: u64,
    data_size: u64,
    storage_size: u64,
    indexes: u64,
    index_size: u64,
    avg_obj_size: u64,
}

async fn mongo_stats(api: &Api) -> Result<MongoStats, StoreError> {
    let documents = &api.stores.documents;
    let counts = documents.counts().await?;
    Ok(MongoStats {
        connected: true,
        version: documents.version().await?,
        database: crate::schema::documents::DATABASE.to_owned(),
        collections: counts.collections,
        views: counts.views,
        objects: counts.documents,
        data_size: counts.data_bytes,
        storage_size: counts.storage_bytes,
        indexes: counts.indexes,
        index_size: counts.index_bytes,
        avg_obj_size: counts.data_bytes.checked_div(counts.documents).unwrap_or(0),
    })
}

/// How much the document store holds
#[utoipa::path(get, path = "/mongodb/stats", tag = "stats",
    responses((status = 200, body = MongoStats), (status = "default", body = ErrorBody)))]
async fn mongodb(State(api): State<Api>) -> Result<Json<MongoStats>, Fault> {
    Ok(Json(mongo_stats(&api).await?))
}

/// One collection.
#[derive(Debug, Serialize, ToSchema)]
struct CollectionStats {
    collection: String,
    stats: CountsView,
    timestamp: String,
}

/// How much a collection holds
#[utoipa::path(get, path = "/stats/mongodb/collection/{collection_name}", tag = "stats",
    params(("collection_name" = String, Path)),
    responses((status = 200, body = CollectionStats), (status = "default", body = ErrorBody)))]
async fn collection(
    State(api): State<Api>,
    At(name): At<String>,
) -> Result<Json<CollectionStats>, Fault> {
    let counts = api.stores.documents.counts_of(&name).await?;
    Ok(Json(CollectionStats {
        collection: name,
        stats: counts.into(),
        timestamp: now(),
    }))
}

/// How the cache is.
#[derive(Debug, Serialize, ToSchema)]
struct RedisStats {
    connected: bool,
    version: String,
    uptime_seconds: u64,
    uptime_days: u64,
    connected_clients: u64,
    blocked_clients: u64,
    used_memory: u64,
    used_memory_human: String,
    used_memory_peak_human: String,
    total_keys: u64,
    keyspace_hits: u64,
    keyspace_misses: u64,
    /// Percent.
    hit_rate: f64,
    total_commands_processed: u64,
    instantaneous_ops_per_sec: u64,
    timestamp: String,
}

struct Info(HashMap<String, String>);

impl Info {
    fn text(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        self.0
            .get(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    /// `db0:keys=7,expires=1` of all databases.
    fn keys(&self) -> u64 {
        let spaces = self.0.iter().filter(|(name, _)| name.starts_with("db"));
        spaces
            .filter_map(|(_, text)| {
                let keys = text.split(',').find_map(|part| part.strip_prefix("keys="));
                keys.and_then(|keys| keys.parse::<u64>().ok())
            })
            .sum()
    }
}

async fn redis_stats(api: &Api) -> Result<RedisStats, StoreError> {
    let info = Info(api.stores.cache.info().await?);
    let (hits, misses) = (info.number("keyspace_hits"), info.number("keyspace_misses"));
    let asked = hits + misses;
    let rate = if asked == 0 {
        0.0
    } else {
        100.0 * hits as f64 / asked as f64
    };
    Ok(RedisStats {
        connected: true,
        version: info.text("redis_version"),
        uptime_seconds: info.number("uptime_in_seconds"),
        uptime_days: info.number("uptime_in_days"),
        connected_clients: info.number("connected_clients"),
        blocked_clients: info.number("blocked_clients"),
        used_memory: info.number("used_memory"),
        used_memory_human: info.text("used_memory_human"),
        used_memory_peak_human: info.text("used_memory_peak_human"),
        total_keys: info.keys(),
        keyspace_hits: hits,
        keyspace_misses: misses,
        hit_rate: (rate * 100.0).round() / 100.0,
        total_commands_processed: info.number("total_commands_processed"),
        instantaneous_ops_per_sec: info.number("instantaneous_ops_per_sec"),
        timestamp: now(),
    })
}

/// How the cache is
#[utoipa::path(get, path = "/stats/redis", tag = "stats",
    responses((status = 200, body = RedisStats), (status = "default", body = ErrorBody)))]
async fn redis(State(api): State<Api>) -> Result<Json<RedisStats>, Fault> {
    Ok(Json(redis_stats(&api).await?))
}

/// How the cache is, under the name of the cache
#[utoipa::path(get, path = "/cache/stats", tag = "cache",
    responses((status = 200, body = RedisStats), (status = "default", body = ErrorBody)))]
async fn cache_stats(State(api): State<Api>) -> Result<Json<RedisStats>, Fault> {
    Ok(Json(redis_stats(&api).await?))
}

/// Memory of the cache.
#[derive(Debug, Serialize, ToSchema)]
struct MemoryStats {
    used_memory: u64,
    used_memory_human: String,
    used_memory_rss: u64,
    used_memory_peak: u64,
    used_memory_peak_human: String,
    maxmemory: u64,
    maxmemory_human: String,
    total_system_memory: u64,
    mem_fragmentation_ratio: f64,
    timestamp: String,
}

/// Memory of the cache
#[utoipa::path(get, path = "/stats/redis/memory", tag = "stats",
    responses((status = 200, body = MemoryStats), (status = "default", body = ErrorBody)))]
async fn memory(State(api): State<Api>) -> Result<Json<MemoryStats>, Fault> {
    let info = Info(api.stores.cache.info().await?);
    Ok(Json(MemoryStats {
        used_memory: info.number("used_memory"),
        used_memory_human: info.text("used_memory_human"),
        used_memory_rss: info.number("used_memory_rss"),
        used_memory_peak: info.number("used_memory_peak"),
        used_memory_peak_human: info.text("used_memory_peak_human"),
        maxmemory: info.number("maxmemory"),
        maxmemory_human: info.text("maxmemory_human"),
        total_system_memory: info.number("total_system_memory"),
        mem_fragmentation_ratio: info.text("mem_fragmentation_ratio").parse().unwrap_or(0.0),
        timestamp: now(),
    }))
}

/// How the search engine is.
#[derive(Debug, Serialize, ToSchema)]
struct SearchStats {
    connected: bool,
    cluster_name: String,
    cluster_status: String,
    number_of_nodes: u64,
    number_of_data_nodes: u64,
    active_shards: u64,
    relocating_shards: u64,
    unassigned_shards: u64,
    indices_count: u64,
    docs_count: u64,
    store_size_bytes: u64,
}

async fn search_stats(api: &Api) -> Result<SearchStats, StoreError> {
    let health = api.stores.search.health().await?;
    let indices = api.stores.search.indices().await?;
    Ok(SearchStats {
        connected: true,
        cluster_name: health.cluster,
        cluster_status: health.status,
        number_of_nodes: health.nodes,
        number_of_data_nodes: health.data_nodes,
        active_shards: health.active_shards,
        relocating_shards: health.relocating_shards,
        unassigned_shards: health.unassigned_shards,
        indices_count: indices.len() as u64,
        docs_count: indices.iter().map(|index| index.documents).sum(),
        store_size_bytes: indices.iter().map(|index| index.bytes).sum(),
    })
}

/// How the search engine is
#[utoipa::path(get, path = "/stats/elasticsearch", tag = "stats",
    responses((status = 200, body = SearchStats), (status = "default", body = ErrorBody)))]
async fn elasticsearch(State(api): State<Api>) -> Result<Json<SearchStats>, Fault> {
    Ok(Json(search_stats(&api).await?))
}

/// All three, each with its numbers or the cause why there are none.
#[derive(Debug, Serialize, ToSchema)]
struct AllStats {
    timestamp: String,
    mongodb: Option<MongoStats>,
    redis: Option<RedisStats>,
    elasticsearch: Option<SearchStats>,
    /// Causes by service.
    errors: BTreeMap<String, String>,
}

/// Notes the cause where there are no numbers.
fn told<T>(
    found: Result<T, StoreError>,
    name: &str,
    errors: &mut BTreeMap<String, String>,
) -> Option<T> {
    found
        .map_err(|error| errors.insert(name.to_owned(), error.to_string()))
        .ok()
}

/// How much all of them hold
#[utoipa::path(get, path = "/stats", tag = "stats",
    responses((status = 200, body = AllStats), (status = "default", body = ErrorBody)))]
async fn stats(State(api): State<Api>) -> Json<AllStats> {
    let (mongodb, redis, search) =
        tokio::join!(mongo_stats(&api), redis_stats(&api), search_stats(&api));
    let mut errors = BTreeMap::new();
    Json(AllStats {
        mongodb: told(mongodb, "mongodb", &mut errors),
        redis: told(redis, "redis", &mut errors),
        elasticsearch: told(search, "elasticsearch", &mut errors),
        errors,
        timestamp: now(),
    })
}

/// What the probes of the supervisor measured last.
#[derive(Debug, Serialize, ToSchema)]
struct Performance {
    timestamp: String,
    /// Milliseconds by service: a write and a read; null where there was none.
    probe_latency_ms: BTreeMap<String, Option<f64>>,
    /// Commands a second of the cache, as it counts them; null where it does not answer.
    redis_commands_per_second: Option<u64>,
}

/// How fast the datastores answer
#[utoipa::path(get, path = "/stats/performance", tag = "stats",
    responses((status = 200, body = Performance), (status = "default", body = ErrorBody)))]
async fn performance(State(api): State<Api>) -> Json<Performance> {
    let status = api.handle.hub().snapshot();
    let latency = |role: Role| {
        let found = status
            .datastores
            .iter()
            .find(|one| one.name == role.name())?;
        found.probe.as_ref()?.latency_ms
    };
    let info = api.stores.cache.info().await.ok();
    Json(Performance {
        timestamp: now(),
        probe_latency_ms: SERVICES
            .iter()
            .map(|(name, role)| ((*name).to_owned(), latency(*role)))
            .collect(),
        redis_commands_per_second: info.map(|info| Info(info).number("instantaneous_ops_per_sec")),
    })
}

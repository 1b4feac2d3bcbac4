//! Collections.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::documents::{Confirm, now, to_json};
use super::extract::{Asked, At, Sent};
use super::fault::{ErrorBody, Fault};
use crate::store::documents::Counts;

pub(super) fn reader() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(count))
        .routes(routes!(validate))
}

pub(super) fn admin() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(remove))
        .routes(routes!(rename))
}

/// How much a collection holds.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CountsView {
    pub(super) count: u64,
    /// Bytes of the documents.
    pub(super) size: u64,
    pub(super) avg_obj_size: u64,
    /// Bytes on the disk.
    pub(super) storage_size: u64,
    pub(super) indexes: u64,
    /// Bytes of the indexes.
    pub(super) total_index_size: u64,
}

impl From<Counts> for CountsView {
    fn from(counts: Counts) -> Self {
        Self {
            count: counts.documents,
            size: counts.data_bytes,
            avg_obj_size: counts.data_bytes.checked_div(counts.documents).unwrap_or(0),
            storage_size: counts.storage_bytes,
            indexes: counts.indexes,
            total_index_size: counts.index_bytes,
        }
    }
}

/// Collections that are there
#[utoipa::path(get, path = "/collections", tag = "collections",
    responses((status = 200, body = Vec<String>), (status = "default", body = ErrorBody)))]
async fn list(State(api): State<Api>) -> Result<Json<Vec<String>>, Fault> {
    let found = api.stores.documents.collections().await?;
    Ok(Json(found.into_iter().map(|one| one.name).collect()))
}

/// A collection.
#[derive(Debug, Serialize, ToSchema)]
struct CollectionView {
    name: String,
    exists: bool,
    /// Whether it is one of the platform's, with rules of its own.
    known: bool,
    stats: CountsView,
    /// Its options, the validator among them.
    info: Map<String, Value>,
    timestamp: String,
}

/// A collection
#[utoipa::path(get, path = "/collections/{collection_name}", tag = "collections",
    params(("collection_name" = String, Path)),
    responses((status = 200, body = CollectionView), (status = "default", body = ErrorBody)))]
async fn show(State(api): State<Api>, At(name): At<String>) -> Result<Json<CollectionView>, Fault> {
    let documents = &api.stores.documents;
    let found = documents.collection(&name).await?;
    let counts = documents.counts_of(&name).await?;
    Ok(Json(CollectionView {
        name,
        exists: true,
        known: found.is_known,
        stats: counts.into(),
        info: to_json(found.options),
        timestamp: now(),
    }))
}

/// A collection to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CollectionCreateBody {
    #[schema(pattern = "^[A-Za-z][A-Za-z0-9_.-]{0,99}$")]
    name: String,
    /// Keeps the newest documents alone, within `size`.
    #[serde(default)]
    capped: bool,
    /// Bytes of a capped one.
    #[serde(default)]
    #[schema(minimum = 4096)]
    size: Option<u32>,
    /// Documents of a capped one.
    #[serde(default)]
    #[schema(minimum = 1)]
    max: Option<u32>,
}

/// What was done to a collection.
#[derive(Debug, Serialize, ToSchema)]
struct CollectionDoneView {
    success: bool,
    message: String,
    collection: String,
    timestamp: String,
}

fn done(collection: String, message: impl Into<String>) -> CollectionDoneView {
    CollectionDoneView {
        success: true,
        message: message.into(),
        collection,
        timestamp: now(),
    }
}

/// Make a collection
///
/// One of the platform's gets its validator and its indexes.
#[utoipa::path(post, path = "/collections", tag = "collections", request_body = CollectionCreateBody,
    responses((status = 201, body = CollectionDoneView), (status = "default", body = ErrorBody)))]
async fn create(
    State(api): State<Api>,
    Sent(wanted): Sent<CollectionCreateBody>,
) -> Result<(StatusCode, Json<CollectionDoneView>), Fault> {
    let size = match (wanted.capped, wanted.size) {
        (true, None) => {
            return Err(Fault::invalid(
                "size",
                "required",
                "a capped collection has a size",
            ));
        }
        (true, Some(..4096)) => return Err(Fault::invalid("size", "minimum", "4096 at least")),
        (true, size) => size.map(i64::from),
        (false, None) => None,
        (false, Some(_)) => {
            return Err(Fault::invalid(
                "size",
                "conflict",
                "only a capped collection has a size",
            ));
        }
    };
    let max = wanted.max.map(i64::from);
    if max == Some(0) {
        return Err(Fault::invalid("max", "minimum", "1 at least"));
    }
    api.stores
        .documents
        .create_collection(&wanted.name, size, max)
        .await?;
    Ok((
        StatusCode::CREATED,
        Json(done(wanted.name, "the collection is there")),
    ))
}

/// Remove a collection and everything in it
#[utoipa::path(delete, path = "/collections/{collection_name}", tag = "collections",
    params(("collection_name" = String, Path), Confirm),
    responses((status = 200, body = CollectionDoneView), (status = "default", body = ErrorBody)))]
async fn remove(
    State(api): State<Api>,
    At(name): At<String>,
    Asked(sure): Asked<Confirm>,
) -> Result<Json<CollectionDoneView>, Fault> {
    if !sure.confirm {
        return Err(Fault::unconfirmed(
            "removes a collection and everything in it",
        ));
    }
    api.stores.documents.drop_collection(&name).await?;
    Ok(Json(done(name, "the collection is gone")))
}

/// Another name for a collection.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RenameBody {
    old_name: String,
    #[schema(pattern = "^[A-Za-z][A-Za-z0-9_.-]{0,99}$")]
    new_name: String,
    /// In the place of one that has the name, which is gone then: `confirm` as well.
    #[serde(default)]
    drop_target: bool,
    /// Says that it is meant.
    #[serde(default)]
    confirm: bool,
}

/// Give a collection another name
#[utoipa::path(post, path = "/collections/rename", tag = "collections", request_body = RenameBody,
    responses((status = 200, body = CollectionDoneView), (status = "default", body = ErrorBody)))]
async fn rename(
    State(api): State<Api>,
    Sent(wanted): Sent<RenameBody>,
) -> Result<Json<CollectionDoneView>, Fault> {
    if wanted.drop_target && !wanted.confirm {
        return Err(Fault::unconfirmed("may replace another collection"));
    }
    api.stores
        .documents
        .rename_collection(&wanted.old_name, &wanted.new_name, wanted.drop_target)
        .await?;
    Ok(Json(done(
        wanted.new_name,
        format!("it was {}", wanted.old_name),
    )))
}

/// How many.
#[derive(Debug, Serialize, ToSchema)]
struct CountView {
    collection: String,
    count: u64,
    timestamp: String,
}

/// How many documents a collection has
#[utoipa::path(get, path = "/collections/{collection_name}/count", tag = "collections",
    params(("collection_name" = String, Path)),
    responses((status = 200, body = CountView), (status = "default", body = ErrorBody)))]
async fn count(State(api): State<Api>, At(name): At<String>) -> Result<Json<CountView>, Fault> {
    let counts = api.stores.documents.counts_of(&name).await?;
    Ok(Json(CountView {
        collection: name,
        count: counts.documents,
        timestamp: now(),
    }))
}

/// Whether documents keep the rules of their collection.
#[derive(Debug, Serialize, ToSchema)]
struct ValidView {
    collection: String,
    valid: bool,
    errors: Vec<String>,
    warnings: Vec<String>,
    timestamp: String,
}

/// Check every document of a collection
#[utoipa::path(post, path = "/collections/{collection_name}/validate", tag = "collections",
    params(("collection_name" = String, Path)),
    responses((status = 200, body = ValidView), (status = "default", body = ErrorBody)))]
async fn validate(State(api): State<Api>, At(name): At<String>) -> Result<Json<ValidView>, Fault> {
    let broken = api.stores.documents.violations(&name).await?;
    let found = api.stores.documents.collection(&name).await?;
    let mut warnings = Vec::new();
    if !found.is_known {
        warnings.push("the platform has no rules for this collection".to_owned());
    } else if !found.options.contains_key("validator") {
        warnings.push("the store does not check what is written: lucid schema apply".to_owned());
    }
    let errors = (broken > 0).then(|| format!("{broken} documents break the rules"));
    Ok(Json(ValidView {
        collection: name,
        valid: broken == 0,
        errors: errors.into_iter().collect(),
        warnings,
        timestamp: now(),
    }))
}

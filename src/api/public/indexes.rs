//! Indexes of collections.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use mongodb::bson::{Bson, Document};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::documents::{Confirm, now};
use super::extract::{Asked, At, Sent};
use super::fault::{ErrorBody, Fault, code};
use crate::store::StoreError;
use crate::store::documents::{IndexInfo, NewIndex};

pub(super) fn reader() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(indexes))
        .routes(routes!(index_stats))
}

pub(super) fn admin() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(create_index))
        .routes(routes!(drop_index))
        .routes(routes!(create_known))
        .routes(routes!(create_all_known))
        .routes(routes!(reindex))
}

/// A field of an index.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IndexKey {
    pub(super) field: String,
    pub(super) kind: IndexKind,
}

/// How an index has a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum IndexKind {
    /// From the least.
    Asc,
    /// From the greatest.
    Desc,
    /// By words; not every engine has it.
    Text,
    /// By a hash; not every engine has it.
    Hashed,
    /// By place; not every engine has it.
    #[serde(rename = "2dsphere")]
    Sphere,
}

impl IndexKind {
    pub(super) fn bson(self) -> Bson {
        match self {
            Self::Asc => Bson::Int32(1),
            Self::Desc => Bson::Int32(-1),
            Self::Text => Bson::from("text"),
            Self::Hashed => Bson::from("hashed"),
            Self::Sphere => Bson::from("2dsphere"),
        }
    }

    fn of(value: &Bson) -> Self {
        match value {
            Bson::String(text) if text == "text" => Self::Text,
            Bson::String(text) if text == "hashed" => Self::Hashed,
            Bson::String(text) if text == "2dsphere" => Self::Sphere,
            Bson::Int32(number) if *number < 0 => Self::Desc,
            Bson::Int64(number) if *number < 0 => Self::Desc,
            Bson::Double(number) if *number < 0.0 => Self::Desc,
            _ => Self::Asc,
        }
    }
}

/// An index.
#[derive(Debug, Serialize, ToSchema)]
struct IndexView {
    name: String,
    keys: Vec<IndexKey>,
    unique: bool,
    sparse: bool,
    /// Documents go so many seconds after the time in the field.
    expire_after_seconds: Option<i64>,
}

fn number(options: &Document, name: &str) -> Option<i64> {
    match options.get(name)? {
        Bson::Int32(number) => Some((*number).into()),
        Bson::Int64(number) => Some(*number),
        #[allow(clippy::cast_possible_truncation)]
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

impl From<IndexInfo> for IndexView {
    fn from(index: IndexInfo) -> Self {
        let is = |name: &str| index.options.get_bool(name).unwrap_or(false);
        let keys = index.keys.iter().map(|(field, kind)| IndexKey {
            field: field.clone(),
            kind: IndexKind::of(kind),
        });
        Self {
            keys: keys.collect(),
            unique: is("unique") || index.name == "_id_",
            sparse: is("sparse"),
            expire_after_seconds: number(&index.options, "expireAfterSeconds"),
            name: index.name,
        }
    }
}

/// Indexes of a collection
#[utoipa::path(get, path = "/indexes/{collection_name}", tag = "indexes",
    params(("collection_name" = String, Path)),
    responses((status = 200, body = Vec<IndexView>), (status = "default", body = ErrorBody)))]
async fn indexes(
    State(api): State<Api>,
    At(name): At<String>,
) -> Result<Json<Vec<IndexView>>, Fault> {
    let found = api.stores.documents.indexes(&name).await?;
    Ok(Json(found.into_iter().map(IndexView::from).collect()))
}

/// How large an index is.
#[derive(Debug, Serialize, ToSchema)]
struct IndexSize {
    name: String,
    bytes: u64,
}

/// How large the indexes of a collection are
#[utoipa::path(get, path = "/indexes/{collection_name}/stats", tag = "indexes",
    params(("collection_name" = String, Path)),
    responses((status = 200, body = Vec<IndexSize>), (status = "default", body = ErrorBody)))]
async fn index_stats(
    State(api): State<Api>,
    At(name): At<String>,
) -> Result<Json<Vec<IndexSize>>, Fault> {
    let found = api.stores.documents.index_sizes(&name).await?;
    let sizes = found
        .into_iter()
        .map(|(name, bytes)| IndexSize { name, bytes });
    Ok(Json(sizes.collect()))
}

/// An index to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IndexBody {
    collection: String,
    /// Fields in their order.
    #[schema(min_items = 1)]
    keys: Vec<IndexKey>,
    #[serde(default)]
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    #[serde(default)]
    unique: bool,
    #[serde(default)]
    sparse: bool,
    /// Accepted and without effect: engines make indexes beside other work.
    #[serde(default)]
    background: bool,
    #[serde(default)]
    #[schema(minimum = 0)]
    expire_after_seconds: Option<i32>,
    /// Says that it is meant, where documents expire by it.
    #[serde(default)]
    confirm: bool,
}

/// An index that is there now.
#[derive(Debug, Serialize, ToSchema)]
struct IndexDone {
    success: bool,
    message: String,
    collection: String,
    index_name: String,
    timestamp: String,
}

/// Make an index
#[utoipa::path(post, path = "/indexes", tag = "indexes", request_body = IndexBody,
    responses((status = 201, body = IndexDone), (status = "default", body = ErrorBody)))]
async fn create_index(
    State(api): State<Api>,
    Sent(wanted): Sent<IndexBody>,
) -> Result<(StatusCode, Json<IndexDone>), Fault> {
    let _ = wanted.background;
    if wanted.expire_after_seconds.is_some() && !wanted.confirm {
        return Err(Fault::unconfirmed(
            "has documents removed whose time is over, at once",
        ));
    }
    if wanted
        .expire_after_seconds
        .is_some_and(|seconds| seconds < 0)
    {
        return Err(Fault::invalid(
            "expire_after_seconds",
            "minimum",
            "0 at least",
        ));
    }
    if wanted
        .name
        .as_ref()
        .is_some_and(|name| !(1..=100).contains(&name.len()) || name.contains(['$', '\0']))
    {
        return Err(Fault::invalid(
            "name",
            "pattern",
            "1 to 100 characters without $",
        ));
    }
    let keys = wanted
        .keys
        .iter()
        .map(|key| (key.field.clone(), key.kind.bson()));
    let index = NewIndex {
        keys: keys.collect(),
        name: wanted.name,
        unique: wanted.unique,
        sparse: wanted.sparse,
        expire_after_seconds: wanted.expire_after_seconds,
    };
    let index_name = api
        .stores
        .documents
        .create_index(&wanted.collection, &index)
        .await?;
    Ok((
        StatusCode::CREATED,
        Json(IndexDone {
            success: true,
            message: "the index is there".to_owned(),
            collection: wanted.collection,
            index_name,
            timestamp: now(),
        }),
    ))
}

/// Remove an index
#[utoipa::path(delete, path = "/indexes/{collection_name}/{index_name}", tag = "indexes",
    params(("collection_name" = String, Path), ("index_name" = String, Path), Confirm),
    responses((status = 200, body = IndexDone), (status = "default", body = ErrorBody)))]
async fn drop_index(
    State(api): State<Api>,
    At((collection, index_name)): At<(String, String)>,
    Asked(sure): Asked<Confirm>,
) -> Result<Json<IndexDone>, Fault> {
    if !sure.confirm {
        return Err(Fault::unconfirmed("removes an index"));
    }
    api.stores
        .documents
        .drop_index(&collection, &index_name)
        .await?;
    Ok(Json(IndexDone {
        success: true,
        message: "the index is gone".to_owned(),
        collection,
        index_name,
        timestamp: now(),
    }))
}

/// Indexes of the platform that were asked for.
#[derive(Debug, Serialize, ToSchema)]
struct KnownDone {
    success: bool,
    collection: String,
    /// Those that are there now.
    indexes: Vec<String>,
    /// Those that the store refused, with the cause.
    refused: Vec<String>,
    timestamp: String,
}

async fn known(api: &Api, name: String) -> Result<KnownDone, StoreError> {
    let made = api.stores.documents.create_known_indexes(&name).await?;
    let (mut indexes, mut refused) = (Vec::new(), Vec::new());
    for index in made {
        match index.fault {
            None => indexes.push(index.name),
            Some(cause) => refused.push(format!("{}: {cause}", index.name)),
        }
    }
    Ok(KnownDone {
        success: refused.is_empty(),
        collection: name,
        indexes,
        refused,
        timestamp: now(),
    })
}

/// Make the platform's indexes of a collection
#[utoipa::path(post, path = "/indexes/{collection_name}/create-all", tag = "indexes",
    params(("collection_name" = String, Path)),
    responses((status = 200, body = KnownDone), (status = "default", body = ErrorBody)))]
async fn create_known(
    State(api): State<Api>,
    At(name): At<String>,
) -> Result<Json<KnownDone>, Fault> {
    Ok(Json(known(&api, name).await?))
}

/// What was done in each collection.
#[derive(Debug, Serialize, ToSchema)]
struct AllKnownDone {
    success: bool,
    collections_processed: u64,
    indexes_created: u64,
    details: Vec<KnownDone>,
    timestamp: String,
}

/// Make the platform's indexes of every collection that is there
#[utoipa::path(post, path = "/indexes/create-all-lucid-indexes", tag = "indexes",
    responses((status = 200, body = AllKnownDone), (status = "default", body = ErrorBody)))]
async fn create_all_known(State(api): State<Api>) -> Result<Json<AllKnownDone>, Fault> {
    let mut details = Vec::new();
    for one in api.stores.documents.collections().await? {
        if one.is_known {
            details.push(known(&api, one.name).await?);
        }
    }
    Ok(Json(AllKnownDone {
        success: details.iter().all(|one| one.success),
        collections_processed: details.len() as u64,
        indexes_created: details.iter().map(|one| one.indexes.len() as u64).sum(),
        details,
        timestamp: now(),
    }))
}

/// How many indexes were made anew.
#[derive(Debug, Serialize, ToSchema)]
struct ReindexDone {
    success: bool,
    collection: String,
    indexes_rebuilt: u64,
    timestamp: String,
}

/// Make every index of a collection anew
///
/// One after the other: queries are slow meanwhile.
#[utoipa::path(post, path = "/indexes/{collection_name}/reindex", tag = "indexes",
    params(("collection_name" = String, Path), Confirm),
    responses((status = 200, body = ReindexDone), (status = "default", body = ErrorBody)))]
async fn reindex(
    State(api): State<Api>,
    At(name): At<String>,
    Asked(sure): Asked<Confirm>,
) -> Result<Json<ReindexDone>, Fault> {
    if !sure.confirm {
        return Err(Fault::unconfirmed("makes every index anew"));
    }
    // It goes on to its end also where nobody waits for it: half of it is a collection without indexes.
    let (documents, of) = (Arc::clone(&api.stores.documents), name.clone());
    let work = tokio::spawn(async move { documents.reindex(&of).await });
    let indexes_rebuilt = work.await.map_err(|_| {
        Fault::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            code::INTERNAL,
            "making the indexes ended early: GET /indexes tells which are there",
        )
    })??;
    Ok(Json(ReindexDone {
        success: true,
        collection: name,
        indexes_rebuilt,
        timestamp: now(),
    }))
}

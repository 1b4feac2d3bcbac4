//! Documents: the query of the platform, and single documents.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::extract::{Asked, At, Sent};
use super::fault::{ErrorBody, Fault};
use super::keys::{ApiRole, Principal};
use crate::store::documents::{self, Query, Update};

/// Documents of one answer for those who are no administrators.
const LIMIT: i64 = 100;

pub(super) fn reader() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(query))
        .routes(routes!(get_one))
}

pub(super) fn writer() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(insert))
        .routes(routes!(update))
        .routes(routes!(delete))
}

/// An order: a field and its direction.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sort {
    /// The field.
    field: String,
    /// `asc` or `desc`.
    #[serde(default)]
    order: Order,
}

/// A direction.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    /// From the least.
    #[default]
    Asc,
    /// From the greatest.
    Desc,
}

impl Order {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Asc => "asc",
            Self::Desc => "desc",
        }
    }
}

impl Sort {
    pub(super) fn pair(&self) -> (String, String) {
        (self.field.clone(), self.order.name().to_owned())
    }
}

/// What to find, or what to aggregate: one of `filter` and `pipeline`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryBody {
    /// One of the platform's collections.
    #[schema(example = "sessions")]
    collection: String,
    /// Which documents; all where it is absent. Operators that run code are refused.
    #[serde(default)]
    filter: Option<Map<String, Value>>,
    /// An aggregation instead, of stages that read.
    #[serde(default)]
    #[schema(max_items = 20)]
    pipeline: Option<Vec<Map<String, Value>>>,
    /// Which fields; all but secrets where there is none.
    #[serde(default)]
    fields: Vec<String>,
    /// By what they are ordered.
    #[serde(default)]
    sort: Vec<Sort>,
    /// How many are passed over.
    #[serde(default)]
    #[schema(maximum = 1_000_000)]
    skip: u32,
    /// How many are answered: 100 at most, 1000 for administrators.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueryAnswer {
    collection: String,
    /// Documents, as relaxed extended JSON.
    documents: Vec<Map<String, Value>>,
    /// How many are here.
    count: u64,
    timestamp: String,
}

/// As clients of JSON read it.
pub(super) fn to_json(document: mongodb::bson::Document) -> Map<String, Value> {
    match mongodb::bson::Bson::Document(document).into_relaxed_extjson() {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Find or aggregate documents
///
/// Filters get the types of their fields: a text in the field of a moment is RFC 3339. Hashes of
/// passwords and keys are never answered and cannot be asked for.
#[utoipa::path(post, path = "/mongodb/query", tag = "documents", request_body = QueryBody,
    responses((status = 200, body = QueryAnswer), (status = "default", body = ErrorBody)))]
async fn query(
    State(api): State<Api>,
    axum::Extension(who): axum::Extension<Principal>,
    Sent(wanted): Sent<QueryBody>,
) -> Result<Json<QueryAnswer>, Fault> {
    let most = if who.role == ApiRole::Admin {
        documents::MOST
    } else {
        LIMIT
    };
    let limit = wanted.limit.map_or(most.min(LIMIT), i64::from);
    if !(1..=most).contains(&limit) {
        return Err(Fault::invalid(
            "limit",
            "range",
            format!("1 to {most}; found {limit}"),
        ));
    }
    let found = match (wanted.pipeline, wanted.filter) {
        (Some(_), Some(_)) => {
            let message = "filter and pipeline exclude each other; begin the pipeline with $match";
            return Err(Fault::invalid("pipeline", "conflict", message));
        }
        (Some(stages), None) => {
            api.stores
                .documents
                .aggregate(&wanted.collection, &stages, limit)
                .await?
        }
        (None, filter) => {
            let sort = wanted.sort.iter().map(|sort| {
                let direction = match sort.order {
                    Order::Asc => 1,
                    Order::Desc => -1,
                };
                (sort.field.clone(), direction)
            });
            let query = Query {
                filter: filter.unwrap_or_default(),
                fields: wanted.fields,
                sort: sort.collect(),
                skip: wanted.skip.into(),
                limit,
            };
            api.stores
                .documents
                .find(&wanted.collection, &query)
                .await?
        }
    };
    Ok(Json(QueryAnswer {
        collection: wanted.collection,
        count: found.len() as u64,
        documents: found.into_iter().map(to_json).collect(),
        timestamp: now(),
    }))
}

/// One document
///
/// By the field that the platform knows it by, such as `session_id`.
#[utoipa::path(get, path = "/documents/{collection}/{id}", tag = "documents",
    params(("collection" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Object), (status = "default", body = ErrorBody)))]
async fn get_one(
    State(api): State<Api>,
    At((collection, id)): At<(String, String)>,
) -> Result<Json<Map<String, Value>>, Fault> {
    let found = api.stores.documents.get(&collection, &id).await?;
    Ok(Json(to_json(found)))
}

/// Documents to put in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InsertBody {
    /// Each is checked by the rules of its collection before the first is written.
    #[schema(min_items = 1, max_items = 1000)]
    documents: Vec<Map<String, Value>>,
}

/// What is in now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InsertAnswer {
    success: bool,
    collection: String,
    /// Ids in the order of the documents.
    ids: Vec<String>,
    timestamp: String,
}

/// Put documents in
#[utoipa::path(post, path = "/documents/{collection}", tag = "documents", request_body = InsertBody,
    params(("collection" = String, Path)),
    responses((status = 201, body = InsertAnswer), (status = "default", body = ErrorBody)))]
async fn insert(
    State(api): State<Api>,
    At(collection): At<String>,
    Sent(wanted): Sent<InsertBody>,
) -> Result<(StatusCode, Json<InsertAnswer>), Fault> {
    let ids = api
        .stores
        .documents
        .insert(&collection, &wanted.documents)
        .await?;
    let answer = InsertAnswer {
        success: true,
        collection,
        ids,
        timestamp: now(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// What to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateBody {
    /// Which documents; not empty.
    filter: Map<String, Value>,
    /// Such as `{"$set": {…}}`.
    update: Map<String, Value>,
    /// All that match, or the first alone.
    #[serde(default)]
    many: bool,
    /// Whether one is made where none matches.
    #[serde(default)]
    upsert: bool,
}

/// What was changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UpdateAnswer {
    success: bool,
    collection: String,
    /// Documents that matched.
    matched: u64,
    /// Of them, those that are another now.
    modified: u64,
    /// Made, since none matched.
    inserted: u64,
    timestamp: String,
}

/// Change documents
#[utoipa::path(patch, path = "/documents/{collection}", tag = "documents", request_body = UpdateBody,
    params(("collection" = String, Path)),
    responses((status = 200, body = UpdateAnswer), (status = "default", body = ErrorBody)))]
async fn update(
    State(api): State<Api>,
    At(collection): At<String>,
    Sent(wanted): Sent<UpdateBody>,
) -> Result<Json<UpdateAnswer>, Fault> {
    let update = Update {
        filter: wanted.filter,
        update: wanted.update,
        many: wanted.many,
        upsert: wanted.upsert,
    };
    let changed = api.stores.documents.update(&collection, &update).await?;
    Ok(Json(UpdateAnswer {
        success: true,
        collection,
        matched: changed.matched,
        modified: changed.modified,
        inserted: changed.inserted,
        timestamp: now(),
    }))
}

/// Whether it is meant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Confirm {
    /// Says that it is meant.
    #[serde(default)]
    pub(super) confirm: bool,
}

/// What was removed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeleteAnswer {
    success: bool,
    collection: String,
    /// Documents that are gone.
    deleted: u64,
    timestamp: String,
}

/// Remove one document
#[utoipa::path(delete, path = "/documents/{collection}/{id}", tag = "documents",
    params(("collection" = String, Path), ("id" = String, Path), Confirm),
    responses((status = 200, body = DeleteAnswer), (status = "default", body = ErrorBody)))]
async fn delete(
    State(api): State<Api>,
    At((collection, id)): At<(String, String)>,
    Asked(sure): Asked<Confirm>,
) -> Result<Json<DeleteAnswer>, Fault> {
    if !sure.confirm {
        return Err(Fault::unconfirmed("removes a document"));
    }
    let known = documents::definition(&collection)?;
    let mut filter = Map::new();
    filter.insert(known.id.clone(), id.clone().into());
    let deleted = api
        .stores
        .documents
        .delete(&collection, &filter, false)
        .await?;
    if deleted == 0 {
        return Err(crate::store::StoreError::not_found("document", &id).into());
    }
    Ok(Json(DeleteAnswer {
        success: true,
        collection,
        deleted,
        timestamp: now(),
    }))
}

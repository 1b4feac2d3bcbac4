//! Search.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::documents::{Sort, now};
use super::extract::{Asked, At, Sent};
use super::fault::{ErrorBody, Fault};
use super::keys::{ApiRole, Principal};
use crate::store::StoreError;
use crate::store::search::{self, AGGREGATIONS, ENTITIES, Hits, Range, Text, Wanted};

/// Hits of one answer for those who are no administrators.
const MOST: u64 = 100;
/// For administrators.
const MOST_OF_ADMIN: u64 = 1000;
/// What only administrators search: it is about people.
const OF_PEOPLE: &str = "users";

pub(super) fn reader() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(search_all))
        .routes(routes!(analytics))
        .routes(routes!(search_entity))
        .routes(routes!(aggregate))
        .routes(routes!(suggest))
        .routes(routes!(indices))
}

/// What to search.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SearchBody {
    /// Words; quotes, `+`, `|`, `-` and `*` at an end mean what they do in a simple query.
    #[serde(default)]
    #[schema(max_length = 1000)]
    query: Option<String>,
    /// An index or alias of the platform.
    #[serde(default = "sessions")]
    #[schema(pattern = "^lucid[-_][a-z0-9_.*-]*$")]
    index: String,
    /// Fields for the words, which may then be misspelt a little.
    #[serde(default)]
    fields: Vec<String>,
    /// Fields that must be this, or one of a list.
    #[serde(default)]
    filters: Map<String, Value>,
    #[serde(default = "ten")]
    #[schema(minimum = 1, maximum = 1000)]
    size: u16,
    #[serde(default)]
    #[schema(maximum = 9999)]
    from: u16,
    #[serde(default)]
    sort: Vec<Sort>,
}

fn sessions() -> String {
    "lucid-sessions".to_owned()
}

const fn ten() -> u16 {
    10
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
struct SearchAnswer {
    query: Option<String>,
    index: String,
    results: Results,
    timestamp: String,
}

/// Hits.
#[derive(Debug, Serialize, ToSchema)]
struct Results {
    total: u64,
    max_score: Option<f64>,
    /// Milliseconds.
    took: u64,
    /// Documents, with `_id`, `_index` and `_score`.
    hits: Vec<Map<String, Value>>,
}

impl From<Hits> for Results {
    fn from(hits: Hits) -> Self {
        Self {
            total: hits.total,
            max_score: hits.max_score,
            took: hits.took,
            hits: hits.hits,
        }
    }
}

fn allowed(index: &str, who: &Principal) -> Result<(), Fault> {
    search::index_name(index)?;
    // A star may stand for them.
    let is_of_people = index.contains(OF_PEOPLE) || index.contains('*');
    if is_of_people && who.role < ApiRole::Admin {
        let message = format!("{index} has data of people in it: administrators alone search it");
        return Err(StoreError::Forbidden(message).into());
    }
    Ok(())
}

fn bounded(size: u16, who: &Principal) -> Result<u64, Fault> {
    let most = if who.role == ApiRole::Admin {
        MOST_OF_ADMIN
    } else {
        MOST
    };
    let size = u64::from(size);
    if (1..=most).contains(&size) {
        return Ok(size);
    }
    Err(Fault::invalid(
        "size",
        "range",
        format!("1 to {most}; found {size}"),
    ))
}

/// Search an index
#[utoipa::path(post, path = "/elasticsearch/search", tag = "search", request_body = SearchBody,
    responses((status = 200, body = SearchAnswer), (status = "default", body = ErrorBody)))]
async fn search_all(
    State(api): State<Api>,
    axum::Extension(who): axum::Extension<Principal>,
    Sent(body): Sent<SearchBody>,
) -> Result<Json<SearchAnswer>, Fault> {
    allowed(&body.index, &who)?;
    let wanted = Wanted {
        index: body.index.clone(),
        text: body.query.clone().map(|words| Text {
            words,
            fields: body.fields,
        }),
        equal: body.filters.into_iter().collect(),
        ranges: Vec::new(),
        sort: body.sort.iter().map(Sort::pair).collect(),
        size: bounded(body.size, &who)?,
        from: body.from.into(),
    };
    let found = api.stores.search.search(&wanted).await?;
    Ok(Json(SearchAnswer {
        query: body.query,
        index: body.index,
        results: found.into(),
        timestamp: now(),
    }))
}

/// What to search among one kind of documents.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EntityQuery {
    /// Words; all documents where it is absent.
    query: Option<String>,
    /// Of this user.
    user_id: Option<String>,
    /// With this status.
    status: Option<String>,
    /// Blocks from this height on.
    min_height: Option<u64>,
    /// Blocks up to this height.
    max_height: Option<u64>,
    /// Blocks of this miner.
    miner_id: Option<String>,
    /// Transactions of this type.
    transaction_type: Option<String>,
    /// Audit logs of this action.
    action: Option<String>,
    /// From this moment on.
    from_date: Option<String>,
    /// Up to this moment.
    to_date: Option<String>,
    /// How many.
    #[param(minimum = 1, maximum = 1000)]
    size: Option<u16>,
    /// How many are passed over.
    #[param(maximum = 9999)]
    from: Option<u16>,
}

/// Search sessions, blocks, transactions, manifests, audit-logs or users
#[utoipa::path(get, path = "/search/{entity}", tag = "search",
    params(("entity" = String, Path, pattern = "^(sessions|blocks|transactions|manifests|audit-logs|users)$"), EntityQuery),
    responses((status = 200, body = SearchAnswer), (status = "default", body = ErrorBody)))]
async fn search_entity(
    State(api): State<Api>,
    axum::Extension(who): axum::Extension<Principal>,
    At(entity): At<String>,
    Asked(asked): Asked<EntityQuery>,
) -> Result<Json<SearchAnswer>, Fault> {
    let Some((entity, order)) = ENTITIES.iter().find(|(name, _)| *name == entity) else {
        return Err(StoreError::not_found("kind of documents", &entity).into());
    };
    let index = format!("lucid-{entity}");
    allowed(&index, &who)?;
    let mut equal = Vec::new();
    for (field, value) in [
        ("user_id", asked.user_id),
        ("status", asked.status),
        ("miner_id", asked.miner_id),
        ("tx_type", asked.transaction_type),
        ("action", asked.action),
    ] {
        if let Some(value) = value {
            equal.push((field.to_owned(), Value::from(value)));
        }
    }
    let height = Range {
        field: "block_height".to_owned(),
        from: asked.min_height.map(Value::from),
        to: asked.max_height.map(Value::from),
    };
    for (name, date) in [("from_date", &asked.from_date), ("to_date", &asked.to_date)] {
        if let Some(date) = date
            .as_ref()
            .filter(|date| date.parse::<jiff::Timestamp>().is_err())
        {
            return Err(Fault::invalid(
                name,
                "format",
                format!("{date:?} is no moment: RFC 3339"),
            ));
        }
    }
    let field = if *entity == "blocks" {
        "timestamp"
    } else {
        order
    };
    let dates = Range {
        field: field.to_owned(),
        from: asked.from_date.map(Value::from),
        to: asked.to_date.map(Value::from),
    };
    let wanted = Wanted {
        index: index.clone(),
        text: asked.query.clone().map(|words| Text {
            words,
            fields: Vec::new(),
        }),
        equal,
        ranges: vec![height, dates],
        sort: vec![((*order).to_owned(), "desc".to_owned())],
        size: bounded(asked.size.unwrap_or(10), &who)?,
        from: asked.from.unwrap_or(0).into(),
    };
    let found = api.stores.search.search(&wanted).await?;
    Ok(Json(SearchAnswer {
        query: asked.query,
        index,
        results: found.into(),
        timestamp: now(),
    }))
}

/// Which aggregation.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AnalyticsQuery {
    /// `sessions_by_status`, `sessions_by_day`, `transactions_by_type`, `blocks_by_day` or
    /// `audit_by_event`.
    #[serde(default = "by_status")]
    #[param(
        pattern = "^(sessions_by_status|sessions_by_day|transactions_by_type|blocks_by_day|audit_by_event)$"
    )]
    name: String,
}

fn by_status() -> String {
    AGGREGATIONS[0].0.to_owned()
}

/// What an aggregation answers.
#[derive(Debug, Serialize, ToSchema)]
struct AggregateAnswer {
    index: String,
    /// As the search engine answers it.
    results: Map<String, Value>,
    timestamp: String,
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// A named aggregation
#[utoipa::path(get, path = "/elasticsearch/analytics", tag = "search", params(AnalyticsQuery),
    responses((status = 200, body = AggregateAnswer), (status = "default", body = ErrorBody)))]
async fn analytics(
    State(api): State<Api>,
    Asked(asked): Asked<AnalyticsQuery>,
) -> Result<Json<AggregateAnswer>, Fault> {
    let Some((name, index)) = AGGREGATIONS.iter().find(|(name, _)| *name == asked.name) else {
        let all: Vec<&str> = AGGREGATIONS.iter().map(|(name, _)| *name).collect();
        return Err(Fault::invalid(
            "name",
            "enum",
            format!("one of {}", all.join(", ")),
        ));
    };
    let wanted = Wanted {
        index: (*index).to_owned(),
        ..Wanted::default()
    };
    let answer = api.stores.search.analytics(name, &wanted).await?;
    Ok(Json(AggregateAnswer {
        index: (*index).to_owned(),
        results: fields(answer),
        timestamp: now(),
    }))
}

/// What to aggregate.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AggregateBody {
    #[schema(pattern = "^lucid[-_][a-z0-9_.*-]*$")]
    index: String,
    /// Aggregations that count and compare, by name.
    aggregations: Map<String, Value>,
    /// Only documents with these words.
    #[serde(default)]
    #[schema(max_length = 1000)]
    query: Option<String>,
}

/// Aggregate documents
#[utoipa::path(post, path = "/search/aggregate", tag = "search", request_body = AggregateBody,
    responses((status = 200, body = AggregateAnswer), (status = "default", body = ErrorBody)))]
async fn aggregate(
    State(api): State<Api>,
    axum::Extension(who): axum::Extension<Principal>,
    Sent(body): Sent<AggregateBody>,
) -> Result<Json<AggregateAnswer>, Fault> {
    allowed(&body.index, &who)?;
    let wanted = Wanted {
        index: body.index.clone(),
        text: body.query.map(|words| Text {
            words,
            fields: Vec::new(),
        }),
        ..Wanted::default()
    };
    let answer = api
        .stores
        .search
        .aggregate(&wanted, &body.aggregations)
        .await?;
    Ok(Json(AggregateAnswer {
        index: body.index,
        results: fields(answer),
        timestamp: now(),
    }))
}

/// What to complete.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SuggestQuery {
    /// How the value begins.
    query: String,
    /// A keyword field.
    field: String,
    #[serde(default = "sessions")]
    #[param(pattern = "^lucid[-_][a-z0-9_.*-]*$")]
    index: String,
    #[serde(default = "five")]
    #[param(minimum = 1, maximum = 20)]
    size: u8,
}

const fn five() -> u8 {
    5
}

/// Values of a field that begin so
#[utoipa::path(get, path = "/search/suggest", tag = "search", params(SuggestQuery),
    responses((status = 200, body = Vec<String>), (status = "default", body = ErrorBody)))]
async fn suggest(
    State(api): State<Api>,
    axum::Extension(who): axum::Extension<Principal>,
    Asked(asked): Asked<SuggestQuery>,
) -> Result<Json<Vec<String>>, Fault> {
    allowed(&asked.index, &who)?;
    if !(1..=20).contains(&asked.size) {
        return Err(Fault::invalid(
            "size",
            "range",
            format!("1 to 20; found {}", asked.size),
        ));
    }
    let search = &api.stores.search;
    let found = search
        .suggest(&asked.index, &asked.field, &asked.query, asked.size.into())
        .await?;
    Ok(Json(found))
}

/// An index.
#[derive(Debug, Serialize, ToSchema)]
struct SearchIndexView {
    name: String,
    /// `green`, `yellow` or `red`.
    health: String,
    doc_count: u64,
    size_bytes: u64,
}

/// Indices of the platform
#[utoipa::path(get, path = "/search/indices", tag = "search",
    responses((status = 200, body = Vec<SearchIndexView>), (status = "default", body = ErrorBody)))]
async fn indices(State(api): State<Api>) -> Result<Json<Vec<SearchIndexView>>, Fault> {
    let found = api.stores.search.indices().await?;
    let views = found.into_iter().map(|index| SearchIndexView {
        name: index.name,
        health: index.health,
        doc_count: index.documents,
        size_bytes: index.bytes,
    });
    Ok(Json(views.collect()))
}

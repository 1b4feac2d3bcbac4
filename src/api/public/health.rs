//! How the datastores are.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::documents::now;
use super::extract::At;
use super::fault::{ErrorBody, Fault};
use crate::config::Role;
use crate::status::{DatastoreState, Status};
use crate::store::StoreError;

pub(super) fn open() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(ping))
}

pub(super) fn reader() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(health_of))
}

/// An answer to a ping.
#[derive(Debug, Serialize, ToSchema)]
struct Pong {
    status: String,
    message: String,
    timestamp: String,
}

/// Whether the API is there; it asks no datastore
#[utoipa::path(get, path = "/health/ping", tag = "health", security(()),
    responses((status = 200, body = Pong), (status = "default", body = ErrorBody)))]
async fn ping() -> Json<Pong> {
    Json(Pong {
        status: "ok".to_owned(),
        message: "pong".to_owned(),
        timestamp: now(),
    })
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Health {
    /// It works.
    Healthy,
    /// It works, and something is to be done.
    Degraded,
    /// It does not.
    Unhealthy,
    /// It is not wanted.
    Off,
}

/// One datastore.
#[derive(Debug, Serialize, ToSchema)]
struct ServiceHealth {
    status: Health,
    /// Why it is so.
    message: String,
    engine: Option<String>,
    version: Option<String>,
    /// Of the last probe, which writes and reads.
    response_time_ms: Option<f64>,
    /// When that was.
    last_check: Option<String>,
}

fn of(status: &Status, role: Role) -> ServiceHealth {
    let Some(found) = status.datastores.iter().find(|one| one.name == role.name()) else {
        return ServiceHealth {
            status: Health::Off,
            message: format!("{role} is not enabled on this appliance"),
            engine: None,
            version: None,
            response_time_ms: None,
            last_check: None,
        };
    };
    let health = match found.state {
        DatastoreState::Ready => Health::Healthy,
        DatastoreState::Degraded => Health::Degraded,
        _ => Health::Unhealthy,
    };
    let state = serde_json::to_value(found.state).ok();
    let state = state
        .and_then(|state| state.as_str().map(str::to_owned))
        .unwrap_or_default();
    ServiceHealth {
        status: health,
        message: found.reason.clone().unwrap_or(state),
        engine: Some(found.engine.clone()),
        version: found.engine_version.clone(),
        response_time_ms: found.probe.as_ref().and_then(|probe| probe.latency_ms),
        last_check: found.probe.as_ref().map(|probe| probe.at.clone()),
    }
}

/// Names of the platform for the datastores.
pub(super) const SERVICES: [(&str, Role); 3] = [
    ("mongodb", Role::Document),
    ("redis", Role::Cache),
    ("elasticsearch", Role::Search),
];

pub(super) fn role(name: &str) -> Option<Role> {
    let found = SERVICES.iter().find(|(service, _)| *service == name);
    found.map(|(_, role)| *role)
}

/// How all of them are.
#[derive(Debug, Serialize, ToSchema)]
struct OverallHealth {
    status: Health,
    timestamp: String,
    services: BTreeMap<String, ServiceHealth>,
    /// Seconds since the supervisor was started.
    uptime: u64,
}

/// How the datastores are
///
/// From the probes of the supervisor, which write and read. 503 where one that is wanted does not work.
#[utoipa::path(get, path = "/health", tag = "health",
    responses((status = 200, body = OverallHealth), (status = 503, body = OverallHealth), (status = "default", body = ErrorBody)))]
async fn health(State(api): State<Api>) -> (StatusCode, Json<OverallHealth>) {
    let status = api.handle.hub().snapshot();
    let services: BTreeMap<_, _> = SERVICES
        .iter()
        .map(|(name, role)| ((*name).to_owned(), of(&status, *role)))
        .collect();
    let any = |wanted| services.values().any(|service| service.status == wanted);
    let overall = if any(Health::Unhealthy) {
        Health::Unhealthy
    } else if any(Health::Degraded) {
        Health::Degraded
    } else {
        Health::Healthy
    };
    let code = if overall == Health::Unhealthy {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let answer = OverallHealth {
        status: overall,
        timestamp: now(),
        services,
        uptime: status.uptime_seconds,
    };
    (code, Json(answer))
}

/// How one datastore is
#[utoipa::path(get, path = "/health/{service}", tag = "health",
    params(("service" = String, Path, pattern = "^(mongodb|redis|elasticsearch)$")),
    responses((status = 200, body = ServiceHealth), (status = 503, body = ServiceHealth), (status = "default", body = ErrorBody)))]
async fn health_of(
    State(api): State<Api>,
    At(service): At<String>,
) -> Result<(StatusCode, Json<ServiceHealth>), Fault> {
    let role = role(&service).ok_or_else(|| StoreError::not_found("service", &service))?;
    let health = of(&api.handle.hub().snapshot(), role);
    let code = match health.status {
        Health::Unhealthy | Health::Off => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    Ok((code, Json(health)))
}

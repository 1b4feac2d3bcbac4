//! The HTTP API of the platform, over the network and on the socket, and the page.
#![allow(
    unused_qualifications,
    reason = "the macros that describe the routes write whole paths"
)]

mod backups;
mod cache;
mod cluster;
mod collections;
mod documents;
mod extract;
mod fault;
mod guard;
mod health;
mod indexes;
mod keys;
mod limits;
mod listener;
mod metrics;
mod page;
mod rate_limits;
mod search;
mod sessions;
mod stats;
mod system;
mod volumes;

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, from_fn_with_state};
use axum::{Json, Router};
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{
    ApiKey as Header, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme,
};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;

pub(super) use guard::Peer;
pub use keys::{ApiKey, ApiRole, KeyFile, KeysError};
pub use listener::{ServeError, Served, serve};

use crate::config::{Api as Settings, Config};
use crate::panel::PanelHandle;
use crate::paths::Paths;
use crate::store::{Access, Stores};
use crate::supervisor::{self, Handle};
use fault::{Fault, code};
use keys::Keys;
use limits::Buckets;

/// Every path of the platform begins with this.
pub const BASE: &str = "/api/v1/database";

/// What requests are served with.
#[derive(Debug, Clone)]
pub(super) struct Api {
    handle: Handle,
    panel: PanelHandle,
    stores: Stores,
    keys: Arc<Keys>,
    requests: Arc<Buckets>,
    backups: Arc<Buckets>,
    guesses: Arc<Buckets>,
    history: Arc<page::History>,
}

impl Api {
    pub(super) fn new(
        paths: &Paths,
        config: &Config,
        handle: Handle,
        panel: PanelHandle,
    ) -> Result<Self, getrandom::Error> {
        let access: Access = {
            let (paths, config) = (paths.clone(), config.clone());
            Arc::new(move |role| {
                if !config.common(role).enabled {
                    return Err(format!("{role} is off: datastore.{role}.enabled = true"));
                }
                let uri = supervisor::client_uri(&paths, &config, role);
                uri.map(|(uri, _)| uri).map_err(|error| error.to_string())
            })
        };
        let api = &config.api;
        Ok(Self {
            history: page::History::watch(handle.hub()),
            handle,
            panel,
            stores: Stores::new(&access),
            keys: Arc::new(Keys::new(KeyFile::below(&paths.credentials()))?),
            requests: Arc::new(Buckets::new(api.requests_per_minute, api.burst)),
            backups: Arc::new(Buckets::new(
                api.backups_per_minute,
                api.backups_per_minute * 2,
            )),
            guesses: Arc::new(Buckets::of_guesses()),
        })
    }
}

/// What the description begins with.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Lucid storage database",
        description = "Documents, cache, search, backups and volumes of a Lucid appliance.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    modifiers(&Proofs),
    security(("bearer" = []), ("key" = []))
)]
struct Description;

/// How clients say who they are.
struct Proofs;

impl Modify for Proofs {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("bearer", bearer);
        let key = SecurityScheme::ApiKey(Header::Header(ApiKeyValue::new("X-API-Key")));
        components.add_security_scheme("key", key);
    }
}

/// Puts a guard before routes; without one where they are only described.
type Guard<'a> = &'a dyn Fn(OpenApiRouter<Api>, ApiRole) -> OpenApiRouter<Api>;

/// All routes, each behind the guard of its role, and their description.
fn routes(guard: Guard<'_>) -> (Router<Api>, Document) {
    let reader = documents::reader()
        .merge(cache::reader())
        .merge(sessions::reader())
        .merge(rate_limits::reader())
        .merge(search::reader())
        .merge(collections::reader())
        .merge(indexes::reader())
        .merge(stats::reader())
        .merge(cluster::reader())
        .merge(health::reader())
        .merge(backups::reader())
        .merge(volumes::reader())
        .merge(system::reader());
    let writer = documents::writer()
        .merge(cache::writer())
        .merge(sessions::writer())
        .merge(rate_limits::writer());
    let admin = collections::admin()
        .merge(indexes::admin())
        .merge(cluster::admin())
        .merge(cache::admin())
        .merge(sessions::admin())
        .merge(rate_limits::admin())
        .merge(backups::admin())
        .merge(volumes::admin())
        .merge(system::admin());
    let platform = health::open()
        .merge(guard(reader, ApiRole::Reader))
        .merge(guard(writer, ApiRole::Writer))
        .merge(guard(admin, ApiRole::Admin));
    let root = system::probes().merge(guard(metrics::reader(), ApiRole::Reader));
    let mut document = Description::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    OpenApiRouter::with_openapi(document)
        .nest(BASE, platform)
        .merge(root)
        .split_for_parts()
}

/// Everything that is served.
fn router(api: Api, settings: &Settings) -> Router {
    let guarded = |routes: OpenApiRouter<Api>, role: ApiRole| {
        let api = api.clone();
        match role {
            ApiRole::Reader => routes.route_layer(from_fn_with_state(api, guard::reader)),
            ApiRole::Writer => routes.route_layer(from_fn_with_state(api, guard::writer)),
            ApiRole::Admin => routes.route_layer(from_fn_with_state(api, guard::admin)),
        }
    };
    let (routes, document) = routes(&guarded);
    let document = Arc::new(document);
    let described = move || {
        let document = Arc::clone(&document);
        async move { Json((*document).clone()) }
    };
    let body = usize::try_from(settings.body_limit.0).unwrap_or(usize::MAX);
    routes
        .route("/openapi.json", axum::routing::get(described))
        .merge(page::router())
        .fallback(missing)
        .method_not_allowed_fallback(not_so)
        .layer(from_fn_with_state(api.clone(), guard::authenticate))
        .layer(DefaultBodyLimit::max(body))
        .layer(middleware::from_fn(guard::identify))
        .with_state(api)
}

async fn missing(uri: Uri) -> Fault {
    Fault::new(
        StatusCode::NOT_FOUND,
        code::NOT_FOUND,
        format!(
            "there is nothing at {}; /openapi.json lists everything",
            uri.path()
        ),
    )
}

async fn not_so(uri: Uri) -> Fault {
    Fault::new(
        StatusCode::METHOD_NOT_ALLOWED,
        code::NOT_FOUND,
        format!(
            "{} is there for other methods; /openapi.json lists them",
            uri.path()
        ),
    )
}

/// The description of the API (OpenAPI, JSON), of the code alone.
///
/// # Errors
/// Where it cannot be written as JSON.
pub fn description() -> Result<String, serde_json::Error> {
    let (_, document) = routes(&|routes, _| routes);
    serde_json::to_string_pretty(&document)
}

/// Where the certificate of the API lies that it makes for itself.
fn own_certificate(paths: &Paths) -> PathBuf {
    paths.credentials().join("api-certificate")
}

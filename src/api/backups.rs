//! Requests about backups.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

use super::{App, Failure};
use crate::supervisor::{Handle, Job, ListedBackups, WantedRestore};

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/backups", get(list).post(create))
        .route("/backups/verify", post(verify))
        .route("/backups/drill", post(drill))
        .route("/backups/restore", post(restore))
        .route("/backups/prune", post(prune))
        .route("/backups/unlock", post(unlock))
        .route("/backups/key", post(key))
}

type Begun = Result<(StatusCode, Json<Job>), Failure>;

async fn list(State(handle): State<Handle>) -> Result<Json<Vec<ListedBackups>>, Failure> {
    Ok(Json(handle.list_backups().await?))
}

/// Which repository; without one the first, or all.
#[derive(Debug, Deserialize)]
struct Of {
    repository: Option<String>,
}

fn begun(job: Job) -> (StatusCode, Json<Job>) {
    (StatusCode::ACCEPTED, Json(job))
}

async fn create(State(handle): State<Handle>, Query(of): Query<Of>) -> Begun {
    let job = handle.create_backup(of.repository.as_deref()).await?;
    Ok(begun(job))
}

async fn verify(State(handle): State<Handle>, Query(of): Query<Of>) -> Begun {
    let job = handle.verify_backups(of.repository.as_deref()).await?;
    Ok(begun(job))
}

#[derive(Debug, Deserialize)]
struct Which {
    repository: Option<String>,
    backup: Option<String>,
}

async fn drill(State(handle): State<Handle>, Query(which): Query<Which>) -> Begun {
    let backup = which.backup.as_deref().unwrap_or("latest");
    let job = handle.drill(which.repository.as_deref(), backup).await?;
    Ok(begun(job))
}

async fn restore(State(handle): State<Handle>, Json(wanted): Json<WantedRestore>) -> Begun {
    let job = handle.restore_backup(wanted).await?;
    Ok(begun(job))
}

async fn prune(State(handle): State<Handle>, Query(of): Query<Of>) -> Begun {
    let job = handle.prune_backups(of.repository.as_deref()).await?;
    Ok(begun(job))
}

async fn unlock(State(handle): State<Handle>, Query(of): Query<Of>) -> Begun {
    let job = handle.unlock_backups(of.repository.as_deref()).await?;
    Ok(begun(job))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    words: Option<String>,
}

/// With words the key is changed; without, somebody has it now.
async fn key(State(handle): State<Handle>, Json(key): Json<NewKey>) -> Result<StatusCode, Failure> {
    handle.change_key(key.words).await?;
    Ok(StatusCode::NO_CONTENT)
}

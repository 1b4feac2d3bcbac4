//! Requests about volumes.

use std::path::PathBuf;
use std::time::Duration;

use axum::extract::{Path as UrlPath, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::{App, Failure};
use crate::supervisor::{CommandError, Handle, Job};
use crate::units::ByteSize;
use crate::volume::{Cleaned, Filter, Info, Kind, Name, Performance, Sample, Schedule, Snapshot};

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/volumes", get(list).post(create))
        .route("/volumes/{name}", get(info).delete(delete))
        .route("/volumes/{name}/usage", get(usage))
        .route("/volumes/{name}/resize", post(resize))
        .route("/volumes/{name}/cleanup", post(cleanup))
        .route(
            "/volumes/{name}/schedule",
            post(set_schedule).delete(end_schedule),
        )
        .route("/volumes/{name}/snapshots", get(snapshots).post(snapshot))
        .route(
            "/volumes/{name}/snapshots/{id}",
            axum::routing::delete(delete_snapshot),
        )
        .route("/volumes/{name}/rollback", post(rollback))
        .route("/volumes/{name}/performance", get(performance))
        .route("/volumes/{name}/backup", post(backup))
        .route("/volumes/{name}/restore", post(restore))
        .route("/volumes/{name}/verify", post(verify))
        .route(
            "/volumes/{name}/migrate",
            post(migrate).delete(give_up_migration),
        )
        .route("/volumes/{name}/defragment", post(defragment))
        .route("/jobs", get(jobs))
        .route("/jobs/{id}", get(job))
        .route("/jobs/{id}/cancel", post(cancel))
}

fn named(name: &str) -> Result<Name, Failure> {
    name.parse::<Name>()
        .map_err(|error| CommandError::Invalid(error.to_string()).into())
}

async fn list(State(handle): State<Handle>) -> Result<Json<Vec<Info>>, Failure> {
    Ok(Json(
        handle.with_volumes(|volumes| Ok(volumes.list())).await?,
    ))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    size: Option<ByteSize>,
    pool: Option<String>,
}

async fn create(
    State(handle): State<Handle>,
    Json(request): Json<Create>,
) -> Result<(StatusCode, Json<Info>), Failure> {
    let name = named(&request.name)?;
    let kind: Kind = request.kind.parse().map_err(CommandError::Invalid)?;
    let size = request.size.map(|size| size.0);
    let pool = request.pool.as_deref().map(named).transpose()?;
    let made = handle.with_volumes(move |volumes| volumes.create(&name, kind, size, pool.as_ref()));
    Ok((StatusCode::CREATED, Json(made.await?)))
}

async fn info(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
) -> Result<Json<Info>, Failure> {
    let name = named(&name)?;
    let info = handle.with_volumes(move |volumes| volumes.info(&name));
    Ok(Json(info.await?))
}

#[derive(Debug, Deserialize)]
struct Confirm {
    confirm: Option<String>,
}

async fn delete(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
    Query(query): Query<Confirm>,
) -> Result<StatusCode, Failure> {
    let name = named(&name)?;
    let deleted = handle.with_volumes(move |volumes| {
        volumes
            .begin_delete(&name, query.confirm.as_deref())
            .map(drop)
    });
    deleted.await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A volume with its hourly history.
#[derive(Debug, Serialize)]
struct Usage {
    #[serde(flatten)]
    info: Info,
    history: Vec<Sample>,
}

/// Use, growth and the hourly history.
async fn usage(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
) -> Result<Json<Usage>, Failure> {
    let name = named(&name)?;
    let found = handle.with_volumes(move |volumes| {
        let history = volumes.history(&name)?;
        Ok(Usage {
            info: volumes.info(&name)?,
            history,
        })
    });
    Ok(Json(found.await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resize {
    size: ByteSize,
}

async fn resize(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
    Json(request): Json<Resize>,
) -> Result<Json<Info>, Failure> {
    let name = named(&name)?;
    let resized = handle.with_volumes(move |volumes| volumes.resize(&name, request.size.0));
    Ok(Json(resized.await?))
}

#[derive(Debug, Deserialize)]
struct Cleanup {
    #[serde(flatten)]
    filter: Filter,
    #[serde(default)]
    dry_run: bool,
}

async fn cleanup(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
    Json(request): Json<Cleanup>,
) -> Result<Json<Cleaned>, Failure> {
    let name = named(&name)?;
    let cleaned = handle
        .with_volumes(move |volumes| volumes.cleanup(&name, &request.filter, request.dry_run));
    Ok(Json(cleaned.await?))
}

async fn set_schedule(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
    Json(schedule): Json<Schedule>,
) -> Result<Json<Info>, Failure> {
    let name = named(&name)?;
    let set = handle.with_volumes(move |volumes| volumes.schedule(&name, Some(schedule)));
    Ok(Json(set.await?))
}

async fn end_schedule(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
) -> Result<Json<Info>, Failure> {
    let name = named(&name)?;
    let ended = handle.with_volumes(move |volumes| volumes.schedule(&name, None));
    Ok(Json(ended.await?))
}

async fn snapshots(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
) -> Result<Json<Vec<Snapshot>>, Failure> {
    let name = named(&name)?;
    let found = handle.with_volumes(move |volumes| volumes.snapshots(&name));
    Ok(Json(found.await?))
}

#[derive(Debug, Deserialize)]
struct Quiesce {
    #[serde(default)]
    quiesce: bool,
}

async fn snapshot(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
    Query(query): Query<Quiesce>,
) -> Result<(StatusCode, Json<Snapshot>), Failure> {
    let taken = handle.snapshot(named(&name)?, query.quiesce).await?;
    Ok((StatusCode::CREATED, Json(taken)))
}

async fn delete_snapshot(
    State(handle): State<Handle>,
    UrlPath((name, id)): UrlPath<(String, String)>,
) -> Result<StatusCode, Failure> {
    let name = named(&name)?;
    let deleted = handle.with_volumes(move |volumes| volumes.delete_snapshot(&name, &id));
    deleted.await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    snapshot: String,
    confirm: Option<String>,
}

/// Answers what the replaced state is kept as.
async fn rollback(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
    Json(request): Json<Rollback>,
) -> Result<Json<Snapshot>, Failure> {
    let name = named(&name)?;
    let confirm = request.confirm.as_deref();
    Ok(Json(
        handle.rollback(name, request.snapshot, confirm).await?,
    ))
}

#[derive(Debug, Deserialize)]
struct Span {
    #[serde(default = "default_span")]
    seconds: u64,
}

const fn default_span() -> u64 {
    1
}

/// Longer than that nobody waits for an answer.
const MAX_SPAN: u64 = 60;

async fn performance(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
    Query(query): Query<Span>,
) -> Result<Json<Performance>, Failure> {
    if !(1..=MAX_SPAN).contains(&query.seconds) {
        let message = format!("seconds={} is not 1 to {MAX_SPAN}", query.seconds);
        return Err(CommandError::Invalid(message).into());
    }
    let span = Duration::from_secs(query.seconds);
    Ok(Json(handle.performance(named(&name)?, span).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchiveFile {
    file: PathBuf,
    confirm: Option<String>,
}

async fn backup(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
    Json(request): Json<ArchiveFile>,
) -> Result<(StatusCode, Json<Job>), Failure> {
    let job = handle.backup_volume(named(&name)?, request.file).await?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}

async fn restore(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
    Json(request): Json<ArchiveFile>,
) -> Result<(StatusCode, Json<Job>), Failure> {
    let confirm = request.confirm.as_deref();
    let job = handle.restore_volume(named(&name)?, request.file, confirm);
    Ok((StatusCode::ACCEPTED, Json(job.await?)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Migrate {
    to: String,
}

async fn migrate(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
    Json(request): Json<Migrate>,
) -> Result<(StatusCode, Json<Job>), Failure> {
    let job = handle.migrate(named(&name)?, named(&request.to)?).await?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}

async fn give_up_migration(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
) -> Result<StatusCode, Failure> {
    let name = named(&name)?;
    handle
        .with_volumes(move |volumes| volumes.give_up_migration(&name))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn verify(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
) -> Result<(StatusCode, Json<Job>), Failure> {
    let job = handle.verify(named(&name)?).await?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}

#[derive(Debug, Deserialize)]
struct Unshare {
    #[serde(default)]
    unshare: bool,
}

async fn defragment(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
    Query(query): Query<Unshare>,
) -> Result<(StatusCode, Json<Job>), Failure> {
    let job = handle.defragment(named(&name)?, query.unshare).await?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}

async fn jobs(State(handle): State<Handle>) -> Result<Json<Vec<Job>>, Failure> {
    Ok(Json(handle.jobs().await?))
}

async fn job(
    State(handle): State<Handle>,
    UrlPath(id): UrlPath<String>,
) -> Result<Json<Job>, Failure> {
    let mut jobs = handle.jobs().await?.into_iter();
    let found = jobs.find(|job| job.id == id);
    found.map(Json).ok_or_else(|| {
        CommandError::NotFound(format!(
            "there is no job {id:?}; `lucid job list` shows all"
        ))
        .into()
    })
}

async fn cancel(
    State(handle): State<Handle>,
    UrlPath(id): UrlPath<String>,
) -> Result<StatusCode, Failure> {
    handle.cancel(id).await?;
    Ok(StatusCode::ACCEPTED)
}

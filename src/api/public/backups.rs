//! Backups and long work.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::documents::now;
use super::extract::{Asked, At, Sent};
use super::fault::{ErrorBody, Fault};
use super::health::role;
use crate::store::StoreError;
use crate::supervisor::{Job, JobState, RestoreScope, WantedRestore};

pub(super) fn reader() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(list))
        .routes(routes!(schedule))
        .routes(routes!(jobs))
        .routes(routes!(job))
}

pub(super) fn admin() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(verify))
        .routes(routes!(drill))
        .routes(routes!(restore))
        .routes(routes!(cleanup))
        .routes(routes!(cancel))
}

/// Long work.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JobView {
    /// Unique, also over restarts.
    pub(super) job_id: String,
    kind: String,
    subject: String,
    /// `running`, `done`, `failed`, `cancelled` or `interrupted`.
    state: String,
    done_bytes: u64,
    /// 0 while that is not known.
    total_bytes: u64,
    bytes_per_second: Option<f64>,
    remaining_seconds: Option<u64>,
    started_at: String,
    completed_at: Option<String>,
    /// What came of it, or why it failed.
    message: Option<String>,
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        let state = serde_json::to_value(job.state).ok();
        let state = state.and_then(|state| state.as_str().map(str::to_owned));
        Self {
            job_id: job.id,
            kind: job.kind,
            subject: job.subject,
            state: state.unwrap_or_default(),
            done_bytes: job.done_bytes,
            total_bytes: job.total_bytes,
            bytes_per_second: job.bytes_per_second,
            remaining_seconds: job.remaining_seconds,
            started_at: job.started,
            completed_at: job.ended,
            message: job.message,
        }
    }
}

/// Which repository.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BackupCreateBody {
    /// Its name in lucid.toml; all of them where it is absent.
    #[serde(default)]
    repository: Option<String>,
}

/// Work that was begun.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Begun {
    success: bool,
    message: String,
    /// `GET /jobs/{job_id}` tells how it goes.
    job: JobView,
    timestamp: String,
}

pub(super) fn begun(job: Job) -> (StatusCode, Json<Begun>) {
    let answer = Begun {
        success: true,
        message: format!("{} of {} has begun", job.kind, job.subject),
        job: job.into(),
        timestamp: now(),
    };
    (StatusCode::ACCEPTED, Json(answer))
}

type Answer = Result<(StatusCode, Json<Begun>), Fault>;

/// Begin a backup of the whole appliance
///
/// Every datastore, every volume, configuration and passwords; it is checked before it counts.
#[utoipa::path(post, path = "/backup/create", tag = "backups", request_body = BackupCreateBody,
    responses((status = 202, body = Begun), (status = "default", body = ErrorBody)))]
async fn create(State(api): State<Api>, Sent(wanted): Sent<BackupCreateBody>) -> Answer {
    let job = api
        .handle
        .create_backup(wanted.repository.as_deref())
        .await?;
    Ok(begun(job))
}

/// How backups are.
#[derive(Debug, Serialize, ToSchema)]
struct BackupStatus {
    /// The last good backup, RFC 3339.
    last: Option<String>,
    /// When the next one is made.
    next: Option<String>,
    /// What came of the last work.
    last_result: Option<String>,
    /// What came of the last restore drill.
    last_drill: Option<String>,
    /// Work on backups that goes on now.
    running: Vec<JobView>,
    timestamp: String,
}

async fn running(api: &Api) -> Result<Vec<JobView>, Fault> {
    let jobs = api.handle.jobs().await?.into_iter();
    let ours = jobs.filter(|job| job.state == JobState::Running);
    Ok(ours
        .filter(|job| {
            ["backup", "verify", "drill", "restore", "prune"]
                .iter()
                .any(|kind| job.kind.contains(kind))
        })
        .map(JobView::from)
        .collect())
}

/// How backups are
#[utoipa::path(get, path = "/backup/status", tag = "backups",
    responses((status = 200, body = BackupStatus), (status = "default", body = ErrorBody)))]
async fn status(State(api): State<Api>) -> Result<Json<BackupStatus>, Fault> {
    let backup = api.handle.hub().snapshot().backup.clone();
    Ok(Json(BackupStatus {
        last: backup.last,
        next: backup.next,
        last_result: backup.last_result,
        last_drill: backup.last_drill,
        running: running(&api).await?,
        timestamp: now(),
    }))
}

/// A backup.
#[derive(Debug, Serialize, ToSchema)]
struct BackupView {
    backup_id: String,
    repository: String,
    /// When it was begun.
    taken: String,
    host: String,
    /// Bytes that were read.
    size_bytes: u64,
    /// Bytes that were new, and written.
    added_bytes: u64,
    /// `document`, `cache`, `search`, `system` and volumes.
    parts: Vec<String>,
}

/// Backups of a repository.
#[derive(Debug, Serialize, ToSchema)]
struct RepositoryView {
    repository: String,
    place: String,
    /// Why it could not be read.
    problem: Option<String>,
    append_only: bool,
    /// Oldest first.
    backups: Vec<BackupView>,
}

/// Backups that are there
#[utoipa::path(get, path = "/backups", tag = "backups",
    responses((status = 200, body = Vec<RepositoryView>), (status = "default", body = ErrorBody)))]
async fn list(State(api): State<Api>) -> Result<Json<Vec<RepositoryView>>, Fault> {
    let found = api.handle.list_backups().await?;
    let views = found.into_iter().map(|one| RepositoryView {
        backups: one
            .backups
            .iter()
            .map(|backup| BackupView {
                backup_id: backup.id.clone(),
                repository: one.repository.clone(),
                taken: backup.taken.clone(),
                host: backup.host.clone(),
                size_bytes: backup.bytes(),
                added_bytes: backup.added(),
                parts: backup.parts.iter().map(|part| part.name.clone()).collect(),
            })
            .collect(),
        repository: one.repository,
        place: one.place,
        problem: one.problem,
        append_only: one.append_only,
    });
    Ok(Json(views.collect()))
}

/// When backups are made.
#[derive(Debug, Serialize, ToSchema)]
struct ScheduleView {
    next_run: Option<String>,
    last_run: Option<String>,
    /// Datastores that are in them.
    databases: Vec<String>,
    timestamp: String,
}

/// When backups are made
#[utoipa::path(get, path = "/backups/schedule/status", tag = "backups",
    responses((status = 200, body = ScheduleView), (status = "default", body = ErrorBody)))]
async fn schedule(State(api): State<Api>) -> Json<ScheduleView> {
    let status = api.handle.hub().snapshot();
    Json(ScheduleView {
        next_run: status.backup.next.clone(),
        last_run: status.backup.last.clone(),
        databases: status
            .datastores
            .iter()
            .map(|one| one.name.clone())
            .collect(),
        timestamp: now(),
    })
}

/// Read the whole repository back
#[utoipa::path(post, path = "/backups/verify", tag = "backups", request_body = BackupCreateBody,
    responses((status = 202, body = Begun), (status = "default", body = ErrorBody)))]
async fn verify(State(api): State<Api>, Sent(wanted): Sent<BackupCreateBody>) -> Answer {
    let job = api
        .handle
        .verify_backups(wanted.repository.as_deref())
        .await?;
    Ok(begun(job))
}

/// Which backup to rehearse.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DrillBody {
    #[serde(default)]
    repository: Option<String>,
    /// Its id; the last one where it is absent.
    #[serde(default)]
    backup_id: Option<String>,
}

/// Restore a backup into scratch engines and compare
#[utoipa::path(post, path = "/backups/drill", tag = "backups", request_body = DrillBody,
    responses((status = 202, body = Begun), (status = "default", body = ErrorBody)))]
async fn drill(State(api): State<Api>, Sent(wanted): Sent<DrillBody>) -> Answer {
    let backup = wanted.backup_id.as_deref().unwrap_or("latest");
    let job = api
        .handle
        .drill(wanted.repository.as_deref(), backup)
        .await?;
    Ok(begun(job))
}

/// What to restore.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RestoreBody {
    /// Its id, or `latest`.
    backup_id: String,
    #[serde(default)]
    repository: Option<String>,
    /// `mongodb`, `redis` or `elasticsearch`; everything where it is absent.
    #[serde(default)]
    #[schema(pattern = "^(mongodb|redis|elasticsearch)$")]
    database: Option<String>,
    /// The documents as of this moment, RFC 3339; with `database` `mongodb` alone.
    #[serde(default)]
    point_in_time: Option<String>,
    /// Says that what is there now is to be replaced; it is kept aside.
    #[serde(default)]
    confirm: bool,
    /// Only says what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// Restore a backup into its place
#[utoipa::path(post, path = "/backups/restore", tag = "backups", request_body = RestoreBody,
    responses((status = 202, body = Begun), (status = "default", body = ErrorBody)))]
async fn restore(State(api): State<Api>, Sent(wanted): Sent<RestoreBody>) -> Answer {
    if !wanted.confirm && !wanted.dry_run {
        return Err(Fault::unconfirmed("replaces what is there"));
    }
    let (scope, confirm) = match wanted.database {
        None => (RestoreScope::Everything, "everything".to_owned()),
        Some(name) => {
            let role = role(&name).ok_or_else(|| StoreError::not_found("service", &name))?;
            (RestoreScope::Datastore { role }, role.name().to_owned())
        }
    };
    let wanted = WantedRestore {
        repository: wanted.repository,
        backup: wanted.backup_id,
        scope,
        at: wanted.point_in_time,
        confirm: Some(confirm),
        dry_run: wanted.dry_run,
    };
    Ok(begun(api.handle.restore_backup(wanted).await?))
}

/// Which repository, and whether it is meant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CleanupQuery {
    repository: Option<String>,
    /// Says that it is meant.
    #[serde(default)]
    confirm: bool,
}

/// Remove backups that the rules of retention do not keep
#[utoipa::path(post, path = "/backups/cleanup", tag = "backups", params(CleanupQuery),
    responses((status = 202, body = Begun), (status = "default", body = ErrorBody)))]
async fn cleanup(State(api): State<Api>, Asked(wanted): Asked<CleanupQuery>) -> Answer {
    if !wanted.confirm {
        return Err(Fault::unconfirmed("removes old backups"));
    }
    let job = api
        .handle
        .prune_backups(wanted.repository.as_deref())
        .await?;
    Ok(begun(job))
}

/// Long work, newest first
#[utoipa::path(get, path = "/jobs", tag = "jobs",
    responses((status = 200, body = Vec<JobView>), (status = "default", body = ErrorBody)))]
async fn jobs(State(api): State<Api>) -> Result<Json<Vec<JobView>>, Fault> {
    let jobs = api.handle.jobs().await?;
    Ok(Json(jobs.into_iter().map(JobView::from).collect()))
}

/// One job
#[utoipa::path(get, path = "/jobs/{job_id}", tag = "jobs", params(("job_id" = String, Path)),
    responses((status = 200, body = JobView), (status = "default", body = ErrorBody)))]
async fn job(State(api): State<Api>, At(id): At<String>) -> Result<Json<JobView>, Fault> {
    let mut jobs = api.handle.jobs().await?.into_iter();
    let found = jobs.find(|job| job.id == id);
    let found = found.ok_or_else(|| StoreError::not_found("job", &id))?;
    Ok(Json(found.into()))
}

/// Ask a job to end
#[utoipa::path(post, path = "/jobs/{job_id}/cancel", tag = "jobs", params(("job_id" = String, Path)),
    responses((status = 204), (status = "default", body = ErrorBody)))]
async fn cancel(State(api): State<Api>, At(id): At<String>) -> Result<StatusCode, Fault> {
    api.handle.cancel(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

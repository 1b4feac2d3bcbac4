//! Volumes.

use std::path::PathBuf;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::backups::{Begun, begun};
use super::documents::now;
use super::extract::{Asked, At, Sent};
use super::fault::{ErrorBody, Fault};
use crate::supervisor::CommandError;
use crate::units::ByteSize;
use crate::volume::{Filter, Info, Kind, Name};

pub(super) fn reader() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(usage))
        .routes(routes!(health))
        .routes(routes!(performance))
}

pub(super) fn admin() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(remove))
        .routes(routes!(resize))
        .routes(routes!(backup))
        .routes(routes!(cleanup))
}

fn named(name: &str) -> Result<Name, Fault> {
    name.parse::<Name>()
        .map_err(|error| CommandError::Invalid(error.to_string()).into())
}

/// A volume.
#[derive(Debug, Serialize, ToSchema)]
struct VolumeView {
    name: String,
    /// One of the nine kinds.
    #[serde(rename = "type")]
    kind: String,
    /// Its quota; null for what the file system has.
    size_bytes: Option<u64>,
    used_bytes: Option<u64>,
    available_bytes: Option<u64>,
    usage_percentage: Option<f64>,
    /// `healthy`, `warning`, `critical` or `missing`.
    status: String,
    mount_point: String,
    growth_bytes_per_day: Option<f64>,
    full_in_seconds: Option<u64>,
}

impl From<Info> for VolumeView {
    fn from(info: Info) -> Self {
        // Its parts are flat there, as on the control socket.
        let value = serde_json::to_value(&info).unwrap_or_default();
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let size = value["quota_bytes"].as_u64();
        Self {
            name: text("name"),
            kind: text("type"),
            size_bytes: size,
            available_bytes: size
                .zip(info.used_bytes)
                .map(|(size, used)| size.saturating_sub(used)),
            used_bytes: info.used_bytes,
            usage_percentage: info.percent,
            status: info.state.to_owned(),
            mount_point: info.path.display().to_string(),
            growth_bytes_per_day: value["growth_bytes_per_day"].as_f64(),
            full_in_seconds: value["full_in_seconds"].as_u64(),
        }
    }
}

/// Volumes that are there
#[utoipa::path(get, path = "/volumes", tag = "volumes",
    responses((status = 200, body = Vec<VolumeView>), (status = "default", body = ErrorBody)))]
async fn list(State(api): State<Api>) -> Result<Json<Vec<VolumeView>>, Fault> {
    let found = api
        .handle
        .with_volumes(|volumes| Ok(volumes.list()))
        .await?;
    Ok(Json(found.into_iter().map(VolumeView::from).collect()))
}

async fn info(api: &Api, name: &str) -> Result<Info, Fault> {
    let name = named(name)?;
    Ok(api
        .handle
        .with_volumes(move |volumes| volumes.info(&name))
        .await?)
}

/// A volume
#[utoipa::path(get, path = "/volumes/{volume_name}", tag = "volumes",
    params(("volume_name" = String, Path)),
    responses((status = 200, body = VolumeView), (status = "default", body = ErrorBody)))]
async fn show(State(api): State<Api>, At(name): At<String>) -> Result<Json<VolumeView>, Fault> {
    Ok(Json(info(&api, &name).await?.into()))
}

/// Use at an hour.
#[derive(Debug, Serialize, ToSchema)]
struct UsagePoint {
    /// RFC 3339.
    timestamp: String,
    used_bytes: u64,
}

/// Use and its history.
#[derive(Debug, Serialize, ToSchema)]
struct UsageView {
    volume: VolumeView,
    history: Vec<UsagePoint>,
    timestamp: String,
}

/// How a volume fills
#[utoipa::path(get, path = "/volumes/{volume_name}/usage", tag = "volumes",
    params(("volume_name" = String, Path)),
    responses((status = 200, body = UsageView), (status = "default", body = ErrorBody)))]
async fn usage(State(api): State<Api>, At(name): At<String>) -> Result<Json<UsageView>, Fault> {
    let volume = info(&api, &name).await?;
    let name = named(&name)?;
    let history = api
        .handle
        .with_volumes(move |volumes| volumes.history(&name))
        .await?;
    let points = history.iter().filter_map(|sample| {
        let value = serde_json::to_value(sample).ok()?;
        let at = value["at"].as_str().map(str::to_owned).or_else(|| {
            let seconds = value["at"].as_i64()?;
            jiff::Timestamp::from_second(seconds)
                .ok()
                .map(|time| time.to_string())
        })?;
        Some(UsagePoint {
            timestamp: at,
            used_bytes: value["used_bytes"]
                .as_u64()
                .or_else(|| value["bytes"].as_u64())?,
        })
    });
    Ok(Json(UsageView {
        history: points.collect(),
        volume: volume.into(),
        timestamp: now(),
    }))
}

/// How a volume is.
#[derive(Debug, Serialize, ToSchema)]
struct VolumeHealth {
    volume: String,
    /// `healthy`, `warning`, `critical` or `missing`.
    health: String,
    usage_percentage: Option<f64>,
    timestamp: String,
}

/// How a volume is
#[utoipa::path(get, path = "/volumes/{volume_name}/health", tag = "volumes",
    params(("volume_name" = String, Path)),
    responses((status = 200, body = VolumeHealth), (status = "default", body = ErrorBody)))]
async fn health(State(api): State<Api>, At(name): At<String>) -> Result<Json<VolumeHealth>, Fault> {
    let found = info(&api, &name).await?;
    Ok(Json(VolumeHealth {
        volume: name,
        health: found.state.to_owned(),
        usage_percentage: found.percent,
        timestamp: now(),
    }))
}

/// For how long to look.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Span {
    /// 1 to 5.
    #[serde(default = "a_second")]
    #[param(minimum = 1, maximum = 5)]
    seconds: u8,
}

const fn a_second() -> u8 {
    1
}

/// What the disk of a volume does.
#[derive(Debug, Serialize, ToSchema)]
struct PerformanceView {
    volume: String,
    /// Rates and latencies of the disk over the time that was looked at.
    performance: serde_json::Map<String, serde_json::Value>,
    timestamp: String,
}

/// What the disk of a volume does
#[utoipa::path(get, path = "/volumes/{volume_name}/performance", tag = "volumes",
    params(("volume_name" = String, Path), Span),
    responses((status = 200, body = PerformanceView), (status = "default", body = ErrorBody)))]
async fn performance(
    State(api): State<Api>,
    At(name): At<String>,
    Asked(span): Asked<Span>,
) -> Result<Json<PerformanceView>, Fault> {
    if !(1..=5).contains(&span.seconds) {
        return Err(Fault::invalid(
            "seconds",
            "range",
            format!("1 to 5; found {}", span.seconds),
        ));
    }
    let time = Duration::from_secs(span.seconds.into());
    let found = api.handle.performance(named(&name)?, time).await?;
    let performance = match serde_json::to_value(&found) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    Ok(Json(PerformanceView {
        volume: name,
        performance,
        timestamp: now(),
    }))
}

/// A volume to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct VolumeCreateBody {
    #[schema(pattern = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
    name: String,
    /// Such as `10G` or `100M`.
    #[schema(pattern = "^[0-9]+[KMGT]?$")]
    size: String,
    /// One of the nine kinds.
    volume_type: String,
}

/// What was done to a volume.
#[derive(Debug, Serialize, ToSchema)]
struct VolumeDoneView {
    success: bool,
    message: String,
    volume: VolumeView,
    timestamp: String,
}

fn size(text: &str) -> Result<u64, Fault> {
    let size: Result<ByteSize, _> = text.parse();
    size.map(|size| size.0)
        .map_err(|error| Fault::invalid("size", "pattern", error.to_string()))
}

fn done(message: &str, volume: Info) -> VolumeDoneView {
    VolumeDoneView {
        success: true,
        message: message.to_owned(),
        volume: volume.into(),
        timestamp: now(),
    }
}

/// Make a volume
#[utoipa::path(post, path = "/volumes", tag = "volumes", request_body = VolumeCreateBody,
    responses((status = 201, body = VolumeDoneView), (status = "default", body = ErrorBody)))]
async fn create(
    State(api): State<Api>,
    Sent(wanted): Sent<VolumeCreateBody>,
) -> Result<(StatusCode, Json<VolumeDoneView>), Fault> {
    let name = named(&wanted.name)?;
    let kind: Kind = wanted.volume_type.parse().map_err(CommandError::Invalid)?;
    let size = size(&wanted.size)?;
    let made = api
        .handle
        .with_volumes(move |volumes| volumes.create(&name, kind, Some(size), None));
    Ok((
        StatusCode::CREATED,
        Json(done("the volume is there", made.await?)),
    ))
}

/// Whether it is meant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ConfirmName {
    /// The name of the volume once more.
    confirm: Option<String>,
}

/// Remove a volume and everything in it
#[utoipa::path(delete, path = "/volumes/{volume_name}", tag = "volumes",
    params(("volume_name" = String, Path), ConfirmName),
    responses((status = 204), (status = "default", body = ErrorBody)))]
async fn remove(
    State(api): State<Api>,
    At(name): At<String>,
    Asked(sure): Asked<ConfirmName>,
) -> Result<StatusCode, Fault> {
    let name = named(&name)?;
    if sure.confirm.is_none() {
        let mut fault = Fault::unconfirmed("removes a volume and everything in it");
        fault.message = format!(
            "this removes a volume and everything in it: confirm={name} says that it is meant"
        );
        return Err(fault);
    }
    let gone = api.handle.with_volumes(move |volumes| {
        volumes
            .begin_delete(&name, sure.confirm.as_deref())
            .map(drop)
    });
    gone.await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Another size.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResizeBody {
    name: String,
    /// Such as `10G` or `100M`.
    #[schema(pattern = "^[0-9]+[KMGT]?$")]
    new_size: String,
}

/// Give a volume another size
#[utoipa::path(post, path = "/volumes/resize", tag = "volumes", request_body = ResizeBody,
    responses((status = 200, body = VolumeDoneView), (status = "default", body = ErrorBody)))]
async fn resize(
    State(api): State<Api>,
    Sent(wanted): Sent<ResizeBody>,
) -> Result<Json<VolumeDoneView>, Fault> {
    let name = named(&wanted.name)?;
    let size = size(&wanted.new_size)?;
    let resized = api
        .handle
        .with_volumes(move |volumes| volumes.resize(&name, size));
    Ok(Json(done("the volume has its new size", resized.await?)))
}

/// Where the archive goes.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BackupQuery {
    /// Name of the file, within the volume `backups`; made of name and time where it is absent.
    #[param(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    output_path: Option<String>,
}

/// Begin a backup of one volume into an archive
#[utoipa::path(post, path = "/volumes/{volume_name}/backup", tag = "volumes",
    params(("volume_name" = String, Path), BackupQuery),
    responses((status = 202, body = Begun), (status = "default", body = ErrorBody)))]
async fn backup(
    State(api): State<Api>,
    At(name): At<String>,
    Asked(wanted): Asked<BackupQuery>,
) -> Result<(StatusCode, Json<Begun>), Fault> {
    let file = match wanted.output_path {
        None => {
            let time: String = now()
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .take(15)
                .collect();
            format!("{name}-{time}.lucid")
        }
        Some(file) => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            let is_name = (1..=100).contains(&file.len())
                && file.chars().all(allowed)
                && file.starts_with(|c: char| c.is_ascii_alphanumeric());
            if !is_name {
                let message = "is the name of a file in the volume backups: letters, digits, . _ -";
                return Err(Fault::invalid("output_path", "pattern", message));
            }
            file
        }
    };
    let path = PathBuf::from("backups").join(file);
    let job = api.handle.backup_volume(named(&name)?, path).await?;
    Ok(begun(job))
}

/// What to remove.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CleanupBody {
    /// Which files.
    filter: serde_json::Map<String, serde_json::Value>,
    /// Only says what would be removed.
    #[serde(default)]
    dry_run: bool,
    /// Says that it is meant.
    #[serde(default)]
    confirm: bool,
}

/// What was removed.
#[derive(Debug, Serialize, ToSchema)]
struct CleanupView {
    success: bool,
    volume: String,
    /// As `lucid volume cleanup` tells it.
    cleaned: serde_json::Map<String, serde_json::Value>,
    timestamp: String,
}

/// Remove files of a volume by a filter
#[utoipa::path(post, path = "/volumes/{volume_name}/cleanup", tag = "volumes", request_body = CleanupBody,
    params(("volume_name" = String, Path)),
    responses((status = 200, body = CleanupView), (status = "default", body = ErrorBody)))]
async fn cleanup(
    State(api): State<Api>,
    At(name): At<String>,
    Sent(wanted): Sent<CleanupBody>,
) -> Result<Json<CleanupView>, Fault> {
    if !wanted.confirm && !wanted.dry_run {
        return Err(Fault::unconfirmed("removes files"));
    }
    let filter: Filter = serde_json::from_value(wanted.filter.into())
        .map_err(|error| Fault::invalid("filter", "shape", error.to_string()))?;
    let of = named(&name)?;
    let cleaned = api
        .handle
        .with_volumes(move |volumes| volumes.cleanup(&of, &filter, wanted.dry_run))
        .await?;
    let cleaned = match serde_json::to_value(&cleaned) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    Ok(Json(CleanupView {
        success: true,
        volume: name,
        cleaned,
        timestamp: now(),
    }))
}

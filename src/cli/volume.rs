//! `lucid volume`.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};

use super::output::Out;
use super::volume_args::{SnapshotCommand, VolumeCommand};
use super::{CliError, Done, load_config};
use crate::api::Client;
use crate::paths::Paths;
use crate::units::human_bytes;
use crate::volume::{self, DeviceHealth, HealthVerdict, Outcome};

pub(super) fn prepare(paths: &Paths, file: Option<&Path>, out: &mut Out) -> Result<Done, CliError> {
    let config = load_config(paths, file)?;
    match volume::prepare(paths, &config.data)? {
        Outcome::Refused(fault) => Err(CliError::Refused(format!(
            "{}; {}",
            fault.message, fault.remedy
        ))),
        Outcome::Mounted(storage) => {
            if out.json(&storage)? {
                return Ok(Done::Well);
            }
            if let Some(mounted) = &storage.mounted {
                out.line(&format!(
                    "pool {} on {} is mounted at {}",
                    mounted.uuid,
                    mounted.device.display(),
                    paths.data().display()
                ))?;
            }
            for fault in &storage.faults {
                out.line(&format!("{}; {}", fault.message, fault.remedy))?;
            }
            Ok(Done::Well)
        }
    }
}

/// Whether the pool is there, for units that bring it back.
pub(super) fn check(paths: &Paths, out: &mut Out) -> Result<Done, CliError> {
    let (done, message) = match volume::pool::check(paths) {
        Ok(()) => (Done::Well, "all pools are there".to_owned()),
        Err(fault) => (
            Done::Unhealthy,
            format!("{}; {}", fault.message, fault.remedy),
        ),
    };
    if !out.json(&json!({ "well": done == Done::Well, "message": message }))? {
        out.line(&message)?;
    }
    Ok(done)
}

/// How the disks are; exits 3 when one is not well.
pub(super) fn health(paths: &Paths, record: bool, out: &mut Out) -> Result<Done, CliError> {
    let report = volume::ask_all(paths);
    if record {
        report.write(paths)?;
    }
    if !out.json(&report)? {
        for device in &report.devices {
            out.line(&device_line(device))?;
            for reason in &device.reasons {
                out.line(&format!("    {reason}"))?;
            }
        }
    }
    let bad = |device: &DeviceHealth| device.verdict > HealthVerdict::Healthy;
    Ok(if report.devices.iter().any(bad) {
        Done::Unhealthy
    } else {
        Done::Well
    })
}

fn device_line(device: &DeviceHealth) -> String {
    let mut parts = vec![format!(
        "{:<10} {:<9}",
        device.device,
        format!("{:?}", device.verdict).to_lowercase()
    )];
    parts.extend(device.model.clone());
    parts.extend(
        device
            .temperature_celsius
            .map(|celsius| format!("{celsius} °C")),
    );
    parts.extend(device.wear_percent.map(|wear| format!("{wear} % worn")));
    parts.extend(
        device
            .written_bytes_per_day
            .map(|bytes| format!("{} written a day", human_bytes(bytes))),
    );
    parts.extend(
        device
            .days_left
            .map(|days| format!("{days} days left at this rate")),
    );
    parts.join(", ")
}

/// Commands for a running appliance.
pub(super) async fn run(
    paths: &Paths,
    command: VolumeCommand,
    out: &mut Out,
) -> Result<Done, CliError> {
    let client = Client::new(paths)?;
    let (method, path, body) = request(&command);
    let answer = client.request(method, &path, body.as_ref()).await?;
    if let VolumeCommand::Verify { background, .. }
    | VolumeCommand::Defragment { background, .. }
    | VolumeCommand::Migrate {
        background,
        give_up: false,
        ..
    }
    | VolumeCommand::Backup { background, .. }
    | VolumeCommand::Restore { background, .. } = &command
    {
        return super::job::follow(&client, answer, *background, out).await;
    }
    if out.json(&answer)? {
        return Ok(Done::Well);
    }
    match &command {
        VolumeCommand::List => {
            for volume in answer.as_array().into_iter().flatten() {
                out.line(&line(volume))?;
            }
        }
        VolumeCommand::Snapshot {
            command: SnapshotCommand::List { .. },
        } => {
            for snapshot in answer.as_array().into_iter().flatten() {
                let text = |key: &str| snapshot[key].as_str().unwrap_or_default();
                out.line(&format!(
                    "{:<32} {}  {}",
                    text("id"),
                    text("taken"),
                    text("origin")
                ))?;
            }
        }
        VolumeCommand::Snapshot {
            command: SnapshotCommand::Take { .. },
        } => out.line(answer["id"].as_str().unwrap_or_default())?,
        VolumeCommand::Rollback { name, snapshot, .. } => out.line(&format!(
            "volume {name} is as in {snapshot}; what it replaced is kept as {}",
            answer["id"].as_str().unwrap_or_default()
        ))?,
        VolumeCommand::Cleanup { name, dry_run, .. } => out.line(&format!(
            "{} of volume {name}: {} files with {}{}",
            if *dry_run { "to be removed" } else { "removed" },
            answer["files"],
            human_bytes(answer["bytes"].as_u64().unwrap_or(0)),
            match answer["failed"].as_u64() {
                Some(failed) if failed > 0 => format!("; {failed} could not be"),
                _ => String::new(),
            }
        ))?,
        VolumeCommand::Delete { name, .. } => {
            out.line(&format!("volume {name} and its snapshots are deleted"))?;
        }
        VolumeCommand::Snapshot {
            command: SnapshotCommand::Delete { name, snapshot },
        } => out.line(&format!("snapshot {snapshot} of volume {name} is deleted"))?,
        VolumeCommand::Migrate { name, .. } => {
            out.line(&format!(
                "volume {name} stays where it is; what was copied is removed"
            ))?;
        }
        VolumeCommand::Performance { .. } => {
            for line in performance(&answer) {
                out.line(&line)?;
            }
        }
        VolumeCommand::Info { .. } | VolumeCommand::Usage { .. } => {
            out.line(&line(&answer))?;
            out.line(&growth(&answer))?;
            out.line(&details(&answer))?;
        }
        _ => out.line(&line(&answer))?,
    }
    Ok(Done::Well)
}

fn request(command: &VolumeCommand) -> (Method, String, Option<Value>) {
    let get = |path: String| (Method::GET, path, None);
    let post = |path: String, body: Value| (Method::POST, path, Some(body));
    match command {
        // The first needs no supervisor and is done elsewhere.
        VolumeCommand::Local(_) | VolumeCommand::List => get("/volumes".to_owned()),
        VolumeCommand::Create {
            name,
            kind,
            size,
            pool,
        } => post(
            "/volumes".to_owned(),
            json!({ "name": name, "type": kind, "size": size, "pool": pool }),
        ),
        VolumeCommand::Info { name } => get(format!("/volumes/{name}")),
        VolumeCommand::Usage { name } => get(format!("/volumes/{name}/usage")),
        VolumeCommand::Resize { name, size } => {
            post(format!("/volumes/{name}/resize"), json!({ "size": size }))
        }
        VolumeCommand::Delete { name, confirm } => {
            let confirm = confirm.as_deref().map_or_else(String::new, |confirm| {
                format!("?confirm={}", encoded(confirm))
            });
            (Method::DELETE, format!("/volumes/{name}{confirm}"), None)
        }
        VolumeCommand::Rollback {
            name,
            snapshot,
            confirm,
        } => post(
            format!("/volumes/{name}/rollback"),
            json!({ "snapshot": snapshot, "confirm": confirm }),
        ),
        VolumeCommand::Cleanup {
            name,
            older_than,
            pattern,
            dry_run,
        } => post(
            format!("/volumes/{name}/cleanup"),
            json!({
                "older_than_seconds": older_than.map(|age| age.0.as_secs()),
                "pattern": pattern,
                "dry_run": dry_run,
            }),
        ),
        VolumeCommand::Verify { name, .. } => {
            (Method::POST, format!("/volumes/{name}/verify"), None)
        }
        VolumeCommand::Performance { name, span } => get(format!(
            "/volumes/{name}/performance?seconds={}",
            span.0.as_secs()
        )),
        VolumeCommand::Backup { name, to, .. } => post(
            format!("/volumes/{name}/backup"),
            json!({ "file": absolute(to) }),
        ),
        VolumeCommand::Restore {
            name,
            from,
            confirm,
            ..
        } => post(
            format!("/volumes/{name}/restore"),
            json!({ "file": absolute(from), "confirm": confirm }),
        ),
        VolumeCommand::Migrate { name, to, .. } => {
            let path = format!("/volumes/{name}/migrate");
            match to {
                Some(to) => post(path, json!({ "to": to })),
                None => (Method::DELETE, path, None),
            }
        }
        VolumeCommand::Defragment { name, unshare, .. } => (
            Method::POST,
            format!("/volumes/{name}/defragment?unshare={unshare}"),
            None,
        ),
        VolumeCommand::Snapshot { command } => match command {
            SnapshotCommand::List { name } => get(format!("/volumes/{name}/snapshots")),
            SnapshotCommand::Take { name, quiesce } => (
                Method::POST,
                format!("/volumes/{name}/snapshots?quiesce={quiesce}"),
                None,
            ),
            SnapshotCommand::Delete { name, snapshot } => (
                Method::DELETE,
                format!("/volumes/{name}/snapshots/{}", encoded(snapshot)),
                None,
            ),
            SnapshotCommand::Schedule {
                name,
                every,
                keep,
                off,
            } => {
                let path = format!("/volumes/{name}/schedule");
                match every.filter(|_| !off) {
                    Some(every) => post(path, json!({ "every": every, "keep": keep })),
                    None => (Method::DELETE, path, None),
                }
            }
        },
    }
}

/// The supervisor has another working directory than whoever types.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf())
}

pub(super) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn line(volume: &Value) -> String {
    let bytes = |key: &str| {
        volume[key]
            .as_u64()
            .map_or_else(|| "-".to_owned(), human_bytes)
    };
    let quota = volume["quota_bytes"]
        .as_u64()
        .map_or_else(|| "no quota".to_owned(), human_bytes);
    let percent = volume["percent"]
        .as_f64()
        .map_or_else(String::new, |percent| format!("{percent} %"));
    let text = |key: &str| volume[key].as_str().unwrap_or_default();
    format!(
        "{:<20} {:<14} {:<9} {:>12} of {:<12} {percent:>7}  {}",
        text("name"),
        text("type"),
        text("state"),
        bytes("used_bytes"),
        quota,
        text("path")
    )
    .trim_end()
    .to_owned()
}

/// When it was made, what only it holds, and its snapshots by time.
fn details(volume: &Value) -> String {
    let made = volume["created"].as_str().unwrap_or_default();
    let own = volume["exclusive_bytes"]
        .as_u64()
        .map_or_else(String::new, |bytes| {
            format!(", {} shared with no snapshot", human_bytes(bytes))
        });
    let schedule = &volume["schedule"];
    let snapshots = match (schedule["every"].as_str(), schedule["keep"].as_u64()) {
        (Some(every), Some(keep)) => format!("a snapshot every {every}, {keep} kept"),
        _ => "no snapshots by time".to_owned(),
    };
    let pool = volume["pool"].as_str().unwrap_or("data");
    format!("  on pool {pool}, made {made}{own}; {snapshots}")
}

/// The disk, and what of it is the volume's own.
fn performance(seen: &Value) -> Vec<String> {
    let rates = |side: &Value| {
        let operations = |key: &str| {
            side[key]
                .as_f64()
                .map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"))
        };
        let bytes = |key: &str| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let bytes = side[key].as_f64().unwrap_or(0.0) as u64;
            human_bytes(bytes)
        };
        format!(
            "reads {}/s with {}/s, writes {}/s with {}/s",
            operations("reads_per_second"),
            bytes("read_bytes_per_second"),
            operations("writes_per_second"),
            bytes("written_bytes_per_second")
        )
    };
    let time = |key: &str| {
        seen[key]
            .as_f64()
            .map_or_else(|| "-".to_owned(), |time| format!("{time:.2} ms"))
    };
    let device = seen["device"].as_str().unwrap_or_default();
    let mut lines = vec![
        format!("disk {device}: {}", rates(&seen["disk"])),
        format!(
            "  a read takes {}, a write {}; busy {:.0} % of the time",
            time("read_milliseconds"),
            time("write_milliseconds"),
            seen["busy_percent"].as_f64().unwrap_or(0.0)
        ),
    ];
    lines.push(match seen["source"].as_str() {
        Some(source) => format!("own: {} (by {source})", rates(&seen["own"])),
        None => "own: not told by the kernel".to_owned(),
    });
    lines
}

fn growth(usage: &Value) -> String {
    let rate = |key: &str, span: &str| {
        usage[key].as_f64().map(|rate| {
            let sign = if rate < 0.0 { "-" } else { "+" };
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let bytes = rate.abs() as u64;
            format!("{sign}{} {span}", human_bytes(bytes))
        })
    };
    let rates: Vec<_> = [
        rate("growth_bytes_per_hour", "an hour"),
        rate("growth_bytes_per_day", "a day"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let full = match usage["full_in_seconds"].as_u64() {
        Some(seconds) => format!("; full in {} h {} min", seconds / 3600, seconds / 60 % 60),
        None => String::new(),
    };
    if rates.is_empty() {
        "  growth is not known yet".to_owned()
    } else {
        format!("  {}{full}", rates.join(", "))
    }
}

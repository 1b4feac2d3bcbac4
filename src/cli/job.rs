//! `lucid job`: long work of a running appliance.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::args::JobCommand;
use super::output::Out;
use super::{CliError, Done};
use crate::api::{Client, ClientError};
use crate::paths::Paths;
use crate::supervisor::{Job, JobState};
use crate::units::human_bytes;

const POLL: Duration = Duration::from_millis(300);

pub(super) async fn run(
    paths: &Paths,
    command: JobCommand,
    out: &mut Out,
) -> Result<Done, CliError> {
    let client = Client::new(paths)?;
    match command {
        JobCommand::List => {
            let answer = client.request(Method::GET, "/jobs", None).await?;
            if !out.json(&answer)? {
                for job in read::<Vec<Job>>(answer)? {
                    out.line(&line(&job))?;
                }
            }
        }
        JobCommand::Show { id } => {
            let answer = client.request(Method::GET, &job_path(&id), None).await?;
            if !out.json(&answer)? {
                out.line(&line(&read(answer)?))?;
            }
        }
        JobCommand::Cancel { id } => {
            let answer = client
                .request(Method::POST, &format!("{}/cancel", job_path(&id)), None)
                .await?;
            if !out.json(&answer)? {
                out.line(&format!("job {id} was asked to end"))?;
            }
        }
    }
    Ok(Done::Well)
}

/// Shows how a job that was just started goes on, until its end. Ctrl-C leaves it running.
pub(super) async fn follow(
    client: &Client,
    started: Value,
    background: bool,
    out: &mut Out,
) -> Result<Done, CliError> {
    let mut job: Job = read(started)?;
    let mut told = String::new();
    while job.state == JobState::Running && !background {
        let now = line(&job);
        if !out.is_json() && now != told {
            out.line(&now)?;
            told = now;
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = tokio::signal::ctrl_c() => break,
        }
        let path = job_path(&job.id);
        job = read(client.request(Method::GET, &path, None).await?)?;
    }
    if !out.json(&job)? {
        out.line(&line(&job))?;
    }
    Ok(match job.state {
        JobState::Running | JobState::Done => Done::Well,
        JobState::Failed | JobState::Cancelled => Done::Failed,
    })
}

fn job_path(id: &str) -> String {
    format!("/jobs/{}", super::volume::encoded(id))
}

fn read<T: serde::de::DeserializeOwned>(answer: Value) -> Result<T, CliError> {
    serde_json::from_value(answer)
        .map_err(|error| ClientError::Answer(error.to_string()))
        .map_err(CliError::from)
}

fn line(job: &Job) -> String {
    let state = format!("{:?}", job.state).to_lowercase();
    let percent = (job.done_bytes * 100).checked_div(job.total_bytes);
    let progress = match (job.state, percent) {
        (JobState::Running, Some(percent)) => {
            let rate = job.bytes_per_second.map_or_else(String::new, |rate| {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let bytes = rate as u64;
                format!(", {}/s", human_bytes(bytes))
            });
            let left = job
                .remaining_seconds
                .map_or_else(String::new, |seconds| format!(", {seconds} s to go"));
            format!("  {percent} %{rate}{left}")
        }
        _ => String::new(),
    };
    let message = job.message.as_deref().unwrap_or_default();
    format!(
        "{}  {} of {}  {state}{progress}  {message}",
        job.id, job.kind, job.subject
    )
    .trim_end()
    .to_owned()
}

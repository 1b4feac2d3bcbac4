//! `lucid status`: a person's view of the snapshot.

use std::fmt::Write;
use std::time::Duration;

use super::output::{Colour, Out};
use super::{CliError, Done, lamps};
use crate::api::Client;
use crate::config::MemoryPlan;
use crate::paths::Paths;
use crate::status::{ApplianceState, Datastore, DatastoreState, Severity, Status, TuningState};
use crate::units::human_bytes;

pub(super) async fn run(paths: &Paths, out: &mut Out, watch: bool) -> Result<Done, CliError> {
    let client = Client::new(paths)?;
    if watch {
        super::watch::run(&client, out, view).await?;
        return Ok(Done::Well);
    }
    let status = client.status().await?;
    if !out.json(&status)? {
        let text = view(&status, Duration::ZERO, out);
        out.text(&text)?;
    }
    Ok(match status.state {
        ApplianceState::Degraded | ApplianceState::Failed => Done::Unhealthy,
        _ => Done::Well,
    })
}

/// `since` is how long the panel's pattern has been shown.
fn view(status: &Status, since: Duration, out: &Out) -> String {
    let mut text = String::new();
    let state = format!("{:?}", status.state).to_uppercase();
    let colour = match status.state {
        ApplianceState::Ready => Colour::Green,
        ApplianceState::Starting | ApplianceState::Stopping | ApplianceState::Degraded => {
            Colour::Yellow
        }
        ApplianceState::Failed => Colour::Red,
    };
    let _ = writeln!(
        text,
        "{} {}  {}  up {}",
        out.paint(Colour::Bold, "lucid"),
        status.version,
        out.paint(colour, &state),
        span(status.uptime_seconds)
    );
    let _ = writeln!(text, "{}\n", board_line(status));
    for datastore in &status.datastores {
        let line = datastore_line(datastore);
        let colour = match datastore.state {
            DatastoreState::Ready => Colour::Green,
            DatastoreState::Failed | DatastoreState::Blocked => Colour::Red,
            DatastoreState::Stopped => Colour::Dim,
            _ => Colour::Yellow,
        };
        let _ = writeln!(
            text,
            "  {} {line}",
            out.paint(colour, mark(datastore.state))
        );
        if let Some(reason) = &datastore.reason {
            let _ = writeln!(text, "      {}", out.paint(colour, reason));
        }
    }
    let _ = writeln!(
        text,
        "\n  panel    {} {}: {}",
        lamps::draw(&status.panel, since, out),
        status.panel.pattern,
        status.panel.meaning
    );
    for work in &status.work {
        let _ = writeln!(text, "  running  {} of {}", work.kind, work.subject);
    }
    let _ = writeln!(text, "  tuning   {}", tuning_line(status));
    for knob in status.tuning.knobs.iter().filter(|knob| !knob.ok) {
        let found = knob.found.as_deref().unwrap_or("nothing");
        let line = format!(
            "{}: wanted {}, found {found}; {}",
            knob.name, knob.wanted, knob.reason
        );
        let _ = writeln!(text, "      {}", out.paint(Colour::Yellow, &line));
    }
    if !status.volumes.is_empty() {
        let volumes: Vec<_> = status
            .volumes
            .iter()
            .map(|volume| match volume.percent {
                Some(percent) => match volume.quota_bytes {
                    Some(quota) => {
                        format!("{} {percent} % of {}", volume.name, human_bytes(quota))
                    }
                    None => format!("{} {percent} % of its disk", volume.name),
                },
                None => format!("{} {}", volume.name, volume.state),
            })
            .collect();
        let _ = writeln!(text, "  volumes  {}", volumes.join(", "));
    }
    if status.alerts.is_empty() {
        let _ = writeln!(text, "  alerts   none");
    }
    for alert in &status.alerts {
        let (word, colour) = match alert.severity {
            Severity::Warning => ("warning", Colour::Yellow),
            Severity::Critical => ("critical", Colour::Red),
        };
        let _ = writeln!(
            text,
            "  {}  {}: {}\n           {}",
            out.paint(colour, word),
            alert.subject,
            alert.message,
            out.paint(Colour::Dim, &alert.action)
        );
    }
    text
}

/// A sign that is told apart without colour.
const fn mark(state: DatastoreState) -> &'static str {
    match state {
        DatastoreState::Ready => "●",
        DatastoreState::Degraded => "◐",
        DatastoreState::Failed | DatastoreState::Blocked => "✖",
        DatastoreState::Stopped => "○",
        _ => "◌",
    }
}

fn board_line(status: &Status) -> String {
    let board = &status.board;
    let mut parts = vec![board.model.clone(), human_bytes(board.memory_bytes)];
    if board.page_size != 4096 {
        parts.push(format!("{}K pages", board.page_size / 1024));
    }
    if let Some(celsius) = board.temperature_celsius {
        parts.push(format!("{celsius:.0} °C"));
    }
    if let Some(rpm) = board.fan_rpm {
        parts.push(format!("fan {rpm} rpm"));
    }
    if board.throttled == Some(true) {
        parts.push("throttled".to_owned());
    }
    if board.undervoltage == Some(true) {
        parts.push("UNDER-VOLTAGE: use a stronger power supply".to_owned());
    }
    if !board.clock_set {
        parts.push("clock not set".to_owned());
    }
    if board.simulated {
        parts.push("SIMULATED: nothing of this is real hardware".to_owned());
    }
    parts.join(", ")
}

/// One line about a datastore, without its reason.
pub(super) fn datastore_line(d: &Datastore) -> String {
    let state = format!("{:?}", d.state).to_lowercase();
    let engine = match &d.engine_version {
        Some(version) => format!("{} {version}", d.engine),
        None => d.engine.clone(),
    };
    let latency = match &d.probe {
        Some(probe) if probe.ok => probe
            .latency_ms
            .map_or_else(String::new, |ms| format!("{ms:.1} ms")),
        _ => "-".to_owned(),
    };
    let memory = match (d.rss_bytes, d.memory_max_bytes) {
        (Some(rss), Some(max)) => format!("{} of {}", human_bytes(rss), human_bytes(max)),
        (None, Some(max)) => format!("- of {}", human_bytes(max)),
        _ => "-".to_owned(),
    };
    let restarts = match d.restarts {
        1 => "1 restart".to_owned(),
        n => format!("{n} restarts"),
    };
    format!(
        "{:<9} {state:<10} {engine:<24} {:<17} {latency:>8}  {memory:>22}  {restarts}",
        d.name, d.endpoint
    )
}

fn tuning_line(status: &Status) -> String {
    let knobs = &status.tuning.knobs;
    let good = knobs.iter().filter(|knob| knob.ok).count();
    let word = match status.tuning.state {
        TuningState::Applied => "applied",
        TuningState::Drifted => "drifted",
        TuningState::Partial => "partial",
        TuningState::Off => return "off".to_owned(),
    };
    format!("{word}, {good} of {} knobs as wanted", knobs.len())
}

fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// The memory plan as comment lines below a configuration.
pub(super) fn memory_table(plan: &MemoryPlan) -> String {
    let mut text = format!(
        "\n# Memory plan for {} of RAM\n# {:<10} {:<17} {:>12} {:>12} {:>12}\n",
        human_bytes(plan.ram),
        "",
        "engine",
        "memory.max",
        "memory.high",
        "cache"
    );
    let _ = writeln!(
        text,
        "# {:<10} {:<17} {:>12}",
        "reserve",
        "",
        human_bytes(plan.reserve)
    );
    for share in &plan.shares {
        let _ = writeln!(
            text,
            "# {:<10} {:<17} {:>12} {:>12} {:>12}",
            share.role,
            share.engine.name(),
            human_bytes(share.memory.max),
            human_bytes(share.memory.high),
            human_bytes(share.memory.cache)
        );
    }
    text
}

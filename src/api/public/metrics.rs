//! The status in Prometheus' text format, with names after its conventions: base units, `_total` for
//! counters, and a label for what is one of several.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::fault::ErrorBody;
use crate::status::{DatastoreState, Severity, Status};

pub(super) fn reader() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// Text that is being made.
#[derive(Default)]
struct Text(String);

impl Text {
    /// One family: what it is, and its values with their labels.
    fn family(&mut self, name: &str, kind: &str, help: &str, values: &[(String, f64)]) {
        if values.is_empty() {
            return;
        }
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}

fn label(name: &str, value: &str) -> String {
    let mut escaped = String::new();
    for c in value.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            c => escaped.push(c),
        }
    }
    format!("{{{name}=\"{escaped}\"}}")
}

fn seconds(time: &str) -> Option<f64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    Some(time.as_millisecond() as f64 / 1000.0)
}

fn is(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

/// What is told of a status.
pub(super) fn text(status: &Status) -> String {
    let mut text = Text::default();
    let one = |value: f64| vec![(String::new(), value)];
    let state_of = |state: &dyn erased::Name| state.name();
    text.family(
        "lucid_build_info",
        "gauge",
        "Version of Lucid.",
        &[(label("version", &status.version), 1.0)],
    );
    text.family(
        "lucid_uptime_seconds",
        "gauge",
        "Time since the supervisor was started.",
        &one(status.uptime_seconds as f64),
    );
    text.family(
        "lucid_appliance_state",
        "gauge",
        "The state of the appliance; 1 for the one it is in.",
        &[(label("state", &state_of(&status.state)), 1.0)],
    );
    let stores = &status.datastores;
    let each = |value: &dyn Fn(&crate::status::Datastore) -> Option<f64>| -> Vec<(String, f64)> {
        stores
            .iter()
            .filter_map(|store| Some((label("datastore", &store.name), value(store)?)))
            .collect()
    };
    text.family(
        "lucid_datastore_up",
        "gauge",
        "Whether the datastore serves clients (ready or degraded).",
        &each(&|store| Some(is(is_serving(store.state)))),
    );
    text.family(
        "lucid_datastore_degraded",
        "gauge",
        "Whether the datastore serves clients and something is to be done.",
        &each(&|store| Some(is(state_of(&store.state) == "degraded"))),
    );
    text.family(
        "lucid_datastore_restarts_total",
        "counter",
        "Times that the engine was started again since the supervisor was.",
        &each(&|store| Some(store.restarts as f64)),
    );
    text.family(
        "lucid_datastore_resident_memory_bytes",
        "gauge",
        "Resident memory of the engine.",
        &each(&|store| store.rss_bytes.map(|bytes| bytes as f64)),
    );
    text.family(
        "lucid_datastore_memory_limit_bytes",
        "gauge",
        "Limit of the engine's memory.",
        &each(&|store| store.memory_max_bytes.map(|bytes| bytes as f64)),
    );
    text.family(
        "lucid_datastore_probe_success",
        "gauge",
        "Whether the last probe, which writes and reads, went well.",
        &each(&|store| store.probe.as_ref().map(|probe| is(probe.ok))),
    );
    text.family(
        "lucid_datastore_probe_duration_seconds",
        "gauge",
        "Time that the last probe took.",
        &each(&|store| store.probe.as_ref()?.latency_ms.map(|ms| ms / 1000.0)),
    );
    let volumes = |value: &dyn Fn(&crate::status::Volume) -> Option<f64>| -> Vec<(String, f64)> {
        status
            .volumes
            .iter()
            .filter_map(|volume| Some((label("volume", &volume.name), value(volume)?)))
            .collect()
    };
    text.family(
        "lucid_volume_used_bytes",
        "gauge",
        "Bytes in use on the volume.",
        &volumes(&|volume| volume.used_bytes.map(|bytes| bytes as f64)),
    );
    text.family(
        "lucid_volume_quota_bytes",
        "gauge",
        "Quota of the volume.",
        &volumes(&|volume| volume.quota_bytes.map(|bytes| bytes as f64)),
    );
    text.family(
        "lucid_volume_mounted",
        "gauge",
        "Whether the volume is mounted.",
        &volumes(&|volume| Some(is(volume.mounted))),
    );
    text.family(
        "lucid_volume_full_seconds",
        "gauge",
        "Time until the volume is full at its present growth.",
        &volumes(&|volume| volume.full_in_seconds.map(|seconds| seconds as f64)),
    );
    let board = &status.board;
    let maybe = |value: Option<f64>| value.map(one).unwrap_or_default();
    text.family(
        "lucid_board_temperature_celsius",
        "gauge",
        "Temperature of the SoC.",
        &maybe(board.temperature_celsius),
    );
    text.family(
        "lucid_board_throttled",
        "gauge",
        "Whether the processor is slowed down now.",
        &maybe(board.throttled.map(is)),
    );
    text.family(
        "lucid_board_undervoltage",
        "gauge",
        "Whether the supply is too weak now.",
        &maybe(board.undervoltage.map(is)),
    );
    text.family(
        "lucid_board_memory_bytes",
        "gauge",
        "Memory of the board.",
        &one(board.memory_bytes as f64),
    );
    text.family(
        "lucid_backup_last_success_timestamp_seconds",
        "gauge",
        "When the last good backup was taken.",
        &maybe(status.backup.last.as_deref().and_then(seconds)),
    );
    text.family(
        "lucid_backup_next_timestamp_seconds",
        "gauge",
        "When the next backup is made.",
        &maybe(status.backup.next.as_deref().and_then(seconds)),
    );
    let alerts = |severity: Severity, name: &str| {
        let count = status
            .alerts
            .iter()
            .filter(|alert| alert.severity == severity)
            .count();
        (label("severity", name), count as f64)
    };
    text.family(
        "lucid_alerts",
        "gauge",
        "Alerts that are open.",
        &[
            alerts(Severity::Warning, "warning"),
            alerts(Severity::Critical, "critical"),
        ],
    );
    let drifted = status.tuning.knobs.iter().filter(|knob| !knob.ok).count();
    text.family(
        "lucid_tuning_knobs_off",
        "gauge",
        "Kernel knobs that are not as they should be.",
        &one(drifted as f64),
    );
    text.0
}

fn is_serving(state: DatastoreState) -> bool {
    matches!(state, DatastoreState::Ready | DatastoreState::Degraded)
}

/// One word of a state, as the status writes it.
mod erased {
    use serde::Serialize;

    pub(super) trait Name {
        fn name(&self) -> String;
    }

    impl<T: Serialize> Name for T {
        fn name(&self) -> String {
            let value = serde_json::to_value(self).ok();
            value
                .and_then(|value| value.as_str().map(str::to_owned))
                .unwrap_or_default()
        }
    }
}

/// The status as Prometheus reads it
#[utoipa::path(get, path = "/metrics", tag = "system",
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = ErrorBody)))]
async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    let headers = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (headers, text(&api.handle.hub().snapshot()))
}

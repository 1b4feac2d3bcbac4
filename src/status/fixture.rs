//! Pieces of a snapshot for the tests of every room.

use super::{BoardSummary, Datastore, DatastoreState, StatusHub, Volume};

/// A hub of a machine that is made up and knows nothing of itself but the time.
pub(crate) fn hub() -> StatusHub {
    StatusHub::new(BoardSummary {
        model: "test".to_owned(),
        memory_bytes: 1 << 30,
        page_size: 4096,
        temperature_celsius: None,
        throttled: None,
        undervoltage: None,
        fan_rpm: None,
        clock_set: true,
        simulated: true,
    })
}

/// A datastore in a state, and nothing more.
pub(crate) fn datastore(name: &str, state: DatastoreState) -> Datastore {
    Datastore {
        name: name.to_owned(),
        engine: "redis".to_owned(),
        engine_version: None,
        state,
        pid: None,
        endpoint: "127.0.0.1:6379".to_owned(),
        restarts: 0,
        rss_bytes: None,
        memory_max_bytes: None,
        probe: None,
        reason: None,
    }
}

/// A volume in a state, so full.
pub(crate) fn volume(name: &str, state: &str, percent: Option<f64>) -> Volume {
    Volume {
        name: name.to_owned(),
        kind: name.to_owned(),
        state: state.to_owned(),
        used_bytes: None,
        quota_bytes: None,
        percent,
        mounted: true,
        growth_bytes_per_day: None,
        full_in_seconds: None,
    }
}

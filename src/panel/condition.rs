//! Status to pattern: the one place that says which state wins.

use super::pattern::Pattern;
use crate::status::{ApplianceState, RESCUE_ALERT, Status};

/// Alerts about volumes, the pool or a device begin so.
const STORAGE_ALERTS: [&str; 7] = [
    "space:",
    "data-",
    "state-",
    "pool:",
    "pool-missing:",
    "volume:",
    "device:",
];

/// What the panel needs of the snapshot. The panel's task wakes when this changes, and not at
/// each measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// The summary.
    pub state: ApplianceState,
    /// Started in rescue.
    pub rescue: bool,
    /// A volume or device needs a person.
    pub storage: bool,
    /// Something runs that must not be cut off.
    pub working: bool,
    /// Local time can be trusted, so that the night can begin.
    pub clock_set: bool,
}

impl Condition {
    /// Of a snapshot.
    pub(super) fn of(status: &Status) -> Self {
        let storage = status.volumes.iter().any(|v| v.state != "healthy")
            || status
                .alerts
                .iter()
                .any(|a| STORAGE_ALERTS.iter().any(|start| a.id.starts_with(start)));
        Self {
            state: status.state,
            rescue: status.alerts.iter().any(|a| a.id == RESCUE_ALERT),
            storage,
            working: !status.work.is_empty(),
            clock_set: status.board.clock_set,
        }
    }

    /// The pattern: the first that applies. While the appliance stops, only that matters: leave
    /// the power on.
    pub(super) fn pattern(self) -> Pattern {
        use ApplianceState as A;
        if self.state == A::Stopping {
            Pattern::Working
        } else if self.state == A::Failed {
            Pattern::Failed
        } else if self.rescue {
            Pattern::Rescue
        } else if self.storage {
            Pattern::Storage
        } else if self.state == A::Degraded {
            Pattern::Degraded
        } else if self.working {
            Pattern::Working
        } else if self.state == A::Starting {
            Pattern::Starting
        } else {
            Pattern::Ready
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::status::fixture::{datastore, hub, volume};
    use crate::status::{Alert, DatastoreState, Severity};

    const GOLDEN: &str = "src/panel/condition.golden";

    const STATES: [DatastoreState; 9] = [
        DatastoreState::Ready,
        DatastoreState::Degraded,
        DatastoreState::Starting,
        DatastoreState::Preparing,
        DatastoreState::Stopped,
        DatastoreState::Stopping,
        DatastoreState::Backoff,
        DatastoreState::Failed,
        DatastoreState::Blocked,
    ];

    /// One letter a pattern, so that 32 of them stand in a line.
    fn initial(name: &str) -> char {
        match name {
            "storage" => 'O',
            "starting" => 's',
            "rescue" => 'E',
            "ready" => 'r',
            "degraded" => 'd',
            "working" => 'w',
            "failed" => 'F',
            other => panic!("{other} is no state of a running appliance"),
        }
    }

    /// Every combination of two datastores' states with everything else that counts; a third
    /// datastore adds no pair of states that is not here.
    fn table() -> String {
        let mut text = String::new();
        for (index, first) in STATES.iter().enumerate() {
            for second in &STATES[index..] {
                let mut line = format!("{first:?} {second:?}").to_lowercase();
                line = format!("{line:<22} ");
                for flags in 0..32_u32 {
                    let is = |bit: u32| flags & (1 << bit) != 0;
                    let (storage, critical, work) = (is(0), is(1), is(2));
                    let (rescue, stopping) = (is(3), is(4));
                    let hub = hub();
                    hub.update(|s| {
                        s.datastores = vec![datastore("a", *first), datastore("b", *second)];
                        let state = if storage { "warning" } else { "healthy" };
                        s.volumes = vec![volume("redis", state, None)];
                    });
                    if critical {
                        hub.raise(Alert::new("x", Severity::Critical, "x", "m", "a"));
                    }
                    if rescue {
                        hub.raise(Alert::new(RESCUE_ALERT, Severity::Critical, "x", "m", "a"));
                    }
                    let _work = work.then(|| hub.begin_work("backup", "document"));
                    if stopping {
                        hub.set_stopping();
                    }
                    let name = Condition::of(&hub.snapshot()).pattern().name();
                    line.push(initial(name));
                }
                let _ = writeln!(text, "{}", line.trim_end());
            }
        }
        text
    }

    #[test]
    fn every_combination_of_states_shows_what_the_golden_table_says() {
        let head = "r ready, s starting, w working, d degraded, O storage, E rescue, F failed\n\
                    columns count in binary: storage 1, critical alert 2, work 4, rescue 8, stopping 16\n\
                    \n";
        let found = format!("{head}{}", table());
        if std::env::var_os("LUCID_BLESS").is_some() {
            crate::fsx::write_volatile(GOLDEN.as_ref(), found.as_bytes(), 0o644).unwrap();
        }
        let wanted = std::fs::read_to_string(GOLDEN).unwrap();
        assert_eq!(
            found, wanted,
            "LUCID_BLESS=1 renews {GOLDEN} after a look at it"
        );
    }

    #[test]
    fn an_alert_about_a_disk_is_a_storage_matter_and_another_is_not() {
        for (id, storage) in [
            ("space:redis", true),
            ("data-pool", true),
            ("state-partition", true),
            ("pool:metadata:data", true),
            ("volume:damaged:redis", true),
            ("device:sda", true),
            ("limit-not-enforced:cache", false),
            ("down:cache", false),
        ] {
            let hub = hub();
            hub.update(|s| s.datastores = vec![datastore("a", DatastoreState::Ready)]);
            hub.raise(Alert::new(id, Severity::Warning, "x", "m", "a"));
            assert_eq!(Condition::of(&hub.snapshot()).storage, storage, "{id}");
        }
    }
}

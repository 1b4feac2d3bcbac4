//! What the start of the board left wrong, and whether the data disk is still there.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::process::Command as Program;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::alerts;
use super::datastore::Command;
use super::handle::Datastores;
use crate::config::Role;
use crate::fsx;
use crate::journal::{self, Event};
use crate::paths::Paths;
use crate::status::{Alert, Severity, StatusHub};
use crate::volume::{Fault, Guard, Storage, directory_of, pools_of_boot};

/// Reads two files of the kernel; a lost disk is known within this.
const INTERVAL: Duration = Duration::from_secs(2);
const JOURNAL_LIMIT: Duration = Duration::from_secs(10);
/// The alert of a data pool that is not there.
const DATA: &str = "data-pool";
/// Alerts of other pools that are not there begin so.
const POOL: &str = "pool-missing:";

/// Publishes faults of the start, then watches the data pool. When it goes, the journal moves to
/// RAM and the engines are stopped: their next start finds the guard closed and tells why.
pub(super) async fn run(hub: StatusHub, paths: Paths, datastores: Datastores) {
    for alert in faults_of_start(&paths) {
        alerts::raise(&hub, alert);
    }
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut there = true;
    let mut missed = BTreeSet::new();
    loop {
        ticks.tick().await;
        match Guard::new(&paths).check() {
            Ok(()) => {
                if !there && hub.clear(DATA) {
                    journal::emit(Event::AlertCleared, "data", "the data pool is there again");
                }
                there = true;
                look_at_others(&hub, &paths, &datastores, &mut missed).await;
            }
            Err(fault) => {
                alerts::raise(
                    &hub,
                    Alert::new(
                        DATA,
                        Severity::Critical,
                        "data",
                        fault.message,
                        fault.remedy,
                    ),
                );
                if there {
                    there = false;
                    keep_the_journal().await;
                    stop_engines(&hub, &datastores, &Role::ALL).await;
                }
            }
        }
    }
}

/// Pools beside the data pool: when one goes, the engines whose volumes lie on it are stopped.
async fn look_at_others(
    hub: &StatusHub,
    paths: &Paths,
    datastores: &Datastores,
    missed: &mut BTreeSet<String>,
) {
    let pools = pools_of_boot(paths);
    let ids: Vec<_> = pools.iter().map(|pool| format!("{POOL}{pool}")).collect();
    alerts::clear_others(hub, POOL, &ids);
    missed.retain(|pool| pools.contains(pool));
    for (pool, id) in pools.into_iter().zip(ids) {
        let Err(fault) = Guard::of_pool(paths, &pool).check() else {
            alerts::clear(hub, &id, &pool);
            missed.remove(&pool);
            continue;
        };
        let lies_on =
            |role: &Role| directory_of(paths, role.volume()).starts_with(paths.pool(&pool));
        let roles: Vec<_> = Role::ALL.into_iter().filter(lies_on).collect();
        let severity = if roles.is_empty() {
            Severity::Warning
        } else {
            Severity::Critical
        };
        alerts::raise(
            hub,
            Alert::new(id, severity, &pool, fault.message, fault.remedy),
        );
        if missed.insert(pool) {
            stop_engines(hub, datastores, &roles).await;
        }
    }
}

/// What does not change until the next start.
fn faults_of_start(paths: &Paths) -> Vec<Alert> {
    let mut alerts = Vec::new();
    let left = |file: &Path| {
        let text = fsx::read_text(file, 64 * 1024).ok()?;
        Some(text.trim().to_owned())
    };
    if let Some(reason) = left(&paths.state_fault()) {
        alerts.push(Alert::new(
            "state-partition",
            Severity::Critical,
            "state",
            format!("{reason}; settings of this session are lost at power-off"),
            "restart the board; a card that fails has to be replaced",
        ));
    }
    if let Some(reason) = left(&paths.config_fault()) {
        alerts.push(Alert::new(
            "config-not-taken",
            Severity::Critical,
            "configuration",
            format!("the earlier configuration stays in force: {reason}"),
            "correct lucid.toml on the firmware partition of the card, then restart the board",
        ));
    }
    let storage = Storage::read(paths).ok().flatten();
    let notes = storage.filter(|storage| storage.mounted.is_some());
    for (index, Fault { message, remedy }) in notes
        .map(|s| s.faults)
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let id = format!("data-note:{index}");
        alerts.push(Alert::new(id, Severity::Warning, "data", message, remedy));
    }
    alerts
}

/// The persistent journal lies on the lost disk; from now on it is kept in RAM.
async fn keep_the_journal() {
    let mut journalctl = Program::new("journalctl");
    journalctl
        .arg("--relinquish-var")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    // Without systemd there is no journal to keep.
    let _ = timeout(JOURNAL_LIMIT, journalctl.status()).await;
}

/// Those that run; what a person stopped stays stopped.
async fn stop_engines(hub: &StatusHub, datastores: &Datastores, roles: &[Role]) {
    let status = hub.snapshot();
    let runs = |role: &Role| {
        let mut entries = status.datastores.iter();
        entries.any(|d| d.name == role.name() && d.pid.is_some())
    };
    let handles: Vec<_> = {
        let datastores = datastores.lock().unwrap_or_else(PoisonError::into_inner);
        let concerned = datastores.iter().filter(|(role, _)| roles.contains(role));
        let running = concerned.filter(|(role, _)| runs(role));
        running.map(|(_, handle)| handle.clone()).collect()
    };
    for datastore in handles {
        let _ = datastore.commands.send(Command::Restart).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_start_become_alerts_with_a_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        assert_eq!(faults_of_start(&paths), []);
        for (file, text) in [
            (paths.state_fault(), "the state partition is damaged\n"),
            (paths.config_fault(), "lucid.toml:3: found x; allowed: y\n"),
            (
                paths.storage_report(),
                r#"{"mounted": {"device": "/dev/sda", "uuid": "A", "diskseq": null},
                    "faults": [{"message": "not grown", "remedy": "none"}]}"#,
            ),
        ] {
            fsx::create_dir(file.parent().unwrap(), 0o755).unwrap();
            fsx::write_volatile(&file, text.as_bytes(), 0o644).unwrap();
        }
        let alerts = faults_of_start(&paths);
        let ids: Vec<_> = alerts.iter().map(|alert| alert.id.as_str()).collect();
        assert_eq!(ids, ["state-partition", "config-not-taken", "data-note:0"]);
        assert!(alerts[1].message.contains("lucid.toml:3"), "{alerts:?}");
        assert!(alerts.iter().all(|alert| !alert.action.is_empty()));
    }
}

//! `lucid supervise`: the daemon.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{CliError, Done, runtime};
use tokio::sync::mpsc;

use crate::api;
use crate::api::public::{self, Served};
use crate::board::{Board, Signals};
use crate::config::PanelDriver;
use crate::fsx;
use crate::journal::{self, Event};
use crate::panel::{Action, Command, Machine, Panel, PanelHandle, Pattern};
use crate::paths::Paths;
use crate::status::StatusHub;
use crate::supervisor::{self, Devices, Ended, Handle, Lock, Supervisor, rescue};

/// The last pattern is handed to the lamps within this, or not at all.
const FINISH_LIMIT: Duration = Duration::from_secs(2);

pub(super) fn run(
    paths: &Paths,
    config: Option<PathBuf>,
    simulate: bool,
    devices: Devices,
) -> Result<Done, CliError> {
    journal::init();
    // Engines' users must get into the directories that are made here, whatever the shell's mask.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    for (dir, mode) in [
        (paths.etc(), 0o755),
        (paths.run(), 0o755),
        (paths.data(), 0o755),
    ] {
        fsx::create_dir(&dir, mode).map_err(supervisor::SetupError::Root)?;
    }
    let _lock = Lock::take(&paths.lock())?;
    let (board, signals, board_root) = if simulate {
        (Board::simulated(), Signals::simulated(), None)
    } else {
        let root = Path::new("/");
        (
            Board::read(root)?,
            Signals::read(root),
            Some(root.to_path_buf()),
        )
    };
    let make_plan = {
        let paths = paths.clone();
        let board = board.clone();
        move || supervisor::plan(&paths, config.as_deref(), board.clone(), !simulate)
    };
    let plan = make_plan()?;
    let hub = StatusHub::new(board.summary(&signals));
    let tuner = plan.config.tuning.enabled.then(|| plan.tuner());
    let other = |what: &'static str| {
        move |error: std::io::Error| CliError::Other(format!("cannot {what}: {error}"))
    };
    let config = plan.config.clone();
    let mut lights = plan.config.panel.clone();
    if simulate && lights.driver != PanelDriver::Off {
        // A simulation touches no lamp, and reads no button, of the machine that it runs on.
        lights.driver = PanelDriver::Simulated;
    }
    let runtime = runtime().map_err(other("start the runtime"))?;
    let ended = runtime.block_on(async {
        let listener = api::listen(&paths.socket())?;
        let machine = Machine::default();
        let (mut panel, lamps, actions) = Panel::open(lights, machine, hub.clone()).await;
        let is_rescue = match rescue::remembered(paths) {
            Some(is_rescue) => is_rescue,
            None => panel.rescue_wanted().await,
        };
        rescue::remember(paths, is_rescue);
        let panel = tokio::spawn(panel.run());
        let supervisor =
            Supervisor::new(plan, hub, tuner, board_root, Box::new(make_plan), devices);
        let handle = supervisor.handle();
        let public_api = Served::open(paths, &config, handle.clone(), lamps.clone()).await;
        let public_api = public_api
            .inspect_err(|error| {
                // The datastores matter more; the socket of the command line is there in any case.
                journal::emit(Event::ApiUnavailable, "api", &error.to_string());
            })
            .ok();
        let platform = public_api.as_ref().map(Served::router);
        let server = tokio::spawn(api::serve(
            listener,
            handle.clone(),
            lamps.clone(),
            platform,
        ));
        let network = tokio::spawn(async move {
            if let Some(public_api) = public_api {
                public::serve(public_api).await;
            }
        });
        let button = tokio::spawn(carry_out(actions, handle, lamps.clone()));
        let ended = supervisor
            .run(is_rescue)
            .await
            .map_err(other("receive signals"));
        if matches!(ended, Ok(Ended::Stopped)) {
            // While the disk is being released it is not yet to be pulled.
            let last = if paths.removing().exists() {
                Pattern::Working
            } else {
                Pattern::Safe
            };
            lamps.send(Command::Finish(last)).await;
            let _ = tokio::time::timeout(FINISH_LIMIT, panel).await;
        } else {
            // The next supervisor finds the lamps as they are.
            panel.abort();
        }
        button.abort();
        server.abort();
        network.abort();
        ended
    });
    // A look at a hanging file system must not keep the process from ending.
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended?;
    // The socket of a supervisor that ended must not look alive.
    let _ = std::fs::remove_file(paths.socket());
    Ok(Done::Well)
}

/// Does what the button asks for.
async fn carry_out(mut actions: mpsc::Receiver<Action>, handle: Handle, lamps: PanelHandle) {
    while let Some(action) = actions.recv().await {
        let done = match action {
            Action::PowerOff => handle.power_off().await,
            Action::ReleaseDataDisk => handle.release_data_disk().await,
        };
        if let Err(error) = done {
            journal::emit(Event::ButtonRefused, "panel", &error.to_string());
            lamps.send(Command::Refuse).await;
        }
    }
}

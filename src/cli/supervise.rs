//! `lucid supervise`: the daemon.

use std::path::{Path, PathBuf};

use super::{CliError, Done, runtime};
use crate::api;
use crate::board::{Board, Signals};
use crate::fsx;
use crate::journal;
use crate::paths::Paths;
use crate::status::StatusHub;
use crate::supervisor::{self, Devices, Lock, Supervisor};

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
    let runtime = runtime().map_err(other("start the runtime"))?;
    let ended = runtime.block_on(async {
        let listener = api::listen(&paths.socket())?;
        let supervisor =
            Supervisor::new(plan, hub, tuner, board_root, Box::new(make_plan), devices);
        let server = tokio::spawn(api::serve(listener, supervisor.handle()));
        let ended = supervisor.run().await.map_err(other("receive signals"));
        server.abort();
        ended
    });
    // A look at a hanging file system must not keep the process from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    ended?;
    // The socket of a supervisor that ended must not look alive.
    let _ = std::fs::remove_file(paths.socket());
    Ok(Done::Well)
}

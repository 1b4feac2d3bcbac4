//! From files and board to a plan, and the kernel knobs around the datastores' life.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use super::prepare::Plan;
use crate::board::{Board, BoardError};
use crate::config::{Config, ConfigError, EngineKind, MemoryPlan, PlanError};
use crate::engine;
use crate::fsx::{self, FsError};
use crate::paths::Paths;
use crate::status::StatusHub;
use crate::tuning::{self, Inputs, Kernel, RealKernel, Report, SimulatedKernel, Tuner};

/// Why the appliance cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(ConfigError),
    /// It does not fit the board.
    #[error("the configuration {0}")]
    Memory(#[from] PlanError),
    /// The machine cannot be read.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// A directory of the root cannot be made.
    #[error("{0}; the root must be writable: choose another with --root DIR")]
    Root(#[from] FsError),
    /// A fault of Lucid itself.
    #[error("internal fault: {0}; please report it")]
    Internal(String),
}

/// Directories searched for engines: those that the environment variable `LUCID_ENGINE_PATH`
/// names, `usr/lib/lucid/engines` under the root, then the system's own.
fn engine_search_path(paths: &Paths) -> Vec<PathBuf> {
    let own = std::env::var_os("LUCID_ENGINE_PATH").unwrap_or_default();
    let system = std::env::var_os("PATH").unwrap_or_default();
    let fixed = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin"];
    let mut path: Vec<PathBuf> = std::env::split_paths(&own).collect();
    path.push(paths.engines());
    path.extend(fixed.iter().map(PathBuf::from));
    path.extend(std::env::split_paths(&system));
    let mut seen = std::collections::HashSet::new();
    path.retain(|dir| dir.is_absolute() && seen.insert(dir.clone()));
    path
}

/// Reads the configuration and plans. `config_file` is the one given by name, if any; `limits`
/// says whether cgroups may be touched.
///
/// # Errors
/// [`SetupError`].
pub fn plan(
    paths: &Paths,
    config_file: Option<&Path>,
    board: Board,
    limits: bool,
) -> Result<Plan, SetupError> {
    let default_file = paths.config_file();
    let file = config_file.unwrap_or(&default_file);
    let config = Config::load(file, config_file.is_some()).map_err(SetupError::Config)?;
    let memory = MemoryPlan::new(&config, board.memory_bytes)?;
    let limits = if limits {
        let own = fsx::read_text(Path::new("/proc/self/cgroup"), 64 * 1024).unwrap_or_default();
        Limits::find(&board, &own, "lucid")
    } else {
        Limits::none("only planned")
    };
    Ok(Plan {
        paths: paths.clone(),
        config,
        board,
        memory,
        search: engine_search_path(paths),
        limits,
    })
}

/// Knobs in force, watched in the background.
pub(super) struct Tuning {
    tuner: Arc<Mutex<Tuner>>,
    watcher: JoinHandle<()>,
    cancel: CancellationToken,
}

impl Tuning {
    /// Puts the knobs in force before any engine starts, then watches them.
    pub(super) async fn apply(tuner: Tuner, hub: &StatusHub, interval: Duration) -> Self {
        let tuner = Arc::new(Mutex::new(tuner));
        let report = Self::with(&tuner, Tuner::apply).await;
        if let Some(report) = report {
            hub.update(|status| status.tuning = report.tuning);
        }
        let cancel = CancellationToken::new();
        let watch = tuning::watch(Arc::clone(&tuner), hub.clone(), cancel.clone(), interval);
        Self {
            watcher: tokio::spawn(watch),
            tuner,
            cancel,
        }
    }

    async fn with(
        tuner: &Arc<Mutex<Tuner>>,
        work: impl FnOnce(&mut Tuner) -> Report + Send + 'static,
    ) -> Option<Report> {
        let tuner = Arc::clone(tuner);
        let work = move || work(&mut tuner.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(work).await.ok()
    }

    /// A changed configuration: the plan follows.
    pub(super) async fn replan(&self, plan: Arc<Plan>, hub: &StatusHub) {
        let report = Self::with(&self.tuner, move |tuner| {
            tuner.set_inputs(&Inputs {
                board: &plan.board,
                config: &plan.config,
                engines: &plan.engines(),
            });
            tuner.apply()
        });
        if let Some(report) = report.await {
            hub.update(|status| status.tuning = report.tuning);
        }
    }

    /// Ends watching and, with `revert`, puts every knob back.
    pub(super) async fn finish(self, revert: bool) {
        self.cancel.cancel();
        let _ = self.watcher.await;
        if revert {
            Self::with(&self.tuner, Tuner::revert).await;
        }
    }
}

impl Plan {
    /// Enabled engines with their major version where the program tells it.
    pub fn engines(&self) -> Vec<(EngineKind, Option<u32>)> {
        let major = |common: &crate::config::Common<'_>| {
            // Only mongod's version decides a knob; asking the others would cost time.
            (common.engine == EngineKind::Mongod)
                .then(|| {
                    engine::of(common.engine)
                        .detect(common.binary, &self.search)
                        .ok()
                })
                .flatten()
                .map(|detected| detected.version.number.0)
        };
        self.config
            .enabled()
            .map(|common| (common.engine, major(&common)))
            .collect()
    }

    /// A tuner for this plan, real or simulated as its board is. Reads, but changes nothing.
    pub fn tuner(&self) -> Tuner {
        let kernel: Box<dyn Kernel> = if self.board.simulated {
            Box::new(SimulatedKernel::for_board(&self.board))
        } else {
            Box::new(RealKernel::new())
        };
        let inputs = Inputs {
            board: &self.board,
            config: &self.config,
            engines: &self.engines(),
        };
        Tuner::new(kernel, self.paths.tuning_state(), &inputs)
    }
}

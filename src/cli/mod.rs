//! What a person types.

mod api;
mod args;
mod backup;
mod backup_args;
mod doctor;
mod job;
mod lamps;
mod output;
mod panel;
mod pool;
mod schema;
mod search;
mod search_node;
mod status;
mod supervise;
mod take;
mod tune;
mod volume;
mod volume_args;
mod watch;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{CommandFactory, Parser};
use serde_json::json;

use crate::api::{Client, ClientError};
use crate::board::{Board, BoardError};
use crate::config::{Config, ConfigError, DEFAULT_FILE, MemoryPlan, Role};
use crate::engine::Credentials;
use crate::fsx::FsError;
use crate::paths::Paths;
use crate::status::DatastoreState;
use crate::supervisor::{self, SetupError};
use crate::volume::{OpError, VolumeError};
use args::{Args, Command, ConfigCommand, CredentialsCommand, DatastoreCommand};
use output::Out;
use volume_args::{LocalVolumeCommand, VolumeCommand};

/// How long `datastore start|stop|restart` waits for the state it leads to.
const SETTLE_LIMIT: Duration = Duration::from_secs(150);

/// What a command ended with; the number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// 0
    Well = 0,
    /// 1
    Failed = 1,
    /// 3: it works, and the appliance is degraded or failed.
    Unhealthy = 3,
    /// 4
    Refused = 4,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Board(#[from] BoardError),
    #[error(transparent)]
    File(#[from] FsError),
    #[error(transparent)]
    Lock(#[from] supervisor::LockError),
    #[error(transparent)]
    Search(#[from] crate::search_node::StartError),
    #[error(transparent)]
    Schema(#[from] crate::schema::search::SchemaError),
    #[error(transparent)]
    Documents(#[from] crate::schema::documents::SchemaError),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error(transparent)]
    Keys(#[from] crate::api::public::KeysError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Pool(#[from] OpError),
    #[error("{0}")]
    Credentials(String),
    #[error("{0}")]
    Other(String),
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
    /// Refused for safety.
    #[error("{0}")]
    Refused(String),
}

impl CliError {
    /// Refused for safety, as against failed.
    fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::Lock(supervisor::LockError::Held { .. })
                | Self::Pool(OpError::Refused(_) | OpError::Foreign { .. })
        )
    }
}

/// Entry of the program.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            // Help and usage go where clap wants them; a closed pipe is no fault.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    if !matches!(
        args.command,
        Command::SearchNode { .. } | Command::BackupWorker
    ) {
        abort_on_panic();
    }
    let json = args.json;
    let done = match run(args) {
        Ok(done) => done,
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Done::Well
        }
        Err(error) => {
            let done = if error.is_refusal() {
                Done::Refused
            } else {
                Done::Failed
            };
            let mut out = Out::new(json);
            let _ = out.error(&error.to_string());
            done
        }
    };
    ExitCode::from(done as u8)
}

/// A panic ends the program at once. A supervisor that lived on without one of its tasks would look
/// well; systemd starts it anew, and it adopts its engines. The profile does not abort by itself,
/// since the search node must outlive the panic of one request: its clients share one process.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
}

fn run(args: Args) -> Result<Done, CliError> {
    let root = std::path::absolute(&args.root)
        .map_err(FsError::wrap("find", &args.root))
        // Links in the root are followed once, so that every later path is the real one.
        .map(|root| std::fs::canonicalize(&root).unwrap_or(root))?;
    let paths = Paths::new(root);
    let mut out = Out::new(args.json);
    match args.command {
        Command::Supervise {
            simulate,
            watchdog,
            console,
        } => {
            let devices = supervisor::Devices { watchdog, console };
            supervise::run(&paths, args.config, simulate, devices)
        }
        Command::Status { watch } => block_on(status::run(&paths, &mut out, watch)),
        Command::Doctor => doctor::run(&paths, args.config.as_deref(), &mut out),
        Command::Tune { command } => tune::run(&paths, args.config.as_deref(), command, &mut out),
        Command::Datastore { command } => block_on(datastore(&paths, command, &mut out)),
        Command::Logs {
            name,
            follow,
            lines,
        } => block_on(logs(&paths, name, follow, lines, &mut out)),
        Command::SearchNode { config } => search_node::run(&config),
        Command::Schema { command } => {
            schema::run(&paths, args.config.as_deref(), command, &mut out)
        }
        Command::Api { command } => api::run(&paths, &command, &mut out),
        Command::Openapi => api::openapi(&mut out),
        Command::Search { command } => {
            search::run(&paths, args.config.as_deref(), &command, &mut out)
        }
        Command::Volume {
            command: VolumeCommand::Local(command),
        } => match command {
            LocalVolumeCommand::Prepare => {
                volume::prepare(&paths, args.config.as_deref(), &mut out)
            }
            LocalVolumeCommand::Check => volume::check(&paths, &mut out),
            LocalVolumeCommand::Health { record } => volume::health(&paths, record, &mut out),
            LocalVolumeCommand::Pool { command } => pool::run(&paths, &command, &mut out),
        },
        Command::Backup { command } => block_on(backup::run(&paths, command, &mut out)),
        Command::BackupWorker => Ok(backup::work()),
        Command::Volume { command } => block_on(volume::run(&paths, command, &mut out)),
        Command::Job { command } => block_on(job::run(&paths, command, &mut out)),
        Command::Panel { command } => {
            panel::run(&paths, args.config.as_deref(), &command, &mut out)
        }
        Command::Config { command } => config(&paths, args.config.as_deref(), command, &mut out),
        Command::Credentials { command } => {
            credentials_command(&paths, args.config.as_deref(), command, &mut out)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "lucid", &mut script);
            out.text(&String::from_utf8_lossy(&script))?;
            Ok(Done::Well)
        }
        Command::Man { directory } => man(&directory, &mut out),
    }
}

/// The configuration under the root, or the file that was named.
fn load_config(paths: &Paths, file: Option<&Path>) -> Result<Config, ConfigError> {
    let default = paths.config_file();
    Config::load(file.unwrap_or(&default), file.is_some())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Files and probes of programs; idle threads go away.
        .max_blocking_threads(8)
        .thread_keep_alive(Duration::from_secs(2))
        .build()
}

fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime =
        runtime().map_err(|error| CliError::Other(format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

async fn datastore(
    paths: &Paths,
    command: DatastoreCommand,
    out: &mut Out,
) -> Result<Done, CliError> {
    let client = Client::new(paths)?;
    let (action, name) = match command {
        DatastoreCommand::List => {
            let status = client.status().await?;
            if out.json(&status.datastores)? {
                return Ok(Done::Well);
            }
            for datastore in &status.datastores {
                out.line(&status::datastore_line(datastore))?;
            }
            return Ok(Done::Well);
        }
        DatastoreCommand::Start { name } => ("start", name),
        DatastoreCommand::Stop { name } => ("stop", name),
        DatastoreCommand::Restart { name } => ("restart", name),
    };
    let before = client.status().await?;
    let old_pid = before
        .datastores
        .iter()
        .find(|d| d.name == name.name())
        .and_then(|d| d.pid);
    client.act(name, action).await?;
    let began = Instant::now();
    // The command is taken; what it leads to shows in the status.
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let status = client.status().await?;
        let Some(entry) = status.datastores.iter().find(|d| d.name == name.name()) else {
            return Err(CliError::Other(format!(
                "datastore {name} went away meanwhile"
            )));
        };
        let settled = match entry.state {
            DatastoreState::Stopped => action == "stop",
            DatastoreState::Ready | DatastoreState::Degraded => {
                action == "start" || (action == "restart" && entry.pid != old_pid)
            }
            DatastoreState::Failed | DatastoreState::Blocked => {
                // A fresh try may need a moment to leave the old state.
                began.elapsed() > Duration::from_secs(5)
            }
            _ => false,
        };
        if settled || began.elapsed() > SETTLE_LIMIT {
            if !out.json(entry)? {
                out.line(&status::datastore_line(entry))?;
            }
            let well = settled
                && !matches!(
                    entry.state,
                    DatastoreState::Failed | DatastoreState::Blocked
                );
            return Ok(if well { Done::Well } else { Done::Unhealthy });
        }
    }
}

async fn logs(
    paths: &Paths,
    name: Role,
    follow: bool,
    lines: usize,
    out: &mut Out,
) -> Result<Done, CliError> {
    let client = Client::new(paths)?;
    let mut written = Ok(());
    client
        .logs(name, lines, follow, |line| {
            written = out.line(&format!("{} {}", line.at, line.text));
            written.is_ok()
        })
        .await?;
    written?;
    Ok(Done::Well)
}

fn config(
    paths: &Paths,
    file: Option<&Path>,
    command: ConfigCommand,
    out: &mut Out,
) -> Result<Done, CliError> {
    let path = file.map_or_else(|| paths.config_file(), Path::to_path_buf);
    match command {
        ConfigCommand::Default => out.text(DEFAULT_FILE)?,
        ConfigCommand::Take { file } => return take::run(paths, &file, out),
        ConfigCommand::Check => {
            let config = Config::load(&path, file.is_some())?;
            let board = Board::read(Path::new("/"))?;
            MemoryPlan::new(&config, board.memory_bytes).map_err(SetupError::Memory)?;
            if !out.json(&json!({ "file": path, "valid": true }))? {
                let what = if path.exists() {
                    "is valid"
                } else {
                    "is not there; defaults hold"
                };
                out.line(&format!("{} {what}", path.display()))?;
            }
        }
        ConfigCommand::Show { effective } => {
            let config = Config::load(&path, file.is_some())?;
            if !effective {
                if !out.json(&config)? {
                    let text = toml::to_string(&config)
                        .map_err(|error| CliError::Other(error.to_string()))?;
                    out.text(&text)?;
                }
                return Ok(Done::Well);
            }
            let board = Board::read(Path::new("/"))?;
            let plan = MemoryPlan::new(&config, board.memory_bytes).map_err(SetupError::Memory)?;
            if !out.json(&json!({ "config": config, "memory_plan": plan }))? {
                let text =
                    toml::to_string(&config).map_err(|error| CliError::Other(error.to_string()))?;
                out.text(&text)?;
                out.text(&status::memory_table(&plan))?;
            }
        }
    }
    Ok(Done::Well)
}

/// Address and accounts of a datastore for its clients.
fn client_uri(
    paths: &Paths,
    config: &Config,
    name: Role,
) -> Result<(String, Credentials), CliError> {
    supervisor::client_uri(paths, config, name).map_err(|error| {
        let way_out = if config.common(name).enabled {
            "credentials are made at the first start of the datastore".to_owned()
        } else {
            format!("{name} is off: set datastore.{name}.enabled = true")
        };
        CliError::Credentials(format!("{error}; {way_out}"))
    })
}

fn credentials_command(
    paths: &Paths,
    file: Option<&Path>,
    command: CredentialsCommand,
    out: &mut Out,
) -> Result<Done, CliError> {
    match command {
        CredentialsCommand::Show { name } => {
            let path = file.map_or_else(|| paths.config_file(), Path::to_path_buf);
            let config = Config::load(&path, file.is_some())?;
            let (uri, credentials) = client_uri(paths, &config, name)?;
            let shown = json!({
                "datastore": name,
                "user": credentials.client.user,
                "password": credentials.client.password,
                "uri": uri,
            });
            if !out.json(&shown)? {
                out.line(&uri)?;
            }
            Ok(Done::Well)
        }
        CredentialsCommand::Rotate { name } => {
            block_on(async { Ok(Client::new(paths)?.rotate(name).await?) })?;
            if !out.json(&json!({ "datastore": name, "rotated": true }))? {
                out.line(&format!(
                    "the client's password of {name} changed; `lucid credentials show {name}` \
                     prints the new one"
                ))?;
            }
            Ok(Done::Well)
        }
    }
}

fn man(directory: &Path, out: &mut Out) -> Result<Done, CliError> {
    crate::fsx::create_dir(directory, 0o755)?;
    clap_mangen::generate_to(Args::command(), directory)
        .map_err(FsError::wrap("write manual pages to", directory))?;
    out.line(&format!("wrote manual pages to {}", directory.display()))?;
    Ok(Done::Well)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_the_search_node_has_its_own_file() {
        Args::command().debug_assert();
        let args = Args::try_parse_from(["lucid", "search-node", "--config", "/x"]).unwrap();
        let Command::SearchNode { config } = args.command else {
            panic!("{args:?}");
        };
        assert_eq!(config, Path::new("/x"));
        Args::try_parse_from(["lucid", "search-node"]).unwrap_err();
    }

    #[test]
    fn a_panic_of_any_thread_ends_the_program() {
        const CHILD: &str = "LUCID_TEST_PANIC";
        if std::env::var_os(CHILD).is_some() {
            abort_on_panic();
            let thread = std::thread::spawn(|| panic!("a task that is gone"));
            let _ = thread.join();
            return;
        }
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "cli::tests::a_panic_of_any_thread_ends_the_program",
            ])
            .arg("--nocapture")
            .env(CHILD, "1")
            .output()
            .unwrap();
        let aborted = nix::sys::signal::Signal::SIGABRT as i32;
        assert_eq!(output.status.signal(), Some(aborted), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("a task that is gone"), "{text}");
    }
}

//! An engine of our own beside the running ones: same program and accounts, another port and
//! directory, this machine alone.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep, timeout};

use super::BackupError;
use super::request::Store;
use crate::engine;
use crate::fsx::{self, FsError};

/// A start with a large data set on a card.
const START: Duration = Duration::from_secs(300);
const STOP: Duration = Duration::from_secs(120);
const PROBE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);
/// The last words of an engine that did not start, in bytes.
const WORDS: usize = 2000;

/// A scratch engine; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    child: Child,
    pub(super) address: SocketAddr,
    output: PathBuf,
    name: String,
    stop_signal: Signal,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // One that was stopped is waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on. Somebody else may take it before the engine does; the engine then
/// does not start, and the drill is tried again later.
fn free_port() -> Result<u16, BackupError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .map_err(|error| BackupError::Refused(format!("no port is free: {error}")))?;
    let address = listener.local_addr();
    address
        .map(|address| address.port())
        .map_err(|error| BackupError::Refused(error.to_string()))
}

/// Gives a directory and everything in it to the engine's user.
pub(super) fn give(path: &Path, to: Option<(u32, u32)>) -> Result<(), BackupError> {
    let Some((uid, gid)) = to else {
        return Ok(());
    };
    for entry in walk(path)? {
        std::os::unix::fs::lchown(&entry, Some(uid), Some(gid))
            .map_err(FsError::wrap("change the owner of", &entry))?;
    }
    Ok(())
}

/// Makes a directory that engines may enter and nobody may list, whatever the mask of modes.
pub(super) fn passable(path: &Path) -> Result<(), BackupError> {
    fsx::create_dir(path, 0o711)?;
    Ok(
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o711))
            .map_err(FsError::wrap("set the mode of", path))?,
    )
}

fn walk(path: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let mut found = vec![path.to_path_buf()];
    let mut at = 0;
    while let Some(dir) = found.get(at).cloned() {
        at += 1;
        let meta = std::fs::symlink_metadata(&dir).map_err(FsError::wrap("look at", &dir))?;
        if meta.is_dir() {
            for entry in std::fs::read_dir(&dir).map_err(FsError::wrap("read", &dir))? {
                found.push(entry.map_err(FsError::wrap("read", &dir))?.path());
            }
        }
    }
    Ok(found)
}

impl Scratch {
    /// Starts an engine like `store` on `data`, with its files in `conf`; `extra` are arguments
    /// after the usual ones.
    pub(super) async fn start(
        store: &Store,
        data: &Path,
        conf: &Path,
        extra: &[&str],
    ) -> Result<Self, BackupError> {
        let name = store.role.name().to_owned();
        let failed =
            |cause: String| BackupError::Refused(format!("the scratch engine of {name}: {cause}"));
        for dir in [data, conf] {
            fsx::create_dir(dir, 0o700)?;
        }
        let port = free_port()?;
        let context = store.context(data.to_path_buf(), conf.to_path_buf(), port);
        let engine = engine::of(store.engine);
        for file in engine.render(&context) {
            fsx::write_volatile(&file.path, file.content.as_bytes(), file.mode)?;
        }
        give(data, store.run_as)?;
        give(conf, store.run_as)?;
        let mut spec = engine.command(&context);
        // Nobody is told that anything is safe before the whole directory is flushed.
        spec.args.retain(|argument| argument != "--sync-on-commit");
        let output = conf.join("output");
        let log = File::create(&output).map_err(FsError::wrap("make", &output))?;
        let errors = log.try_clone().map_err(FsError::wrap("open", &output))?;
        let mut command = Command::new(&store.program);
        command
            .args(&spec.args)
            .args(extra)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "LANG"))
            .envs(spec.env.iter().cloned())
            .current_dir(data)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        if let Some((uid, gid)) = store.run_as {
            command.uid(uid).gid(gid);
        }
        let child = command
            .spawn()
            .map_err(|error| failed(format!("{}: {error}", store.program.display())))?;
        let mut scratch = Self {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            output,
            name: name.clone(),
            stop_signal: spec.stop_signal,
        };
        let mut client = engine.client(&context);
        let until = Instant::now() + START;
        loop {
            if let Ok(Some(status)) = scratch.child.try_wait() {
                let words = scratch.last_words();
                return Err(failed(format!("it ended ({status}): {words}")));
            }
            let ready = async {
                client.bootstrap().await?;
                client.write_probe().await
            };
            match timeout(PROBE, ready).await {
                Ok(Ok(())) => return Ok(scratch),
                Ok(Err(error)) if Instant::now() > until => {
                    return Err(failed(format!("{error}; {}", scratch.last_words())));
                }
                Err(_) if Instant::now() > until => {
                    return Err(failed(scratch.last_words()));
                }
                _ => sleep(POLL).await,
            }
        }
    }

    fn last_words(&self) -> String {
        let text = std::fs::read(&self.output).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let from = text.len().saturating_sub(WORDS);
        let from = (from..=text.len()).find(|at| text.is_char_boundary(*at));
        text.get(from.unwrap_or(0)..)
            .unwrap_or_default()
            .trim()
            .replace('\n', " | ")
    }

    /// Ends it as the supervisor would, so that its files are whole.
    pub(super) async fn stop(mut self) -> Result<(), BackupError> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0));
        let failed = |cause: String| {
            BackupError::Refused(format!("the scratch engine of {}: {cause}", self.name))
        };
        kill(pid, self.stop_signal).map_err(|errno| failed(errno.to_string()))?;
        let until = Instant::now() + STOP;
        loop {
            match self.child.try_wait() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) if Instant::now() > until => {
                    return Err(failed(format!(
                        "it did not stop within {} s",
                        STOP.as_secs()
                    )));
                }
                Ok(None) => sleep(POLL).await,
                Err(error) => return Err(failed(error.to_string())),
            }
        }
    }
}

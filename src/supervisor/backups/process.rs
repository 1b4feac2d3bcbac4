//! The process that does the work: started with a request, ended with its group, and never waited
//! for by anything but the job that it is.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::super::jobs::Progress;
use super::super::prepare::Plan;
use crate::backup::request::{Answer, Line, Request};
use crate::config::EngineMemory;

/// This very program.
const PROGRAM: &str = "/proc/self/exe";
/// The longest that it may say nothing: it tells of every byte that it moves.
const SILENCE: Duration = Duration::from_secs(3600);
/// How often it is looked whether somebody wants it to end.
const LOOK: Duration = Duration::from_millis(200);

/// Ends the whole group: scratch engines as well.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let group = i32::try_from(self.0.id()).map(Pid::from_raw);
        if let Ok(group) = group {
            let _ = killpg(group, Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

/// Does `request` in a process of its own, with a share of memory and little weight. Blocks.
///
/// # Errors
/// Why it did not come to its end.
pub(super) fn run(
    plan: &Plan,
    request: &Request,
    memory: u64,
    progress: &Progress,
) -> Result<Answer, String> {
    let text = serde_json::to_string(request).map_err(|error| error.to_string())?;
    let limits = plan.limits.backup(EngineMemory {
        max: memory,
        high: memory - memory / 8,
        cache: 0,
    });
    let mut child = Command::new(PROGRAM)
        .arg("backup-worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .process_group(0)
        .spawn()
        .map(Group)
        .map_err(|error| format!("cannot start the process for backups: {error}"))?;
    if let Some(mut procs) = limits.procs {
        // It reads its request first: nothing is done outside its limits.
        let moved = writeln!(procs, "{}", child.0.id());
        if let Err(error) = moved {
            tracing::warn!("backups run without limits: {error}");
        }
    }
    let (Some(mut input), Some(output)) = (child.0.stdin.take(), child.0.stdout.take()) else {
        return Err("the process for backups has no pipes".to_owned());
    };
    input
        .write_all(text.as_bytes())
        .map_err(|error| format!("the process for backups takes no request: {error}"))?;
    drop(input);
    let (send, lines) = mpsc::channel();
    let reading = std::thread::Builder::new().name("backup-lines".to_owned());
    reading
        .spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        })
        .map_err(|error| error.to_string())?;
    let mut heard = Instant::now();
    loop {
        if progress.is_cancelled() {
            return Err("ended on request; nothing was changed".to_owned());
        }
        if heard.elapsed() > SILENCE {
            return Err(format!(
                "nothing moved for {} min: a datastore, a disk or the network hangs",
                SILENCE.as_secs() / 60
            ));
        }
        let line = lines.recv_timeout(LOOK);
        if line.is_ok() {
            heard = Instant::now();
        }
        match line {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(Line::Progress { done, total }) => progress.set(done, total),
                Ok(Line::Phase { text }) => progress.phase(&text),
                Ok(Line::Done { answer }) => return Ok(answer),
                Ok(Line::Failed { message }) => return Err(message),
                Err(error) => tracing::warn!("the process for backups said {line:?}: {error}"),
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let ended = child.0.wait().map(|status| status.to_string());
                return Err(format!(
                    "the process for backups ended without a word ({}): most often memory, see \
                     `journalctl -k`; raise backup.memory in lucid.toml",
                    ended.unwrap_or_else(|error| error.to_string())
                ));
            }
        }
    }
}

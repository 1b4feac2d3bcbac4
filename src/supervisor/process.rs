//! One engine process: launched or adopted, watched by pidfd, signalled as a group.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::sys::prctl::{set_no_new_privs, set_thp_disable};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Pid, Uid, chdir, setgid, setgroups, setsid, setuid, write};
use procfs::Current;
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions};
use tokio::io::unix::AsyncFd;

use crate::engine::{CommandSpec, ThpPolicy};
use crate::readable::readable;

/// What could not be done with a process.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProcessError {
    /// `fork` or `exec` failed.
    #[error("cannot start {}: {source}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The process cannot be watched.
    #[error("cannot watch process {pid}: {source}; Lucid needs Linux 5.10 or later")]
    Watch {
        /// The process.
        pid: i32,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// The user and groups of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunAs {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
}

/// All that a launch needs, prepared before the fork.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) program: &'a Path,
    pub(super) spec: &'a CommandSpec,
    /// Working directory: the volume. Entered before privileges are dropped, so its parents may
    /// be closed to the engine's user.
    pub(super) directory: &'a Path,
    /// Takes stdout and stderr.
    pub(super) output: &'a File,
    /// Absent for an ordinary user: the engine runs as the same one.
    pub(super) run_as: Option<RunAs>,
    /// `cgroup.procs` of the engine's own cgroup, opened for writing.
    pub(super) cgroup: Option<&'a File>,
    /// `-1000..=1000`; higher dies first when memory runs out.
    pub(super) oom_score_adj: i32,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Unknown: it was adopted, so its end was told to another parent.
    Adopted,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "was ended by {signal}"),
                Err(_) => write!(f, "was ended by signal {number}"),
            },
            Self::Adopted => write!(f, "ended (exit code unknown, since it was adopted)"),
        }
    }
}

/// A live (or just ended) process.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    start_time: u64,
    pidfd: AsyncFd<OwnedFd>,
    ours: bool,
    since: Instant,
}

impl Process {
    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Start time in clock ticks after boot (`/proc/PID/stat` field 22): with the pid it names a
    /// process for the life of a boot.
    pub(super) fn start_time(&self) -> u64 {
        self.start_time
    }

    /// When it was launched or adopted.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// How long it had been running when it was adopted; absent for one launched here.
    pub(super) fn age(&self) -> Option<Duration> {
        let ticks = Duration::from_secs(self.start_time / procfs::ticks_per_second());
        let uptime = procfs::Uptime::current().ok()?.uptime_duration();
        (!self.ours).then(|| uptime.saturating_sub(ticks))
    }

    /// The pidfd, for systemd's FD store.
    pub(super) fn pidfd(&self) -> &OwnedFd {
        self.pidfd.get_ref()
    }

    /// Launches a process as the leader of its own session and process group.
    pub(super) fn launch(launch: &Launch<'_>) -> Result<Self, ProcessError> {
        let spawn_error = |source| ProcessError::Spawn {
            program: launch.program.to_path_buf(),
            source,
        };
        let mut command = Command::new(launch.program);
        command
            .args(&launch.spec.args)
            .env_clear()
            .envs(inherited_environment())
            .envs(launch.spec.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(launch.output.try_clone().map_err(spawn_error)?)
            .stderr(launch.output.try_clone().map_err(spawn_error)?);
        let child_setup = ChildSetup::new(launch).map_err(spawn_error)?;
        // SAFETY: the closure runs between fork and exec in a child of a process that may have
        // other threads, so it must only make async-signal-safe calls. `ChildSetup::enter` makes
        // plain system calls (setsid, write, chdir, setgroups, setgid, setuid, setrlimit, prctl) on
        // values made before the fork: it neither allocates nor takes a lock.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || child_setup.enter().map_err(std::io::Error::from));
        }
        let child = command.spawn().map_err(spawn_error)?;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        // The child is not waited for yet, so its pid cannot name another process.
        Self::watch(pid, true).inspect_err(|_| {
            // What cannot be watched must not run on unseen.
            let _ = killpg(pid, Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(pid, None);
        })
    }

    /// Takes over a running process if it is still the one started at `start_time`.
    pub(super) fn adopt(pid: i32, start_time: u64) -> Option<Self> {
        let process = Self::watch(Pid::from_raw(pid), false).ok()?;
        // Read after the pidfd was opened: equal start times mean that the pidfd is of that one.
        (process.start_time == start_time && start_time != 0).then_some(process)
    }

    fn watch(pid: Pid, ours: bool) -> Result<Self, ProcessError> {
        let error = |source| ProcessError::Watch {
            pid: pid.as_raw(),
            source,
        };
        let target = rustix::process::Pid::from_raw(pid.as_raw())
            .ok_or_else(|| error(std::io::ErrorKind::InvalidInput.into()))?;
        let fd = rustix::process::pidfd_open(target, PidfdFlags::NONBLOCK)
            .map_err(|errno| error(errno.into()))?;
        let pidfd = readable(fd).map_err(error)?;
        let start_time = procfs::process::Process::new(pid.as_raw())
            .and_then(|process| process.stat())
            .map_or(0, |stat| stat.starttime);
        Ok(Self {
            pid,
            start_time,
            pidfd,
            ours,
            since: Instant::now(),
        })
    }

    /// Waits for the end; cancel-safe, and answers at once when asked again.
    pub(super) async fn exited(&self) -> Exit {
        // An error of readiness cannot be told from an end; the wait below decides.
        let _ = self.pidfd.readable().await;
        if !self.ours {
            return Exit::Adopted;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match rustix::process::waitid(WaitId::PidFd(self.pidfd.get_ref().as_fd()), options) {
            Ok(Some(status)) => status.exit_status().map_or_else(
                || Exit::Signal(status.terminating_signal().unwrap_or_default()),
                Exit::Code,
            ),
            // Reaped before.
            Ok(None) | Err(_) => Exit::Adopted,
        }
    }

    /// Sends `signal` to the whole process group; a group that is gone is fine.
    pub(super) fn signal_group(&self, signal: Signal) {
        // setsid made pid and group equal; adopted processes were launched the same way.
        let _ = killpg(self.pid, signal);
    }
}

/// Variables that engines get from the supervisor; everything else stays out.
fn inherited_environment() -> impl Iterator<Item = (&'static str, OsString)> {
    ["PATH", "LANG", "TZ"]
        .into_iter()
        .filter_map(|key| Some((key, std::env::var_os(key)?)))
}

/// What the child does to itself before exec. Made before the fork, so that nothing is allocated
/// after it.
struct ChildSetup {
    directory: CString,
    run_as: Option<RunAs>,
    cgroup: Option<File>,
    oom_score_adj: String,
    nofile: u64,
    nofile_hard: u64,
    thp_off: bool,
}

impl ChildSetup {
    fn new(launch: &Launch<'_>) -> std::io::Result<Self> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        Ok(Self {
            directory: c_string(launch.directory.as_os_str())?,
            run_as: launch.run_as,
            cgroup: launch.cgroup.map(File::try_clone).transpose()?,
            oom_score_adj: launch.oom_score_adj.to_string(),
            nofile: launch.spec.nofile,
            nofile_hard: hard,
            thp_off: launch.spec.thp == ThpPolicy::Off,
        })
    }

    /// Only async-signal-safe system calls; see the SAFETY comment at its caller.
    fn enter(&self) -> nix::Result<()> {
        setsid()?;
        if let Some(cgroup) = &self.cgroup {
            write(cgroup, b"0")?;
        }
        // Raising the score needs no privilege; where /proc is hidden the default stays.
        if let Ok(file) = open(c"/proc/self/oom_score_adj", OFlag::O_WRONLY, Mode::empty()) {
            let _ = write(&file, self.oom_score_adj.as_bytes());
        }
        // Above the hard limit only with CAP_SYS_RESOURCE; without it, as far as it goes.
        let hard = self.nofile_hard;
        if setrlimit(Resource::RLIMIT_NOFILE, self.nofile, hard.max(self.nofile)).is_err() {
            setrlimit(Resource::RLIMIT_NOFILE, self.nofile.min(hard), hard)?;
        }
        chdir(self.directory.as_c_str())?;
        if self.thp_off {
            // A kernel without huge pages has nothing to switch off.
            let _ = set_thp_disable(true);
        }
        if let Some(RunAs { uid, gid }) = self.run_as {
            setgroups(&[gid])?;
            setgid(gid)?;
            setuid(uid)?;
        }
        set_no_new_privs()
    }
}

fn c_string(text: &OsStr) -> std::io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| std::io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(script: &str) -> CommandSpec {
        CommandSpec {
            args: vec!["-c".into(), script.into()],
            env: vec![("ONLY".into(), "this".into())],
            nofile: 512,
            thp: ThpPolicy::Off,
            stop_signal: Signal::SIGTERM,
        }
    }

    fn launch(script: &str, directory: &Path, output: &File) -> Process {
        Process::launch(&Launch {
            program: Path::new("/bin/sh"),
            spec: &spec(script),
            directory,
            output,
            run_as: None,
            cgroup: None,
            oom_score_adj: 300,
        })
        .unwrap()
    }

    async fn output_of(script: &str) -> (Exit, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let exit = launch(script, dir.path(), &File::create(&path).unwrap())
            .exited()
            .await;
        (exit, std::fs::read_to_string(path).unwrap())
    }

    #[tokio::test]
    async fn a_child_has_its_directory_limits_policy_and_a_clean_environment() {
        let script = "pwd; ulimit -Sn; cat /proc/self/oom_score_adj; echo ${ONLY}-${HOME-none}; \
                      grep THP_enabled /proc/self/status; grep NoNewPrivs /proc/self/status; \
                      echo $$; cut -d' ' -f6 /proc/$$/stat";
        let (exit, text) = output_of(script).await;
        assert_eq!(exit, Exit::Code(0));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("/tmp"), "{text}");
        assert_eq!(lines[1..4], ["512", "300", "this-none"]);
        assert_eq!(
            lines[4].split_whitespace().last(),
            Some("0"),
            "huge pages are on: {text}"
        );
        assert_eq!(lines[5].split_whitespace().last(), Some("1"), "{text}");
        assert_eq!(lines[6], lines[7], "not a session leader");
    }

    #[tokio::test]
    async fn exit_codes_and_signals_are_told_apart() {
        assert_eq!(output_of("exit 7").await.0, Exit::Code(7));
        assert_eq!(output_of("kill -KILL $$").await.0, Exit::Signal(9));
    }

    #[tokio::test]
    async fn a_missing_program_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let output = File::create(dir.path().join("out")).unwrap();
        let error = Process::launch(&Launch {
            program: Path::new("/no/such/engine"),
            spec: &spec(""),
            directory: dir.path(),
            output: &output,
            run_as: None,
            cgroup: None,
            oom_score_adj: 0,
        })
        .unwrap_err();
        assert!(error.to_string().contains("/no/such/engine"), "{error}");
    }

    #[tokio::test]
    async fn the_whole_group_gets_the_signal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let process = launch(
            "sleep 60 & echo $!; wait",
            dir.path(),
            &File::create(&path).unwrap(),
        );
        let pid = loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let text = std::fs::read_to_string(&path).unwrap();
            if text.ends_with('\n') {
                break text.trim().to_owned();
            }
        };
        process.signal_group(Signal::SIGKILL);
        assert_eq!(process.exited().await, Exit::Signal(9));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(
            state.is_empty() || state.contains(" Z "),
            "the child lives on: {state}"
        );
    }

    #[tokio::test]
    async fn a_process_is_adopted_only_when_its_start_time_matches() {
        let dir = tempfile::tempdir().unwrap();
        let output = File::create(dir.path().join("out")).unwrap();
        let process = launch("sleep 60", dir.path(), &output);
        assert!(Process::adopt(process.pid(), process.start_time() + 1).is_none());
        let adopted = Process::adopt(process.pid(), process.start_time()).unwrap();
        process.signal_group(Signal::SIGKILL);
        assert_eq!(adopted.exited().await, Exit::Adopted);
        assert_eq!(process.exited().await, Exit::Signal(9));
    }
}

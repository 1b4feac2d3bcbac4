//! The machine's files and programs, behind a trait so that a simulated machine can stand in.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::KnobError;

/// What tuning needs of a machine. Paths are relative to its root.
///
/// Every call may block; callers on a runtime use `spawn_blocking`.
pub trait Kernel: std::fmt::Debug + Send {
    /// The content of a file.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// Writes a value in one go, as the kernel wants it.
    fn write(&self, path: &Path, value: &str) -> io::Result<()>;

    /// Whether the file could be written, without writing.
    fn writable(&self, path: &Path) -> io::Result<()>;

    /// Names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Runs a program of the system; it is killed after `deadline`.
    fn run(&self, program: &str, args: &[&str], deadline: Duration) -> Result<(), KnobError>;
}

/// The machine itself, or a tree of files captured from one.
#[derive(Debug, Clone)]
pub struct RealKernel {
    root: PathBuf,
}

/// No knob is longer; a larger file is not a knob.
const READ_LIMIT: u64 = 64 * 1024;
/// Where util-linux and kmod live, also for a service without a `PATH`.
const PROGRAM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(10);

impl RealKernel {
    /// The running machine.
    pub fn new() -> Self {
        Self::at("/")
    }

    /// A tree of files under `root`. Programs are run only when that is `/`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

impl Default for RealKernel {
    fn default() -> Self {
        Self::new()
    }
}

impl Kernel for RealKernel {
    fn read(&self, path: &Path) -> io::Result<String> {
        let file = OpenOptions::new().read(true).open(self.resolve(path))?;
        let mut text = String::new();
        file.take(READ_LIMIT).read_to_string(&mut text)?;
        Ok(text)
    }

    fn write(&self, path: &Path, value: &str) -> io::Result<()> {
        // Neither created nor truncated: a missing knob must stay missing.
        let mut file = OpenOptions::new().write(true).open(self.resolve(path))?;
        file.write_all(value.as_bytes())
    }

    fn writable(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new()
            .write(true)
            .open(self.resolve(path))
            .map(drop)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.resolve(path))? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn run(&self, program: &str, args: &[&str], deadline: Duration) -> Result<(), KnobError> {
        let failed = |message: String| KnobError::Program {
            program: program.to_owned(),
            message,
        };
        if self.root != Path::new("/") {
            return Err(failed("not on a captured tree".to_owned()));
        }
        let mut child = Command::new(program)
            .args(args)
            .env("PATH", PROGRAM_PATH)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => failed("it is not installed".to_owned()),
                _ => failed(error.to_string()),
            })?;
        match wait(&mut child, deadline) {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => {
                let mut said = String::new();
                if let Some(stderr) = child.stderr.take() {
                    // What it said is a help, not the result.
                    let _ = stderr.take(READ_LIMIT).read_to_string(&mut said);
                }
                let said = said.trim();
                Err(failed(if said.is_empty() {
                    status.to_string()
                } else {
                    said.to_owned()
                }))
            }
            Ok(None) => Err(KnobError::Deadline {
                program: program.to_owned(),
                deadline,
            }),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

/// Waits for the end of a program; kills it at the deadline and then returns `None`.
fn wait(child: &mut Child, deadline: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= deadline {
            child.kill()?;
            // Not waited for: a program stuck in the kernel does not end at once even then.
            std::thread::park_timeout(POLL);
            let _ = child.try_wait()?;
            return Ok(None);
        }
        std::thread::park_timeout(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_knob_is_not_created() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = RealKernel::at(dir.path());
        let error = kernel.write(Path::new("proc/x"), "1").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(kernel.writable(Path::new("x")).is_err());
        assert_eq!(kernel.list(Path::new("")).unwrap(), [""; 0]);
    }

    #[test]
    fn programs_are_not_run_for_a_captured_tree() {
        let dir = tempfile::tempdir().unwrap();
        let error = RealKernel::at(dir.path())
            .run("true", &[], Duration::from_secs(5))
            .unwrap_err();
        assert!(error.to_string().contains("captured tree"), "{error}");
    }

    #[test]
    fn programs_end_in_success_failure_or_at_the_deadline() {
        let kernel = RealKernel::new();
        let soon = Duration::from_secs(10);
        kernel.run("true", &[], soon).unwrap();
        let error = kernel
            .run("sh", &["-c", "echo no luck >&2; exit 3"], soon)
            .unwrap_err();
        assert_eq!(error.to_string(), "sh failed: no luck");
        let error = kernel.run("lucid-no-such-program", &[], soon).unwrap_err();
        assert!(error.to_string().contains("not installed"), "{error}");
        let start = Instant::now();
        let error = kernel
            .run("sleep", &["60"], Duration::from_millis(50))
            .unwrap_err();
        assert!(matches!(error, KnobError::Deadline { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}

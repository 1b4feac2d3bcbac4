//! Finding an engine's program and asking for its version, before the first start fails
//! in a way that nobody understands.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::{Detected, EngineError, Version};

/// How long `--version` may take. Native programs answer within milliseconds; a cold SD card
/// and a 200 MB mongod need about two seconds.
const VERSION_DEADLINE: Duration = Duration::from_secs(5);

/// How much of the answer is read, in bytes.
const OUTPUT_LIMIT: u64 = 64 * 1024;

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    /// Engine, for messages.
    pub(super) engine: &'static str,
    /// File name.
    pub(super) name: &'static str,
    /// What its `--version` begins with, so that another product is noticed.
    pub(super) says: &'static str,
    /// What to do when it is not there.
    pub(super) remedy: &'static str,
}

impl Program {
    /// The program file: `configured` alone if given, else the first of `search` that has it.
    pub(super) fn locate(
        &self,
        configured: Option<&Path>,
        search: &[PathBuf],
    ) -> Result<PathBuf, EngineError> {
        let found = match configured {
            Some(path) => Some(path.to_path_buf()).filter(|path| path.exists()),
            None => search
                .iter()
                .map(|dir| dir.join(self.name))
                .find(|path| path.is_file()),
        };
        let binary = found.ok_or_else(|| EngineError::NotFound {
            engine: self.engine,
            searched: configured.map_or_else(
                || {
                    let places: Vec<_> = search
                        .iter()
                        .map(|dir| dir.join(self.name).display().to_string())
                        .collect();
                    places.join(", ")
                },
                |path| path.display().to_string(),
            ),
            remedy: self.remedy.to_owned(),
        })?;
        check_file(&binary, std::env::consts::ARCH)
            .map_err(|(cause, remedy)| self.unusable(&binary, cause, remedy))?;
        Ok(binary)
    }

    /// Locates the program and asks it for its version. Blocks for at most 5 s and leaves no
    /// process behind.
    pub(super) fn detect(
        &self,
        configured: Option<&Path>,
        search: &[PathBuf],
    ) -> Result<Detected, EngineError> {
        let binary = self.locate(configured, search)?;
        let unusable = |(cause, remedy): Trouble| self.unusable(&binary, cause, remedy);
        let answer = run(&binary, &["--version"], VERSION_DEADLINE).map_err(unusable)?;
        if !answer.status.success() {
            return Err(unusable(explain(&answer)));
        }
        if !answer.text.contains(self.says) {
            return Err(unusable((
                format!(
                    "its --version says {:?}, which is not {}",
                    first_line(&answer.text),
                    self.engine
                ),
                "set `engine` to what the program is, or `binary` to another program".to_owned(),
            )));
        }
        let version = parse_version(&answer.text).ok_or_else(|| {
            unusable((
                format!(
                    "its --version has no version number: {:?}",
                    first_line(&answer.text)
                ),
                "set `binary` to another program".to_owned(),
            ))
        })?;
        Ok(Detected { binary, version })
    }

    pub(super) fn unusable(&self, binary: &Path, cause: String, remedy: String) -> EngineError {
        EngineError::Unusable {
            engine: self.engine,
            binary: binary.to_path_buf(),
            cause,
            remedy,
        }
    }
}

/// Cause and remedy.
type Trouble = (String, String);

fn trouble(cause: impl Into<String>, remedy: impl Into<String>) -> Trouble {
    (cause.into(), remedy.into())
}

/// Checks that `path` is a program for `arch` without running it.
pub(super) fn check_file(path: &Path, arch: &str) -> Result<(), Trouble> {
    let unreadable = |e: std::io::Error| {
        trouble(
            format!("it cannot be read: {e}"),
            "check that the file exists and that its directories may be entered",
        )
    };
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    if !meta.is_file() {
        return Err(trouble(
            "it is not a file",
            "give the path of the program itself",
        ));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(trouble(
            "it is not executable",
            format!("chmod 755 {}", path.display()),
        ));
    }
    let mut head = Vec::with_capacity(20);
    File::open(path)
        .and_then(|file| file.take(20).read_to_end(&mut head))
        .map_err(unreadable)?;
    if head.starts_with(b"#!") {
        return Ok(());
    }
    let Some(machine) = elf_machine(&head) else {
        return Err(trouble(
            "it is neither an ELF program nor a script",
            "the download may be broken or packed: unpack it, or fetch it again",
        ));
    };
    let built_for = machine_name(machine);
    // An aarch64 kernel may run 32-bit programs as well: only trying tells.
    let runs = built_for == arch || (built_for == "arm" && arch == "aarch64");
    if runs {
        return Ok(());
    }
    Err(trouble(
        format!("it is built for {built_for}, this machine is {arch}"),
        format!("fetch the {arch} build"),
    ))
}

/// `e_machine` of an ELF header, in the file's own byte order.
fn elf_machine(head: &[u8]) -> Option<u16> {
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let bytes = [*head.get(18)?, *head.get(19)?];
    // EI_DATA: 1 little-endian, 2 big-endian.
    Some(match head.get(5)? {
        2 => u16::from_be_bytes(bytes),
        _ => u16::from_le_bytes(bytes),
    })
}

/// Names as in `std::env::consts::ARCH`; numbers from the ELF specification's EM_ constants.
fn machine_name(machine: u16) -> String {
    match machine {
        3 => "x86".to_owned(),
        20 => "powerpc".to_owned(),
        21 => "powerpc64".to_owned(),
        22 => "s390x".to_owned(),
        40 => "arm".to_owned(),
        62 => "x86_64".to_owned(),
        183 => "aarch64".to_owned(),
        243 => "riscv64".to_owned(),
        258 => "loongarch64".to_owned(),
        other => format!("an unknown machine (ELF {other})"),
    }
}

/// What a short run printed and how it ended.
#[derive(Debug)]
struct Answer {
    text: String,
    status: ExitStatus,
}

/// Runs a program to its end in its own process group, without input and with an empty
/// environment; the whole group is killed afterwards in any case.
fn run(binary: &Path, args: &[&str], deadline: Duration) -> Result<Answer, Trouble> {
    let mut command = Command::new(binary);
    command
        .args(args)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("LANG", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn().map_err(|e| match e.kind() {
        // The file is there (it was just read), so what is missing is its ELF interpreter.
        ErrorKind::NotFound => trouble(
            "the loader that it names does not exist here: it is built for another C library \
             or another architecture",
            "fetch a build for this distribution",
        ),
        _ => trouble(
            format!("it cannot be executed: {e}"),
            "check its permissions, and that its file system is not mounted noexec",
        ),
    })?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let (sender, receiver) = mpsc::channel();
    // Waits without reaping, so that the process group cannot be another's when it is killed.
    std::thread::spawn(move || {
        let reader = std::thread::spawn(move || read_some(err));
        let mut text = read_some(out);
        text.push_str(&reader.join().unwrap_or_default());
        let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        // The receiver is gone after the deadline; then nobody needs the text.
        let _ = sender.send(text);
    });
    let text = receiver.recv_timeout(deadline);
    let _ = killpg(pid, Signal::SIGKILL);
    let status = child
        .wait()
        .map_err(|e| trouble(format!("its end cannot be awaited: {e}"), "try again"))?;
    let text = text.map_err(|_| {
        trouble(
            format!("--version did not end within {} s", deadline.as_secs()),
            "run it by hand to see what it waits for",
        )
    })?;
    Ok(Answer { text, status })
}

fn read_some(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read before an error is still worth showing.
        let _ = pipe.take(OUTPUT_LIMIT).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Why a `--version` failed.
fn explain(answer: &Answer) -> Trouble {
    let text = &answer.text;
    let line_with = |needle: &str| text.lines().find(|line| line.contains(needle));
    if let Some(line) = line_with("' not found (required by") {
        let wants = line.split(['`', '\'']).nth(1).unwrap_or("a newer library");
        return trouble(
            format!("it needs {wants}, which this system does not have"),
            "run it on Debian trixie or newer (glibc 2.41), or build it on this system",
        );
    }
    if let Some(line) = line_with("error while loading shared libraries") {
        return trouble(
            format!("a library is missing: {}", line.trim()),
            "install the package that has it",
        );
    }
    if line_with("Unsupported system page size").is_some() {
        return trouble(
            "its jemalloc is built for smaller memory pages than this kernel has",
            "use the distribution's build (Debian's takes pages up to 64K), or boot a kernel with \
             4K pages (on a Raspberry Pi 5: kernel=kernel8.img in config.txt)",
        );
    }
    match answer.status.signal() {
        Some(signal) if signal == Signal::SIGILL as i32 => trouble(
            "it uses instructions that this processor does not have",
            "fetch a build for an older processor, or choose another engine",
        ),
        Some(signal) => {
            let name = Signal::try_from(signal).map_or("an unknown signal", Signal::as_str);
            trouble(
                format!("--version was ended by {name}: {}", first_line(text)),
                "run it by hand; fetch another build",
            )
        }
        None => trouble(
            format!(
                "--version failed with code {}: {}",
                answer.status.code().unwrap_or_default(),
                first_line(text)
            ),
            "run it by hand; fetch another build",
        ),
    }
}

fn first_line(text: &str) -> &str {
    text.lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("")
}

/// The first dotted number of a text: `7.0.15` of `Redis server v=7.0.15 sha=0`.
pub(super) fn parse_version(text: &str) -> Option<Version> {
    text.split(|c: char| c.is_whitespace() || c == '=' || c == ',')
        .find_map(|word| {
            let word = word.strip_prefix('v').unwrap_or(word);
            let number = word.split(['-', '+']).next()?;
            let mut parts = number.split('.');
            let major = parts.next()?.parse().ok()?;
            let minor = parts.next()?.parse().ok()?;
            let patch = parts.next().and_then(|part| part.parse().ok());
            Some(Version {
                number: (major, minor, patch.unwrap_or_default()),
                text: word.to_owned(),
            })
        })
}

#[cfg(test)]
#[path = "detect_tests.rs"]
mod tests;

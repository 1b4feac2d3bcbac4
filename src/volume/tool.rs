//! Programs of the system (blkid, sfdisk, mkfs.btrfs): run with a deadline, judged by exit code.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::VolumeError;

/// Longest answer that is read.
const MAX_ANSWER: u64 = 4 << 20;
const POLL: Duration = Duration::from_millis(20);
/// How long a killed program may take to go.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Waits a moment before the next look. `lucid volume` runs without a runtime, so nothing is
/// blocked but itself.
#[allow(clippy::disallowed_methods)]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// What a program answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: i32,
    pub(super) stdout: String,
    stderr: String,
    command: String,
}

impl Answer {
    /// An error that tells what the program said.
    pub(super) fn failed(&self) -> VolumeError {
        let words: Vec<&str> = self.stderr.split_whitespace().collect();
        VolumeError::Tool {
            command: self.command.clone(),
            problem: format!("ended with {}: {}", self.code, words.join(" ")),
        }
    }

    /// An error about what it answered.
    pub(super) fn unexpected(&self, problem: impl Into<String>) -> VolumeError {
        VolumeError::Answer {
            command: self.command.clone(),
            problem: problem.into(),
        }
    }

    /// The answer of a program that must succeed.
    pub(super) fn success(self) -> Result<Self, VolumeError> {
        if self.code == 0 {
            Ok(self)
        } else {
            Err(self.failed())
        }
    }
}

/// Runs `program` for at most `limit`; `input` goes to its stdin. Blocks.
pub(super) fn run(
    program: &str,
    args: &[&str],
    input: Option<&str>,
    limit: Duration,
) -> Result<Answer, VolumeError> {
    let began = Instant::now();
    let mut in_time = || began.elapsed() <= limit;
    started(program, args, input, POLL, &mut in_time)?.ok_or_else(|| VolumeError::Tool {
        command: format!("{program} {}", args.join(" ")),
        problem: format!("did not end within {} s", limit.as_secs()),
    })
}

/// Runs `program` while `go_on` says so, which is asked every `poll`; absent when it was ended for
/// that. Blocks.
pub(super) fn run_while(
    program: &str,
    args: &[&str],
    poll: Duration,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Answer>, VolumeError> {
    started(program, args, None, poll, go_on)
}

fn started(
    program: &str,
    args: &[&str],
    input: Option<&str>,
    poll: Duration,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Answer>, VolumeError> {
    let command = format!("{program} {}", args.join(" "));
    let error = |problem: String| VolumeError::Tool {
        command: command.clone(),
        problem,
    };
    let mut child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|cause| error(format!("cannot be started: {cause}")))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        use std::io::Write;
        // A program that ends without reading tells why by its exit code.
        let _ = stdin.write_all(input.as_bytes());
    }
    // Answers are read beside the wait, so that a full pipe cannot hold the program up.
    let reader = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(pipe) = pipe {
                let _ = pipe.take(MAX_ANSWER).read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let stdout = reader(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = reader(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let (mut waited, mut next) = (Duration::ZERO, Duration::ZERO);
    let mut killed = None;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(cause) => return Err(error(format!("cannot be waited for: {cause}"))),
        }
        match killed {
            // A process that waits for a dead device cannot be reaped; it is left behind.
            Some(until) if waited > until => return Ok(None),
            None if waited >= next => {
                next = waited + poll;
                if !go_on() {
                    let _ = child.kill();
                    killed = Some(waited + LAST_WAIT);
                }
            }
            _ => {}
        }
        pause(POLL);
        waited += POLL;
    };
    Ok(killed.is_none().then(|| Answer {
        code: status.code().unwrap_or(-1),
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
        command,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_failed_program_is_told_with_its_command_and_last_words() {
        let answer = run("sh", &["-c", "echo no such disk >&2; exit 3"], None, LIMIT).unwrap();
        assert_eq!(answer.code, 3);
        let message = answer.success().unwrap_err().to_string();
        assert!(
            message.contains("sh -c") && message.contains("3: no such disk"),
            "{message}"
        );
    }

    #[test]
    fn a_program_that_hangs_is_given_up() {
        let error = run("sleep", &["30"], None, Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("did not end within"), "{error}");
    }

    #[test]
    fn a_program_ends_when_nobody_wants_it_any_more() {
        let mut asked = 0;
        let ended = run_while("sleep", &["30"], POLL, &mut || {
            asked += 1;
            asked < 3
        });
        assert!(ended.unwrap().is_none());
        let done = run_while("true", &[], POLL, &mut || true).unwrap();
        assert_eq!(done.unwrap().code, 0);
    }

    #[test]
    fn input_reaches_the_program() {
        let answer = run("cat", &[], Some("x\n"), LIMIT).unwrap();
        assert_eq!(answer.success().unwrap().stdout, "x\n");
    }
}

//! Whether what is on the disk is what was written: a scrub of the pool, and which files it hit.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Serialize;

use super::error::OpError;
use super::manager::Manager;
use super::name::Name;
use super::{VolumeError, tool};
use crate::fsx::FsError;

const POLL: Duration = Duration::from_millis(500);
const STATUS_LIMIT: Duration = Duration::from_secs(30);
/// More names help nobody.
const MAX_FILES: usize = 100;

/// What a scrub found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Bytes read and compared with their checksums.
    pub scrubbed_bytes: u64,
    /// Blocks that were wrong and were put right from a second copy.
    pub corrected: u64,
    /// Blocks that are lost.
    pub uncorrectable: u64,
    /// Files of the volume that cannot be read whole, at most a hundred.
    pub damaged: Vec<PathBuf>,
}

/// Counters of `btrfs scrub status -R` (btrfs-scrub(8)): one a line, `name: number`.
fn counters(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| {
            let (key, value) = line.trim().split_once(':')?;
            (key == name).then(|| value.trim().parse().ok())?
        })
        .unwrap_or(0)
}

fn errors(text: &str) -> (u64, u64) {
    // Superblocks, and blocks that were wrong once and right at the second look.
    let lost = ["uncorrectable_errors", "super_errors", "unverified_errors"];
    (
        counters(text, "corrected_errors"),
        lost.iter().map(|name| counters(text, name)).sum(),
    )
}

fn scrubbed(text: &str) -> u64 {
    counters(text, "data_bytes_scrubbed") + counters(text, "tree_bytes_scrubbed")
}

impl Manager {
    /// Reads everything on the pool and compares it with its checksums, then looks which files of
    /// the volume are hit. `progress` gets bytes done and in all, and answers whether to go on.
    ///
    /// # Errors
    /// [`OpError`]; [`OpError::Refused`] when it was ended on request.
    pub fn verify(
        &self,
        name: &Name,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Verdict, OpError> {
        let pool = self.pool("a scrub")?;
        self.entry(name)?;
        let data = self.inner().paths.data();
        let path = data.to_string_lossy().into_owned();
        let total = pool.stored().unwrap_or(0);
        let failed = |problem: String| VolumeError::Tool {
            command: format!("btrfs scrub start -B {path}"),
            problem,
        };
        // Idle class: whoever waits for the disk comes first.
        let mut child = Command::new("btrfs")
            .args(["scrub", "start", "-B", "-R", "-c", "3", &path])
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => {}
                Err(error) => return Err(failed(error.to_string()).into()),
            }
            let done = Self::scrub_status(&path).map_or(0, |text| scrubbed(&text));
            if !progress(done.min(total), total) {
                let _ = tool::run("btrfs", &["scrub", "cancel", &path], None, STATUS_LIMIT);
                let _ = child.wait();
                return Err(OpError::Refused("ended on request".to_owned()));
            }
            tool::pause(POLL);
        };
        let mut said = String::new();
        if let Some(mut pipe) = child.stdout.take() {
            let _ = pipe.read_to_string(&mut said);
        }
        let mut why = String::new();
        if let Some(mut pipe) = child.stderr.take() {
            let _ = pipe.read_to_string(&mut why);
        }
        // 3: it ran, and found errors that could not be corrected (btrfs-scrub(8)).
        if !status.success() && status.code() != Some(3) {
            let code = status.code().unwrap_or(-1);
            return Err(failed(format!("ended with {code}: {}", why.trim())).into());
        }
        if scrubbed(&said) == 0 || !said.contains("uncorrectable_errors:") {
            return Err(failed("it does not say what it read".to_owned()).into());
        }
        let (corrected, uncorrectable) = errors(&said);
        let mut verdict = Verdict {
            scrubbed_bytes: scrubbed(&said),
            corrected,
            uncorrectable,
            damaged: Vec::new(),
        };
        if uncorrectable > 0 {
            let _claim = self.claim(name, "verify")?;
            verdict.damaged = damaged(&self.path(name), &mut || progress(total, total))?;
        }
        Ok(verdict)
    }

    fn scrub_status(path: &str) -> Option<String> {
        let args = ["scrub", "status", "-R", path];
        let answer = tool::run("btrfs", &args, None, STATUS_LIMIT).ok()?;
        answer.success().ok().map(|answer| answer.stdout)
    }

    /// That a volume can be defragmented; with snapshots, that the cost is known.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn may_defragment(&self, name: &Name, unshare: bool) -> Result<(), OpError> {
        self.pool("defragmentation")?;
        let info = self.info(name)?;
        let snapshots = self.snapshots(name)?.len();
        if snapshots > 0 && !unshare {
            return Err(OpError::Refused(format!(
                "volume {name} has {snapshots} snapshots: what is put together is no longer shared \
                 with them, and takes up to {} more of the pool; repeat it with --unshare, or delete \
                 snapshots first",
                info.used_bytes
                    .map_or_else(|| "its size".to_owned(), crate::units::human_bytes)
            )));
        }
        Ok(())
    }

    /// Puts the pieces of files together. Snapshots share nothing with what was rewritten: where
    /// there are any, `unshare` must say that the cost is known.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn defragment(
        &self,
        name: &Name,
        unshare: bool,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(), OpError> {
        self.may_defragment(name, unshare)?;
        let _claim = self.claim(name, "defragment")?;
        let path = self.path(name).to_string_lossy().into_owned();
        let failed = |problem: String| VolumeError::Tool {
            command: format!("btrfs filesystem defragment -r {path}"),
            problem,
        };
        let mut child = Command::new("btrfs")
            .args(["filesystem", "defragment", "-r", "-f", &path])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(failed(format!("ended with {status}")).into()),
                Ok(None) => {}
                Err(error) => return Err(failed(error.to_string()).into()),
            }
            if !go_on() {
                let _ = child.kill();
                let _ = child.wait();
                return Err(OpError::Refused("ended on request".to_owned()));
            }
            tool::pause(POLL);
        }
    }
}

/// Files below `dir` that cannot be read whole.
fn damaged(dir: &Path, go_on: &mut dyn FnMut() -> bool) -> Result<Vec<PathBuf>, OpError> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(at) = open.pop() {
        let entries = match std::fs::read_dir(&at) {
            Ok(entries) => entries,
            Err(error) if at == dir => return Err(FsError::wrap("read", dir)(error).into()),
            Err(_) => {
                found.push(at);
                continue;
            }
        };
        for entry in entries.filter_map(Result::ok) {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() && !is_whole(&entry.path()) => found.push(entry.path()),
                _ => {}
            }
            if found.len() >= MAX_FILES {
                return Ok(found);
            }
            if !go_on() {
                return Err(OpError::Refused("ended on request".to_owned()));
            }
        }
    }
    Ok(found)
}

fn is_whole(path: &Path) -> bool {
    let Ok(mut file) = std::fs::File::open(path) else {
        return false;
    };
    // What was read before its bits turned may still be in memory, and is not what the disk has.
    let _ = nix::fcntl::posix_fadvise(
        &file,
        0,
        0,
        nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED,
    );
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_names() {
        let text = "UUID: x\nStatus:           finished\n\tdata_bytes_scrubbed: 4096\n\
                    \ttree_bytes_scrubbed: 16384\n\tcorrected_errors: 1\n\tuncorrectable_errors: 2\n";
        assert_eq!(scrubbed(text), 20480);
        assert_eq!(errors(text), (1, 2));
        assert_eq!(errors(""), (0, 0));
    }
}

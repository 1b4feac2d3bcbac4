//! Whether what is on the disk is what was written: a scrub of the pool, and which files it hit.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FileType;
use serde::Serialize;

use super::error::OpError;
use super::manager::Manager;
use super::name::Name;
use super::tool;
use super::tree::{self, Found, Next};

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
        self.entry(name)?;
        let pool = self.btrfs_of(name, "a scrub")?;
        let data = self.root_of(name);
        let path = data.to_string_lossy().into_owned();
        let total = pool.stored().unwrap_or(0);
        // Idle class: whoever waits for the disk comes first.
        let args = ["scrub", "start", "-B", "-R", "-c", "3", &path];
        let answer = tool::run_while("btrfs", &args, POLL, &mut || {
            let done = Self::scrub_status(&path).map_or(0, |text| scrubbed(&text));
            let go_on = progress(done.min(total), total);
            if !go_on {
                let _ = tool::run("btrfs", &["scrub", "cancel", &path], None, STATUS_LIMIT);
            }
            go_on
        })?
        .ok_or_else(ended)?;
        // 3: it ran, and found errors that could not be corrected (btrfs-scrub(8)).
        if !matches!(answer.code, 0 | 3) {
            return Err(answer.failed().into());
        }
        let said = &answer.stdout;
        if scrubbed(said) == 0 || !said.contains("uncorrectable_errors:") {
            return Err(answer.unexpected("it does not say what it read").into());
        }
        let (corrected, uncorrectable) = errors(said);
        let mut verdict = Verdict {
            scrubbed_bytes: scrubbed(said),
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
        self.btrfs_of(name, "defragmentation")?;
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
        let args = ["filesystem", "defragment", "-r", "-f", &path];
        let answer = tool::run_while("btrfs", &args, POLL, go_on)?.ok_or_else(ended)?;
        answer.success()?;
        Ok(())
    }
}

fn ended() -> OpError {
    OpError::Refused("ended on request".to_owned())
}

/// Files below `dir` that cannot be read whole.
fn damaged(dir: &Path, go_on: &mut dyn FnMut() -> bool) -> Result<Vec<PathBuf>, OpError> {
    let mut hit = Vec::new();
    let unreadable = tree::walk(dir, &mut |found| {
        if found.kind() == FileType::RegularFile && !is_whole(found) {
            hit.push(dir.join(found.path));
        }
        if !go_on() {
            return Err(ended());
        }
        let enough = hit.len() >= MAX_FILES;
        Ok(if enough { Next::Enough } else { Next::On })
    })?;
    hit.extend(unreadable.iter().map(|path| dir.join(path)));
    hit.truncate(MAX_FILES);
    Ok(hit)
}

fn is_whole(found: &Found<'_>) -> bool {
    let mut file = match found.open() {
        Ok(file) => file,
        // It went in between.
        Err(error) => return error.kind() == std::io::ErrorKind::NotFound,
    };
    // What was read before its bits turned may still be in memory, and is not what the disk has.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    std::io::copy(&mut file, &mut std::io::sink()).is_ok()
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

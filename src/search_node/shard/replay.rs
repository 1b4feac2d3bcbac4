//! The log read again at the start: what of it is whole, torn or damaged.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use super::frame::{self, Frame};
use super::log::{Log, LogFile};
use crate::fsx::{self, FsError};

/// Ending of a copy of a damaged file.
const DAMAGED: &str = "damaged";

impl Log {
    /// Hands every operation of earlier runs to `visit`, in order. What follows the last whole
    /// frame of the newest file was never acknowledged and is cut off; in an older file, which
    /// was whole when the next one began, it is damage: the file is kept beside the log under
    /// another name, see [`Log::damaged`].
    pub(crate) fn replay(&self, mut visit: impl FnMut(&Frame<'_>)) -> Result<(), FsError> {
        let mut numbers: Vec<u64> = self.lock().files.keys().copied().collect();
        let current = self.lock().number;
        numbers.retain(|number| *number != current);
        // A start that was cut off leaves an empty file behind the one it was to read.
        let mut newest = None;
        for number in &numbers {
            let path = path(&self.dir, *number);
            let length = std::fs::metadata(&path).map_err(FsError::wrap("read", &path))?;
            if length.len() > 0 {
                newest = Some(*number);
            }
        }
        for number in numbers {
            let path = path(&self.dir, number);
            let bytes = std::fs::read(&path).map_err(FsError::wrap("read", &path))?;
            let mut file = LogFile::default();
            let read = frame::read_all(&bytes, |frame| {
                file.last.insert(frame.index, frame.last_seq());
                visit(frame);
            });
            file.bytes = read as u64;
            let rest = bytes.get(read..).unwrap_or_default();
            if rest.iter().any(|byte| *byte != 0) {
                if newest == Some(number) {
                    tracing::warn!(
                        "{}: cut at byte {read}: what follows was not finished when the power \
                         went or the process ended, and was never acknowledged",
                        path.display()
                    );
                } else {
                    let copy = path.with_extension(DAMAGED);
                    fsx::write_atomic(&copy, &bytes, 0o600)?;
                    tracing::error!(
                        "{}: damaged at byte {read}: acknowledged writes may be lost; check the \
                         disk, index what is missing again, then remove the copy that \
                         ends in .{DAMAGED}",
                        path.display()
                    );
                }
                let cut = || -> io::Result<()> {
                    let file = OpenOptions::new().write(true).open(&path)?;
                    file.set_len(read as u64)?;
                    file.sync_all()
                };
                cut().map_err(FsError::wrap("cut", &path))?;
            }
            self.lock().files.insert(number, file);
        }
        Ok(())
    }

    /// Copies of files that were damaged, as long as they are there: writes may be missing.
    pub(crate) fn damaged(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths
            .filter(|path| path.extension().is_some_and(|ext| ext == DAMAGED))
            .collect()
    }
}

pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.log"))
}

pub(super) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".log"))
            .and_then(|name| u64::from_str_radix(name, 16).ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::FileExt;

    use super::super::frame::{Operation, Payload};
    use super::*;

    pub(crate) fn append(log: &Log, seq: u64) {
        let mut payload = Payload::new([7; 16]);
        payload.push(&Operation {
            seq,
            version: 1,
            id: "a",
            source: Some(b"{}"),
        });
        log.append([7; 16], seq, payload.bytes()).unwrap();
    }

    pub(crate) fn replayed(dir: &Path) -> Vec<u64> {
        let mut seen = Vec::new();
        let log = Log::open(dir).unwrap();
        log.replay(|frame| seen.extend(frame.operations.iter().map(|op| op.seq)))
            .unwrap();
        log.stop();
        seen
    }

    #[test]
    fn a_torn_end_is_cut_and_damage_before_it_is_kept_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        append(&log, 0);
        log.cut().unwrap();
        append(&log, 1);
        append(&log, 2);
        log.stop();
        let tear = |number: u64, at: u64| {
            let file = OpenOptions::new()
                .write(true)
                .open(path(dir.path(), number));
            file.unwrap().write_all_at(b"x", at).unwrap();
        };
        // The second frame of the newest file.
        tear(2, 60);
        assert_eq!(replayed(dir.path()), [0, 1]);
        let log = Log::open(dir.path()).unwrap();
        assert!(log.damaged().is_empty());
        // The file is whole now; damage in it is no torn end any more.
        tear(1, 20);
        log.replay(|_| ()).unwrap();
        assert_eq!(log.damaged().len(), 1);
        log.stop();
    }

    #[test]
    fn a_torn_end_is_no_damage_when_the_start_that_was_to_cut_it_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        append(&log, 0);
        append(&log, 1);
        log.stop();
        let file = OpenOptions::new().write(true).open(path(dir.path(), 1));
        file.unwrap().write_all_at(b"x", 60).unwrap();
        Log::open(dir.path()).unwrap().stop();
        assert_eq!(replayed(dir.path()), [0]);
        let log = Log::open(dir.path()).unwrap();
        assert!(log.damaged().is_empty());
        log.stop();
    }
}

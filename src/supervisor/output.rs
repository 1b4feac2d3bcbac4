//! What engines write, without ever making one wait.
//!
//! An engine's stdout and stderr are a file in the run directory (a tmpfs on a board), not a
//! pipe: a pipe would block the engine when the supervisor is slow and end it (SIGPIPE, failed
//! writes) when the supervisor dies. What was read is punched out of the file, so it holds only
//! what is unread; a new supervisor finds the first unread byte with `SEEK_DATA`.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::unistd::{Whence, lseek64};
use serde::Serialize;
use tokio::io::unix::AsyncFd;
use tokio::sync::broadcast;

use crate::config::Log;
use crate::engine::Engine;
use crate::fsx::FsError;
use crate::journal::{self, Event};
use crate::readable::readable;
use crate::status::now_rfc3339;
use crate::units::MIB;

/// Longer lines are cut: a binary dump must not fill the journal.
const MAX_LINE: usize = 4096;
/// Unread output beyond this is given up but for its end.
const MAX_BEHIND: u64 = 4 * MIB;
/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// One line that an engine wrote.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// When it was read, RFC 3339.
    pub at: String,
    /// The text without its newline.
    pub text: String,
}

/// The last lines of one engine, for `lucid logs` and for the reason of a failure.
#[derive(Debug, Clone)]
pub struct Lines {
    shared: Arc<Mutex<VecDeque<Line>>>,
    keep: usize,
    followers: broadcast::Sender<Line>,
}

impl Lines {
    pub(super) fn new(keep: u32) -> Self {
        Self {
            shared: Arc::default(),
            keep: keep as usize,
            followers: broadcast::Sender::new(256),
        }
    }

    fn push(&self, line: Line) {
        let mut lines = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        while lines.len() >= self.keep {
            lines.pop_front();
        }
        lines.push_back(line.clone());
        drop(lines);
        // Nobody following is no error.
        let _ = self.followers.send(line);
    }

    /// The last `count` lines, oldest first.
    pub fn last(&self, count: usize) -> Vec<Line> {
        let lines = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .skip(lines.len().saturating_sub(count))
            .cloned()
            .collect()
    }

    /// Lines from now on; a follower that is too slow loses some.
    pub fn follow(&self) -> broadcast::Receiver<Line> {
        self.followers.subscribe()
    }
}

/// Lets `burst` lines through at once and `rate` a second in the long run.
#[derive(Debug)]
struct TokenBucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    fn new(settings: &Log, now: Instant) -> Self {
        let burst = f64::from(settings.burst);
        Self {
            rate: f64::from(settings.lines_per_second),
            burst,
            tokens: burst,
            at: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let gained = now.duration_since(self.at).as_secs_f64() * self.rate;
        self.at = now;
        self.tokens = (self.tokens + gained).min(self.burst);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// Opens the output file of an engine for the engine's use. `fresh` drops what an earlier
/// engine left.
pub(super) fn open_for_engine(path: &Path) -> Result<File, FsError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(FsError::wrap("open", path))
}

/// Who writes, and how its lines are judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer {
    pub(super) datastore: &'static str,
    pub(super) engine: &'static dyn Engine,
}

/// Reads one engine's output into the journal.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    offset: u64,
    partial: Vec<u8>,
    inotify: AsyncFd<OwnedFd>,
    bucket: TokenBucket,
    suppressed: u64,
    lines: Lines,
}

impl Tail {
    /// Begins at the first unread byte. Needs a runtime.
    pub(super) fn open(path: &Path, settings: &Log, lines: Lines) -> Result<Self, FsError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(FsError::wrap("open", path))?;
        let offset = first_unread(&file);
        let watch = || -> std::io::Result<AsyncFd<OwnedFd>> {
            let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
            inotify.add_watch(path, AddWatchFlags::IN_MODIFY)?;
            readable(OwnedFd::from(inotify))
        };
        Ok(Self {
            inotify: watch().map_err(FsError::wrap("watch", path))?,
            file,
            offset,
            partial: Vec::new(),
            bucket: TokenBucket::new(settings, Instant::now()),
            suppressed: 0,
            lines,
        })
    }

    /// Takes over changed settings.
    pub(super) fn set_rate(&mut self, settings: &Log) {
        self.bucket = TokenBucket::new(settings, Instant::now());
    }

    /// Passes lines on until it is dropped.
    pub(super) async fn run(&mut self, writer: Writer) {
        loop {
            if self.drain(writer) {
                // An engine that floods must not keep signals and probes waiting.
                tokio::task::yield_now().await;
                continue;
            }
            let Ok(mut ready) = self.inotify.readable().await else {
                return;
            };
            let mut events = [0u8; 1024];
            while nix::unistd::read(ready.get_inner().as_fd(), &mut events).is_ok_and(|n| n > 0) {}
            ready.clear_ready();
            drop(ready);
            // Lines come in groups: reading a little later reads them together.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Reads a part of what is there, and tells whether there is more. The file is on a tmpfs or
    /// in the page cache, so this does not wait for a disk.
    fn drain(&mut self, writer: Writer) -> bool {
        self.skip_flood();
        let mut chunk = vec![0u8; CHUNK];
        let count = self.file.read_at(&mut chunk, self.offset).unwrap_or(0);
        for &byte in &chunk[..count] {
            if byte == b'\n' {
                self.finish_line(writer);
            } else if byte != 0 && self.partial.len() < MAX_LINE {
                // Zeros are the rest of a page of which a part was punched out.
                self.partial.push(byte);
            }
        }
        let from = self.offset;
        self.offset += count as u64;
        self.punch(from, count as u64);
        self.report_suppressed(writer);
        count == CHUNK
    }

    /// Gives up the middle of what an engine wrote faster than it can be read; its end tells more.
    fn skip_flood(&mut self) {
        let length = self.file.metadata().map_or(0, |meta| meta.len());
        if length.saturating_sub(self.offset) > MAX_BEHIND {
            let from = self.offset;
            self.offset = length - CHUNK as u64;
            self.punch(from, self.offset - from);
            self.partial.clear();
            self.suppressed += 1;
        }
    }

    /// Gives a last line without a newline its due: an engine that died left it.
    pub(super) fn finish(&mut self, writer: Writer) {
        while self.drain(writer) {}
        if !self.partial.is_empty() {
            self.finish_line(writer);
        }
    }

    fn finish_line(&mut self, writer: Writer) {
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.partial)).into_owned();
        let text = text.trim_end().to_owned();
        if text.is_empty() {
            return;
        }
        if self.bucket.take(Instant::now()) {
            journal::engine_line(
                writer.datastore,
                writer.engine.kind().name(),
                writer.engine.line_level(&text),
                writer.engine.line_text(&text),
            );
        } else {
            self.suppressed += 1;
        }
        self.lines.push(Line {
            at: now_rfc3339(),
            text,
        });
    }

    fn report_suppressed(&mut self, writer: Writer) {
        if self.suppressed > 0 && self.bucket.take(Instant::now()) {
            let message = format!(
                "{} lines of {} suppressed",
                self.suppressed,
                writer.engine.kind().name()
            );
            journal::emit(Event::OutputSuppressed, writer.datastore, &message);
            self.suppressed = 0;
        }
    }

    fn punch(&self, from: u64, length: u64) {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let (Ok(from), Ok(length)) = (i64::try_from(from), i64::try_from(length)) else {
            return;
        };
        // File systems without holes keep the text; only its space is not given back.
        let _ = fallocate(&self.file, flags, from, length);
    }
}

/// Where unread text begins: after the holes, or the end when all was read.
fn first_unread(file: &File) -> u64 {
    match lseek64(file, 0, Whence::SeekData) {
        Ok(offset) => u64::try_from(offset).unwrap_or(0),
        // ENXIO: no data at all, only a hole.
        Err(Errno::ENXIO) => file.metadata().map_or(0, |meta| meta.len()),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn writer() -> Writer {
        Writer {
            datastore: "cache",
            engine: crate::engine::of(crate::config::EngineKind::Redis),
        }
    }

    fn settings(burst: u32) -> Log {
        Log {
            lines_per_second: 1,
            burst,
            keep: 100,
        }
    }

    #[tokio::test]
    async fn lines_arrive_and_a_torn_line_waits_for_its_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache.out");
        let lines = Lines::new(100);
        let mut tail = Tail::open(&path, &settings(100), lines.clone()).unwrap();
        let mut engine = open_for_engine(&path).unwrap();
        engine.write_all(b"one\ntw").unwrap();
        while tail.drain(writer()) {}
        assert_eq!(lines.last(9).len(), 1);
        engine.write_all(b"o\nlast words").unwrap();
        tail.finish(writer());
        let texts: Vec<_> = lines.last(9).into_iter().map(|l| l.text).collect();
        assert_eq!(texts, ["one", "two", "last words"]);
    }

    #[tokio::test]
    async fn a_second_reader_goes_on_where_the_first_stopped_and_read_text_takes_no_space() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache.out");
        let mut engine = open_for_engine(&path).unwrap();
        let text = "x".repeat(99) + "\n";
        for _ in 0..20_000 {
            engine.write_all(text.as_bytes()).unwrap();
        }
        let first = Lines::new(100);
        Tail::open(&path, &settings(100), first.clone())
            .unwrap()
            .finish(writer());
        let blocks = std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap());
        assert!(
            blocks * 512 < 100_000,
            "{blocks} blocks are still allocated"
        );
        engine.write_all(b"for the next\n").unwrap();
        let second = Lines::new(100);
        Tail::open(&path, &settings(100), second.clone())
            .unwrap()
            .finish(writer());
        assert_eq!(second.last(1)[0].text, "for the next");
        // Holes come in pages: at most a page of read text may come again.
        assert!(
            second.last(100).len() <= 42,
            "{} lines came again",
            second.last(100).len()
        );
    }

    #[tokio::test]
    async fn a_flood_is_bounded_and_its_end_is_still_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache.out");
        let lines = Lines::new(50);
        let mut tail = Tail::open(&path, &settings(10), lines.clone()).unwrap();
        let mut engine = open_for_engine(&path).unwrap();
        for n in 0..1000 {
            writeln!(engine, "line {n}").unwrap();
        }
        while tail.drain(writer()) {}
        assert!(tail.suppressed >= 980, "{} suppressed", tail.suppressed);
        assert_eq!(lines.last(1)[0].text, "line 999");
        assert_eq!(lines.last(1000).len(), 50);
    }

    #[tokio::test]
    async fn new_output_wakes_the_reader() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache.out");
        let lines = Lines::new(100);
        let mut follower = lines.follow();
        let mut tail = Tail::open(&path, &settings(100), lines).unwrap();
        let task = tokio::spawn(async move { tail.run(writer()).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        open_for_engine(&path)
            .unwrap()
            .write_all(b"hello\n")
            .unwrap();
        let line = tokio::time::timeout(Duration::from_secs(2), follower.recv()).await;
        assert_eq!(line.unwrap().unwrap().text, "hello");
        task.abort();
    }
}

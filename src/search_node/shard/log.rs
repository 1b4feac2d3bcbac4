//! The write-ahead log: one for all indices of the node, so that one flush of the disk makes the
//! writes of a moment durable, whichever indices they went to.
//!
//! A file is a row of frames: length, checksum, content. A checksum covers the one before it
//! too, so that what an earlier, failed write left behind a frame is never taken for the next
//! one. A frame holds the operations of one request on one index, packed when they are many.
//! Appending is a plain write; a thread of its own flushes, once for all that wait.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nix::fcntl::{FallocateFlags, fallocate};
use tokio::sync::watch;

use super::frame;
use super::replay::{numbers, path};
use crate::fsx::{FsError, sync_dir};

/// A file of the log is closed at this size.
const FILE_BYTES: u64 = 16 << 20;

/// Space is taken in steps of this size, so that a full disk is known before a write, and the
/// file's length does not change with each.
const STEP: u64 = 1 << 20;

/// Identifies an index in the log.
pub(crate) type IndexId = [u8; 16];

/// See the module.
#[derive(Debug)]
pub(crate) struct Log {
    pub(super) dir: PathBuf,
    inner: Mutex<Inner>,
    /// Wakes the flushing thread.
    wake: Condvar,
    flushed: watch::Sender<Flushed>,
    /// Held while a file is flushed and until that is told: the kernel tells of a failure once,
    /// and nobody may take the next success for all.
    syncing: Mutex<()>,
    flusher: Mutex<Option<JoinHandle<()>>>,
}

/// How far the log is on the disk.
#[derive(Debug, Clone)]
enum Flushed {
    /// Everything before this position.
    To(u64),
    /// A flush failed: what the disk holds is not known any more.
    Failed(String),
}

#[derive(Debug)]
pub(super) struct Inner {
    file: Arc<File>,
    pub(super) number: u64,
    /// Bytes written to the current file, and taken for it.
    length: u64,
    taken: u64,
    /// Checksum of the last frame.
    chain: u32,
    /// Bytes appended since the start.
    position: u64,
    /// Position that somebody waits for.
    wanted: u64,
    stopped: bool,
    /// Per file, the highest sequence number of each index in it.
    pub(super) files: BTreeMap<u64, LogFile>,
}

#[derive(Debug, Default)]
pub(super) struct LogFile {
    pub(super) last: BTreeMap<IndexId, u64>,
    pub(super) bytes: u64,
}

impl Log {
    /// Opens the log in `dir` and begins a new file; [`Log::replay`] reads what is there.
    pub(crate) fn open(dir: &Path) -> Result<Arc<Self>, FsError> {
        let numbers = numbers(dir).map_err(FsError::wrap("read", dir))?;
        // Until they were read nothing is known of what they hold.
        let files = numbers.iter().map(|number| (*number, LogFile::default()));
        let files = files.collect();
        let number = numbers.last().map_or(1, |last| last + 1);
        let path = path(dir, number);
        let file = File::create_new(&path).and_then(|file| sync_dir(dir).map(|()| file));
        let file = Arc::new(file.map_err(FsError::wrap("create", &path))?);
        let log = Arc::new(Self {
            dir: dir.to_path_buf(),
            inner: Mutex::new(Inner {
                file,
                number,
                length: 0,
                taken: 0,
                chain: 0,
                position: 0,
                wanted: 0,
                stopped: false,
                files,
            }),
            wake: Condvar::new(),
            flushed: watch::Sender::new(Flushed::To(0)),
            syncing: Mutex::new(()),
            flusher: Mutex::new(None),
        });
        let flusher = Arc::clone(&log);
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || flusher.flush_forever());
        let thread = thread.map_err(FsError::wrap("start the thread that flushes", dir))?;
        *log.flusher.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(log)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends `payload`, which holds operations of `index` up to `seq`; returns the position
    /// that [`Log::durable`] takes. When it fails, nothing was appended.
    pub(crate) fn append(&self, index: IndexId, seq: u64, payload: &[u8]) -> io::Result<u64> {
        if let Flushed::Failed(why) = &*self.flushed.borrow() {
            return Err(io::Error::other(why.clone()));
        }
        let mut inner = self.lock();
        if inner.length >= FILE_BYTES {
            self.rotate(&mut inner)?;
        }
        let (frame, chain) = frame::seal(inner.chain, payload);
        let end = inner.length + frame.len() as u64;
        if end > inner.taken {
            let taken = end.next_multiple_of(STEP);
            take(&inner.file, inner.taken, taken - inner.taken)?;
            inner.taken = taken;
        }
        inner.file.write_all_at(&frame, inner.length)?;
        inner.length = end;
        inner.chain = chain;
        inner.position += frame.len() as u64;
        let number = inner.number;
        let file = inner.files.entry(number).or_default();
        file.last.insert(index, seq);
        file.bytes = end;
        Ok(inner.position)
    }

    /// Waits until everything before `position` is on the disk.
    pub(crate) async fn durable(&self, position: u64) -> io::Result<()> {
        self.request(position);
        let mut flushed = self.flushed.subscribe();
        let reached = flushed
            .wait_for(|flushed| match flushed {
                Flushed::To(done) => *done >= position,
                Flushed::Failed(_) => true,
            })
            .await;
        match reached.as_deref() {
            Ok(Flushed::To(_)) => Ok(()),
            Ok(Flushed::Failed(why)) => Err(io::Error::other(why.clone())),
            Err(_) => Err(io::Error::other("the log was closed")),
        }
    }

    /// Has everything before `position` flushed soon, without waiting.
    pub(crate) fn request(&self, position: u64) {
        let mut inner = self.lock();
        if position > inner.wanted {
            inner.wanted = position;
            self.wake.notify_one();
        }
    }

    /// Has everything flushed that was appended so far.
    pub(crate) fn request_all(&self) {
        let position = self.lock().position;
        self.request(position);
    }

    /// Why no write is taken any more.
    pub(crate) fn failure(&self) -> Option<String> {
        match &*self.flushed.borrow() {
            Flushed::To(_) => None,
            Flushed::Failed(why) => Some(why.clone()),
        }
    }

    /// Bytes in all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().files.values().map(|file| file.bytes).sum()
    }

    /// Number of the file that is written to now.
    pub(crate) fn current(&self) -> u64 {
        self.lock().number
    }

    /// Removes the files before the number `below` that no index needs. `saved` says below which
    /// sequence number the operations of an index are saved elsewhere; `None` for an index that is
    /// gone: of one that `saved` may not know yet there must be nothing in these files.
    pub(crate) fn release(&self, below: u64, saved: impl Fn(&IndexId) -> Option<u64>) {
        let mut inner = self.lock();
        let free: Vec<u64> = inner
            .files
            .iter()
            .filter(|(number, file)| {
                **number < below
                    && file
                        .last
                        .iter()
                        .all(|(index, seq)| saved(index).is_none_or(|saved| saved > *seq))
            })
            .map(|(number, _)| *number)
            .collect();
        for number in free {
            if std::fs::remove_file(path(&self.dir, number)).is_ok() {
                inner.files.remove(&number);
            }
        }
    }

    /// Closes the current file, so that it can be released; nothing when it is empty.
    pub(crate) fn cut(&self) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.length == 0 {
            return Ok(());
        }
        self.rotate(&mut inner)
    }

    fn rotate(&self, inner: &mut Inner) -> io::Result<()> {
        let number = inner.number + 1;
        // The old file must be whole before anything follows it.
        self.sync(&inner.file, None)?;
        let new = path(&self.dir, number);
        let file = File::create_new(&new)?;
        if let Err(error) = sync_dir(&self.dir) {
            let _ = std::fs::remove_file(&new);
            return Err(error);
        }
        // Space that was taken and not used goes back.
        let _ = inner.file.set_len(inner.length);
        inner.file = Arc::new(file);
        inner.number = number;
        inner.length = 0;
        inner.taken = 0;
        inner.chain = 0;
        inner.files.entry(number).or_default();
        Ok(())
    }

    /// Flushes `file`, and tells how far the log is on the disk: up to `position`, if that is
    /// known. After one failure nothing is taken for flushed any more.
    fn sync(&self, file: &File, position: Option<u64>) -> io::Result<()> {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = self.failure() {
            return Err(io::Error::other(why));
        }
        match file.sync_data() {
            Ok(()) => {
                if let Some(position) = position {
                    self.flushed.send_replace(Flushed::To(position));
                }
                Ok(())
            }
            Err(error) => {
                let why = format!(
                    "the write-ahead log could not be flushed ({error}); no write is taken until \
                     the node is started again: check the disk"
                );
                tracing::error!("{why}");
                self.flushed.send_replace(Flushed::Failed(why));
                Err(error)
            }
        }
    }

    fn flush_forever(&self) {
        loop {
            let (file, position) = {
                let mut inner = self.lock();
                loop {
                    let done = match &*self.flushed.borrow() {
                        Flushed::To(done) => *done,
                        Flushed::Failed(_) => return,
                    };
                    if inner.wanted > done {
                        break;
                    }
                    if inner.stopped {
                        return;
                    }
                    inner = self
                        .wake
                        .wait(inner)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                (Arc::clone(&inner.file), inner.position)
            };
            // Files before this one were flushed when they were closed.
            if self.sync(&file, Some(position)).is_err() {
                return;
            }
        }
    }

    /// Ends the flushing thread after a last flush.
    pub(crate) fn stop(&self) {
        self.request_all();
        self.lock().stopped = true;
        self.wake.notify_one();
        let thread = self
            .flusher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

fn take(file: &File, from: u64, bytes: u64) -> io::Result<()> {
    let (from, bytes) = (
        from.try_into().map_err(io::Error::other)?,
        bytes.try_into().map_err(io::Error::other)?,
    );
    match fallocate(file, FallocateFlags::empty(), from, bytes) {
        // A file system may not know how; a full disk then shows at the write.
        Ok(()) | Err(nix::errno::Errno::EOPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Operation, Payload};
    use super::super::replay::tests::{append, replayed};
    use super::*;

    #[test]
    fn a_file_goes_only_when_all_its_operations_are_saved() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        append(&log, 0);
        append(&log, 1);
        log.cut().unwrap();
        // Saved below 1: operation 1 is nowhere else.
        log.release(log.current(), |_| Some(1));
        assert_eq!(replayed(dir.path()), [0, 1]);
        log.release(log.current(), |_| Some(2));
        assert_eq!(replayed(dir.path()), [0u64; 0]);
        log.stop();
    }

    #[tokio::test]
    async fn what_is_durable_is_there_after_a_new_start() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        for seq in 0..5 {
            append(&log, seq);
        }
        let mut payload = Payload::new([8; 16]);
        payload.push(&Operation {
            seq: 0,
            version: 1,
            id: "b",
            source: None,
        });
        let position = log.append([8; 16], 0, payload.bytes()).unwrap();
        log.durable(position).await.unwrap();
        assert_eq!(replayed(dir.path()), [0, 1, 2, 3, 4, 0]);
        log.stop();
    }
}

//! What is put into a repository: streams of known length, or a directory. `rustic_core` passes
//! over what cannot be read; here every such fault is kept, and the capture fails by it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rustic_core::repofile::{Metadata, Node, NodeType};
use rustic_core::{
    ErrorKind, Excludes, LocalSource, LocalSourceFilterOptions, LocalSourceSaveOptions, ReadSource,
    ReadSourceEntry, ReadSourceOpen, RusticError, RusticResult,
};

use super::lengths::Lengths;

/// Stands for a length that is not known yet.
const UNKNOWN: u64 = u32::MAX as u64;

/// What went wrong while something was read; the first is enough.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Option<String>>>);

impl Faults {
    fn note(&self, path: &Path, cause: &str) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| format!("{}: {cause}", path.display()));
    }

    pub(super) fn first(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

type Open = Box<dyn FnOnce() -> io::Result<Box<dyn Read + Send>> + Send>;

/// A stream that becomes a file of the backup.
pub(super) struct Stream {
    /// Where it stands in the backup, absolute.
    pub(super) path: PathBuf,
    /// Its length, where that is known before it is read.
    pub(super) bytes: Option<u64>,
    /// When its content changed: what the parent has of the same length and time is not read.
    pub(super) changed: Timestamp,
    /// Length and time are the parent's; where that has it not any more, what is read is another one.
    pub(super) is_kept: bool,
    /// Begins it.
    pub(super) open: Open,
}

/// Streams, in the order of their paths.
pub(super) struct Streams {
    entries: Mutex<Vec<Stream>>,
    /// Absent where that of one of them is.
    total: Option<u64>,
    faults: Faults,
    lengths: Found,
}

/// Lengths that were found by reading.
#[derive(Debug, Clone, Default)]
pub(super) struct Found(Arc<Mutex<Lengths>>);

impl Found {
    /// Those so far.
    pub(super) fn get(&self) -> Lengths {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, path: &Path, bytes: u64) {
        let mut lengths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lengths.insert(path.to_owned(), bytes);
    }
}

impl Streams {
    pub(super) fn new(mut entries: Vec<Stream>) -> (Self, Faults, Found) {
        // By parts: `a/x` comes before `a-b`, as in the tree that is made of them.
        entries.sort_by(|one, two| one.path.cmp(&two.path));
        let (faults, lengths) = (Faults::default(), Found::default());
        let streams = Self {
            total: entries.iter().map(|entry| entry.bytes).sum(),
            entries: Mutex::new(entries),
            faults: faults.clone(),
            lengths: lengths.clone(),
        };
        (streams, faults, lengths)
    }
}

/// A stream before it is opened.
pub(super) struct OpenStream {
    path: PathBuf,
    bytes: Option<u64>,
    open: Open,
    faults: Faults,
    lengths: Found,
}

/// A file before it is opened.
pub(super) struct OpenFile {
    path: PathBuf,
    /// Length that it must have; absent where it is no plain file.
    bytes: Option<u64>,
    open: OpenLocal,
    faults: Faults,
}

/// One that is open.
pub(super) struct Watched<R> {
    inner: R,
    path: PathBuf,
    length: Length,
    faults: Faults,
}

/// What is known of a length.
enum Length {
    /// So much is yet to come.
    Left(u64),
    /// So much came; it is noted at the end.
    Counted(u64, Found),
    /// It is no matter.
    Any,
}

impl<R: Read> Read for Watched<R> {
    /// Fills the whole buffer, but at the end: the library takes the shortest read that it ever got
    /// for the length of all that follow.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.inner.read(&mut buffer[read..]) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.faults.note(&self.path, &error.to_string());
                    return Err(error);
                }
            }
        }
        let bytes = read as u64;
        let is_end = read < buffer.len();
        let wrong = match &mut self.length {
            Length::Left(left) if bytes > *left => Some("it is longer than it was before"),
            Length::Left(left) if bytes < *left && is_end => Some("it ends too early"),
            Length::Left(left) => {
                *left -= bytes;
                None
            }
            Length::Counted(count, found) => {
                *count += bytes;
                if is_end {
                    found.note(&self.path, *count);
                }
                None
            }
            Length::Any => None,
        };
        match wrong {
            Some(wrong) => {
                self.faults.note(&self.path, wrong);
                Err(io::Error::other(wrong))
            }
            None => Ok(read),
        }
    }
}

impl ReadSourceOpen for OpenStream {
    type Reader = Watched<Box<dyn Read + Send>>;

    fn open(self) -> RusticResult<Self::Reader> {
        let inner = (self.open)().map_err(|error| {
            self.faults.note(&self.path, &error.to_string());
            RusticError::with_source(ErrorKind::InputOutput, "cannot begin to read it", error)
        })?;
        Ok(Watched {
            inner,
            length: match self.bytes {
                Some(bytes) => Length::Left(bytes),
                None => Length::Counted(0, self.lengths),
            },
            path: self.path,
            faults: self.faults,
        })
    }
}

impl ReadSource for Streams {
    type Open = OpenStream;
    type Iter = std::vec::IntoIter<RusticResult<ReadSourceEntry<Self::Open>>>;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(self.total)
    }

    fn entries(&self) -> Self::Iter {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let made: Vec<_> = entries
            .drain(..)
            .map(|stream| {
                // Without a time it would be taken for what the parent has without one.
                let changed =
                    rustic_core::jiff::Timestamp::from_nanosecond(stream.changed.as_nanosecond())
                        .map_err(|error| {
                        self.faults.note(&stream.path, "it has no time");
                        RusticError::with_source(ErrorKind::InputOutput, "no time", error)
                    })?;
                let meta = Metadata {
                    mode: Some(0o600),
                    // The library makes room for as much as one piece at once.
                    size: stream.bytes.unwrap_or(UNKNOWN),
                    links: 1,
                    mtime: Some(changed),
                    ..Metadata::default()
                };
                let name = stream.path.file_name().unwrap_or_default().to_owned();
                Ok(ReadSourceEntry {
                    node: Node::new_node(&name, NodeType::File, meta),
                    open: Some(OpenStream {
                        path: stream.path.clone(),
                        bytes: stream.bytes.filter(|_| !stream.is_kept),
                        open: stream.open,
                        faults: self.faults.clone(),
                        lengths: self.lengths.clone(),
                    }),
                    path: stream.path,
                })
            })
            .collect();
        made.into_iter()
    }
}

/// A directory of files that nobody changes meanwhile.
pub(super) struct Directory {
    inner: LocalSource,
    faults: Faults,
}

type OpenLocal = <LocalSource as ReadSource>::Open;

impl Directory {
    pub(super) fn new(path: &Path) -> RusticResult<(Self, Faults)> {
        let inner = LocalSource::new(
            LocalSourceSaveOptions::default(),
            &Excludes::default(),
            &LocalSourceFilterOptions::default(),
            &[path],
        )?;
        let faults = Faults::default();
        let directory = Self {
            inner,
            faults: faults.clone(),
        };
        Ok((directory, faults))
    }
}

impl ReadSourceOpen for OpenFile {
    type Reader = Watched<std::fs::File>;

    fn open(self) -> RusticResult<Self::Reader> {
        let inner = self
            .open
            .open()
            .inspect_err(|error| self.faults.note(&self.path, &error.to_string()))?;
        Ok(Watched {
            inner,
            path: self.path,
            length: self.bytes.map_or(Length::Any, Length::Left),
            faults: self.faults,
        })
    }
}

/// Entries of a [`Directory`].
pub(super) struct Entries {
    inner: <LocalSource as ReadSource>::Iter,
    faults: Faults,
    root: PathBuf,
}

impl Iterator for Entries {
    type Item = RusticResult<ReadSourceEntry<OpenFile>>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = match self.inner.next()? {
            Ok(entry) => entry,
            Err(error) => {
                self.faults.note(&self.root, &error.display_log());
                return Some(Err(error));
            }
        };
        let bytes = (entry.node.node_type == NodeType::File).then_some(entry.node.meta.size);
        Some(Ok(ReadSourceEntry {
            open: entry.open.map(|open| OpenFile {
                path: entry.path.clone(),
                bytes,
                open,
                faults: self.faults.clone(),
            }),
            path: entry.path,
            node: entry.node,
        }))
    }
}

impl ReadSource for Directory {
    type Open = OpenFile;
    type Iter = Entries;

    fn size(&self) -> RusticResult<Option<u64>> {
        self.inner.size()
    }

    fn entries(&self) -> Self::Iter {
        Entries {
            inner: self.inner.entries(),
            faults: self.faults.clone(),
            root: PathBuf::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Dripping(io::Cursor<Vec<u8>>);

    impl Read for Dripping {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let room = buffer.len().min(1);
            self.0.read(&mut buffer[..room])
        }
    }

    fn watched(content: &[u8], said: u64) -> Watched<Dripping> {
        Watched {
            inner: Dripping(io::Cursor::new(content.to_vec())),
            path: PathBuf::from("/a"),
            length: Length::Left(said),
            faults: Faults::default(),
        }
    }

    #[test]
    fn every_read_is_as_long_as_it_can_be() {
        let mut from = watched(b"abcdefg", 7);
        let mut buffer = [0; 4];
        assert_eq!(from.read(&mut buffer).unwrap(), 4);
        assert_eq!(from.read(&mut buffer).unwrap(), 3);
        assert_eq!(from.read(&mut buffer).unwrap(), 0);
        assert_eq!(from.faults.first(), None);
    }

    #[test]
    fn a_length_that_nobody_knew_is_noted_at_the_end() {
        let found = Found::default();
        let mut from = Watched {
            length: Length::Counted(0, found.clone()),
            ..watched(b"abcdefgh", 0)
        };
        let mut buffer = [0; 4];
        for left in [4, 4] {
            assert_eq!(from.read(&mut buffer).unwrap(), left);
            assert!(found.get().is_empty());
        }
        assert_eq!(from.read(&mut buffer).unwrap(), 0);
        assert_eq!(found.get(), Lengths::from([(PathBuf::from("/a"), 8)]));
    }

    #[test]
    fn what_is_shorter_or_longer_than_it_was_said_to_be_is_a_fault() {
        for (said, told) in [
            (8, "/a: it ends too early"),
            (6, "/a: it is longer than it was before"),
        ] {
            let mut from = watched(b"abcdefg", said);
            assert!(from.read_to_end(&mut Vec::new()).is_err());
            assert_eq!(from.faults.first().unwrap(), told);
        }
    }
}

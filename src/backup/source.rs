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
    /// Its length, which is known before it is read.
    pub(super) bytes: u64,
    /// When its content changed: what the parent has of the same length and time is not read.
    pub(super) changed: Timestamp,
    /// Begins it.
    pub(super) open: Open,
}

/// Streams, in the order of their paths.
pub(super) struct Streams {
    entries: Mutex<Vec<Stream>>,
    total: u64,
    faults: Faults,
}

impl Streams {
    pub(super) fn new(mut entries: Vec<Stream>) -> (Self, Faults) {
        // By parts: `a/x` comes before `a-b`, as in the tree that is made of them.
        entries.sort_by(|one, two| one.path.cmp(&two.path));
        let faults = Faults::default();
        let streams = Self {
            total: entries.iter().map(|entry| entry.bytes).sum(),
            entries: Mutex::new(entries),
            faults: faults.clone(),
        };
        (streams, faults)
    }
}

/// A stream before it is opened.
pub(super) struct OpenStream {
    path: PathBuf,
    bytes: u64,
    open: Open,
    faults: Faults,
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
    left: Option<u64>,
    faults: Faults,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).inspect_err(|error| {
            self.faults.note(&self.path, &error.to_string());
        })?;
        if let Some(left) = &mut self.left {
            let read = read as u64;
            let wrong = if read > *left {
                Some("it is longer than it was before")
            } else if read == 0 && *left > 0 && !buffer.is_empty() {
                Some("it ends too early")
            } else {
                None
            };
            if let Some(wrong) = wrong {
                self.faults.note(&self.path, wrong);
                return Err(io::Error::other(wrong));
            }
            *left -= read;
        }
        Ok(read)
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
            path: self.path,
            left: Some(self.bytes),
            faults: self.faults,
        })
    }
}

impl ReadSource for Streams {
    type Open = OpenStream;
    type Iter = std::vec::IntoIter<RusticResult<ReadSourceEntry<Self::Open>>>;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(Some(self.total))
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
                    size: stream.bytes,
                    links: 1,
                    mtime: Some(changed),
                    ..Metadata::default()
                };
                let name = stream.path.file_name().unwrap_or_default().to_owned();
                Ok(ReadSourceEntry {
                    node: Node::new_node(&name, NodeType::File, meta),
                    open: Some(OpenStream {
                        path: stream.path.clone(),
                        bytes: stream.bytes,
                        open: stream.open,
                        faults: self.faults.clone(),
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
            left: self.bytes,
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

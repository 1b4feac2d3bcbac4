//! A restic repository: parts go in as snapshots, and come out as files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustic_core::repofile::SnapshotFile;
use rustic_core::{
    BackupOptions, ConfigOptions, Credentials, FileType, KeyOptions, OpenStatus, ParentOptions,
    ReadSource, ReadSourceOpen, Repository as Rustic, RepositoryBackends, RepositoryOptions,
    RusticError, SnapshotOptions, StringList,
};

use super::BackupError;
use super::backend::{Adapter, Files};
use super::key::Key;
use super::lock::{Held, Locks};
use super::manifest::Manifest;
use super::meter::Meter;
use super::request::Request;
use super::seal::Seal;
use super::source::{Directory, Faults, Stream, Streams};

/// Marks the snapshots of parts.
pub(super) const PART: &str = "lucid-part";
/// Marks the snapshots of manifests.
pub(super) const MANIFEST: &str = "lucid-manifest";
pub(super) const MANIFEST_FILE: &str = "/manifest/manifest.json";

/// A pack is kept in memory until it is written, several at once; 8 MiB is also a fair size for an
/// object of a bucket.
const PACK: u64 = 8 << 20;
/// Mean length of the pieces that are looked for in what the repository has already. Half of
/// restic's: one changed document costs less.
const PIECE: u64 = 512 << 10;

/// From where what looks unchanged, by its length and times, is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parent<'a> {
    /// The last snapshot of the same part.
    Latest,
    /// This snapshot.
    Of(&'a str),
    /// Everything is read.
    None,
}

/// What was put into the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Id of the snapshot.
    pub snapshot: String,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes written for them.
    pub added: u64,
    /// Files.
    pub files: u64,
}

/// An open repository.
pub struct Repository {
    pub(super) inner: Rustic<OpenStatus>,
    pub(super) files: Arc<dyn Files>,
    options: RepositoryOptions,
    seal: Seal,
    locks: Locks,
    pub(super) place: String,
    pub(super) host: String,
    meter: Meter,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

fn backends(files: &Arc<dyn Files>) -> RepositoryBackends {
    RepositoryBackends::new(Arc::new(Adapter(Arc::clone(files))), None)
}

/// What a fault says beside advice for programmers.
pub(super) fn plain(said: &str) -> String {
    let Some((before, after)) = said.split_once("`rustic_core` experienced") else {
        return said.replace('\n', " ");
    };
    let message = after.split("Message:\n").nth(1).unwrap_or_default();
    let message = message.split("\n\n").next().unwrap_or_default();
    let before = before.trim_end_matches([' ', ':']);
    format!("{before}: {}", message.replace('\n', " "))
}

/// What the library knows of a fault, in one line.
pub(super) fn cause_of(error: &RusticError) -> String {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    let mut last = None;
    while let Some(inner) = cause {
        last = Some(inner.to_string());
        cause = inner.source();
    }
    let told = error.display_log().replace('\n', " ");
    match last {
        Some(last) if !told.contains(&last) => format!("{told}: {last}"),
        _ => told,
    }
}

fn failed(doing: &'static str, place: &str) -> impl Fn(Box<RusticError>) -> BackupError + use<> {
    let place = place.to_owned();
    move |error| BackupError::Repository {
        doing,
        place: place.clone(),
        cause: cause_of(&error),
    }
}

impl Repository {
    /// Opens the one of a request; with `make` one is made where there is none.
    ///
    /// # Errors
    /// [`BackupError::NoRepository`], [`BackupError::WrongKey`], and those of the place.
    pub fn open(
        wanted: &Request,
        key: &Key,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self, BackupError> {
        let files = wanted.place.files(wanted.bandwidth, runtime)?;
        let place = wanted.place.to_string();
        // A cache would hold a second copy of the index on the board's own disk.
        let options = RepositoryOptions::default().no_cache(true);
        let credentials = Credentials::password(key.words());
        let meter = Meter::default();
        let fault = failed("opening", &place);
        let new = || Rustic::new_with_progress(&options, &backends(&files), meter.clone());
        let found = new().map_err(&fault)?;
        let inner = if found.config_id().map_err(&fault)?.is_some() {
            found.open(&credentials).map_err(|error| {
                if error.is_incorrect_password() {
                    BackupError::WrongKey(place.clone())
                } else {
                    fault(error)
                }
            })?
        } else if wanted.make {
            let config = ConfigOptions::default()
                .set_datapack_size(bytesize::ByteSize(PACK))
                .set_datapack_growfactor(0_u32)
                .set_chunk_size(bytesize::ByteSize(PIECE))
                .set_chunk_min_size(bytesize::ByteSize(PIECE / 2))
                .set_append_only(wanted.append_only);
            let fault = failed("making", &place);
            found
                .init(&credentials, &KeyOptions::default(), &config)
                .map_err(fault)?
        } else {
            return Err(BackupError::NoRepository(place));
        };
        let seal = Seal::new(&inner.key()).map_err(|cause| BackupError::Repository {
            doing: "reading the key",
            place: place.clone(),
            cause,
        })?;
        let locks = Locks::new(Arc::clone(&files), seal.clone(), &wanted.host);
        Ok(Self {
            inner,
            files,
            options,
            seal,
            locks,
            place,
            host: wanted.host.clone(),
            meter,
        })
    }

    /// As a person would write it.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Bytes read or written.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Its key.
    pub(super) fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Whether nothing may be removed from it.
    pub fn is_append_only(&self) -> bool {
        self.inner.config().append_only == Some(true)
    }

    /// Claims it: alone, or beside others who only add to it.
    ///
    /// # Errors
    /// [`BackupError::Locked`].
    pub(super) fn claim(&self, alone: bool) -> Result<Held, BackupError> {
        self.locks.take(alone)
    }

    /// Ends every claim on it.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn unlock(&self) -> Result<usize, BackupError> {
        self.locks.clear()
    }

    pub(super) fn failed(&self, doing: &'static str) -> impl Fn(Box<RusticError>) -> BackupError {
        failed(doing, &self.place)
    }

    /// The same repository once more: the library's states take it over. Its key is known; to make
    /// it of the words again takes a second on a board.
    pub(super) fn again(&self) -> Result<Rustic<OpenStatus>, BackupError> {
        let key = Credentials::Masterkey(self.inner.key());
        Rustic::new_with_progress(&self.options, &backends(&self.files), self.meter.clone())
            .and_then(|found| found.open(&key))
            .map_err(self.failed("opening"))
    }

    fn archive<R>(
        &self,
        tag: &str,
        label: &str,
        source: &R,
        faults: &Faults,
        (from, to): (&Path, &Path),
        parent: Parent<'_>,
    ) -> Result<(Saved, SnapshotFile), BackupError>
    where
        R: ReadSource + 'static,
        R::Open: Send,
        R::Iter: Send,
        <R::Open as ReadSourceOpen>::Reader: Send,
    {
        let fault = self.failed("writing");
        let repository = self.again()?.to_indexed_ids().map_err(&fault)?;
        let mut options = SnapshotOptions::default()
            .host(self.host.clone())
            .label(label.to_owned())
            .command("lucid".to_owned());
        let mut tags = StringList::default();
        tags.add(tag.to_owned());
        options.tags = vec![tags];
        let snapshot = SnapshotFile::from_options(&options).map_err(&fault)?;
        let mut parents = ParentOptions::default().force(parent == Parent::None);
        if let Parent::Of(snapshot) = parent {
            parents.parents = vec![snapshot.to_owned()];
        }
        let mut options = BackupOptions::default().parent_opts(parents);
        options.as_path = Some(to.to_path_buf());
        let saved = repository.archive(&options, source, snapshot, &[from.to_path_buf()]);
        // The library passes over what cannot be read: what it read in spite of that is no backup.
        let saved = match (saved, faults.first()) {
            (Ok(saved), None) => saved,
            (Ok(saved), Some(cause)) => {
                // Nothing refers to it; where it must stay, it is known to be none of ours.
                let _ = self.inner.delete_snapshots(&[saved.id]);
                return Err(BackupError::Capture {
                    part: label.to_owned(),
                    cause,
                });
            }
            (Err(error), _) => return Err(fault(error)),
        };
        let summary = saved.summary.clone().unwrap_or_default();
        let told = Saved {
            snapshot: saved.id.to_hex().as_str().to_owned(),
            bytes: summary.total_bytes_processed,
            added: summary.data_added_packed,
            files: summary.total_files_processed,
        };
        Ok((told, saved))
    }

    /// Puts streams in as the part `label`. What the snapshot `last` has of the same length and time
    /// is taken from there.
    ///
    /// # Errors
    /// [`BackupError::Capture`] where one of them ended early; then nothing is kept.
    pub(super) fn save_streams(
        &self,
        label: &str,
        streams: Vec<Stream>,
        last: Option<&str>,
    ) -> Result<Saved, BackupError> {
        let unknown: Vec<PathBuf> = streams
            .iter()
            .filter(|stream| stream.bytes.is_none())
            .map(|stream| stream.path.clone())
            .collect();
        let (source, faults, lengths) = Streams::new(streams);
        self.meter.open_ended(!unknown.is_empty());
        // A path of its own: who removes old snapshots of a group by its paths, as restic forget
        // does, must not take two parts for one.
        let root = format!("/{label}");
        let root = Path::new(&root);
        let parent = last.map_or(Parent::None, Parent::Of);
        let (mut saved, snapshot) =
            self.archive(PART, label, &source, &faults, (root, root), parent)?;
        self.meter.open_ended(false);
        let lengths = lengths.get();
        if let Some(missing) = unknown.iter().find(|path| !lengths.contains_key(*path)) {
            return Err(BackupError::Capture {
                part: label.to_owned(),
                cause: format!("{} was not read to its end", missing.display()),
            });
        }
        if !lengths.is_empty() {
            saved.snapshot = self.with_lengths(&snapshot, &lengths)?;
        }
        Ok(saved)
    }

    /// Puts a directory in as the part `label`, under the path `to`.
    ///
    /// # Errors
    /// [`BackupError::Capture`] where something in it cannot be read; then nothing is kept.
    pub(super) fn save_directory(
        &self,
        label: &str,
        from: &Path,
        to: &Path,
    ) -> Result<Saved, BackupError> {
        let (source, faults) = Directory::new(from).map_err(|error| BackupError::Capture {
            part: label.to_owned(),
            cause: cause_of(&error),
        })?;
        let paths = (from, to);
        let saved = self.archive(PART, label, &source, &faults, paths, Parent::Latest)?;
        Ok(saved.0)
    }

    /// Makes the backup be there.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn save_manifest(&self, manifest: &Manifest) -> Result<Saved, BackupError> {
        let text = serde_json::to_vec(manifest).map_err(|error| BackupError::Capture {
            part: "manifest".to_owned(),
            cause: error.to_string(),
        })?;
        let stream = Stream {
            path: PathBuf::from(MANIFEST_FILE),
            bytes: Some(text.len() as u64),
            changed: jiff::Timestamp::now(),
            is_kept: false,
            open: Box::new(move || Ok(Box::new(std::io::Cursor::new(text)))),
        };
        let (source, faults, _) = Streams::new(vec![stream]);
        let root = Path::new("/manifest");
        let id = &manifest.id;
        let paths = (root, root);
        let saved = self.archive(MANIFEST, id, &source, &faults, paths, Parent::None)?;
        Ok(saved.0)
    }

    /// Ids and sizes of the repository's files of one kind.
    pub(super) fn ids(&self, kind: FileType) -> Result<Vec<(String, u64)>, BackupError> {
        self.files
            .list(kind.dirname())
            .map_err(|error| BackupError::Repository {
                doing: "listing",
                place: self.place.clone(),
                cause: error.to_string(),
            })
    }
}

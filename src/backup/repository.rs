//! A restic repository: parts go in as snapshots, and come out as files.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustic_core::repofile::{Node, NodeType, SnapshotFile, SnapshotId};
use rustic_core::{
    BackupOptions, ConfigOptions, Credentials, FileType, IndexedFull, KeepOptions, KeyOptions,
    LocalDestination, LsOptions, OpenStatus, ParentOptions, Progress, ProgressBars, ProgressType,
    PruneOptions, ReadSource, ReadSourceOpen, Repository as Rustic, RepositoryBackends,
    RepositoryOptions, RestoreOptions, RusticError, RusticProgress, SnapshotOptions, StringList,
};

use super::BackupError;
use super::backend::{Adapter, Files, Place};
use super::key::Key;
use super::lock::{Held, Locks};
use super::manifest::{Manifest, VERSION};
use super::source::{Directory, Faults, Stream, Streams};

/// Marks the snapshots of parts.
const PART: &str = "lucid-part";
/// Marks the snapshots of manifests.
const MANIFEST: &str = "lucid-manifest";
const MANIFEST_FILE: &str = "/manifest/manifest.json";
const MANIFEST_BYTES: usize = 64 << 20;

/// A pack is kept in memory until it is written, several at once; 8 MiB is also a fair size for an
/// object of a bucket.
const PACK: u64 = 8 << 20;
/// Mean length of the pieces that are looked for in what the repository has already. Half of
/// restic's: one changed document costs less.
const PIECE: u64 = 512 << 10;

/// Bytes done and in all, for whoever shows them.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    done: AtomicU64,
    total: AtomicU64,
}

impl Meter {
    /// Bytes done, and in all as far as that is known.
    pub fn get(&self) -> (u64, u64) {
        let done = self.0.done.load(Ordering::Relaxed);
        (done, self.0.total.load(Ordering::Relaxed).max(done))
    }

    /// Counts what was done besides.
    pub(super) fn add(&self, bytes: u64) {
        self.0.done.fetch_add(bytes, Ordering::Relaxed);
    }

    fn add_total(&self, bytes: u64) {
        self.0.total.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Counting(Meter);

impl RusticProgress for Counting {
    fn is_hidden(&self) -> bool {
        false
    }
    fn set_length(&self, bytes: u64) {
        self.0.add_total(bytes);
    }
    fn set_title(&self, _title: &str) {}
    fn inc(&self, bytes: u64) {
        self.0.0.done.fetch_add(bytes, Ordering::Relaxed);
    }
    fn finish(&self) {}
}

impl ProgressBars for Meter {
    fn progress(&self, kind: ProgressType, _prefix: &str) -> Progress {
        match kind {
            ProgressType::Bytes => Progress::new(Counting(self.clone())),
            ProgressType::Spinner | ProgressType::Counter => Progress::hidden(),
        }
    }
}

/// Whether what looks unchanged since the last backup is taken from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parent {
    /// Files tell by their times and inodes.
    Latest,
    /// A stream has neither: one of the same length may be another.
    None,
}

/// Backups with the snapshots that hold their manifests, and what is wrong with others.
type Manifests = (Vec<(SnapshotFile, Manifest)>, Vec<String>);

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
    inner: Rustic<OpenStatus>,
    pub(super) files: Arc<dyn Files>,
    options: RepositoryOptions,
    locks: Locks,
    place: String,
    host: String,
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

/// That what was restored is what the repository says of it, but for its content, which has hashes.
fn same(path: &Path, node: &Node) -> Result<(), BackupError> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let meta =
        std::fs::symlink_metadata(path).map_err(crate::fsx::FsError::wrap("look at", path))?;
    let kind = meta.file_type();
    let right_kind = match &node.node_type {
        NodeType::File => kind.is_file() && meta.len() == node.meta.size,
        NodeType::Dir => kind.is_dir(),
        NodeType::Symlink { .. } => kind.is_symlink(),
        _ => !kind.is_file() && !kind.is_dir() && !kind.is_symlink(),
    };
    let mode = node.meta.mode.map(|mode| mode & 0o7777);
    let now = meta.permissions().mode() & 0o7777;
    let right_mode = kind.is_symlink() || mode.is_none_or(|mode| mode == now);
    let root = nix::unistd::Uid::effective().is_root();
    let right_owner = !root
        || (node.meta.uid.is_none_or(|uid| uid == meta.uid())
            && node.meta.gid.is_none_or(|gid| gid == meta.gid()));
    if right_kind && right_mode && right_owner {
        return Ok(());
    }
    Err(BackupError::Refused(format!(
        "{} could not be restored as it was (length, mode {:o} for {:o}, or owner): restore it with \
         restic, outside of the service's bounds",
        path.display(),
        now,
        mode.unwrap_or(0)
    )))
}

/// What the kernel said, out of a fault that is written for programmers.
fn in_short(said: &str) -> String {
    let message = said.split("message: \"").nth(1);
    let message = message.and_then(|rest| rest.split('"').next());
    message.map_or_else(|| said.chars().take(300).collect(), str::to_owned)
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
    /// Opens it; with `make` one is made where there is none.
    ///
    /// # Errors
    /// [`BackupError::NoRepository`], [`BackupError::WrongKey`], and those of the place.
    pub fn open(
        place: &Place,
        key: &Key,
        host: &str,
        runtime: &tokio::runtime::Handle,
        make: bool,
        append_only: bool,
    ) -> Result<Self, BackupError> {
        let files = place.files(runtime)?;
        let place = place.to_string();
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
        } else if make {
            let config = ConfigOptions::default()
                .set_datapack_size(bytesize::ByteSize(PACK))
                .set_datapack_growfactor(0_u32)
                .set_chunk_size(bytesize::ByteSize(PIECE))
                .set_chunk_min_size(bytesize::ByteSize(PIECE / 2))
                .set_append_only(append_only);
            let fault = failed("making", &place);
            found
                .init(&credentials, &KeyOptions::default(), &config)
                .map_err(fault)?
        } else {
            return Err(BackupError::NoRepository(place));
        };
        let locks = Locks::new(Arc::clone(&files), &inner.key(), host)?;
        Ok(Self {
            inner,
            files,
            options,
            locks,
            place,
            host: host.to_owned(),
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
        parent: Parent,
    ) -> Result<Saved, BackupError>
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
        let mut options = BackupOptions::default()
            .parent_opts(ParentOptions::default().force(parent == Parent::None));
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
        let summary = saved.summary.unwrap_or_default();
        Ok(Saved {
            snapshot: saved.id.to_hex().as_str().to_owned(),
            bytes: summary.total_bytes_processed,
            added: summary.data_added_packed,
            files: summary.total_files_processed,
        })
    }

    /// Puts streams in as the part `label`.
    ///
    /// # Errors
    /// [`BackupError::Capture`] where one of them ended early; then nothing is kept.
    pub(super) fn save_streams(
        &self,
        label: &str,
        streams: Vec<Stream>,
    ) -> Result<Saved, BackupError> {
        let (source, faults) = Streams::new(streams);
        // A path of its own: who removes old snapshots of a group by its paths, as restic forget
        // does, must not take two parts for one.
        let root = format!("/{label}");
        let root = Path::new(&root);
        self.archive(PART, label, &source, &faults, (root, root), Parent::None)
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
        self.archive(PART, label, &source, &faults, (from, to), Parent::Latest)
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
            bytes: text.len() as u64,
            open: Box::new(move || Ok(Box::new(std::io::Cursor::new(text)))),
        };
        let (source, faults) = Streams::new(vec![stream]);
        let root = Path::new("/manifest");
        let id = &manifest.id;
        self.archive(MANIFEST, id, &source, &faults, (root, root), Parent::None)
    }

    fn snapshots(&self) -> Result<Vec<SnapshotFile>, BackupError> {
        self.inner
            .get_all_snapshots()
            .map_err(self.failed("listing backups"))
    }

    /// All backups that can be read, oldest first, with the snapshots that hold their manifests;
    /// and what is wrong with the others.
    pub(super) fn manifests(&self) -> Result<Manifests, BackupError> {
        let all = self.snapshots()?;
        let ids: std::collections::BTreeSet<String> = all
            .iter()
            .map(|one| one.id.to_hex().as_str().to_owned())
            .collect();
        let mut snapshots = all;
        snapshots.retain(|snapshot| snapshot.tags.contains(MANIFEST));
        if snapshots.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        snapshots.sort_by(|one, two| one.time.cmp(&two.time));
        let repository = self
            .again()?
            .to_indexed()
            .map_err(self.failed("reading the index"))?;
        let (mut found, mut wrong) = (Vec::new(), Vec::new());
        for snapshot in snapshots {
            match self.manifest(&repository, &snapshot, &ids) {
                Ok(manifest) => found.push((snapshot, manifest)),
                Err(cause) => wrong.push(format!("backup {}: {cause}", snapshot.label)),
            }
        }
        Ok((found, wrong))
    }

    fn manifest<S: IndexedFull>(
        &self,
        repository: &Rustic<S>,
        snapshot: &SnapshotFile,
        ids: &std::collections::BTreeSet<String>,
    ) -> Result<Manifest, String> {
        let text = self
            .read(repository, snapshot, MANIFEST_FILE, MANIFEST_BYTES)
            .map_err(|error| plain(&error.to_string()))?;
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        if manifest.version > VERSION {
            return Err(format!(
                "it was made by Lucid {}, which is newer than this one; update first",
                manifest.lucid
            ));
        }
        let gone = manifest
            .parts
            .iter()
            .find(|part| !ids.contains(&part.snapshot));
        match gone {
            Some(part) => Err(format!("its part {} is not there any more", part.name)),
            None => Ok(manifest),
        }
    }

    fn read<S: IndexedFull>(
        &self,
        repository: &Rustic<S>,
        snapshot: &SnapshotFile,
        path: &str,
        limit: usize,
    ) -> Result<Vec<u8>, BackupError> {
        let fault = self.failed("reading");
        let node = repository
            .node_from_path(snapshot.tree, Path::new(path))
            .map_err(&fault)?;
        if node.meta.size > limit as u64 {
            return Err(BackupError::Refused(format!("{path} is too long")));
        }
        let mut content = Vec::new();
        repository.dump(&node, &mut content).map_err(&fault)?;
        Ok(content)
    }

    /// Restores a part, or what lies under `below` in it, into the directory `to`, with owners as
    /// numbers. What is there already and equal is not written again, so that a restore that was
    /// cut off goes on where it ended.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn restore(
        &self,
        snapshot: &str,
        below: &str,
        to: &Path,
        dry_run: bool,
    ) -> Result<(u64, u64), BackupError> {
        // The library ends its threads by a panic when a pack is damaged or the disk is full.
        let restored = std::panic::catch_unwind(AssertUnwindSafe(|| {
            self.restore_or_panic(snapshot, below, to, dry_run)
        }));
        restored.unwrap_or_else(|panic| {
            // Damage is named by a check, which only looks.
            super::verify::verify(self, None)?;
            let said = panic.downcast_ref::<String>().map_or("", String::as_str);
            Err(BackupError::Repository {
                doing: "restoring",
                place: self.place.clone(),
                cause: in_short(said),
            })
        })
    }

    fn restore_or_panic(
        &self,
        snapshot: &str,
        below: &str,
        to: &Path,
        dry_run: bool,
    ) -> Result<(u64, u64), BackupError> {
        let fault = self.failed("restoring");
        let repository = self.again()?.to_indexed().map_err(&fault)?;
        let snapshot = repository
            .get_snapshot_from_str(snapshot, |_| true)
            .map_err(&fault)?;
        let nothing = snapshot.summary.as_ref().is_some_and(|summary| {
            summary.total_files_processed + summary.total_dirs_processed == 0
        });
        if nothing {
            // An empty one has no tree that could be named.
            if !dry_run {
                crate::fsx::create_dir(to, 0o700)?;
            }
            return Ok((0, 0));
        }
        let node = repository
            .node_from_snapshot_and_path(&snapshot, below)
            .map_err(&fault)?;
        let one_file = node.node_type != NodeType::Dir;
        let list = LsOptions::default();
        let destination =
            LocalDestination::new(&to.to_string_lossy(), true, one_file).map_err(&fault)?;
        let options = RestoreOptions::default()
            .numeric_id(true)
            .delete(true)
            .verify_existing(true);
        let entries = || repository.ls(&node, &list).map_err(&fault);
        let plan = repository
            .prepare_restore(&options, entries()?, &destination, dry_run)
            .map_err(&fault)?;
        let amount = (
            plan.stats.files.restore + plan.stats.files.modify,
            plan.restore_size,
        );
        if !dry_run {
            repository
                .restore(plan, &options, entries()?, &destination)
                .map_err(&fault)?;
            for entry in entries()? {
                let (path, node) = entry.map_err(&fault)?;
                // The library only warns of what it could not set.
                let path = if one_file {
                    to.to_path_buf()
                } else {
                    to.join(path)
                };
                same(&path, &node)?;
            }
        }
        Ok(amount)
    }

    /// Removes what is in no backup that is kept: backups beyond `keep`, and parts whose manifest
    /// never came. `within` is how many days every backup stays. Answers the backups removed.
    ///
    /// # Errors
    /// [`BackupError::Locked`], [`BackupError::Refused`] for an append-only repository.
    pub fn forget(&self, keep: &KeepOptions) -> Result<Vec<String>, BackupError> {
        if self.is_append_only() {
            return Err(BackupError::Refused(format!(
                "the repository {} is append-only: nothing is removed from it here. Remove what is \
                 old from a machine that may, with restic forget --group-by host,paths --prune",
                self.place
            )));
        }
        let _alone = self.claim(true)?;
        let fault = self.failed("removing old backups");
        let (manifests, wrong) = self.manifests()?;
        if let Some(wrong) = wrong.first() {
            return Err(BackupError::Refused(format!(
                "nothing is removed while a backup cannot be read: {wrong}; look with lucid backup \
                 verify"
            )));
        }
        let now = rustic_core::jiff::Zoned::now();
        let own: Vec<_> = manifests
            .iter()
            .filter(|(_, manifest)| manifest.host == self.host)
            // A clock that was ahead must not make every other backup an old one; these stay.
            .filter(|(snapshot, _)| snapshot.time <= now)
            .map(|(snapshot, _)| snapshot.clone())
            .collect();
        let judged = keep.apply(own, &now).map_err(&fault)?;
        let gone: Vec<SnapshotId> = judged
            .iter()
            .filter(|one| !one.keep)
            .map(|one| one.snapshot.id)
            .collect();
        let needed: std::collections::BTreeSet<&str> = manifests
            .iter()
            .filter(|(snapshot, _)| !gone.contains(&snapshot.id))
            .flat_map(|(_, manifest)| manifest.parts.iter().map(|part| part.snapshot.as_str()))
            .collect();
        // Nobody else's: other hosts' parts belong to backups that may be under way.
        let parts: Vec<SnapshotId> = self
            .snapshots()?
            .iter()
            .filter(|one| one.tags.contains(PART) && one.hostname == self.host)
            .filter(|one| !needed.contains(one.id.to_hex().as_str()))
            .map(|one| one.id)
            .collect();
        // Manifests first: a backup without one is none, and its parts go the next time.
        for removed in [&gone, &parts] {
            if !removed.is_empty() {
                self.inner.delete_snapshots(removed).map_err(&fault)?;
            }
        }
        let options = PruneOptions::default().instant_delete(true);
        let repository = self.again()?;
        let plan = repository.prune_plan(&options).map_err(&fault)?;
        repository.prune(&options, plan).map_err(&fault)?;
        Ok(manifests
            .iter()
            .filter(|(snapshot, _)| gone.contains(&snapshot.id))
            .map(|(_, manifest)| manifest.id.clone())
            .collect())
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

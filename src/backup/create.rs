//! Makes a backup: every part, then the manifest, then a check of the repository.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::manifest::{Collection, EngineVersion, Facts, Manifest, Moment, Part, Tip, VERSION};
use super::pace::Pace;
use super::repository::{Repository, Saved};
use super::request::{Answer, Create, Files, Store};
use super::search::Search;
use super::{BackupError, cache, document, search, verify};
use crate::config::Role;
use crate::fsx::FsError;

/// Makes the backup that `wanted` describes. A part that fails keeps the backup from being there;
/// what was written for it is found again by the next one.
///
/// # Errors
/// [`BackupError`].
pub(super) fn create(
    repository: &Repository,
    wanted: &Create,
    host: &str,
    runtime: &tokio::runtime::Handle,
    phase: &dyn Fn(&str),
) -> Result<Answer, BackupError> {
    let mut manifest = Manifest {
        version: VERSION,
        id: wanted.id.clone(),
        taken: wanted.taken.clone(),
        host: host.to_owned(),
        lucid: env!("CARGO_PKG_VERSION").to_owned(),
        engines: wanted
            .stores
            .iter()
            .map(engine_of)
            .collect::<BTreeMap<_, _>>(),
        parts: Vec::new(),
    };
    let pace = Pace::watch(&wanted.stores, wanted.rest, runtime);
    let mut making = Making {
        repository,
        wanted,
        host,
        runtime,
        save: Save::begin(&wanted.stores, &pace, runtime),
        pace,
    };
    {
        let _beside_others = repository.claim(false)?;
        for store in &wanted.stores {
            phase(&format!("backing up {}", store.role));
            manifest.parts.push(making.part(store)?);
        }
        for files in &wanted.files {
            phase(&format!("backing up {}", files.part));
            manifest.parts.push(directory(repository, files)?);
        }
        repository.save_manifest(&manifest)?;
    }
    phase("checking the repository");
    // A backup counts as good only after it was read back.
    let checked = verify::verify(repository, wanted.share)?;
    Ok(Answer::Created { manifest, checked })
}

fn engine_of(store: &Store) -> (String, EngineVersion) {
    let version = EngineVersion {
        engine: store.engine.name().to_owned(),
        version: store.version.text.clone(),
    };
    (store.role.name().to_owned(), version)
}

fn made(name: &str, saved: Saved, began: Instant, facts: Facts) -> Part {
    Part {
        name: name.to_owned(),
        snapshot: saved.snapshot,
        bytes: saved.bytes,
        added: saved.added,
        seconds: began.elapsed().as_secs_f64(),
        facts,
    }
}

/// A backup on its way.
struct Making<'a> {
    repository: &'a Repository,
    wanted: &'a Create,
    host: &'a str,
    runtime: &'a tokio::runtime::Handle,
    save: Save,
    pace: Arc<Pace>,
}

impl Making<'_> {
    fn part(&mut self, store: &Store) -> Result<Part, BackupError> {
        let began = Instant::now();
        let (name, (saved, facts)) = match store.role {
            Role::Document => (document::PART, self.document(store)?),
            Role::Cache => (cache::PART, self.cache()?),
            Role::Search => (search::PART, self.search(store)?),
        };
        Ok(made(name, saved, began, facts))
    }

    fn document(&self, store: &Store) -> Result<(Saved, Facts), BackupError> {
        let scratch = &self.wanted.scratch;
        super::scratch::passable(scratch)?;
        let last = last_dump(self.repository, self.host)?;
        let base = last
            .as_ref()
            .map(|last| base_of(self.repository, last, scratch))
            .transpose()?;
        let what = document::Wanted {
            address: store.address,
            credentials: store.credentials.clone(),
            lengths: self.repository.is_append_only(),
        };
        let mut dump = document::Dump::begin(what, Arc::clone(&self.pace), base)?;
        let last = last.as_ref().map(|last| last.snapshot.as_str());
        let streams = dump.streams()?;
        let saved = self
            .repository
            .save_streams(document::PART, streams, last)?;
        let (users, roles) = dump.accounts();
        let facts = Facts::Document {
            users,
            roles,
            collections: dump.collections()?,
            moment: dump.moment,
            log_from: dump.log_from,
            tip: dump.tip.clone(),
        };
        Ok((saved, facts))
    }

    fn cache(&mut self) -> Result<(Saved, Facts), BackupError> {
        let mut held = self.runtime.block_on(self.save.end())?;
        let streams = vec![held.stream()?];
        let saved = self.repository.save_streams(cache::PART, streams, None)?;
        Ok((saved, held.facts()))
    }

    fn search(&self, store: &Store) -> Result<(Saved, Facts), BackupError> {
        let engine = Search::new(store.address, &store.credentials.supervisor)?;
        let capture = engine.capture(&store.volume, &self.wanted.id);
        let (from, snapshot, indices) = self.runtime.block_on(capture)?;
        let to = Path::new(search::DIR);
        let saved = self.repository.save_directory(search::PART, &from, to)?;
        Ok((saved, Facts::Search { snapshot, indices }))
    }
}

/// The cache's save: the engine writes its file while other parts are read, unless clients are at
/// work; then only when it is the cache's turn.
struct Save {
    task: JoinSet<Result<cache::Held, BackupError>>,
    turn: Arc<Notify>,
}

impl Save {
    fn begin(stores: &[Store], pace: &Arc<Pace>, runtime: &tokio::runtime::Handle) -> Self {
        let turn = Arc::new(Notify::new());
        let mut task = JoinSet::new();
        if let Some(store) = stores.iter().find(|store| store.role == Role::Cache) {
            let (store, pace, turn) = (store.clone(), Arc::clone(pace), Arc::clone(&turn));
            let save = async move {
                tokio::select! {
                    () = pace.calm() => {}
                    () = turn.notified() => {}
                }
                drop(pace);
                let login = &store.credentials.supervisor;
                cache::capture(store.address, login, &store.volume, &store.program).await
            };
            task.spawn_on(save, runtime);
        }
        Self { task, turn }
    }

    async fn end(&mut self) -> Result<cache::Held, BackupError> {
        self.turn.notify_one();
        let ended = self.task.join_next().await.and_then(Result::ok);
        ended.ok_or_else(|| BackupError::Capture {
            part: cache::PART.to_owned(),
            cause: "its save was ended; try again".to_owned(),
        })?
    }
}

/// The last dump of this appliance's documents.
struct Last {
    snapshot: String,
    collections: Vec<Collection>,
    moment: Moment,
    tip: Option<Tip>,
}

fn last_dump(repository: &Repository, host: &str) -> Result<Option<Last>, BackupError> {
    let (found, _) = repository.manifests()?;
    let dumps = found
        .into_iter()
        .filter(|(_, one)| one.host == host)
        .filter_map(|(_, one)| {
            let part = one.part(document::PART)?.clone();
            let Facts::Document {
                collections,
                moment: Some(moment),
                tip,
                ..
            } = part.facts
            else {
                return None;
            };
            Some(Last {
                snapshot: part.snapshot,
                collections,
                moment,
                tip,
            })
        });
    Ok(dumps.max_by_key(|last| last.moment.before))
}

/// What the next dump builds on.
fn base_of(
    repository: &Repository,
    last: &Last,
    scratch: &Path,
) -> Result<document::Base, BackupError> {
    let mut otherwise = document::Names::default();
    if last.collections.iter().any(|one| one.difference.is_some()) {
        let path = format!("{}/{}", document::DUMP, document::DIFFERENCE);
        let to = scratch.join("last-difference");
        repository.restore(&last.snapshot, &path, &to, false)?;
        otherwise = document::names(&to)?;
        std::fs::remove_file(&to).map_err(FsError::wrap("remove", &to))?;
    }
    Ok(document::Base {
        before: document::Before {
            collections: last.collections.clone(),
            otherwise,
            now: jiff::Timestamp::now(),
        },
        log: document::Log {
            since: last.moment.before,
            tip: last.tip.clone(),
            spool: scratch.join("oplog"),
        },
        difference: scratch.join("difference"),
    })
}

fn directory(repository: &Repository, files: &Files) -> Result<Part, BackupError> {
    let began = Instant::now();
    let to = std::path::PathBuf::from(format!("/{}", files.part.replace(':', "/")));
    let saved = repository.save_directory(&files.part, &files.path, &to)?;
    let meta = std::fs::metadata(&files.path).map_err(FsError::wrap("look at", &files.path))?;
    let facts = Facts::Files {
        owner: Some((meta.mode() & 0o7777, meta.uid(), meta.gid())),
        files: saved.files,
        volume: files.volume.clone(),
        quota: files.quota,
    };
    Ok(made(&files.part, saved, began, facts))
}

//! Makes a datastore's data anew out of a backup, with a scratch engine of the same kind.

use std::path::Path;
use std::time::Duration;

use redis::cmd;
use tokio::time::{Instant, sleep};

use super::manifest::{Collection, Facts, Manifest};
use super::repository::Repository;
use super::request::{Store, Target};
use super::scratch::{Scratch, give};
use super::search::Search;
use super::{BackupError, cache, document, search};
use crate::config::Role;
use crate::fsx::{self, FsError};

/// For the cache to write its append-only file.
const REWRITE: Duration = Duration::from_secs(1800);
const POLL: Duration = Duration::from_millis(100);
/// Where the search engine's repository lies in its volume while it is restored from.
const SEARCH_FROM: &str = "snapshots/lucid-backup";

/// Nothing is evicted, whatever the memory of the appliance; and with an append-only file switched on
/// an engine that finds none starts empty.
const CACHE: &[&str] = &[
    "--appendonly",
    "no",
    "--maxmemory",
    "0",
    "--maxmemory-policy",
    "noeviction",
];

/// Name of the part that a datastore's backup is.
pub(super) const fn part_of(role: Role) -> &'static str {
    match role {
        Role::Document => document::PART,
        Role::Cache => cache::PART,
        Role::Search => search::PART,
    }
}

/// What a backup says of a datastore.
pub(super) fn facts_of(manifest: &Manifest, role: Role) -> Result<(&str, &Facts), BackupError> {
    let part = manifest.part(part_of(role)).ok_or_else(|| {
        BackupError::Refused(format!("backup {} has nothing of {role}", manifest.id))
    })?;
    Ok((&part.snapshot, &part.facts))
}

/// That this backup can be put into this engine.
fn fits(manifest: &Manifest, store: &Store) -> Result<(), BackupError> {
    let Some(then) = manifest.engines.get(store.role.name()) else {
        return Ok(());
    };
    let now = store.engine.name();
    if store.engine == crate::config::EngineKind::Mongod {
        return Err(BackupError::Refused(format!(
            "a restore into mongod is not made by Lucid: get the dump with `restic restore {} \
             --target DIR`, and load it with `mongorestore --oplogReplay DIR{}`",
            manifest
                .part(document::PART)
                .map_or("latest", |part| &part.snapshot),
            document::DUMP
        )));
    }
    let foreign = match store.role {
        // A dump goes into either.
        Role::Document => false,
        // Files of these are read by the same engine alone.
        Role::Cache | Role::Search => then.engine != now,
    };
    if foreign {
        return Err(BackupError::Refused(format!(
            "the backup of {} was made by {} {}, which {now} does not read: set \
             datastore.{}.engine = \"{}\" for the restore",
            store.role, then.engine, then.version, store.role, then.engine
        )));
    }
    if store.role == Role::Cache {
        let major = |text: &str| text.split('.').next().and_then(|n| n.parse::<u32>().ok());
        let newer = major(&then.version).is_some_and(|then| then > store.version.number.0);
        if newer {
            return Err(BackupError::Refused(format!(
                "the backup of {} was made by {} {}; the {now} {} here is older and does not read \
                 it: install {} or newer",
                store.role, then.engine, then.version, store.version.text, then.version
            )));
        }
    }
    Ok(())
}

/// A datastore that was made anew.
pub(super) struct Rebuilt {
    /// Its engine, which runs.
    pub(super) engine: Scratch,
    /// Every collection as it was put in; none where it is no document store.
    pub(super) documents: Vec<Collection>,
    /// Its accounts.
    pub(super) accounts: document::Made,
}

impl From<Scratch> for Rebuilt {
    fn from(engine: Scratch) -> Self {
        Self {
            engine,
            documents: Vec::new(),
            accounts: document::Made::default(),
        }
    }
}

/// Puts the datastore of a backup into the directory of `target` and leaves its engine running
/// there. What is on the way lies in `scratch`.
pub(super) async fn rebuild(
    repository: &Repository,
    manifest: &Manifest,
    target: &Target,
    scratch: &Path,
    phase: &dyn Fn(&str),
) -> Result<Rebuilt, BackupError> {
    let store = &target.store;
    fits(manifest, store)?;
    let (snapshot, facts) = facts_of(manifest, store.role)?;
    let conf = scratch.join(format!("{}-conf", store.role));
    match facts {
        Facts::Document {
            collections,
            users,
            roles,
            ..
        } => {
            let dump = scratch.join("dump");
            phase("fetching the dump of the document store");
            if collections.is_empty() && users + roles == 0 {
                fsx::create_dir(&dump, 0o700)?;
            } else {
                repository.restore(snapshot, document::DUMP, &dump, false)?;
            }
            phase("loading the document store");
            let engine = Scratch::start(store, &target.data, &conf, &[]).await?;
            let client = document::connect(engine.address, &store.credentials.supervisor)?;
            let meter = repository.meter().clone();
            let everything = |db: &str, name: &str| Some((db.to_owned(), name.to_owned()));
            let mut progress = |bytes| meter.add(bytes);
            let documents =
                document::load(&client, &dump, collections, &everything, &mut progress).await?;
            client.shutdown().await;
            let accounts = document::Accounts::of_dump(&dump, *users, *roles)?;
            let accounts = accounts.load(engine.address, &store.credentials).await?;
            remove(&dump)?;
            Ok(Rebuilt {
                engine,
                documents,
                accounts,
            })
        }
        Facts::Cache { keys, sha256 } => {
            phase("fetching the file of the cache");
            let to = &target.data;
            repository.restore(snapshot, "/cache", to, false)?;
            let file = to.join("dump.rdb");
            if cache::hash(&file)? != *sha256 {
                return Err(BackupError::Refused(format!(
                    "{} is not what was backed up",
                    file.display()
                )));
            }
            cache::check(&store.program, &file)?;
            phase("loading the cache");
            // With it, an engine that finds no append-only file starts empty.
            let engine = Scratch::start(store, to, &conf, CACHE).await?;
            let loaded = loaded_all(&engine, store, *keys).await?;
            append_only_again(&engine, store).await?;
            kept_all(&engine, store, loaded).await?;
            Ok(engine.into())
        }
        Facts::Search {
            snapshot: name,
            indices,
        } => {
            phase("fetching the snapshot of the search engine");
            let from = target.data.join(SEARCH_FROM);
            fsx::create_dir(&from, 0o700)?;
            repository.restore(snapshot, search::DIR, &from, false)?;
            phase("restoring the search engine");
            let engine = Scratch::start(store, &target.data, &conf, &[]).await?;
            let client = Search::new(engine.address, &store.credentials.supervisor)?;
            client.register(search::REPOSITORY, false).await?;
            if !indices.is_empty() {
                let all: Vec<_> = indices.keys().map(String::as_str).collect();
                client.restore(name, &all.join(","), None).await?;
            }
            Ok(engine.into())
        }
        Facts::Files { .. } => Err(BackupError::Refused(format!(
            "backup {} has files where {} should be",
            manifest.id, store.role
        ))),
    }
}

/// Every key of the file was read, or its time was over.
async fn loaded_all(engine: &Scratch, store: &Store, keys: u64) -> Result<u64, BackupError> {
    let login = &store.credentials.supervisor;
    let mut connection = cache::connect(engine.address, login, 0).await?;
    let info = cache::info(&mut connection, "persistence").await?;
    let number = |key: &str| {
        info.get(key)
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let (loaded, expired) = (
        number("rdb_last_load_keys_loaded"),
        number("rdb_last_load_keys_expired"),
    );
    if loaded + expired == keys {
        return Ok(loaded);
    }
    Err(BackupError::Refused(format!(
        "the cache read {loaded} keys and found {expired} whose time was over, of {keys} that were \
         backed up"
    )))
}

/// Every key that was loaded is there still, or its time was over since.
async fn kept_all(engine: &Scratch, store: &Store, loaded: u64) -> Result<(), BackupError> {
    let login = &store.credentials.supervisor;
    let mut connection = cache::connect(engine.address, login, 0).await?;
    let stats = cache::info(&mut connection, "stats").await?;
    let number = |key: &str| {
        stats
            .get(key)
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let (evicted, expired) = (number("evicted_keys"), number("expired_keys"));
    let spaces = cache::info(&mut connection, "keyspace").await?;
    // `db0:keys=3,expires=1,avg_ttl=0`
    let there: u64 = spaces
        .values()
        .filter_map(|value| {
            value
                .strip_prefix("keys=")?
                .split(',')
                .next()?
                .parse::<u64>()
                .ok()
        })
        .sum();
    if evicted == 0 && there + expired >= loaded {
        return Ok(());
    }
    Err(BackupError::Refused(format!(
        "the cache holds {there} of {loaded} keys that it read: {expired} were over, {evicted} were \
         evicted"
    )))
}

/// Switches the append-only file on again, and waits until it holds everything.
async fn append_only_again(engine: &Scratch, store: &Store) -> Result<(), BackupError> {
    let login = &store.credentials.supervisor;
    let mut connection = cache::connect(engine.address, login, 0).await?;
    let failed = |error: redis::RedisError| BackupError::Refused(format!("the cache: {error}"));
    let () = cmd("CONFIG")
        .arg("SET")
        .arg("appendonly")
        .arg("yes")
        .query_async(&mut connection)
        .await
        .map_err(failed)?;
    let until = Instant::now() + REWRITE;
    loop {
        let info = cache::info(&mut connection, "persistence").await?;
        let is = |key: &str, value: &str| info.get(key).is_some_and(|found| found == value);
        let done = is("aof_rewrite_in_progress", "0") && is("aof_rewrite_scheduled", "0");
        if done && is("aof_enabled", "1") {
            return if is("aof_last_bgrewrite_status", "ok") {
                Ok(())
            } else {
                Err(BackupError::Refused(
                    "the cache could not write its append-only file: is the disk full?".to_owned(),
                ))
            };
        }
        if Instant::now() > until {
            return Err(BackupError::Refused(
                "the cache does not finish its append-only file".to_owned(),
            ));
        }
        sleep(POLL).await;
    }
}

/// Makes the rebuilt directory ready to be a volume: durable, and its engine's own.
pub(super) fn finish(target: &Target) -> Result<(), BackupError> {
    give(&target.data, target.store.run_as)?;
    Ok(fsx::sync_fs(&target.data)?)
}

/// Removes a directory of ours.
pub(super) fn remove(path: &Path) -> Result<(), BackupError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FsError::wrap("remove", path)(error).into())
        }
        _ => Ok(()),
    }
}

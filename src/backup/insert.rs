//! Puts a piece of a backup into a running engine: a collection, an index, keys.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cmd;
use reqwest::Method;
use serde_json::json;

use super::compare::same_collections;
use super::manifest::{Facts, Manifest};
use super::rebuild::{facts_of, rebuild};
use super::repository::Repository;
use super::request::{Answer, Insert, Target, What};
use super::search::Search;
use super::{BackupError, cache, document, search};
use crate::fsx;

/// Logical databases of the cache (`engine/redis_config.rs`).
const DATABASES: i64 = 16;
/// Keys asked for at once.
const SCAN: u64 = 500;
const LIMIT: Duration = Duration::from_secs(3600);

/// Puts it in. Nothing that is there is changed, but for keys, which take the place of those of the
/// same name.
pub(super) fn insert(
    repository: &Repository,
    manifest: &Manifest,
    wanted: &Insert,
    runtime: &tokio::runtime::Handle,
    phase: &dyn Fn(&str),
) -> Result<Answer, BackupError> {
    super::scratch::passable(&wanted.scratch)?;
    let message = match &wanted.what {
        What::Collection { db, name, to } => {
            collection(repository, manifest, wanted, (db, name), to, runtime, phase)
        }
        What::Index { name, to } => {
            runtime.block_on(index(repository, manifest, wanted, name, to, phase))
        }
        What::Keys { prefix } => {
            runtime.block_on(keys(repository, manifest, wanted, prefix, phase))
        }
    }?;
    Ok(Answer::Inserted { message })
}

fn collection(
    repository: &Repository,
    manifest: &Manifest,
    wanted: &Insert,
    (db, name): (&str, &str),
    to: &(String, String),
    runtime: &tokio::runtime::Handle,
    phase: &dyn Fn(&str),
) -> Result<String, BackupError> {
    let (snapshot, facts) = facts_of(manifest, wanted.store.role)?;
    let Facts::Document { collections, .. } = facts else {
        return Err(BackupError::Refused(
            "the backup has no documents".to_owned(),
        ));
    };
    let known = collections
        .iter()
        .find(|one| one.db == db && one.name == name);
    let known = known.ok_or_else(|| {
        BackupError::Refused(format!(
            "backup {} has no collection {db}.{name}",
            manifest.id
        ))
    })?;
    phase("fetching the dump");
    let dump = wanted.scratch.join("dump");
    let below = format!("{}/{db}", document::DUMP);
    repository.restore(snapshot, &below, &dump.join(db), false)?;
    if known.difference.is_some() {
        let difference = format!("{}/{}", document::DUMP, document::DIFFERENCE);
        let to = dump.join(document::DIFFERENCE);
        repository.restore(snapshot, &difference, &to, false)?;
    }
    phase("putting the collection in");
    let meter = repository.meter().clone();
    let loaded = runtime.block_on(async {
        let client = document::connect(wanted.store.address, &wanted.store.credentials.supervisor)?;
        let here = document::list(&client).await?;
        if here.iter().any(|one| one.db == to.0 && one.name == to.1) {
            return Err(BackupError::Refused(format!(
                "{}.{} is there already; give another name with --as",
                to.0, to.1
            )));
        }
        let only = |from_db: &str, from_name: &str| {
            (from_db == db && from_name == name).then(|| to.clone())
        };
        let mut progress = |bytes| meter.add(bytes);
        let loaded = document::load(&client, &dump, collections, &only, &mut progress).await;
        if loaded.is_err() {
            // It was not there before: half of it is of no use to anybody.
            let half = client.database(&to.0).collection::<bson::Document>(&to.1);
            if let Err(error) = half.drop().await {
                tracing::error!("{}.{}: {error}; drop it", to.0, to.1);
            }
        }
        loaded
    })?;
    let missing = || BackupError::Refused(format!("{db}.{name} is not in the dump"));
    let put = loaded.first().ok_or_else(missing)?;
    phase("comparing");
    let login = &wanted.store.credentials.supervisor;
    let contents = document::contents(wanted.store.address, login, Some(to));
    let found = runtime.block_on(contents)?;
    let compared = same_collections(std::slice::from_ref(put), &found);
    let compared = compared.map_err(|wrong| {
        BackupError::Refused(format!(
            "{wrong}: drop {}.{}, and run lucid backup verify",
            to.0, to.1
        ))
    })?;
    let expired: String = compared
        .iter()
        .skip(1)
        .fold(String::new(), |all, one| all + "; " + one);
    Ok(format!(
        "{db}.{name} of {} is {}.{} now: {} documents, content hash equal{expired}",
        manifest.taken, to.0, to.1, put.count
    ))
}

async fn index(
    repository: &Repository,
    manifest: &Manifest,
    wanted: &Insert,
    name: &str,
    to: &str,
    phase: &dyn Fn(&str),
) -> Result<String, BackupError> {
    let (snapshot, facts) = facts_of(manifest, wanted.store.role)?;
    let Facts::Search {
        snapshot: taken,
        indices,
    } = facts
    else {
        return Err(BackupError::Refused("the backup has no indices".to_owned()));
    };
    let count = indices.get(name).ok_or_else(|| {
        BackupError::Refused(format!("backup {} has no index {name}", manifest.id))
    })?;
    let engine = Search::new(wanted.store.address, &wanted.store.credentials.supervisor)?;
    if engine.counts().await?.contains_key(to) {
        return Err(BackupError::Refused(format!(
            "index {to} is there already; give another name with --as"
        )));
    }
    phase("fetching the snapshot of the search engine");
    let place = "lucid-restore";
    let from = wanted.store.volume.join("snapshots").join(place);
    // Of a restore that was cut off.
    super::rebuild::remove(&from)?;
    fsx::create_dir(&from, 0o700)?;
    repository.restore(snapshot, search::DIR, &from, false)?;
    super::scratch::give(&from, wanted.store.run_as)?;
    phase("restoring the index");
    let done = async {
        let path = format!("_snapshot/{place}");
        let settings = json!({
            "type": "fs", "settings": { "location": place, "readonly": true },
        });
        engine
            .call(Method::PUT, &path, Some(&settings), LIMIT)
            .await?;
        let what = json!({
            "indices": name, "include_global_state": false,
            "rename_pattern": "(.+)", "rename_replacement": to,
        });
        let restore = format!("{path}/{taken}/_restore?wait_for_completion=true");
        let restored = engine
            .call(Method::POST, &restore, Some(&what), LIMIT)
            .await;
        engine.call(Method::DELETE, &path, None, LIMIT).await?;
        restored
    }
    .await;
    super::rebuild::remove(&from)?;
    done?;
    let now = engine.counts().await?.get(to).copied();
    if let Some(now) = now.filter(|now| (count[0]..=count[1]).contains(now)) {
        Ok(format!(
            "index {name} of {} is {to} now: {now} documents",
            manifest.taken
        ))
    } else {
        Err(BackupError::Refused(format!(
            "index {to} has {now:?} documents, {} to {} were backed up: compare before it is used",
            count[0], count[1]
        )))
    }
}

async fn keys(
    repository: &Repository,
    manifest: &Manifest,
    wanted: &Insert,
    prefix: &str,
    phase: &dyn Fn(&str),
) -> Result<String, BackupError> {
    if prefix.is_empty() {
        return Err(BackupError::Refused(
            "an empty prefix means every key: restore the whole cache instead".to_owned(),
        ));
    }
    let target = Target {
        store: wanted.store.clone(),
        data: wanted.scratch.join("cache"),
    };
    let engine = rebuild(repository, manifest, &target, &wanted.scratch, phase)
        .await?
        .engine;
    phase("putting the keys in");
    let login = &wanted.store.credentials.supervisor;
    let mut put = BTreeMap::new();
    for db in 0..DATABASES {
        let mut from = cache::connect(engine.address, login, db).await?;
        let mut to = cache::connect(wanted.store.address, login, db).await?;
        let count = copy(&mut from, &mut to, prefix).await?;
        if count > 0 {
            put.insert(db, count);
        }
    }
    engine.stop().await?;
    let all: u64 = put.values().sum();
    if all == 0 {
        return Err(BackupError::Refused(format!(
            "backup {} has no key that begins with {prefix:?}",
            manifest.id
        )));
    }
    Ok(format!(
        "{all} keys that begin with {prefix:?} are as of {}",
        manifest.taken
    ))
}

/// Copies by DUMP and RESTORE: value, type and time to live stay.
async fn copy(
    from: &mut MultiplexedConnection,
    to: &mut MultiplexedConnection,
    prefix: &str,
) -> Result<u64, BackupError> {
    let failed = |error: redis::RedisError| BackupError::Refused(format!("the cache: {error}"));
    let pattern = format!("{}*", escaped(prefix));
    let (mut cursor, mut count) = (0_u64, 0);
    loop {
        let (next, keys): (u64, Vec<Vec<u8>>) = cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(&pattern)
            .arg("COUNT")
            .arg(SCAN)
            .query_async(from)
            .await
            .map_err(failed)?;
        for key in keys {
            let value: Option<Vec<u8>> = cmd("DUMP")
                .arg(&key)
                .query_async(from)
                .await
                .map_err(failed)?;
            let left: i64 = cmd("PTTL")
                .arg(&key)
                .query_async(from)
                .await
                .map_err(failed)?;
            // Its time was over in between.
            let (Some(value), true) = (value, left != -2) else {
                continue;
            };
            let () = cmd("RESTORE")
                .arg(&key)
                .arg(left.max(0))
                .arg(value)
                .arg("REPLACE")
                .query_async(to)
                .await
                .map_err(failed)?;
            count += 1;
        }
        cursor = next;
        if cursor == 0 {
            return Ok(count);
        }
    }
}

/// A prefix as it stands, in a pattern of the engine.
fn escaped(prefix: &str) -> String {
    let mut text = String::new();
    for letter in prefix.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_means_itself_in_a_pattern() {
        assert_eq!(escaped("lucid:user:*"), r"lucid:user:\*");
        assert_eq!(escaped(r"a[b]\c?"), r"a\[b\]\\c\?");
    }
}

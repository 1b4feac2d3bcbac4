//! The state that a dump is of: a transaction, its moment, and the log since the last one.

use std::io::{self, Write};
use std::path::PathBuf;

use mongodb::ClientSession;
use mongodb::bson::{RawDocumentBuf, Timestamp, doc};
use mongodb::options::ReadConcern;

use super::namespaces::OWN;
use super::noted::Noted;
use super::read::CHUNK;
use super::unchanged::tip_of;
use super::{Listed, failed, list};
use crate::backup::BackupError;
use crate::backup::manifest::{Moment, Tip};
use crate::fsx::FsError;

/// How often a state is tried to be pinned.
const PINS: u32 = 10;

/// The store's log since a moment, and where it is put meanwhile: entries may be dropped at any time.
#[derive(Debug)]
pub(in crate::backup) struct Log {
    pub(in crate::backup) since: (u32, u32),
    /// Its last note then.
    pub(in crate::backup) tip: Option<Tip>,
    pub(in crate::backup) spool: PathBuf,
}

/// The log as it was copied; it is removed with this.
#[derive(Debug)]
pub(super) struct Spool {
    pub(super) since: (u32, u32),
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A transaction whose state is pinned, and what is in it: collections that were made, renamed or
/// dropped between the list and the pin would be missed.
pub(super) async fn pinned(
    client: &mongodb::Client,
) -> Result<(ClientSession, Vec<Listed>, Option<Moment>), BackupError> {
    let mut listed = list(client).await?;
    for _ in 0..PINS {
        let before = time(client).await?;
        let mut session = client
            .start_session()
            .await
            .map_err(|error| failed(&error))?;
        session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .await
            .map_err(|error| failed(&error))?;
        touch(client, &mut session)
            .await
            .map_err(|error| failed(&error))?;
        let now = list(client).await?;
        let same =
            now.len() == listed.len() && now.iter().zip(&listed).all(|(one, two)| one.is_same(two));
        if same {
            let after = time(client).await?;
            let moment = before
                .zip(after)
                .map(|(before, after)| Moment { before, after });
            return Ok((session, now, moment));
        }
        let _ = session.abort_transaction().await;
        listed = now;
    }
    Err(BackupError::Capture {
        part: super::PART.to_owned(),
        cause: "collections are made and dropped all the time; try again when that is over"
            .to_owned(),
    })
}

/// The time of the store's log now; absent where it keeps none.
async fn time(client: &mongodb::Client) -> Result<Option<(u32, u32)>, BackupError> {
    let answer = client
        .database("admin")
        .run_command(doc! { "ping": 1 })
        .await;
    let answer = answer.map_err(|error| failed(&error))?;
    let time = answer.get_timestamp("operationTime").ok();
    Ok(time.map(|time| (time.time, time.increment)))
}

/// The last note of the store's log before `moment`; absent where it keeps none.
pub(super) async fn tip(
    client: &mongodb::Client,
    moment: Moment,
) -> Result<Option<Tip>, BackupError> {
    let last = oplog(client)
        .find_one(doc! { "ts": { "$lte": stamp(moment.before) } })
        .sort(doc! { "ts": -1 })
        .await
        .map_err(|error| failed(&error))?;
    Ok(last.and_then(|entry| tip_of(&entry)))
}

fn oplog(client: &mongodb::Client) -> mongodb::Collection<RawDocumentBuf> {
    client.database("local").collection("oplog.rs")
}

fn stamp((time, increment): (u32, u32)) -> Timestamp {
    Timestamp { time, increment }
}

/// What the store's log says since the last backup.
pub(super) struct Since {
    /// Its entries.
    pub(super) log: Spool,
    /// What they name, up to the moment after which nothing is in the dump.
    pub(super) noted: Noted,
    /// The last one that is in the dump.
    pub(super) tip: Tip,
}

/// Copies the log from the last backup's moment to this one's. Nothing where it does not reach back
/// so far any more, or is another one: where the last note of then is not in it.
///
/// A store may go through its whole log for every question, however small: there are two.
pub(super) async fn since(
    client: &mongodb::Client,
    log: Log,
    moment: Moment,
) -> Result<Option<Since>, BackupError> {
    let Some(known) = log.tip else {
        return Ok(None);
    };
    let oplog = oplog(client);
    // Nothing is between that note and the moment which it was the last one of.
    let range = doc! { "ts": { "$gte": stamp(known.time), "$lte": stamp(moment.after) } };
    let mut cursor = oplog
        .find(range)
        .sort(doc! { "ts": 1 })
        .await
        .map_err(|error| failed(&error))?;
    let mut spool = Spool {
        since: log.since,
        path: log.spool,
        bytes: 0,
    };
    let wrap = || FsError::wrap("write", &spool.path);
    let file = std::fs::File::create(&spool.path).map_err(wrap())?;
    let mut file = io::BufWriter::with_capacity(CHUNK, file);
    let mut noted = Noted::default();
    let (mut is_same, mut last) = (false, None);
    while cursor.advance().await.map_err(|error| failed(&error))? {
        let entry = cursor.current();
        if !is_same {
            if tip_of(entry).as_ref() != Some(&known) {
                return Ok(None);
            }
            is_same = true;
            continue;
        }
        let time = entry.get_timestamp("ts").ok();
        if time.is_some_and(|time| time <= stamp(log.since)) {
            continue;
        }
        noted.note(entry);
        if time.is_some_and(|time| time > stamp(moment.before)) {
            continue;
        }
        last = Some(entry.to_owned());
        let own = entry
            .get_str("ns")
            .is_ok_and(|ns| OWN.contains(&ns.split('.').next().unwrap_or_default()));
        if !own {
            file.write_all(entry.as_bytes()).map_err(wrap())?;
            spool.bytes += entry.as_bytes().len() as u64;
        }
    }
    file.flush().map_err(wrap())?;
    drop(file);
    // Entries go in their order: while the first is there, none that was read after it was missed.
    let then = oplog.find_one(doc! { "ts": stamp(known.time) }).await;
    let then = then.map_err(|error| failed(&error))?;
    if !is_same || then.and_then(|entry| tip_of(&entry)).as_ref() != Some(&known) {
        return Ok(None);
    }
    Ok(Some(Since {
        tip: last.and_then(|entry| tip_of(&entry)).unwrap_or(known),
        log: spool,
        noted,
    }))
}

/// A read of nothing: it pins the state of a transaction, and keeps one from being given up. Engines
/// end transactions that are idle for a minute.
pub(super) async fn touch(
    client: &mongodb::Client,
    session: &mut ClientSession,
) -> mongodb::error::Result<()> {
    let probes = client
        .database(crate::engine::HEALTH_DATABASE)
        .collection::<RawDocumentBuf>("probes");
    let nothing = doc! { "_id": "no such probe" };
    probes.find_one(nothing).session(session).await.map(drop)
}

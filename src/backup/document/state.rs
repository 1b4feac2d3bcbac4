//! The state that a dump is of: a transaction, its moment, and the log since the last one.

use std::io::{self, Write};
use std::path::PathBuf;

use mongodb::ClientSession;
use mongodb::bson::{RawDocumentBuf, Timestamp, doc};
use mongodb::options::ReadConcern;

use super::namespaces::OWN;
use super::{Listed, failed, list};
use crate::backup::BackupError;
use crate::backup::manifest::Moment;
use crate::fsx::FsError;

/// Written at once.
const CHUNK: usize = 256 << 10;
/// How often a state is tried to be pinned.
const PINS: u32 = 10;

/// The store's log since a moment, and where it is put meanwhile: entries may be dropped at any time.
#[derive(Debug)]
pub(in crate::backup) struct Log {
    pub(in crate::backup) since: (u32, u32),
    pub(in crate::backup) spool: PathBuf,
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

/// Copies the log from the last backup's moment to this one's. Nothing where it does not reach back so
/// far any more.
pub(super) async fn spool(
    client: &mongodb::Client,
    log: Log,
    moment: Moment,
) -> Result<Option<(Log, u64)>, BackupError> {
    let oplog = client
        .database("local")
        .collection::<RawDocumentBuf>("oplog.rs");
    let of = |(time, increment)| Timestamp { time, increment };
    let reaches = async || {
        let first = oplog
            .find_one(doc! {})
            .await
            .map_err(|error| failed(&error))?;
        let first = first.and_then(|first| first.get_timestamp("ts").ok());
        Ok::<_, BackupError>(first.is_some_and(|first| first <= of(log.since)))
    };
    if !reaches().await? {
        return Ok(None);
    }
    let range = doc! { "ts": { "$gt": of(log.since), "$lte": of(moment.before) } };
    let mut cursor = oplog
        .find(range)
        .sort(doc! { "ts": 1 })
        .await
        .map_err(|error| failed(&error))?;
    let wrap = || FsError::wrap("write", &log.spool);
    let file = std::fs::File::create(&log.spool).map_err(wrap())?;
    let mut file = io::BufWriter::with_capacity(CHUNK, file);
    let mut bytes = 0;
    while cursor.advance().await.map_err(|error| failed(&error))? {
        let entry = cursor.current();
        let own = entry
            .get_str("ns")
            .is_ok_and(|ns| OWN.contains(&ns.split('.').next().unwrap_or_default()));
        if !own {
            file.write_all(entry.as_bytes()).map_err(wrap())?;
            bytes += entry.as_bytes().len() as u64;
        }
    }
    file.flush().map_err(wrap())?;
    drop(file);
    // What was dropped while it was read is missed.
    let whole = reaches().await?;
    Ok(whole.then_some((log, bytes)))
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

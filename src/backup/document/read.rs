//! Reads the documents of a collection as the bytes that the store sends.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mongodb::bson::{Bson, RawDocumentBuf, doc};
use mongodb::{ClientSession, SessionCursor};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::state::touch;
use super::{Listed, Sum, connect, list};
use crate::backup::BackupError;
use crate::backup::manifest::{Collection, Difference};
use crate::backup::pace::Pace;
use crate::engine::Login;

/// What is sent at once, about.
pub(super) const CHUNK: usize = 256 << 10;
/// Documents asked for at once: clients wait while the store gathers them. Secantus gives a thousand
/// no faster.
const BATCH: u32 = 100;
/// How long a transaction is left alone: a third of what engines bear.
pub(super) const IDLE: Duration = Duration::from_secs(20);

/// Count, length and sum of the documents of a collection, as far as they were read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    count: u64,
    bytes: u64,
    sum: Sum,
}

impl Tally {
    pub(super) fn add(&mut self, document: &[u8]) {
        self.count += 1;
        self.bytes += document.len() as u64;
        self.sum.add(document);
    }

    pub(super) fn of(self, one: &Listed, read: Option<String>) -> Collection {
        self.named(&one.db, &one.name, read)
    }

    pub(super) fn named(self, db: &str, name: &str, read: Option<String>) -> Collection {
        Collection {
            db: db.to_owned(),
            name: name.to_owned(),
            count: self.count,
            bytes: self.bytes,
            hash: self.sum.hex(),
            difference: None,
            read,
        }
    }

    /// Of documents that a difference has, of `named` ones.
    pub(super) fn difference(self, named: u64) -> Difference {
        Difference {
            named,
            count: self.count,
            bytes: self.bytes,
            hash: self.sum.hex(),
        }
    }
}

pub(super) fn named(one: &Listed) -> impl Fn(mongodb::error::Error) -> BackupError + use<> {
    let part = format!("{}.{}", one.db, one.name);
    move |error| BackupError::Capture {
        part: part.clone(),
        cause: error.to_string(),
    }
}

/// Length of the documents of a collection in the state of a transaction, as the store adds it up.
pub(super) async fn length(
    client: &mongodb::Client,
    session: &mut ClientSession,
    one: &Listed,
) -> Result<u64, BackupError> {
    let size = doc! { "$group": { "_id": null, "bytes": { "$sum": { "$bsonSize": "$$ROOT" } } } };
    let mut cursor = client
        .database(&one.db)
        .collection::<RawDocumentBuf>(&one.name)
        .aggregate([size])
        .session(&mut *session)
        .await
        .map_err(named(one))?;
    if !cursor.advance(session).await.map_err(named(one))? {
        return Ok(0);
    }
    let answer = cursor.current().get("bytes").ok().flatten();
    let bytes = match answer.map(Bson::try_from) {
        Some(Ok(Bson::Int32(bytes))) => u64::try_from(bytes).ok(),
        Some(Ok(Bson::Int64(bytes))) => u64::try_from(bytes).ok(),
        _ => None,
    };
    bytes.ok_or_else(|| BackupError::Capture {
        part: format!("{}.{}", one.db, one.name),
        cause: "the store does not say how long its documents are".to_owned(),
    })
}

/// Sends the documents of one collection; answers the last few, and what all of them were.
pub(super) async fn send(
    client: &mongodb::Client,
    session: &mut ClientSession,
    one: &Listed,
    to: &mpsc::Sender<io::Result<Bytes>>,
    pace: &Pace,
) -> Result<(Bytes, Tally), BackupError> {
    let named = named(one);
    let gone = || BackupError::Refused("nobody reads the dump any more".to_owned());
    let mut waiting = BytesMut::with_capacity(CHUNK * 2);
    let mut rest = Rest::new();
    let mut tally = Tally::default();
    let mut cursor = open(client, session, one).await.map_err(&named)?;
    pace.asked();
    while cursor.advance(session).await.map_err(&named)? {
        let document = cursor.current().as_bytes();
        tally.add(document);
        waiting.extend_from_slice(document);
        if waiting.len() < CHUNK {
            continue;
        }
        let chunk = waiting.split().freeze();
        let bytes = chunk.len();
        // A repository far away may take its time.
        let slot = loop {
            match timeout(IDLE, to.reserve()).await {
                Ok(slot) => break slot.map_err(|_| gone())?,
                Err(_) => touch(client, session).await.map_err(&named)?,
            }
        };
        slot.send(Ok(chunk));
        rest.after(bytes, pace).await;
    }
    Ok((waiting.freeze(), tally))
}

async fn open(
    client: &mongodb::Client,
    session: &mut ClientSession,
    one: &Listed,
) -> mongodb::error::Result<SessionCursor<RawDocumentBuf>> {
    client
        .database(&one.db)
        .collection::<RawDocumentBuf>(&one.name)
        .find(doc! {})
        .batch_size(BATCH)
        .session(session)
        .await
}

/// What a store serves, every collection or the one that is named, read as a whole; and whether
/// documents in it expire.
///
/// # Errors
/// [`BackupError`]
pub(in crate::backup) async fn contents(
    address: SocketAddr,
    login: &Login,
    only: Option<&(String, String)>,
) -> Result<Vec<(Collection, bool)>, BackupError> {
    let client = connect(address, login)?;
    let mut found = Vec::new();
    for one in list(&client).await? {
        if only.is_none_or(|(db, name)| one.db == *db && one.name == *name) {
            found.push((whole(&client, &one).await?, one.expires()));
        }
    }
    client.shutdown().await;
    Ok(found)
}

async fn whole(client: &mongodb::Client, one: &Listed) -> Result<Collection, BackupError> {
    let mut tally = Tally::default();
    if !one.is_view() {
        let mut cursor = client
            .database(&one.db)
            .collection::<RawDocumentBuf>(&one.name)
            .find(doc! {})
            .batch_size(BATCH)
            .await
            .map_err(named(one))?;
        while cursor.advance().await.map_err(named(one))? {
            tally.add(cursor.current().as_bytes());
        }
    }
    Ok(tally.of(one, None))
}

/// Rests in proportion to the time that work took.
pub(super) struct Rest {
    since: Instant,
    bytes: usize,
}

impl Rest {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            bytes: 0,
        }
    }

    pub(super) async fn after(&mut self, bytes: usize, pace: &Pace) {
        self.bytes += bytes;
        if self.bytes >= CHUNK {
            let worked = self.since.elapsed().min(Duration::from_secs(1));
            let rest = worked.mul_f64(pace.rest());
            if !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
            self.since = Instant::now();
            self.bytes = 0;
        }
    }
}

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
use crate::backup::manifest::Collection;
use crate::engine::Login;

/// What is sent at once, about.
pub(super) const CHUNK: usize = 256 << 10;
/// Documents asked for at once.
const BATCH: u32 = 1000;
/// How long a transaction is left alone: a third of what engines bear.
pub(super) const IDLE: Duration = Duration::from_secs(20);

/// Share of the time that is rested after each chunk, so that clients come before.
#[derive(Debug, Clone, Copy)]
pub(in crate::backup) struct Pace(pub(in crate::backup) f64);

/// Count, length and sum of the documents of a collection, as far as they were read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    count: u64,
    bytes: u64,
    sum: Sum,
}

impl Tally {
    fn add(&mut self, document: &[u8]) {
        self.count += 1;
        self.bytes += document.len() as u64;
        self.sum.add(document);
    }

    pub(super) fn of(self, one: &Listed, read: Option<String>) -> Collection {
        Collection {
            db: one.db.clone(),
            name: one.name.clone(),
            count: self.count,
            bytes: self.bytes,
            hash: self.sum.hex(),
            read,
        }
    }
}

fn named(one: &Listed) -> impl Fn(mongodb::error::Error) -> BackupError + use<> {
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
    pace: Pace,
) -> Result<(Bytes, Tally), BackupError> {
    let named = named(one);
    let gone = || BackupError::Refused("nobody reads the dump any more".to_owned());
    let mut waiting = BytesMut::with_capacity(CHUNK * 2);
    let mut rest = Rest::new(pace);
    let mut tally = Tally::default();
    let mut cursor = open(client, session, one).await.map_err(&named)?;
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
        rest.after(bytes).await;
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

/// What a store serves: every collection, read as a whole, and whether documents in it expire.
///
/// # Errors
/// [`BackupError`]
pub(in crate::backup) async fn contents(
    address: SocketAddr,
    login: &Login,
) -> Result<Vec<(Collection, bool)>, BackupError> {
    let client = connect(address, login)?;
    let mut found = Vec::new();
    for one in list(&client).await? {
        let mut tally = Tally::default();
        if !one.is_view() {
            let mut cursor = client
                .database(&one.db)
                .collection::<RawDocumentBuf>(&one.name)
                .find(doc! {})
                .batch_size(BATCH)
                .await
                .map_err(named(&one))?;
            while cursor.advance().await.map_err(named(&one))? {
                tally.add(cursor.current().as_bytes());
            }
        }
        found.push((tally.of(&one, None), one.expires()));
    }
    client.shutdown().await;
    Ok(found)
}

/// Rests in proportion to the time that work took.
struct Rest {
    pace: Pace,
    since: Instant,
    bytes: usize,
}

impl Rest {
    fn new(pace: Pace) -> Self {
        Self {
            pace,
            since: Instant::now(),
            bytes: 0,
        }
    }

    async fn after(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= CHUNK {
            let worked = self.since.elapsed().min(Duration::from_secs(1));
            tokio::time::sleep(worked.mul_f64(self.pace.0)).await;
            self.since = Instant::now();
            self.bytes = 0;
        }
    }
}

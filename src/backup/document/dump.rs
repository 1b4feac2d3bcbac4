//! Reads every collection twice from one state of the store, without writing it anywhere: first for
//! count, length and hash, then as the streams that go into the repository. The state is that of a
//! transaction, which secantus and mongod both keep while others write.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use mongodb::bson::{RawDocumentBuf, doc};
use mongodb::{ClientSession, SessionCursor};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::state::{Log, pinned, spool, touch};
use super::{DUMP, Listed, Sum, connect};
use crate::backup::BackupError;
use crate::backup::manifest::{Collection, Moment};
use crate::backup::source::Stream;
use crate::engine::Login;

/// What is sent at once, about.
const CHUNK: usize = 256 << 10;
/// Chunks that wait for the repository.
const AHEAD: usize = 4;
/// Documents asked for at once.
const BATCH: u32 = 1000;

/// How long a transaction is left alone: a third of what engines bear.
const IDLE: Duration = Duration::from_secs(20);
/// Wants the documents of one collection.
struct Order {
    index: usize,
    to: mpsc::Sender<io::Result<Bytes>>,
}

/// A dump that can be read now.
pub(in crate::backup) struct Dump {
    /// What is in it.
    pub(in crate::backup) collections: Vec<Collection>,
    /// Its files.
    pub(in crate::backup) streams: Vec<Stream>,
    /// Of which moment it is.
    pub(in crate::backup) moment: Option<Moment>,
    /// From when on the changes up to it are in it.
    pub(in crate::backup) log_from: Option<(u32, u32)>,
    /// Ends the transaction when it is dropped.
    _orders: mpsc::UnboundedSender<Order>,
}

/// Share of the time that is rested after each chunk, so that clients come before.
#[derive(Debug, Clone, Copy)]
pub(in crate::backup) struct Pace(pub(in crate::backup) f64);

impl Dump {
    /// Begins a transaction and reads everything once.
    pub(in crate::backup) fn begin(
        address: SocketAddr,
        login: Login,
        pace: Pace,
        log: Option<Log>,
    ) -> Result<Self, BackupError> {
        let (orders, taken) = mpsc::unbounded_channel();
        let (ready, first) = oneshot::channel();
        let gone = || BackupError::Refused("the dump's thread ended".to_owned());
        std::thread::Builder::new()
            .name("dump".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                match runtime {
                    Ok(runtime) => {
                        runtime.block_on(serve(address, &login, pace, log, ready, taken));
                    }
                    Err(error) => {
                        let _ = ready.send(Err(BackupError::Refused(error.to_string())));
                    }
                }
            })
            .map_err(|error| BackupError::Refused(error.to_string()))?;
        let Begun {
            listed,
            collections,
            moment,
            log,
        } = first.blocking_recv().map_err(|_| gone())??;
        let mut streams = Vec::new();
        let log_from = log.as_ref().map(|(log, _)| log.since);
        if let Some((log, bytes)) = log {
            streams.push(Stream {
                path: PathBuf::from(super::LOG),
                bytes,
                // It is removed with the stream.
                open: Box::new(move || Ok(Box::new(Spooled::open(log.spool)?))),
            });
        }
        for (index, (one, facts)) in listed.iter().zip(&collections).enumerate() {
            let metadata = one.metadata()?;
            streams.push(Stream {
                path: PathBuf::from(format!("{DUMP}/{}.metadata.json", one.file())),
                bytes: metadata.len() as u64,
                open: Box::new(move || Ok(Box::new(io::Cursor::new(metadata)))),
            });
            if one.is_view() {
                continue;
            }
            let orders = orders.clone();
            let open = move || -> io::Result<Box<dyn Read + Send>> {
                let (to, from) = mpsc::channel(AHEAD);
                orders
                    .send(Order { index, to })
                    .map_err(|_| io::Error::other("the dump has ended"))?;
                Ok(Box::new(Incoming {
                    from,
                    now: Bytes::new(),
                }))
            };
            streams.push(Stream {
                path: PathBuf::from(format!("{DUMP}/{}.bson", one.file())),
                bytes: facts.bytes,
                open: Box::new(open),
            });
        }
        Ok(Self {
            collections,
            streams,
            moment,
            log_from,
            _orders: orders,
        })
    }
}

/// A file that is gone when it was read.
struct Spooled {
    file: std::fs::File,
    path: PathBuf,
}

impl Spooled {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = std::fs::File::open(&path)?;
        Ok(Self { file, path })
    }
}

impl Read for Spooled {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The other end of a collection.
struct Incoming {
    from: mpsc::Receiver<io::Result<Bytes>>,
    now: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.from.blocking_recv() {
                Some(next) => self.now = next?,
                None => return Ok(0),
            }
        }
        let taken = self.now.len().min(buffer.len());
        self.now.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}

/// What is known when everything was read once.
struct Begun {
    listed: Vec<Listed>,
    collections: Vec<Collection>,
    moment: Option<Moment>,
    log: Option<(Log, u64)>,
}

type Ready = oneshot::Sender<Result<Begun, BackupError>>;

async fn serve(
    address: SocketAddr,
    login: &Login,
    pace: Pace,
    log: Option<Log>,
    ready: Ready,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let begun = async {
        let client = connect(address, login)?;
        let (mut session, listed, moment) = pinned(&client).await?;
        let log = match (log, moment) {
            (Some(log), Some(moment)) => spool(&client, log, moment).await?,
            _ => None,
        };
        let mut collections = Vec::with_capacity(listed.len());
        for one in &listed {
            let mut facts = Collection {
                db: one.db.clone(),
                name: one.name.clone(),
                count: 0,
                bytes: 0,
                hash: String::new(),
            };
            let mut sum = Sum::default();
            if !one.is_view() {
                let mut rest = Rest::new(pace);
                each(&client, &mut session, one, async |document: &[u8]| {
                    facts.count += 1;
                    facts.bytes += document.len() as u64;
                    sum.add(document);
                    rest.after(document.len()).await;
                    Ok(())
                })
                .await?;
            }
            facts.hash = sum.hex();
            collections.push(facts);
        }
        let begun = Begun {
            listed: listed.clone(),
            collections,
            moment,
            log,
        };
        Ok((client, session, listed, begun))
    };
    let (client, mut session, listed, begun) = match begun.await {
        Ok(begun) => begun,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    if ready.send(Ok(begun)).is_err() {
        return;
    }
    while let Some(order) = next_order(&client, &mut session, &mut orders).await {
        let Some(one) = listed.get(order.index) else {
            continue;
        };
        let sent = send(&client, &mut session, one, &order.to, pace).await;
        let last = match sent {
            Ok(rest) => Ok(rest),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        let _ = order.to.send(last).await;
    }
    // It wrote nothing; the store forgets it with the session in any case.
    let _ = session.abort_transaction().await;
}

/// The next one that is wanted; the transaction is kept meanwhile.
async fn next_order(
    client: &mongodb::Client,
    session: &mut ClientSession,
    orders: &mut mpsc::UnboundedReceiver<Order>,
) -> Option<Order> {
    loop {
        if let Ok(order) = timeout(IDLE, orders.recv()).await {
            return order;
        }
        // A failure shows with the next read.
        let _ = touch(client, session).await;
    }
}

/// Sends the documents of one collection; answers the last few.
async fn send(
    client: &mongodb::Client,
    session: &mut ClientSession,
    one: &Listed,
    to: &mpsc::Sender<io::Result<Bytes>>,
    pace: Pace,
) -> Result<Bytes, BackupError> {
    let named = |error: mongodb::error::Error| BackupError::Capture {
        part: format!("{}.{}", one.db, one.name),
        cause: error.to_string(),
    };
    let gone = || BackupError::Refused("nobody reads the dump any more".to_owned());
    let mut waiting = BytesMut::with_capacity(CHUNK * 2);
    let mut rest = Rest::new(pace);
    let mut cursor = open(client, session, one).await.map_err(named)?;
    while cursor.advance(session).await.map_err(named)? {
        waiting.extend_from_slice(cursor.current().as_bytes());
        if waiting.len() < CHUNK {
            continue;
        }
        let chunk = waiting.split().freeze();
        let bytes = chunk.len();
        // A repository far away may take its time.
        let slot = loop {
            match timeout(IDLE, to.reserve()).await {
                Ok(slot) => break slot.map_err(|_| gone())?,
                Err(_) => touch(client, session).await.map_err(named)?,
            }
        };
        slot.send(Ok(chunk));
        rest.after(bytes).await;
    }
    Ok(waiting.freeze())
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

/// Shows every document to `take`, as the bytes that the store sent.
async fn each(
    client: &mongodb::Client,
    session: &mut ClientSession,
    one: &Listed,
    mut take: impl AsyncFnMut(&[u8]) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let named = |error: mongodb::error::Error| BackupError::Capture {
        part: format!("{}.{}", one.db, one.name),
        cause: error.to_string(),
    };
    let mut cursor = open(client, session, one).await.map_err(named)?;
    while cursor.advance(session).await.map_err(named)? {
        take(cursor.current().as_bytes()).await?;
    }
    Ok(())
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

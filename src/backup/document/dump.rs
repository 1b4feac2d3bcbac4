//! Reads the collections from one state of the store, without writing them anywhere: as the streams
//! that go into a repository. Where that wants to know their length first, the store adds it up: it
//! reads everything twice. The state is that of a transaction, which secantus and mongod both keep
//! while others write.
//!
//! A collection of which the store's log names no document since the last backup is not read: it is
//! taken from that. Where it names few, these alone are read, into a difference.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use jiff::Timestamp;
use mongodb::ClientSession;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::accounts::Accounts;
use super::difference;
use super::read::{IDLE, Tally, length, send};
use super::state::{Log, Since, Spool, pinned, since, tip, touch};
use super::unchanged::Before;
use super::{DIFFERENCE, DUMP, Listed, connect};
use crate::backup::BackupError;
use crate::backup::manifest::{self, Collection, Moment, Tip};
use crate::backup::pace::Pace;
use crate::backup::source::Stream;
use crate::engine::Credentials;

/// Chunks that wait for the repository.
const AHEAD: usize = 4;

/// Wants the documents of one collection.
struct Order {
    index: usize,
    to: mpsc::Sender<io::Result<Bytes>>,
}

/// What was read of each collection.
type Tallies = Arc<Mutex<Vec<Option<Tally>>>>;

/// A dump that can be read now.
pub(in crate::backup) struct Dump {
    /// Of which moment it is.
    pub(in crate::backup) moment: Option<Moment>,
    /// From when on the changes up to it are in it.
    pub(in crate::backup) log_from: Option<(u32, u32)>,
    /// The store's last note before the moment.
    pub(in crate::backup) tip: Option<Tip>,
    begun: Begun,
    now: Timestamp,
    tallies: Tallies,
    /// Ends the transaction when it is dropped.
    orders: mpsc::UnboundedSender<Order>,
}

/// One collection before it is read.
struct Ahead {
    one: Listed,
    /// Its length, where somebody knows it.
    bytes: Option<u64>,
    /// What the last backup has of it, where that is what the store has but for a difference.
    before: Option<Collection>,
    difference: Option<manifest::Difference>,
}

/// What is known when nothing was read yet.
struct Begun {
    collections: Vec<Ahead>,
    accounts: Accounts,
    moment: Option<Moment>,
    tip: Option<Tip>,
    log: Option<Spool>,
    difference: Option<difference::Spool>,
}

/// Of what a dump is made.
#[derive(Debug)]
pub(in crate::backup) struct Wanted {
    /// Where the store listens.
    pub(in crate::backup) address: SocketAddr,
    /// Its own accounts.
    pub(in crate::backup) credentials: Credentials,
    /// The length of every stream is to be known before it is read.
    pub(in crate::backup) lengths: bool,
}

/// What a dump builds on.
#[derive(Debug)]
pub(in crate::backup) struct Base {
    /// The last backup.
    pub(in crate::backup) before: Before,
    /// Where the store's log since then may lie.
    pub(in crate::backup) log: Log,
    /// Where the difference to it may lie.
    pub(in crate::backup) difference: PathBuf,
}

impl Dump {
    /// Begins a transaction and looks at what is in it.
    pub(in crate::backup) fn begin(
        wanted: Wanted,
        pace: Arc<Pace>,
        base: Option<Base>,
    ) -> Result<Self, BackupError> {
        let (orders, taken) = mpsc::unbounded_channel();
        let (ready, first) = oneshot::channel();
        let tallies = Tallies::default();
        let theirs = Arc::clone(&tallies);
        let gone = || BackupError::Refused("the dump's thread ended".to_owned());
        std::thread::Builder::new()
            .name("dump".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                match runtime {
                    Ok(runtime) => runtime.block_on(async {
                        let begun = begin(&wanted, base, &pace).await;
                        serve(begun, &pace, ready, taken, &theirs).await;
                    }),
                    Err(error) => {
                        let _ = ready.send(Err(BackupError::Refused(error.to_string())));
                    }
                }
            })
            .map_err(|error| BackupError::Refused(error.to_string()))?;
        let begun = first.blocking_recv().map_err(|_| gone())??;
        Ok(Self {
            moment: begun.moment,
            log_from: begun.log.as_ref().map(|log| log.since),
            tip: begun.tip.clone(),
            begun,
            now: Timestamp::now(),
            tallies,
            orders,
        })
    }

    /// Its files.
    ///
    /// # Errors
    /// [`BackupError::Capture`]
    pub(in crate::backup) fn streams(&mut self) -> Result<Vec<Stream>, BackupError> {
        let mut streams = Vec::new();
        if let Some(log) = &self.begun.log {
            let path = log.path.clone();
            streams.push(Stream {
                path: PathBuf::from(super::LOG),
                bytes: Some(log.bytes),
                changed: self.now,
                is_kept: false,
                open: Box::new(move || Ok(Box::new(std::fs::File::open(path)?))),
            });
        }
        let differ = self.begun.collections.iter();
        if let Some(spool) = &mut self.begun.difference
            && differ.clone().any(|ahead| ahead.difference.is_some())
        {
            let (path, bytes) = spool.finish()?;
            streams.push(Stream {
                path: PathBuf::from(format!("{DUMP}/{DIFFERENCE}")),
                bytes: Some(bytes),
                changed: self.now,
                is_kept: false,
                open: Box::new(move || Ok(Box::new(std::fs::File::open(path)?))),
            });
        }
        for file in self.begun.accounts.files()? {
            streams.push(Stream {
                path: file.path,
                bytes: Some(file.content.len() as u64),
                changed: self.now,
                is_kept: false,
                open: Box::new(move || Ok(Box::new(io::Cursor::new(file.content)))),
            });
        }
        for (index, ahead) in self.begun.collections.iter().enumerate() {
            let metadata = ahead.one.metadata()?;
            let file = ahead.one.file();
            streams.push(Stream {
                path: PathBuf::from(format!("{DUMP}/{file}.metadata.json")),
                bytes: Some(metadata.len() as u64),
                changed: self.now,
                is_kept: false,
                open: Box::new(move || Ok(Box::new(io::Cursor::new(metadata)))),
            });
            if ahead.one.is_view() {
                continue;
            }
            let orders = self.orders.clone();
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
            let before = ahead.before.as_ref().and_then(Collection::read);
            streams.push(Stream {
                path: PathBuf::from(format!("{DUMP}/{file}.bson")),
                bytes: ahead.bytes,
                changed: before.unwrap_or(self.now),
                is_kept: before.is_some(),
                open: Box::new(open),
            });
        }
        Ok(streams)
    }

    /// How many accounts and roles are in it.
    pub(in crate::backup) fn accounts(&self) -> (u64, u64) {
        let Accounts { users, roles } = &self.begun.accounts;
        (users.len() as u64, roles.len() as u64)
    }

    /// What is in it, when the streams were read.
    ///
    /// # Errors
    /// [`BackupError::Capture`] where one was not.
    pub(in crate::backup) fn collections(&self) -> Result<Vec<Collection>, BackupError> {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |index: usize| tallies.get(index).copied().flatten();
        let found = self
            .begun
            .collections
            .iter()
            .enumerate()
            .map(|(index, ahead)| {
                let one = &ahead.one;
                let difference = ahead.difference.clone();
                if let Some(tally) = read(index) {
                    // The repository had not all of the last backup's file, and read it anew; what
                    // differed from that is the same in it.
                    let since = ahead.before.as_ref().and_then(|one| one.read.clone());
                    let read = since.or_else(|| Some(self.now.to_string()));
                    return Ok(Collection {
                        difference,
                        ..tally.of(one, read)
                    });
                }
                match &ahead.before {
                    Some(before) => Ok(Collection {
                        difference,
                        ..before.clone()
                    }),
                    None if one.is_view() => Ok(Tally::default().of(one, None)),
                    None => Err(BackupError::Capture {
                        part: format!("{}.{}", one.db, one.name),
                        cause: "it was not read".to_owned(),
                    }),
                }
            });
        found.collect()
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

type Pinned = (mongodb::Client, ClientSession, Begun);

async fn begin(wanted: &Wanted, base: Option<Base>, pace: &Pace) -> Result<Pinned, BackupError> {
    let client = connect(wanted.address, &wanted.credentials.supervisor)?;
    let accounts = Accounts::read(&client, &wanted.credentials).await?;
    let (mut session, listed, moment) = pinned(&client).await?;
    let (mut last, mut spool, mut known, mut differences) = (None, None, None, None);
    if let Some(moment) = moment {
        if let Some(base) = base
            && let Some(Since { log, noted, tip }) = since(&client, base.log, moment).await?
        {
            (last, spool) = (Some(tip), Some(log));
            known = Some((base.before, noted));
            differences = Some(difference::Spool::create(base.difference)?);
        }
        if last.is_none() {
            last = tip(&client, moment).await?;
        }
    }
    let mut collections = Vec::with_capacity(listed.len());
    for one in listed {
        let mut kept = known
            .as_ref()
            .and_then(|(before, noted)| before.kept(&one, noted));
        let mut difference = None;
        if let (Some(some), Some(spool)) = (&kept, &mut differences)
            && !some.otherwise.is_empty()
        {
            difference = spool.add(&client, &mut session, &one, some, pace).await?;
            if difference.is_none() {
                kept = None;
            }
        }
        let bytes = match &kept {
            Some(kept) => Some(kept.collection.bytes),
            None if one.is_view() || !wanted.lengths => None,
            None => Some(length(&client, &mut session, &one).await?),
        };
        collections.push(Ahead {
            one,
            bytes,
            before: kept.map(|kept| kept.collection),
            difference,
        });
    }
    let begun = Begun {
        collections,
        accounts,
        moment,
        tip: last,
        log: spool,
        difference: differences,
    };
    Ok((client, session, begun))
}

type Ready = oneshot::Sender<Result<Begun, BackupError>>;

async fn serve(
    begun: Result<Pinned, BackupError>,
    pace: &Pace,
    ready: Ready,
    mut orders: mpsc::UnboundedReceiver<Order>,
    tallies: &Tallies,
) {
    let (client, mut session, begun) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let listed: Vec<Listed> = begun
        .collections
        .iter()
        .map(|ahead| ahead.one.clone())
        .collect();
    let kept = |tallies: &Tallies, index: usize, tally: Option<Tally>| {
        let mut all = tallies.lock().unwrap_or_else(PoisonError::into_inner);
        all.resize(listed.len(), None);
        if let Some(slot) = all.get_mut(index) {
            *slot = tally;
        }
    };
    if ready.send(Ok(begun)).is_err() {
        return;
    }
    while let Some(order) = next_order(&client, &mut session, &mut orders).await {
        let Some(one) = listed.get(order.index) else {
            continue;
        };
        kept(tallies, order.index, None);
        let last = match send(&client, &mut session, one, &order.to, pace).await {
            Ok((rest, tally)) => {
                kept(tallies, order.index, Some(tally));
                Ok(rest)
            }
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

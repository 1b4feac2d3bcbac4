//! Keeps the search indices in step with the documents.
//!
//! A change stream of the document store tells what changed; the documents are put into the indices of
//! their kind under their `_id`, so that one which comes twice is there once. How far it came is noted
//! after the search engine has it: nothing is passed over, and after an interruption some is done
//! again. Where the stream does not reach back so far any more, everything is put in anew.

mod convert;
mod place;
mod state;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use mongodb::bson::{Document, Timestamp, doc};
use mongodb::change_stream::event::{
    ChangeNamespace, ChangeStreamEvent, OperationType, ResumeToken,
};
use mongodb::options::FullDocumentType;
use tokio::sync::watch;
use tokio::time::Instant;

use super::documents::{Documents, explain};
use super::search::Search;
use super::{StoreError, Stores};
pub use convert::ENTITIES;
use convert::{Change, entity_of};
use state::State;

/// Changes of one batch at most.
const BATCH: usize = 500;
/// How long a batch waits for more: what was written is found that much later.
const GATHER: Duration = Duration::from_millis(200);
/// How often the place in the stream is noted at most: each time is a write to the disk.
const NOTE: Duration = Duration::from_secs(5);
/// How often it is noted where nothing changes, so that it does not age out of the store's log.
const QUIET_NOTE: Duration = Duration::from_secs(900);
/// First and longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long the store is to wait for a change before it answers that there is none.
const QUIET: Duration = Duration::from_secs(30);

/// How the feed is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// `following`, `rebuilding` or `waiting`.
    pub state: &'static str,
    /// Seconds between the last change and its arrival in the indices.
    pub lag_seconds: Option<f64>,
    /// Changes since the start.
    pub changes: u64,
    /// Why it waits.
    pub error: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Feed {
    stores: Stores,
    file: PathBuf,
    progress: watch::Sender<Progress>,
}

type Event = ChangeStreamEvent<Document>;

/// Why following ended.
enum Ended {
    /// The place in the stream is gone.
    Lost,
    /// Nothing came for long.
    Quiet,
    /// For now.
    Failed(StoreError),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Feed {
    /// One that notes its place in `file`.
    pub fn new(stores: Stores, file: PathBuf) -> Self {
        Self {
            stores,
            file,
            progress: watch::Sender::new(Progress {
                state: "waiting",
                ..Progress::default()
            }),
        }
    }

    /// Tells how it is.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    fn tell(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_if_modified(|progress| {
            let before = progress.clone();
            change(progress);
            *progress != before
        });
    }

    fn documents(&self) -> &Documents {
        &self.stores.documents
    }

    fn search(&self) -> &Search {
        &self.stores.search
    }

    /// Follows until it is dropped; failures are tried again.
    pub async fn run(self) {
        let mut pause = PAUSES.0;
        loop {
            let begun = Instant::now();
            let ended = self.follow().await;
            let cause = match ended {
                Ended::Quiet => continue,
                Ended::Lost => {
                    tracing::warn!(
                        "the document store does not tell any more what changed since the last note: \
                         the search indices are made anew"
                    );
                    if let Err(error) = state::forget(&self.file) {
                        tracing::warn!("{error}");
                    }
                    None
                }
                Ended::Failed(error) => Some(error.to_string()),
            };
            if begun.elapsed() > PAUSES.1 {
                pause = PAUSES.0;
            }
            if let Some(cause) = cause {
                tracing::debug!("the search feed waits: {cause}");
                self.tell(|progress| {
                    progress.state = "waiting";
                    progress.error = Some(cause);
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn follow(&self) -> Ended {
        match self.follow_until_it_fails().await {
            // It ends where what it watches was dropped as a whole, and cannot be resumed after that.
            Ok(()) => Ended::Lost,
            Err(ended) => ended,
        }
    }

    async fn follow_until_it_fails(&self) -> Result<(), Ended> {
        for (entity, _) in ENTITIES {
            let alias = format!("lucid-{entity}");
            if !self.search().has_alias(&alias).await? {
                let cause = format!("there is no alias {alias}: `lucid schema apply` makes it");
                return Err(StoreError::Conflict(cause).into());
            }
        }
        let noted = state::load(&self.file);
        let database = self.documents().changes().await?;
        let watched = database
            .watch()
            .pipeline([doc! { "$match": { "$or": [
                { "ns.coll": { "$in": convert::collections() } },
                { "to.coll": { "$in": convert::collections() } },
                { "operationType": { "$in": ["dropDatabase", "invalidate"] } },
            ] } }])
            .full_document(FullDocumentType::UpdateLookup)
            .max_await_time(QUIET);
        let is_new = noted.is_none();
        let stream = match noted {
            Some(state) => watched.resume_after(state.token).await,
            // Before everything is read: what changes meanwhile comes after it.
            None => watched.await,
        };
        let mut stream = stream.map_err(|error| failed(&error))?;
        if is_new {
            self.tell(|progress| {
                progress.state = "rebuilding";
                progress.error = None;
            });
            for (entity, _) in ENTITIES {
                self.rebuild(entity).await?;
            }
        }
        self.tell(|progress| {
            progress.state = "following";
            progress.error = None;
        });
        let mut noted_at = Instant::now();
        let mut unnoted: Option<ResumeToken> = stream.resume_token();
        loop {
            // A place that was not noted is noted when its time comes, also where nothing changes.
            let due = noted_at + if unnoted.is_some() { NOTE } else { QUIET_NOTE };
            let first = tokio::select! {
                event = stream.next() => Some(event),
                () = tokio::time::sleep_until(due) => None,
            };
            let Some(first) = first else {
                // The driver tells the place of a stream that brings nothing only when it begins.
                let Some(token) = unnoted.take() else {
                    return Err(Ended::Quiet);
                };
                if let Err(error) = state::save(&self.file, &State { token }) {
                    tracing::warn!("the search feed does more again after a restart: {error}");
                }
                noted_at = Instant::now();
                continue;
            };
            let Some(first) = first else {
                return Ok(());
            };
            let mut events = vec![first.map_err(|error| failed(&error))?];
            let until = Instant::now() + GATHER;
            while events.len() < BATCH {
                match tokio::time::timeout_at(until, stream.next()).await {
                    Ok(Some(event)) => events.push(event.map_err(|error| failed(&error))?),
                    Ok(None) | Err(_) => break,
                }
            }
            self.take_in(&events).await?;
            unnoted = events.last().map(|event| event.id.clone());
            let lag = events.last().and_then(|event| event.cluster_time).map(lag);
            self.tell(|progress| {
                progress.changes += events.len() as u64;
                progress.lag_seconds = lag;
            });
        }
    }

    /// Puts changes into the indices, in their order: the last one of each document counts.
    async fn take_in(&self, events: &[Event]) -> Result<(), StoreError> {
        let mut last: BTreeMap<(&'static str, String), Change> = BTreeMap::new();
        for event in events {
            let of = |ns: Option<&ChangeNamespace>| {
                let collection = ns.and_then(|ns| ns.coll.as_deref());
                collection.and_then(entity_of)
            };
            if event.operation_type == OperationType::DropDatabase {
                last.clear();
                for (entity, _) in ENTITIES {
                    self.rebuild(entity).await?;
                }
                continue;
            }
            if event.operation_type == OperationType::Rename
                && let Some(entity) = of(event.to.as_ref())
            {
                last.retain(|(of, _), _| *of != entity);
                self.rebuild(entity).await?;
            }
            let Some(entity) = of(event.ns.as_ref()) else {
                continue;
            };
            match event.operation_type {
                OperationType::Insert | OperationType::Update | OperationType::Replace => {
                    let Some(id) = event.document_key.as_ref().and_then(convert::id_of) else {
                        continue;
                    };
                    let change = match &event.full_document {
                        Some(document) => Change::Put(convert::searchable(document)),
                        // It was removed since; that comes later in the stream as well.
                        None => Change::Remove,
                    };
                    last.insert((entity, id), change);
                }
                OperationType::Delete => {
                    if let Some(id) = event.document_key.as_ref().and_then(convert::id_of) {
                        last.insert((entity, id), Change::Remove);
                    }
                }
                OperationType::Drop | OperationType::Rename => {
                    last.retain(|(of, _), _| *of != entity);
                    self.rebuild(entity).await?;
                }
                _ => {}
            }
        }
        let mut by_entity: BTreeMap<&'static str, Vec<(String, Change)>> = BTreeMap::new();
        for ((entity, id), change) in last {
            by_entity.entry(entity).or_default().push((id, change));
        }
        for (entity, changes) in by_entity {
            place::apply(self.search(), entity, changes).await?;
        }
        Ok(())
    }

    /// Puts every document of a kind into its indices anew, and takes out what is none any more.
    /// Answers how many there are.
    ///
    /// # Errors
    /// [`StoreError`]; what is in until then stays.
    pub async fn rebuild(&self, entity: &'static str) -> Result<u64, StoreError> {
        let collection = convert::collection_of(entity);
        let mut count = 0;
        let mut all = self.documents().walk(collection).await?;
        loop {
            let documents = self.documents().some_of(&mut all, BATCH).await?;
            if documents.is_empty() {
                break;
            }
            let changes = documents.iter().filter_map(|document| {
                let id = convert::id_of(document)?;
                Some((id, Change::Put(convert::searchable(document))))
            });
            let changes: Vec<_> = changes.collect();
            count += changes.len() as u64;
            place::apply(self.search(), entity, changes).await?;
        }
        place::sweep(self.search(), self.documents(), entity, collection).await?;
        Ok(count)
    }
}

fn lag(time: Timestamp) -> f64 {
    let now = jiff::Timestamp::now().as_millisecond() as f64 / 1000.0;
    (now - f64::from(time.time)).max(0.0)
}

/// `ChangeStreamHistoryLost`, `ChangeStreamFatalError`, `InvalidResumeToken`, `BSONObjectTooLarge`:
/// the same event would fail again.
const LOST: [i32; 4] = [286, 280, 260, 10334];

fn failed(error: &mongodb::error::Error) -> Ended {
    let code = match &*error.kind {
        mongodb::error::ErrorKind::Command(refused) => Some(refused.code),
        _ => None,
    };
    if code.is_some_and(|code| LOST.contains(&code)) {
        return Ended::Lost;
    }
    Ended::Failed(explain(error))
}

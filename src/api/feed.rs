//! Has the search indices follow the documents, and the status tell how; keeps what is to be kept for a
//! number of days only.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{Config, Role};
use crate::paths::Paths;
use crate::status::{Alert, Feed as FeedStatus, Severity, StatusHub};
use crate::store::Stores;
use crate::store::feed::{Feed, Progress};
use crate::supervisor::alerts::{clear, raise};

/// Between two looks at what is too old.
const DAILY: Duration = Duration::from_secs(24 * 3600);
/// After the start, when there is other work.
const FIRST: Duration = Duration::from_secs(600);

/// How long the feed waits for a datastore before somebody is told: as long as a start takes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Id of the alert.
const ALERT: &str = "search-feed";

/// Works until it is dropped.
pub(super) async fn run(paths: &Paths, config: &Config, stores: Stores, hub: StatusHub) {
    let mut tasks = JoinSet::new();
    let is_on = |role| config.common(role).enabled;
    if is_on(Role::Document) {
        tasks.spawn(expire(stores.clone()));
    }
    if config.api.feed && is_on(Role::Document) && is_on(Role::Search) {
        let feed = Feed::new(stores, paths.search_feed());
        let progress = feed.progress();
        tasks.spawn(feed.run());
        tasks.spawn(tell(progress, hub));
    }
    while tasks.join_next().await.is_some() {}
}

/// Tells the status how the feed is, and raises an alert where it waits for long.
async fn tell(mut progress: watch::Receiver<Progress>, hub: StatusHub) {
    let mut late_at: Option<Instant> = None;
    loop {
        let now = progress.borrow_and_update().clone();
        let is_waiting = now.state == "waiting";
        if now.state == "following" {
            late_at = None;
            clear(&hub, ALERT, Role::Search.name());
        } else if is_waiting {
            late_at.get_or_insert_with(|| Instant::now() + PATIENCE);
        }
        let is_late = late_at.is_some_and(|at| at <= Instant::now());
        if is_waiting && is_late {
            raise(&hub, alert(now.error.as_deref()));
        }
        hub.update(|status| {
            status.feed = Some(FeedStatus {
                state: now.state.to_owned(),
                lag_seconds: now.lag_seconds,
                changes: now.changes,
                error: now.error,
            });
        });
        let changed = match late_at {
            Some(at) if !is_late => tokio::time::timeout_at(at, progress.changed()).await,
            _ => Ok(progress.changed().await),
        };
        if let Ok(Err(_)) = changed {
            return;
        }
    }
}

fn alert(cause: Option<&str>) -> Alert {
    Alert::new(
        ALERT,
        Severity::Warning,
        Role::Search.name(),
        format!(
            "the search indices do not follow the documents: {}",
            cause.unwrap_or("the document store or the search engine is not there")
        ),
        "mend that and they catch up by themselves; `lucid status` tells what is down, `lucid search \
         reindex` makes the indices anew",
    )
}

/// Removes what is older than it is to be kept, once a day.
async fn expire(stores: Stores) {
    let mut pause = FIRST;
    loop {
        tokio::time::sleep(pause).await;
        pause = DAILY;
        match stores.documents.expire().await {
            Ok(done) => {
                for one in done.iter().filter(|one| one.removed > 0) {
                    tracing::info!(
                        "{}: {} documents were older than {} days and are removed",
                        one.collection,
                        one.removed,
                        one.days
                    );
                }
            }
            Err(error) => {
                tracing::debug!("old documents stay for now: {error}");
                pause = FIRST;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::fixture::hub;

    #[tokio::test(start_paused = true)]
    async fn a_feed_that_waits_for_long_is_an_alert_until_it_follows() {
        let (hub, patience) = (hub(), PATIENCE + Duration::from_secs(1));
        let state = |state, error: Option<&str>| Progress {
            state,
            error: error.map(str::to_owned),
            ..Progress::default()
        };
        let (feed, progress) = watch::channel(state("waiting", None));
        let task = tokio::spawn(tell(progress, hub.clone()));
        let alerts = || hub.snapshot().alerts;
        tokio::time::sleep(PATIENCE / 2).await;
        feed.send_replace(state("waiting", Some("no alias")));
        tokio::time::sleep(PATIENCE / 4).await;
        assert_eq!(alerts(), []);
        tokio::time::sleep(PATIENCE / 2).await;
        let told = alerts();
        assert_eq!(told.len(), 1);
        assert!(told[0].message.contains("no alias"), "{told:?}");
        // Trying again is no success.
        feed.send_replace(state("rebuilding", None));
        tokio::time::sleep(patience).await;
        assert_eq!(alerts().len(), 1);
        feed.send_replace(state("waiting", Some("the engine is full")));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(alerts()[0].message.contains("full"));
        feed.send_replace(state("following", None));
        tokio::time::sleep(patience).await;
        assert_eq!(alerts(), []);
        assert_eq!(hub.snapshot().feed.unwrap().state, "following");
        drop(feed);
        task.await.unwrap();
    }
}

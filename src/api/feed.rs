//! Has the search indices follow the documents, and the status tell how; keeps what is to be kept for a
//! number of days only.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::config::{Config, Role};
use crate::paths::Paths;
use crate::status::{Feed as FeedStatus, StatusHub};
use crate::store::Stores;
use crate::store::feed::Feed;

/// Between two looks at what is too old.
const DAILY: Duration = Duration::from_secs(24 * 3600);
/// After the start, when there is other work.
const FIRST: Duration = Duration::from_secs(600);

/// Works until it is dropped.
pub(super) async fn run(paths: &Paths, config: &Config, stores: Stores, hub: StatusHub) {
    let mut tasks = JoinSet::new();
    let is_on = |role| config.common(role).enabled;
    if is_on(Role::Document) {
        tasks.spawn(expire(stores.clone()));
    }
    if config.api.feed && is_on(Role::Document) && is_on(Role::Search) {
        let feed = Feed::new(stores, paths.search_feed());
        let mut progress = feed.progress();
        tasks.spawn(feed.run());
        tasks.spawn(async move {
            loop {
                let now = progress.borrow_and_update().clone();
                hub.update(|status| {
                    status.feed = Some(FeedStatus {
                        state: now.state.to_owned(),
                        lag_seconds: now.lag_seconds,
                        changes: now.changes,
                        error: now.error,
                    });
                });
                if progress.changed().await.is_err() {
                    return;
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
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

//! Into which index a document goes: the one that it is in already, else the one that is written to.

use std::collections::BTreeMap;

use super::convert::Change;
use crate::store::StoreError;
use crate::store::documents::Documents;
use crate::store::search::{Action, Search};

/// Documents of one look.
const PAGE: u64 = 500;

/// Puts changes into the indices of a kind.
pub(super) async fn apply(
    search: &Search,
    entity: &str,
    changes: Vec<(String, Change)>,
) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    let alias = format!("lucid-{entity}");
    let ids: Vec<&str> = changes.iter().map(|(id, _)| id.as_str()).collect();
    // What was put in just now is not found yet; it is in the index that is written to, where the alias
    // leads. A refresh for each batch would write to the disk for it.
    let found = search.places(&alias, &ids).await?;
    let actions = changes.into_iter().flat_map(|(id, change)| {
        let places = found.get(&id).cloned().unwrap_or_default();
        match change {
            Change::Put(document) => {
                let index = places.first().cloned().unwrap_or_else(|| alias.clone());
                // Of an alias that moved on while it was put in.
                let others = places.into_iter().skip(1);
                let mut actions: Vec<Action> = others
                    .map(|index| Action::Remove {
                        index,
                        id: id.clone(),
                    })
                    .collect();
                actions.push(Action::Put {
                    index,
                    id,
                    document,
                });
                actions
            }
            Change::Remove => places
                .into_iter()
                .chain([alias.clone()])
                .map(|index| Action::Remove {
                    index,
                    id: id.clone(),
                })
                .collect(),
        }
    });
    let actions: Vec<Action> = actions.collect();
    let done = search.bulk(&actions).await?;
    // One that no index takes keeps no other out; it is told.
    for (id, cause) in done.failed {
        tracing::warn!("{alias}: document {id} is not searched: {cause}");
    }
    Ok(())
}

/// Takes out of the indices what is no document any more.
pub(super) async fn sweep(
    search: &Search,
    documents: &Documents,
    entity: &str,
    collection: &str,
) -> Result<(), StoreError> {
    let alias = format!("lucid-{entity}");
    search.refresh(&alias).await?;
    let mut after = None;
    loop {
        let page = search.page(&alias, PAGE, after.as_deref()).await?;
        if page.hits.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = page.hits.iter().map(|(id, _)| id.clone()).collect();
        let there = documents.which_exist(collection, &ids).await?;
        let gone: BTreeMap<&String, &String> = page
            .hits
            .iter()
            .filter(|(id, _)| !there.contains(id))
            .map(|(id, index)| (id, index))
            .collect();
        let actions: Vec<Action> = gone
            .into_iter()
            .map(|(id, index)| Action::Remove {
                index: index.clone(),
                id: id.clone(),
            })
            .collect();
        search.bulk(&actions).await?;
        after = page.after;
        if after.is_none() {
            return Ok(());
        }
    }
}

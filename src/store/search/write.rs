//! Putting documents into indices, and taking them out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::{Body, part};
use super::{Search, index_name};
use crate::config::Role;
use crate::store::StoreError;

/// Bytes of one request, about.
const BYTES: usize = 4 << 20;

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bulk {
    /// Documents that are in.
    pub done: u64,
    /// Those that the engine will never take: id and cause.
    pub failed: Vec<(String, String)>,
}

/// One step of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Puts a document in, in the place of one that has the id.
    Put {
        /// Index or alias.
        index: String,
        /// Its id.
        id: String,
        /// The document.
        document: Map<String, Value>,
    },
    /// Takes a document out.
    Remove {
        /// Its index.
        index: String,
        /// Its id.
        id: String,
    },
}

/// Where documents are: index by id, a page of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Places {
    /// Ids with their indices.
    pub hits: Vec<(String, String)>,
    /// By which the next page is asked for; absent at the end.
    pub after: Option<String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Search {
    /// Puts documents in under their ids, in the place of those that are there; answers what became of
    /// each. They are found after the index's next refresh.
    ///
    /// # Errors
    /// [`StoreError`] where nothing is known of any.
    pub async fn index(
        &self,
        index: &str,
        documents: &[(String, Map<String, Value>)],
    ) -> Result<Bulk, StoreError> {
        let actions = documents.iter().map(|(id, document)| Action::Put {
            index: index.to_owned(),
            id: id.clone(),
            document: document.clone(),
        });
        self.bulk(&actions.collect::<Vec<_>>()).await
    }

    /// Does several steps in their order; answers what became of them.
    ///
    /// # Errors
    /// [`StoreError`] where nothing is known of any.
    pub async fn bulk(&self, actions: &[Action]) -> Result<Bulk, StoreError> {
        let mut bulk = Bulk::default();
        let mut lines = String::new();
        for action in actions {
            match action {
                Action::Put {
                    index,
                    id,
                    document,
                } => {
                    index_name(index)?;
                    let head = json!({ "index": { "_index": index, "_id": id } });
                    let _ = writeln!(lines, "{head}\n{}", Value::Object(document.clone()));
                }
                Action::Remove { index, id } => {
                    index_name(index)?;
                    let head = json!({ "delete": { "_index": index, "_id": id } });
                    let _ = writeln!(lines, "{head}");
                }
            }
            if lines.len() >= BYTES {
                self.send(std::mem::take(&mut lines), &mut bulk).await?;
            }
        }
        if !lines.is_empty() {
            self.send(lines, &mut bulk).await?;
        }
        Ok(bulk)
    }

    async fn send(&self, lines: String, bulk: &mut Bulk) -> Result<(), StoreError> {
        let answer = self
            .client
            .ask(
                Method::POST,
                "_bulk",
                Body::Lines(lines),
                ("index", "of a batch"),
            )
            .await?;
        for item in answer["items"].as_array().into_iter().flatten() {
            let (item, is_put) = match item.get("index") {
                Some(item) => (item, true),
                None => (&item["delete"], false),
            };
            let reason = || text(&item["error"]["reason"]);
            match item["status"].as_u64().unwrap_or(0) {
                ..300 => bulk.done += 1,
                // What is gone already needs no removal.
                404 if !is_put => bulk.done += 1,
                // The document itself.
                400 => bulk.failed.push((text(&item["_id"]), reason())),
                // A full disk, a full queue, an index that is not there: for now.
                _ => {
                    return Err(StoreError::Down {
                        store: Role::Search,
                        cause: reason(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether there is an alias of this name.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn has_alias(&self, alias: &str) -> Result<bool, StoreError> {
        index_name(alias)?;
        let path = format!("_alias/{}", part(alias));
        let asked = self
            .client
            .ask(Method::GET, &path, Body::None, ("alias", alias))
            .await;
        match asked {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// In which indices behind an alias documents are.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn places(
        &self,
        alias: &str,
        ids: &[&str],
    ) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        index_name(alias)?;
        let body = json!({
            "query": { "ids": { "values": ids } }, "size": ids.len() * 2, "_source": false,
        });
        let path = format!("{}/_search?ignore_unavailable=true", part(alias));
        let answer = self
            .client
            .ask(Method::POST, &path, Body::Json(&body), ("index", alias))
            .await?;
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for hit in answer["hits"]["hits"].as_array().into_iter().flatten() {
            found
                .entry(text(&hit["_id"]))
                .or_default()
                .push(text(&hit["_index"]));
        }
        Ok(found)
    }

    /// Documents behind an alias as they are now, page by page.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn page(
        &self,
        alias: &str,
        size: u64,
        after: Option<&str>,
    ) -> Result<Places, StoreError> {
        index_name(alias)?;
        let what = ("index", alias);
        let answer = if let Some(scroll) = after {
            let body = json!({ "scroll": "5m", "scroll_id": scroll });
            self.client
                .ask(Method::POST, "_search/scroll", Body::Json(&body), what)
                .await?
        } else {
            let body = json!({ "query": { "match_all": {} }, "size": size, "_source": false });
            let path = format!("{}/_search?ignore_unavailable=true&scroll=5m", part(alias));
            self.client
                .ask(Method::POST, &path, Body::Json(&body), what)
                .await?
        };
        let hits = answer["hits"]["hits"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let scroll = answer["_scroll_id"].as_str().map(str::to_owned);
        if hits.is_empty()
            && let Some(scroll) = &scroll
        {
            let body = json!({ "scroll_id": scroll });
            let ended = self
                .client
                .ask(Method::DELETE, "_search/scroll", Body::Json(&body), what)
                .await;
            // It ends by itself in any case.
            if let Err(error) = ended {
                tracing::debug!("ending a scroll: {error}");
            }
        }
        Ok(Places {
            after: scroll.filter(|_| !hits.is_empty()),
            hits: hits
                .iter()
                .map(|hit| (text(&hit["_id"]), text(&hit["_index"])))
                .collect(),
        })
    }

    /// Takes a document out. `false` where there was none.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn remove(&self, index: &str, id: &str) -> Result<bool, StoreError> {
        index_name(index)?;
        let path = format!("{}/_doc/{}", part(index), part(id));
        match self
            .client
            .ask(Method::DELETE, &path, Body::None, ("document", id))
            .await
        {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes what was put in visible at once.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn refresh(&self, index: &str) -> Result<(), StoreError> {
        index_name(index)?;
        let path = format!("{}/_refresh", part(index));
        self.client
            .ask(Method::POST, &path, Body::None, ("index", index))
            .await
            .map(drop)
    }
}

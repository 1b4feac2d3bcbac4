//! Putting documents into indices, and taking them out.

use std::fmt::Write as _;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::{Body, part};
use super::{Search, index_name};
use crate::store::StoreError;

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bulk {
    /// Documents that are in.
    pub done: u64,
    /// Those that the engine refused: id and cause.
    pub failed: Vec<(String, String)>,
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
        index_name(index)?;
        if documents.is_empty() {
            return Ok(Bulk::default());
        }
        let mut lines = String::new();
        for (id, document) in documents {
            let action = json!({ "index": { "_index": index, "_id": id } });
            let _ = writeln!(lines, "{action}\n{}", Value::Object(document.clone()));
        }
        let answer = self
            .client
            .ask(Method::POST, "_bulk", Body::Lines(lines), ("index", index))
            .await?;
        let mut bulk = Bulk::default();
        for item in answer["items"].as_array().into_iter().flatten() {
            let item = &item["index"];
            if item["status"].as_u64().is_some_and(|status| status < 300) {
                bulk.done += 1;
            } else {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                bulk.failed
                    .push((text(&item["_id"]), text(&item["error"]["reason"])));
            }
        }
        Ok(bulk)
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

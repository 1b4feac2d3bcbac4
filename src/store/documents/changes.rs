//! What the feed of the search indices needs of the documents.

use std::collections::BTreeSet;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};
use mongodb::{Cursor, Database};
use serde_json::Value;

use super::connection::answered;
use super::{Documents, LIMIT};
use crate::store::StoreError;

/// Bytes of documents that are in memory at once, about.
const BYTES: usize = 4 << 20;

impl Documents {
    /// The database whose changes are followed.
    pub(in crate::store) async fn changes(&self) -> Result<Database, StoreError> {
        self.connection.database().await
    }

    /// All documents of a collection.
    pub(in crate::store) async fn walk(
        &self,
        collection: &str,
    ) -> Result<Cursor<Document>, StoreError> {
        let database = self.connection.database().await?;
        answered(async { database.collection(collection).find(doc! {}).await }).await
    }

    /// The next ones, `size` at most; none at the end.
    pub(in crate::store) async fn some_of(
        &self,
        all: &mut Cursor<Document>,
        size: usize,
    ) -> Result<Vec<Document>, StoreError> {
        answered(async {
            let (mut found, mut bytes) = (Vec::new(), 0);
            while found.len() < size && bytes < BYTES && all.advance().await? {
                bytes += all.current().as_bytes().len();
                found.push(all.deserialize_current()?);
            }
            Ok(found)
        })
        .await
    }

    /// Which of these `_id`s, as texts, are documents.
    pub(in crate::store) async fn which_exist(
        &self,
        collection: &str,
        ids: &[String],
    ) -> Result<BTreeSet<String>, StoreError> {
        let as_bson = ids.iter().flat_map(|id| {
            let object = ObjectId::parse_str(id).ok().map(Bson::ObjectId);
            // As `id_of` writes what is neither.
            let other = id
                .starts_with(['{', '['])
                .then(|| serde_json::from_str::<Value>(id).ok());
            let other = other.flatten().and_then(|other| Bson::try_from(other).ok());
            object
                .into_iter()
                .chain(other)
                .chain([Bson::from(id.as_str())])
        });
        let filter = doc! { "_id": { "$in": as_bson.collect::<Vec<_>>() } };
        let database = self.connection.database().await?;
        answered(async {
            let mut cursor = database
                .collection::<Document>(collection)
                .find(filter)
                .projection(doc! { "_id": 1 })
                .max_time(LIMIT)
                .await?;
            let mut found = BTreeSet::new();
            while cursor.advance().await? {
                let document: Document = cursor.deserialize_current()?;
                found.insert(match document.get("_id") {
                    Some(Bson::ObjectId(id)) => id.to_hex(),
                    Some(Bson::String(text)) => text.clone(),
                    Some(other) => other.clone().into_canonical_extjson().to_string(),
                    None => continue,
                });
            }
            Ok(found)
        })
        .await
    }
}

//! What the feed of the search indices needs of the documents.

use std::collections::BTreeSet;

use mongodb::Database;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};

use super::connection::{answered, explain};
use super::{Documents, LIMIT};
use crate::store::StoreError;

/// What a failure of a change stream means.
pub(in crate::store) fn changes_failed(error: &mongodb::error::Error) -> StoreError {
    explain(error)
}

impl Documents {
    /// The database whose changes are followed.
    pub(in crate::store) async fn changes(&self) -> Result<Database, StoreError> {
        self.connection.database().await
    }

    /// Documents of a collection in the order of `_id`, after one.
    pub(in crate::store) async fn page(
        &self,
        collection: &str,
        after: Option<&Bson>,
        size: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let filter = after.map_or_else(Document::new, |after| doc! { "_id": { "$gt": after } });
        let database = self.connection.database().await?;
        answered(async {
            let mut cursor = database
                .collection::<Document>(collection)
                .find(filter)
                .sort(doc! { "_id": 1 })
                .limit(i64::try_from(size).unwrap_or(i64::MAX))
                .max_time(LIMIT)
                .await?;
            let mut found = Vec::new();
            while cursor.advance().await? {
                found.push(cursor.deserialize_current()?);
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
            object.into_iter().chain([Bson::from(id.as_str())])
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
                    other => other.map_or_else(String::new, ToString::to_string),
                });
            }
            Ok(found)
        })
        .await
    }
}

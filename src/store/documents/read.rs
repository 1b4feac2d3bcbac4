//! Reading documents.

use mongodb::bson::{Document, doc};
use serde_json::{Map, Value};

use super::connection::answered;
use super::filter::{filter, order, projection, without_secrets};
use super::pipeline::pipeline;
use super::{Documents, LIMIT, MOST, definition};
use crate::store::StoreError;

/// What to find.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Which documents.
    pub filter: Map<String, Value>,
    /// Which fields of them; all but secrets where none is named.
    pub fields: Vec<String>,
    /// By what they are ordered: a field, and 1 or -1.
    pub sort: Vec<(String, i32)>,
    /// How many are passed over.
    pub skip: u64,
    /// How many are answered: 1 to [`MOST`].
    pub limit: i64,
}

/// Bytes of one answer at most: it is in memory as a whole.
const LARGEST: usize = 8 << 20;

/// Documents of one answer.
#[derive(Default)]
struct Gathered {
    found: Vec<Document>,
    bytes: usize,
}

impl Gathered {
    fn is_full(&self) -> bool {
        self.bytes > LARGEST
    }

    fn push(&mut self, document: Document, bytes: usize) {
        self.bytes += bytes;
        self.found.push(document);
    }

    fn documents(self) -> Result<Vec<Document>, StoreError> {
        if self.is_full() {
            let message =
                format!("the answer has more than {LARGEST} bytes: ask for fewer or smaller ones");
            return Err(StoreError::invalid("limit", "bytes", message));
        }
        Ok(self.found)
    }
}

impl Documents {
    /// Documents that match.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn find(&self, collection: &str, query: &Query) -> Result<Vec<Document>, StoreError> {
        let known = definition(collection)?;
        if !(1..=MOST).contains(&query.limit) {
            let message = format!("1 to {MOST}; found {}", query.limit);
            return Err(StoreError::invalid("limit", "range", message));
        }
        let filter = filter(known, &query.filter)?;
        let projection = projection(&query.fields)?;
        let order = order(&query.sort)?;
        let database = self.connection.database().await?;
        answered(async {
            let mut cursor = database
                .collection::<Document>(collection)
                .find(filter)
                .projection(projection)
                .sort(order)
                .skip(query.skip)
                .limit(query.limit)
                .max_time(LIMIT)
                .await?;
            let mut found = Gathered::default();
            while !found.is_full() && cursor.advance().await? {
                let bytes = cursor.current().as_bytes().len();
                found.push(without_secrets(cursor.deserialize_current()?), bytes);
            }
            Ok(found)
        })
        .await?
        .documents()
    }

    /// The document of this id, by the field that the platform knows it by.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] and others.
    pub async fn get(&self, collection: &str, id: &str) -> Result<Document, StoreError> {
        let known = definition(collection)?;
        let database = self.connection.database().await?;
        let found = answered(async {
            database
                .collection::<Document>(collection)
                .find_one(doc! { known.id.as_str(): id })
                .max_time(LIMIT)
                .await
        });
        let found = found.await?;
        found
            .map(without_secrets)
            .ok_or_else(|| StoreError::not_found("document", id))
    }

    /// How many match.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn count(
        &self,
        collection: &str,
        wanted: &Map<String, Value>,
    ) -> Result<u64, StoreError> {
        let filter = filter(definition(collection)?, wanted)?;
        let database = self.connection.database().await?;
        answered(async {
            database
                .collection::<Document>(collection)
                .count_documents(filter)
                .max_time(LIMIT)
                .await
        })
        .await
    }

    /// What an aggregation answers, `limit` documents at most.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn aggregate(
        &self,
        collection: &str,
        stages: &[Map<String, Value>],
        limit: i64,
    ) -> Result<Vec<Document>, StoreError> {
        let stages = pipeline(definition(collection)?, stages, limit)?;
        let database = self.connection.database().await?;
        answered(async {
            let mut cursor = database
                .collection::<Document>(collection)
                .aggregate(stages)
                .max_time(LIMIT)
                .await?;
            let mut found = Gathered::default();
            while !found.is_full() && cursor.advance().await? {
                let bytes = cursor.current().as_bytes().len();
                found.push(cursor.deserialize_current()?, bytes);
            }
            Ok(found)
        })
        .await?
        .documents()
    }
}

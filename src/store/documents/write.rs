//! Writing documents: checked by the rules of their collection first, so that an error says which one
//! broke; the store checks once more.

use mongodb::bson::{Bson, DateTime, Document, Uuid, doc};
use serde_json::{Map, Value};

use super::connection::answered;
use super::filter::filter;
use super::{Documents, broken, definition};
use crate::schema::documents as schema;
use crate::store::StoreError;

/// Documents of one insert at most.
const BATCH: usize = 1000;

/// An update, and which documents it is for.
#[derive(Debug, Clone, Default)]
pub struct Update {
    /// Which; not empty.
    pub filter: Map<String, Value>,
    /// Such as `{"$set": {…}}`.
    pub update: Map<String, Value>,
    /// All that match, or the first alone.
    pub many: bool,
    /// Whether one is made where none matches.
    pub upsert: bool,
}

/// What became of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changed {
    /// Documents that matched.
    pub matched: u64,
    /// Of them, those that are another now.
    pub modified: u64,
    /// Made, since none matched.
    pub inserted: u64,
}

fn prepared(
    collection: &schema::Collection,
    fields: &Map<String, Value>,
) -> Result<Document, StoreError> {
    let mut fields = fields.clone();
    if collection.generated && !fields.contains_key(&collection.id) {
        let id = Uuid::new().to_string();
        fields.insert(collection.id.clone(), id.into());
    }
    let now = jiff::Timestamp::now().to_string();
    for name in ["created_at", "updated_at"] {
        if collection.root.field(name).is_some() && !fields.contains_key(name) {
            fields.insert(name.to_owned(), now.clone().into());
        }
    }
    schema::document(collection, &fields).map_err(broken)
}

/// How a document is known: the platform's id, or `_id`.
fn id_of(collection: &schema::Collection, document: &Document, inserted: &Bson) -> String {
    let id = document.get(&collection.id).unwrap_or(inserted);
    match id {
        Bson::String(text) => text.clone(),
        Bson::ObjectId(id) => id.to_hex(),
        other => other.to_string(),
    }
}

fn not_empty(wanted: &Map<String, Value>) -> Result<(), StoreError> {
    if wanted.is_empty() {
        let message = "is empty, which is every document: say which ones are meant";
        return Err(StoreError::invalid("filter", "required", message));
    }
    Ok(())
}

impl Documents {
    /// Puts documents in; answers their ids. All are checked before the first is written; where the
    /// store refuses one, those before it are in.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] with every broken rule, [`StoreError::Exists`], and others.
    pub async fn insert(
        &self,
        collection: &str,
        documents: &[Map<String, Value>],
    ) -> Result<Vec<String>, StoreError> {
        let known = definition(collection)?;
        if documents.is_empty() || documents.len() > BATCH {
            let message = format!("1 to {BATCH} documents; found {}", documents.len());
            return Err(StoreError::invalid("documents", "range", message));
        }
        let made: Vec<Document> = documents
            .iter()
            .map(|fields| prepared(known, fields))
            .collect::<Result<_, _>>()?;
        let database = self.connection.database().await?;
        let inserted = answered(async {
            database
                .collection::<Document>(collection)
                .insert_many(&made)
                .await
        })
        .await?;
        let ids = made.iter().enumerate().map(|(index, document)| {
            let id = inserted.inserted_ids.get(&index).unwrap_or(&Bson::Null);
            id_of(known, document, id)
        });
        Ok(ids.collect())
    }

    /// Changes documents. A change of nothing is none that failed: matched and modified are told.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn update(&self, collection: &str, wanted: &Update) -> Result<Changed, StoreError> {
        let known = definition(collection)?;
        not_empty(&wanted.filter)?;
        let filter = filter(known, &wanted.filter)?;
        let mut update = schema::update(known, &wanted.update).map_err(broken)?;
        if known.root.field("updated_at").is_some() {
            let names_it = update.iter().any(|(_, fields)| {
                fields
                    .as_document()
                    .is_some_and(|f| f.contains_key("updated_at"))
            });
            if !names_it {
                let set = update
                    .entry("$set".to_owned())
                    .or_insert_with(|| doc! {}.into());
                if let Bson::Document(set) = set {
                    set.insert("updated_at", DateTime::now());
                }
            }
        }
        let database = self.connection.database().await?;
        let collection = database.collection::<Document>(collection);
        let done = answered(async {
            if wanted.many {
                collection
                    .update_many(filter, update)
                    .upsert(wanted.upsert)
                    .await
            } else {
                collection
                    .update_one(filter, update)
                    .upsert(wanted.upsert)
                    .await
            }
        })
        .await?;
        Ok(Changed {
            matched: done.matched_count,
            modified: done.modified_count,
            inserted: u64::from(done.upserted_id.is_some()),
        })
    }

    /// Removes documents: the first that matches, or all. Answers how many.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn delete(
        &self,
        collection: &str,
        wanted: &Map<String, Value>,
        many: bool,
    ) -> Result<u64, StoreError> {
        let known = definition(collection)?;
        not_empty(wanted)?;
        let filter = filter(known, wanted)?;
        let database = self.connection.database().await?;
        let collection = database.collection::<Document>(collection);
        let done = answered(async {
            if many {
                collection.delete_many(filter).await
            } else {
                collection.delete_one(filter).await
            }
        })
        .await?;
        Ok(done.deleted_count)
    }
}

//! Collections and indexes as things: what is there, how large it is, making and removing it.

use mongodb::bson::{Bson, Document, doc};

use super::connection::{answered, explain};
use super::{Documents, definition};
use crate::schema::documents::{self as schema, index_command, validator};
use crate::store::StoreError;

/// An index over everything that a board holds.
const REINDEX: std::time::Duration = std::time::Duration::from_secs(3600);

/// How much a collection or the whole database holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Documents.
    pub documents: u64,
    /// Their length in bytes.
    pub data_bytes: u64,
    /// What they take on the disk, in bytes.
    pub storage_bytes: u64,
    /// Indexes.
    pub indexes: u64,
    /// What those take, in bytes.
    pub index_bytes: u64,
    /// Collections.
    pub collections: u64,
    /// Views.
    pub views: u64,
}

/// A collection that is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Whether it is one of the platform's.
    pub is_known: bool,
    /// Its options, such as the validator.
    pub options: Document,
}

/// An index that is there.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexInfo {
    /// Its name.
    pub name: String,
    /// Fields in their order, with 1, -1, `text` and so on.
    pub keys: Vec<(String, Bson)>,
    /// All the rest.
    pub options: Document,
}

/// An index that is wanted.
#[derive(Debug, Clone, Default)]
pub struct NewIndex {
    /// Fields in their order, with 1 or -1, or a kind such as `text`.
    pub keys: Vec<(String, Bson)>,
    /// Its name; made of the fields where it is absent.
    pub name: Option<String>,
    /// Whether a value may be there once.
    pub unique: bool,
    /// Without documents that lack the field.
    pub sparse: bool,
    /// Documents go so many seconds after the time in the field.
    pub expire_after_seconds: Option<i32>,
}

/// What came of each index that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its name.
    pub name: String,
    /// Absent where it is there now.
    pub fault: Option<String>,
}

fn number(document: &Document, name: &str) -> u64 {
    let value = document.get(name);
    let number = value.and_then(|value| match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[allow(clippy::cast_possible_truncation)]
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    });
    number
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or(0)
}

/// Names that a person may give a collection; the engine's own begin with `system.`.
fn check_name(name: &str) -> Result<(), StoreError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let fine = (1..=100).contains(&name.len())
        && name.chars().all(allowed)
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !name.starts_with("system.");
    if fine {
        return Ok(());
    }
    let message = "begins with a letter, has letters, digits, _ - and dots, 100 at most, and not \
                   system. first";
    Err(StoreError::invalid("name", "pattern", message))
}

impl Documents {
    async fn all(&self, command: Document) -> Result<Vec<Document>, StoreError> {
        let database = self.connection.database().await?;
        answered(async {
            let mut cursor = database.run_cursor_command(command).await?;
            let mut found = Vec::new();
            while cursor.advance().await? {
                found.push(cursor.deserialize_current()?);
            }
            Ok(found)
        })
        .await
    }

    async fn command(&self, command: Document) -> Result<Document, StoreError> {
        let database = self.connection.database().await?;
        answered(async { database.run_command(command).await }).await
    }

    /// Whether it answers, and with which version.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn version(&self) -> Result<String, StoreError> {
        let told = self.command(doc! { "buildInfo": 1 }).await?;
        Ok(told.get_str("version").unwrap_or_default().to_owned())
    }

    /// What is there, by name.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn collections(&self) -> Result<Vec<Found>, StoreError> {
        let listed = self.all(doc! { "listCollections": 1 }).await?;
        let mut found: Vec<Found> = listed
            .into_iter()
            .filter_map(|entry| {
                let name = entry.get_str("name").ok()?.to_owned();
                if name.starts_with("system.") {
                    return None;
                }
                Some(Found {
                    is_known: schema::named(&name).is_some(),
                    options: entry.get_document("options").cloned().unwrap_or_default(),
                    name,
                })
            })
            .collect();
        found.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(found)
    }

    /// One that is there.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]
    pub async fn collection(&self, name: &str) -> Result<Found, StoreError> {
        let all = self.collections().await?;
        all.into_iter()
            .find(|one| one.name == name)
            .ok_or_else(|| StoreError::not_found("collection", name))
    }

    /// How much a collection holds.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn counts_of(&self, name: &str) -> Result<Counts, StoreError> {
        self.collection(name).await?;
        let told = self.command(doc! { "collStats": name }).await?;
        Ok(Counts {
            documents: number(&told, "count"),
            data_bytes: number(&told, "size"),
            storage_bytes: number(&told, "storageSize"),
            indexes: number(&told, "nindexes"),
            index_bytes: number(&told, "totalIndexSize"),
            collections: 1,
            views: 0,
        })
    }

    /// How much the database holds.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        let told = self.command(doc! { "dbStats": 1 }).await?;
        Ok(Counts {
            documents: number(&told, "objects"),
            data_bytes: number(&told, "dataSize"),
            storage_bytes: number(&told, "storageSize"),
            indexes: number(&told, "indexes"),
            index_bytes: number(&told, "indexSize"),
            collections: number(&told, "collections"),
            views: number(&told, "views"),
        })
    }

    /// Makes a collection: one of the platform with its validator and indexes, another one as it is.
    ///
    /// # Errors
    /// [`StoreError::Exists`] and others.
    pub async fn create_collection(
        &self,
        name: &str,
        capped_bytes: Option<i64>,
        capped_documents: Option<i64>,
    ) -> Result<(), StoreError> {
        check_name(name)?;
        if self.collections().await?.iter().any(|one| one.name == name) {
            return Err(StoreError::Exists {
                what: "collection",
                name: name.to_owned(),
            });
        }
        let mut command = doc! { "create": name };
        let known = schema::named(name);
        if let Some(known) = known {
            command.insert("validator", validator(known));
            command.insert("validationLevel", "strict");
            command.insert("validationAction", "error");
        }
        if let Some(bytes) = capped_bytes {
            command.insert("capped", true);
            command.insert("size", bytes);
            if let Some(documents) = capped_documents {
                command.insert("max", documents);
            }
        }
        self.command(command).await?;
        if known.is_some() {
            self.create_known_indexes(name).await?;
        }
        Ok(())
    }

    /// Removes a collection and everything in it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] and others.
    pub async fn drop_collection(&self, name: &str) -> Result<(), StoreError> {
        self.collection(name).await?;
        self.command(doc! { "drop": name }).await.map(drop)
    }

    /// Gives a collection another name; with `replace` in the place of one that has it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn rename_collection(
        &self,
        from: &str,
        to: &str,
        replace: bool,
    ) -> Result<(), StoreError> {
        check_name(to)?;
        let all = self.collections().await?;
        if !all.iter().any(|one| one.name == from) {
            return Err(StoreError::not_found("collection", from));
        }
        if !replace && all.iter().any(|one| one.name == to) {
            return Err(StoreError::Exists {
                what: "collection",
                name: to.to_owned(),
            });
        }
        let name = |name: &str| format!("{}.{name}", schema::DATABASE);
        let command =
            doc! { "renameCollection": name(from), "to": name(to), "dropTarget": replace };
        let admin = self.connection.client().await?.database("admin");
        answered(async { admin.run_command(command).await })
            .await
            .map(drop)
    }

    /// Documents of a collection that break its rules today.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn violations(&self, name: &str) -> Result<u64, StoreError> {
        self.collection(name).await?;
        let Some(known) = schema::named(name) else {
            return Ok(0);
        };
        let database = self.connection.database().await?;
        let broken = doc! { "$nor": [validator(known)] };
        answered(async {
            database
                .collection::<Document>(name)
                .count_documents(broken)
                .max_time(super::LIMIT)
                .await
        })
        .await
    }

    /// Indexes of a collection.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]
    pub async fn indexes(&self, name: &str) -> Result<Vec<IndexInfo>, StoreError> {
        self.collection(name).await?;
        let listed = self.all(doc! { "listIndexes": name }).await?;
        let of = |mut index: Document| {
            let name = index.get_str("name").ok()?.to_owned();
            let keys = index.get_document("key").ok()?.clone();
            for own in ["name", "key", "v", "ns"] {
                index.remove(own);
            }
            Some(IndexInfo {
                name,
                keys: keys.into_iter().collect(),
                options: index,
            })
        };
        Ok(listed.into_iter().filter_map(of).collect())
    }

    /// Makes an index; answers its name.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the same fields have another one.
    pub async fn create_index(&self, name: &str, wanted: &NewIndex) -> Result<String, StoreError> {
        self.collection(name).await?;
        if wanted.keys.is_empty() {
            return Err(StoreError::invalid(
                "keys",
                "minItems",
                "names one field at least",
            ));
        }
        let mut keys = Document::new();
        let mut words = Vec::new();
        for (field, kind) in &wanted.keys {
            if field.is_empty() || field.starts_with('$') || field == "_id" {
                let message = format!("{field:?} is no field that an index can be made of");
                return Err(StoreError::invalid("keys", "name", message));
            }
            keys.insert(field.clone(), kind.clone());
            words.push(format!("{field}_{}", kind.to_string().trim_matches('"')));
        }
        let index_name = wanted.name.clone().unwrap_or_else(|| words.join("_"));
        let mut index = doc! { "key": keys, "name": &index_name };
        if wanted.unique {
            index.insert("unique", true);
        }
        if wanted.sparse {
            index.insert("sparse", true);
        }
        if let Some(seconds) = wanted.expire_after_seconds {
            index.insert("expireAfterSeconds", seconds);
        }
        self.command(doc! { "createIndexes": name, "indexes": [index] })
            .await?;
        Ok(index_name)
    }

    /// Removes an index.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] for that of `_id`.
    pub async fn drop_index(&self, name: &str, index: &str) -> Result<(), StoreError> {
        if index == "_id_" || index == "*" {
            let message = format!("index {index:?} cannot be removed; name one other than _id_");
            return Err(StoreError::Forbidden(message));
        }
        if !self
            .indexes(name)
            .await?
            .iter()
            .any(|one| one.name == index)
        {
            return Err(StoreError::not_found("index", index));
        }
        self.command(doc! { "dropIndexes": name, "index": index })
            .await
            .map(drop)
    }

    /// Makes the platform's indexes of a collection, each on its own.
    ///
    /// # Errors
    /// [`StoreError`] where nothing could be tried.
    pub async fn create_known_indexes(&self, name: &str) -> Result<Vec<Created>, StoreError> {
        let known = definition(name)?;
        self.collection(name).await?;
        let mut done = Vec::new();
        for index in &known.indexes {
            let command = doc! { "createIndexes": name, "indexes": [index_command(index)] };
            let fault = match self.command(command).await {
                Ok(_) => None,
                Err(error @ (StoreError::Down { .. } | StoreError::Slow { .. })) => {
                    return Err(error);
                }
                Err(error) => Some(error.to_string()),
            };
            done.push(Created {
                name: index.name.clone(),
                fault,
            });
        }
        Ok(done)
    }

    /// Makes every index but that of `_id` anew, one after the other: no engine does it by itself any
    /// more. Queries are slow meanwhile; a unique one is enforced again when it is there. Answers how
    /// many.
    ///
    /// # Errors
    /// [`StoreError`]; the index that could not be made is named in the cause.
    pub async fn reindex(&self, name: &str) -> Result<u64, StoreError> {
        let mut count = 0;
        for index in self.indexes(name).await? {
            if index.name == "_id_" {
                continue;
            }
            let mut command: Document = index.options.clone();
            command.insert("key", index.keys.iter().cloned().collect::<Document>());
            command.insert("name", &index.name);
            self.command(doc! { "dropIndexes": name, "index": &index.name })
                .await?;
            let create = doc! { "createIndexes": name, "indexes": [command] };
            let database = self.connection.database().await?;
            let made = tokio::time::timeout(REINDEX, database.run_command(create)).await;
            let cause = match made {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(explain(&error).to_string()),
                Err(_) => Some("it takes longer than an hour".to_owned()),
            };
            if let Some(cause) = cause {
                tracing::error!("index {} of {name} is gone: {cause}", index.name);
                return Err(StoreError::Conflict(format!(
                    "index {} of {name} is gone, and could not be made again: {cause}. `lucid schema \
                     apply` makes those of the platform",
                    index.name
                )));
            }
            count += 1;
        }
        Ok(count)
    }

    /// Sizes of the indexes of a collection by name, in bytes.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn index_sizes(&self, name: &str) -> Result<Vec<(String, u64)>, StoreError> {
        self.collection(name).await?;
        let told = self.command(doc! { "collStats": name }).await?;
        let sizes = told.get_document("indexSizes").cloned().unwrap_or_default();
        let names: Vec<String> = sizes.keys().cloned().collect();
        Ok(names
            .into_iter()
            .map(|name| {
                let bytes = number(&sizes, &name);
                (name, bytes)
            })
            .collect())
    }
}

//! What a store has: collections and views with their options and indexes.

use mongodb::bson::{Document, doc};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::failed;
use crate::backup::BackupError;
use crate::engine::HEALTH_DATABASE;

/// What is no file name, or would be read as another one: as mongodump escapes names of
/// collections (Go's `url.PathEscape`).
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b';')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b',');

/// Longest name of a file, without its end; names of files have 255 bytes at most.
const LONGEST: usize = 200;
/// What is kept of a longer one.
const CUT: usize = 150;

/// Databases that belong to the engine or to probes.
pub(super) const OWN: [&str; 4] = ["admin", "config", "local", HEALTH_DATABASE];

/// A collection or a view.
#[derive(Debug, Clone)]
pub(in crate::backup) struct Listed {
    pub(in crate::backup) db: String,
    pub(in crate::backup) name: String,
    /// `collection`, `view` or `timeseries`.
    pub(in crate::backup) kind: String,
    options: Document,
    uuid: Option<String>,
    indexes: Vec<Document>,
}

impl Listed {
    /// Whether it is the very same collection still.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.db == other.db && self.name == other.name && self.uuid == other.uuid
    }

    pub(in crate::backup) fn is_view(&self) -> bool {
        self.kind == "view"
    }

    /// Whether documents go when their time is over.
    pub(super) fn expires(&self) -> bool {
        let indexes = self.indexes.iter();
        indexes
            .into_iter()
            .any(|index| index.contains_key("expireAfterSeconds"))
    }

    /// Whether old documents go without a note.
    pub(super) fn is_capped(&self) -> bool {
        self.options.get_bool("capped").unwrap_or(false)
    }

    /// Whether texts in it compare otherwise than byte by byte.
    pub(super) fn has_collation(&self) -> bool {
        self.options.get_document("collation").is_ok_and(|rules| {
            rules
                .get_str("locale")
                .is_ok_and(|locale| locale != "simple")
        })
    }

    #[cfg(test)]
    pub(super) fn example(db: &str, name: &str, options: Document) -> Self {
        Self {
            db: db.to_owned(),
            name: name.to_owned(),
            kind: "collection".to_owned(),
            options,
            uuid: None,
            indexes: Vec::new(),
        }
    }

    /// Name of its files, without their ends.
    pub(in crate::backup) fn file(&self) -> String {
        let name = utf8_percent_encode(&self.name, ESCAPED).to_string();
        if name.len() <= LONGEST {
            return format!("{}/{name}", self.db);
        }
        // No file system takes it whole; the metadata has the name as it is.
        let hash = crate::backup::hex(&Sha256::digest(self.name.as_bytes()));
        format!("{}/{}%24{}", self.db, &name[..CUT], &hash[..32])
    }

    /// `metadata.json` as mongodump writes it: canonical extended JSON.
    pub(super) fn metadata(&self) -> Result<Vec<u8>, BackupError> {
        let whole = doc! {
            "options": self.options.clone(),
            "indexes": self.indexes.clone(),
            "uuid": self.uuid.clone().unwrap_or_default(),
            "collectionName": self.name.clone(),
            "type": self.kind.clone(),
        };
        let value = bson::Bson::Document(whole).into_canonical_extjson();
        serde_json::to_vec(&value).map_err(|error| BackupError::Capture {
            part: format!("{}.{}", self.db, self.name),
            cause: error.to_string(),
        })
    }
}

/// Everything that belongs to clients, in the order of their files.
pub(in crate::backup) async fn list(client: &mongodb::Client) -> Result<Vec<Listed>, BackupError> {
    let mut found = Vec::new();
    let names = client
        .list_database_names()
        .await
        .map_err(|error| failed(&error))?;
    for db in names
        .into_iter()
        .filter(|name| !OWN.contains(&name.as_str()))
    {
        let database = client.database(&db);
        let mut cursor = database
            .run_cursor_command(doc! { "listCollections": 1 })
            .await
            .map_err(|error| failed(&error))?;
        while cursor.advance().await.map_err(|error| failed(&error))? {
            let entry: Document = cursor
                .deserialize_current()
                .map_err(|error| failed(&error))?;
            let name = entry.get_str("name").unwrap_or_default().to_owned();
            if name.starts_with("system.") {
                continue;
            }
            let kind = entry.get_str("type").unwrap_or("collection").to_owned();
            let indexes = if kind == "view" {
                Vec::new()
            } else {
                indexes(&database, &name).await?
            };
            let uuid = entry
                .get_document("info")
                .ok()
                .and_then(|info| info.get_binary_generic("uuid").ok())
                .map(|bytes| crate::backup::hex(bytes));
            found.push(Listed {
                db: db.clone(),
                kind,
                options: entry.get_document("options").cloned().unwrap_or_default(),
                uuid,
                indexes,
                name,
            });
        }
    }
    found.sort_by_key(Listed::file);
    Ok(found)
}

/// `NamespaceNotFound`
fn is_missing(error: &mongodb::error::Error) -> bool {
    matches!(error.kind.as_ref(), mongodb::error::ErrorKind::Command(error) if error.code == 26)
}

async fn indexes(database: &mongodb::Database, name: &str) -> Result<Vec<Document>, BackupError> {
    let command = doc! { "listIndexes": name };
    let mut cursor = match database.run_cursor_command(command).await {
        Ok(cursor) => cursor,
        // Dropped since it was listed; its documents are not there either.
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(&error)),
    };
    let mut found = Vec::new();
    while cursor.advance().await.map_err(|error| failed(&error))? {
        let index: Document = cursor
            .deserialize_current()
            .map_err(|error| failed(&error))?;
        found.push(index);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_collection_leads_out_of_the_dump() {
        let file = |name: &str| Listed::example("d", name, Document::new()).file();
        assert_eq!(file("plain.name-1"), "d/plain.name-1");
        assert_eq!(file("../../etc/x"), "d/..%2F..%2Fetc%2Fx");
        assert_eq!(file("a b%2F"), "d/a%20b%252F");
        assert_eq!(file("größe"), "d/gr%C3%B6%C3%9Fe");
        let (one, two) = (file(&"я".repeat(100)), file(&"я".repeat(101)));
        assert!(one.len() < 220 && one != two, "{one}");
    }
}

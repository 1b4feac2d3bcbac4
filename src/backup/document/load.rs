//! Puts a dump back into a store: collections with their options, documents, then indexes.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use mongodb::Database;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use percent_encoding::percent_decode_str;

use super::Sum;
use crate::backup::BackupError;
use crate::backup::manifest::Collection;
use crate::fsx::FsError;

/// Documents sent at once, and their bytes: the wire protocol takes 48 MB and 100,000.
const BATCH: usize = 1000;
const BATCH_BYTES: usize = 8 << 20;
/// A document is at most 16 MiB, and some for its own index.
const LARGEST: usize = (16 << 20) + (16 << 10);

/// What was put back.
pub(in crate::backup) type Loaded = Vec<Collection>;

/// Where a collection of the dump goes.
pub(in crate::backup) type Target<'a> = &'a dyn Fn(&str, &str) -> Option<(String, String)>;

fn wrong(path: &Path, cause: impl std::fmt::Display) -> BackupError {
    BackupError::Refused(format!("{}: {cause}", path.display()))
}

/// Loads every collection below `dump` that `target` names a place for. A collection that is there
/// already is an error: nothing is mixed with what somebody has.
pub(in crate::backup) async fn load(
    client: &mongodb::Client,
    dump: &Path,
    target: Target<'_>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Loaded, BackupError> {
    let mut loaded = Vec::new();
    let mut views = Vec::new();
    for path in metadata_files(dump)? {
        let text = std::fs::read(&path).map_err(FsError::wrap("read", &path))?;
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| wrong(&path, error))?;
        let Bson::Document(metadata) =
            Bson::try_from(value).map_err(|error| wrong(&path, error))?
        else {
            return Err(wrong(&path, "it is no document"));
        };
        let db = path
            .parent()
            .and_then(Path::file_name)
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let name = match metadata.get_str("collectionName") {
            Ok(name) => name.to_owned(),
            Err(_) => name_of(&path),
        };
        let Some((to_db, to_name)) = target(&db, &name) else {
            continue;
        };
        let database = client.database(&to_db);
        let options = metadata
            .get_document("options")
            .cloned()
            .unwrap_or_default();
        let failed = |error: mongodb::error::Error| {
            BackupError::Refused(format!("{to_db}.{to_name}: {error}"))
        };
        if metadata.get_str("type").is_ok_and(|kind| kind == "view") {
            views.push((database, to_name, options));
            continue;
        }
        create(&database, &to_name, options).await.map_err(failed)?;
        let indexes: Vec<Bson> = metadata
            .get_array("indexes")
            .cloned()
            .unwrap_or_default()
            .into_iter()
            .filter(|index| {
                let index = index.as_document();
                index.and_then(|index| index.get_str("name").ok()) != Some("_id_")
            })
            .collect();
        // Before the documents: secantus makes an index over many in one transaction, which with a small
        // cache never ends.
        if !indexes.is_empty() {
            database
                .run_command(doc! { "createIndexes": &to_name, "indexes": indexes })
                .await
                .map_err(failed)?;
        }
        let bson = bson_of(&path);
        let facts = documents(&database, &to_name, &bson, progress).await?;
        loaded.push(Collection {
            db: to_db,
            name: to_name,
            ..facts
        });
    }
    // A view may show another one; the engine refuses none whose source is missing.
    for (database, name, options) in views {
        create(&database, &name, options).await.map_err(|error| {
            BackupError::Refused(format!("{}.{name}: {error}", database.name()))
        })?;
        loaded.push(Collection {
            db: database.name().to_owned(),
            name,
            count: 0,
            bytes: 0,
            hash: Sum::default().hex(),
            read: None,
        });
    }
    Ok(loaded)
}

async fn create(
    database: &Database,
    name: &str,
    mut options: Document,
) -> mongodb::error::Result<()> {
    let mut command = doc! { "create": name };
    // It is implied, and refused beside a collation by some versions.
    options.remove("autoIndexId");
    command.extend(options);
    database.run_command(command).await.map(drop)
}

async fn documents(
    database: &Database,
    name: &str,
    path: &Path,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Collection, BackupError> {
    let file = std::fs::File::open(path).map_err(FsError::wrap("open", path))?;
    let mut file = BufReader::with_capacity(1 << 20, file);
    let collection = database.collection::<RawDocumentBuf>(name);
    let (mut sum, mut count, mut bytes) = (Sum::default(), 0, 0);
    let mut batch = Vec::new();
    let mut held = 0;
    loop {
        let next = next(&mut file).map_err(|error| wrong(path, error))?;
        let full = batch.len() >= BATCH || held >= BATCH_BYTES;
        if (full || next.is_none()) && !batch.is_empty() {
            collection
                .insert_many(std::mem::take(&mut batch))
                .ordered(false)
                .await
                .map_err(|error| {
                    BackupError::Refused(format!("{}.{name}: {error}", database.name()))
                })?;
            progress(held as u64);
            held = 0;
        }
        let Some(document) = next else {
            break;
        };
        sum.add(&document);
        count += 1;
        bytes += document.len() as u64;
        held += document.len();
        batch.push(RawDocumentBuf::from_bytes(document).map_err(|error| wrong(path, error))?);
    }
    Ok(Collection {
        db: database.name().to_owned(),
        name: name.to_owned(),
        count,
        bytes,
        hash: sum.hex(),
        read: None,
    })
}

/// The next document of a file; `None` at its end.
pub(super) fn next(file: &mut impl Read) -> Result<Option<Vec<u8>>, String> {
    let mut length = [0_u8; 4];
    match file
        .read(&mut length[..1])
        .map_err(|error| error.to_string())?
    {
        0 => return Ok(None),
        _ => file
            .read_exact(&mut length[1..])
            .map_err(|error| error.to_string())?,
    }
    let whole = usize::try_from(i32::from_le_bytes(length)).unwrap_or(0);
    if !(5..=LARGEST).contains(&whole) {
        return Err(format!("a document of {whole} bytes is none"));
    }
    let mut document = vec![0; whole];
    document[..4].copy_from_slice(&length);
    file.read_exact(&mut document[4..])
        .map_err(|error| error.to_string())?;
    Ok(Some(document))
}

fn metadata_files(dump: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let mut found = Vec::new();
    let entries = |dir: &Path| {
        std::fs::read_dir(dir)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(FsError::wrap("read", dir))
    };
    for db in entries(dump)?
        .into_iter()
        .filter(|entry| entry.path().is_dir())
    {
        for file in entries(&db.path())? {
            if file.file_name().to_string_lossy().ends_with(METADATA) {
                found.push(file.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

const METADATA: &str = ".metadata.json";

fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(METADATA).unwrap_or(&name).to_owned()
}

fn name_of(path: &Path) -> String {
    let stem = stem(path);
    percent_decode_str(&stem).decode_utf8_lossy().into_owned()
}

fn bson_of(path: &Path) -> PathBuf {
    path.with_file_name(format!("{}.bson", stem(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_documents_ends_at_its_end_and_nowhere_else() {
        let one = RawDocumentBuf::try_from(&doc! { "a": 1 })
            .unwrap()
            .into_bytes();
        let two = [one.clone(), one.clone()].concat();
        let mut file = two.as_slice();
        assert_eq!(next(&mut file).unwrap(), Some(one.clone()));
        assert_eq!(next(&mut file).unwrap(), Some(one.clone()));
        assert_eq!(next(&mut file).unwrap(), None);
        let mut cut = &two[..two.len() - 1];
        next(&mut cut).unwrap();
        assert!(next(&mut cut).is_err());
        assert!(next(&mut &[3_u8, 0, 0, 0][..]).is_err());
        assert!(next(&mut &[0xff_u8, 0xff, 0xff, 0x7f][..]).is_err());
    }
}

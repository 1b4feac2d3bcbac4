//! Puts a dump back into a store: collections with their options, documents, then indexes.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use mongodb::Database;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use percent_encoding::percent_decode_str;

use super::difference::Difference;
use super::namespaces::OWN;
use super::read::Tally;
use super::{DIFFERENCE, Sum};
use crate::backup::BackupError;
use crate::backup::manifest::Collection;
use crate::fsx::FsError;

/// Documents sent at once, and their bytes: the wire protocol takes 48 MB and 100,000.
const BATCH: usize = 1000;
const BATCH_BYTES: usize = 8 << 20;
/// A document is at most 16 MiB, and some for its own index.
const LARGEST: usize = (16 << 20) + (16 << 10);

/// What to do about a dump that is not what was backed up.
pub(super) const LOOK: &str =
    "Run lucid backup verify, and restore another backup (lucid backup list)";

/// What was put back: what the store has to serve now.
pub(in crate::backup) type Loaded = Vec<Collection>;

/// Where a collection of the dump goes.
pub(in crate::backup) type Target<'a> = &'a dyn Fn(&str, &str) -> Option<(String, String)>;

fn wrong(path: &Path, cause: impl std::fmt::Display) -> BackupError {
    BackupError::Refused(format!("{}: {cause}", path.display()))
}

/// Loads every collection below `dump` that `target` names a place for. A collection that is there
/// already is an error: nothing is mixed with what somebody has. So is one that is not what `known`
/// says of it.
pub(in crate::backup) async fn load(
    client: &mongodb::Client,
    dump: &Path,
    known: &[Collection],
    target: Target<'_>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Loaded, BackupError> {
    let mut loaded = Vec::new();
    let mut views = Vec::new();
    let difference = Difference::read(&dump.join(DIFFERENCE))?;
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
        // Accounts are no collection of the store.
        let own = OWN.contains(&db.as_str());
        let Some((to_db, to_name)) = target(&db, &name).filter(|_| !own) else {
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
        let one = known.iter().find(|one| one.db == db && one.name == name);
        let one = one.ok_or_else(|| {
            wrong(
                &path,
                format!("the backup's manifest does not know it. {LOOK}"),
            )
        })?;
        let mut sink = Sink::new(&database, &to_name, progress);
        documents(&mut sink, &bson_of(&path), one, &difference).await?;
        loaded.push(sink.end().await?);
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
            difference: None,
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

/// A collection that documents are put into.
struct Sink<'a> {
    collection: mongodb::Collection<RawDocumentBuf>,
    progress: &'a mut (dyn FnMut(u64) + Send),
    batch: Vec<RawDocumentBuf>,
    held: usize,
    tally: Tally,
}

impl<'a> Sink<'a> {
    fn new(database: &Database, name: &str, progress: &'a mut (dyn FnMut(u64) + Send)) -> Self {
        Self {
            collection: database.collection(name),
            progress,
            batch: Vec::new(),
            held: 0,
            tally: Tally::default(),
        }
    }

    async fn put(&mut self, document: RawDocumentBuf) -> Result<(), BackupError> {
        self.tally.add(document.as_bytes());
        self.held += document.as_bytes().len();
        self.batch.push(document);
        if self.batch.len() >= BATCH || self.held >= BATCH_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), BackupError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let put = self.collection.insert_many(batch).ordered(false).await;
        put.map_err(|error| {
            BackupError::Refused(format!("{}: {error}", self.collection.namespace()))
        })?;
        (self.progress)(self.held as u64);
        self.held = 0;
        Ok(())
    }

    /// Answers what was put in.
    async fn end(mut self) -> Result<Collection, BackupError> {
        self.send().await?;
        let name = self.collection.namespace();
        Ok(self.tally.named(&name.db, &name.coll, None))
    }
}

/// Puts in what the file of a collection has, but for what the difference names, and then what that
/// has in its place. Both have to be what the manifest says of them.
async fn documents(
    to: &mut Sink<'_>,
    path: &Path,
    known: &Collection,
    difference: &Difference,
) -> Result<(), BackupError> {
    let file = std::fs::File::open(path).map_err(FsError::wrap("open", path))?;
    let mut file = BufReader::with_capacity(1 << 20, file);
    let name = (known.db.clone(), known.name.clone());
    let mut of_file = Tally::default();
    while let Some(bytes) = next(&mut file).map_err(|error| wrong(path, error))? {
        of_file.add(&bytes);
        let document = RawDocumentBuf::from_bytes(bytes).map_err(|error| wrong(path, error))?;
        if !difference.has(&name, &document) {
            to.put(document).await?;
        }
    }
    let found = of_file.named(&known.db, &known.name, None);
    if (found.count, &found.hash) != (known.count, &known.hash) {
        return Err(wrong(
            path,
            format!(
                "it has {} documents with the hash {}, {} with {} were backed up. {LOOK}",
                found.count, found.hash, known.count, known.hash
            ),
        ));
    }
    let mut of_difference = Tally::default();
    for document in difference.documents(&name)? {
        let document = document?;
        of_difference.add(document.as_bytes());
        to.put(document).await?;
    }
    let named = difference.named(&name);
    let found = (named > 0).then(|| of_difference.difference(named));
    if found == known.difference {
        return Ok(());
    }
    Err(wrong(
        path,
        format!(
            "what was otherwise in its place is not what was backed up: {named} documents are \
             named, {} were. {LOOK}",
            known.difference.as_ref().map_or(0, |one| one.named)
        ),
    ))
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

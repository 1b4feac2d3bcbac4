//! What is otherwise in the store than in the files of the collections, which are an older backup's:
//! the documents that the store's log named since, as they are now. Written as the log that
//! `mongorestore --oplogReplay` applies: of each collection every document that is named is taken
//! away, and then those that are there are put, so that no unique index is in the way meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use mongodb::ClientSession;
use mongodb::bson::{
    Document, RawArrayBuf, RawBson, RawDocument, RawDocumentBuf, Timestamp, rawdoc,
};

use super::Listed;
use super::load::{LOOK, next};
use super::noted::{Id, Name, Names};
use super::read::{CHUNK, Rest, Tally, named};
use super::unchanged::Kept;
use crate::backup::BackupError;
use crate::backup::manifest;
use crate::backup::pace::Pace;
use crate::fsx::FsError;

/// Documents asked for at once.
const BATCH: usize = 100;

/// The file, while it is written; it is removed with this.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Spool {
    pub(super) fn create(path: PathBuf) -> Result<Self, BackupError> {
        let file = File::create(&path).map_err(FsError::wrap("create", &path))?;
        Ok(Self {
            path,
            file: BufWriter::with_capacity(CHUNK, file),
            bytes: 0,
        })
    }

    fn write(&mut self, entry: &RawDocument) -> Result<(), BackupError> {
        self.bytes += entry.as_bytes().len() as u64;
        let written = self.file.write_all(entry.as_bytes());
        Ok(written.map_err(FsError::wrap("write", &self.path))?)
    }

    /// Adds the documents of one collection that may be otherwise than in the file that is kept.
    /// Nothing where one of them is found under another id than it was asked for by; then the
    /// collection has to be read as a whole.
    pub(super) async fn add(
        &mut self,
        client: &mongodb::Client,
        session: &mut ClientSession,
        one: &Listed,
        kept: &Kept,
        pace: &Pace,
    ) -> Result<Option<manifest::Difference>, BackupError> {
        let failed = named(one);
        let name = (one.db.clone(), one.name.clone());
        let collection = client
            .database(&one.db)
            .collection::<RawDocumentBuf>(&one.name);
        let begun = self.bytes;
        for id in kept.otherwise.iter().filter_map(Id::document) {
            self.write(&gone(&name, kept, id))?;
        }
        let mut missing = kept.otherwise.clone();
        let mut rest = Rest::new();
        let mut tally = Tally::default();
        let wanted: Vec<&Id> = kept.otherwise.iter().collect();
        for ids in wanted.chunks(BATCH) {
            let mut list = RawArrayBuf::new();
            for id in ids.iter().filter_map(|id| id.value()) {
                list.push(RawBson::from(id));
            }
            let filter = RawDocument::from_bytes(rawdoc! { "_id": { "$in": list } }.as_bytes())
                .and_then(Document::try_from)
                .map_err(|error| BackupError::Refused(error.to_string()))?;
            let mut cursor = collection
                .find(filter)
                .session(&mut *session)
                .await
                .map_err(&failed)?;
            pace.asked();
            while cursor.advance(session).await.map_err(&failed)? {
                let document = cursor.current();
                if !Id::of(document).is_some_and(|id| missing.remove(&id)) {
                    self.cut(begun)?;
                    return Ok(None);
                }
                tally.add(document.as_bytes());
                self.write(&put(&name, kept, document))?;
                rest.after(document.as_bytes().len(), pace).await;
            }
        }
        Ok(Some(tally.difference(kept.otherwise.len() as u64)))
    }

    /// Takes back what was written after the first `bytes`.
    fn cut(&mut self, bytes: u64) -> Result<(), BackupError> {
        let cut = self
            .file
            .seek(SeekFrom::Start(bytes))
            .and_then(|_| self.file.get_ref().set_len(bytes));
        cut.map_err(FsError::wrap("shorten", &self.path))?;
        self.bytes = bytes;
        Ok(())
    }

    /// Ends it. Answers where it lies and its length.
    pub(super) fn finish(&mut self) -> Result<(PathBuf, u64), BackupError> {
        let flushed = self.file.flush();
        flushed.map_err(FsError::wrap("write", &self.path))?;
        Ok((self.path.clone(), self.bytes))
    }
}

/// When the file was read: the same in every difference to it, so that these differ little.
fn since(kept: &Kept) -> Timestamp {
    let time = kept.collection.read().map_or(0, jiff::Timestamp::as_second);
    Timestamp {
        time: u32::try_from(time).unwrap_or(u32::MAX),
        increment: 0,
    }
}

fn put(name: &Name, kept: &Kept, document: &RawDocument) -> RawDocumentBuf {
    let ns = format!("{}.{}", name.0, name.1);
    let document = document.to_owned();
    rawdoc! { "ts": since(kept), "v": 2, "op": "i", "ns": ns, "o": document }
}

fn gone(name: &Name, kept: &Kept, id: &RawDocument) -> RawDocumentBuf {
    let ns = format!("{}.{}", name.0, name.1);
    rawdoc! { "ts": since(kept), "v": 2, "op": "d", "ns": ns, "o": id.to_owned() }
}

/// A difference that was restored.
#[derive(Debug, Default)]
pub(super) struct Difference {
    path: PathBuf,
    parts: BTreeMap<Name, Part>,
}

/// What it says of one collection.
#[derive(Debug, Default)]
struct Part {
    /// Where its entries begin; they follow each other.
    at: u64,
    entries: u64,
    named: BTreeSet<Id>,
}

impl Difference {
    /// Reads which documents the file at `path` names; nothing where there is none.
    pub(super) fn read(path: &Path) -> Result<Self, BackupError> {
        let mut found = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(FsError::wrap("open", path)(error).into()),
        };
        let mut file = BufReader::with_capacity(CHUNK, file);
        let mut at = 0;
        while let Some(bytes) = next(&mut file).map_err(|cause| found.wrong(&cause))? {
            let entry = Entry::parse(&bytes).ok_or_else(|| found.wrong("an entry is none"))?;
            let part = found.parts.entry(entry.name).or_insert_with(|| Part {
                at,
                ..Part::default()
            });
            part.entries += 1;
            let fits = match entry.puts {
                None => part.named.insert(entry.id),
                Some(_) => part.named.contains(&entry.id),
            };
            if !fits {
                return Err(found.wrong("it names a document twice, or not at all"));
            }
            at += bytes.len() as u64;
        }
        Ok(found)
    }

    fn wrong(&self, cause: &str) -> BackupError {
        BackupError::Refused(format!("{}: {cause}. {LOOK}", self.path.display()))
    }

    /// How many documents of the collection it names.
    pub(super) fn named(&self, name: &Name) -> u64 {
        self.parts
            .get(name)
            .map_or(0, |part| part.named.len() as u64)
    }

    /// Whether it says what became of this document of the collection.
    pub(super) fn has(&self, name: &Name, document: &RawDocument) -> bool {
        self.parts
            .get(name)
            .is_some_and(|part| Id::of(document).is_some_and(|id| part.named.contains(&id)))
    }

    /// The documents of a collection that are there, in the order of the file.
    pub(super) fn documents(
        &self,
        name: &Name,
    ) -> Result<impl Iterator<Item = Result<RawDocumentBuf, BackupError>> + use<'_>, BackupError>
    {
        let mut file = None;
        if let Some(part) = self.parts.get(name) {
            let mut opened = File::open(&self.path).map_err(FsError::wrap("open", &self.path))?;
            opened
                .seek(SeekFrom::Start(part.at))
                .map_err(FsError::wrap("read", &self.path))?;
            file = Some(BufReader::with_capacity(CHUNK, opened));
        }
        let count = self.parts.get(name).map_or(0, |part| part.entries);
        let entries = (0..count).filter_map(move |_| {
            let entry = next(file.as_mut()?)
                .map_err(|cause| self.wrong(&cause))
                .and_then(|bytes| bytes.ok_or_else(|| self.wrong("it ends too early")));
            match entry {
                Ok(bytes) => match Entry::parse(&bytes) {
                    Some(entry) => entry.puts.map(Ok),
                    None => Some(Err(self.wrong("an entry is none"))),
                },
                Err(error) => Some(Err(error)),
            }
        });
        Ok(entries)
    }
}

/// The documents that the restored difference at `path` names.
///
/// # Errors
/// [`BackupError`]
pub(in crate::backup) fn names(path: &Path) -> Result<Names, BackupError> {
    let mut names = Names::default();
    for (name, part) in Difference::read(path)?.parts {
        for id in part.named {
            names.add(name.clone(), Some(id));
        }
    }
    Ok(names)
}

/// What one entry says.
struct Entry {
    name: Name,
    id: Id,
    /// The document that it puts; none where it takes one away.
    puts: Option<RawDocumentBuf>,
}

impl Entry {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let entry = RawDocument::from_bytes(bytes).ok()?;
        let (db, name) = entry.get_str("ns").ok()?.split_once('.')?;
        let document = entry.get_document("o").ok()?;
        Some(Self {
            name: (db.to_owned(), name.to_owned()),
            id: Id::of(document)?,
            puts: match entry.get_str("op").ok()? {
                "i" => Some(document.to_owned()),
                "d" => None,
                _ => return None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::manifest::Collection;

    fn kept() -> Kept {
        Kept {
            collection: Collection {
                db: "lucid".to_owned(),
                name: "orders".to_owned(),
                count: 0,
                bytes: 0,
                hash: String::new(),
                difference: None,
                read: Some("2026-11-27T12:00:00Z".to_owned()),
            },
            otherwise: BTreeSet::new(),
        }
    }

    #[test]
    fn a_difference_says_which_documents_are_there_and_which_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("oplog.bson");
        let (orders, users) = (
            ("lucid".to_owned(), "orders".to_owned()),
            ("lucid".to_owned(), "users".to_owned()),
        );
        {
            let mut spool = Spool::create(path.clone()).unwrap();
            let (one, two) = (rawdoc! { "_id": 1 }, rawdoc! { "_id": "two" });
            let whole = rawdoc! { "n": 1, "_id": 1 };
            for (name, ids) in [(&users, [&one].as_slice()), (&orders, &[&one, &two])] {
                for id in ids {
                    spool.write(&gone(name, &kept(), id)).unwrap();
                }
                spool.write(&put(name, &kept(), &whole)).unwrap();
            }
            let begun = spool.bytes;
            spool.write(&put(&users, &kept(), &two)).unwrap();
            spool.cut(begun).unwrap();
            let (_, bytes) = spool.finish().unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes);
            let found = Difference::read(&path).unwrap();
            for id in [rawdoc! { "_id": 1, "n": 9 }, rawdoc! { "_id": "two" }] {
                assert!(found.has(&orders, &id));
            }
            assert!(!found.has(&orders, &rawdoc! { "_id": 1_i64 }));
            assert!(!found.has(&users, &rawdoc! { "_id": "two" }));
            let there: Result<Vec<_>, _> = found.documents(&orders).unwrap().collect();
            assert_eq!(there.unwrap(), [whole]);
            let mut half = std::fs::read(&path).unwrap();
            half.pop();
            crate::fsx::write_volatile(&path, &half, 0o600).unwrap();
            assert!(Difference::read(&path).is_err());
            let stray = put(&users, &kept(), &two).into_bytes();
            crate::fsx::write_volatile(&path, &stray, 0o600).unwrap();
            assert!(Difference::read(&path).is_err());
        }
        assert!(!path.exists());
        assert!(Difference::read(&path).unwrap().parts.is_empty());
    }
}

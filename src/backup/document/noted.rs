//! What the store's log names: the documents that may be otherwise than a backup has them.

use std::collections::{BTreeMap, BTreeSet};

use mongodb::bson::{RawBson, RawBsonRef, RawDocument, rawdoc};

use super::namespaces::OWN;

/// Documents of one collection that are named one by one; with more of them it is read as a whole.
pub(super) const MOST: usize = 100_000;
/// Bytes of their ids, of all collections together.
const MOST_BYTES: usize = 4 << 20;

/// Commands that leave every document as it is.
const HARMLESS: [&str; 6] = [
    "createIndexes",
    "dropIndexes",
    "collMod",
    "startIndexBuild",
    "commitIndexBuild",
    "abortIndexBuild",
];
/// Commands after which a collection of that name is another one.
const ANOTHER: [&str; 2] = ["create", "drop"];

/// The id of a document, as the document `{_id: …}` in BSON: equal where every byte is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(Vec<u8>);

impl Id {
    /// The id of `document`; absent where it has none.
    pub(super) fn of(document: &RawDocument) -> Option<Self> {
        let id = document.get("_id").ok().flatten()?;
        Some(Self(rawdoc! { "_id": RawBson::from(id) }.into_bytes()))
    }

    /// The document `{_id: …}`.
    pub(super) fn document(&self) -> Option<&RawDocument> {
        RawDocument::from_bytes(&self.0).ok()
    }

    /// Its value.
    pub(super) fn value(&self) -> Option<RawBsonRef<'_>> {
        self.document()?.get("_id").ok().flatten()
    }
}

/// Database and name of a collection.
pub(super) type Name = (String, String);

/// Which documents of a collection are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ids {
    /// These.
    Of(BTreeSet<Id>),
    /// Any may be meant.
    Any,
}

/// What the log names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// Documents, by collection.
    In(Names),
    /// Something is noted that is not known here.
    Anything,
}

/// Documents by collection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::backup) struct Names {
    of: BTreeMap<Name, Ids>,
    bytes: usize,
}

impl Names {
    /// What is named of this collection; nothing, most often.
    pub(super) fn get(&self, name: &Name) -> Option<&Ids> {
        self.of.get(name)
    }

    /// Names one document; without an id, all of the collection.
    pub(super) fn add(&mut self, name: Name, id: Option<Id>) {
        let ids = self
            .of
            .entry(name)
            .or_insert_with(|| Ids::Of(BTreeSet::new()));
        let Ids::Of(known) = ids else {
            return;
        };
        match id {
            Some(id) if known.len() < MOST && self.bytes + id.0.len() <= MOST_BYTES => {
                let bytes = id.0.len();
                if known.insert(id) {
                    self.bytes += bytes;
                }
            }
            _ => {
                self.bytes -= known.iter().map(|id| id.0.len()).sum::<usize>();
                *ids = Ids::Any;
            }
        }
    }
}

impl Default for Noted {
    fn default() -> Self {
        Self::In(Names::default())
    }
}

impl Noted {
    #[cfg(test)]
    pub(super) fn of(entries: &[bson::Document]) -> Self {
        let mut noted = Self::default();
        for entry in entries {
            noted.note(&bson::RawDocumentBuf::try_from(entry).unwrap());
        }
        noted
    }

    /// Takes in one entry of the log.
    pub(super) fn note(&mut self, entry: &RawDocument) {
        let Self::In(names) = self else {
            return;
        };
        if take(names, entry).is_none() {
            *self = Self::Anything;
        }
    }
}

/// Nothing where the entry is not known here.
fn take(names: &mut Names, entry: &RawDocument) -> Option<()> {
    let text = |key| entry.get_str(key).unwrap_or_default();
    let (op, ns) = (text("op"), text("ns"));
    let (db, name) = ns.split_once('.').unwrap_or((ns, ""));
    if op == "n" || (OWN.contains(&db) && db != "admin") {
        return Some(());
    }
    // What lies behind a collection of another kind.
    if name.starts_with("system.") && db != "admin" {
        return None;
    }
    match op {
        "i" | "u" | "d" => {
            let part = if op == "u" { "o2" } else { "o" };
            let id = entry.get_document(part).ok().and_then(Id::of);
            names.add((db.to_owned(), name.to_owned()), id);
            Some(())
        }
        "c" => {
            let command = entry.get_document("o").ok()?;
            let (kind, value) = command.iter().next()?.ok()?;
            if HARMLESS.contains(&kind.as_str()) {
                return Some(());
            }
            if ANOTHER.contains(&kind.as_str()) {
                names.add((db.to_owned(), value.as_str()?.to_owned()), None);
                return Some(());
            }
            if kind.as_str() != "applyOps" || is_part(command) {
                return None;
            }
            for inner in value.as_array()? {
                take(names, inner.ok()?.as_document()?)?;
            }
            Some(())
        }
        _ => None,
    }
}

/// Whether other entries belong to these changes.
fn is_part(command: &RawDocument) -> bool {
    ["partialTxn", "prepare"]
        .iter()
        .any(|key| command.get_bool(key).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{Document, doc};

    fn named(noted: &Noted, name: &str) -> Option<Vec<Document>> {
        let Noted::In(names) = noted else {
            panic!("anything");
        };
        match names.get(&("lucid".to_owned(), name.to_owned()))? {
            Ids::Of(ids) => Some(
                ids.iter()
                    .map(|id| Document::try_from(id.document().unwrap()).unwrap())
                    .collect(),
            ),
            Ids::Any => Some(Vec::new()),
        }
    }

    #[test]
    fn documents_are_named_by_the_ids_of_their_entries() {
        let found = Noted::of(&[
            doc! { "op": "i", "ns": "lucid.a", "o": { "x": 1, "_id": 7 } },
            doc! { "op": "u", "ns": "lucid.a", "o": { "$v": 2 }, "o2": { "_id": "two" } },
            doc! { "op": "d", "ns": "lucid.a", "o": { "_id": 7 } },
            doc! { "op": "c", "ns": "lucid.$cmd", "o": { "createIndexes": "b" } },
            doc! { "op": "c", "ns": "admin.$cmd", "o": { "applyOps": [
                { "op": "i", "ns": "lucid.c", "o": { "_id": 1 } },
            ] } },
            doc! { "op": "n", "ns": "" },
            doc! { "op": "u", "ns": "lucid_health.probes", "o": {} },
        ]);
        assert_eq!(
            named(&found, "a").unwrap(),
            [doc! { "_id": 7 }, doc! { "_id": "two" }]
        );
        assert_eq!(named(&found, "b"), None);
        assert_eq!(named(&found, "c").unwrap(), [doc! { "_id": 1 }]);
    }

    #[test]
    fn a_collection_that_was_made_or_dropped_may_be_another_one() {
        for command in [doc! { "create": "a" }, doc! { "drop": "a" }] {
            let found = Noted::of(&[
                doc! { "op": "i", "ns": "lucid.a", "o": { "_id": 7 } },
                doc! { "op": "c", "ns": "lucid.$cmd", "o": command },
                doc! { "op": "i", "ns": "lucid.a", "o": { "_id": 8 } },
            ]);
            assert_eq!(named(&found, "a").unwrap(), Vec::<Document>::new());
        }
    }

    #[test]
    fn whatever_is_not_understood_may_be_anything() {
        for entry in [
            doc! { "op": "c", "ns": "lucid.$cmd", "o": { "renameCollection": "lucid.users" } },
            doc! { "op": "c", "ns": "lucid.$cmd", "o": { "dropDatabase": 1 } },
            doc! { "op": "c", "ns": "admin.$cmd", "o": { "applyOps": [], "partialTxn": true } },
            doc! { "op": "c", "ns": "admin.$cmd", "o": { "applyOps": [{ "op": "z", "ns": "a.b" }] } },
            doc! { "op": "c", "ns": "admin.$cmd", "o": { "commitTransaction": 1 } },
            doc! { "op": "z", "ns": "lucid.users" },
            doc! { "op": "i", "ns": "lucid.system.buckets.a", "o": { "_id": 1 } },
            doc! { "ns": "lucid.users" },
        ] {
            assert_eq!(
                Noted::of(std::slice::from_ref(&entry)),
                Noted::Anything,
                "{entry}"
            );
        }
    }

    #[test]
    fn more_documents_than_are_fetched_one_by_one_mean_the_whole_collection() {
        let mut names = Names::default();
        let name = ("lucid".to_owned(), "a".to_owned());
        let id = |n: usize| {
            let n = i64::try_from(n).unwrap();
            Id::of(&rawdoc! { "_id": n })
        };
        for n in 0..MOST {
            names.add(name.clone(), id(n));
        }
        assert!(matches!(names.get(&name), Some(Ids::Of(_))));
        names.add(name.clone(), id(MOST));
        assert_eq!(names.get(&name), Some(&Ids::Any));
        assert_eq!(names.bytes, 0);
        names.add(name.clone(), id(1));
        assert_eq!(names.get(&name), Some(&Ids::Any));
    }
}

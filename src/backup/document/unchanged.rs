//! What of a collection the last backup has already.
//!
//! The store's log tells what changed since. It is believed only where it still holds, word for word,
//! the note that was its last one then: after a rollback or a restore it is another log. What the
//! log says is checked by reading every collection once a day in any case.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use mongodb::bson::RawDocument;
use sha2::{Digest, Sha256};

use super::Listed;
use super::noted::{Id, Ids, MOST, Names, Noted};
use crate::backup::manifest::{Collection, Tip};

/// For how long a collection is believed to be unchanged without being read.
const BELIEVED: Duration = Duration::from_hours(23);
/// A collection of which more than this part changed is read as a whole: a document that is looked for
/// by its id costs secantus about three times as much as one of many.
const PART: u64 = 8;

/// What the last backup knows.
#[derive(Debug)]
pub(in crate::backup) struct Before {
    /// Its collections.
    pub(in crate::backup) collections: Vec<Collection>,
    /// The documents that were otherwise then than in the files of their collections.
    pub(in crate::backup) otherwise: Names,
    /// When this one is made.
    pub(in crate::backup) now: Timestamp,
}

/// What is taken from the last backup.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The file of the collection.
    pub(super) collection: Collection,
    /// Documents that may be otherwise than in it.
    pub(super) otherwise: BTreeSet<Id>,
}

/// The note as it will be looked for.
pub(super) fn tip_of(entry: &RawDocument) -> Option<Tip> {
    let time = entry.get_timestamp("ts").ok()?;
    Some(Tip {
        time: (time.time, time.increment),
        sha256: crate::backup::hex(&Sha256::digest(entry.as_bytes())),
    })
}

impl Before {
    /// What the last backup has of this collection, where most of it is what the store has.
    pub(super) fn kept(&self, one: &Listed, noted: &Noted) -> Option<Kept> {
        let Noted::In(since) = noted else {
            return None;
        };
        if one.kind != "collection" || one.is_capped() {
            return None;
        }
        let known = self
            .collections
            .iter()
            .find(|known| known.db == one.db && known.name == one.name)?;
        let age = self.now.duration_since(known.read()?);
        // A clock that went back says nothing.
        let fresh = !age.is_negative() && age.unsigned_abs() < BELIEVED;
        if !fresh {
            return None;
        }
        let name = (one.db.clone(), one.name.clone());
        let mut otherwise = BTreeSet::new();
        for names in [&self.otherwise, since] {
            match names.get(&name) {
                None => {}
                Some(Ids::Of(ids)) => otherwise.extend(ids.iter().cloned()),
                Some(Ids::Any) => return None,
            }
        }
        let few = otherwise.len() <= MOST && otherwise.len() as u64 <= known.count / PART;
        // With rules of its own for texts an id may be found under another spelling.
        let plain = otherwise.is_empty() || !one.has_collation();
        (few && plain).then(|| Kept {
            collection: Collection {
                difference: None,
                ..known.clone()
            },
            otherwise,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{Document, doc};

    fn before(read: Option<&str>) -> Before {
        Before {
            collections: vec![Collection {
                db: "lucid".to_owned(),
                name: "orders".to_owned(),
                count: 16,
                bytes: 160,
                hash: "00".to_owned(),
                difference: None,
                read: read.map(str::to_owned),
            }],
            otherwise: Names::default(),
            now: "2026-11-27T12:00:00Z".parse().unwrap(),
        }
    }

    fn listed(name: &str, options: Document) -> Listed {
        Listed::example("lucid", name, options)
    }

    fn insert(ids: std::ops::Range<i32>) -> Noted {
        let entries: Vec<_> = ids
            .map(|id| doc! { "op": "i", "ns": "lucid.orders", "o": { "_id": id } })
            .collect();
        Noted::of(&entries)
    }

    #[test]
    fn only_what_the_log_names_is_read_again() {
        let before = before(Some("2026-11-27T11:00:00Z"));
        let orders = listed("orders", doc! {});
        let other = Noted::of(&[doc! { "op": "i", "ns": "lucid.users", "o": { "_id": 1 } }]);
        let kept = before.kept(&orders, &other).unwrap();
        assert_eq!((kept.collection.count, kept.otherwise.len()), (16, 0));
        let kept = before.kept(&orders, &insert(0..2)).unwrap();
        assert_eq!(kept.otherwise.len(), 2);
        assert!(before.kept(&listed("new", doc! {}), &other).is_none());
        assert!(before.kept(&orders, &Noted::Anything).is_none());
    }

    #[test]
    fn a_collection_of_which_much_changed_since_it_was_read_is_read() {
        let mut before = before(Some("2026-11-27T11:00:00Z"));
        let orders = listed("orders", doc! {});
        assert!(before.kept(&orders, &insert(0..3)).is_none());
        // Those of the backup before count as well, once each.
        let Noted::In(then) = insert(1..2) else {
            unreachable!()
        };
        before.otherwise = then;
        assert!(before.kept(&orders, &insert(0..2)).is_some());
        assert!(before.kept(&orders, &insert(2..4)).is_none());
    }

    #[test]
    fn ids_that_are_found_under_other_spellings_are_not_looked_for() {
        let before = before(Some("2026-11-27T11:00:00Z"));
        let spelled = listed(
            "orders",
            doc! { "collation": { "locale": "en", "strength": 2 } },
        );
        assert!(before.kept(&spelled, &insert(0..1)).is_none());
        assert!(before.kept(&spelled, &Noted::default()).is_some());
    }

    #[test]
    fn a_capped_collection_and_one_that_was_not_read_for_a_day_are_read() {
        let nothing = Noted::default();
        let orders = listed("orders", doc! {});
        let day = before(Some("2026-11-26T12:00:00Z"));
        assert!(day.kept(&orders, &nothing).is_none());
        let future = before(Some("2026-11-27T12:00:01Z"));
        assert!(future.kept(&orders, &nothing).is_none());
        assert!(before(None).kept(&orders, &nothing).is_none());
        let recent = before(Some("2026-11-27T00:00:00Z"));
        assert!(recent.kept(&orders, &nothing).is_some());
        let capped = listed("orders", doc! { "capped": true, "size": 4096 });
        assert!(recent.kept(&capped, &nothing).is_none());
    }
}

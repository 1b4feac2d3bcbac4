//! Which collections are as the last backup has them.
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
use super::namespaces::OWN;
use crate::backup::manifest::{Collection, Tip};

/// For how long a collection is believed to be unchanged without being read.
const BELIEVED: Duration = Duration::from_hours(23);

/// What the last backup knows.
#[derive(Debug)]
pub(in crate::backup) struct Before {
    /// Its collections.
    pub(in crate::backup) collections: Vec<Collection>,
    /// When this one is made.
    pub(in crate::backup) now: Timestamp,
}

/// What the log names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// These collections.
    Only(BTreeSet<(String, String)>),
    /// Collections were made, renamed or dropped, or something is noted that is not known here.
    Anything,
}

impl Default for Changed {
    fn default() -> Self {
        Self::Only(BTreeSet::new())
    }
}

impl Changed {
    /// Takes in one entry of the log.
    pub(super) fn note(&mut self, entry: &RawDocument) {
        let Self::Only(names) = self else {
            return;
        };
        let text = |key| entry.get_str(key).unwrap_or_default();
        let (op, ns) = (text("op"), text("ns"));
        let (db, name) = ns.split_once('.').unwrap_or((ns, ""));
        match op {
            "n" => {}
            _ if OWN.contains(&db) && db != "admin" => {}
            // What lies behind a collection of another kind.
            _ if name.starts_with("system.") && db != "admin" => *self = Self::Anything,
            "i" | "u" | "d" => {
                names.insert((db.to_owned(), name.to_owned()));
            }
            _ => *self = Self::Anything,
        }
    }

    fn is_free_of(&self, one: &Listed) -> bool {
        match self {
            Self::Only(names) => !names.contains(&(one.db.clone(), one.name.clone())),
            Self::Anything => false,
        }
    }
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
    /// What the last backup has of this collection, where that is what the store has.
    pub(super) fn kept(&self, one: &Listed, changed: &Changed) -> Option<Collection> {
        if one.kind != "collection" || one.is_capped() || !changed.is_free_of(one) {
            return None;
        }
        let known = self
            .collections
            .iter()
            .find(|known| known.db == one.db && known.name == one.name)?;
        let age = self.now.duration_since(known.read()?);
        // A clock that went back says nothing.
        let fresh = !age.is_negative() && age.unsigned_abs() < BELIEVED;
        fresh.then(|| known.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{Document, RawDocumentBuf, doc};

    fn noted(entries: &[Document]) -> Changed {
        let mut changed = Changed::default();
        for entry in entries {
            changed.note(&RawDocumentBuf::try_from(entry).unwrap());
        }
        changed
    }

    fn before(read: Option<&str>) -> Before {
        Before {
            collections: vec![Collection {
                db: "lucid".to_owned(),
                name: "orders".to_owned(),
                count: 7,
                bytes: 70,
                hash: "00".to_owned(),
                read: read.map(str::to_owned),
            }],
            now: "2026-11-27T12:00:00Z".parse().unwrap(),
        }
    }

    fn listed(name: &str, options: Document) -> Listed {
        Listed::example("lucid", name, options)
    }

    #[test]
    fn only_what_the_log_names_is_read_again() {
        let before = before(Some("2026-11-27T11:00:00Z"));
        let orders = listed("orders", doc! {});
        let other = noted(&[
            doc! { "op": "i", "ns": "lucid.users", "o": {} },
            doc! { "op": "n", "ns": "" },
            doc! { "op": "u", "ns": "lucid_health.probes", "o": {} },
        ]);
        assert_eq!(before.kept(&orders, &other).unwrap().count, 7);
        let named = noted(&[doc! { "op": "d", "ns": "lucid.orders", "o": {} }]);
        assert!(before.kept(&orders, &named).is_none());
        assert!(before.kept(&listed("new", doc! {}), &other).is_none());
    }

    #[test]
    fn whatever_is_not_understood_has_everything_read() {
        let before = before(Some("2026-11-27T11:00:00Z"));
        let orders = listed("orders", doc! {});
        for entry in [
            doc! { "op": "c", "ns": "lucid.$cmd", "o": { "drop": "users" } },
            doc! { "op": "c", "ns": "admin.$cmd", "o": { "applyOps": [] } },
            doc! { "op": "z", "ns": "lucid.users" },
            doc! { "ns": "lucid.users" },
        ] {
            assert_eq!(noted(&[entry]), Changed::Anything);
        }
        assert!(before.kept(&orders, &Changed::Anything).is_none());
    }

    #[test]
    fn a_capped_collection_and_one_that_was_not_read_for_a_day_are_read() {
        let nothing = Changed::default();
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

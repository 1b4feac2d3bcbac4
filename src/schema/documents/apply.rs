//! Makes the collections, their validators and their indexes, or says what differs. Nothing is ever
//! dropped: an index that is another one under the same name is told, and stays.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document, doc};
use serde::Serialize;

use super::definition::{Collection, all};
use super::engine::{Engine, Told};
use super::validator::{index_command, validator};
use super::{DATABASE, SchemaError};

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was not there.
    Created,
    /// It was another one.
    Updated,
    /// It is as it should be.
    Unchanged,
    /// It is another one and stays so: changing it would drop something.
    Drifted,
    /// The store refused it.
    Failed,
}

impl Change {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Drifted => "drifted",
            Self::Failed => "failed",
        }
    }
}

/// A collection, validator or index, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Object {
    /// `collection`, `validator` or `index`.
    pub kind: &'static str,
    /// The collection.
    pub collection: String,
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub change: Change,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
pub struct Report {
    /// All objects in the order in which they were looked at.
    pub objects: Vec<Object>,
}

impl Report {
    /// How many became so.
    pub fn count(&self, change: Change) -> usize {
        let objects = self.objects.iter();
        objects.filter(|object| object.change == change).count()
    }
}

/// What a collection has.
struct Found {
    validator: Option<Document>,
    strict: bool,
}

/// Makes the collections `only`, all where there is none, in the store at `uri`, which has user and
/// password in it; with `dry_run` says what would be done. Doing it again changes nothing. Each object
/// has its own result: one that is refused keeps no other from being made.
///
/// # Errors
/// [`SchemaError`] where nothing could be looked at.
pub async fn apply(uri: &str, only: &[String], dry_run: bool) -> Result<Report, SchemaError> {
    let engine = Engine::connect(uri, DATABASE).await?;
    let collections = all()?;
    let known: Vec<&Collection> = collections
        .iter()
        .filter(|one| only.is_empty() || only.contains(&one.name))
        .collect();
    let found = look(&engine).await?;
    let mut objects = Vec::new();
    for collection in known {
        apply_one(
            &engine,
            collection,
            found.get(&collection.name),
            dry_run,
            &mut objects,
        )
        .await;
    }
    Ok(Report { objects })
}

async fn look(engine: &Engine) -> Result<BTreeMap<String, Found>, SchemaError> {
    let listed = engine.list().await.map_err(SchemaError::Silent)?;
    let of = |entry: Document| {
        let name = entry.get_str("name").ok()?.to_owned();
        let options = entry.get_document("options").cloned().unwrap_or_default();
        let strict = options.get_str("validationLevel").unwrap_or("strict") == "strict"
            && options.get_str("validationAction").unwrap_or("error") == "error";
        let validator = options.get_document("validator").ok().cloned();
        Some((name, Found { validator, strict }))
    };
    Ok(listed.into_iter().filter_map(of).collect())
}

async fn apply_one(
    engine: &Engine,
    collection: &Collection,
    found: Option<&Found>,
    dry_run: bool,
    objects: &mut Vec<Object>,
) {
    let name = &collection.name;
    let mut note = |kind, object: &str, change, note: Option<String>| {
        objects.push(Object {
            kind,
            collection: name.clone(),
            name: object.to_owned(),
            change,
            note,
        });
    };
    let rules = validator(collection);
    let settled = |told: Told, change: Change| match told {
        Ok(()) => (change, None),
        Err(cause) => (Change::Failed, Some(cause)),
    };
    let command = |verb: &str| {
        doc! {
            verb: name.as_str(), "validator": rules.clone(),
            "validationLevel": "strict", "validationAction": "error",
        }
    };
    match found {
        None => {
            let told = engine.run(command("create"), dry_run).await;
            let (change, cause) = settled(told, Change::Created);
            let failed = change == Change::Failed;
            note("collection", name, change, cause);
            if failed {
                return;
            }
            note("validator", name, Change::Created, None);
        }
        Some(found) => {
            note("collection", name, Change::Unchanged, None);
            if found.strict
                && found
                    .validator
                    .as_ref()
                    .is_some_and(|one| same(one, &rules))
            {
                note("validator", name, Change::Unchanged, None);
            } else {
                let told = engine.run(command("collMod"), dry_run).await;
                let (change, cause) = settled(told, Change::Updated);
                note("validator", name, change, cause);
            }
        }
    }
    let present = if found.is_some() {
        match engine.indexes(name).await {
            Ok(present) => present,
            Err(cause) => {
                for index in &collection.indexes {
                    note("index", &index.name, Change::Failed, Some(cause.clone()));
                }
                return;
            }
        }
    } else {
        Vec::new()
    };
    for index in &collection.indexes {
        let wanted = index_command(index);
        let (change, cause) = match compare(&wanted, &present) {
            Compared::Same => (Change::Unchanged, None),
            Compared::Other(cause) => (Change::Drifted, Some(cause)),
            Compared::Absent => {
                let create = doc! { "createIndexes": name.as_str(), "indexes": [wanted] };
                settled(engine.run(create, dry_run).await, Change::Created)
            }
        };
        note("index", &index.name, change, cause);
    }
    for index in &present {
        let theirs = index.get_str("name").unwrap_or_default();
        let ours = collection.indexes.iter().any(|one| one.name == theirs);
        if theirs != "_id_" && !ours {
            let cause = "is none of Lucid's; it is left alone".to_owned();
            note("index", theirs, Change::Drifted, Some(cause));
        }
    }
}

enum Compared {
    Same,
    Other(String),
    Absent,
}

fn compare(wanted: &Document, present: &[Document]) -> Compared {
    let name = wanted.get_str("name").unwrap_or_default();
    let Some(found) = present
        .iter()
        .find(|one| one.get_str("name").is_ok_and(|theirs| theirs == name))
    else {
        let same_keys = |one: &&Document| {
            let (Ok(theirs), Ok(ours)) = (one.get_document("key"), wanted.get_document("key"))
            else {
                return false;
            };
            same(theirs, ours)
        };
        return match present.iter().find(same_keys) {
            Some(other) => Compared::Other(format!(
                "the same fields have index {:?}; drop that one, then apply again",
                other.get_str("name").unwrap_or_default()
            )),
            None => Compared::Absent,
        };
    };
    let differs = [
        "key",
        "unique",
        "sparse",
        "partialFilterExpression",
        "expireAfterSeconds",
    ]
    .into_iter()
    .find(|option| {
        let of = |one: &Document| {
            one.get(*option)
                .cloned()
                .filter(|v| v != &Bson::from(false))
        };
        match (of(wanted), of(found)) {
            (Some(Bson::Document(ours)), Some(Bson::Document(theirs))) => !same(&ours, &theirs),
            (Some(ours), Some(theirs)) => !same_value(&ours, &theirs),
            (None, None) => false,
            _ => true,
        }
    });
    match differs {
        None => Compared::Same,
        Some(option) => Compared::Other(format!(
            "{option} is another; to change it, drop the index, then apply again"
        )),
    }
}

/// Whether two documents say the same, whatever the kinds of their numbers.
fn same(one: &Document, two: &Document) -> bool {
    one.len() == two.len()
        && one
            .iter()
            .zip(two)
            .all(|((name, one), (other, two))| name == other && same_value(one, two))
}

fn same_value(one: &Bson, two: &Bson) -> bool {
    let number = |value: &Bson| match value {
        Bson::Int32(number) => Some(f64::from(*number)),
        Bson::Int64(number) => Some(*number as f64),
        Bson::Double(number) => Some(*number),
        _ => None,
    };
    match (one, two) {
        (Bson::Document(one), Bson::Document(two)) => same(one, two),
        (Bson::Array(one), Bson::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| same_value(one, two))
        }
        _ => match (number(one), number(two)) {
            (Some(one), Some(two)) => (one - two).abs() < f64::EPSILON,
            _ => one == two,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_known_by_its_name_and_its_options() {
        let wanted = doc! { "key": { "a": 1 }, "name": "x_a_unique", "unique": true };
        let is = |present: Document| compare(&wanted, &[present]);
        assert!(matches!(compare(&wanted, &[]), Compared::Absent));
        let same = doc! { "v": 2, "key": { "a": 1.0 }, "name": "x_a_unique", "unique": true, "sparse": false };
        assert!(matches!(is(same), Compared::Same));
        let other = doc! { "v": 2, "key": { "a": 1 }, "name": "x_a_unique" };
        assert!(matches!(is(other), Compared::Other(cause) if cause.contains("unique")));
        let named = doc! { "v": 2, "key": { "a": 1 }, "name": "a_1" };
        assert!(matches!(is(named), Compared::Other(cause) if cause.contains("a_1")));
    }
}

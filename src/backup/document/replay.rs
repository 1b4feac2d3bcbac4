//! Changes after a backup: what the store noted in its log, applied in its order up to a moment.
//! Each entry says what a document is after it, so that one which the backup has already does no harm.

use std::io::BufReader;
use std::path::Path;

use mongodb::bson::{Bson, Document, doc};

use super::load::next;
use super::namespaces::OWN;
use crate::backup::BackupError;
use crate::backup::manifest::{Facts, Manifest, Moment};
use crate::fsx::FsError;

/// `NamespaceNotFound`, `NamespaceExists`, `IndexNotFound`: what is to come is there, or gone, already.
const SETTLED: [i32; 3] = [26, 48, 27];

/// The backup to begin with and those whose logs follow, for a moment in seconds since 1970.
///
/// # Errors
/// What is missing, and the way out.
pub(in crate::backup) fn chain<'a>(
    all: &'a [Manifest],
    host: &str,
    until: u32,
) -> Result<(&'a Manifest, Vec<&'a Manifest>), String> {
    let known = |one: &'a Manifest| {
        let part = one.part(super::PART)?;
        match &part.facts {
            Facts::Document {
                moment: Some(moment),
                log_from,
                ..
            } => Some((*moment, *log_from)),
            _ => None,
        }
    };
    let mut own: Vec<_> = all
        .iter()
        .filter(|one| one.host == host)
        .filter_map(|one| known(one).map(|(moment, from)| (one, moment, from)))
        .collect();
    own.sort_by_key(|(_, moment, _)| moment.before);
    let base = own
        .iter()
        .rposition(|(_, moment, _)| moment.after.0 <= until);
    let Some(base) = base else {
        return Err("no backup of this appliance was taken before that moment".to_owned());
    };
    let (begin, mut last, _) = own[base];
    let mut logs = Vec::new();
    for (one, moment, from) in &own[base + 1..] {
        if *from != Some(last.before) {
            return Err(format!(
                "what changed between backup {} and backup {} was not noted: the store's log was \
                 too short for it (datastore.document.oplog_retention), or is another one since a \
                 restore or a rollback. Restore one of the two",
                logs.last().map_or(&begin.id, |one: &&Manifest| &one.id),
                one.id
            ));
        }
        logs.push(*one);
        last = *moment;
        if moment.before.0 > until {
            return Ok((begin, logs));
        }
    }
    Err(format!(
        "changes are known up to {}: `lucid backup create` takes in what came after, then try again",
        time_of(last)
    ))
}

fn time_of(moment: Moment) -> String {
    jiff::Timestamp::from_second(i64::from(moment.before.0))
        .map_or_else(|_| moment.before.0.to_string(), |time| time.to_string())
}

/// Applies the entries of one log up to and with the second `until`. Answers how many.
pub(in crate::backup) async fn replay(
    client: &mongodb::Client,
    log: &Path,
    until: u32,
) -> Result<u64, BackupError> {
    let file = std::fs::File::open(log).map_err(FsError::wrap("open", log))?;
    let mut file = BufReader::with_capacity(1 << 20, file);
    let wrong = |cause: String| BackupError::Refused(format!("{}: {cause}", log.display()));
    let mut count = 0;
    while let Some(bytes) = next(&mut file).map_err(wrong)? {
        let entry = Document::from_reader(bytes.as_slice()).map_err(|e| wrong(e.to_string()))?;
        let time = entry
            .get_timestamp("ts")
            .map_err(|e| wrong(e.to_string()))?;
        if time.time > until {
            break;
        }
        let applied = apply(client, &entry).await;
        applied.map_err(|cause| wrong(format!("the entry of {}: {cause}", time.time)))?;
        count += 1;
    }
    Ok(count)
}

async fn apply(client: &mongodb::Client, entry: &Document) -> Result<(), String> {
    let text = |key: &str| entry.get_str(key).map_err(|error| error.to_string());
    let (op, ns) = (text("op")?, text("ns")?);
    let Some((db, name)) = ns.split_once('.') else {
        return Ok(());
    };
    if op == "n" || OWN.contains(&db) {
        return Ok(());
    }
    let collection = client.database(db).collection::<Document>(name);
    let of = |key: &str| entry.get_document(key).map_err(|error| error.to_string());
    let id = |document: &Document| {
        let id = document.get("_id").cloned();
        id.map(|id| doc! { "_id": id })
            .ok_or_else(|| "it has no _id".to_owned())
    };
    let failed = |error: mongodb::error::Error| error.to_string();
    match op {
        "i" => {
            let document = of("o")?;
            let put = collection.replace_one(id(document)?, document).upsert(true);
            put.await.map(drop).map_err(failed)
        }
        "d" => {
            let gone = collection.delete_one(id(of("o2").or_else(|_| of("o"))?)?);
            gone.await.map(drop).map_err(failed)
        }
        "u" => {
            let (change, which) = (of("o")?, id(of("o2")?)?);
            if !change.contains_key("$v") {
                let put = collection.replace_one(which, change).upsert(true);
                return put.await.map(drop).map_err(failed);
            }
            for step in steps(change)? {
                collection
                    .update_one(which.clone(), step)
                    .await
                    .map_err(failed)?;
            }
            Ok(())
        }
        "c" => command(client, db, of("o")?).await,
        other => Err(format!("an entry of kind {other:?} is not known")),
    }
}

/// What a noted difference is as updates: arrays are cut first, since what is set may lengthen them.
fn steps(change: &Document) -> Result<Vec<Document>, String> {
    let diff = change
        .get_document("diff")
        .map_err(|_| "a change that is written in another way than is known".to_owned())?;
    let mut steps = Vec::new();
    for cut in diff.get_array("truncatedArrays").into_iter().flatten() {
        let cut = cut.as_document().ok_or("a cut that is none")?;
        let field = cut.get_str("field").map_err(|error| error.to_string())?;
        let size = cut.get("newSize").cloned().unwrap_or(Bson::Int32(0));
        let none: Vec<Bson> = Vec::new();
        steps.push(doc! { "$push": { field: { "$each": none, "$slice": size } } });
    }
    let set = diff
        .get_document("updatedFields")
        .cloned()
        .unwrap_or_default();
    let mut unset = Document::new();
    for field in diff.get_array("removedFields").into_iter().flatten() {
        unset.insert(field.as_str().ok_or("a field without a name")?, "");
    }
    let mut step = Document::new();
    if !set.is_empty() {
        step.insert("$set", set);
    }
    if !unset.is_empty() {
        step.insert("$unset", unset);
    }
    if !step.is_empty() {
        steps.push(step);
    }
    Ok(steps)
}

/// Collections and indexes that were made, changed and dropped.
async fn command(client: &mongodb::Client, db: &str, noted: &Document) -> Result<(), String> {
    let mut wanted = noted.clone();
    let kind = wanted.keys().next().cloned().unwrap_or_default();
    let (db, wanted) = match kind.as_str() {
        "create" => {
            wanted.remove("idIndex");
            (db, wanted)
        }
        "dropIndexes" => {
            let index = wanted.get("index").cloned().unwrap_or(Bson::Null);
            let name = wanted.get("dropIndexes").cloned().unwrap_or(Bson::Null);
            (db, doc! { "dropIndexes": name, "index": index })
        }
        // It names both with their databases.
        "renameCollection" => ("admin", wanted),
        "createIndexes" | "collMod" | "drop" | "dropDatabase" => (db, wanted),
        other => return Err(format!("the command {other:?} is not known")),
    };
    match client.database(db).run_command(wanted).await {
        Err(error) => match error.kind.as_ref() {
            mongodb::error::ErrorKind::Command(known) if SETTLED.contains(&known.code) => Ok(()),
            _ => Err(error.to_string()),
        },
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::manifest::{Part, VERSION};

    fn backup(id: &str, before: u32, after: u32, from: Option<u32>) -> Manifest {
        Manifest {
            version: VERSION,
            id: id.to_owned(),
            taken: String::new(),
            host: "box".to_owned(),
            lucid: String::new(),
            engines: std::collections::BTreeMap::new(),
            parts: vec![Part {
                name: super::super::PART.to_owned(),
                snapshot: String::new(),
                bytes: 0,
                added: 0,
                seconds: 0.0,
                facts: Facts::Document {
                    users: 0,
                    roles: 0,
                    collections: Vec::new(),
                    moment: Some(Moment {
                        before: (before, 1),
                        after: (after, 1),
                    }),
                    log_from: from.map(|time| (time, 1)),
                    tip: None,
                },
            }],
        }
    }

    #[test]
    fn a_moment_is_reached_from_the_last_backup_before_it_over_logs_without_a_gap() {
        let all = [
            backup("a", 100, 101, None),
            backup("b", 200, 203, Some(100)),
            backup("c", 300, 300, Some(200)),
            backup("d", 400, 400, None),
        ];
        let found = |until| {
            chain(&all, "box", until).map(|(base, logs)| {
                let logs: Vec<_> = logs.iter().map(|one| one.id.clone()).collect();
                (base.id.clone(), logs)
            })
        };
        let of = |base: &str, logs: &[&str]| {
            Ok((
                base.to_owned(),
                logs.iter().map(|id| (*id).to_owned()).collect(),
            ))
        };
        assert_eq!(found(150), of("a", &["b"]));
        // Within the taking of b its state is not known to be that of the moment.
        assert_eq!(found(202), of("a", &["b", "c"]));
        assert_eq!(found(203), of("b", &["c"]));
        assert!(found(50).unwrap_err().contains("no backup"));
        assert!(found(350).unwrap_err().contains("was not noted"));
        assert!(found(450).unwrap_err().contains("lucid backup create"));
        assert!(chain(&all, "other", 150).is_err());
    }

    #[test]
    fn a_difference_becomes_updates() {
        let change = doc! { "$v": 2, "diff": {
            "updatedFields": { "a.b": 1 }, "removedFields": ["c"],
            "truncatedArrays": [{ "field": "d", "newSize": 2 }],
        }};
        let none: Vec<Bson> = Vec::new();
        assert_eq!(
            steps(&change).unwrap(),
            [
                doc! { "$push": { "d": { "$each": none, "$slice": 2 } } },
                doc! { "$set": { "a.b": 1 }, "$unset": { "c": "" } },
            ]
        );
        assert!(steps(&doc! { "$v": 2 }).is_err());
    }
}

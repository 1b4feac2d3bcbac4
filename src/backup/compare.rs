//! Compares what an engine serves after a restore with what was backed up.

use std::time::Duration;

use reqwest::Method;

use super::manifest::{Collection, Facts, Manifest};
use super::rebuild::{Rebuilt, facts_of};
use super::request::Store;
use super::search::Search;
use super::{BackupError, document};

/// Compares what a rebuilt engine serves with what was backed up. Answers what was compared.
pub(super) async fn compare(
    manifest: &Manifest,
    store: &Store,
    rebuilt: &Rebuilt,
) -> Result<Vec<String>, BackupError> {
    let (_, facts) = facts_of(manifest, store.role)?;
    let engine = &rebuilt.engine;
    match facts {
        Facts::Document { .. } => {
            let login = &store.credentials.supervisor;
            let found = document::contents(engine.address, login, None).await?;
            let mut told = same_collections(&rebuilt.documents, &found)?;
            told.extend(rebuilt.accounts.compared.iter().cloned());
            Ok(told)
        }
        // Key by key it was compared when it was loaded.
        Facts::Cache { keys, .. } => Ok(vec![format!("cache: {keys} keys, file and count equal")]),
        Facts::Search { indices, .. } => {
            let client = Search::new(engine.address, &store.credentials.supervisor)?;
            let found = client.counts().await?;
            let mut documents = 0;
            for (index, count) in indices {
                match found.get(index) {
                    Some(now) if (count[0]..=count[1]).contains(now) => documents += now,
                    now => {
                        return Err(BackupError::Refused(format!(
                            "index {index} has {} documents after the restore, {} to {} were \
                             backed up",
                            now.map_or_else(|| "no".to_owned(), u64::to_string),
                            count[0],
                            count[1]
                        )));
                    }
                }
                // Counting reads no document; this does.
                let path = format!("{index}/_search?size=1");
                client
                    .call(Method::GET, &path, None, Duration::from_secs(60))
                    .await?;
            }
            Ok(vec![format!(
                "search: {} indices with {documents} documents, counts equal",
                indices.len()
            )])
        }
        Facts::Files { .. } => Ok(Vec::new()),
    }
}

/// That every collection is there and what it should be. Answers what was compared.
pub(super) fn same_collections(
    wanted: &[Collection],
    found: &[(Collection, bool)],
) -> Result<Vec<String>, BackupError> {
    let (mut documents, mut expired, mut wrong) = (0, 0, Vec::new());
    for one in wanted {
        let name = format!("{}.{}", one.db, one.name);
        match found
            .iter()
            .find(|(now, _)| now.db == one.db && now.name == one.name)
        {
            None => wrong.push(format!("{name} is missing")),
            // The time of some was over since the backup: the engine removes them by itself.
            Some((now, true)) if now.count < one.count => {
                documents += now.count;
                expired += one.count - now.count;
            }
            Some((now, _)) if now.count != one.count => wrong.push(format!(
                "{name} has {} documents, {} were backed up",
                now.count, one.count
            )),
            Some((now, _)) if now.hash != one.hash => {
                wrong.push(format!("{name} has other content than was backed up"));
            }
            Some(_) => documents += one.count,
        }
    }
    if wrong.is_empty() {
        let mut told = vec![format!(
            "document: {} collections with {documents} documents, counts and content hashes equal",
            wanted.len()
        )];
        if expired > 0 {
            told.push(format!(
                "document: {expired} documents expired since the backup"
            ));
        }
        Ok(told)
    } else {
        Err(BackupError::Refused(wrong.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_that_expire_by_themselves_may_be_gone_and_others_may_not() {
        let of = |count: u64, hash: &str| Collection {
            db: "lucid".to_owned(),
            name: "rate_limits".to_owned(),
            count,
            bytes: 0,
            hash: hash.to_owned(),
            difference: None,
            read: None,
        };
        let same = |now: Collection, expires| same_collections(&[of(3, "a")], &[(now, expires)]);
        assert!(same(of(3, "a"), false).is_ok());
        let told = same(of(1, "b"), true).unwrap();
        assert!(told[1].contains("2 documents expired"), "{told:?}");
        assert!(same(of(1, "b"), false).is_err());
        assert!(same(of(3, "b"), true).is_err());
        assert!(same(of(4, "b"), true).is_err());
    }
}

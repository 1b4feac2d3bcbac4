//! Repositories of snapshots that the node knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::{Node, index, now_millis};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::names;
use crate::search_node::snapshots::{
    Freed, Integrity, Kind, Listed, Pace, Registration, Repository, Running, check_repository_name,
    repository_failure, repository_missing, snapshot_missing,
};

/// Repositories of a node at most.
const MAX_REPOSITORIES: usize = 100;

/// Whether `list`, names and patterns with commas between them, names all there is.
pub(in crate::search_node) fn is_all(list: &str) -> bool {
    ["", "_all", "*"].contains(&list)
}

/// The names of `all` that `list` names, names and patterns with commas between them;
/// `missing` makes the error for a name that is not there, if it is one.
pub(super) fn choose(
    list: &str,
    all: &BTreeSet<String>,
    missing: impl Fn(&str) -> Outcome<()>,
) -> Outcome<BTreeSet<String>> {
    if is_all(list) {
        return Ok(all.clone());
    }
    let mut chosen = BTreeSet::new();
    for part in list.split(',') {
        if part.contains('*') {
            chosen.extend(
                all.iter()
                    .filter(|name| names::matches(part, name))
                    .cloned(),
            );
        } else if part == "_all" {
            chosen.extend(all.iter().cloned());
        } else if all.contains(part) {
            chosen.insert(part.to_owned());
        } else {
            missing(part)?;
        }
    }
    Ok(chosen)
}

impl Node {
    /// Registers the repository `name` as `body` says, once it is there and, with `verify`, can be
    /// written to.
    pub(in crate::search_node) fn register(
        &self,
        name: &str,
        body: &Value,
        verify: bool,
    ) -> Outcome<()> {
        check_repository_name(name)?;
        let mut registration = Registration::parse(name, body)?;
        self.check_unused(name)?;
        let places = &self.snapshots.places;
        let opened = Repository::prepare(name, &registration, places, index::new_uuid()?)?;
        registration.uuid.clone_from(&opened.uuid);
        if verify {
            opened.verify()?;
        }
        self.change(|state| {
            let known = &mut state.repositories;
            if !known.contains_key(name) && known.len() >= MAX_REPOSITORIES {
                return Err(repository_failure(
                    name,
                    format!(
                        "this node has [{MAX_REPOSITORIES}] repositories, its limit; remove some"
                    ),
                ));
            }
            known.insert(name.to_owned(), registration);
            Ok(())
        })
    }

    /// Forgets the repositories that `list` names; their files stay.
    pub(in crate::search_node) fn unregister(&self, list: &str) -> Outcome<()> {
        let chosen = self.repositories(list)?;
        for name in chosen.keys() {
            self.check_unused(name)?;
        }
        if chosen.is_empty() && !is_all(list) {
            return Err(repository_missing(list));
        }
        self.change(|state| {
            state
                .repositories
                .retain(|name, _| !chosen.contains_key(name));
            Ok(())
        })
    }

    fn check_unused(&self, name: &str) -> Outcome<()> {
        let mut running = self.snapshots.running().into_iter();
        if running.any(|running| running.repository == name) {
            return Err(Failure::new(
                409,
                "repository_conflict_exception",
                format!(
                    "[{name}] trying to modify or unregister repository that is currently used; \
                     GET /_snapshot/_status shows what is running"
                ),
            ));
        }
        Ok(())
    }

    /// The repositories that `list` names, by name; it may hold patterns.
    pub(in crate::search_node) fn repositories(
        &self,
        list: &str,
    ) -> Outcome<BTreeMap<String, Registration>> {
        let mut known = self.read().state.repositories.clone();
        let all = known.keys().cloned().collect();
        let chosen = choose(list, &all, |name| Err(repository_missing(name)))?;
        known.retain(|name, _| chosen.contains(name));
        Ok(known)
    }

    /// The repository `name`, opened.
    pub(in crate::search_node) fn repository(&self, name: &str) -> Outcome<Repository> {
        let registration = self.read().state.repositories.get(name).cloned();
        let registration = registration.ok_or_else(|| repository_missing(name))?;
        Repository::open(name, &registration, &self.snapshots.places)
    }

    fn upkeep(&self, repository: &str) -> Outcome<Listed> {
        let running = Running::new(Kind::Upkeep, repository, "", now_millis());
        self.snapshots.list(running)
    }

    /// What is at work in `repository`, of this kind.
    pub(in crate::search_node) fn at_work(
        &self,
        kind: Kind,
        repository: &str,
    ) -> Vec<Arc<Running>> {
        let mut running = self.snapshots.running();
        running.retain(|running| running.kind == kind && running.repository == repository);
        running
    }

    /// The snapshots at work that are to be called off so that those that `list` names can be
    /// deleted; refused when these cannot be.
    pub(in crate::search_node) fn to_abort(
        &self,
        repository: &str,
        list: &str,
    ) -> Outcome<Vec<Arc<Running>>> {
        let opened = self.repository(repository)?;
        opened.check_writable("delete snapshot")?;
        // First: one that ends meanwhile is among the names then.
        let mut running = self.at_work(Kind::Snapshot, repository);
        let mut all = opened.names()?;
        all.extend(running.iter().map(|running| running.snapshot.clone()));
        let chosen = choose(list, &all, |name| Err(snapshot_missing(repository, name)))?;
        running.retain(|running| chosen.contains(&running.snapshot));
        Ok(running)
    }

    /// Deletes the snapshots that `list` names. `aborted` names those that were called off for
    /// it, and that are not there any more.
    pub(in crate::search_node) fn delete_snapshots(
        &self,
        repository: &str,
        list: &str,
        aborted: &[String],
    ) -> Outcome<Freed> {
        let _listed = self.upkeep(repository)?;
        let repository = self.repository(repository)?;
        repository.check_writable("delete snapshot")?;
        let _lock = repository.lock_to_remove()?;
        let chosen = choose(list, &repository.names()?, |name| {
            if aborted.iter().any(|aborted| aborted == name) {
                return Ok(());
            }
            Err(snapshot_missing(&repository.name, name))
        })?;
        repository.delete(&chosen)
    }

    /// Removes what no snapshot of the repository uses.
    pub(in crate::search_node) fn clean_repository(&self, repository: &str) -> Outcome<Freed> {
        let _listed = self.upkeep(repository)?;
        let repository = self.repository(repository)?;
        repository.check_writable("cleanup")?;
        let _lock = repository.lock_to_remove()?;
        repository.cleanup()
    }

    /// Reads all blobs of the repository.
    pub(in crate::search_node) fn check_repository(&self, repository: &str) -> Outcome<Integrity> {
        let listed = self.upkeep(repository)?;
        let repository = self.repository(repository)?;
        let _lock = repository.lock_to_read()?;
        let found = Integrity::check(&repository, &Pace::new(&listed.running.work, None))?;
        for anomaly in &found.anomalies {
            // The client may have left.
            tracing::error!(
                "repository [{}]: snapshot [{}]: {}",
                repository.name,
                anomaly.snapshot,
                anomaly.text()
            );
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_what_is_there_and_miss_what_is_not() {
        let all = ["a1", "a2", "b"].map(str::to_owned).into();
        let chosen = |list: &str| {
            choose(list, &all, |name| Err(repository_missing(name)))
                .map(|chosen| chosen.into_iter().collect::<Vec<_>>().join(" "))
        };
        for (list, names) in [
            ("_all", "a1 a2 b"),
            ("*", "a1 a2 b"),
            ("a*", "a1 a2"),
            ("b,a1", "a1 b"),
            ("x*", ""),
        ] {
            assert_eq!(chosen(list).unwrap(), names, "{list}");
        }
        assert_eq!(chosen("a1,c").unwrap_err().reason, "[c] missing");
    }
}

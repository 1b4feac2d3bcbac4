//! Repositories of snapshots on the disk: directories with blobs named by their content's hash,
//! and a description of each snapshot.
//!
//! A description is written when all its blobs are on the disk: a snapshot is there as a whole or
//! not at all. What was cut off leaves blobs that no description names; a cleanup removes them.

mod blobs;
mod description;
mod integrity;
mod lock;
mod places;
mod registration;
mod removal;
mod repository;
mod room;
mod running;
mod work;

pub(super) use blobs::{Blob, hash_of};
pub(super) use description::{Description, FORMAT, SavedFile, SavedIndex};
pub(super) use integrity::Integrity;
pub(super) use lock::Lock;
pub(super) use places::Places;
pub(super) use registration::Registration;
pub(super) use removal::Freed;
pub(super) use repository::Repository;
pub(super) use room::check_free;
pub(super) use running::{Failed, Kind, Listed, Progress, Running, Snapshots};
pub(super) use work::Pace;

use super::failure::{Failure, Outcome};

/// Longest name of a snapshot, in bytes: it is a file's name, with room for an ending.
const MAX_NAME: usize = 220;

/// 400: a repository is not usable as it is told.
pub(super) fn repository_failure(repository: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(400, "repository_exception", format!("[{repository}] {why}"))
}

/// 404: no such repository.
pub(super) fn repository_missing(repository: &str) -> Failure {
    Failure::new(
        404,
        "repository_missing_exception",
        format!("[{repository}] missing"),
    )
}

/// 404: no such snapshot.
pub(super) fn snapshot_missing(repository: &str, snapshot: &str) -> Failure {
    Failure::new(
        404,
        "snapshot_missing_exception",
        format!("[{repository}:{snapshot}] is missing"),
    )
}

/// 503: something else is at work in the repository.
pub(super) fn concurrent(repository: &str, what: impl std::fmt::Display) -> Failure {
    Failure::new(
        503,
        "concurrent_snapshot_execution_exception",
        format!("[{repository}] {what}; try again when it has ended"),
    )
}

/// 400: a snapshot cannot have this name.
pub(super) fn invalid_name(repository: &str, snapshot: &str, why: &str) -> Failure {
    Failure::new(
        400,
        "invalid_snapshot_name_exception",
        format!("[{repository}:{snapshot}] Invalid snapshot name [{snapshot}], {why}"),
    )
}

/// Checks the name of a new snapshot.
pub(super) fn check_snapshot_name(repository: &str, name: &str) -> Outcome<()> {
    let why = if name.is_empty() {
        "cannot be empty".to_owned()
    } else if name.contains(char::is_whitespace) {
        "must not contain whitespace".to_owned()
    } else if name.contains(',') {
        "must not contain ','".to_owned()
    } else if name.contains('#') {
        "must not contain '#'".to_owned()
    } else if name.starts_with('_') {
        "must not start with '_'".to_owned()
    } else if name.chars().any(char::is_uppercase) {
        "must be lowercase".to_owned()
    } else if name
        .chars()
        .any(|c| "\\/*?\"<>|".contains(c) || c.is_control())
    {
        "must not contain the following characters [\\, /, *, ?, \", <, >, |,  , ,]".to_owned()
    } else if name.len() > MAX_NAME {
        format!("must not be longer than {MAX_NAME} bytes")
    } else {
        return Ok(());
    };
    Err(invalid_name(repository, name, &why))
}

/// Checks the name of a new repository.
pub(super) fn check_repository_name(name: &str) -> Outcome<()> {
    let why = if name.is_empty() {
        "cannot be empty"
    } else if name.contains('#') {
        "must not contain '#'"
    } else if name.starts_with('_') || name == "." || name == ".." {
        "must not start with '_', and must not be '.' or '..'"
    } else if name.len() > MAX_NAME
        || name
            .chars()
            .any(|c| "\\/*?\"<>| ,".contains(c) || c.is_control())
    {
        "must have at most 220 bytes, and must not contain the following characters \
         [\\, /, *, ?, \", <, >, |,  , ,]"
    } else {
        return Ok(());
    };
    Err(repository_failure(name, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_file_or_no_name_are_refused() {
        for name in [
            "", "A", "a b", "a,b", "a#", "_a", "a/b", "a\\b", "a*", "a?", "<a>", "a|b", "a\"",
            "a\n",
        ] {
            assert!(check_snapshot_name("r", name).is_err(), "{name}");
        }
        assert!(check_snapshot_name("r", &"a".repeat(221)).is_err());
        for name in ["a", "nightly-2026.11.26", "ä", ".a", "a:b", "..."] {
            assert!(check_snapshot_name("r", name).is_ok(), "{name}");
        }
        let failure = check_snapshot_name("r", "Ab").unwrap_err();
        assert_eq!(
            failure.reason,
            "[r:Ab] Invalid snapshot name [Ab], must be lowercase"
        );
        for name in ["", "a/b", "_all", "a b", "*", "..", "a,b", "a#"] {
            assert!(check_repository_name(name).is_err(), "{name}");
        }
        assert!(check_repository_name("My-repo_1").is_ok());
    }
}

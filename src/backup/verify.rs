//! Reads a repository and compares every hash in it.

use rustic_core::{CheckOptions, FileType, ReadSubsetOption};
use sha2::{Digest, Sha256};

use super::BackupError;
use super::repository::{Repository, plain};
use super::request::Checked;

/// How many faults are named.
const NAMED: usize = 5;

/// The share `(nth, of)` that an id is in, as the library counts.
fn is_in(id: &str, share: (u32, u32)) -> bool {
    let first = id
        .get(..8)
        .and_then(|hex| u32::from_str_radix(hex, 16).ok())
        .map(u32::swap_bytes);
    first.is_some_and(|first| first % share.1 == share.0 % share.1)
}

/// Reads keys, snapshots and indexes, every tree, and of the packs those in `share` (all without
/// one). In as many runs as a share says everything is read.
///
/// # Errors
/// [`BackupError::Refused`] with the names of what is damaged or missing.
pub(super) fn verify(
    repository: &Repository,
    share: Option<(u32, u32)>,
) -> Result<Checked, BackupError> {
    let mut wrong = Vec::new();
    // The library opens these with the key; that their names are their hashes it leaves unchecked.
    for kind in [FileType::Key, FileType::Index, FileType::Snapshot] {
        for (name, _) in repository.ids(kind)? {
            let path = format!("{}/{name}", kind.dirname());
            match repository.files.read(&path, None) {
                Ok(content) => {
                    let hash = Sha256::digest(&content);
                    let hash = super::hex(&hash);
                    if hash != name {
                        wrong.push(format!("{path} is not what its name says"));
                    }
                }
                Err(fault) => wrong.push(fault.to_string()),
            }
        }
    }
    if !wrong.is_empty() {
        return Err(damaged(repository, &wrong));
    }
    let mut options = CheckOptions::default().trust_cache(true).read_data(true);
    if let Some(share) = share {
        options.read_data_subset = ReadSubsetOption::IdSubSet(share);
    }
    let inner = repository.again()?;
    let found = inner
        .check(options)
        .map_err(repository.failed("checking"))?;
    // The library keeps the type of the level to itself. A pack that nothing refers to is left by
    // a backup that was cut off, and no fault.
    wrong.extend(
        found
            .0
            .iter()
            .filter(|(level, _)| format!("{level:?}") == "Error")
            .map(|(_, error)| plain(&error.to_string())),
    );
    if !wrong.is_empty() {
        return Err(damaged(repository, &wrong));
    }
    let (_, wrong) = repository.manifests()?;
    if !wrong.is_empty() {
        return Err(damaged(repository, &wrong));
    }
    let packs = repository.ids(FileType::Pack)?;
    let read: Vec<_> = packs
        .iter()
        .filter(|(id, _)| share.is_none_or(|share| is_in(id, share)))
        .collect();
    Ok(Checked {
        packs: packs.len() as u64,
        read: read.len() as u64,
        bytes: read.iter().map(|(_, bytes)| bytes).sum(),
    })
}

fn damaged(repository: &Repository, wrong: &[String]) -> BackupError {
    let more = wrong.len().saturating_sub(NAMED);
    let named: Vec<_> = wrong.iter().take(NAMED).map(String::as_str).collect();
    let more = if more == 0 {
        String::new()
    } else {
        format!("; and {more} more")
    };
    BackupError::Refused(format!(
        "the repository {} is damaged: {}{more}. Backups whose files are hit do not restore whole: \
         make a new backup, to another place if this disk is failing (`lucid volume health`)",
        repository.place(),
        named.join("; ")
    ))
}

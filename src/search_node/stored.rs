//! Descriptions on the disk: JSON with its checksum, replaced as a whole.
//!
//! A description decides which files are data and which are leftovers. One that is damaged or
//! cannot be read is therefore an error, never an empty one.

use std::io::{self, ErrorKind};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::{Failure, Outcome};
use crate::fsx::{self, FsError};

/// Larger descriptions are none; a thousand indices with a thousand fields each take less.
const MAX_BYTES: u64 = 64 << 20;

/// Reads `path`; `None` when it is not there. `remedy` says what to do when it is damaged.
pub(super) fn load<T: DeserializeOwned>(path: &Path, remedy: &str) -> Outcome<Option<T>> {
    let damaged =
        |why: String| Failure::internal(format!("{} is damaged: {why}; {remedy}", path.display()));
    // The checksum has a line of its own.
    let text = match fsx::read_text(path, MAX_BYTES + 16) {
        Ok(text) => text,
        Err(error) if error.source.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.source.kind() == ErrorKind::InvalidData => {
            return Err(damaged(error.source.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    let (json, crc) = text.rsplit_once('\n').unwrap_or((&text, ""));
    if u32::from_str_radix(crc, 16).ok() != Some(crc32fast::hash(json.as_bytes())) {
        return Err(damaged("its checksum does not match".to_owned()));
    }
    serde_json::from_str(json)
        .map(Some)
        .map_err(|error| damaged(error.to_string()))
}

/// Replaces `path`; after a power cut it has the old content or the new.
pub(super) fn save(path: &Path, content: &impl Serialize) -> Outcome<()> {
    let mut text = serde_json::to_string(content).map_err(|e| Failure::internal(e.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        let source = io::Error::new(
            ErrorKind::FileTooLarge,
            format!("its content would be larger than {MAX_BYTES} bytes"),
        );
        return Err(FsError::wrap("write", path)(source).into());
    }
    let crc = crc32fast::hash(text.as_bytes());
    text = format!("{text}\n{crc:08x}");
    fsx::write_atomic(path, text.as_bytes(), 0o600)?;
    Ok(())
}

/// Removes what writes that the power cut off left in `dir`.
pub(super) fn remove_temporaries(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_of_a_byte_is_noticed_and_a_missing_file_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("commit.json");
        assert_eq!(load::<Vec<u64>>(&path, "").unwrap(), None);
        save(&path, &vec![10, 20]).unwrap();
        assert_eq!(load(&path, "").unwrap(), Some(vec![10, 20]));
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fsx::write_atomic(&path, &damaged, 0o600).unwrap();
            let failure = load::<Vec<u64>>(&path, "restore it").unwrap_err();
            assert!(failure.reason.contains("restore it"), "{failure}");
        }
    }
}

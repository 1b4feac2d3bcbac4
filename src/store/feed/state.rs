//! How far the feed came, over restarts.

use std::path::Path;

use mongodb::change_stream::event::ResumeToken;
use serde::{Deserialize, Serialize};

use crate::fsx::{self, FsError};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) token: ResumeToken,
}

/// What was noted; nothing where it cannot be read, and everything is put in anew.
pub(super) fn load(file: &Path) -> Option<State> {
    let text = std::fs::read(file).ok()?;
    serde_json::from_slice(&text)
        .inspect_err(|error| {
            tracing::warn!("{}: {error}; the indices are made anew", file.display());
        })
        .ok()
}

pub(super) fn save(file: &Path, state: &State) -> Result<(), FsError> {
    let text = serde_json::to_vec(state).unwrap_or_default();
    fsx::write_atomic(file, &text, 0o600)
}

pub(super) fn forget(file: &Path) -> Result<(), FsError> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FsError::wrap("remove", file)(error))
        }
        _ => Ok(()),
    }
}

//! The embedded search engine.

use std::path::Path;

/// Why the search node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// This build is without it.
    #[error("not built in")]
    NotBuiltIn,
}

/// Runs the search node that `config` describes until it is asked to stop.
///
/// # Errors
/// [`StartError`].
pub async fn run(_config: &Path) -> Result<(), StartError> {
    std::future::ready(Err(StartError::NotBuiltIn)).await
}

//! Search over the indices of the platform, with either engine.

mod client;
mod query;
mod read;
mod write;

use super::{Access, StoreError};
use client::Client;

pub use query::{ENTITIES, Range, Text, Wanted};
pub use read::{AGGREGATIONS, Health, Hits, IndexInfo};
pub use write::{Action, Bulk, Places};

/// The service.
#[derive(Debug)]
pub struct Search {
    client: Client,
}

impl Search {
    /// Connects with the first call.
    pub(super) fn new(access: Access) -> Self {
        Self {
            client: Client::new(access),
        }
    }
}

/// Names of indices and aliases that are the platform's; `*` stands for many.
///
/// # Errors
/// [`StoreError::Invalid`]
pub fn index_name(name: &str) -> Result<(), StoreError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.*".contains(c);
    let ours = name.starts_with("lucid-") || name.starts_with("lucid_");
    if ours && name.len() <= 200 && name.chars().all(allowed) {
        return Ok(());
    }
    let message =
        format!("{name:?} is none of the platform's: lucid-sessions and so on, lucid-* for all");
    Err(StoreError::invalid("index", "pattern", message))
}

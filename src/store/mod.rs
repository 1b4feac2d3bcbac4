//! The Lucid data services: documents, cache and search, over whichever engine plays the role.
//!
//! Each service asks for the address and the account of its datastore when it connects, and again when
//! a connection fails: passwords may be rotated, engines restarted, while this lives. Everything has a
//! limit in time; what is down is told at once.

pub mod cache;
pub mod documents;
mod error;
pub mod feed;
pub mod search;

use std::sync::Arc;

pub use error::{Broken, StoreError};

use crate::config::Role;

/// Where a datastore is, with the user and password of the client account in it; the cause where it
/// has none.
pub type Access = Arc<dyn Fn(Role) -> Result<String, String> + Send + Sync>;

/// All three services.
#[derive(Clone)]
pub struct Stores {
    /// Documents.
    pub documents: Arc<documents::Documents>,
    /// Cache.
    pub cache: Arc<cache::Cache>,
    /// Search.
    pub search: Arc<search::Search>,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stores")
    }
}

impl Stores {
    /// Connects to nothing yet.
    pub fn new(access: &Access) -> Self {
        Self {
            documents: Arc::new(documents::Documents::new(Arc::clone(access))),
            cache: Arc::new(cache::Cache::new(Arc::clone(access))),
            search: Arc::new(search::Search::new(Arc::clone(access))),
        }
    }
}

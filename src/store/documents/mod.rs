//! Documents: the collections of the platform over the MongoDB protocol.

mod admin;
mod changes;
mod cluster;
mod connection;
mod filter;
mod pipeline;
mod read;
mod retention;
mod write;

use std::time::Duration;

use super::{Access, Broken, StoreError};
use crate::schema::documents as schema;
use connection::Connection;

pub use admin::{Counts, Created, Found, IndexInfo, NewIndex};
pub use cluster::Shard;
pub(super) use connection::explain;
pub use read::Query;
pub use retention::Expired;
pub use write::{Changed, Update};

/// What a query may take on the server.
pub const LIMIT: Duration = Duration::from_secs(20);
/// Documents of one answer at most.
pub const MOST: i64 = 1000;

/// The service.
#[derive(Debug)]
pub struct Documents {
    connection: Connection,
}

impl Documents {
    /// Connects with the first call.
    pub(super) fn new(access: Access) -> Self {
        Self {
            connection: Connection::new(access),
        }
    }
}

/// The definition of a collection, by its name.
///
/// # Errors
/// [`StoreError::NotFound`]
pub fn definition(name: &str) -> Result<&'static schema::Collection, StoreError> {
    schema::named(name).ok_or_else(|| StoreError::not_found("collection", name))
}

fn broken(rules: Vec<schema::Broken>) -> StoreError {
    let rules = rules.into_iter().map(|rule| Broken {
        path: rule.path,
        rule: rule.rule.to_owned(),
        message: rule.message,
    });
    StoreError::Invalid(rules.collect())
}

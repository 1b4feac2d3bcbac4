//! The cache: values, sessions, rate limits, locks and messages, under keys of one rule.

mod connection;
mod key;
mod lock;
mod messages;
mod overview;
mod rate_limit;
mod session;
mod value;

use super::{Access, StoreError};
use crate::config::Role;
use connection::Connections;

pub use key::{DATABASES, Key, PREFIX};
pub use lock::{Held, LEASE};
pub use messages::{Message, Subscription};
pub use overview::{Flushed, KeyInfo, Page};
pub use rate_limit::{OnFault, Verdict};
pub use session::{DEFAULT_TTL as SESSION_TTL, Session};
pub use value::{DEFAULT_TTL, Value};

/// The service.
#[derive(Debug)]
pub struct Cache {
    connections: Connections,
}

impl Cache {
    /// Connects with the first call.
    pub(super) fn new(access: Access) -> Self {
        Self {
            connections: Connections::new(access),
        }
    }
}

fn refused(cause: impl std::fmt::Display) -> StoreError {
    StoreError::Refused {
        store: Role::Cache,
        cause: cause.to_string(),
    }
}

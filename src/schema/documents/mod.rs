//! The collections of the Lucid platform: their fields, validators and indexes, from one file.

mod apply;
mod coerce;
mod definition;
mod engine;
mod rules;
mod update;
mod validator;

pub use apply::{Change, Object, Report, apply};
pub use coerce::{document, plain, value_at};
pub use definition::{Collection, Direction, Index, Kind, Node, Retention, all, named};
pub use rules::Broken;
pub use update::update;
pub use validator::{index_command, validator};

/// The database of the Lucid platform.
pub const DATABASE: &str = "lucid";

/// Why the collections could not be looked at or made.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The file of this program is damaged.
    #[error("the built-in collections cannot be read: {0}")]
    Definition(String),
    /// The store's address is none.
    #[error("the address of the document store is no URI: {0}")]
    Address(String),
    /// Nobody answers.
    #[error(
        "the document store does not answer: {0}; `lucid status` tells its state, and `lucid \
         datastore start document` starts it"
    )]
    Silent(String),
}

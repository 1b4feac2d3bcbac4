//! Mappings: which fields an index has, how their values are read, and where they lie.

mod columns;
mod completion;
mod content;
mod definition;
mod dynamic;
mod kind;
mod leaf;
mod merge;
mod reader;
mod values;

pub(super) use columns::{Schema, SystemFields};
pub(super) use completion::Completion;
pub(super) use definition::{Mapping, Numbered, Property};
pub(super) use kind::{Kind, Storage};
pub(super) use leaf::Leaf;
pub(super) use merge::normalise;
pub(super) use reader::{ParsedDoc, read_accepted, read_document};
pub(super) use values::{Number, parse_boolean, parse_ip, parse_number};

use crate::search_node::failure::Outcome;

/// Fields of one index at most, as `index.mapping.total_fields.limit`.
pub(super) const MAX_FIELDS: usize = 1000;

/// Nesting of objects in a document and in a mapping at most, as `index.mapping.depth.limit`.
pub(super) const MAX_DEPTH: usize = 20;

/// Nested objects in one document at most, as `index.mapping.nested_objects.limit`.
pub(super) const MAX_NESTED: usize = 10_000;

/// Puts the normalised mapping `over` over `under`, as templates do: the later definition of a
/// field counts.
pub(super) fn compose(
    under: &serde_json::Value,
    over: &serde_json::Value,
) -> Outcome<serde_json::Value> {
    merge::merge(under, over, merge::Conflicts::Replace)
}

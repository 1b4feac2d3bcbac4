//! How much memory an aggregation may take.

use std::cell::Cell;

use super::MAX_MEMORY;
use crate::search_node::failure::{Failure, Outcome};

/// Bytes in use, about.
#[derive(Debug, Default)]
pub(super) struct Budget {
    used: Cell<usize>,
}

impl Budget {
    /// Takes so many bytes more.
    pub(super) fn charge(&self, bytes: usize) -> Outcome<()> {
        self.reset(self.used.get().saturating_add(bytes))
    }

    /// How many bytes are in use.
    pub(super) fn used(&self) -> usize {
        self.used.get()
    }

    /// Sets how many bytes are in use.
    pub(super) fn reset(&self, bytes: usize) -> Outcome<()> {
        self.used.set(bytes);
        if bytes <= MAX_MEMORY {
            return Ok(());
        }
        Err(Failure::new(
            429,
            "circuit_breaking_exception",
            format!(
                "[request] Data too large, data for [<agg>] would be [{bytes}b], which is larger \
                 than the limit of [{MAX_MEMORY}b]; aggregate over fewer documents or into fewer \
                 buckets, or page through them with [composite]"
            ),
        )
        .with("bytes_wanted", bytes)
        .with("bytes_limit", MAX_MEMORY)
        .with("durability", "TRANSIENT"))
    }
}

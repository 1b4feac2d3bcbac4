//! What the fuzz targets call (`tests/fuzz/`); built with `--cfg fuzzing` only.
//!
//! A target gives any bytes. A fault is a panic, an answer that blames the node, or a breach of
//! what is said at each function.

pub use super::http::fuzz::{Searched, bulk};

/// Reads `bytes` as the log and the table of contents of a segment are read.
pub fn stored(bytes: &[u8]) {
    super::shard::fuzz(bytes);
}

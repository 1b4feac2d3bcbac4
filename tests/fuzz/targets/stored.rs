//! Any bytes as what the disk holds: a file of the log, a table of contents of a segment.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lucid::search_node::fuzz::stored(bytes));

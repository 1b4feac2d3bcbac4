//! Any bytes as the body of `_bulk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| lucid::search_node::fuzz::bulk(body));

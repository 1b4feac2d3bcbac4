//! Any bytes as the body of `_search`.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use lucid::search_node::fuzz::Searched;

static SEARCHED: OnceLock<(Searched, tempfile::TempDir)> = OnceLock::new();

fuzz_target!(init: {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let searched = Searched::open(dir.path()).expect("a node with documents");
    let _ = SEARCHED.set((searched, dir));
}, |body: &[u8]| {
    if let Some((searched, _)) = SEARCHED.get() {
        searched.search(body);
    }
});

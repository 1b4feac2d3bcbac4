//! The official Python client of Elasticsearch against a search node, and the table of what the
//! node can that the documents show.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::search::{Node, PASSWORD};

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn the_official_client_works_and_the_table_of_the_api_is_what_it_found() {
    const BEGIN: &str = "<!-- table -->\n";
    const END: &str = "<!-- end of table -->";
    let python = std::env::var("LUCID_TEST_PYTHON")
        .expect("LUCID_TEST_PYTHON is not set: run the tests with ./scripts/test");
    let dir = tempfile::tempdir().unwrap();
    let repositories = dir.path().join("repositories");
    let node = Node::launch(dir.path(), "127.0.0.1", Some(&repositories), "[tls]\n");
    let table = dir.path().join("table.md");
    let output = Command::new(python)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(project("tests/clients/search/run.py"))
        .args([node.base.as_str(), "boss", PASSWORD])
        .arg("--ca")
        .arg(dir.path().join("data/tls/certificate.pem"))
        .arg("--repository")
        .arg(&repositories)
        .arg("--table")
        .arg(&table)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let wanted = std::fs::read_to_string(&table).unwrap();
    assert!(wanted.contains("| works |"), "{wanted}");
    let document = project("docs/search-node.md");
    let text = std::fs::read_to_string(&document).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (found, tail) = rest.split_once(END).unwrap();
    if std::env::var_os("LUCID_BLESS").is_some() {
        let text = format!("{head}{BEGIN}{wanted}{END}{tail}");
        lucid::fsx::write_atomic(&document, text.as_bytes(), 0o644).unwrap();
        return;
    }
    assert_eq!(
        found, wanted,
        "the table of docs/search-node.md is out of date; run: LUCID_BLESS=1 cargo test --test \
         search_node_client"
    );
}

//! TLS of the search node, from this machine and from another one, which is a network namespace.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::path::Path;
use std::process::Command;

use common::network::{Neighbour, curl};
use common::search::{Node, PASSWORD};
use serde_json::json;

/// Address of this machine on the cable: one of those for documentation (RFC 5737).
const HERE: &str = "198.51.100.1";

fn port(node: &Node) -> &str {
    node.base.rsplit_once(':').unwrap().1
}

#[test]
fn who_comes_over_the_network_needs_tls_and_programs_of_the_board_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let other = Neighbour::new(HERE, "198.51.100.2");
    // The helper talks plain HTTP to a loopback address, as the supervisor does.
    let mut node = Node::start_with(dir.path(), "0.0.0.0", "[tls]\n");
    node.call("PUT", "/a/_doc/1", json!({"n": 1}));
    let port = port(&node).to_owned();
    let certificate = dir.path().join("data/tls/certificate.pem");
    let certificate = certificate.to_str().unwrap().to_owned();
    let login = format!("boss:{PASSWORD}");

    let far = format!("{HERE}:{port}/a/_doc/1");
    let (well, text) = other.curl(&[
        "--cacert",
        &certificate,
        "--user",
        &login,
        &format!("https://{far}"),
    ]);
    assert!(well && text.contains("\"found\":true"), "{text}");
    let (well, text) = other.curl(&["--cacert", &certificate, &format!("https://{far}")]);
    assert!(well && text.contains("security_exception"), "{text}");
    let (well, text) = other.curl(&["--user", &login, &format!("https://{far}")]);
    assert!(!well && text.contains("certificate"), "{text}");
    let (well, text) = other.curl(&["--user", &login, &format!("http://{far}")]);
    assert!(well && text.contains("use https"), "{text}");

    for name in ["localhost", "127.0.0.1"] {
        let near = format!("https://{name}:{port}/");
        let args = ["-4", "--cacert", &certificate, "--user", &login, &near];
        let (well, text) = curl(Command::new("curl"), &args);
        assert!(well && text.contains("lucid-node"), "{name}: {text}");
    }

    // It is the same one after a restart, so that who trusts it goes on to.
    let before = lucid::fsx::read_text(Path::new(&certificate), 1 << 20).unwrap();
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    let _node = Node::start_with(dir.path(), "0.0.0.0", "[tls]\n");
    let after = lucid::fsx::read_text(Path::new(&certificate), 1 << 20).unwrap();
    assert_eq!(after, before);
}

#[test]
fn a_given_certificate_is_shown_and_idle_connections_keep_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=box",
        ])
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            key,
            "-out",
            certificate,
        ])
        .output()
        .unwrap();
    assert!(made.status.success());
    let tls = format!("[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
    let node = Node::start_with(dir.path(), "127.0.0.1", &tls);
    let address = format!("127.0.0.1:{}", port(&node));
    let idle: Vec<_> = (0..100)
        .map(|_| std::net::TcpStream::connect(&address).unwrap())
        .collect();
    let (well, text) = curl(
        Command::new("curl"),
        &[
            "--cacert",
            certificate,
            "--user",
            &format!("boss:{PASSWORD}"),
            &format!("https://{address}/"),
        ],
    );
    assert!(well && text.contains("lucid-node"), "{text}");
    drop(idle);
}

#[test]
fn an_open_address_without_tls_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("node.toml");
    let text = "listen = [\"0.0.0.0:1\"]\ndata = \".\"\n[[user]]\nname = \"a\"\nrole = \"admin\"\npassword_hash = \"x\"\n";
    lucid::fsx::write_atomic(&config, text.as_bytes(), 0o600).unwrap();
    let mut command = Command::new(common::LUCID);
    let output = command
        .args(["search-node", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("add [tls], or listen on 127.0.0.1"),
        "{error}"
    );
}

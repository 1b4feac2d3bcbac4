//! A bound on what goes to a repository and comes from it. Needs root.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use common::backups::STILL;
use common::remote::Remote;
use common::{Options, on_pool, said};
use lucid::units::{GIB, MIB};

/// Of both repositories, in bytes a second.
const BOUND: u64 = 512 << 10;
/// What goes there at least, and hardly more.
const BYTES: u64 = 4 * MIB;

#[test]
fn no_more_bytes_a_second_go_to_a_repository_or_come_from_it_than_are_allowed() {
    let remote = Remote::start();
    let repositories = format!(
        "{STILL}\nbackup.verify_share = 1\n[[backup.repositories]]\nname = \"here\"\npath = \"backups/repository\"\n\
         bandwidth = \"{BOUND}\"\n[[backup.repositories]]\nname = \"away\"\n\
         endpoint = \"http://127.0.0.1:{}\"\nbucket = \"backups\"\nbandwidth = \"{BOUND}\"\n\
         credentials = \"/etc/lucid/s3.toml\"\n",
        remote.door
    );
    let (mut appliance, _pool) = on_pool(Options::cache().with(&repositories), 2 * GIB);
    let keys = appliance.root().join("etc/lucid/s3.toml");
    std::fs::write(&keys, "access_key = \"key\"\nsecret_key = \"secret\"\n").unwrap();
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut random = vec![0_u8; usize::try_from(BYTES).unwrap()];
    getrandom::fill(&mut random).unwrap();
    let mut cache = appliance.redis();
    redis::cmd("SET")
        .arg("lucid:random")
        .arg(random.as_slice())
        .query::<()>(&mut cache)
        .unwrap();
    let least = Duration::from_secs(BYTES / BOUND);
    for name in ["here", "away"] {
        let began = Instant::now();
        said(&appliance, &["backup", "create", "--repository", name]);
        // All of it is read back after it was written.
        let took = began.elapsed();
        assert!(took >= least * 2 && took < least * 4, "{name}: {took:?}");
        let began = Instant::now();
        said(&appliance, &["backup", "verify", "--repository", name]);
        let took = began.elapsed();
        assert!(took >= least && took < least * 2, "{name}: {took:?}");
    }
    let restore = [
        "backup",
        "restore",
        "datastore",
        "cache",
        "--repository",
        "away",
        "--confirm",
        "cache",
    ];
    said(&appliance, &restore);
    appliance.wait_state("ready");
    let back: Vec<u8> = redis::cmd("GET")
        .arg("lucid:random")
        .query(&mut appliance.redis())
        .unwrap();
    assert!(back == random);
    appliance.stop();
}

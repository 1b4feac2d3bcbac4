//! Backups when something is wrong: keys, locks, buckets, full disks, ends in the middle. Nothing is
//! lost, the datastores serve, and what is wrong is told. Needs root.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::backups::{STILL, Whole, all_three, all_three_with, files};
use common::remote::Remote;
use common::{Options, failed, on_pool, said};
use lucid::units::GIB;

/// A repository that a whole appliance was backed up to, outside of it.
fn away(dir: &std::path::Path) -> String {
    format!(
        "[[backup.repositories]]\nname = \"away\"\npath = \"{}\"\n",
        dir.join("repository").display()
    )
}

fn filled(one: &Whole) {
    one.said(&[
        "volume", "create", "chunks-a", "--type", "chunks", "--size", "100M",
    ]);
    one.fill(1);
}

#[test]
fn a_fresh_appliance_gets_everything_back_with_the_words_and_nothing_without() {
    let outside = tempfile::tempdir().unwrap();
    let mut old = all_three_with(&away(outside.path()));
    filled(&old);
    let before = old.state();
    old.said(&["backup", "create"]);
    let words = old.appliance.json(&["backup", "key", "show"]);
    let uri = old.appliance.uri("cache");
    let password = uri.split(['/', '@']).nth(2).unwrap().to_owned();
    old.appliance.stop();
    drop(old);

    let mut new = all_three_with(&away(outside.path()));
    let everything = ["backup", "restore", "everything", "--confirm", "everything"];
    let told = new.failed(&everything);
    assert!(told.contains("lucid backup key import"), "{told}");
    // Another appliance's key is there already, and opens nothing.
    let file = outside.path().join("words");
    let other = "legal winner thank year wave sausage worth useful legal winner thank yellow";
    std::fs::write(&file, other).unwrap();
    new.said(&["backup", "key", "import", file.to_str().unwrap()]);
    let told = new.failed(&everything);
    assert!(told.contains("does not open the repository"), "{told}");
    let told = new.failed(&["backup", "create"]);
    assert!(told.contains("does not open the repository"), "{told}");
    std::fs::write(&file, other.replace("thank year", "thank yaer")).unwrap();
    let told = new.failed(&["backup", "key", "import", file.to_str().unwrap()]);
    assert!(told.contains("word 4 (\"yaer\")"), "{told}");
    std::fs::write(&file, words["words"].as_str().unwrap()).unwrap();
    new.said(&["backup", "key", "import", file.to_str().unwrap()]);
    let told = new.failed(&["backup", "restore", "everything"]);
    assert!(told.contains("--confirm everything"), "{told}");
    new.said(&everything);
    new.appliance.wait_state("ready");
    assert_eq!(new.state(), before);
    // Clients log in as they did.
    let now = new.appliance.uri("cache");
    assert_eq!(now.split(['/', '@']).nth(2).unwrap(), password);
    new.appliance.stop();
}

#[test]
fn a_repository_that_another_program_works_on_is_not_pruned() {
    let mut one = all_three();
    filled(&one);
    one.said(&["backup", "create"]);
    let words = one.appliance.json(&["backup", "key", "show"]);
    let mut restic = Command::new("restic")
        .args(["-r", one.repository().to_str().unwrap(), "--no-cache"])
        .args(["backup", "--stdin", "--host", "other"])
        .env("RESTIC_PASSWORD", words["words"].as_str().unwrap())
        .env("HOME", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let locks = one.repository().join("locks");
    let began = Instant::now();
    while files(&locks).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(50));
    }
    let told = one.failed(&["backup", "prune"]);
    assert!(told.contains("is in use by process"), "{told}");
    // Both only add.
    one.said(&["backup", "create"]);
    restic
        .stdin
        .take()
        .unwrap()
        .write_all(b"something")
        .unwrap();
    assert!(restic.wait().unwrap().success());
    one.said(&["backup", "prune"]);
    // What somebody else put there stays.
    let snapshots = one.restic(&["snapshots", "--host", "other", "--json"]);
    assert!(snapshots.contains("\"hostname\":\"other\""), "{snapshots}");
    one.restic(&["check", "--read-data"]);
    one.appliance.stop();
}

#[test]
fn what_ended_in_the_middle_is_gone_over_the_next_time() {
    let mut one = all_three();
    filled(&one);
    one.said(&["backup", "create"]);
    for wait in [150, 700] {
        one.fill(wait);
        let job = one.appliance.json(&["backup", "create", "--background"]);
        std::thread::sleep(Duration::from_millis(u64::try_from(wait).unwrap()));
        let id = job["id"].as_str().unwrap();
        // It may have ended just now.
        let _ = one.appliance.run(&["job", "cancel", id]);
        let began = Instant::now();
        while one.appliance.json(&["job", "show", id])["ended"].is_null() {
            assert!(began.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    // A pack that a power cut left half, which nothing refers to.
    let pack = files(&one.repository().join("data")).pop().unwrap();
    let half = one.repository().join("data/ab").join("ab".repeat(32));
    std::fs::write(&half, &std::fs::read(&pack).unwrap()[..100]).unwrap();
    one.said(&["backup", "verify"]);
    let before = one.state();
    one.said(&["backup", "create"]);
    one.said(&["backup", "prune"]);
    one.restic(&["check", "--read-data"]);
    assert!(!half.exists());
    let drilled = one.said(&["backup", "drill"]);
    assert!(drilled.contains("content hashes equal"), "{drilled}");
    assert_eq!(one.state(), before);
    let left = one.said(&["volume", "snapshot", "list", "chunks-a"]);
    assert!(!left.contains("manual"), "{left}");
    one.appliance.stop();
}

#[test]
fn a_full_disk_and_a_stopped_engine_are_told_and_harm_nobody() {
    let mut one = all_three();
    filled(&one);
    let create = [
        "volume", "create", "backups", "--type", "backups", "--size", "64M",
    ];
    one.said(&create);
    let mut noise = vec![0; 80 << 20];
    std::fs::File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut noise)
        .unwrap();
    std::fs::write(one.pool.data().join("chunks-a/noise"), &noise).unwrap();
    let before = one.state();
    let told = one.failed(&["backup", "create"]);
    assert!(
        told.contains("quota exceeded") || told.contains("space"),
        "{told}"
    );
    let alerts = one.appliance.status()["alerts"].to_string();
    assert!(alerts.contains("backup:failed:local"), "{alerts}");
    for role in ["document", "cache", "search"] {
        assert_eq!(one.appliance.datastore(role)["state"], "ready");
    }
    one.said(&["volume", "resize", "backups", "2G"]);
    one.said(&["backup", "create"]);
    let alerts = one.appliance.status()["alerts"].to_string();
    assert!(!alerts.contains("backup:failed"), "{alerts}");
    // A restore that the volume has no room for.
    std::fs::remove_file(one.pool.data().join("chunks-a/noise")).unwrap();
    one.pool.sync();
    one.said(&["volume", "resize", "chunks-a", "64M"]);
    let told = one.failed(&[
        "backup",
        "restore",
        "volume",
        "chunks-a",
        "--confirm",
        "chunks-a",
    ]);
    assert!(told.contains("quota") || told.contains("space"), "{told}");
    assert_eq!(one.state(), before);
    assert!(!one.pool.data().join(".restore-chunks-a").exists());

    one.said(&["datastore", "stop", "search"]);
    let told = one.failed(&["backup", "create"]);
    assert!(told.contains("datastore search does not serve"), "{told}");
    one.said(&["datastore", "start", "search"]);
    let unknown = [
        "backup",
        "restore",
        "volume",
        "../etc",
        "--confirm",
        "../etc",
    ];
    assert_eq!(one.appliance.run(&unknown).status.code(), Some(2));
    let told = one.failed(&["backup", "drill", "--backup", "../../etc/passwd"]);
    assert!(told.contains("has no backup"), "{told}");
    let told = one.failed(&["backup", "create", "--repository", "nowhere"]);
    assert!(told.contains("no repository \"nowhere\""), "{told}");
    one.appliance.stop();
}

#[test]
fn a_drill_of_a_tampered_repository_fails_and_names_the_object() {
    let mut one = all_three();
    filled(&one);
    one.said(&["backup", "create"]);
    let packs = files(&one.repository().join("data"));
    let largest = packs
        .iter()
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let mut content = std::fs::read(largest).unwrap();
    // Every blob of it.
    for at in (0..content.len()).step_by(512) {
        content[at] ^= 1;
    }
    std::fs::write(largest, &content).unwrap();
    let told = one.failed(&["backup", "drill"]);
    let name = largest.file_name().unwrap().to_str().unwrap();
    assert!(told.contains(&name[..8]), "{name}: {told}");
    let alerts = one.appliance.status()["alerts"].to_string();
    assert!(alerts.contains("backup:drill:local"), "{alerts}");
    one.appliance.stop();
}

#[test]
fn a_bucket_takes_backups_through_bad_moments_and_says_what_lasts() {
    let remote = Remote::start();
    let keys = tempfile::tempdir().unwrap();
    let file = keys.path().join("s3.toml");
    std::fs::write(&file, "access_key = \"key\"\nsecret_key = \"secret\"\n").unwrap();
    let repository = format!(
        "{STILL}\n[[backup.repositories]]\nname = \"away\"\nendpoint = \"http://127.0.0.1:{}\"\n\
         bucket = \"backups\"\nprefix = \"lucid/box\"\nregion = \"eu-central-1\"\n\
         credentials = \"/etc/lucid/s3.toml\"\n",
        remote.door
    );
    let (mut appliance, _pool) = on_pool(Options::cache().with(&repository), 2 * GIB);
    let here = appliance.root().join("etc/lucid/s3.toml");
    std::fs::copy(&file, &here).unwrap();
    std::fs::set_permissions(&here, std::fs::Permissions::from_mode(0o644)).unwrap();
    let told = failed(&appliance, &["backup", "create"]);
    assert!(told.contains("chmod 600"), "{told}");
    std::fs::set_permissions(&here, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut cache = appliance.redis();
    redis::cmd("SET")
        .arg("lucid:a")
        .arg("one")
        .query::<()>(&mut cache)
        .unwrap();

    remote.answers(503, 3);
    said(&appliance, &["backup", "create"]);
    assert_eq!(remote.times.load(Ordering::SeqCst), 0);
    redis::cmd("SET")
        .arg("lucid:a")
        .arg("two")
        .query::<()>(&mut cache)
        .unwrap();
    remote.answers(403, u32::MAX);
    let began = Instant::now();
    let told = failed(&appliance, &["backup", "create"]);
    assert!(
        told.contains("403") && told.contains("check the keys"),
        "{told}"
    );
    // What lasts is not tried again.
    assert!(began.elapsed() < Duration::from_secs(20));
    remote.answers(0, 0);
    said(&appliance, &["backup", "verify"]);
    let list = appliance.json(&["backup", "list"]);
    assert_eq!(list[0]["backups"].as_array().unwrap().len(), 1);
    let restore = [
        "backup",
        "restore",
        "datastore",
        "cache",
        "--confirm",
        "cache",
    ];
    said(&appliance, &restore);
    appliance.wait_state("ready");
    let mut cache = appliance.redis();
    let value: String = redis::cmd("GET").arg("lucid:a").query(&mut cache).unwrap();
    assert_eq!(value, "one");
    said(&appliance, &["backup", "prune"]);
    appliance.stop();
}

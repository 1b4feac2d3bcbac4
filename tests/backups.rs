//! Backups of a running appliance with all three datastores, on a real btrfs: what goes in comes
//! out, restic reads it, damage is found. Needs root.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use common::backups::{all_three, files};

#[test]
fn what_was_backed_up_comes_back_into_every_datastore_and_restic_reads_it() {
    let mut one = all_three();
    one.said(&[
        "volume", "create", "chunks-a", "--type", "chunks", "--size", "100M",
    ]);
    one.fill(1);
    let before = one.state();
    let told = one.said(&["backup", "create"]);
    assert!(told.contains("checked"), "{told}");
    let list = one.appliance.json(&["backup", "list"]);
    let backup = &list[0]["backups"][0];
    let first = backup["id"].as_str().unwrap();
    let parts: Vec<_> = backup["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        parts,
        ["document", "cache", "search", "volume:chunks-a", "system"]
    );
    // The key has been shown to nobody yet.
    let alerts = one.appliance.status()["alerts"].to_string();
    assert!(alerts.contains("backup:key"), "{alerts}");

    // restic's own view of it.
    one.restic(&["check", "--read-data"]);
    let out = one.appliance.root().join("restic");
    let document = backup["parts"][0]["snapshot"].as_str().unwrap();
    one.restic(&["restore", document, "--target", out.to_str().unwrap()]);
    let users = std::fs::metadata(out.join("document/dump/lucid/users.bson")).unwrap();
    let facts = &backup["parts"][0]["facts"]["collections"];
    let known = facts
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "users")
        .unwrap();
    assert_eq!(known["bytes"], users.len());
    assert_eq!(known["count"], 2000);

    let drilled = one.said(&["backup", "drill"]);
    assert!(
        drilled.contains("counts and content hashes equal"),
        "{drilled}"
    );
    assert!(drilled.contains("keys, file and count equal"), "{drilled}");
    assert!(drilled.contains("1 indices with 20 documents"), "{drilled}");

    one.fill(2);
    let second = one.state();
    assert_ne!(second, before);
    // Another content of the same length is another one, and the older backup stays what it was.
    one.said(&["backup", "create"]);
    let drilled = one.said(&["backup", "drill"]);
    assert!(drilled.contains("content hashes equal"), "{drilled}");
    one.fill(3);
    let everything = ["backup", "restore", "everything", "--confirm", "everything"];
    one.said(&everything);
    one.appliance.wait_state("ready");
    assert_eq!(one.state(), second);
    // One datastore after the other.
    let restore = ["backup", "restore", "datastore", "document"];
    assert!(one.failed(&restore).contains("--confirm document"));
    for role in ["document", "cache", "search"] {
        let restore = ["backup", "restore", "datastore", role, "--backup", first];
        let dry = one.said(&[&restore[..], &["--dry-run"]].concat());
        assert!(dry.contains("nothing was changed"), "{dry}");
        one.said(&[&restore[..], &["--confirm", role]].concat());
        one.appliance.wait_state("ready");
    }
    one.said(&[
        "backup",
        "restore",
        "volume",
        "chunks-a",
        "--confirm",
        "chunks-a",
        "--backup",
        first,
    ]);
    assert_eq!(one.state(), before);
    // What was replaced is there still.
    let kept = one.said(&["volume", "snapshot", "list", "mongodb"]);
    assert!(kept.contains("-replaced"), "{kept}");

    // Pieces.
    one.fill(4);
    let twice = ["backup", "restore", "collection", "lucid.users"];
    assert!(one.failed(&twice).contains("is there already"));
    let beside = one.said(&[&twice[..], &["--as", "lucid.users_before"]].concat());
    assert!(
        beside.contains("2000 documents, content hash equal"),
        "{beside}"
    );
    let index = one.said(&[
        "backup",
        "restore",
        "index",
        "articles",
        "--as",
        "articles-before",
    ]);
    assert!(index.contains("20 documents"), "{index}");
    let keys = [
        "backup",
        "restore",
        "keys",
        "lucid:user:",
        "--confirm",
        "lucid:user:",
    ];
    assert!(one.said(&keys).contains("1 keys"));
    let mut cache = one.appliance.redis();
    let value: String = redis::cmd("GET")
        .arg("lucid:user:1")
        .query(&mut cache)
        .unwrap();
    let other: String = redis::cmd("HGET")
        .arg("other")
        .arg("field")
        .query(&mut cache)
        .unwrap();
    assert_eq!((value.as_str(), other.as_str()), ("2", "4"));
    one.appliance.stop();
}

#[test]
fn one_flipped_bit_in_any_kind_of_file_is_found_and_named() {
    let mut one = all_three();
    one.said(&[
        "volume", "create", "chunks-a", "--type", "chunks", "--size", "100M",
    ]);
    one.fill(1);
    one.said(&["backup", "create"]);
    for kind in ["data", "index", "keys", "snapshots"] {
        let all = files(&one.repository().join(kind));
        assert!(!all.is_empty(), "{kind}");
        // The largest, in its middle, and the first one at both ends.
        let largest = all
            .iter()
            .max_by_key(|path| path.metadata().unwrap().len())
            .unwrap();
        let length = usize::try_from(largest.metadata().unwrap().len()).unwrap();
        for at in [0, length / 2, length - 1] {
            let good = std::fs::read(largest).unwrap();
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(largest, &bad).unwrap();
            let told = one.failed(&["backup", "verify"]);
            let name = largest.file_name().unwrap().to_str().unwrap();
            assert!(
                told.contains(&name[..8]) || kind == "keys",
                "{kind} at {at}: {told}"
            );
            std::fs::write(largest, &good).unwrap();
        }
    }
    let config = one.repository().join("config");
    let good = std::fs::read(&config).unwrap();
    let mut bad = good.clone();
    bad[20] ^= 1;
    std::fs::write(&config, &bad).unwrap();
    one.failed(&["backup", "verify"]);
    std::fs::write(&config, &good).unwrap();
    let well = one.said(&["backup", "verify"]);
    assert!(well.contains("is as it was written"), "{well}");
    one.appliance.stop();
}

//! Volumes of a running appliance, on a real btrfs, by command.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::time::Duration;

use common::pool::fill;
use common::{Options, failed, on_pool, said};
use lucid::units::{GIB, MIB};

const LIMIT: Duration = Duration::from_secs(90);

#[test]
fn volumes_are_made_shown_changed_and_removed_by_command() {
    let (mut appliance, pool) = on_pool(Options::cache(), 2 * GIB);
    let list = said(&appliance, &["volume", "list"]);
    assert!(list.contains("redis") && list.contains("healthy"), "{list}");
    let create = ["volume", "create", "chunks-a", "--type", "chunks"];
    said(&appliance, &[&create[..], &["--size", "100M"]].concat());
    assert!(failed(&appliance, &create).contains("already"));
    let usage = ["volume", "create", "../x", "--type", "chunks"];
    assert_eq!(appliance.run(&usage).status.code(), Some(2));
    let usage = ["volume", "resize", "chunks-a", "10X"];
    assert_eq!(appliance.run(&usage).status.code(), Some(2));

    let dir = pool.data().join("chunks-a");
    fill(&dir.join("old.tmp"), 4 * MIB).unwrap();
    fill(&dir.join("kept.dat"), 90 * MIB).unwrap();
    pool.sync();
    appliance.wait("an alert of the quota", LIMIT, |status| {
        let alerts = status["alerts"].as_array().unwrap();
        alerts.iter().any(|alert| {
            let action = alert["action"].as_str().unwrap();
            alert["id"] == "space:chunks-a" && action.contains("lucid volume resize chunks-a 200M")
        })
    });
    said(&appliance, &["volume", "resize", "chunks-a", "200M"]);
    appliance.wait_state("ready");

    let cleanup = ["volume", "cleanup", "chunks-a"];
    assert!(failed(&appliance, &cleanup).contains("without a filter"));
    let cleanup = [&cleanup[..], &["--pattern", "*.tmp"]].concat();
    let dry = said(&appliance, &[&cleanup[..], &["--dry-run"]].concat());
    assert!(
        dry.contains("1 files") && dir.join("old.tmp").exists(),
        "{dry}"
    );
    said(&appliance, &cleanup);
    assert!(!dir.join("old.tmp").exists() && dir.join("kept.dat").exists());
    let live = ["volume", "cleanup", "redis", "--pattern", "*"];
    assert!(failed(&appliance, &live).contains("live data"));

    let verify = said(&appliance, &["volume", "verify", "chunks-a"]);
    assert!(verify.contains("all as written"), "{verify}");
    said(&appliance, &["volume", "defragment", "chunks-a"]);
    let jobs = said(&appliance, &["job", "list"]);
    assert!(jobs.contains("verify of chunks-a  done"), "{jobs}");
    assert!(failed(&appliance, &["job", "cancel", "x"]).contains("no job"));

    let seen = said(
        &appliance,
        &["volume", "performance", "redis", "--for", "1s"],
    );
    assert!(
        seen.contains("disk loop") && seen.contains("own: reads"),
        "{seen}"
    );

    let archive = appliance.root().join("redis.tar.gz");
    let file = archive.to_str().unwrap();
    let mut connection = appliance.redis();
    let set = |connection: &mut redis::Connection, value: &str| {
        let mut set = redis::cmd("SET");
        set.arg("greeting")
            .arg(value)
            .query::<()>(connection)
            .unwrap();
    };
    set(&mut connection, "old");
    let backup = said(&appliance, &["volume", "backup", "redis", "--to", file]);
    assert!(backup.contains("compared"), "{backup}");
    set(&mut connection, "new");
    let restore = ["volume", "restore", "redis", "--from", file];
    assert!(failed(&appliance, &restore).contains("--confirm redis"));
    let confirm = [&restore[..], &["--confirm", "redis"]].concat();
    said(&appliance, &confirm);
    appliance.wait_state("ready");
    let mut connection = appliance.redis();
    let got: String = redis::cmd("GET")
        .arg("greeting")
        .query(&mut connection)
        .unwrap();
    assert_eq!(got, "old");
    // Made anew from its archive.
    let chunks = appliance.root().join("chunks.tar.gz");
    let file = chunks.to_str().unwrap();
    said(&appliance, &["volume", "backup", "chunks-a", "--to", file]);
    said(
        &appliance,
        &["volume", "restore", "chunks-b", "--from", file],
    );
    assert!(pool.data().join("chunks-b/kept.dat").exists());

    let delete = ["volume", "delete", "chunks-a"];
    assert!(failed(&appliance, &delete).contains("--confirm chunks-a"));
    said(
        &appliance,
        &[&delete[..], &["--confirm", "chunks-a"]].concat(),
    );
    assert!(!dir.exists());
    let delete = ["volume", "delete", "redis", "--confirm", "redis"];
    assert!(failed(&appliance, &delete).contains("datastore cache"));
    appliance.stop();
}

#[test]
fn a_rollback_of_a_running_datastore_brings_its_old_data_back() {
    let (mut appliance, _pool) = on_pool(Options::cache(), 2 * GIB);
    let set = |value: &str| {
        let mut connection = appliance.redis();
        let _: () = redis::cmd("SET")
            .arg("greeting")
            .arg(value)
            .query(&mut connection)
            .unwrap();
    };
    let get = || {
        let mut connection = appliance.redis();
        redis::cmd("GET")
            .arg("greeting")
            .query::<String>(&mut connection)
            .unwrap()
    };
    set("old");
    let take = ["volume", "snapshot", "take", "redis", "--quiesce"];
    let id = said(&appliance, &take).trim().to_owned();
    set("new");
    let wrong = ["volume", "rollback", "redis", "no", "--confirm", "redis"];
    assert!(failed(&appliance, &wrong).contains("no snapshot"));
    assert_eq!(get(), "new");
    let rollback = ["volume", "rollback", "redis", &id];
    assert!(failed(&appliance, &rollback).contains("--confirm redis"));
    said(
        &appliance,
        &[&rollback[..], &["--confirm", "redis"]].concat(),
    );
    appliance.wait_state("ready");
    assert_eq!(get(), "old");
    let list = said(&appliance, &["volume", "snapshot", "list", "redis"]);
    assert!(list.contains("replaced"), "{list}");
    appliance.stop();
}

//! Volumes that move between pools: what arrives, what is cut off, what is refused. Needs root.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::path::Path;

use common::pool::{Device, Pool, done, fill, filled, name, open, run, two_pools};
use lucid::units::{GIB, MIB};
use lucid::volume::{Kind, Manager, Origin, pool};

fn moved(manager: &Manager, to: &str) -> Result<(), String> {
    let mut migration = manager
        .migrate(&name("blocks"), &name(to))
        .map_err(|error| error.to_string())?;
    let mut go_on = |_| true;
    migration
        .copy(&mut go_on)
        .map_err(|error| error.to_string())?;
    migration
        .finish(&mut go_on)
        .map_err(|error| error.to_string())?;
    Ok(())
}

#[test]
fn a_volume_moves_with_its_snapshots_and_quota_and_back_again() {
    let (data, _device, manager) = two_pools();
    let path = filled(&manager);
    let first = manager.snapshot(&name("blocks"), Origin::Manual).unwrap();
    std::fs::remove_file(path.join("b")).unwrap();
    moved(&manager, "ssd").unwrap();
    let info = manager.info(&name("blocks")).unwrap();
    assert_eq!(info.path, data.paths().pool("ssd").join("blocks"));
    assert_eq!(info.entry.quota, Some(400 * MIB));
    let link = data.data().join("blocks");
    assert!(link.join("a").exists() && !link.join("b").exists());
    assert_eq!(
        std::fs::read_link(link.join("dir/link")).unwrap(),
        Path::new("../a")
    );
    assert_eq!(manager.snapshots(&name("blocks")).unwrap()[0].id, first.id);
    assert!(
        fill(&link.join("big"), 500 * MIB).is_err(),
        "the quota holds there"
    );
    std::fs::remove_file(link.join("big")).unwrap();
    // Nothing of it is left behind.
    let left: Vec<_> = std::fs::read_dir(data.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!data.data().join("snapshots/blocks").exists());
    assert!(moved(&manager, "ssd").unwrap_err().contains("already"));
    assert!(
        moved(&manager, "none")
            .unwrap_err()
            .contains("no pool none")
    );

    moved(&manager, "data").unwrap();
    assert!(!link.is_symlink() && link.join("a").exists());
    manager.rollback(&name("blocks"), &first.id).unwrap();
    assert!(link.join("b").exists());
    let others: Vec<_> = std::fs::read_dir(data.paths().pool("ssd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "snapshots")
        .collect();
    assert!(others.is_empty(), "{others:?}");
    done(&data, &["remove", "ssd", "--confirm", "ssd"]);
}

#[test]
fn a_migration_that_is_cut_off_leaves_the_volume_and_goes_on_later() {
    let (data, _device, manager) = two_pools();
    let path = filled(&manager);
    let mut sent = 0_u64;
    let mut first = manager.migrate(&name("blocks"), &name("ssd")).unwrap();
    let busy = manager
        .snapshot(&name("blocks"), Origin::Manual)
        .unwrap_err();
    assert!(busy.to_string().contains("migrate runs"), "{busy}");
    let ended = first.copy(&mut |bytes| {
        sent += bytes;
        sent < 30 * MIB
    });
    assert!(ended.unwrap_err().to_string().contains("on request"));
    drop(first);
    assert!(path.join("a").exists() && !path.is_symlink());
    let arrived = data.paths().pool("ssd").join(".migrate-blocks");
    assert!(arrived.exists());
    manager.give_up_migration(&name("blocks")).unwrap();
    assert!(!arrived.exists() && !data.data().join(".migrate-blocks").exists());

    // The next attempt ends after the first round, the one after that sends what changed alone.
    let mut second = manager.migrate(&name("blocks"), &name("ssd")).unwrap();
    second.copy(&mut |_| true).unwrap();
    drop(second);
    drop(manager);
    let manager = open(&data);
    std::fs::write(path.join("late"), "late").unwrap();
    let mut third = manager.migrate(&name("blocks"), &name("ssd")).unwrap();
    let mut sent = 0_u64;
    let mut count = |bytes| {
        sent += bytes;
        true
    };
    third.finish(&mut count).unwrap();
    // 60 MiB were compared; what had arrived before was not sent again.
    assert!(sent < 90 * MIB, "{sent}");
    assert_eq!(
        std::fs::read_to_string(data.data().join("blocks/late")).unwrap(),
        "late"
    );
    drop(third);
    done(&data, &["list"]);
    manager.delete(&name("blocks"), Some("blocks")).unwrap();
    done(&data, &["remove", "ssd", "--confirm", "ssd"]);
}

#[test]
fn a_switch_that_a_power_cut_ended_is_finished_or_taken_back() {
    let (data, _device, manager) = two_pools();
    let path = filled(&manager);
    moved(&manager, "ssd").unwrap();
    moved(&manager, "data").unwrap();
    drop(manager);
    let intent = data.data().join("system/volume-intent.json");
    let switch = r#"{"op": "switch", "name": "blocks", "from": null, "to": "ssd"}"#;
    // Before the exchange: the copy goes, the volume stays.
    let copy = data.paths().pool("ssd").join("blocks");
    run("btrfs", &["subvolume", "create", copy.to_str().unwrap()]);
    std::fs::write(&intent, switch).unwrap();
    let manager = open(&data);
    assert!(path.join("a").exists() && !copy.exists());
    assert_eq!(manager.info(&name("blocks")).unwrap().entry.pool, None);
    drop(manager);
    // After it: the catalog follows, the former volume goes.
    run("btrfs", &["subvolume", "create", copy.to_str().unwrap()]);
    std::fs::write(copy.join("new"), "new").unwrap();
    std::fs::rename(&path, data.data().join(".switch-blocks")).unwrap();
    std::os::unix::fs::symlink(&copy, &path).unwrap();
    std::fs::write(&intent, switch).unwrap();
    let manager = open(&data);
    let info = manager.info(&name("blocks")).unwrap();
    assert_eq!(info.entry.pool, Some(name("ssd")));
    assert!(path.join("new").exists() && !data.data().join(".switch-blocks").exists());
    assert!(!intent.exists());
    manager.delete(&name("blocks"), Some("blocks")).unwrap();
    done(&data, &["remove", "ssd", "--confirm", "ssd"]);
}

#[test]
fn a_deletion_that_was_cut_off_goes_on_when_its_pool_is_back() {
    let (data, device, manager) = two_pools();
    filled(&manager);
    moved(&manager, "ssd").unwrap();
    let pool = data.paths().pool("ssd");
    std::fs::rename(pool.join("blocks"), pool.join(".deleted-blocks")).unwrap();
    let system = data.data().join("system");
    std::fs::write(
        system.join("volume-intent.json"),
        r#"{"op": "delete", "name": "blocks", "pool": "ssd", "grave": ".deleted-blocks"}"#,
    )
    .unwrap();
    run("umount", &[pool.to_str().unwrap()]);
    let manager = open(&data);
    // Others are changed meanwhile, and nothing of it is forgotten.
    manager
        .create(&name("logs"), Kind::Logs, Some(100 * MIB), None)
        .unwrap();
    assert!(!system.join("volume-intent.json").exists());
    assert_eq!(manager.list().len(), 2);
    run("mount", &[&device.node, pool.to_str().unwrap()]);
    manager.tend();
    assert!(!pool.join(".deleted-blocks").exists());
    assert!(!data.data().join("blocks").is_symlink());
    assert!(!system.join("volume-intents-waiting.json").exists());
    assert_eq!(manager.list().len(), 1);
    done(&data, &["remove", "ssd", "--confirm", "ssd"]);
}

#[test]
fn what_has_no_room_on_the_other_pool_is_refused_with_the_arithmetic() {
    let data = Pool::new();
    let device = Device::new(600 * MIB);
    done(&data, &["create", "small", "--on", &device.node]);
    let manager = open(&data);
    filled(&manager);
    manager.resize(&name("blocks"), GIB).unwrap();
    let told = moved(&manager, "small").unwrap_err();
    assert!(told.contains("has a quota of 1.0 GiB"), "{told}");
    assert!(data.data().join("blocks/a").exists());
    let pools = pool::list(&data.paths()).unwrap();
    assert_eq!(pools[0].volumes, ["blocks"]);
    done(&data, &["remove", "small", "--confirm", "small"]);
}

#[test]
fn what_no_snapshot_holds_is_neither_migrated_nor_rolled_back_nor_archived() {
    let (data, _device, manager) = two_pools();
    let path = filled(&manager);
    let taken = manager.snapshot(&name("blocks"), Origin::Manual).unwrap();
    let inner = path.join("dir/inner");
    run("btrfs", &["subvolume", "create", inner.to_str().unwrap()]);
    std::fs::write(inner.join("only"), "copy").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("blocks.tar.gz");
    for told in [
        moved(&manager, "ssd").unwrap_err(),
        manager
            .rollback(&name("blocks"), &taken.id)
            .unwrap_err()
            .to_string(),
        manager
            .backup(&name("blocks"), &file, &mut |_| true)
            .unwrap_err()
            .to_string(),
    ] {
        assert!(told.contains("dir/inner"), "{told}");
    }
    assert_eq!(std::fs::read_to_string(inner.join("only")).unwrap(), "copy");
    run("btrfs", &["subvolume", "delete", inner.to_str().unwrap()]);
    moved(&manager, "ssd").unwrap();
    manager.delete(&name("blocks"), Some("blocks")).unwrap();
    done(&data, &["remove", "ssd", "--confirm", "ssd"]);
}

#[test]
fn nobody_writes_while_the_last_difference_is_taken_and_everybody_may_after_a_failure() {
    let (data, _device, manager) = two_pools();
    let path = filled(&manager);
    let mut migration = manager.migrate(&name("blocks"), &name("ssd")).unwrap();
    migration.copy(&mut |_| true).unwrap();
    let open = std::fs::File::create(path.join("used")).unwrap();
    let told = migration.finish(&mut |_| true).unwrap_err().to_string();
    assert!(told.contains("in use by"), "{told}");
    drop(open);
    let mut refused = 0;
    let told = migration.finish(&mut |_| {
        refused += u32::from(std::fs::write(path.join("late"), "late").is_err());
        refused < 3
    });
    assert!(told.unwrap_err().to_string().contains("on request"));
    assert_eq!(refused, 3, "a write in between would be lost");
    std::fs::write(path.join("late"), "late").unwrap();
    migration.finish(&mut |_| true).unwrap();
    let late = data.data().join("blocks/late");
    assert_eq!(std::fs::read_to_string(&late).unwrap(), "late");
    std::fs::write(&late, "written there").unwrap();
    manager.delete(&name("blocks"), Some("blocks")).unwrap_err();
    drop(migration);
    manager.delete(&name("blocks"), Some("blocks")).unwrap();
    done(&data, &["remove", "ssd", "--confirm", "ssd"]);
}

#[test]
fn what_arrived_and_was_not_noted_is_sent_again() {
    let (data, _device, manager) = two_pools();
    filled(&manager);
    let taken = manager.snapshot(&name("blocks"), Origin::Manual).unwrap();
    let mut first = manager.migrate(&name("blocks"), &name("ssd")).unwrap();
    first.copy(&mut |_| true).unwrap();
    drop(first);
    let pool = data.paths().pool("ssd");
    // As a power cut leaves it: read-only already, and hollow.
    let hollow = pool.join("snapshots/blocks").join(&taken.id);
    run("btrfs", &["subvolume", "delete", hollow.to_str().unwrap()]);
    let empty = pool.join("empty");
    run("btrfs", &["subvolume", "create", empty.to_str().unwrap()]);
    let args = [
        "subvolume",
        "snapshot",
        "-r",
        empty.to_str().unwrap(),
        hollow.to_str().unwrap(),
    ];
    run("btrfs", &args);
    run("btrfs", &["subvolume", "delete", empty.to_str().unwrap()]);
    let note = format!(".migrate-blocks/{}.whole", taken.id);
    std::fs::remove_file(pool.join(note)).unwrap();
    moved(&manager, "ssd").unwrap();
    assert!(hollow.join("b").exists(), "the snapshot is whole");
    manager.delete(&name("blocks"), Some("blocks")).unwrap();
    let left: Vec<_> = std::fs::read_dir(&pool)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "snapshots")
        .collect();
    assert!(left.is_empty(), "{left:?}");
    done(&data, &["remove", "ssd", "--confirm", "ssd"]);
}

#[test]
fn a_volume_that_a_cut_off_migration_closed_is_opened_again_when_its_pool_is_back() {
    let (data, device, manager) = two_pools();
    filled(&manager);
    moved(&manager, "ssd").unwrap();
    drop(manager);
    let target = data.paths().pool("ssd");
    let path = target.join("blocks");
    // A power cut during the way back, and a start at which the disk is late.
    run(
        "btrfs",
        &[
            "property",
            "set",
            "-ts",
            path.to_str().unwrap(),
            "ro",
            "true",
        ],
    );
    let intent = data.data().join("system/volume-intent.json");
    let switch = r#"{"op": "switch", "name": "blocks", "from": "ssd", "to": null}"#;
    std::fs::write(&intent, switch).unwrap();
    run("umount", &[target.to_str().unwrap()]);
    let manager = open(&data);
    assert!(!intent.exists());
    done(&data, &["mount"]);
    assert!(std::fs::write(path.join("x"), "x").is_err());
    manager.tend();
    std::fs::write(path.join("x"), "x").unwrap();
    manager.delete(&name("blocks"), Some("blocks")).unwrap();
    done(&data, &["remove", "ssd", "--confirm", "ssd"]);
    drop(device);
}

#[test]
fn snapshots_that_belong_to_nobody_here_are_neither_removed_nor_left_behind() {
    let (data, _device, manager) = two_pools();
    let path = filled(&manager);
    // Of another life of the disk.
    let foreign = data.paths().pool("ssd").join("snapshots/blocks/kept");
    std::fs::create_dir_all(&foreign).unwrap();
    let told = moved(&manager, "ssd").unwrap_err();
    assert!(told.contains("snapshots/blocks"), "{told}");
    manager.give_up_migration(&name("blocks")).unwrap();
    assert!(foreign.exists());
    std::fs::remove_dir(&foreign).unwrap();
    // Made by hand among those of the volume.
    manager.snapshot(&name("blocks"), Origin::Manual).unwrap();
    let own = data.data().join("snapshots/blocks/before-upgrade");
    let args = [
        "subvolume",
        "snapshot",
        path.to_str().unwrap(),
        own.to_str().unwrap(),
    ];
    run("btrfs", &args);
    let told = moved(&manager, "ssd").unwrap_err();
    assert!(told.contains("before-upgrade"), "{told}");
    run("btrfs", &["subvolume", "delete", own.to_str().unwrap()]);
    moved(&manager, "ssd").unwrap();
    manager.delete(&name("blocks"), Some("blocks")).unwrap();
    done(&data, &["remove", "ssd", "--confirm", "ssd"]);
}

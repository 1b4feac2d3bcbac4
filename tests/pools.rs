//! Pools beside the data pool, on loop devices and files, and volumes that move between them. Needs
//! root, as the tests of this project do.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::pool::{Device, Pool, fill, name, run};
use lucid::config::Volume as Settings;
use lucid::units::{GIB, MIB};
use lucid::volume::{Kind, Manager, Origin, pool};

fn open(pool: &Pool) -> Manager {
    Manager::open(&pool.paths(), &Settings::default()).unwrap()
}

/// `lucid volume pool ...` for the appliance of `data`: exit code and what it says.
fn pool_command(data: &Pool, args: &[&str]) -> (Option<i32>, String) {
    let paths = data.paths();
    let output = Command::new(env!("CARGO_BIN_EXE_lucid"))
        .args(["--root", paths.root().to_str().unwrap(), "volume", "pool"])
        .args(args)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn done(data: &Pool, args: &[&str]) -> String {
    let (code, text) = pool_command(data, args);
    assert_eq!(code, Some(0), "{args:?}: {text}");
    text
}

fn refused(data: &Pool, args: &[&str]) -> String {
    let (code, text) = pool_command(data, args);
    assert_eq!(code, Some(4), "{args:?}: {text}");
    text
}

#[test]
fn a_pool_is_made_shown_exported_adopted_and_forgotten() {
    let data = Pool::new();
    let device = Device::new(GIB);
    let create = ["create", "ssd", "--on", &device.node];
    done(&data, &create);
    let list = done(&data, &["list"]);
    assert!(list.contains("ssd") && list.contains("mounted"), "{list}");
    assert!(list.contains(&device.node), "{list}");
    assert!(refused(&data, &create).contains("already"));
    assert!(refused(&data, &["create", "two", "--on", &device.node]).contains("is mounted at"));
    assert!(refused(&data, &["create", "data", "--on", &device.node]).contains("own files"));

    let manager = open(&data);
    let info = manager
        .create(
            &name("chunks-a"),
            Kind::Chunks,
            Some(200 * MIB),
            Some(&name("ssd")),
        )
        .unwrap();
    std::fs::write(info.path.join("file"), "kept").unwrap();
    // It is found where all are.
    let link = data.data().join("chunks-a/file");
    assert_eq!(std::fs::read_to_string(&link).unwrap(), "kept");
    assert!(
        fill(&info.path.join("big"), 300 * MIB).is_err(),
        "the quota holds there"
    );
    std::fs::remove_file(info.path.join("big")).unwrap();
    let taken = manager.snapshot(&name("chunks-a"), Origin::Manual).unwrap();
    std::fs::write(info.path.join("file"), "changed").unwrap();
    manager.rollback(&name("chunks-a"), &taken.id).unwrap();
    assert_eq!(std::fs::read_to_string(&link).unwrap(), "kept");

    let open_file = std::fs::File::open(&link).unwrap();
    assert!(refused(&data, &["export", "ssd"]).contains("in use by"));
    drop(open_file);
    done(&data, &["export", "ssd"]);
    assert_eq!(manager.info(&name("chunks-a")).unwrap().state, "missing");
    let gone = manager
        .snapshot(&name("chunks-a"), Origin::Manual)
        .unwrap_err();
    assert!(
        gone.to_string().contains("pool ssd is not mounted"),
        "{gone}"
    );
    assert!(done(&data, &["list"]).contains("exported"));
    done(&data, &["mount"]);
    assert!(!link.exists(), "what is exported is not mounted");

    done(&data, &["adopt", "ssd", "--on", &device.node]);
    assert_eq!(std::fs::read_to_string(&link).unwrap(), "kept");
    assert!(refused(&data, &["remove", "ssd", "--confirm", "ssd"]).contains("chunks-a"));
    manager.delete(&name("chunks-a"), Some("chunks-a")).unwrap();
    assert!(link.symlink_metadata().is_err());
    assert!(refused(&data, &["remove", "ssd"]).contains("--confirm ssd"));
    done(&data, &["remove", "ssd", "--confirm", "ssd"]);
    assert!(!done(&data, &["list"]).contains("ssd"));
}

#[test]
fn what_holds_anything_is_erased_only_by_its_exact_name() {
    let data = Pool::new();
    let device = Device::new(GIB);
    run("mkfs.ext4", &["-q", "-L", "photos", &device.node]);
    let create = ["create", "ssd", "--on", &device.node];
    let told = refused(&data, &create);
    assert!(
        told.contains("photos") && told.contains("--erase"),
        "{told}"
    );
    let wrong = [&create[..], &["--erase", "/dev/sda"]].concat();
    assert!(refused(&data, &wrong).contains("photos"));
    let probe = run("blkid", &["-p", "-o", "value", "-s", "LABEL", &device.node]);
    assert_eq!(probe.trim(), "photos");
    done(&data, &[&create[..], &["--erase", &device.node]].concat());
    // Mounted by somebody else: never touched, whatever is said.
    done(&data, &["export", "ssd"]);
    let elsewhere = tempfile::tempdir().unwrap();
    run("mount", &[&device.node, elsewhere.path().to_str().unwrap()]);
    let erase = [
        "create",
        "other",
        "--on",
        &device.node,
        "--erase",
        &device.node,
    ];
    let told = refused(&data, &erase);
    run("umount", &[elsewhere.path().to_str().unwrap()]);
    assert!(told.contains("is mounted at"), "{told}");
    done(&data, &["remove", "ssd", "--confirm", "ssd"]);
}

#[test]
fn a_pool_in_a_file_is_mounted_again_and_grows() {
    let data = Pool::new();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pool");
    let path = file.to_str().unwrap();
    assert!(refused(&data, &["create", "dev", "--on", path]).contains("--size"));
    assert!(
        refused(&data, &["create", "dev", "--on", path, "--size", "64M"]).contains("a pool needs")
    );
    assert!(!file.exists(), "nothing is left of what was refused");
    done(&data, &["create", "dev", "--on", path, "--size", "600M"]);
    assert!(
        refused(&data, &["create", "two", "--on", path, "--size", "600M"]).contains("in use as")
    );
    let grown = done(&data, &["grow", "dev", "--size", "900M"]);
    assert!(grown.contains("900.0 MiB"), "{grown}");
    assert!(refused(&data, &["grow", "dev", "--size", "700M"]).contains("only grows"));
    let target = data.paths().pool("dev");
    std::fs::write(target.join("mark"), "x").unwrap();
    // As after a start of the board.
    run("umount", &[target.to_str().unwrap()]);
    let below = std::fs::write(target.join("lost"), "x");
    assert!(below.is_err(), "nothing is written where the pool is not");
    let (code, _) = pool_command(&data, &["list"]);
    assert_eq!(code, Some(3), "a missing pool is told by the exit code");
    done(&data, &["mount"]);
    assert!(target.join("mark").exists());
    done(&data, &["remove", "dev", "--confirm", "dev"]);
    assert_eq!(
        run("losetup", &["-j", path]).trim(),
        "",
        "its device is free again"
    );
}

#[test]
fn a_pool_that_is_missing_or_there_twice_is_told_and_not_mounted() {
    let data = Pool::new();
    let device = Device::new(GIB);
    done(&data, &["create", "ssd", "--on", &device.node]);
    let target = data.paths().pool("ssd");
    run("umount", &[target.to_str().unwrap()]);
    let copy = Device::new(GIB);
    std::fs::copy(&device.file, &copy.file).unwrap();
    let (code, told) = pool_command(&data, &["mount"]);
    assert_eq!(code, Some(3), "{told}");
    assert!(
        told.contains("2 devices at once") && told.contains("btrfstune"),
        "{told}"
    );
    copy.detach();
    done(&data, &["mount"]);
    run("umount", &[target.to_str().unwrap()]);
    device.detach();
    let (code, told) = pool_command(&data, &["mount"]);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("pool ssd is missing"), "{told}");
}

fn two_pools() -> (Pool, Device, Manager) {
    let data = Pool::new();
    let device = Device::new(2 * GIB);
    done(&data, &["create", "ssd", "--on", &device.node]);
    let manager = open(&data);
    (data, device, manager)
}

fn filled(manager: &Manager) -> PathBuf {
    let info = manager
        .create(&name("blocks"), Kind::Blocks, Some(400 * MIB), None)
        .unwrap();
    for (file, bytes) in [("a", 20), ("b", 40)] {
        fill(&info.path.join(file), bytes * MIB).unwrap();
    }
    std::fs::create_dir(info.path.join("dir")).unwrap();
    std::os::unix::fs::symlink("../a", info.path.join("dir/link")).unwrap();
    info.path
}

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
fn a_file_that_is_a_mounted_pool_is_never_erased_and_a_pool_made_anew_is_known_anew() {
    let data = Pool::new();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pool");
    let path = file.to_str().unwrap();
    done(&data, &["create", "dev", "--on", path, "--size", "600M"]);
    let erase = [
        "create", "two", "--on", path, "--size", "600M", "--erase", path,
    ];
    assert!(refused(&data, &erase).contains("in use as /dev/loop"));
    let manager = open(&data);
    let create = |manager: &Manager| {
        manager.create(
            &name("logs-a"),
            Kind::Logs,
            Some(100 * MIB),
            Some(&name("dev")),
        )
    };
    create(&manager).unwrap();
    manager.delete(&name("logs-a"), Some("logs-a")).unwrap();
    done(&data, &["remove", "dev", "--confirm", "dev"]);
    let small = [
        "create", "dev", "--on", path, "--size", "64M", "--erase", path,
    ];
    assert!(refused(&data, &small).contains("a pool needs"));
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 600 * MIB);
    let again = [
        "create", "dev", "--on", path, "--size", "700M", "--erase", path,
    ];
    done(&data, &again);
    let info = create(&manager).unwrap();
    assert!(
        fill(&info.path.join("big"), 200 * MIB).is_err(),
        "its quota holds"
    );
    manager.delete(&name("logs-a"), Some("logs-a")).unwrap();
    done(&data, &["remove", "dev", "--confirm", "dev"]);
}

#[test]
fn an_archive_follows_no_link_and_lies_only_where_it_stays() {
    let (_data, _device, manager) = two_pools();
    filled(&manager);
    let elsewhere = tempfile::tempdir().unwrap();
    let victim = elsewhere.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let file = elsewhere.path().join("x.tar.gz");
    std::os::unix::fs::symlink(&victim, elsewhere.path().join(".x.tar.gz.partial")).unwrap();
    manager
        .backup(&name("blocks"), &file, &mut |_| true)
        .unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let strange = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(strange.path(), Some(12_345), None).unwrap();
    for (dir, part) in [
        (memory.path(), "is memory"),
        (strange.path(), "another user"),
    ] {
        let told = manager.backup(&name("blocks"), &dir.join("x"), &mut |_| true);
        let told = told.unwrap_err().to_string();
        assert!(told.contains(part), "{told}");
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
    }
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

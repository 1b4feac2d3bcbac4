//! Earlier states of volumes: snapshots by hand and by schedule, rollbacks, archives. Needs root.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::os::unix::fs::MetadataExt;

use common::pool::{Pool, fill, filled, name, open, run, two_pools};
use lucid::units::{MIB, Span};
use lucid::volume::{Kind, OpError, Origin, Schedule};

#[test]
fn a_rollback_brings_the_old_state_and_keeps_the_new_one() {
    let pool = Pool::new();
    let manager = open(&pool);
    let volume = name("blocks");
    let path = manager
        .create(&volume, Kind::Blocks, Some(200 * MIB), None)
        .unwrap()
        .path;
    std::fs::write(path.join("height"), "1").unwrap();
    let snapshot = manager.snapshot(&volume, Origin::Manual).unwrap();
    std::fs::write(path.join("height"), "2").unwrap();
    let kept = manager.rollback(&volume, &snapshot.id).unwrap();
    assert_eq!(std::fs::read_to_string(path.join("height")).unwrap(), "1");
    // The quota holds for what took its place.
    let full = fill(&path.join("big"), 300 * MIB).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(nix::libc::EDQUOT), "{full}");
    std::fs::remove_file(path.join("big")).unwrap();
    manager.rollback(&volume, &kept.id).unwrap();
    assert_eq!(std::fs::read_to_string(path.join("height")).unwrap(), "2");
    let origins: Vec<_> = manager
        .snapshots(&volume)
        .unwrap()
        .iter()
        .map(|snapshot| snapshot.origin)
        .collect();
    assert_eq!(
        origins,
        [Origin::Manual, Origin::Replaced, Origin::Replaced]
    );
    // A snapshot cannot be written to.
    let inside = pool.data().join("snapshots/blocks").join(&snapshot.id);
    assert!(std::fs::write(inside.join("x"), "x").is_err());
    let error = manager.rollback(&volume, "../x").unwrap_err();
    assert!(matches!(error, OpError::NoSnapshot { .. }), "{error}");
    manager.delete(&volume, Some("blocks")).unwrap();
    assert!(!pool.data().join("snapshots/blocks").exists());
}

#[test]
fn a_schedule_takes_what_is_due_and_keeps_so_many() {
    let pool = Pool::new();
    let manager = open(&pool);
    let volume = name("merkle");
    manager
        .create(&volume, Kind::Merkle, Some(100 * MIB), None)
        .unwrap();
    let schedule = |every: &str, keep| {
        let every: Span = every.parse().unwrap();
        manager.schedule(&volume, Some(Schedule { every, keep }))
    };
    schedule("1s", 2).unwrap_err();
    schedule("1m", 0).unwrap_err();
    schedule("1m", 2).unwrap();
    assert_eq!(manager.keep_schedules().len(), 1);
    // Not due again.
    assert!(manager.keep_schedules().is_empty());
    let dir = pool.data().join("snapshots/merkle");
    for stamp in ["20260101T000000Z", "20260102T000000Z", "20260103T000000Z"] {
        let to = dir.join(format!("{stamp}-schedule"));
        let from = pool.data().join("merkle");
        let paths = [from.to_str().unwrap(), to.to_str().unwrap()];
        run(
            "btrfs",
            &[&["subvolume", "snapshot", "-r"], &paths[..]].concat(),
        );
    }
    manager.snapshot(&volume, Origin::Manual).unwrap();
    for told in manager.keep_schedules() {
        assert!(told.unwrap().contains("removed"));
    }
    let ids: Vec<_> = manager
        .snapshots(&volume)
        .unwrap()
        .into_iter()
        .map(|snapshot| snapshot.id)
        .collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert!(ids[0].starts_with("20260103"), "{ids:?}");
}

#[test]
fn a_snapshot_of_the_future_neither_multiplies_nor_removes_others() {
    let pool = Pool::new();
    let manager = open(&pool);
    let volume = name("merkle");
    let path = manager
        .create(&volume, Kind::Merkle, Some(100 * MIB), None)
        .unwrap()
        .path;
    let every: Span = "1m".parse().unwrap();
    manager
        .schedule(&volume, Some(Schedule { every, keep: 1 }))
        .unwrap();
    manager.keep_schedules();
    let ahead = pool
        .data()
        .join("snapshots/merkle/21060101T000000Z-schedule");
    let paths = [path.to_str().unwrap(), ahead.to_str().unwrap()];
    run(
        "btrfs",
        &[&["subvolume", "snapshot", "-r"], &paths[..]].concat(),
    );
    for stamp in ["20260101T000000Z", "20260102T000000Z"] {
        let to = pool
            .data()
            .join("snapshots/merkle")
            .join(format!("{stamp}-schedule"));
        let paths = [path.to_str().unwrap(), to.to_str().unwrap()];
        run(
            "btrfs",
            &[&["subvolume", "snapshot", "-r"], &paths[..]].concat(),
        );
    }
    for _ in 0..5 {
        for told in manager.keep_schedules() {
            assert!(told.unwrap().contains("removed"));
        }
    }
    // The newest of the past, and the one of the future.
    let left = manager.snapshots(&volume).unwrap();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(!left[0].id.starts_with("202601") && left[1].id.starts_with("2106"));
}

#[test]
fn an_archive_brings_a_volume_back_and_a_damaged_one_brings_nothing() {
    let pool = Pool::new();
    let manager = open(&pool);
    let volume = name("blocks");
    let path = manager
        .create(&volume, Kind::Blocks, Some(200 * MIB), None)
        .unwrap()
        .path;
    fill(&path.join("a"), 20 * MIB).unwrap();
    std::fs::create_dir(path.join("dir")).unwrap();
    std::os::unix::fs::symlink("../a", path.join("dir/link")).unwrap();
    std::fs::set_permissions(
        path.join("a"),
        std::os::unix::fs::PermissionsExt::from_mode(0o640),
    )
    .unwrap();
    std::os::unix::fs::chown(path.join("a"), Some(12_345), Some(54_321)).unwrap();
    let inside = manager.backup(&volume, &path.join("x.tar.gz"), &mut |_| true);
    assert!(inside.unwrap_err().to_string().contains("itself"));
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("blocks.tar.gz");
    let ended = manager.backup(&volume, &file, &mut |_| false).unwrap_err();
    assert!(ended.to_string().contains("on request"), "{ended}");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    let archive = manager.backup(&volume, &file, &mut |_| true).unwrap();
    assert!(archive.bytes > 20 * MIB, "{archive:?}");
    let again = manager.backup(&volume, &file, &mut |_| true).unwrap_err();
    assert!(again.to_string().contains("already"), "{again}");

    std::fs::remove_file(path.join("a")).unwrap();
    std::fs::write(path.join("later"), "later").unwrap();
    let taken = manager.import(&volume, &file, &mut |_| true).unwrap();
    assert!(path.join("later").exists(), "the volume is as it was");
    manager.rollback(&volume, &taken.id).unwrap();
    let back = std::fs::metadata(path.join("a")).unwrap();
    assert_eq!(
        (back.len(), back.mode() & 0o7777, back.uid(), back.gid()),
        (20 * MIB, 0o640, 12_345, 54_321)
    );
    assert!(path.join("dir/link").is_symlink() && !path.join("later").exists());

    let kept = std::fs::read(&file).unwrap();
    let snapshots = manager.snapshots(&volume).unwrap().len();
    for at in [20, kept.len() / 2, kept.len() - 3] {
        let mut turned = kept.clone();
        turned[at] ^= 1;
        std::fs::write(&file, &turned).unwrap();
        let error = manager.import(&volume, &file, &mut |_| true).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }
    std::fs::write(&file, &kept[..kept.len() - 1]).unwrap();
    assert!(manager.import(&volume, &file, &mut |_| true).is_err());
    assert_eq!(manager.snapshots(&volume).unwrap().len(), snapshots);
    let other = name("logs-a");
    manager.create(&other, Kind::Logs, None, None).unwrap();
    std::fs::write(&file, &kept).unwrap();
    let wrong = manager.import(&other, &file, &mut |_| true).unwrap_err();
    assert!(wrong.to_string().contains("of type blocks"), "{wrong}");
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

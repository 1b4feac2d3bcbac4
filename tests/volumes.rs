//! Volumes on a real btrfs, on loop devices. Needs root, as the tests of this project do.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::os::unix::fs::MetadataExt;

use common::pool::{Pool, fill, name, run};
use lucid::config::Volume as Settings;
use lucid::paths::Paths;
use lucid::units::{ByteSize, GIB, MIB, Span};
use lucid::volume::{HealthVerdict, Kind, Manager, OpError, Origin, Schedule};

fn open(pool: &Pool) -> Manager {
    Manager::open(&pool.paths(), &Settings::default()).unwrap()
}

#[test]
fn a_volume_is_made_limited_listed_and_deleted() {
    let pool = Pool::new();
    let manager = open(&pool);
    let info = manager
        .create(&name("chunks-a"), Kind::Chunks, Some(100 * MIB), None)
        .unwrap();
    assert_eq!((info.entry.quota, info.state), (Some(100 * MIB), "healthy"));
    fill(&info.path.join("a"), 40 * MIB).unwrap();
    // The quota is the kernel's.
    let full = fill(&info.path.join("b"), 100 * MIB).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(nix::libc::EDQUOT), "{full}");
    pool.sync();
    let info = manager.info(&name("chunks-a")).unwrap();
    assert_eq!(info.state, "critical");
    assert!(info.used_bytes.unwrap() > 80 * MIB, "{info:?}");
    // Room again, without a restart of anything.
    let info = manager.resize(&name("chunks-a"), 300 * MIB).unwrap();
    assert_eq!(info.entry.quota, Some(300 * MIB));
    fill(&info.path.join("b"), 100 * MIB).unwrap();
    pool.sync();
    let error = manager.resize(&name("chunks-a"), 100 * MIB).unwrap_err();
    assert!(error.to_string().contains("it holds"), "{error}");
    assert_eq!(manager.list().len(), 1);

    let error = manager.delete(&name("chunks-a"), None).unwrap_err();
    assert!(matches!(error, OpError::Confirm { .. }), "{error}");
    let open = std::fs::File::open(info.path.join("a")).unwrap();
    let error = manager
        .delete(&name("chunks-a"), Some("chunks-a"))
        .unwrap_err();
    assert!(matches!(error, OpError::InUse { .. }), "{error}");
    drop(open);
    manager.delete(&name("chunks-a"), Some("chunks-a")).unwrap();
    assert!(!info.path.exists() && manager.list().is_empty());
    assert!(matches!(
        manager.info(&name("chunks-a")),
        Err(OpError::Unknown(_))
    ));
}

#[test]
fn sizes_and_names_that_cannot_be_are_refused_with_what_can() {
    let pool = Pool::new();
    let manager = open(&pool);
    for (size, part) in [
        (MIB, "volume.min_quota"),
        (200 * GIB, "volume.max_quota"),
        (2 * GIB, "stay outside all quotas"),
    ] {
        let error = manager
            .create(&name("a"), Kind::Logs, Some(size), None)
            .unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        assert!(!pool.data().join("a").exists());
    }
    assert!("10X".parse::<ByteSize>().is_err());
    manager.create(&name("a"), Kind::Logs, None, None).unwrap();
    let error = manager
        .create(&name("a"), Kind::Logs, None, None)
        .unwrap_err();
    assert!(matches!(error, OpError::Exists(_)), "{error}");
    std::fs::create_dir(pool.data().join("foreign")).unwrap();
    let error = manager
        .create(&name("foreign"), Kind::Logs, None, None)
        .unwrap_err();
    assert!(matches!(error, OpError::Foreign { .. }), "{error}");
    assert!(pool.data().join("foreign").is_dir());
}

#[test]
fn the_volume_of_a_datastore_is_adopted_and_never_deleted() {
    let pool = Pool::new();
    let path = pool.data().join("redis");
    run("btrfs", &["subvolume", "create", path.to_str().unwrap()]);
    let manager = open(&pool);
    let info = manager.info(&name("redis")).unwrap();
    // Two GiB, less the reserve.
    assert!(info.entry.quota.unwrap() < 2 * GIB - 200 * MIB, "{info:?}");
    let error = manager.delete(&name("redis"), Some("redis")).unwrap_err();
    assert!(error.to_string().contains("datastore cache"), "{error}");
    assert!(path.is_dir());
}

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
fn what_a_power_cut_left_half_done_is_finished_or_undone() {
    let pool = Pool::new();
    {
        let manager = open(&pool);
        manager
            .create(&name("logs-a"), Kind::Logs, Some(100 * MIB), None)
            .unwrap();
        manager
            .create(&name("logs-b"), Kind::Logs, Some(100 * MIB), None)
            .unwrap();
    }
    let intent = |text: &str| {
        let file = pool.data().join("system/volume-intent.json");
        std::fs::write(file, text).unwrap();
    };
    let subvolume = |name: &str| {
        let path = pool.data().join(name);
        run("btrfs", &["subvolume", "create", path.to_str().unwrap()]);
    };
    // Removed by a rollback, and brought back by the power cut.
    subvolume(".rollback-logs-a");
    drop(open(&pool));
    assert!(!pool.data().join(".rollback-logs-a").exists());
    // Made, and not yet in the catalog.
    subvolume("half");
    intent(r#"{"op": "create", "name": "half"}"#);
    let manager = open(&pool);
    assert!(!pool.data().join("half").exists());
    assert_eq!(manager.list().len(), 2);
    // In the catalog, and not yet cleared.
    intent(r#"{"op": "create", "name": "logs-a"}"#);
    assert_eq!(open(&pool).list().len(), 2);
    // To be deleted, and not yet renamed: it is still the volume.
    intent(r#"{"op": "delete", "name": "logs-a", "grave": ".deleted-logs-a"}"#);
    assert_eq!(open(&pool).list().len(), 2);
    // Somebody put the half-made one to use: it is left alone.
    subvolume("half");
    std::fs::write(pool.data().join("half/used"), "x").unwrap();
    intent(r#"{"op": "create", "name": "half"}"#);
    open(&pool);
    assert!(pool.data().join("half/used").exists());
    // A subvolume inside keeps nothing from going.
    subvolume("logs-a/inner");
    let manager = open(&pool);
    manager.snapshot(&name("logs-a"), Origin::Manual).unwrap();
    std::fs::rename(
        pool.data().join("logs-a"),
        pool.data().join(".deleted-logs-a"),
    )
    .unwrap();
    intent(r#"{"op": "delete", "name": "logs-a", "grave": ".deleted-logs-a"}"#);
    assert_eq!(open(&pool).list().len(), 1);
    assert!(!pool.data().join(".deleted-logs-a").exists());
    assert!(!pool.data().join("snapshots/logs-a").exists());
    // Renamed, and not yet removed.
    std::fs::rename(
        pool.data().join("logs-b"),
        pool.data().join(".deleted-logs-b"),
    )
    .unwrap();
    intent(r#"{"op": "delete", "name": "logs-b", "grave": ".deleted-logs-b"}"#);
    assert!(open(&pool).list().is_empty());
    assert!(!pool.data().join(".deleted-logs-b").exists());
    // Between the making of the new state and the exchange, or after it.
    open(&pool)
        .create(&name("logs-c"), Kind::Logs, Some(100 * MIB), None)
        .unwrap();
    subvolume(".rollback-logs-c");
    intent(r#"{"op": "rollback", "staging": ".rollback-logs-c"}"#);
    let manager = open(&pool);
    assert!(!pool.data().join(".rollback-logs-c").exists());
    assert_eq!(manager.info(&name("logs-c")).unwrap().state, "healthy");
    assert!(!pool.data().join("system/volume-intent.json").exists());
}

#[test]
fn quotas_hold_after_the_pool_was_unmounted() {
    let pool = Pool::new();
    let manager = open(&pool);
    manager
        .create(&name("logs"), Kind::Logs, Some(100 * MIB), None)
        .unwrap();
    pool.unmount();
    pool.mount();
    let manager = open(&pool);
    let info = manager.info(&name("logs")).unwrap();
    fill(&info.path.join("a"), 200 * MIB).unwrap_err();
}

#[test]
fn the_second_operation_on_a_volume_is_told_of_the_first() {
    let pool = Pool::new();
    let manager = open(&pool);
    let volume = name("logs");
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| manager.create(&volume, Kind::Logs, Some(100 * MIB), None)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let done = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(done, 1, "{results:?}");
    for result in results.into_iter().filter_map(Result::err) {
        assert!(
            matches!(result, OpError::Busy { .. } | OpError::Exists(_)),
            "{result}"
        );
    }
    assert_eq!(manager.list().len(), 1);
}

#[test]
fn where_there_is_no_btrfs_a_volume_is_a_directory_and_the_rest_is_refused_by_name() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    let manager = Manager::open(&Paths::new(dir.path()), &Settings::default()).unwrap();
    let volume = name("logs");
    let info = manager.create(&volume, Kind::Logs, None, None).unwrap();
    assert_eq!((info.entry.quota, info.used_bytes), (None, None));
    for (error, what) in [
        (manager.resize(&volume, GIB).unwrap_err(), "a quota"),
        (
            manager.snapshot(&volume, Origin::Manual).unwrap_err(),
            "a snapshot",
        ),
        (manager.rollback(&volume, "x").unwrap_err(), "a rollback"),
    ] {
        let text = error.to_string();
        assert!(text.contains(what) && text.contains("btrfs"), "{text}");
    }
    manager.delete(&volume, Some("logs")).unwrap();
    assert!(!info.path.exists());
}

#[test]
fn a_scrub_names_the_file_whose_bits_turned() {
    let pool = Pool::of_bytes(512 * MIB);
    let volume = name("blocks");
    let path = {
        let manager = open(&pool);
        let info = manager
            .create(&volume, Kind::Blocks, Some(200 * MIB), None)
            .unwrap();
        fill(&info.path.join("good"), 8 * MIB).unwrap();
        let pattern = b"the block that will turn ".repeat(400);
        std::fs::write(info.path.join("bad"), &pattern).unwrap();
        pool.sync();
        let mut told = Vec::new();
        let verdict = manager
            .verify(&volume, &mut |done, total| {
                told.push((done, total));
                true
            })
            .unwrap();
        assert_eq!((verdict.uncorrectable, verdict.corrected), (0, 0));
        assert!(verdict.scrubbed_bytes > 8 * MIB, "{verdict:?}");
        assert!(
            told.iter()
                .all(|(done, total)| done <= total && *total > 8 * MIB)
        );
        info.path
    };
    pool.damage(b"the block that will turn the block that will turn ");
    let manager = open(&pool);
    let verdict = manager.verify(&volume, &mut |_, _| true).unwrap();
    assert!(verdict.uncorrectable > 0, "{verdict:?}");
    assert_eq!(verdict.damaged, [path.join("bad")]);
}

#[test]
fn defragmentation_tells_what_it_costs_snapshots() {
    let pool = Pool::new();
    let manager = open(&pool);
    let volume = name("merkle");
    let info = manager
        .create(&volume, Kind::Merkle, Some(200 * MIB), None)
        .unwrap();
    fill(&info.path.join("a"), 8 * MIB).unwrap();
    manager.defragment(&volume, false, &mut || true).unwrap();
    manager.snapshot(&volume, Origin::Manual).unwrap();
    let error = manager
        .defragment(&volume, false, &mut || true)
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("1 snapshots") && text.contains("--unshare"),
        "{text}"
    );
    manager.defragment(&volume, true, &mut || true).unwrap();
}

#[test]
fn the_disk_of_a_pool_that_met_errors_is_critical_with_the_reason() {
    let pool = Pool::of_bytes(512 * MIB);
    let manager = open(&pool);
    let info = manager
        .create(&name("blocks"), Kind::Blocks, Some(100 * MIB), None)
        .unwrap();
    let of_pool = || {
        let report = lucid::volume::ask_all(&pool.paths());
        report.devices.into_iter().next().unwrap()
    };
    let well = of_pool();
    assert!(well.device.starts_with("loop"), "{well:?}");
    assert_eq!(well.verdict, HealthVerdict::Unknown, "{well:?}");
    let pattern = b"the block that will turn ".repeat(400);
    std::fs::write(info.path.join("bad"), &pattern).unwrap();
    pool.sync();
    drop(manager);
    pool.damage(b"the block that will turn the block that will turn ");
    std::fs::read(info.path.join("bad")).unwrap_err();
    let bad = of_pool();
    assert_eq!(bad.verdict, HealthVerdict::Critical, "{bad:?}");
    assert!(bad.reasons[0].contains("not as written"), "{bad:?}");
}

#[test]
fn data_that_is_there_already_is_adopted_without_a_limit() {
    let pool = Pool::new();
    let path = pool.data().join("mongodb");
    run("btrfs", &["subvolume", "create", path.to_str().unwrap()]);
    fill(&path.join("data"), 8 * MIB).unwrap();
    let info = open(&pool).info(&name("mongodb")).unwrap();
    assert_eq!(info.entry.quota, None);
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

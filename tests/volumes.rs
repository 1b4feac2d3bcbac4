//! Volumes on a real btrfs, on loop devices. Needs root, as the tests of this project do.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::path::Path;

use common::pool::{Pool, fill, name, open, run};
use lucid::config::Volume as Settings;
use lucid::paths::Paths;
use lucid::units::{ByteSize, GIB, MIB};
use lucid::volume::{HealthVerdict, Kind, Manager, OpError, Origin};

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
    assert!(!pool.data().join("system/volume-intent.json").exists());
}

#[test]
fn a_rollback_that_was_cut_off_anywhere_loses_neither_state() {
    let pool = Pool::new();
    let volume = name("chunks");
    let (path, staging) = (
        pool.data().join("chunks"),
        pool.data().join(".rollback-chunks"),
    );
    open(&pool)
        .create(&volume, Kind::Chunks, Some(100 * MIB), None)
        .unwrap();
    std::fs::write(path.join("state"), "former").unwrap();
    let wanted = open(&pool).snapshot(&volume, Origin::Manual).unwrap();
    std::fs::write(path.join("state"), "later").unwrap();
    let state = |at: &Path| std::fs::read_to_string(at.join("state")).unwrap();
    let [path_text, staging_text] = [&path, &staging].map(|path| path.to_str().unwrap());
    let id = run("btrfs", &["inspect-internal", "rootid", path_text]);
    let id: u64 = id.trim().parse().unwrap();
    let kept = pool
        .data()
        .join("snapshots/chunks/20261126T203000Z-replaced");
    let cut_off = || {
        let intent = serde_json::json!({
            "op": "rollback", "name": "chunks", "staging": ".rollback-chunks", "replaced": id,
            "kept": kept.file_name().unwrap().to_str(),
        });
        let file = pool.data().join("system/volume-intent.json");
        std::fs::write(&file, intent.to_string()).unwrap();
        open(&pool);
        assert!(!file.exists() && !staging.exists());
    };
    // Before the new state was made.
    cut_off();
    assert_eq!(state(&path), "later");
    // Before the exchange.
    let from = pool.data().join("snapshots/chunks").join(&wanted.id);
    run(
        "btrfs",
        &[
            "subvolume",
            "snapshot",
            from.to_str().unwrap(),
            staging_text,
        ],
    );
    cut_off();
    assert_eq!(state(&path), "later");
    assert!(!kept.exists());
    // After it.
    run(
        "btrfs",
        &[
            "subvolume",
            "snapshot",
            from.to_str().unwrap(),
            staging_text,
        ],
    );
    let exchange = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
    let here = nix::fcntl::AT_FDCWD;
    nix::fcntl::renameat2(here, &staging, here, &path, exchange).unwrap();
    cut_off();
    assert_eq!([&path, &kept].map(|at| state(at)), ["former", "later"]);
    assert!(std::fs::write(kept.join("state"), "x").is_err());
    // Before what is kept was closed.
    run(
        "btrfs",
        &[
            "property",
            "set",
            "-ts",
            kept.to_str().unwrap(),
            "ro",
            "false",
        ],
    );
    cut_off();
    assert!(std::fs::write(kept.join("state"), "x").is_err());
    assert_eq!([&path, &kept].map(|at| state(at)), ["former", "later"]);
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

//! Pools beside the data pool, on loop devices and files. Needs root, as the tests of this project
//! do.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use common::pool::{Device, Pool, done, fill, name, open, pool_command, refused, run};
use lucid::units::{GIB, MIB};
use lucid::volume::{Kind, Manager, Origin};

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

//! Limits in force: a small machine of its own, since a builder's machine may have no memory
//! cgroup. Boots the system's kernel under emulation with lucid, redis and nothing else.

// Helpers of tests may fail as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BUSYBOX: &str = "/usr/bin/busybox";
const APPLETS: [&str; 14] = [
    "sh", "mount", "cat", "sleep", "poweroff", "mkdir", "chmod", "grep", "head", "kill", "seq",
    "ip", "printf", "echo",
];

fn machine() -> (&'static str, &'static str, &'static str) {
    if cfg!(target_arch = "aarch64") {
        ("qemu-system-aarch64", "virt", "ttyAMA0")
    } else {
        ("qemu-system-x86_64", "q35", "ttyS0")
    }
}

fn which(program: &str) -> PathBuf {
    let output = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(
        !text.is_empty(),
        "{program} is missing: run the tests with ./scripts/test"
    );
    PathBuf::from(text.trim())
}

/// Copies a program with the libraries that it names.
fn install(root: &Path, program: &Path, name: &str) {
    std::fs::copy(program, root.join("usr/bin").join(name)).unwrap();
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let target = root.join(library.trim_start_matches('/'));
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(library, &target).unwrap();
    }
}

fn lay(root: &Path) {
    for dir in [
        "bin",
        "proc",
        "sys",
        "dev",
        "run",
        "etc",
        "tmp",
        "usr/bin",
        "appliance",
    ] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    install(root, Path::new(env!("CARGO_BIN_EXE_lucid")), "lucid");
    install(root, &which("redis-server"), "redis-server");
    let users = "root:x:0:0::/:/bin/sh\nlucid-cache:x:901:901::/:/bin/sh\n";
    std::fs::write(root.join("etc/passwd"), users).unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nlucid-cache:x:901:\n").unwrap();
    let init = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/limits/init");
    std::fs::copy(init, root.join("init")).unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(root.join("init"), mode).unwrap();
}

/// What the machine printed after `RESULT`.
fn boot(kernel: &str) -> (BTreeMap<String, String>, String) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    lay(&root);
    let archive = dir.path().join("initrd");
    let pack = format!(
        "cd '{}' && find . | cpio --quiet -o -H newc >'{}'",
        root.display(),
        archive.display()
    );
    assert!(
        Command::new("sh")
            .args(["-c", &pack])
            .status()
            .unwrap()
            .success()
    );
    let (qemu, model, console) = machine();
    let output = Command::new("timeout")
        .args([
            "180", qemu, "-M", model, "-cpu", "max", "-m", "1024", "-smp", "2",
        ])
        .args([
            "-nographic",
            "-no-reboot",
            "-nodefaults",
            "-serial",
            "stdio",
        ])
        .args(["-kernel", kernel, "-initrd"])
        .arg(&archive)
        .args(["-append", &format!("console={console} quiet panic=1")])
        .stdin(Stdio::null())
        .output()
        .expect("qemu is missing: run the tests with ./scripts/test");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let results = text
        .lines()
        .filter_map(|line| line.trim().split_once("RESULT ")?.1.split_once(' '))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect();
    (results, text)
}

#[test]
fn limits_are_in_force_survive_adoption_and_an_engine_that_outgrows_them_is_told_apart() {
    let kernel = std::env::var("LUCID_TEST_KERNEL")
        .expect("LUCID_TEST_KERNEL is not set: run the tests with ./scripts/test");
    let (results, text) = boot(&kernel);
    let get = |key: &str| {
        results
            .get(key)
            .unwrap_or_else(|| panic!("no {key} in {results:?}\n{text}"))
            .as_str()
    };
    assert!(!results.contains_key("timeout"), "{results:?}\n{text}");
    assert_eq!(get("undelegated"), "told");
    assert_eq!(get("alert"), "none");
    let max: u64 = get("memory.max").parse().unwrap();
    let high: u64 = get("memory.high").parse().unwrap();
    assert!(
        max > 600 << 20 && max < 1 << 30,
        "{max} of a machine with 1 GiB"
    );
    assert!(high < max);
    assert_eq!(get("cpu.weight"), "300");
    assert_eq!(get("io.weight"), "default 100");
    assert_eq!(get("pids.max"), "64");
    assert_ne!(get("engine"), get("supervisor"));
    assert_eq!(get("adopted"), get("engine"));
    assert_eq!(get("adopted.memory.max"), get("memory.max"));
    assert_ne!(get("oom_kill"), "oom_kill 0");
    assert!(text.contains("redis was ended by the OOM killer"), "{text}");
    assert_eq!(get("restored.memory.max"), get("memory.max"));
}

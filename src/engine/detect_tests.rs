use std::time::Instant;

use super::*;

const SHELL: Program = Program {
    engine: "redis",
    name: "redis-server",
    says: "Redis server",
    remedy: "install redis-server",
};

fn script(dir: &Path, body: &str) -> PathBuf {
    let path = dir.join(SHELL.name);
    crate::fsx::write_atomic(&path, format!("#!/bin/sh\n{body}\n").as_bytes(), 0o755).unwrap();
    path
}

fn elf(machine: u16) -> Vec<u8> {
    let mut head = b"\x7fELF\x02\x01\x01".to_vec();
    head.resize(18, 0);
    head.extend(machine.to_le_bytes());
    head
}

#[test]
fn versions_of_real_programs_are_read() {
    for (text, number, shown) in [
        (
            "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64",
            (7, 0, 15),
            "7.0.15",
        ),
        ("Valkey server v=8.1.1 sha=00000000:0", (8, 1, 1), "8.1.1"),
        (
            "secantusd-rs 0.5.3-beta.196\nsource: crates.io",
            (0, 5, 3),
            "0.5.3-beta.196",
        ),
        ("db version v7.0.14\nBuild Info: {", (7, 0, 14), "7.0.14"),
        ("thing 9.1", (9, 1, 0), "9.1"),
    ] {
        let version = parse_version(text).unwrap();
        assert_eq!(version.number, number, "{text}");
        assert_eq!(version.text, shown);
    }
    assert_eq!(parse_version("no number here"), None);
}

#[test]
fn a_program_for_another_machine_is_named_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redis-server");
    crate::fsx::write_atomic(&path, &elf(183), 0o755).unwrap();
    let (cause, remedy) = check_file(&path, "x86_64").unwrap_err();
    assert_eq!(cause, "it is built for aarch64, this machine is x86_64");
    assert!(remedy.contains("x86_64"), "{remedy}");
    assert!(check_file(&path, "aarch64").is_ok());
}

#[test]
fn an_unusable_file_says_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redis-server");
    crate::fsx::write_atomic(&path, b"PK\x03\x04 archive", 0o755).unwrap();
    assert!(
        check_file(&path, "x86_64")
            .unwrap_err()
            .0
            .contains("neither")
    );
    crate::fsx::write_atomic(&path, b"#!/bin/sh\n", 0o644).unwrap();
    assert!(check_file(&path, "x86_64").unwrap_err().1.contains("chmod"));
    assert!(
        check_file(dir.path(), "x86_64")
            .unwrap_err()
            .0
            .contains("not a file")
    );
}

#[test]
fn a_missing_program_names_every_place_and_the_way_out() {
    let places = [PathBuf::from("/nowhere/a"), PathBuf::from("/nowhere/b")];
    let error = SHELL.detect(None, &places).unwrap_err().to_string();
    for part in [
        "/nowhere/a/redis-server",
        "/nowhere/b/redis-server",
        "install redis-server",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let configured = Path::new("/nowhere/mine");
    let error = SHELL
        .detect(Some(configured), &places)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/nowhere/mine") && !error.contains("/nowhere/a"),
        "{error}"
    );
}

#[test]
fn the_first_directory_that_has_the_program_counts() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    script(two.path(), "echo Redis server v=7.2.4");
    let search = [one.path().to_path_buf(), two.path().to_path_buf()];
    let found = SHELL.detect(None, &search).unwrap();
    assert_eq!(found.version.number, (7, 2, 4));
    assert!(found.binary.starts_with(two.path()));
}

#[test]
fn another_product_under_the_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(dir.path(), "echo Valkey server v=8.1.1");
    let error = SHELL.detect(Some(&path), &[]).unwrap_err().to_string();
    assert!(
        error.contains("Valkey") && error.contains("engine"),
        "{error}"
    );
}

#[test]
fn a_program_that_hangs_is_ended_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let marker = dir.path().join("pid");
    let path = script(
        dir.path(),
        &format!("sleep 61 & echo $! > {}\nwait", marker.display()),
    );
    let begin = Instant::now();
    let (cause, _) = run(&path, &["--version"], Duration::from_millis(500)).unwrap_err();
    assert!(cause.contains("did not end"), "{cause}");
    assert!(begin.elapsed() < Duration::from_secs(5));
    let grandchild: i32 = crate::fsx::read_text(&marker, 20)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    // Killed at once, but init may take a moment to reap it.
    let gone = (0..100).any(|_| {
        let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat"));
        let gone = stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "));
        if !gone {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        gone
    });
    assert!(gone, "sleep {grandchild} was left behind");
}

#[test]
fn known_failures_are_explained() {
    let answer = |text: &str, raw: i32| Answer {
        text: text.to_owned(),
        status: ExitStatus::from_raw(raw),
    };
    let glibc = "x: /lib/libc.so.6: version `GLIBC_2.38' not found (required by x)";
    assert!(explain(&answer(glibc, 256)).0.contains("GLIBC_2.38"));
    let pages = "<jemalloc>: Unsupported system page size";
    assert!(explain(&answer(pages, 6)).1.contains("kernel8.img"));
    assert!(explain(&answer("", 4)).0.contains("instructions"));
    assert!(explain(&answer("boom", 256)).0.contains("code 1: boom"));
}

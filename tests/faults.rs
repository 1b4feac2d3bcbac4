//! What can be wrong around the engines: each ends in a clear state with cause and remedy.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use common::{Appliance, Mount, Options, free_port};
use mongodb::bson::{Document, doc};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use redis::Commands;

const SOON: Duration = Duration::from_secs(20);

fn reason(appliance: &Appliance, name: &str) -> String {
    appliance.datastore(name)["reason"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn a_taken_port_blocks_with_its_owner_and_starts_once_it_is_free() {
    let mut appliance = Appliance::lay(Options::both());
    let squatter = TcpListener::bind(("127.0.0.1", appliance.cache_port)).unwrap();
    appliance.start();
    appliance.wait_datastore("cache", "blocked", SOON);
    let text = reason(&appliance, "cache");
    let own = std::process::id().to_string();
    for part in [
        &appliance.cache_port.to_string(),
        &own,
        "datastore.cache.port",
    ] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    appliance.wait_datastore("document", "ready", SOON);
    drop(squatter);
    appliance.wait_datastore("cache", "ready", SOON);
}

#[test]
fn a_missing_engine_blocks_and_says_where_it_was_searched_and_how_to_get_it() {
    let mut appliance =
        Appliance::lay(Options::both().with("datastore.cache.binary = \"/opt/none/redis-server\""));
    appliance.start();
    appliance.wait_datastore("cache", "blocked", SOON);
    let text = reason(&appliance, "cache");
    assert!(text.contains("/opt/none/redis-server"), "{text}");
    appliance.wait_datastore("document", "ready", SOON);
}

#[test]
fn an_engine_for_another_processor_is_refused_by_name_of_both() {
    let mut appliance = Appliance::lay(Options::cache());
    let binary = appliance.root().join("redis-server");
    // The header of an ELF program for the other architecture than this one.
    let machine: u8 = if cfg!(target_arch = "x86_64") {
        183
    } else {
        62
    };
    let mut elf = vec![
        0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, machine, 0,
    ];
    elf.resize(4096, 0);
    std::fs::write(&binary, elf).unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    appliance.configure(&format!("datastore.cache.binary = {binary:?}"));
    appliance.start();
    appliance.wait_datastore("cache", "blocked", SOON);
    let text = reason(&appliance, "cache");
    assert!(
        text.contains("aarch64") && text.contains("x86_64"),
        "{text}"
    );
}

#[test]
fn the_engines_own_user_is_missing_from_a_closed_directory_and_the_message_names_it() {
    let mut appliance = Appliance::lay(Options::cache());
    let closed = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(appliance.root(), closed).unwrap();
    appliance.start();
    appliance.wait_datastore("cache", "blocked", SOON);
    let text = reason(&appliance, "cache");
    let root = appliance.root().to_string_lossy().into_owned();
    assert!(
        text.contains("lucid-cache") && text.contains(&root),
        "{text}"
    );
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(appliance.root(), open).unwrap();
    appliance.wait_datastore("cache", "ready", SOON);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_seen_and_the_document_store_recovers_with_what_was_acknowledged() {
    let mut appliance = Appliance::lay(Options::document());
    let volume = appliance.root().join("data/mongodb");
    let _mount = Mount::tmpfs(&volume, "160M");
    appliance.start();
    appliance.wait_state("ready");
    let client = appliance.mongo().await;
    let writes = client.database("lucid").collection::<Document>("writes");
    let text = "x".repeat(64 * 1024);
    let mut acknowledged = 0;
    while acknowledged < 10_000 {
        // Incompressible enough: each document differs.
        let document = doc! {"_id": acknowledged, "text": format!("{acknowledged}{text}")};
        if writes.insert_one(document).await.is_err() {
            break;
        }
        acknowledged += 1;
        if acknowledged == 200 {
            // The rest of the volume fills at once, as another program's file would do it.
            let mut filler = std::fs::File::create(volume.join("filler")).unwrap();
            while filler.write_all(&vec![7u8; 1 << 20]).is_ok() {}
        }
    }
    assert!(acknowledged >= 200, "only {acknowledged} were written");
    // Never `ready` while it cannot write: blocked by the full disk, with the way out.
    appliance.wait_datastore("document", "blocked", Duration::from_secs(90));
    let text = reason(&appliance, "document");
    assert!(
        text.contains("disk full") && text.contains("free space"),
        "{text}"
    );
    assert_eq!(appliance.status()["state"], "failed");
    std::fs::remove_file(volume.join("filler")).unwrap();
    appliance.wait_datastore("document", "ready", Duration::from_secs(60));
    let writes = appliance
        .mongo()
        .await
        .database("lucid")
        .collection::<Document>("writes");
    let mut lost = Vec::new();
    for id in 0..acknowledged {
        if writes.find_one(doc! {"_id": id}).await.unwrap().is_none() {
            lost.push(id);
        }
    }
    // The engine itself acknowledges the one write whose journal record meets the full disk
    // (docs/troubleshooting.md, Disk full); every other one must be there.
    assert!(
        lost.is_empty() || lost == [acknowledged - 1],
        "lost {lost:?} of {acknowledged} acknowledged"
    );
}

#[test]
fn a_full_disk_degrades_the_cache_and_freed_space_makes_it_ready_again() {
    let mut appliance = Appliance::lay(Options::cache().with("probe.write_interval = \"1s\""));
    let volume = appliance.root().join("data/redis");
    let _mount = Mount::tmpfs(&volume, "48M");
    appliance.start();
    appliance.wait_state("ready");
    let mut connection = appliance.redis();
    let value = "x".repeat(1 << 20);
    let mut acknowledged = 0;
    while acknowledged < 200 {
        if connection
            .set::<_, _, ()>(format!("k{acknowledged}"), &value)
            .is_err()
        {
            break;
        }
        acknowledged += 1;
    }
    assert!(acknowledged < 200, "the volume did not fill");
    let is_down = |status: &serde_json::Value| {
        let state = status["datastores"][0]["state"].as_str().unwrap();
        state == "degraded" || state == "blocked"
    };
    appliance.wait("degraded or blocked", SOON, is_down);
    // And it stays so while the disk is full: no health is claimed in between.
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(200));
        let status = appliance.status();
        assert!(is_down(&status), "{status:#}");
    }
    let bigger = "size=512M";
    mount(
        None::<&str>,
        &volume,
        None::<&str>,
        MsFlags::MS_REMOUNT,
        Some(bigger),
    )
    .unwrap();
    appliance.wait_datastore("cache", "ready", Duration::from_secs(30));
    let mut connection = appliance.redis();
    for n in 0..acknowledged {
        let length: usize = connection.strlen(format!("k{n}")).unwrap();
        assert_eq!(length, value.len(), "k{n} was acknowledged and is lost");
    }
}

#[test]
fn a_read_only_root_is_refused_with_the_path() {
    let appliance = Appliance::lay(Options::cache());
    let root = appliance.root().join("closed");
    let _mount = Mount::tmpfs(&root, "1M");
    mount(
        None::<&str>,
        &root,
        None::<&str>,
        MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY,
        None::<&str>,
    )
    .unwrap();
    let output = std::process::Command::new(common::LUCID)
        .arg("--root")
        .arg(&root)
        .arg("supervise")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("closed") && text.contains("--root"), "{text}");
}

#[test]
fn a_malformed_configuration_is_refused_with_file_line_and_key() {
    let appliance = Appliance::lay(Options::cache());
    std::fs::write(appliance.config_file(), "[probe]\ninterval = \"often\"\n").unwrap();
    for args in [&["supervise"][..], &["config", "check"], &["doctor"]] {
        let output = appliance.run(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert!(
            text.contains("lucid.toml:2: probe.interval"),
            "{args:?}: {text}"
        );
    }
}

#[test]
fn a_configuration_that_cannot_fit_the_memory_is_refused_with_the_arithmetic() {
    let appliance = Appliance::lay(Options::cache().with("memory.reserve = \"900G\""));
    let output = appliance.run(&["supervise"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("900.0 GiB reserve + "), "{text}");
}

#[test]
fn a_damaged_credential_file_blocks_and_is_never_replaced() {
    let mut appliance = Appliance::ready(Options::cache());
    appliance.stop();
    let file = appliance.root().join("etc/lucid/credentials/cache.json");
    std::fs::write(&file, "{\"supervisor\":").unwrap();
    appliance.start();
    appliance.wait_datastore("cache", "blocked", SOON);
    assert!(reason(&appliance, "cache").contains("cache.json"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\"supervisor\":");
}

#[test]
fn a_clock_that_jumps_is_told_and_disturbs_nothing() {
    let library = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    ];
    let library = library.iter().find(|path| Path::new(path).exists());
    let library = library.expect("faketime is missing: run the tests with ./scripts/test");
    let offset = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(offset.path(), "+0\n").unwrap();
    let appliance = Appliance::ready(
        Options::cache()
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &offset.path().to_string_lossy())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    );
    let pid = appliance.pid("cache");
    for jump in ["+7200\n", "-86400\n"] {
        std::fs::write(offset.path(), jump).unwrap();
        std::thread::sleep(Duration::from_secs(12));
        let status = appliance.status();
        assert_eq!(status["state"], "ready", "{status:#}");
    }
    assert_eq!(appliance.pid("cache"), pid);
    assert_eq!(appliance.datastore("cache")["restarts"], 0);
    let log = appliance.log();
    assert!(
        log.contains("clock moved forward") && log.contains("clock moved back"),
        "{log}"
    );
}

#[test]
fn an_engine_that_ignores_its_stop_signal_is_killed_within_the_deadline() {
    let mut appliance = Appliance::ready(Options::cache().with("supervisor.stop_timeout = \"1s\""));
    let pid = appliance.pid("cache");
    common::signal(pid, Signal::SIGSTOP);
    appliance.signal(Signal::SIGTERM);
    assert!(appliance.wait_exit(Duration::from_secs(10)).success());
    assert!(!common::alive(pid));
}

#[test]
fn a_port_of_another_program_stays_with_that_program() {
    // The supervisor must never end what it did not start, whatever holds its port.
    let port = free_port();
    let mut appliance = Appliance::lay(Options::cache());
    let mut other = std::process::Command::new("redis-server")
        .args(["--port", &port.to_string(), "--save", "", "--dir"])
        .arg(appliance.root())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    appliance.cache_port = port;
    appliance.configure("");
    appliance.start();
    appliance.wait_datastore("cache", "blocked", SOON);
    assert!(reason(&appliance, "cache").contains("redis-server"));
    appliance.stop();
    assert!(
        other.try_wait().unwrap().is_none(),
        "the other program was ended"
    );
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_volume_that_is_gone_blocks_and_nothing_is_written_beneath_it() {
    let mut appliance = Appliance::ready(Options::cache());
    appliance.redis().set::<_, _, ()>("kept", 1).unwrap();
    appliance.stop();
    let volume = appliance.root().join("data/redis");
    let away = appliance.root().join("data/away");
    std::fs::rename(&volume, &away).unwrap();
    for beneath in ["missing", "an empty mount point"] {
        if beneath != "missing" {
            std::fs::create_dir(&volume).unwrap();
        }
        appliance.start();
        appliance.wait_datastore("cache", "blocked", SOON);
        let text = reason(&appliance, "cache");
        assert!(
            text.contains("has held data") && text.contains("mount"),
            "{beneath}: {text}"
        );
        appliance.stop();
    }
    assert_eq!(
        std::fs::read_dir(&volume).unwrap().count(),
        0,
        "written beneath the volume"
    );
    std::fs::remove_dir(&volume).unwrap();
    appliance.start();
    appliance.wait_datastore("cache", "blocked", SOON);
    std::fs::rename(&away, &volume).unwrap();
    appliance.wait_datastore("cache", "ready", SOON);
    assert_eq!(appliance.redis().get::<_, i32>("kept").unwrap(), 1);
}

#[test]
fn a_volume_that_is_lost_while_running_blocks_the_restart() {
    let mut appliance = Appliance::lay(Options::cache());
    let volume = appliance.root().join("data/redis");
    let mount = Mount::tmpfs(&volume, "64M");
    appliance.start();
    appliance.wait_state("ready");
    std::thread::sleep(Duration::from_millis(1200));
    let pid = appliance.pid("cache");
    drop(mount);
    common::signal(pid, Signal::SIGKILL);
    appliance.wait_datastore("cache", "blocked", SOON);
    assert!(reason(&appliance, "cache").contains("has held data"));
    assert_eq!(
        std::fs::read_dir(&volume).unwrap().count(),
        0,
        "written beneath the volume"
    );
}

#[test]
fn missing_credentials_of_a_store_with_data_block_instead_of_being_made_anew() {
    let mut appliance = Appliance::ready(Options::cache());
    appliance.stop();
    let file = appliance.root().join("etc/lucid/credentials/cache.json");
    std::fs::remove_file(&file).unwrap();
    appliance.start();
    appliance.wait_datastore("cache", "blocked", SOON);
    assert!(reason(&appliance, "cache").contains("cache.json"));
    assert!(!file.exists());
}

#[test]
fn a_configuration_that_cannot_run_leaves_the_running_engine_alone() {
    let appliance = Appliance::ready(Options::both());
    let document = appliance.pid("document");
    appliance.configure("datastore.document.listen = [\"127.0.0.1\", \"127.0.0.2\"]");
    appliance.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(appliance.pid("document"), document);
    assert_eq!(appliance.datastore("document")["state"], "ready");
    assert!(
        appliance.log().contains("the old one stays"),
        "{}",
        appliance.log()
    );
}

#[test]
fn the_rendered_files_belong_to_the_supervisor_and_no_link_is_followed() {
    let appliance = Appliance::ready(Options::cache());
    let meta = |path: &str| std::fs::metadata(appliance.root().join(path)).unwrap();
    assert_eq!(meta("run/lucid/conf/cache").uid(), 0);
    assert_eq!(meta("run/lucid/conf/cache").mode() & 0o7777, 0o750);
    assert_ne!(meta("data/redis").uid(), 0);
}

//! The supervisor's own life: adoption, reload, handover, users, knobs, systemd.
// Helpers of tests may fail as tests do, and wait without a runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use common::{Appliance, Options, alive};
use nix::sys::signal::Signal;
use redis::Commands;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_killed_supervisor_leaves_engines_running_and_the_next_one_adopts_them() {
    let mut appliance = Appliance::ready(Options::both());
    let (document, cache) = (appliance.pid("document"), appliance.pid("cache"));
    let mut connection = appliance.redis();
    connection.set::<_, _, ()>("before", 1).unwrap();
    appliance.signal(Signal::SIGKILL);
    appliance.wait_exit(SOON);
    assert!(alive(document) && alive(cache));
    connection.set::<_, _, ()>("meanwhile", 2).unwrap();
    appliance.start();
    appliance.wait_state("ready");
    assert_eq!(
        (appliance.pid("document"), appliance.pid("cache")),
        (document, cache)
    );
    assert_eq!(appliance.datastore("cache")["restarts"], 0);
    // The connection of a client has not noticed.
    assert_eq!(connection.get::<_, i32>("meanwhile").unwrap(), 2);
    // An adopted engine is supervised like any other.
    common::signal(cache, Signal::SIGKILL);
    appliance.wait_restarted("cache", cache, SOON);
    appliance.stop();
    assert!(!alive(document));
}

#[test]
fn an_engine_without_a_record_is_found_by_its_port_and_adopted() {
    let mut appliance = Appliance::ready(Options::cache());
    let cache = appliance.pid("cache");
    appliance.signal(Signal::SIGKILL);
    appliance.wait_exit(SOON);
    std::fs::remove_file(appliance.root().join("run/lucid/engines.json")).unwrap();
    appliance.start();
    appliance.wait_state("ready");
    assert_eq!(appliance.pid("cache"), cache);
    appliance.stop();
    assert!(!alive(cache));
}

#[test]
fn a_second_supervisor_on_the_same_root_is_refused() {
    let appliance = Appliance::ready(Options::cache());
    let output = appliance.run(&["supervise"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(
        text.contains(&appliance.supervisor_pid().to_string()),
        "{text}"
    );
    assert_eq!(appliance.status()["state"], "ready");
    let output = appliance.run(&["tune", "revert"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
}

#[test]
fn sigterm_stops_every_engine_and_the_socket_goes_away() {
    let mut appliance = Appliance::ready(Options::both());
    let (document, cache) = (appliance.pid("document"), appliance.pid("cache"));
    appliance.stop();
    assert!(!alive(document) && !alive(cache));
    let output = appliance.run(&["status"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("no supervisor runs"), "{text}");
}

#[test]
fn sigusr2_hands_the_engines_over() {
    let mut appliance = Appliance::ready(Options::cache());
    let cache = appliance.pid("cache");
    appliance.signal(Signal::SIGUSR2);
    assert!(appliance.wait_exit(SOON).success());
    assert!(alive(cache));
    appliance.start();
    appliance.wait_state("ready");
    assert_eq!(appliance.pid("cache"), cache);
}

#[test]
fn a_reload_restarts_only_what_changed_and_a_bad_file_changes_nothing() {
    let appliance = Appliance::ready(Options::both());
    let (document, cache) = (appliance.pid("document"), appliance.pid("cache"));
    appliance.configure("log.burst = 400");
    appliance.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_secs(2));
    appliance.wait_state("ready");
    assert_eq!(
        (appliance.pid("document"), appliance.pid("cache")),
        (document, cache)
    );
    appliance.configure("datastore.cache.maxmemory = \"64M\"");
    appliance.signal(Signal::SIGHUP);
    appliance.wait_restarted("cache", cache, SOON);
    let limit: Vec<String> = redis::cmd("CONFIG")
        .arg("GET")
        .arg("maxmemory")
        .query(&mut appliance.redis())
        .unwrap();
    assert_eq!(limit[1], (64 * 1024 * 1024).to_string());
    assert_eq!(appliance.pid("document"), document);
    let cache = appliance.pid("cache");
    std::fs::write(appliance.config_file(), "nonsense").unwrap();
    appliance.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(
        (appliance.pid("document"), appliance.pid("cache")),
        (document, cache)
    );
    assert!(appliance.log().contains("the running configuration stays"));
}

#[test]
fn a_reload_starts_and_stops_datastores_that_were_switched_on_and_off() {
    let appliance = Appliance::ready(Options::cache());
    let file = std::fs::read_to_string(appliance.config_file()).unwrap();
    let both = file.replace("document.enabled = false", "document.enabled = true");
    std::fs::write(appliance.config_file(), &both).unwrap();
    appliance.signal(Signal::SIGHUP);
    appliance.wait_datastore("document", "ready", SOON);
    std::fs::write(appliance.config_file(), &file).unwrap();
    appliance.signal(Signal::SIGHUP);
    appliance.wait("document gone", SOON, |status| {
        status["datastores"].as_array().unwrap().len() == 1
    });
    appliance.wait_state("ready");
}

#[test]
fn an_ordinary_user_runs_the_whole_appliance() {
    let mut appliance = Appliance::lay(Options::both());
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    chown_all(appliance.root(), &nobody);
    // The build directory may be closed to that user.
    let program = appliance.root().join("lucid");
    std::fs::copy(common::LUCID, &program).unwrap();
    let mut command = std::process::Command::new(program);
    command.arg("--root").arg(appliance.root()).arg("supervise");
    command.env("LUCID_ENGINE_PATH", common::engine_path());
    command.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw());
    appliance.start_command(&mut command);
    appliance.wait_state("ready");
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", appliance.pid("cache"))).unwrap();
    assert!(
        status.contains(&format!("Uid:\t{}", nobody.uid)),
        "{status}"
    );
    appliance.stop();
}

fn chown_all(path: &std::path::Path, user: &nix::unistd::User) {
    nix::unistd::chown(path, Some(user.uid), Some(user.gid)).unwrap();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap().flatten() {
            chown_all(&entry.path(), user);
        }
    }
}

#[test]
fn a_supervisor_that_is_root_drops_each_engine_to_its_own_user_without_privileges() {
    let appliance = Appliance::ready(Options::both());
    for (name, user) in [("document", "lucid-document"), ("cache", "lucid-cache")] {
        let uid = nix::unistd::User::from_name(user).unwrap().unwrap().uid;
        let pid = appliance.pid(name);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        for line in [
            format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}"),
            "CapEff:\t0000000000000000".into(),
            "NoNewPrivs:\t1".into(),
        ] {
            assert!(status.contains(&line), "{line:?} is missing in {status}");
        }
    }
}

/// Listens as systemd would.
struct Systemd {
    socket: UnixDatagram,
    dir: tempfile::TempDir,
}

impl Systemd {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        Self { socket, dir }
    }

    fn path(&self) -> String {
        self.dir
            .path()
            .join("notify")
            .to_string_lossy()
            .into_owned()
    }

    /// Everything that was sent within `limit`, until `until` was.
    fn messages(&self, limit: Duration, until: &str) -> String {
        let mut all = String::new();
        let began = Instant::now();
        let mut buffer = [0u8; 4096];
        while began.elapsed() < limit && !all.contains(until) {
            if let Ok(count) = self.socket.recv(&mut buffer) {
                all += &String::from_utf8_lossy(&buffer[..count]);
                all.push('\n');
            }
        }
        all
    }
}

#[test]
fn systemd_hears_of_readiness_status_watchdog_and_stored_descriptors() {
    let systemd = Systemd::new();
    let mut appliance = Appliance::lay(Options::cache().with("supervisor.stop_timeout = \"2s\""));
    let mut command = appliance.command(&["supervise"]);
    command
        .env("NOTIFY_SOCKET", systemd.path())
        .env("WATCHDOG_USEC", "1500000");
    appliance.start_command(&mut command);
    let messages = systemd.messages(SOON, "READY=1");
    for part in [
        "FDSTORE=1",
        "FDNAME=lucid-cache",
        "STATUS=ready: cache ready",
        "READY=1",
    ] {
        assert!(messages.contains(part), "{part} is missing in {messages}");
    }
    assert!(systemd.messages(SOON, "WATCHDOG=1").contains("WATCHDOG=1"));
    // A hung engine is not the supervisor's illness.
    common::signal(appliance.pid("cache"), Signal::SIGSTOP);
    assert!(systemd.messages(SOON, "WATCHDOG=1").contains("WATCHDOG=1"));
    // A stopped supervisor feeds nobody.
    appliance.signal(Signal::SIGSTOP);
    while systemd.socket.recv(&mut [0u8; 4096]).is_ok() {}
    assert_eq!(systemd.messages(Duration::from_secs(3), "WATCHDOG=1"), "");
    appliance.signal(Signal::SIGCONT);
    appliance.signal(Signal::SIGTERM);
    assert!(systemd.messages(SOON, "STOPPING=1").contains("STOPPING=1"));
    assert!(appliance.wait_exit(SOON).success());
}

#[test]
fn a_stored_descriptor_of_another_process_makes_a_stale_record_void() {
    let mut appliance = Appliance::ready(Options::cache());
    let cache = appliance.pid("cache");
    appliance.signal(Signal::SIGKILL);
    appliance.wait_exit(SOON);
    // The FD store says that the engine is this very test: the record is not believed.
    let pidfd = rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    )
    .unwrap();
    let raw = pidfd.as_raw_fd();
    let mut command = std::process::Command::new("sh");
    // The descriptor must be number 3, and LISTEN_PID the supervisor's own pid.
    command
        .arg("-c")
        .arg(format!(
            "exec 3<&{raw}; export LISTEN_PID=$$; exec \"$0\" \"$@\""
        ))
        .arg(common::LUCID)
        .args(["--root", &appliance.root().to_string_lossy(), "supervise"])
        .env("LUCID_ENGINE_PATH", common::engine_path())
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "lucid-cache");
    rustix::io::fcntl_setfd(&pidfd, rustix::io::FdFlags::empty()).unwrap();
    appliance.start_command(&mut command);
    appliance.wait_state("ready");
    // Found by its port all the same, and adopted.
    assert_eq!(appliance.pid("cache"), cache);
}

#[test]
fn a_clean_stop_puts_every_kernel_knob_back() {
    const KNOBS: [&str; 4] = [
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/vm/swappiness",
        "/proc/sys/net/core/somaxconn",
        "/sys/kernel/mm/transparent_hugepage/enabled",
    ];
    let read = || KNOBS.map(|knob| std::fs::read_to_string(knob).unwrap());
    // One kernel: the tuning tests hold the same lock.
    let lock = std::fs::File::create(std::env::temp_dir().join("lucid-test-kernel.lock")).unwrap();
    let _lock = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive).unwrap();
    std::fs::write("/proc/sys/vm/overcommit_memory", "0").unwrap();
    let before = read();
    let mut appliance =
        Appliance::ready(Options::cache().with("tuning.enabled = true\ntuning.zram = false"));
    assert_eq!(appliance.status()["tuning"]["state"], "applied");
    assert_eq!(std::fs::read_to_string(KNOBS[0]).unwrap().trim(), "1");
    appliance.stop();
    assert_eq!(read(), before);
}

#[test]
fn a_datastore_switched_off_and_on_at_once_runs_again() {
    let appliance = Appliance::ready(Options::both());
    let file = std::fs::read_to_string(appliance.config_file()).unwrap();
    let without = file.replace("document.enabled = true", "document.enabled = false");
    std::fs::write(appliance.config_file(), &without).unwrap();
    appliance.signal(Signal::SIGHUP);
    appliance.wait("document stopping", SOON, |status| {
        !status["datastores"]
            .as_array()
            .unwrap()
            .iter()
            .any(|d| d["name"] == "document" && d["state"] == "ready")
    });
    std::fs::write(appliance.config_file(), &file).unwrap();
    appliance.signal(Signal::SIGHUP);
    appliance.wait_datastore("document", "ready", SOON);
}

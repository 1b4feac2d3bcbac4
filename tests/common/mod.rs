//! A whole appliance in a directory, with real engines, for one test.
// Each test file uses its own part.
#![allow(dead_code, unreachable_pub)]

pub mod api;
pub mod backups;
pub mod network;
pub mod pool;
mod ports;
pub mod remote;
pub mod search;

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;

pub(crate) use ports::free_port;

/// The program under test.
pub const LUCID: &str = env!("CARGO_BIN_EXE_lucid");

/// Where `scripts/engines` put the engines.
pub fn engine_path() -> String {
    std::env::var("LUCID_ENGINE_PATH")
        .expect("LUCID_ENGINE_PATH is not set: run the tests with ./scripts/test")
}

/// What a test wants of the appliance.
pub struct Options {
    pub document: bool,
    pub cache: bool,
    /// Further lines of lucid.toml.
    pub config: String,
    /// Environment of the supervisor.
    pub env: Vec<(String, String)>,
}

impl Options {
    pub fn both() -> Self {
        Self {
            document: true,
            cache: true,
            config: String::new(),
            env: Vec::new(),
        }
    }

    pub fn cache() -> Self {
        Self {
            document: false,
            ..Self::both()
        }
    }

    pub fn document() -> Self {
        Self {
            cache: false,
            ..Self::both()
        }
    }

    /// Adds configuration. Tables `[datastore.*]` are extended with the dotted form.
    pub fn with(mut self, config: &str) -> Self {
        let _ = writeln!(self.config, "{config}");
        self
    }

    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }
}

pub struct Appliance {
    pub dir: tempfile::TempDir,
    pub document_port: u16,
    pub cache_port: u16,
    options: Options,
    pub supervisor: Option<Child>,
}

impl Appliance {
    /// Lays the root out without starting anything.
    pub fn lay(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Engines run as users of their own, which must get in.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let appliance = Self {
            dir,
            document_port: free_port(),
            cache_port: free_port(),
            options,
            supervisor: None,
        };
        std::fs::create_dir_all(appliance.root().join("etc/lucid")).unwrap();
        appliance.configure("");
        appliance
    }

    /// Lays out, starts and waits until ready.
    pub fn ready(options: Options) -> Self {
        let mut appliance = Self::lay(options);
        appliance.start();
        appliance.wait_state("ready");
        appliance
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn config_file(&self) -> PathBuf {
        self.root().join("etc/lucid/lucid.toml")
    }

    /// Writes lucid.toml: ports, what the options say, and `more`.
    pub fn configure(&self, more: &str) {
        // Knobs are the machine's: tests of other things must not fight over them. Limits of
        // memory are fixed so that a machine of any size gives the same plan.
        let text = format!(
            "tuning.enabled = {}\n\
             datastore.document.enabled = {}\ndatastore.document.port = {}\n\
             datastore.cache.enabled = {}\ndatastore.cache.port = {}\n{}{}\n{more}\n",
            self.options.config.contains("tuning."),
            self.options.document,
            self.document_port,
            self.options.cache,
            self.cache_port,
            // A third engine for those tests alone that name it.
            if self.options.config.contains("datastore.search.") {
                ""
            } else {
                "datastore.search.enabled = false\n"
            },
            self.options.config,
        );
        // A full hour may come at any time, and a backup with it.
        let text = if text.contains("backup.") {
            text
        } else {
            text.replacen('\n', "\nbackup.enabled = false\n", 1)
        };
        // Tests run beside each other; those of the network name a port.
        let text = if text.contains("api.") {
            text
        } else {
            text.replacen('\n', "\napi.enabled = false\n", 1)
        };
        // The machine's own disk may be as full as it likes; tests of space have a disk of their own.
        let text = if text.contains("volume.") {
            text
        } else {
            let own = "\nvolume.warning_percent = 98\nvolume.critical_percent = 99\n";
            text.replacen('\n', own, 1)
        };
        let text = if self.options.config.contains("tuning.enabled") {
            text.lines().skip(1).collect::<Vec<_>>().join("\n")
        } else {
            text
        };
        std::fs::write(self.config_file(), text).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(LUCID);
        command
            .arg("--root")
            .arg(self.root())
            .args(args)
            .env("LUCID_ENGINE_PATH", engine_path())
            .env_remove("NOTIFY_SOCKET");
        for (key, value) in &self.options.env {
            command.env(key, value);
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must answer with JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        let output = self.run(&all);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "{args:?}: {error}: {}{}\n{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
                self.log()
            )
        })
    }

    pub fn log_file(&self) -> PathBuf {
        self.root().join("supervise.log")
    }

    /// What supervisors of this root have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Starts a supervisor without waiting.
    pub fn start(&mut self) {
        let mut command = self.command(&["supervise"]);
        self.start_command(&mut command);
    }

    pub fn start_command(&mut self, command: &mut Command) {
        let log = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.log_file())
            .unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.supervisor = Some(child);
    }

    pub fn supervisor_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.supervisor.as_ref().unwrap().id()).unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.supervisor_pid(), signal).unwrap();
    }

    /// Waits for the supervisor's own end.
    pub fn wait_exit(&mut self, limit: Duration) -> std::process::ExitStatus {
        let began = Instant::now();
        let mut child = self.supervisor.take().unwrap();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if began.elapsed() > limit {
                let _ = child.kill();
                panic!(
                    "the supervisor did not end within {limit:?}\n{}",
                    self.log()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops the supervisor cleanly.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        assert!(
            self.wait_exit(Duration::from_secs(60)).success(),
            "{}",
            self.log()
        );
    }

    /// The status, if a supervisor answers.
    pub fn try_status(&self) -> Option<Value> {
        let output = self.run(&["--json", "status"]);
        let value: Value = serde_json::from_slice(&output.stdout).ok()?;
        value.get("state").is_some().then_some(value)
    }

    pub fn status(&self) -> Value {
        self.try_status()
            .unwrap_or_else(|| panic!("no status\n{}", self.log()))
    }

    pub fn datastore(&self, name: &str) -> Value {
        let status = self.status();
        let found = status["datastores"]
            .as_array()
            .unwrap()
            .iter()
            .find(|d| d["name"] == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {status}"))
            .clone()
    }

    pub fn pid(&self, name: &str) -> i32 {
        let pid = &self.datastore(name)["pid"];
        i32::try_from(pid.as_i64().unwrap_or_else(|| panic!("{name} has no pid"))).unwrap()
    }

    /// Waits until `test` holds of the status.
    pub fn wait(&self, what: &str, limit: Duration, test: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        let mut last = Value::Null;
        while began.elapsed() < limit {
            if let Some(status) = self.try_status() {
                if test(&status) {
                    return status;
                }
                last = status;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("not {what} within {limit:?}: {last:#}\n{}", self.log());
    }

    pub fn wait_state(&self, state: &str) -> Value {
        self.wait(state, Duration::from_secs(60), |status| {
            status["state"] == state
        })
    }

    pub fn wait_datastore(&self, name: &str, state: &str, limit: Duration) -> Value {
        let is = |status: &Value| {
            let datastores = status["datastores"].as_array();
            datastores.is_some_and(|d| d.iter().any(|d| d["name"] == name && d["state"] == state))
        };
        self.wait(&format!("{name} {state}"), limit, is);
        self.datastore(name)
    }

    /// Waits until another process than `old` is ready.
    pub fn wait_restarted(&self, name: &str, old: i32, limit: Duration) {
        self.wait(&format!("{name} restarted"), limit, |status| {
            let datastores = status["datastores"].as_array().unwrap();
            datastores
                .iter()
                .any(|d| d["name"] == name && d["state"] == "ready" && d["pid"] != old)
        });
    }

    pub fn uri(&self, name: &str) -> String {
        self.json(&["credentials", "show", name])["uri"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub fn redis(&self) -> redis::Connection {
        redis::Client::open(self.uri("cache"))
            .unwrap()
            .get_connection()
            .unwrap()
    }

    pub async fn mongo(&self) -> mongodb::Client {
        let mut options = mongodb::options::ClientOptions::parse(self.uri("document"))
            .await
            .unwrap();
        options.server_selection_timeout = Some(Duration::from_secs(5));
        mongodb::Client::with_options(options).unwrap()
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if let Some(child) = &mut self.supervisor {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Engines outlive their supervisor by design, but not their test.
        let text = std::fs::read_to_string(self.root().join("run/lucid/engines.json"));
        let records: Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
        for record in records["engines"].as_array().into_iter().flatten() {
            if let Some(pid) = record["pid"].as_i64() {
                let _ = killpg(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
            }
        }
    }
}

/// Sends a signal to an engine.
/// What a command says, on both streams.
fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A command that must succeed; what it says.
pub fn said(appliance: &Appliance, args: &[&str]) -> String {
    let output = appliance.run(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    text(&output)
}

/// A command that must fail; what it says.
pub fn failed(appliance: &Appliance, args: &[&str]) -> String {
    let output = appliance.run(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output));
    text(&output)
}

/// An appliance that is ready, whose data lies on a pool; what unmounts that at the end.
pub fn on_pool(mut options: Options, bytes: u64) -> (Appliance, pool::Pool) {
    // Before any table.
    options
        .config
        .insert_str(0, "volume.critical_percent = 90\n");
    let mut appliance = Appliance::lay(options);
    let pool = pool::Pool::at(&appliance.root().join("data"), bytes);
    appliance.start();
    appliance.wait_state("ready");
    (appliance, pool)
}

pub fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// Whether a process is there and no zombie.
pub fn alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .starts_with('Z')
    })
}

/// Mounts a file system of its own for a test; unmounted when dropped.
pub struct Mount(pub PathBuf);

impl Mount {
    pub fn tmpfs(path: &Path, size: &str) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let options = format!("size={size},mode=755");
        nix::mount::mount(
            Some("tmpfs"),
            path,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some(options.as_str()),
        )
        .expect("mounting needs root: run the tests as root, as CI does");
        Self(path.to_path_buf())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

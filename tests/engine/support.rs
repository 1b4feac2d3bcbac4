//! A real engine in a directory of its own, ended with the test.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "../common/ports.rs"]
mod ports;
#[path = "programs.rs"]
mod programs;

use lucid::config::{Config, EngineKind, EngineMemory, Role};
use lucid::engine::{self, Client, Context, Credentials, Engine, EngineError, Login};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ports::free_port;
pub(crate) use programs::program;

/// How long a start may take.
const START: Duration = Duration::from_secs(20);

pub(crate) fn login(user: &str, password: &str) -> Login {
    Login {
        user: user.to_owned(),
        password: password.to_owned(),
    }
}

/// One engine, its context and its process.
pub(crate) struct Server {
    pub(crate) engine: &'static dyn Engine,
    pub(crate) ctx: Context,
    child: Option<Child>,
    dir: tempfile::TempDir,
}

impl Server {
    /// Prepares directories and context; `start` starts it.
    pub(crate) fn new(kind: EngineKind, binary: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let role = kind.role();
        let mut config = Config::default();
        let port = free_port();
        match role {
            Role::Document => {
                config.datastore.document.engine = kind;
                config.datastore.document.port = port;
            }
            Role::Cache => {
                config.datastore.cache.engine = kind;
                config.datastore.cache.port = port;
            }
            Role::Search => {
                config.datastore.search.engine = kind;
                config.datastore.search.port = port;
            }
        }
        let engine = engine::of(kind);
        let detected = engine.detect(Some(binary), &[]).unwrap();
        let (supervisor, client) = engine::account_names(role);
        let ctx = Context {
            role,
            config,
            detected,
            memory: EngineMemory {
                max: 256 << 20,
                high: 230 << 20,
                cache: 32 << 20,
            },
            cpus: 2,
            conf_dir: dir.path().join("conf"),
            data_dir: dir.path().join("data"),
            credentials: Credentials {
                supervisor: login(supervisor, "supervisorpassword"),
                client: login(client, "clientpassword"),
            },
        };
        for path in [&ctx.conf_dir, &ctx.data_dir] {
            lucid::fsx::create_dir(path, 0o700).unwrap();
        }
        Self {
            engine,
            ctx,
            child: None,
            dir,
        }
    }

    /// Starts the process as the supervisor would: working directory, cleared environment.
    pub(crate) fn start(&mut self) {
        for file in self.engine.render(&self.ctx) {
            lucid::fsx::write_atomic(&file.path, file.content.as_bytes(), file.mode).unwrap();
        }
        let spec = self.engine.command(&self.ctx);
        let output = File::create(self.dir.path().join("output")).unwrap();
        let child = Command::new(&self.ctx.detected.binary)
            .args(&spec.args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(spec.env)
            .current_dir(&self.ctx.data_dir)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Starts it and waits until the accounts are made and a probe passes.
    pub(crate) async fn ready(&mut self) -> Box<dyn Client> {
        self.start();
        let mut client = self.client();
        let begin = Instant::now();
        loop {
            let tried = async {
                client.bootstrap().await?;
                client.write_probe().await
            };
            match within(Duration::from_secs(10), tried).await {
                Some(Ok(())) => {
                    println!("{:?} ready after {:?}", self.engine.kind(), begin.elapsed());
                    return client;
                }
                _ if begin.elapsed() < START && self.is_running() => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                result => panic!("not ready: {result:?}; it said:\n{}", self.output()),
            }
        }
    }

    pub(crate) fn client(&self) -> Box<dyn Client> {
        self.engine.client(&self.ctx)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().unwrap().id();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }

    fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// `kill -9`, as a power cut would end it.
    pub(crate) fn crash(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// Asks it to stop and waits.
    pub(crate) async fn stop(&mut self) {
        self.signal(self.engine.command(&self.ctx).stop_signal);
        self.ended().await;
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) {
        let begin = Instant::now();
        while self.is_running() {
            assert!(
                begin.elapsed() < START,
                "still runs; it said:\n{}",
                self.output()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.child = None;
    }

    /// What it wrote since its last start.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("output")).unwrap_or_default()
    }

    pub(crate) fn output_lines(&self) -> Vec<String> {
        self.output().lines().map(str::to_owned).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

/// `None` when `limit` is over first.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, work).await.ok()
}

pub(crate) fn text(result: Result<(), EngineError>) -> String {
    result.unwrap_err().to_string()
}

//! A search node as a process of its own, for one test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{LUCID, free_port};

pub const PASSWORD: &str = "correct horse";

/// A node that ends with the test.
pub struct Node {
    pub child: Child,
    pub base: String,
    pub http: reqwest::Client,
    pub runtime: tokio::runtime::Runtime,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It ends by itself, as it does under the supervisor; one that does not is killed.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        for _ in 0..250 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    pub fn start(dir: &Path) -> Self {
        Self::launch(dir, "127.0.0.1", None, "")
    }

    /// A node that listens on `ip`, with `extra` at the end of its configuration.
    pub fn start_with(dir: &Path, ip: &str, extra: &str) -> Self {
        Self::launch(dir, ip, None, extra)
    }

    /// A node whose repositories of snapshots lie below `repositories`.
    pub fn start_with_repositories(dir: &Path, repositories: &Path) -> Self {
        Self::launch(dir, "127.0.0.1", Some(repositories), "")
    }

    /// A node on `ip`, with directories for `repositories` and `extra` at the end of its
    /// configuration.
    pub fn launch(dir: &Path, ip: &str, repositories: Option<&Path>, extra: &str) -> Self {
        let repositories = repositories.map_or_else(String::new, |repositories| {
            format!("path_repo = [\"{}\"]\n", repositories.display())
        });
        let port = free_port();
        let mut hash = [0; 32];
        pbkdf2::pbkdf2_hmac::<sha2::Sha512>(PASSWORD.as_bytes(), b"salt", 10, &mut hash);
        let users: String = [("boss", "admin"), ("scribe", "writer"), ("guest", "reader")]
            .map(|(name, role)| {
                format!(
                    "[[user]]\nname = \"{name}\"\nrole = \"{role}\"\npassword_hash = \
                     \"{{PBKDF2}}10${}${}\"\n",
                    BASE64.encode("salt"),
                    BASE64.encode(hash)
                )
            })
            .concat();
        let config = format!(
            "{repositories}listen = [\"{ip}:{port}\"]\ndata = \"{}\"\nmemory_bytes = 67108864\n{users}{extra}",
            dir.join("data").display()
        );
        let file = dir.join("node.toml");
        lucid::fsx::write_atomic(&file, config.as_bytes(), 0o600).unwrap();
        let child = Command::new(LUCID)
            .args(["search-node", "--config"])
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let node = Self {
            child,
            base: format!("http://127.0.0.1:{port}"),
            http: lucid::http::client().no_proxy().build().unwrap(),
            runtime,
        };
        let began = Instant::now();
        while node.try_call("GET", "/", None).is_none() {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "the node does not answer"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        node
    }

    pub fn send(
        &self,
        user: &str,
        method: &str,
        path: &str,
        body: Option<String>,
    ) -> Option<(u16, Value)> {
        self.runtime.block_on(async {
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let mut request = self
                .http
                .request(method, format!("{}{path}", self.base))
                .basic_auth(user, Some(PASSWORD))
                .header("content-type", "application/json")
                .timeout(Duration::from_secs(20));
            if let Some(body) = body {
                request = request.body(body);
            }
            let response = request.send().await.ok()?;
            let status = response.status().as_u16();
            let text = response.text().await.ok()?;
            Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
        })
    }

    pub fn try_call(&self, method: &str, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        self.send("boss", method, path, body.map(|body| body.to_string()))
    }

    pub fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.try_call(method, path, Some(body)).unwrap();
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    pub fn refused(&self, method: &str, path: &str, body: Value) -> (u16, String, String) {
        let (status, answer) = self.try_call(method, path, Some(body)).unwrap();
        assert!(status >= 400, "{method} {path}: {status} {answer}");
        let text = |key: &str| answer["error"][key].as_str().unwrap_or_default().to_owned();
        (status, text("type"), text("reason"))
    }
}

//! What the node is started with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::StartError;
use super::http::{Role, User};
use crate::listen::TlsOptions;

/// Larger files are none.
const MAX_CONFIG: u64 = 1 << 20;

/// The configuration file, which the supervisor renders.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Where to listen.
    pub(super) listen: Vec<SocketAddr>,
    /// Directory of the data.
    pub(super) data: PathBuf,
    /// Name of the cluster.
    #[serde(default = "cluster_name")]
    pub(super) cluster_name: String,
    /// Name of the node.
    #[serde(default = "node_name")]
    pub(super) node_name: String,
    /// Memory for buffers and caches, in bytes.
    #[serde(default = "memory")]
    pub(super) memory_bytes: u64,
    /// TLS, without which only loopback addresses are listened on.
    pub(super) tls: Option<TlsOptions>,
    /// Directories in which repositories of snapshots may lie.
    #[serde(default)]
    pub(super) path_repo: Vec<PathBuf>,
    /// Who may ask.
    #[serde(default)]
    user: Vec<UserOptions>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserOptions {
    name: String,
    password_hash: String,
    role: Role,
}

fn cluster_name() -> String {
    "lucid-cluster".to_owned()
}

fn node_name() -> String {
    "lucid-node".to_owned()
}

const fn memory() -> u64 {
    64 << 20
}

impl Options {
    /// Reads `path`.
    pub(super) fn load(path: &Path) -> Result<Self, StartError> {
        let text = crate::fsx::read_text(path, MAX_CONFIG)?;
        let options: Self = toml::from_str(&text).map_err(|error| StartError::Config {
            path: path.to_path_buf(),
            cause: error.to_string(),
        })?;
        if options.listen.is_empty() || options.user.is_empty() {
            return Err(StartError::Config {
                path: path.to_path_buf(),
                cause: "[listen] and at least one [[user]] are needed".to_owned(),
            });
        }
        let open = options.listen.iter().find(|at| !at.ip().is_loopback());
        if let (Some(open), None) = (open, &options.tls) {
            return Err(StartError::Config {
                path: path.to_path_buf(),
                cause: format!(
                    "passwords would cross the network in the clear at {open}: add [tls], or listen \
                     on 127.0.0.1"
                ),
            });
        }
        Ok(options)
    }

    pub(super) fn users(&self) -> Vec<User> {
        self.user
            .iter()
            .map(|user| User {
                name: user.name.clone(),
                password_hash: user.password_hash.clone(),
                role: user.role,
            })
            .collect()
    }
}

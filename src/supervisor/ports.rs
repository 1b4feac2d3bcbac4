//! Who listens on a TCP port.

use std::path::{Path, PathBuf};

use procfs::net::TcpState;
use procfs::process::FDTarget;

/// The program that has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) pid: i32,
    pub(super) name: String,
    stdout: Option<PathBuf>,
}

impl Owner {
    /// Whether its stdout is `output`: then an earlier supervisor of this root launched it.
    pub(super) fn writes_to(&self, output: &Path) -> bool {
        self.stdout.as_deref() == Some(output)
    }
}

/// The process that listens on `port`; absent where this user may not see it.
pub(super) fn owner(port: u16) -> Option<Owner> {
    let entries = procfs::net::tcp().unwrap_or_default().into_iter();
    let listening = entries
        .chain(procfs::net::tcp6().unwrap_or_default())
        .find(|entry| entry.state == TcpState::Listen && entry.local_address.port() == port)?;
    procfs::process::all_processes()
        .ok()?
        .flatten()
        .find_map(|process| {
            let holds =
                process.fd().ok()?.flatten().any(
                    |fd| matches!(fd.target, FDTarget::Socket(inode) if inode == listening.inode),
                );
            holds.then(|| Owner {
                pid: process.pid,
                name: process
                    .stat()
                    .map_or_else(|_| "?".to_owned(), |stat| stat.comm),
                stdout: std::fs::read_link(format!("/proc/{}/fd/1", process.pid)).ok(),
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let owner = owner(port).unwrap();
        assert_eq!(owner.pid, i32::try_from(std::process::id()).unwrap());
        drop(listener);
        assert!(super::owner(port).is_none());
    }
}

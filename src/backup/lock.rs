//! Claims on a repository, as restic writes and respects them: a file in `locks/`, encrypted with
//! the repository's key, written anew every few minutes by whoever holds it.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::BackupError;
use super::backend::Files;
use super::seal::{Seal, name_of};

const DIR: &str = "locks";
/// A claim that was not renewed for so long is nobody's (restic's own bound).
const STALE: SignedDuration = SignedDuration::from_mins(30);
/// How often ours is renewed (restic's own period).
const RENEW: Duration = Duration::from_mins(5);
/// Between writing ours and looking whether another one came at the same moment.
const SETTLE: Duration = Duration::from_millis(200);

/// What stands in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claim {
    time: Timestamp,
    exclusive: bool,
    hostname: String,
    #[serde(default)]
    username: String,
    pid: u32,
}

/// Reads and writes claims on one repository.
#[derive(Clone)]
pub(super) struct Locks {
    files: Arc<dyn Files>,
    seal: Seal,
    hostname: String,
}

/// A claim that is held; given up when it is dropped.
pub(super) struct Held {
    stop: Option<Sender<()>>,
    renewing: Option<JoinHandle<()>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.renewing.take()
            && thread.join().is_err()
        {
            tracing::error!("the claim on the repository could not be given up");
        }
    }
}

impl Locks {
    pub(super) fn new(files: Arc<dyn Files>, seal: Seal, hostname: &str) -> Self {
        Self {
            files,
            seal,
            hostname: hostname.to_owned(),
        }
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(super::backend::FileFault) -> BackupError {
        let place = self.files.location();
        move |fault| BackupError::Repository {
            doing,
            place,
            cause: fault.to_string(),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Claim>, BackupError> {
        let content = match self.files.read(&format!("{DIR}/{name}"), None) {
            // Given up meanwhile.
            Err(fault) if fault.is_missing => return Ok(None),
            read => read.map_err(self.failed("looking at locks"))?,
        };
        // One that cannot be read was written with another key, or half.
        let open = || serde_json::from_slice(&self.seal.open(&content)?).ok();
        Ok(open())
    }

    /// Claims that stand in the way.
    fn others(&self, exclusive: bool, own: &str) -> Result<Option<Claim>, BackupError> {
        let now = Timestamp::now();
        let names = self
            .files
            .list(DIR)
            .map_err(self.failed("looking at locks"))?;
        for (name, _) in names {
            if name == own || name.len() != 64 {
                continue;
            }
            let Some(claim) = self.read(&name)? else {
                continue;
            };
            let fresh = now.duration_since(claim.time) < STALE;
            // Of a process of this machine that is no more.
            let dead = claim.hostname == self.hostname
                && !std::path::Path::new(&format!("/proc/{}", claim.pid)).exists();
            if fresh && !dead && (exclusive || claim.exclusive) {
                return Ok(Some(claim));
            }
            if !fresh || dead {
                self.files
                    .remove(&format!("{DIR}/{name}"))
                    .map_err(self.failed("removing a stale lock"))?;
            }
        }
        Ok(None)
    }

    fn write(&self, exclusive: bool) -> Result<String, BackupError> {
        let claim = Claim {
            time: Timestamp::now(),
            exclusive,
            hostname: self.hostname.clone(),
            username: "lucid".to_owned(),
            pid: std::process::id(),
        };
        let cannot = |cause: String| BackupError::Repository {
            doing: "locking",
            place: self.files.location(),
            cause,
        };
        let plain = serde_json::to_vec(&claim).map_err(|error| cannot(error.to_string()))?;
        let content = self.seal.seal(&plain).map_err(cannot)?;
        let name = name_of(&content);
        self.files
            .write(&format!("{DIR}/{name}"), vec![Bytes::from(content)])
            .map_err(self.failed("locking"))?;
        Ok(name)
    }

    /// Claims the repository: alone, or beside others who only add to it.
    ///
    /// # Errors
    /// [`BackupError::Locked`].
    pub(super) fn take(&self, exclusive: bool) -> Result<Held, BackupError> {
        let in_use = |claim: Claim| BackupError::Locked {
            place: self.files.location(),
            holder: format!("process {} on {}", claim.pid, claim.hostname),
            since: claim.time.to_string(),
        };
        if let Some(claim) = self.others(exclusive, "")? {
            return Err(in_use(claim));
        }
        let mut name = self.write(exclusive)?;
        // No thread of a runtime runs this.
        #[allow(clippy::disallowed_methods)]
        std::thread::sleep(SETTLE);
        match self.others(exclusive, &name) {
            Ok(None) => {}
            found => {
                let _ = self.files.remove(&format!("{DIR}/{name}"));
                found.map(|claim| claim.map(in_use))?.map_or(Ok(()), Err)?;
            }
        }
        let (stop, stopped) = mpsc::channel();
        let locks = self.clone();
        let renew = move || {
            while stopped.recv_timeout(RENEW) == Err(RecvTimeoutError::Timeout) {
                match locks.write(exclusive) {
                    Ok(new) => {
                        let old = std::mem::replace(&mut name, new);
                        let _ = locks.files.remove(&format!("{DIR}/{old}"));
                    }
                    Err(error) => tracing::warn!("{error}; tried again"),
                }
            }
            if let Err(fault) = locks.files.remove(&format!("{DIR}/{name}")) {
                tracing::warn!("{fault}; it ends by itself in {} min", STALE.as_mins());
            }
        };
        let renewing = std::thread::Builder::new()
            .name("lock".to_owned())
            .spawn(renew)
            .map_err(|error| BackupError::Refused(error.to_string()))?;
        Ok(Held {
            stop: Some(stop),
            renewing: Some(renewing),
        })
    }

    /// Ends every claim, whoever holds it. Answers how many there were.
    pub(super) fn clear(&self) -> Result<usize, BackupError> {
        let names = self
            .files
            .list(DIR)
            .map_err(self.failed("looking at locks"))?;
        for (name, _) in &names {
            self.files
                .remove(&format!("{DIR}/{name}"))
                .map_err(self.failed("removing a lock"))?;
        }
        Ok(names.len())
    }
}

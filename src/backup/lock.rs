//! Claims on a repository, as restic writes and respects them: a file in `locks/`, encrypted with
//! the repository's key, written anew every few minutes by whoever holds it.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use aes256ctr_poly1305aes::aead::Aead;
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key as CipherKey, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use rustic_core::repofile::MasterKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::BackupError;
use super::backend::Files;

const DIR: &str = "locks";
/// A claim that was not renewed for so long is nobody's (restic's own bound).
const STALE: SignedDuration = SignedDuration::from_mins(30);
/// How often ours is renewed (restic's own period).
const RENEW: Duration = Duration::from_mins(5);
/// Between writing ours and looking whether another one came at the same moment.
const SETTLE: Duration = Duration::from_millis(200);
const NONCE: usize = 16;

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
    cipher: CipherKey,
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

/// A key as JSON, in the parts that restic names so.
#[derive(Deserialize)]
struct Parts {
    mac: Mac,
    encrypt: String,
}

#[derive(Deserialize)]
struct Mac {
    k: String,
    r: String,
}

fn cipher_of(key: &MasterKey) -> Result<CipherKey, String> {
    let parts: Parts = serde_json::to_value(key)
        .and_then(serde_json::from_value)
        .map_err(|error| error.to_string())?;
    let mut bytes = Vec::with_capacity(64);
    for part in [parts.encrypt, parts.mac.k, parts.mac.r] {
        let part = STANDARD.decode(part).map_err(|error| error.to_string())?;
        bytes.extend(part);
    }
    let whole: [u8; 64] = bytes
        .try_into()
        .map_err(|_| "the key is of an unknown length".to_owned())?;
    Ok(whole.into())
}

impl Locks {
    pub(super) fn new(
        files: Arc<dyn Files>,
        key: &MasterKey,
        hostname: &str,
    ) -> Result<Self, BackupError> {
        let cipher = cipher_of(key).map_err(|cause| BackupError::Repository {
            doing: "reading the key",
            place: files.location(),
            cause,
        })?;
        Ok(Self {
            files,
            cipher,
            hostname: hostname.to_owned(),
        })
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
        let open = || {
            let (nonce, rest) = content.split_at_checked(NONCE)?;
            let cipher = Aes256CtrPoly1305Aes::new(&self.cipher);
            let plain = cipher.decrypt(Nonce::from_slice(nonce), rest).ok()?;
            // A version 2 repository may compress what is no pack; 2 is its mark.
            let plain = match plain.split_first() {
                Some((2, packed)) => zstd::decode_all(packed).ok()?,
                _ => plain,
            };
            serde_json::from_slice(&plain).ok()
        };
        // One that cannot be read was written with another key, or half.
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
        let mut nonce = [0_u8; NONCE];
        getrandom::fill(&mut nonce).map_err(|error| cannot(error.to_string()))?;
        let cipher = Aes256CtrPoly1305Aes::new(&self.cipher);
        let secret = cipher
            .encrypt(Nonce::from_slice(&nonce), plain.as_slice())
            .map_err(|error| cannot(error.to_string()))?;
        let content = [&nonce[..], &secret].concat();
        let name = super::hex(&Sha256::digest(&content));
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

//! The cache: the file that the engine writes for it, awaited by the engine's own counters and
//! checked with the engine's own program.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, cmd};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::BackupError;
use super::ahead::Ahead;
use super::manifest::Facts;
use super::rdb::{ScanError, Sorted};
use super::source::Stream;
use crate::engine::Login;
use crate::fsx::FsError;

/// Name of the part.
pub(super) const PART: &str = "cache";
/// Where the file lies in it.
pub(super) const FILE: &str = "/cache/dump.rdb";
/// The engine's name for it (`dbfilename`, `engine/redis_config.rs`).
const RDB: &str = "dump.rdb";
/// A second name of the file, so that the engine's next save does not take it away.
const HELD: &str = ".lucid-backup.rdb";
/// A save of the largest cache that a board holds, on a card.
const LIMIT: Duration = Duration::from_secs(1800);
const POLL: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(30);

fn failed(cause: impl std::fmt::Display) -> BackupError {
    BackupError::Capture {
        part: PART.to_owned(),
        cause: cause.to_string(),
    }
}

/// A connection to logical database `db` of the cache at `address`.
pub(super) async fn connect(
    address: SocketAddr,
    login: &Login,
    db: i64,
) -> Result<MultiplexedConnection, BackupError> {
    let settings = RedisConnectionInfo::default()
        .set_username(&login.user)
        .set_password(&login.password)
        .set_db(db)
        .set_skip_set_lib_name();
    let info = ConnectionAddr::Tcp(address.ip().to_string(), address.port())
        .into_connection_info()
        .map_err(failed)?
        .set_redis_settings(settings);
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER))
        .set_response_timeout(Some(ANSWER));
    redis::Client::open(info)
        .map_err(failed)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(failed)
}

/// `INFO` of one section, as a table.
pub(super) async fn info(
    connection: &mut MultiplexedConnection,
    section: &str,
) -> Result<HashMap<String, String>, BackupError> {
    let text: String = cmd("INFO")
        .arg(section)
        .query_async(connection)
        .await
        .map_err(failed)?;
    let pairs = text.lines().filter_map(|line| line.trim().split_once(':'));
    Ok(pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect())
}

/// One number of it; 0 where it is missing.
pub(super) fn number(info: &HashMap<String, String>, key: &str) -> u64 {
    info.get(key).and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Waits until no save is under way.
async fn until_idle(
    connection: &mut MultiplexedConnection,
    until: Instant,
) -> Result<HashMap<String, String>, BackupError> {
    loop {
        let info = info(connection, "persistence").await?;
        let busy = ["rdb_bgsave_in_progress", "aof_rewrite_in_progress"];
        if busy.iter().all(|key| number(&info, key) == 0) {
            return Ok(info);
        }
        if Instant::now() > until {
            return Err(failed("another save of the engine does not end"));
        }
        sleep(POLL).await;
    }
}

/// Has the engine save, and waits until its counters say that this save is done.
async fn save(address: SocketAddr, login: &Login) -> Result<(), BackupError> {
    let mut connection = connect(address, login, 0).await?;
    let until = Instant::now() + LIMIT;
    let before = until_idle(&mut connection, until).await?;
    let saves = number(&before, "rdb_saves");
    let answer: String = cmd("BGSAVE")
        .arg("SCHEDULE")
        .query_async(&mut connection)
        .await
        .map_err(failed)?;
    loop {
        let now = until_idle(&mut connection, until).await?;
        let status = now.get("rdb_last_bgsave_status").map_or("", String::as_str);
        if number(&now, "rdb_saves") > saves && status == "ok" {
            return Ok(());
        }
        if status == "err" && number(&now, "rdb_saves") == saves {
            return Err(failed(
                "the engine could not save (rdb_last_bgsave_status is err): its journal says why, \
                 most often a full volume or too little memory for a fork",
            ));
        }
        if Instant::now() > until {
            return Err(failed(format!(
                "the engine answered {answer:?}, and did not save"
            )));
        }
        sleep(POLL).await;
    }
}

/// The file, held under a second name while this lives.
pub(super) struct Held {
    path: PathBuf,
    /// The engine's own program reads it, from the moment that it is there.
    check: Option<Check>,
    read: Arc<Mutex<Read>>,
}

type Check = JoinHandle<Result<u64, BackupError>>;

/// What was read of it.
#[derive(Debug, Default)]
struct Read {
    sum: Sha256,
    keys: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(
                "{}: {error}; it is removed by the next backup",
                self.path.display()
            );
        }
    }
}

/// Counts what is read into a sum, and at its end has a word with the engine's own program, which
/// reads the file meanwhile.
struct Checked<R> {
    from: R,
    /// Keys that were found here.
    keys: Option<u64>,
    path: PathBuf,
    check: Option<Check>,
    read: Arc<Mutex<Read>>,
}

impl<R: io::Read> Checked<R> {
    fn end(&mut self) -> io::Result<()> {
        let Some(check) = self.check.take() else {
            return Ok(());
        };
        let ended = || io::Error::other("redis-check-rdb was not waited for");
        let keys = check.join().map_err(|_| ended())?;
        let keys = keys.map_err(io::Error::other)?;
        if let Some(found) = self.keys.filter(|found| *found != keys) {
            return Err(io::Error::other(format!(
                "redis-check-rdb counts {keys} keys in {}, and {found} were found",
                self.path.display(),
            )));
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.keys = keys;
        Ok(())
    }
}

impl<R: io::Read> io::Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.end()?;
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.sum.update(&buffer[..count]);
        Ok(count)
    }
}

impl Held {
    /// What goes into the repository: the file in the order of its keys, where its values are of
    /// kinds that are known here.
    pub(super) fn stream(&mut self) -> Result<Stream, BackupError> {
        let check = self.check.take();
        let check = check.ok_or_else(|| failed("its file is read by somebody already"))?;
        match Sorted::open(&self.path) {
            Ok(sorted) => {
                let (bytes, keys) = (sorted.length(), Some(sorted.keys()));
                Ok(self.checked(sorted, bytes, keys, check))
            }
            Err(ScanError::Io(error)) => Err(FsError::wrap("read", &self.path)(error).into()),
            Err(unknown @ ScanError::Unknown { .. }) => {
                tracing::info!(
                    "the cache's file is backed up as the engine wrote it, new as a whole each \
                     time: {unknown}"
                );
                let file = File::open(&self.path).map_err(FsError::wrap("open", &self.path))?;
                let meta = file
                    .metadata()
                    .map_err(FsError::wrap("look at", &self.path))?;
                Ok(self.checked(file, meta.len(), None, check))
            }
        }
    }

    fn checked(
        &self,
        from: impl io::Read + Send + 'static,
        bytes: u64,
        keys: Option<u64>,
        check: Check,
    ) -> Stream {
        let checked = Checked {
            from,
            keys,
            path: self.path.clone(),
            check: Some(check),
            read: Arc::clone(&self.read),
        };
        Stream {
            path: PathBuf::from(FILE),
            bytes: Some(bytes),
            changed: jiff::Timestamp::now(),
            is_kept: false,
            open: Box::new(move || Ok(Box::new(Ahead::of(checked)?))),
        }
    }

    /// What the stream was, when it was read to its end.
    pub(super) fn facts(&self) -> Facts {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        Facts::Cache {
            keys: read.keys,
            sha256: super::hex(&read.sum.clone().finalize()),
        }
    }
}

/// Has the engine save into its volume.
pub(super) async fn capture(
    address: SocketAddr,
    login: &Login,
    volume: &Path,
    program: &Path,
) -> Result<Held, BackupError> {
    let asked = SystemTime::now();
    save(address, login).await?;
    let (file, path) = (volume.join(RDB), volume.join(HELD));
    // Of a backup that was cut off.
    let _ = std::fs::remove_file(&path);
    std::fs::hard_link(&file, &path).map_err(FsError::wrap("hold", &file))?;
    let mut held = Held {
        path,
        check: None,
        read: Arc::default(),
    };
    let meta = std::fs::metadata(&held.path).map_err(FsError::wrap("look at", &held.path))?;
    // File systems count time in ticks of some milliseconds.
    let written = meta
        .modified()
        .map_err(FsError::wrap("look at", &held.path))?;
    if written + Duration::from_secs(1) < asked {
        return Err(failed(format!(
            "{} is older than this backup",
            file.display()
        )));
    }
    let (program, path) = (program.to_owned(), held.path.clone());
    let checking = std::thread::Builder::new()
        .name("check".to_owned())
        .spawn(move || check(&program, &path));
    held.check = Some(checking.map_err(failed)?);
    Ok(held)
}

/// SHA-256 of a file, in hex.
pub(super) fn hash(path: &Path) -> Result<String, BackupError> {
    let wrap = || FsError::wrap("read", path);
    let file = File::open(path).map_err(wrap())?;
    let mut file = BufReader::with_capacity(1 << 18, file);
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        let read = file.read(&mut buffer).map_err(wrap())?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(super::hex(&hash.finalize()))
}

/// Has `redis-check-rdb` read the whole file: the server itself under another name. Answers how
/// many keys are in it.
pub(super) fn check(program: &Path, file: &Path) -> Result<u64, BackupError> {
    let output = Command::new(program)
        .arg0("redis-check-rdb")
        .arg(file)
        .env_clear()
        .output()
        .map_err(FsError::wrap("run", program))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let keys = told
        .lines()
        .find_map(|line| line.trim().strip_suffix(" keys read"))
        .and_then(|line| line.rsplit(' ').next())
        .and_then(|number| number.parse().ok());
    match keys {
        Some(keys) if output.status.success() => Ok(keys),
        _ => Err(failed(format!(
            "{} is damaged: {}",
            file.display(),
            told.lines()
                .last()
                .unwrap_or("redis-check-rdb says nothing")
        ))),
    }
}

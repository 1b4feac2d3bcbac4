//! One volume as one file: a compressed tar(1) of a snapshot, compared with it after it was
//! written, and what it is beside it. Taken back as a snapshot, which a rollback then puts in place.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::btrfs::Btrfs;
use super::error::OpError;
use super::look::space_of;
use super::manager::{Manager, remove_tree};
use super::name::{Kind, Name};
use super::snapshots::{Origin, Snapshot};
use super::tool;
use super::transfer::{self, GoOn, ended};
use crate::fsx::{self, FsError};
use crate::status::now_rfc3339;
use crate::units::human_bytes;

const POLL: Duration = Duration::from_millis(200);
const MAX_BYTES: u64 = 64 * 1024;
/// What both directions say of owners and attributes; gzip is on every system.
const SHAPE: [&str; 5] = ["-I", "gzip -1", "--numeric-owner", "--xattrs", "--acls"];

/// What an archive holds; in a file of its own beside it, `FILE.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// The volume that was archived.
    pub volume: Name,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Its quota.
    #[serde(rename = "quota_bytes")]
    pub quota: Option<u64>,
    /// When, RFC 3339.
    pub taken: String,
    /// Bytes of the volume.
    pub bytes: u64,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Where the description of an archive lies.
fn description(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

impl Archive {
    /// What stands beside the archive `file`.
    ///
    /// # Errors
    /// [`OpError::Refused`] where nothing does, or something else.
    pub fn read(file: &Path) -> Result<Self, OpError> {
        let beside = description(file);
        fsx::read_json(&beside, MAX_BYTES)?.ok_or_else(|| {
            OpError::Refused(format!(
                "{} is not there, which tells what {} is; an archive is two files",
                beside.display(),
                file.display()
            ))
        })
    }

    /// Reads the whole archive and compares it with what stands beside it.
    fn check(&self, file: &Path, go_on: GoOn<'_>) -> Result<(), OpError> {
        let mut opened = File::open(file).map_err(FsError::wrap("open", file))?;
        let mut hashed = Hashed {
            into: std::io::sink(),
            hash: Sha256::new(),
        };
        let bytes = copy(&mut opened, &mut hashed, go_on).map_err(|error| said(error, file))?;
        if (bytes, hex(&hashed.hash.finalize())) == (self.archive_bytes, self.sha256.clone()) {
            return Ok(());
        }
        Err(OpError::Refused(format!(
            "{} is not as it was written ({} of {}): it is damaged, and nothing of it is taken",
            file.display(),
            human_bytes(bytes),
            human_bytes(self.archive_bytes)
        )))
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Absent error: it was ended.
fn said(error: Option<std::io::Error>, file: &Path) -> OpError {
    error.map_or_else(ended, |error| FsError::wrap("copy", file)(error).into())
}

fn copy(
    from: &mut impl Read,
    into: &mut impl Write,
    go_on: GoOn<'_>,
) -> Result<u64, Option<std::io::Error>> {
    let mut buffer = vec![0; 1 << 18];
    let mut all = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(all),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Some(error)),
        };
        into.write_all(&buffer[..read]).map_err(Some)?;
        all += read as u64;
        if !go_on(read as u64) {
            return Err(None);
        }
    }
}

/// Hashes what is written.
struct Hashed<W> {
    into: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.into.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.into.flush()
    }
}

impl Manager {
    /// Archives a volume, as it is at this moment, into a new file, and compares what was written.
    ///
    /// # Errors
    /// [`OpError`]; then there is no such file.
    pub fn backup(&self, name: &Name, file: &Path, go_on: GoOn<'_>) -> Result<Archive, OpError> {
        self.btrfs_of(name, "a backup of a running volume")?;
        let _claim = self.claim(name, "backup")?;
        let entry = self.entry(name)?;
        let refuse = |why: String| Err(OpError::Refused(why));
        if !file.is_absolute() {
            return refuse(format!("{} is no absolute path", file.display()));
        }
        for taken in [file, &description(file)] {
            if taken.symlink_metadata().is_ok() {
                return refuse(format!(
                    "{} is there already; name another file",
                    taken.display()
                ));
            }
        }
        let dir = file.parent().unwrap_or(Path::new("/"));
        let dir = &std::fs::canonicalize(dir).map_err(FsError::wrap("find", dir))?;
        if let Some(why) = self.unfit(name, dir) {
            return refuse(format!("{} {why}; name another place", dir.display()));
        }
        let file = &dir.join(file.file_name().unwrap_or_default());
        self.is_plain(name)?;
        // Whoever makes it first has the name.
        let beside = description(file);
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .map_err(FsError::wrap("make", &beside))?;
        let used = self.usage(name).map_or(0, |usage| usage.referenced);
        let root = self.root_of(name);
        let frozen = root.join(format!(".backup-{name}"));
        let partial = file.with_file_name(format!(
            ".{}.partial",
            file.file_name().unwrap_or_default().to_string_lossy()
        ));
        let made = remove_tree(&frozen)
            .and_then(|()| Ok(Btrfs::snapshot(&self.path(name), &frozen, true)?))
            .and_then(|()| write(&frozen, &partial, go_on));
        let made = made.and_then(|(archive_bytes, sha256)| {
            let archive = Archive {
                volume: name.clone(),
                kind: entry.kind,
                quota: entry.quota,
                taken: now_rfc3339(),
                bytes: used,
                archive_bytes,
                sha256,
            };
            let text = serde_json::to_vec_pretty(&archive).unwrap_or_default();
            // What it is comes first: an archive never stands alone.
            fsx::write_atomic(&description(file), &text, 0o600)?;
            renameat2(
                AT_FDCWD,
                &partial,
                AT_FDCWD,
                file,
                RenameFlags::RENAME_NOREPLACE,
            )
            .map_err(std::io::Error::from)
            .and_then(|()| fsx::sync_dir(dir))
            .map_err(FsError::wrap("write", file))?;
            Ok(archive)
        });
        if made.is_err() {
            let _ = std::fs::remove_file(&partial);
            let _ = std::fs::remove_file(description(file));
        }
        if let Err(error) = remove_tree(&frozen) {
            tracing::error!("{error}; {} is needed by nobody", frozen.display());
        }
        made
    }

    /// Why no archive of a volume may lie in a directory.
    fn unfit(&self, name: &Name, dir: &Path) -> Option<&'static str> {
        let paths = &self.inner().paths;
        let own = [
            paths.system(),
            paths.etc(),
            paths.run(),
            paths.credentials(),
        ];
        let magic = statfs(dir).map(|stat| stat.filesystem_type());
        let owner = std::fs::metadata(dir).map(|meta| meta.uid());
        if dir.starts_with(self.path(name)) {
            Some("lies in the volume itself")
        } else if own.iter().any(|own| dir.starts_with(own)) {
            Some("holds the appliance's own files")
        } else if magic.is_ok_and(|magic| magic == TMPFS_MAGIC) {
            // Also the service's own /tmp, which nobody else sees.
            Some("is memory, which the next start forgets")
        } else if owner.is_ok_and(|owner| owner != geteuid().as_raw()) {
            // Its owner could put something else in the place of what is written.
            Some("belongs to another user than the supervisor's")
        } else {
            None
        }
    }

    /// Takes an archive back as a snapshot of a volume of the same type; a rollback puts it in
    /// place.
    ///
    /// # Errors
    /// [`OpError`]; nothing is left of it then.
    pub fn import(&self, name: &Name, file: &Path, go_on: GoOn<'_>) -> Result<Snapshot, OpError> {
        self.btrfs_of(name, "a restore")?;
        let _claim = self.claim(name, "restore")?;
        let entry = self.entry(name)?;
        let archive = Archive::read(file)?;
        if archive.kind != entry.kind {
            return Err(OpError::Refused(format!(
                "{} holds a volume of type {}, {name} is of type {}",
                file.display(),
                archive.kind,
                entry.kind
            )));
        }
        if let Some(quota) = entry.quota.filter(|quota| *quota < archive.bytes) {
            return Err(OpError::Refused(format!(
                "{} holds {}, more than the quota of {} of volume {name}: lucid volume resize {name} \
                 {}",
                file.display(),
                human_bytes(archive.bytes),
                human_bytes(quota),
                crate::units::ByteSize(archive.bytes.next_multiple_of(crate::units::GIB))
            )));
        }
        let root = self.root_of(name);
        let space = space_of(&root)?;
        if archive.bytes > space.free.saturating_sub(space.reserve) {
            return Err(OpError::Refused(format!(
                "{} holds {}, the pool has {} free of which {} stay so: make room first",
                file.display(),
                human_bytes(archive.bytes),
                human_bytes(space.free),
                human_bytes(space.reserve)
            )));
        }
        archive.check(file, go_on)?;
        let staging = root.join(format!(".restore-{name}"));
        remove_tree(&staging)?;
        Btrfs::create(&staging)?;
        // What it protected by its own directory nobody reads meanwhile.
        let closed = std::fs::set_permissions(&staging, std::fs::Permissions::from_mode(0o700));
        let taken = closed
            .map_err(FsError::wrap("set the mode of", &staging))
            .map_err(OpError::from)
            .and_then(|()| extract(file, &staging, go_on))
            .and_then(|()| Ok(fsx::sync_fs(&staging)?))
            .and_then(|()| self.take_from(&staging, name, Origin::Restored));
        if let Err(error) = remove_tree(&staging) {
            tracing::error!("{error}; {} is needed by nobody", staging.display());
        }
        taken
    }
}

/// Answers bytes and hash of the archive.
fn write(from: &Path, to: &Path, go_on: GoOn<'_>) -> Result<(u64, String), OpError> {
    let source = from.to_string_lossy();
    let args = [
        &SHAPE[..],
        &["--sparse", "--create", "--directory", &source, "."],
    ]
    .concat();
    // Left by an attempt that was cut off; nothing that is a link is followed.
    let _ = std::fs::remove_file(to);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(FsError::wrap("make", to))?;
    let mut hashed = Hashed {
        into: &mut file,
        hash: Sha256::new(),
    };
    let bytes = transfer::read_from("tar", &args, |out| {
        copy(out, &mut hashed, go_on).map_err(|error| said(error, to))
    })?;
    let sha256 = hex(&hashed.hash.finalize());
    file.sync_all().map_err(FsError::wrap("write", to))?;
    // What was just written may still be in memory, and is not what the disk has.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let archive = to.to_string_lossy();
    let args = [
        &SHAPE[..3],
        &["--compare", "--directory", &source, "--file", &archive],
    ]
    .concat();
    tool::run_while("tar", &args, POLL, &mut || go_on(0))?
        .ok_or_else(ended)?
        .success()?;
    Ok((bytes, sha256))
}

fn extract(file: &Path, into: &Path, go_on: GoOn<'_>) -> Result<(), OpError> {
    let (archive, target) = (file.to_string_lossy(), into.to_string_lossy());
    // Names in it may lead nowhere else: tar refuses those with `..` and takes no leading slash.
    let rest = [
        "--extract",
        "--preserve-permissions",
        "--directory",
        &target,
        "--file",
        &archive,
    ];
    let args = [&SHAPE[..], &rest].concat();
    tool::run_while("tar", &args, POLL, &mut || go_on(0))?
        .ok_or_else(ended)?
        .success()?;
    Ok(())
}

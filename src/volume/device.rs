//! What block devices hold, as libblkid sees it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::VolumeError;
use super::tool;
use crate::fsx::{self, FsError};

/// A look at a device; a disk that spins up or a slow card takes its time.
const LIMIT: Duration = Duration::from_secs(30);
/// `blkid -p`: nothing was found (blkid(8), Exit code).
const NOTHING: i32 = 2;

/// What a device holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// No signature of any kind.
    Nothing,
    /// A btrfs file system.
    Btrfs { uuid: String, label: String },
    /// Something else, in words.
    Other(String),
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Btrfs { uuid, label } if label.is_empty() => write!(f, "btrfs {uuid}"),
            Self::Btrfs { uuid, label } => write!(f, "btrfs \"{label}\" {uuid}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// A device and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    /// The node itself, links followed.
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) content: Content,
}

/// Looks at the device `path`.
pub(super) fn probe(path: &Path) -> Result<Probe, VolumeError> {
    let path = std::fs::canonicalize(path).map_err(FsError::wrap("find", path))?;
    let answer = tool::run(
        "blkid",
        &["-p", "-o", "export", &path.to_string_lossy()],
        None,
        LIMIT,
    )?;
    let content = match answer.code {
        0 => content(&answer.stdout),
        NOTHING => {
            // The same code stands for a device that cannot be read.
            readable(&path)?;
            Content::Nothing
        }
        _ => Content::Other("more than one signature".to_owned()),
    };
    Ok(Probe {
        bytes: bytes(&path)?,
        path,
        content,
    })
}

/// Where btrfs has its superblock, and in it what it is and which (btrfs-man5, "On-disk format").
const SUPERBLOCK: u64 = 64 * 1024;
const FSID_AT: usize = 0x20;
const MAGIC_AT: usize = 0x40;
const MAGIC: &[u8] = b"_BHRfS_M";

/// Devices with the file system `uuid`; more than one where a copy is attached. Each device that
/// the kernel has is read: a search by blkid(8) was seen to miss some while others came and went.
pub(super) fn holders(uuid: &str) -> Result<Vec<PathBuf>, VolumeError> {
    let wanted: String = uuid.chars().filter(|c| *c != '-').collect();
    let class = Path::new("/sys/class/block");
    let entries = std::fs::read_dir(class).map_err(FsError::wrap("read", class))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(Path::new("/dev").join(entry.ok()?.file_name())))
        .filter(|device| fsid(device).is_some_and(|fsid| fsid == wanted))
        .collect();
    found.sort();
    Ok(found)
}

/// The identity of the btrfs on a device, in hexadecimal.
fn fsid(device: &Path) -> Option<String> {
    use std::fmt::Write;
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    // A drive without a medium is not waited for.
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(device)
        .ok()?;
    let mut block = [0_u8; MAGIC_AT + 8];
    file.read_exact_at(&mut block, SUPERBLOCK).ok()?;
    (&block[MAGIC_AT..] == MAGIC).then(|| {
        let bytes = &block[FSID_AT..FSID_AT + 16];
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    })
}

/// The pairs that `blkid -o export` prints.
fn content(export: &str) -> Content {
    let get = |key: &str| {
        export
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(str::to_owned)
    };
    match (get("TYPE"), get("PTTYPE")) {
        (Some(kind), _) if kind == "btrfs" => Content::Btrfs {
            uuid: get("UUID").unwrap_or_default(),
            label: get("LABEL").unwrap_or_default(),
        },
        (Some(kind), _) => {
            let label = get("LABEL").map(|label| format!(" \"{label}\""));
            Content::Other(format!("{kind}{}", label.unwrap_or_default()))
        }
        (None, Some(table)) => Content::Other(format!("a {table} partition table")),
        // Entries of the partition itself, but no content.
        (None, None) => Content::Nothing,
    }
}

fn readable(path: &Path) -> Result<(), FsError> {
    use std::io::Read;
    let mut block = [0_u8; 4096];
    std::fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut block))
        .map_err(FsError::wrap("read", path))
}

/// Size in bytes: sysfs counts in sectors of 512 (kernel doc, ABI/stable/sysfs-block).
fn bytes(path: &Path) -> Result<u64, VolumeError> {
    let meta = std::fs::metadata(path).map_err(FsError::wrap("read", path))?;
    if meta.is_file() {
        return Ok(meta.len());
    }
    let name = path.file_name().unwrap_or_default();
    let file = Path::new("/sys/class/block").join(name).join("size");
    let text = fsx::read_text(&file, 64)?;
    let sectors: u64 = text.trim().parse().map_err(|_| VolumeError::Answer {
        command: file.display().to_string(),
        problem: format!("\"{}\" is no number", text.trim()),
    })?;
    Ok(sectors * 512)
}

/// The partition of the boot medium with this number, by the root of the kernel command line
/// (`root=PARTUUID=12345678-02`); absent when that is not the medium with this signature.
pub(super) fn partition(cmdline: &str, medium: &str, number: u32) -> Option<PathBuf> {
    let root = cmdline
        .split_whitespace()
        .rfind(|word| word.starts_with("root="))?;
    let (disk, _) = root.strip_prefix("root=PARTUUID=")?.split_once('-')?;
    (disk == medium).then(|| Path::new("/dev/disk/by-partuuid").join(format!("{disk}-{number:02}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_a_partition_table_and_nothing_are_told_apart() {
        let btrfs = "DEVNAME=/dev/sda\nUUID=0f0f\nLABEL=lucid-data\nTYPE=btrfs\nUSAGE=filesystem\n";
        assert_eq!(
            content(btrfs),
            Content::Btrfs {
                uuid: "0f0f".to_owned(),
                label: "lucid-data".to_owned()
            }
        );
        assert_eq!(
            content("DEVNAME=/dev/sda\nPTUUID=1\nPTTYPE=gpt\n"),
            Content::Other("a gpt partition table".to_owned())
        );
        assert_eq!(
            content("DEVNAME=/dev/sda1\nLABEL=photos\nTYPE=ext4\n"),
            Content::Other("ext4 \"photos\"".to_owned())
        );
        let entry = "DEVNAME=/dev/sda6\nPART_ENTRY_NUMBER=6\nPART_ENTRY_TYPE=0x83\n";
        assert_eq!(content(entry), Content::Nothing);
    }

    #[test]
    fn the_boot_medium_is_known_by_the_root_of_the_command_line() {
        let ours = "console=tty1 root=PARTUUID=1a2b3c4d-02 ro";
        let found = partition(ours, "1a2b3c4d", 6).unwrap();
        assert_eq!(found, Path::new("/dev/disk/by-partuuid/1a2b3c4d-06"));
        assert_eq!(
            partition(ours, "deadbeef", 6),
            None,
            "another machine's disk"
        );
        assert_eq!(partition("root=/dev/mmcblk0p2", "1a2b3c4d", 6), None);
        assert_eq!(partition("", "1a2b3c4d", 6), None);
    }
}

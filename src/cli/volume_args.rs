//! What `lucid volume` understands.

use std::path::PathBuf;

use clap::Subcommand;

use crate::units::{ByteSize, Span};
use crate::volume::{Kind, Name};

/// What is done without a supervisor.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum LocalVolumeCommand {
    /// Mount the data pool; the first start of a board makes it
    Prepare,
    /// Whether the data pool and all others are there; exits 3 when one is not
    Check,
    /// Pools beside the data pool: file systems on disks, partitions or files of their own; as root
    Pool {
        #[command(subcommand)]
        command: PoolCommand,
    },
    /// Ask the disks how they are, as root; with or without a supervisor. Exits 3 when one is not well
    Health {
        /// Leave the answer for the supervisor, which opens alerts by it; a timer of the image does that
        #[arg(long)]
        record: bool,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum PoolCommand {
    /// All pools: device, space, volumes
    List,
    /// Make a pool and mount it
    Create {
        /// Name: a-z, 0-9 and -
        name: Name,
        /// Disk or partition, such as /dev/disk/by-id/usb-...; or the path of a file
        #[arg(long, value_name = "DEVICE|FILE")]
        on: PathBuf,
        /// Size of the file, such as 20G
        #[arg(long, value_name = "SIZE")]
        size: Option<ByteSize>,
        /// The same device or file once more: ERASE what it holds
        #[arg(long, value_name = "DEVICE|FILE")]
        erase: Option<PathBuf>,
    },
    /// Take a btrfs file system that is there, with what it holds; also one that was exported
    Adopt {
        /// Name: a-z, 0-9 and -
        name: Name,
        /// Where it lies
        #[arg(long, value_name = "DEVICE|FILE")]
        on: PathBuf,
    },
    /// Let a pool fill its device; a file is made larger first
    Grow {
        /// Pool; `data` as well
        name: Name,
        /// New size of the file
        #[arg(long, value_name = "SIZE")]
        size: Option<ByteSize>,
    },
    /// Unmount a pool, so that its disk may be pulled
    Export {
        /// Pool
        name: Name,
    },
    /// Forget a pool without volumes; what is on it stays there
    Remove {
        /// Pool
        name: Name,
        /// The name once more
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
    },
    /// Mount all pools that are not mounted
    Mount,
    /// Tell the disks what is free; a timer of the image does that
    Trim,
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum VolumeCommand {
    #[command(flatten)]
    Local(LocalVolumeCommand),
    /// One line a volume
    List,
    /// Make a volume
    Create {
        /// Name: a-z, 0-9 and -
        name: Name,
        /// What it holds: mongodb, redis, elasticsearch, sessions, chunks, merkle, blocks, logs or backups
        #[arg(long = "type", value_name = "TYPE")]
        kind: Kind,
        /// Quota, such as 10G; volume.default_quota when left out
        #[arg(long, value_name = "SIZE")]
        size: Option<ByteSize>,
        /// Pool that it lies on; the data pool when left out
        #[arg(long, value_name = "POOL")]
        pool: Option<Name>,
    },
    /// Everything about one volume
    Info {
        /// Volume
        name: Name,
    },
    /// What it uses, how it grows, and when it will be full
    Usage {
        /// Volume
        name: Name,
    },
    /// How busy its disk is, and with what of its datastore: operations, bytes, time an operation
    Performance {
        /// Volume
        name: Name,
        /// How long to watch, 1s to 60s
        #[arg(long = "for", value_name = "TIME", default_value = "5s")]
        span: Span,
    },
    /// Change a quota
    Resize {
        /// Volume
        name: Name,
        /// New quota, such as 20G
        size: ByteSize,
    },
    /// Delete a volume and its snapshots
    Delete {
        /// Volume
        name: Name,
        /// The name once more
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
    },
    /// Snapshots: list, take, delete, schedule
    Snapshot {
        #[command(subcommand)]
        command: SnapshotCommand,
    },
    /// Put a snapshot in the place of a volume; the state it replaces is kept as a snapshot
    Rollback {
        /// Volume
        name: Name,
        /// Snapshot, as `snapshot list` shows it
        snapshot: String,
        /// The name of the volume once more
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
    },
    /// Remove files by age and name from volumes of logs, chunks and backups
    Cleanup {
        /// Volume
        name: Name,
        /// Unchanged for this time, such as 30d
        #[arg(long, value_name = "TIME")]
        older_than: Option<Span>,
        /// Name of the files, with * and ?
        #[arg(long, value_name = "PATTERN")]
        pattern: Option<String>,
        /// Only count them
        #[arg(long)]
        dry_run: bool,
    },
    /// Read the whole pool, compare it with its checksums, and name files of the volume that are damaged
    Verify {
        /// Volume
        name: Name,
        /// Do not wait for its end
        #[arg(long)]
        background: bool,
    },
    /// Write a volume into a file, as it is now; what was written is compared
    Backup {
        /// Volume
        name: Name,
        /// New file, such as /data/backups/blocks.tar.gz; what it is stands beside it, in FILE.json
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// Do not wait for its end
        #[arg(long)]
        background: bool,
    },
    /// Put such a file in the place of a volume, or make it anew; the state it replaces is kept as a snapshot
    Restore {
        /// Volume
        name: Name,
        /// File that `backup` wrote
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// The name of the volume once more, when it is there
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
        /// Do not wait for its end
        #[arg(long)]
        background: bool,
    },
    /// Move a volume to another pool while it is in use; its datastore is away for seconds
    Migrate {
        /// Volume
        name: Name,
        /// Pool, as `pool list` shows it
        #[arg(long, value_name = "POOL", required_unless_present = "give_up")]
        to: Option<Name>,
        /// Remove what a migration that was cut off has copied
        #[arg(long, conflicts_with = "to")]
        give_up: bool,
        /// Do not wait for its end
        #[arg(long)]
        background: bool,
    },
    /// Put the pieces of files together
    Defragment {
        /// Volume
        name: Name,
        /// Snapshots may stop sharing what is rewritten, at the cost of its size
        #[arg(long)]
        unshare: bool,
        /// Do not wait for its end
        #[arg(long)]
        background: bool,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum SnapshotCommand {
    /// Snapshots of a volume, oldest first
    List {
        /// Volume
        name: Name,
    },
    /// Take one, of what the disk has at this moment
    Take {
        /// Volume
        name: Name,
        /// Let the datastore flush first, so that it needs no recovery from it
        #[arg(long)]
        quiesce: bool,
    },
    /// Delete one
    Delete {
        /// Volume
        name: Name,
        /// Snapshot, as `list` shows it
        snapshot: String,
    },
    /// Take them by time and keep so many
    Schedule {
        /// Volume
        name: Name,
        /// Time between two, such as 1h
        #[arg(long, value_name = "TIME", required_unless_present = "off")]
        every: Option<Span>,
        /// How many scheduled ones stay
        #[arg(long, default_value_t = 24)]
        keep: u32,
        /// End the schedule
        #[arg(long)]
        off: bool,
    },
}

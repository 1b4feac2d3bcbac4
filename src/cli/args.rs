//! The command line's definition; completions and manual pages are made from it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::Role;
use crate::panel::Pattern;
use crate::units::{ByteSize, Span};
use crate::volume::{Kind, Name};

/// The database appliance: a document store, a cache and search, supervised, tuned and visible.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the appliance is degraded or failed (status),
/// 4 refused for safety.
#[derive(Debug, Parser)]
#[command(name = "lucid", version, about, long_about, max_term_width = 100)]
pub(super) struct Args {
    /// Put every path of the appliance (etc, run, data) under this directory
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    pub(super) root: PathBuf,
    /// Read this configuration instead of etc/lucid/lucid.toml under the root
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print exactly one JSON document on stdout; messages go to stderr
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the appliance in the foreground: the daemon
    Supervise {
        /// Touch no hardware and no kernel knob: a made-up Raspberry Pi 4, said so everywhere
        #[arg(long)]
        simulate: bool,
        /// Feed this hardware watchdog while the supervisor is healthy
        #[arg(long, value_name = "DEVICE", conflicts_with = "simulate")]
        watchdog: Option<PathBuf>,
        /// Show the state on this terminal at each change
        #[arg(long, value_name = "TTY")]
        console: Option<PathBuf>,
    },
    /// Show the appliance's health
    Status {
        /// Follow it until interrupted, with the lights as they blink
        #[arg(long)]
        watch: bool,
    },
    /// Look for what is wrong with this machine and this root, without a running supervisor
    Doctor,
    /// Kernel knobs
    Tune {
        #[command(subcommand)]
        command: TuneCommand,
    },
    /// List, start, stop and restart datastores
    Datastore {
        #[command(subcommand)]
        command: DatastoreCommand,
    },
    /// What a datastore's engine writes
    Logs {
        /// Datastore
        name: Role,
        /// Go on with new lines until interrupted
        #[arg(short, long)]
        follow: bool,
        /// How many of the last lines
        #[arg(short = 'n', long, default_value_t = 100)]
        lines: usize,
    },
    /// The embedded search engine; started by the supervisor
    SearchNode {
        /// What the supervisor rendered for it
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// What the entities of Lucid need of the datastores
    Schema {
        #[command(subcommand)]
        command: SchemaCommand,
    },
    /// The data pool and its volumes
    Volume {
        #[command(subcommand)]
        command: VolumeCommand,
    },
    /// Long work
    Job {
        #[command(subcommand)]
        command: JobCommand,
    },
    /// Lights and button
    Panel {
        #[command(subcommand)]
        command: PanelCommand,
    },
    /// The configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Passwords of the datastores
    Credentials {
        #[command(subcommand)]
        command: CredentialsCommand,
    },
    /// Print a completion script for a shell
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages into a directory
    Man {
        /// Directory, made where missing
        directory: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum TuneCommand {
    /// Show every knob: wanted, found, why
    Plan,
    /// Set the knobs and read them back
    Apply,
    /// Read the knobs back; exits 3 when one is not as wanted
    Check,
    /// Put the knobs back as they were found
    Revert,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum DatastoreCommand {
    /// One line a datastore
    List,
    /// Start a stopped or failed datastore and wait until it is ready
    Start {
        /// Datastore
        name: Role,
    },
    /// Stop a datastore until it is started again
    Stop {
        /// Datastore
        name: Role,
    },
    /// Stop and start a datastore and wait until it is ready
    Restart {
        /// Datastore
        name: Role,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum PanelCommand {
    /// What the lights say, what drives them, and why nothing better does
    Show {
        /// Draw them as they blink, until interrupted
        #[arg(long)]
        watch: bool,
    },
    /// Walk through every state
    Test,
    /// Blink so that somebody finds this box among others
    Identify {
        /// How long: 1s to 1h
        #[arg(long = "for", value_name = "TIME", default_value = "60s")]
        length: Span,
        /// Show the state again, now
        #[arg(long)]
        stop: bool,
    },
    /// Hand one pattern to the lights and end; for units that run while no supervisor does
    #[command(hide = true)]
    Hold {
        /// Pattern
        #[arg(value_parser = pattern)]
        pattern: Pattern,
    },
}

fn pattern(name: &str) -> Result<Pattern, String> {
    Pattern::by_name(name).ok_or_else(|| {
        let names: Vec<_> = Pattern::ALL.iter().map(|pattern| pattern.name()).collect();
        format!("there is no such pattern; there are {}", names.join(", "))
    })
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the configuration; says file, line and key of every fault
    Check,
    /// Print the configuration in force
    Show {
        /// With the memory plan for this board
        #[arg(long)]
        effective: bool,
    },
    /// Print the documented default file
    Default,
    /// Check a changed file and make it the configuration; one that is not valid changes nothing
    Take {
        /// File, such as lucid.toml on the firmware partition
        file: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum SchemaCommand {
    /// Create or update templates, lifecycle policies, first indices and aliases of the running search engine; doing it again changes nothing
    Apply {
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
        /// This datastore alone
        #[arg(long, value_name = "DATASTORE")]
        only: Option<SchemaPart>,
        /// Put Lucid's lifecycle policies also in the place of those that delete at another age; they are kept otherwise
        #[arg(long)]
        reset_policies: bool,
    },
    /// Print the requests that make the schema, without an engine
    Show,
}

/// A datastore that has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum SchemaPart {
    Search,
}

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
pub(super) enum JobCommand {
    /// Long work, newest first
    List,
    /// One job: how far it is, and what came of it
    Show {
        /// Job, as `list` shows it
        id: String,
    },
    /// Ask a job to end
    Cancel {
        /// Job, as `list` shows it
        id: String,
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

#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum CredentialsCommand {
    /// Print a connection URI with user and password
    Show {
        /// Datastore
        name: Role,
    },
    /// Give the client account a new password, without a restart
    Rotate {
        /// Datastore
        name: Role,
    },
}

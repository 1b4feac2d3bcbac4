//! The command line's definition; completions and manual pages are made from it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::backup_args::BackupCommand;
use super::volume_args::VolumeCommand;
use crate::api::public::ApiRole;
use crate::config::Role;
use crate::panel::Pattern;
use crate::units::Span;

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
    /// Keys of the HTTP API
    Api {
        #[command(subcommand)]
        command: ApiCommand,
    },
    /// Print the description of the HTTP API (OpenAPI, JSON)
    Openapi,
    /// The search indices of the platform
    Search {
        #[command(subcommand)]
        command: SearchCommand,
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
    /// Backups: make, check, rehearse, restore
    Backup {
        #[command(subcommand)]
        command: BackupCommand,
    },
    /// The process that works on backups, as the supervisor starts it
    #[command(hide = true)]
    BackupWorker,
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

#[derive(Debug, Clone, Subcommand)]
pub(super) enum SearchCommand {
    /// Put every document into the indices of its kind anew, and take out what is none any more
    Reindex {
        /// `sessions`, `blocks`, `transactions`, `manifests`, `audit-logs` or `users`; all without one
        entity: Option<String>,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum ApiCommand {
    /// Keys of the HTTP API: create, list, revoke
    #[command(subcommand)]
    Key(ApiKeyCommand),
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum ApiKeyCommand {
    /// Make a key and print it: nobody can show it again
    Create {
        /// What it is called
        name: String,
        /// What it may: look, change data, or change the appliance
        #[arg(long, default_value = "reader")]
        role: ApiRole,
        /// It ends after so many days
        #[arg(long)]
        days: Option<u32>,
    },
    /// All keys, without the keys
    List,
    /// End a key, at once
    Revoke {
        /// As `list` shows it
        name: String,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum SchemaCommand {
    /// Create or update collections, validators and indexes, templates, lifecycle policies, first indices and aliases; doing it again changes nothing, and nothing is dropped
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
    /// Tell what is missing or another than it should be; exits with 1 where something is
    Check {
        /// This datastore alone
        #[arg(long, value_name = "DATASTORE")]
        only: Option<SchemaPart>,
    },
    /// Print what there is to be, without an engine
    Show {
        /// This datastore alone
        #[arg(long, value_name = "DATASTORE")]
        only: Option<SchemaPart>,
    },
}

/// A datastore that has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum SchemaPart {
    Document,
    Search,
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

//! `lucid backup`.

use std::io::{Read, Write};
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use super::backup_args::{BackupCommand, KeyCommand, Of, Restore, Scope};
use super::output::Out;
use super::{CliError, Done, job};
use crate::api::Client;
use crate::backup::Key;
use crate::backup::request::What;
use crate::paths::Paths;
use crate::supervisor::{RestoreScope, WantedRestore, backup_key_file};
use crate::units::human_bytes;

fn pair(text: &str) -> Result<(String, String), CliError> {
    text.split_once('.')
        .filter(|(db, name)| !db.is_empty() && !name.is_empty())
        .map(|(db, name)| (db.to_owned(), name.to_owned()))
        .ok_or_else(|| {
            CliError::Refused(format!(
                "{text:?} is no collection: write DATABASE.COLLECTION, such as lucid.sessions"
            ))
        })
}

impl Restore {
    fn wanted(self) -> Result<WantedRestore, CliError> {
        let scope = match self.scope {
            Scope::Everything => RestoreScope::Everything,
            Scope::Datastore { name } => RestoreScope::Datastore { role: name },
            Scope::Volume { name } => RestoreScope::Volume { name },
            Scope::Collection { name, to } => {
                let (db, collection) = pair(&name)?;
                let to = pair(to.as_deref().unwrap_or(&name))?;
                let what = What::Collection {
                    db,
                    name: collection,
                    to,
                };
                RestoreScope::Piece { what }
            }
            Scope::Index { name, to } => RestoreScope::Piece {
                what: What::Index {
                    to: to.unwrap_or_else(|| name.clone()),
                    name,
                },
            },
            Scope::Keys { prefix } => RestoreScope::Piece {
                what: What::Keys { prefix },
            },
        };
        Ok(WantedRestore {
            repository: self.of.repository,
            backup: self.backup,
            at: self.at,
            scope,
            confirm: self.confirm,
            dry_run: self.dry_run,
        })
    }
}

/// `?repository=…&backup=…`
fn query(of: &Of, backup: Option<&str>) -> String {
    let pairs = [("repository", of.repository.as_deref()), ("backup", backup)];
    let pairs: Vec<_> = pairs
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", super::volume::encoded(value?))))
        .collect();
    if pairs.is_empty() {
        String::new()
    } else {
        format!("?{}", pairs.join("&"))
    }
}

pub(super) async fn run(
    paths: &Paths,
    command: BackupCommand,
    out: &mut Out,
) -> Result<Done, CliError> {
    let client = Client::new(paths)?;
    let (path, body, background) = match command {
        BackupCommand::List => return list(&client, out).await,
        BackupCommand::Key { command } => return key(paths, &client, command, out).await,
        BackupCommand::Create { of, follow } => (
            format!("/backups{}", query(&of, None)),
            None,
            follow.background,
        ),
        BackupCommand::Verify { of, follow } => (
            format!("/backups/verify{}", query(&of, None)),
            None,
            follow.background,
        ),
        BackupCommand::Drill { of, backup, follow } => (
            format!("/backups/drill{}", query(&of, Some(&backup))),
            None,
            follow.background,
        ),
        BackupCommand::Prune { of, follow } => (
            format!("/backups/prune{}", query(&of, None)),
            None,
            follow.background,
        ),
        BackupCommand::Unlock { of, follow } => (
            format!("/backups/unlock{}", query(&of, None)),
            None,
            follow.background,
        ),
        BackupCommand::Restore(restore) => {
            let background = restore.background;
            let body = serde_json::to_value(restore.wanted()?)
                .map_err(|error| CliError::Other(error.to_string()))?;
            ("/backups/restore".to_owned(), Some(body), background)
        }
    };
    let started = client.request(Method::POST, &path, body.as_ref()).await?;
    job::follow(&client, started, background, out).await
}

async fn list(client: &Client, out: &mut Out) -> Result<Done, CliError> {
    let answer = client.request(Method::GET, "/backups", None).await?;
    let repositories = answer.as_array().cloned().unwrap_or_default();
    let unwell = repositories.iter().any(|one| !one["problem"].is_null());
    if !out.json(&answer)? {
        for one in &repositories {
            for line in lines(one) {
                out.line(&line)?;
            }
        }
    }
    Ok(if unwell { Done::Unhealthy } else { Done::Well })
}

fn lines(one: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = vec![format!(
        "{} at {}{}",
        text(&one["repository"]),
        text(&one["place"]),
        if one["append_only"] == true {
            ", append-only"
        } else {
            ""
        }
    )];
    if let Some(problem) = one["problem"].as_str() {
        lines.push(format!("    {problem}"));
    }
    for (what, key) in [("verified", "verified"), ("drill", "drilled")] {
        if let Some(message) = one[key]["message"].as_str() {
            let well = if one[key]["well"] == true {
                ""
            } else {
                "FAILED: "
            };
            lines.push(format!(
                "    {what} {}: {well}{message}",
                text(&one[key]["at"])
            ));
        }
    }
    for backup in one["backups"].as_array().into_iter().flatten() {
        let parts = backup["parts"].as_array().cloned().unwrap_or_default();
        let sum = |key: &str| {
            let bytes = parts.iter().filter_map(|part| part[key].as_u64()).sum();
            human_bytes(bytes)
        };
        let names: Vec<_> = parts.iter().map(|part| text(&part["name"])).collect();
        lines.push(format!(
            "    {}  {} in {}, {} written: {}",
            text(&backup["id"]),
            sum("bytes"),
            text(&backup["host"]),
            sum("added"),
            names.join(", ")
        ));
    }
    lines
}

fn read_key(paths: &Paths) -> Result<Key, CliError> {
    Key::read(&backup_key_file(paths)).map_err(|error| {
        CliError::Refused(format!(
            "{error}; the first `lucid backup create` makes a key. It is read as root"
        ))
    })
}

async fn key(
    paths: &Paths,
    client: &Client,
    command: KeyCommand,
    out: &mut Out,
) -> Result<Done, CliError> {
    let body = match command {
        KeyCommand::Show => {
            let key = read_key(paths)?;
            if !out.json(&json!({ "words": key.words() }))? {
                for (at, words) in key
                    .words()
                    .split(' ')
                    .collect::<Vec<_>>()
                    .chunks(4)
                    .enumerate()
                {
                    out.line(&format!(
                        "{:>2}-{:<2}  {}",
                        at * 4 + 1,
                        at * 4 + 4,
                        words.join(" ")
                    ))?;
                }
                out.line(
                    "Write these words down and keep them apart from the appliance. Whoever has \
                     them can read every backup; without them nobody can.",
                )?;
            }
            json!({})
        }
        KeyCommand::Export { file } => {
            if file.exists() {
                return Err(CliError::Refused(format!(
                    "{} is there already; name another file",
                    file.display()
                )));
            }
            read_key(paths)?
                .write(&file)
                .map_err(|error| CliError::Refused(error.to_string()))?;
            out.line(&format!("the key is in {}", file.display()))?;
            json!({})
        }
        KeyCommand::Import { file } => {
            let words = read_words(&file)?;
            json!({ "words": words })
        }
    };
    let changed = body.get("words").is_some();
    client
        .request(Method::POST, "/backups/key", Some(&body))
        .await?;
    if changed && !out.is_json() {
        out.line("the key is taken over; one that was there before is kept beside it")?;
    }
    Ok(Done::Well)
}

fn read_words(file: &Path) -> Result<String, CliError> {
    let mut words = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut words).map(drop)
    } else {
        std::fs::read_to_string(file).map(|text| words = text)
    };
    read.map_err(|error| CliError::Refused(format!("{}: {error}", file.display())))?;
    Ok(words)
}

/// Name in process lists; the kernel takes 15 bytes.
const NAME: &std::ffi::CStr = c"lucid-backup";
/// Every client comes first.
const NICE: i32 = 10;

/// The process that works on backups: a request on its input, lines on its output.
pub(super) fn work() -> Done {
    crate::journal::init_engine();
    // What is on its way belongs to nobody else.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    // Nor does it go on without the supervisor; and it ends before any engine that serves.
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    let _ = std::fs::OpenOptions::new()
        .write(true)
        .open("/proc/self/oom_score_adj")
        .and_then(|mut file| file.write_all(b"500"));
    // Courtesies: without them it works all the same.
    let _ = nix::sys::prctl::set_name(NAME);
    let _ = rustix::process::nice(NICE);
    if crate::backup::worker::run(std::io::stdin(), std::io::stdout()) {
        Done::Well
    } else {
        Done::Failed
    }
}

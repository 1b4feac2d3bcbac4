//! The process that does it: one request on its input, lines on its output, then it ends.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::compare::compare;
use super::manifest::{Facts, Manifest};
use super::rebuild::{self, Rebuilt, rebuild};
use super::request::{Answer, Fetch, Line, Rebuild, Request, Target, Work};
use super::{BackupError, Key, Repository, create, document, insert, verify};
use crate::fsx::{self, FsError};

/// How often it says how far it is.
const TELL: Duration = Duration::from_millis(500);
const MAX_REQUEST: u64 = 16 << 20;

/// Says what happens, a line each.
struct Teller<W>(Arc<Mutex<W>>);

impl<W> Clone for Teller<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Write> Teller<W> {
    fn tell(&self, line: &Line) {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = serde_json::to_string(line).unwrap_or_default();
        // Whoever asked may be gone; the work is worth its end all the same.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

/// Reads a request and does it. Answers whether it was done; why not was told.
pub fn run(input: impl Read, output: impl Write + Send + 'static) -> bool {
    // What a library ends so is caught and told; half a page of it is of use to nobody.
    std::panic::set_hook(Box::new(|panic| {
        if let Some(at) = panic.location() {
            tracing::warn!("work was ended at {}:{}", at.file(), at.line());
        }
    }));
    let teller = Teller(Arc::new(Mutex::new(output)));
    let result = read(input).and_then(|request| work(&request, &teller));
    match result {
        Ok(answer) => {
            teller.tell(&Line::Done { answer });
            true
        }
        Err(error) => {
            let message = error.to_string();
            teller.tell(&Line::Failed { message });
            false
        }
    }
}

fn read(input: impl Read) -> Result<Request, BackupError> {
    let wrong =
        |cause: String| BackupError::Refused(format!("the request cannot be read: {cause}"));
    let mut text = String::new();
    input
        .take(MAX_REQUEST)
        .read_to_string(&mut text)
        .map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}

fn work<W: Write + Send + 'static>(
    request: &Request,
    teller: &Teller<W>,
) -> Result<Answer, BackupError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| BackupError::Refused(error.to_string()))?;
    let handle = runtime.handle();
    let key = Key::parse(&request.key).map_err(|error| BackupError::Refused(error.to_string()))?;
    let repository = Repository::open(request, &key, handle)?;
    let (stop, stopped) = mpsc::channel::<()>();
    let (meter, told) = (repository.meter().clone(), teller.clone());
    let telling = std::thread::spawn(move || {
        let mut last = (0, 0);
        while stopped.recv_timeout(TELL) == Err(RecvTimeoutError::Timeout) {
            let (done, total) = meter.get();
            if (done, total) != last {
                last = (done, total);
                told.tell(&Line::Progress { done, total });
            }
        }
    });
    let phase = |text: &str| {
        teller.tell(&Line::Phase {
            text: text.to_owned(),
        });
    };
    let answer = act(&repository, request, handle, &phase);
    drop(stop);
    if telling.join().is_err() {
        tracing::error!("progress is not told any more");
    }
    answer
}

fn act(
    repository: &Repository,
    request: &Request,
    runtime: &tokio::runtime::Handle,
    phase: &dyn Fn(&str),
) -> Result<Answer, BackupError> {
    // Drivers clean up on it when they are dropped.
    let _entered = runtime.enter();
    match &request.work {
        Work::Create(wanted) => create::create(repository, wanted, &request.host, runtime, phase),
        Work::List => {
            let (found, problems) = repository.manifests()?;
            Ok(Answer::Backups {
                backups: found.into_iter().map(|(_, manifest)| manifest).collect(),
                problems,
                append_only: repository.is_append_only(),
            })
        }
        Work::Verify { share } => {
            let _beside_others = repository.claim(false)?;
            phase("reading the repository");
            let checked = verify::verify(repository, *share)?;
            Ok(Answer::Verified { checked })
        }
        Work::Forget { keep } => Ok(Answer::Forgotten {
            backups: repository.forget(keep)?,
        }),
        Work::Unlock => Ok(Answer::Unlocked {
            claims: repository.unlock()?,
        }),
        Work::Drill(wanted) => drill(repository, wanted, &request.host, runtime, phase),
        Work::Rebuild(wanted) => put_back(repository, wanted, &request.host, runtime, phase),
        Work::Fetch(wanted) => {
            let _beside_others = repository.claim(false)?;
            let manifest = chosen(repository, &request.host, &wanted.backup)?;
            fetch(repository, &manifest, wanted)
        }
        Work::Insert(wanted) => {
            let _beside_others = repository.claim(false)?;
            let manifest = chosen(repository, &request.host, &wanted.backup)?;
            let done = insert::insert(repository, &manifest, wanted, runtime, phase);
            rebuild::remove(&wanted.scratch)?;
            done
        }
    }
}

/// The backup that is meant; `latest` is this appliance's own where it has one, and none that a clock
/// put into the future.
fn chosen(repository: &Repository, host: &str, id: &str) -> Result<Manifest, BackupError> {
    let (found, problems) = repository.manifests()?;
    let found = found.into_iter().map(|(_, manifest)| manifest).collect();
    select(found, host, id).ok_or_else(|| {
        BackupError::Refused(format!(
            "the repository {} has no backup {id:?}; `lucid backup list` shows all{}",
            repository.place(),
            problems
                .first()
                .map_or_else(String::new, |one| format!(" ({one})"))
        ))
    })
}

/// See [`chosen`].
pub fn select(mut found: Vec<Manifest>, host: &str, id: &str) -> Option<Manifest> {
    if id != "latest" {
        let at = found.iter().position(|manifest| manifest.id == id)?;
        return Some(found.swap_remove(at));
    }
    let now = crate::status::now_rfc3339();
    let past = |one: &&Manifest| one.taken <= now;
    let own = found.iter().filter(past).filter(|one| one.host == host);
    let latest = own
        .max_by(|one, two| one.taken.cmp(&two.taken))
        .or_else(|| {
            found
                .iter()
                .filter(past)
                .max_by(|one, two| one.taken.cmp(&two.taken))
        })
        .or(found.last())?;
    Some(latest.clone())
}

fn fetch(
    repository: &Repository,
    manifest: &Manifest,
    wanted: &Fetch,
) -> Result<Answer, BackupError> {
    let part = manifest.part(&wanted.part).ok_or_else(|| {
        let there: Vec<_> = manifest
            .parts
            .iter()
            .map(|part| part.name.as_str())
            .collect();
        BackupError::Refused(format!(
            "backup {} has no part {:?}; it has {}",
            manifest.id,
            wanted.part,
            there.join(", ")
        ))
    })?;
    if !wanted.dry_run {
        // Nobody else reads what is on its way.
        fsx::create_dir(&wanted.to, 0o700)?;
    }
    let (files, bytes) =
        repository.restore(&part.snapshot, &wanted.below, &wanted.to, wanted.dry_run)?;
    let whole = wanted.below == format!("/{}", part.name.replace(':', "/"));
    if let (
        Facts::Files {
            owner: Some(owner), ..
        },
        true,
        false,
    ) = (&part.facts, whole, wanted.dry_run)
    {
        belongs(&wanted.to, *owner)?;
    }
    Ok(Answer::Fetched {
        backup: manifest.id.clone(),
        facts: part.facts.clone(),
        files,
        bytes,
    })
}

/// The directory of a volume itself, which no snapshot has.
fn belongs(path: &Path, (mode, uid, gid): (u32, u32, u32)) -> Result<(), BackupError> {
    use std::os::unix::fs::PermissionsExt;
    if nix::unistd::Uid::effective().is_root() {
        std::os::unix::fs::chown(path, Some(uid), Some(gid))
            .map_err(FsError::wrap("change the owner of", path))?;
    }
    Ok(
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(FsError::wrap("set the mode of", path))?,
    )
}

/// What a power cut or an end on request left is removed first.
fn empty(scratch: &Path) -> Result<(), BackupError> {
    rebuild::remove(scratch)?;
    super::scratch::passable(scratch)
}

/// An engine that serves what was backed up, and what was compared.
fn rebuild_and_compare(
    repository: &Repository,
    manifest: &Manifest,
    target: &Target,
    wanted: &Rebuild,
    runtime: &tokio::runtime::Handle,
    phase: &dyn Fn(&str),
) -> Result<(Rebuilt, Vec<String>), BackupError> {
    let scratch = &wanted.scratch;
    let rebuilt = runtime.block_on(rebuild(repository, manifest, target, scratch, phase))?;
    phase(&format!("comparing {}", target.store.role));
    let compared = runtime.block_on(compare(manifest, &target.store, &rebuilt))?;
    Ok((rebuilt, compared))
}

fn drill(
    repository: &Repository,
    wanted: &Rebuild,
    host: &str,
    runtime: &tokio::runtime::Handle,
    phase: &dyn Fn(&str),
) -> Result<Answer, BackupError> {
    let began = Instant::now();
    let _beside_others = repository.claim(false)?;
    let manifest = chosen(repository, host, &wanted.backup)?;
    empty(&wanted.scratch)?;
    let compared: Result<_, BackupError> = (|| {
        let mut compared = Vec::new();
        for target in &wanted.stores {
            let (rebuilt, said) =
                rebuild_and_compare(repository, &manifest, target, wanted, runtime, phase)?;
            compared.extend(said);
            runtime.block_on(rebuilt.engine.stop())?;
            if !rebuilt.accounts.differing.is_empty() {
                return Err(BackupError::Refused(rebuilt.accounts.differing.join("; ")));
            }
            // One at a time: there is no room for all.
            rebuild::remove(&target.data)?;
        }
        for part in &manifest.parts {
            let Facts::Files { files: known, .. } = &part.facts else {
                continue;
            };
            phase(&format!("restoring {}", part.name));
            let to = wanted.scratch.join("files");
            let below = format!("/{}", part.name.replace(':', "/"));
            fsx::create_dir(&to, 0o700)?;
            let (files, bytes) = repository.restore(&part.snapshot, &below, &to, false)?;
            if files != *known {
                return Err(BackupError::Refused(format!(
                    "{} has {files} files after the restore, {known} were backed up",
                    part.name
                )));
            }
            repository.compare_files(&part.snapshot, &below, &to)?;
            compared.push(format!(
                "{}: {files} files with {bytes} bytes, every hash equal",
                part.name
            ));
            rebuild::remove(&to)?;
        }
        Ok(compared)
    })();
    rebuild::remove(&wanted.scratch)?;
    Ok(Answer::Drilled {
        backup: manifest.id,
        compared: compared?,
        seconds: began.elapsed().as_secs_f64(),
    })
}

fn put_back(
    repository: &Repository,
    wanted: &Rebuild,
    host: &str,
    runtime: &tokio::runtime::Handle,
    phase: &dyn Fn(&str),
) -> Result<Answer, BackupError> {
    let _beside_others = repository.claim(false)?;
    let (found, _) = repository.manifests()?;
    let all: Vec<_> = found.into_iter().map(|(_, manifest)| manifest).collect();
    let (manifest, logs) = match wanted.until {
        None => (chosen(repository, host, &wanted.backup)?, Vec::new()),
        Some(until) => {
            let (base, logs) = document::chain(&all, host, until).map_err(BackupError::Refused)?;
            (base.clone(), logs)
        }
    };
    empty(&wanted.scratch)?;
    let restored: Result<_, BackupError> = (|| {
        let mut restored = Vec::new();
        for target in &wanted.stores {
            let (
                Rebuilt {
                    engine, accounts, ..
                },
                said,
            ) = rebuild_and_compare(repository, &manifest, target, wanted, runtime, phase)?;
            restored.extend(said);
            // The documents are what they were: they are not held back for it.
            restored.extend(accounts.differing);
            restored.extend(accounts.notices);
            if let Some(until) = wanted.until {
                phase("applying what changed after it");
                let login = &target.store.credentials.supervisor;
                let client = document::connect(engine.address, login)?;
                restored.push(later(repository, &client, &logs, until, wanted, runtime)?);
            }
            runtime.block_on(engine.stop())?;
            rebuild::finish(target)?;
        }
        for one in &wanted.files {
            phase(&format!("restoring {}", one.part));
            fetch(repository, &manifest, one)?;
            if let Some(part) = manifest.part(&one.part) {
                repository.compare_files(&part.snapshot, &one.below, &one.to)?;
            }
            restored.push(format!("{} lies in {}", one.part, one.to.display()));
        }
        Ok(restored)
    })();
    rebuild::remove(&wanted.scratch)?;
    Ok(Answer::Rebuilt {
        restored: restored?,
        manifest: Box::new(manifest),
    })
}

/// Applies the logs up to a moment.
fn later(
    repository: &Repository,
    client: &mongodb::Client,
    logs: &[&Manifest],
    until: u32,
    wanted: &Rebuild,
    runtime: &tokio::runtime::Handle,
) -> Result<String, BackupError> {
    let mut count = 0;
    for one in logs {
        let Some(part) = one.part(document::PART) else {
            continue;
        };
        let dir = wanted.scratch.join("log");
        rebuild::remove(&dir)?;
        fsx::create_dir(&dir, 0o700)?;
        let file = dir.join("oplog.bson");
        repository.restore(&part.snapshot, document::LOG, &file, false)?;
        count += runtime.block_on(document::replay(client, &file, until))?;
        rebuild::remove(&dir)?;
    }
    Ok(format!("{count} changes after it were applied"))
}

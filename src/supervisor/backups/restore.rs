//! Restores: made beside what is there, compared, and put in its place in one step. What they
//! replace is kept.

use tokio::runtime::Handle as Runtime;

use super::super::credentials;
use super::super::handle::{CommandError, Handle};
use super::super::jobs::{Job, Progress};
use super::commands::{host, scratch};
use super::sources;
use super::wanted::{Scope, Wanted, describe, moment, names};
use crate::backup::manifest::{Facts, Manifest};
use crate::backup::request::{Answer, Fetch, Insert, Rebuild, Target, What, Work};
use crate::backup::worker::select;
use crate::config::{BackupRepository, Role};
use crate::engine::Credentials;
use crate::fsx;
use crate::paths::Paths;
use crate::volume::{Kind, Manager, Name, Staging};

/// A datastore or volume that is made anew.
struct Coming {
    name: Name,
    role: Option<Role>,
    staging: Staging,
    /// The volume was made for it.
    made: bool,
    /// Passwords that come with it.
    credentials: Option<Credentials>,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Handle {
    /// Restores, as a job.
    ///
    /// # Errors
    /// [`CommandError`] where it cannot begin.
    pub async fn restore_backup(&self, wanted: Wanted) -> Result<Job, CommandError> {
        let of = self.backups.repository(wanted.repository.as_deref())?;
        if let Scope::Datastore { role } = &wanted.scope {
            self.is_enabled(*role)?;
        }
        if let Some(at) = &wanted.at {
            moment(at, &wanted.scope)?;
        }
        let confirmed = wanted.scope.replaces();
        if let Some(name) = confirmed.filter(|_| !wanted.dry_run)
            && wanted.confirm.as_deref() != Some(&name)
        {
            return Err(CommandError::Invalid(format!(
                "what {name} holds now would be replaced by that of backup {} (and kept as a \
                 snapshot where the pool can); say so with --confirm {name}, or look first with \
                 --dry-run",
                wanted.backup
            )));
        }
        let name = of.name.clone();
        self.begin_backup("restore", &name, move |handle, progress, runtime| {
            handle.restore_from(&of, &wanted, progress, runtime)
        })
        .await
    }

    fn is_enabled(&self, role: Role) -> Result<(), CommandError> {
        let plan = self.backups.plan();
        if plan.config.enabled().any(|common| common.role == role) {
            return Ok(());
        }
        Err(CommandError::NotEnabled(role))
    }

    /// Runs on the job's own thread.
    fn restore_from(
        &self,
        of: &BackupRepository,
        wanted: &Wanted,
        progress: &Progress,
        runtime: &Runtime,
    ) -> Result<String, String> {
        let manifest = self.chosen(of, &wanted.backup, progress)?;
        if wanted.dry_run {
            return describe(&manifest, &wanted.scope);
        }
        match &wanted.scope {
            Scope::Piece { what } => self.insert(of, &manifest, what, progress),
            scope => {
                let at = wanted.at.as_deref().map(|at| moment(at, scope));
                let until = at.transpose().map_err(text)?;
                self.replace(of, &manifest, scope, until, (progress, runtime))
            }
        }
    }

    fn chosen(
        &self,
        of: &BackupRepository,
        id: &str,
        progress: &Progress,
    ) -> Result<Manifest, String> {
        let Answer::Backups {
            backups, problems, ..
        } = self.backups.run(of, Work::List, progress)?
        else {
            return Err("the repository could not be listed".to_owned());
        };
        let host = host(&self.backups.plan().paths);
        select(backups, &host, id).ok_or_else(|| {
            format!(
                "repository {} has no backup {id:?}; `lucid backup list` shows all{}",
                of.name,
                problems
                    .first()
                    .map_or_else(String::new, |one| format!(" ({one})"))
            )
        })
    }

    fn insert(
        &self,
        of: &BackupRepository,
        manifest: &Manifest,
        what: &What,
        progress: &Progress,
    ) -> Result<String, String> {
        let plan = self.backups.plan();
        let role = match what {
            What::Collection { .. } => Role::Document,
            What::Index { .. } => Role::Search,
            What::Keys { .. } => Role::Cache,
        };
        self.is_enabled(role).map_err(text)?;
        let store = sources::store(&plan, role).map_err(text)?;
        // Keys take the place of others: what is there now is kept aside first.
        let kept = if matches!(what, What::Keys { .. }) {
            self.keep_aside(role)?
        } else {
            String::new()
        };
        let work = Work::Insert(Box::new(Insert {
            backup: manifest.id.clone(),
            store,
            scratch: scratch(&plan.paths),
            what: what.clone(),
        }));
        match self.backups.run(of, work, progress)? {
            Answer::Inserted { message } => Ok(format!("{message}{kept}")),
            other => Err(format!("unexpected: {other:?}")),
        }
    }

    fn keep_aside(&self, role: Role) -> Result<String, String> {
        let name: Name = role.volume().parse().map_err(text)?;
        let manager = self.volumes.manager()?;
        match manager.snapshot(&name, crate::volume::Origin::Manual) {
            Ok(snapshot) => Ok(format!(
                "; what was there before is snapshot {} of volume {name}",
                snapshot.id
            )),
            // A plain directory keeps nothing.
            Err(crate::volume::OpError::Unsupported { .. }) => Ok(String::new()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Makes datastores and volumes anew beside what is there, then exchanges them.
    fn replace(
        &self,
        of: &BackupRepository,
        manifest: &Manifest,
        scope: &Scope,
        until: Option<u32>,
        (progress, runtime): (&Progress, &Runtime),
    ) -> Result<String, String> {
        let plan = self.backups.plan();
        let manager = self.volumes.manager()?;
        let everything = *scope == Scope::Everything;
        let passwords = if everything {
            self.passwords(of, manifest, progress)?
        } else {
            Vec::new()
        };
        let (mut coming, mut stores, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for common in plan.config.enabled() {
            let role = common.role;
            let meant = everything || *scope == Scope::Datastore { role };
            let has = manifest.part(role.name()).is_some();
            if !meant || (everything && !has) {
                continue;
            }
            let mut store = sources::store(&plan, role).map_err(text)?;
            let old = passwords.iter().find(|(of, _)| *of == role);
            if let Some((_, credentials)) = old {
                store.credentials = credentials.clone();
            }
            let name: Name = role.volume().parse().map_err(text)?;
            let staging = manager.stage(&name).map_err(text)?;
            stores.push(Target {
                store,
                data: staging.path().to_path_buf(),
            });
            coming.push(Coming {
                name,
                role: Some(role),
                staging,
                made: false,
                credentials: old.map(|(_, credentials)| credentials.clone()),
            });
        }
        for part in &manifest.parts {
            let Facts::Files {
                volume: Some(kind),
                quota,
                ..
            } = &part.facts
            else {
                continue;
            };
            let Some(name) = part.name.strip_prefix("volume:") else {
                continue;
            };
            let name: Name = name.parse().map_err(text)?;
            if !everything && *scope != (Scope::Volume { name: name.clone() }) {
                continue;
            }
            let kind: Kind = kind.parse()?;
            let made = manager.info(&name).is_err();
            if made {
                manager.create(&name, kind, *quota, None).map_err(text)?;
            }
            let staging = manager.stage(&name).map_err(text)?;
            files.push(Fetch {
                backup: manifest.id.clone(),
                part: part.name.clone(),
                below: format!("/{}", part.name.replace(':', "/")),
                to: staging.path().to_path_buf(),
                dry_run: false,
            });
            coming.push(Coming {
                name,
                role: None,
                staging,
                made,
                credentials: None,
            });
        }
        if coming.is_empty() {
            return Err(format!(
                "backup {} has nothing of that; it has {}",
                manifest.id,
                names(manifest)
            ));
        }
        let work = Work::Rebuild(Rebuild {
            backup: manifest.id.clone(),
            stores,
            scratch: scratch(&plan.paths),
            files,
            until,
        });
        let restored = self.backups.run(of, work, progress);
        let restored = match restored {
            Ok(Answer::Rebuilt { restored, .. }) => restored,
            other => {
                unmake(&manager, coming);
                return Err(other.map_or_else(|message| message, |answer| format!("{answer:?}")));
            }
        };
        progress.phase("exchanging");
        let (mut said, mut failed) = (restored, Vec::new());
        for one in coming {
            let (name, made) = (one.name.clone(), one.made);
            match self.put_in_place(&manager, one, runtime) {
                Ok(done) => said.push(done),
                Err(error) => {
                    failed.push(format!("{name} was not exchanged: {error}"));
                    if made {
                        manager.unmake_empty(&name);
                    }
                }
            }
        }
        if failed.is_empty() {
            return Ok(said.join("; "));
        }
        failed.extend(said);
        Err(failed.join("; "))
    }

    /// The passwords that the backup holds.
    fn passwords(
        &self,
        of: &BackupRepository,
        manifest: &Manifest,
        progress: &Progress,
    ) -> Result<Vec<(Role, Credentials)>, String> {
        let dir = self.backups.plan().paths.run().join("backup-passwords");
        let work = Work::Fetch(Fetch {
            backup: manifest.id.clone(),
            part: "system".to_owned(),
            below: "/system/credentials".to_owned(),
            to: dir.clone(),
            dry_run: false,
        });
        let fetched = self.backups.run(of, work, progress);
        let read = |role: Role| {
            let found = fsx::read_json(&dir.join(format!("{role}.json")), 16 << 10);
            found.ok().flatten().map(|credentials| (role, credentials))
        };
        let found = Role::ALL.into_iter().filter_map(read).collect();
        let removed = std::fs::remove_dir_all(&dir);
        fetched?;
        removed.map_err(|error| format!("{}: {error}; remove it", dir.display()))?;
        Ok(found)
    }

    /// One step for each: what is there now is kept.
    fn put_in_place(
        &self,
        manager: &Manager,
        coming: Coming,
        runtime: &Runtime,
    ) -> Result<String, String> {
        let Coming {
            name,
            role,
            staging,
            credentials: new,
            ..
        } = coming;
        let size = staging
            .size()
            .map_or_else(String::new, |size| format!(" ({size})"));
        let plan = self.backups.plan();
        let put = async {
            let kept = if staging.is_subvolume() {
                let new_state = self.with_volumes(move |_| staging.keep()).await?;
                let (of, id) = (name.clone(), new_state.id.clone());
                let replaced = self
                    .with_volumes(move |volumes| volumes.rollback(&of, &id))
                    .await;
                // The volume has it now, or nobody needs it.
                if let Err(error) = manager.delete_snapshot(&name, &new_state.id) {
                    tracing::warn!("{error}; snapshot {} of {name} is left", new_state.id);
                }
                format!("snapshot {}", replaced?.id)
            } else {
                let kept = self.with_volumes(move |_| staging.exchange()).await?;
                kept.display().to_string()
            };
            // Its data knows these passwords alone; what was there before is kept.
            if let (Some(role), Some(new)) = (role, &new) {
                change_passwords(&plan.paths, role, new).map_err(CommandError::Refused)?;
            }
            Ok(kept)
        };
        let kept = match role {
            Some(role) => runtime.block_on(self.while_held(role, put)),
            None => runtime.block_on(put),
        };
        let kept = kept.map_err(text)?;
        Ok(format!(
            "{name}{size} is restored, what it replaced is {kept}"
        ))
    }
}

/// Takes over the passwords of a backup; those before are kept beside them.
fn change_passwords(paths: &Paths, role: Role, new: &Credentials) -> Result<(), String> {
    let file = credentials::file(paths, role);
    if file.exists() {
        let stamp: String = crate::status::now_rfc3339()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let aside = file.with_extension(format!("json.replaced-{stamp}"));
        std::fs::copy(&file, &aside).map_err(|error| format!("{}: {error}", aside.display()))?;
    }
    credentials::save(paths, role, new).map_err(text)
}

fn unmake(manager: &Manager, coming: Vec<Coming>) {
    for one in coming {
        let (name, made) = (one.name.clone(), one.made);
        drop(one);
        if made {
            manager.unmake_empty(&name);
        }
    }
}

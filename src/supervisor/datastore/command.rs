//! Commands to a running engine.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::credentials::{self, CredentialError};
use super::super::prepare::{Prepared, Purpose};
use super::{Actor, Command, Outcome, Wanted};
use crate::config::Role;
use crate::engine::Credentials;
use crate::journal::{self, Event};
use crate::paths::Paths;

/// A flush of what an engine holds back; probes wait meanwhile.
const QUIESCE_LIMIT: Duration = Duration::from_secs(20);

impl Actor {
    pub(super) async fn command(
        &mut self,
        command: Option<Command>,
        prepared: &Arc<Prepared>,
        was_ready: bool,
    ) -> Option<Outcome> {
        match command {
            Some(Command::Start | Command::Release) => None,
            Some(Command::Stop) => Some(Outcome::Stop(Wanted::Stopped)),
            Some(Command::Hold(answer)) => Some(Outcome::Stop(Wanted::Held(answer))),
            Some(Command::Restart) => {
                self.restarts.reset();
                Some(Outcome::Stop(Wanted::Started(None)))
            }
            Some(Command::Shutdown) | None => Some(Outcome::Stop(Wanted::Ended)),
            Some(Command::Leave) => Some(Outcome::Leave),
            Some(Command::Reconfigure(plan)) => {
                match self.prepare_with(Arc::clone(&plan), Purpose::Change).await {
                    // The record, not `prepared`: a rotation changes what the engine runs with.
                    Ok(new) if self.registry.runs_with(self.role, &new.fingerprint) => {
                        self.take_plan(plan);
                        None
                    }
                    Ok(_) => Some(Outcome::Stop(Wanted::Started(Some(plan)))),
                    Err(blocked) => {
                        let message = format!(
                            "the new configuration cannot run, the old one stays: {}; {}",
                            blocked.reason, blocked.remedy
                        );
                        journal::emit(Event::ConfigRejected, self.role.name(), &message);
                        None
                    }
                }
            }
            Some(Command::Rotate(answer)) => {
                let result = if was_ready {
                    self.rotate(prepared).await
                } else {
                    // The start makes the accounts from the credentials that it began with.
                    Err(format!(
                        "{} is not ready yet; try again when it is",
                        self.role
                    ))
                };
                let _ = answer.send(result);
                None
            }
            Some(Command::Quiesce(answer)) => {
                let mut client = prepared.engine.client(&prepared.context);
                let call = timeout(QUIESCE_LIMIT, client.quiesce());
                let result = match Self::attended(&mut self.pings, call).await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err(format!(
                        "{} did not flush within {} s",
                        self.role,
                        QUIESCE_LIMIT.as_secs()
                    )),
                };
                let _ = answer.send(result);
                None
            }
        }
    }

    /// Works on the credential file off the runtime.
    async fn with_file<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Paths, Role) -> Result<T, CredentialError> + Send + 'static,
    ) -> Result<T, String> {
        let (paths, role) = (self.plan.paths.clone(), self.role);
        let work = tokio::task::spawn_blocking(move || work(&paths, role));
        match Self::attended(&mut self.pings, work).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A new client password in the file. Gives the credentials before and after.
    async fn renew(&mut self) -> Result<(Credentials, Credentials), String> {
        self.with_file(|paths, role| {
            let old = credentials::load(paths, role)?;
            let mut new = old.clone();
            new.client.password = credentials::password()?;
            credentials::save(paths, role, &new)?;
            Ok((old, new))
        })
        .await
    }

    /// A new client password: first into the file, then into the engine, since every start makes
    /// the engine follow the file. A refusal puts the old file back; without an answer the engine
    /// may have taken the new one, and the file stays.
    async fn rotate(&mut self, prepared: &Arc<Prepared>) -> Result<(), String> {
        let (old, new) = self.renew().await?;
        let mut client = prepared.engine.client(&prepared.context);
        let limit = self.plan.config.probe.timeout.0;
        let call = timeout(limit, client.set_password(&new.client));
        match Self::attended(&mut self.pings, call).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_answer() => {
                let restore = move |paths: &Paths, role| credentials::save(paths, role, &old);
                self.with_file(restore).await?;
                return Err(format!("{error}; the old password still holds"));
            }
            other => {
                let cause = match other {
                    Ok(Err(error)) => error.to_string(),
                    _ => format!("the engine did not answer within {} ms", limit.as_millis()),
                };
                return Err(format!(
                    "{cause}; the new password is in the file and holds after `lucid datastore \
                     restart {}`",
                    self.role
                ));
            }
        }
        journal::emit(
            Event::CredentialsRotated,
            self.role.name(),
            "the client's password changed",
        );
        // Running and file agree; only the description has to be made anew.
        if let Ok(prepared) = self
            .prepare_with(Arc::clone(&self.plan), Purpose::Describe)
            .await
        {
            self.registry
                .refingerprint(self.role, &prepared.fingerprint);
            self.prepared = None;
        }
        Ok(())
    }

    /// While it does not run the file is all there is: the next start follows it.
    pub(super) async fn rotate_stopped(&mut self, answer: oneshot::Sender<Result<(), String>>) {
        let result = self.renew().await.map(drop);
        if result.is_ok() {
            self.prepared = None;
            let message = "the client's password changed; it holds from the next start on";
            journal::emit(Event::CredentialsRotated, self.role.name(), message);
        }
        let _ = answer.send(result);
    }
}

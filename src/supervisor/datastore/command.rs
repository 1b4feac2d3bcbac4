//! Commands to a running engine.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::credentials;
use super::super::prepare::{Prepared, Purpose};
use super::{Actor, Command, Outcome, Wanted};
use crate::engine::Credentials;
use crate::journal::{self, Event};
use crate::paths::Paths;

impl Actor {
    pub(super) async fn command(
        &mut self,
        command: Option<Command>,
        prepared: &Arc<Prepared>,
    ) -> Option<Outcome> {
        match command {
            Some(Command::Start) => None,
            Some(Command::Stop) => Some(Outcome::Stop(Wanted::Stopped)),
            Some(Command::Restart) => {
                self.restarts.reset();
                Some(Outcome::Stop(Wanted::Started(None)))
            }
            Some(Command::Shutdown) | None => Some(Outcome::Stop(Wanted::Ended)),
            Some(Command::Leave) => Some(Outcome::Leave),
            Some(Command::Reconfigure(plan)) => {
                match self
                    .prepare_with(Arc::clone(&plan), Purpose::Describe)
                    .await
                {
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
                let result = self.rotate(prepared).await;
                let _ = answer.send(result);
                None
            }
        }
    }

    /// A new client password: first into the file, then into the engine; a failure puts the old
    /// file back. After a crash in between, the next start makes the engine follow the file.
    async fn rotate(&mut self, prepared: &Arc<Prepared>) -> Result<(), String> {
        let old = prepared.context.credentials.clone();
        let mut new = old.clone();
        new.client.password = credentials::password().map_err(|error| error.to_string())?;
        let paths = self.plan.paths.clone();
        let role = self.role;
        let save = move |paths: Paths, credentials: Credentials| {
            tokio::task::spawn_blocking(move || credentials::save(&paths, role, &credentials))
        };
        let saved = save(paths.clone(), new.clone()).await;
        saved
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let mut client = prepared.engine.client(&prepared.context);
        let limit = self.plan.config.probe.timeout.0;
        let call = timeout(limit, client.set_password(&new.client));
        let result = match Self::attended(&mut self.pings, call).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!(
                "the engine did not answer within {} ms",
                limit.as_millis()
            )),
        };
        if result.is_err() {
            let _ = save(paths, old).await;
            return result;
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

    pub(super) fn rotate_stopped(&self, answer: oneshot::Sender<Result<(), String>>) {
        let _ = answer.send(Err(format!(
            "{} is not running; start it with `lucid datastore start {}`",
            self.role, self.role
        )));
    }
}

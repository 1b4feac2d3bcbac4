//! Rolling back a volume whose datastore runs: stopped before, started after, and by nobody in
//! between.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::datastore::Command;
use super::super::handle::{CommandError, Handle};
use crate::config::Role;
use crate::status::DatastoreState;
use crate::volume::{Name, OpError, Snapshot};

/// Longer than any `supervisor.stop_timeout`: a datastore is stopped within this, or the rollback is
/// given up.
const SETTLE: Duration = Duration::from_secs(660);

impl Handle {
    /// Puts a snapshot in the place of a volume. A datastore that uses it is stopped before and
    /// started after, whoever goes away meanwhile.
    ///
    /// # Errors
    /// [`CommandError`]; the volume is as it was then.
    pub async fn rollback(
        &self,
        name: Name,
        id: String,
        confirm: Option<&str>,
    ) -> Result<Snapshot, CommandError> {
        if confirm != Some(name.as_str()) {
            return Err(OpError::Confirm {
                what: format!(
                    "the present state of volume {name} would be replaced (and kept as a \
                     snapshot), and its datastore stopped meanwhile"
                ),
                name,
            }
            .into());
        }
        // A wrong name stops no datastore.
        let (looked, wanted) = (name.clone(), id.clone());
        self.with_volumes(move |volumes| volumes.find(&looked, &wanted).map(drop))
            .await?;
        let handle = self.clone();
        let done = tokio::spawn(async move {
            let _work = handle.hub.begin_work("rollback", name.as_str());
            match name.owner() {
                Some(role) => handle.rollback_stopped(role, name, id).await,
                None => {
                    handle
                        .with_volumes(move |volumes| volumes.rollback(&name, &id))
                        .await
                }
            }
        });
        done.await
            .map_err(|error| CommandError::Refused(error.to_string()))?
    }

    async fn rollback_stopped(
        &self,
        role: Role,
        name: Name,
        id: String,
    ) -> Result<Snapshot, CommandError> {
        let _exchange = self.exchange(role)?;
        let ran = self.is_wanted(role);
        let (answer, held) = oneshot::channel();
        self.tell(role, Command::Hold(answer)).await?;
        let done = match timeout(SETTLE, held).await {
            Ok(Ok(())) => {
                self.with_volumes(move |volumes| volumes.rollback(&name, &id))
                    .await
            }
            _ => Err(CommandError::Refused(format!(
                "datastore {role} did not stop within {} s; `lucid status` shows why",
                SETTLE.as_secs()
            ))),
        };
        if ran && let Err(error) = self.tell(role, Command::Start).await {
            tracing::error!("{error}; start it with `lucid datastore start {role}`");
        }
        done
    }

    /// Nobody starts the datastore while the answer lives.
    fn exchange(&self, role: Role) -> Result<Exchange, CommandError> {
        let mut exchanging = self
            .exchanging
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !exchanging.insert(role) {
            return Err(CommandError::Refused(format!(
                "the volume of {role} is being rolled back already"
            )));
        }
        Ok(Exchange {
            exchanging: Arc::clone(&self.exchanging),
            role,
        })
    }

    /// Whether the datastore is to run: nobody stopped it.
    fn is_wanted(&self, role: Role) -> bool {
        let status = self.hub.snapshot();
        let mut datastores = status.datastores.iter();
        datastores.any(|d| d.name == role.name() && d.state != DatastoreState::Stopped)
    }
}

/// See [`Handle::exchange`].
#[derive(Debug)]
struct Exchange {
    exchanging: Arc<Mutex<BTreeSet<Role>>>,
    role: Role,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.exchanging
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.role);
    }
}

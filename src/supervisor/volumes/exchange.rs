//! A datastore is held while its volume is exchanged under it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::datastore::Command;
use super::super::handle::{CommandError, Handle};
use crate::config::Role;

/// Longer than any `supervisor.stop_timeout`: a datastore is stopped within this, or the exchange is
/// given up.
const SETTLE: Duration = Duration::from_secs(330);

/// While it lives, nobody starts the datastore.
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

impl Handle {
    /// Stops the datastore, does `work`, and starts it again unless a person stopped it.
    ///
    /// # Errors
    /// [`CommandError`], when it does not stop, and that of `work`.
    pub(in crate::supervisor) async fn while_held<T>(
        &self,
        role: Role,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        let _exchange = self.exchange(role)?;
        let (answer, held) = oneshot::channel();
        self.tell(role, Command::Hold(answer)).await?;
        let done = match timeout(SETTLE, held).await {
            Ok(Ok(())) => work.await,
            _ => Err(CommandError::Refused(format!(
                "datastore {role} did not stop within {} s; `lucid status` shows why",
                SETTLE.as_secs()
            ))),
        };
        if let Err(error) = self.tell(role, Command::Release).await {
            tracing::error!("{error}; start it with `lucid datastore start {role}`");
        }
        done
    }

    fn exchange(&self, role: Role) -> Result<Exchange, CommandError> {
        let mut exchanging = self
            .exchanging
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !exchanging.insert(role) {
            return Err(CommandError::Refused(format!(
                "the volume of {role} is being exchanged already"
            )));
        }
        Ok(Exchange {
            exchanging: Arc::clone(&self.exchanging),
            role,
        })
    }

    /// The datastore of this volume, when it is enabled.
    pub(super) fn enabled_owner(&self, name: &crate::volume::Name) -> Option<Role> {
        let status = self.hub.snapshot();
        let enabled = |role: &Role| status.datastores.iter().any(|d| d.name == role.name());
        name.owner().filter(enabled)
    }
}

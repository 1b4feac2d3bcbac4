//! A volume goes back to a snapshot.

use super::super::handle::{CommandError, Handle};
use crate::volume::{Name, OpError, Snapshot};

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
        let done = tokio::spawn(async move { handle.roll_back(name, id).await });
        done.await
            .map_err(|error| CommandError::Refused(error.to_string()))?
    }

    /// As [`Handle::rollback`], confirmed; goes on only while somebody waits for it.
    pub(in crate::supervisor) async fn roll_back(
        &self,
        name: Name,
        id: String,
    ) -> Result<Snapshot, CommandError> {
        let _work = self.hub.begin_work("rollback", name.as_str());
        let owner = self.enabled_owner(&name);
        let work = self.with_volumes(move |volumes| volumes.rollback(&name, &id));
        match owner {
            Some(role) => self.while_held(role, work).await,
            None => work.await,
        }
    }
}

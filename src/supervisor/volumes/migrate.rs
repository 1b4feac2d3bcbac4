//! A volume moves to another pool while its datastore serves; it is away for the last difference
//! alone.

use std::time::Instant;

use tokio::runtime::Handle as Runtime;

use super::super::handle::{CommandError, Handle};
use super::super::jobs::{Job, Progress};
use crate::units::human_bytes;
use crate::volume::{Manager, Name};

impl Handle {
    /// Moves a volume to the pool `to`, as a job. One that was cut off goes on where it was when it
    /// is begun again.
    ///
    /// # Errors
    /// [`CommandError`] where it cannot begin.
    pub async fn migrate(&self, name: Name, to: Name) -> Result<Job, CommandError> {
        let (looked, wanted) = (name.clone(), to.clone());
        // What is refused is told at once, not by a job.
        self.with_volumes(move |volumes| volumes.migrate(&looked, &wanted).map(drop))
            .await?;
        let (handle, runtime) = (self.clone(), Runtime::current());
        self.begin("migrate", name, move |volumes, name, progress| {
            let moved = handle.move_volume(volumes, name, &to, progress, &runtime);
            moved.map_err(|error| error.to_string())
        })
        .await
    }

    /// Runs on the job's own thread.
    fn move_volume(
        &self,
        volumes: &Manager,
        name: &Name,
        to: &Name,
        progress: &Progress,
        runtime: &Runtime,
    ) -> Result<String, CommandError> {
        let mut migration = volumes.migrate(name, to)?;
        let total = migration.bytes();
        let mut done = 0;
        let mut go_on = |bytes: u64| {
            done += bytes;
            progress.set(done, total.max(done));
            !progress.is_cancelled()
        };
        migration.copy(&mut go_on)?;
        let (info, away) = match self.enabled_owner(name) {
            None => (migration.finish(&mut go_on)?, None),
            Some(role) => {
                let began = Instant::now();
                let work = async { migration.finish(&mut go_on).map_err(CommandError::from) };
                let finished = runtime.block_on(self.while_held(role, work))?;
                (finished, Some(began.elapsed().as_secs_f64()))
            }
        };
        let away = away.map_or_else(String::new, |seconds| {
            format!("; its datastore was held for {seconds:.1} s")
        });
        Ok(format!(
            "volume {name} lies on pool {to}, {} compared{away}",
            human_bytes(info.used_bytes.unwrap_or(0))
        ))
    }
}

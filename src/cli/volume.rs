//! `lucid volume`.

use std::path::Path;

use super::output::Out;
use super::{CliError, Done};
use crate::config::Config;
use crate::paths::Paths;
use crate::volume::{self, Outcome};

pub(super) fn prepare(paths: &Paths, file: Option<&Path>, out: &mut Out) -> Result<Done, CliError> {
    let default = paths.config_file();
    let config = Config::load(file.unwrap_or(&default), file.is_some())?;
    match volume::prepare(paths, &config.data)? {
        Outcome::Refused(fault) => Err(CliError::Refused(format!(
            "{}; {}",
            fault.message, fault.remedy
        ))),
        Outcome::Mounted(storage) => {
            if out.json(&storage)? {
                return Ok(Done::Well);
            }
            if let Some(mounted) = &storage.mounted {
                out.line(&format!(
                    "pool {} on {} is mounted at {}",
                    mounted.uuid,
                    mounted.device.display(),
                    paths.data().display()
                ))?;
            }
            for fault in &storage.faults {
                out.line(&format!("{}; {}", fault.message, fault.remedy))?;
            }
            Ok(Done::Well)
        }
    }
}

//! `lucid config take`: a configuration that a person put on the card from another computer.
//!
//! The file is taken once for each content: what is changed on the appliance itself later holds
//! until the file on the card changes again.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::output::Out;
use super::{CliError, Done};
use crate::board::Board;
use crate::config::{Config, MemoryPlan};
use crate::fsx;
use crate::paths::Paths;
use crate::supervisor::SetupError;

const MAX_BYTES: u64 = 256 * 1024;

pub(super) fn run(paths: &Paths, file: &Path, out: &mut Out) -> Result<Done, CliError> {
    let result = take(paths, file);
    let fault = paths.config_fault();
    match &result {
        // Left for the supervisor, which tells it until the file is corrected.
        Err(error) => {
            fsx::create_dir(&paths.run(), 0o755)?;
            fsx::write_volatile(&fault, error.to_string().as_bytes(), 0o644)?;
        }
        Ok(_) => match std::fs::remove_file(&fault) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(fsx::FsError::wrap("remove", &fault)(error).into());
            }
            _ => {}
        },
    }
    let taken = result?;
    if !out.json(&json!({ "file": file, "taken": taken }))? {
        let what = if taken {
            "is the configuration now"
        } else {
            "brings nothing new"
        };
        out.line(&format!("{} {what}", file.display()))?;
    }
    Ok(Done::Well)
}

/// Whether the file became the configuration.
fn take(paths: &Paths, file: &Path) -> Result<bool, CliError> {
    let text = match fsx::read_text(file, MAX_BYTES) {
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let hash = Sha256::digest(text.as_bytes())
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
    let mark = paths.config_taken();
    if fsx::read_text(&mark, 128).is_ok_and(|old| old == hash) {
        return Ok(false);
    }
    // Editors on other systems end lines and begin files in their own way.
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let config = Config::parse(&text, file)?;
    let board = Board::read(Path::new("/"))?;
    MemoryPlan::new(&config, board.memory_bytes).map_err(SetupError::Memory)?;
    fsx::create_dir(&paths.etc(), 0o755)?;
    fsx::write_atomic(&paths.config_file(), text.as_bytes(), 0o644)?;
    // Second, so that after a power cut in between the same file is taken again.
    fsx::create_dir(mark.parent().unwrap_or(Path::new("/")), 0o755)?;
    fsx::write_atomic(&mark, hash.as_bytes(), 0o644)?;
    Ok(true)
}

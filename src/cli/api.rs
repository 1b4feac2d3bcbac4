//! `lucid api`: keys of the HTTP API.

use serde_json::json;

use super::args::{ApiCommand, ApiKeyCommand};
use super::output::Out;
use super::{CliError, Done};
use crate::api::public::{KeyFile, description};
use crate::fsx;
use crate::paths::Paths;

pub(super) fn run(paths: &Paths, command: &ApiCommand, out: &mut Out) -> Result<Done, CliError> {
    let file = KeyFile::below(&paths.credentials());
    let ApiCommand::Key(command) = command;
    match command {
        ApiKeyCommand::Create { name, role, days } => {
            fsx::create_dir(&paths.credentials(), 0o700)?;
            let key = file.create(name, *role, *days)?;
            if !out.json(&json!({ "name": name, "role": role, "key": key }))? {
                out.line(&key)?;
            }
        }
        ApiKeyCommand::List => {
            let keys = file.load()?;
            let shown: Vec<_> = keys
                .iter()
                .map(|key| {
                    json!({
                        "name": key.name, "role": key.role, "created": key.created,
                        "expires": key.expires,
                    })
                })
                .collect();
            if !out.json(&json!(shown))? {
                for key in &keys {
                    let expires = key.expires.as_deref().unwrap_or("never");
                    let role = key.role.name();
                    out.line(&format!(
                        "{:<20} {role:<7} made {}, ends {expires}",
                        key.name, key.created
                    ))?;
                }
            }
        }
        ApiKeyCommand::Revoke { name } => {
            file.revoke(name)?;
            if !out.json(&json!({ "name": name, "revoked": true }))? {
                out.line(&format!("{name} is let in no longer"))?;
            }
        }
    }
    Ok(Done::Well)
}

pub(super) fn openapi(out: &mut Out) -> Result<Done, CliError> {
    let text = description().map_err(|error| CliError::Other(error.to_string()))?;
    out.line(&text)?;
    Ok(Done::Well)
}

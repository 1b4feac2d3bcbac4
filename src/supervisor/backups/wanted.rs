//! What somebody wants to have restored.

use serde::{Deserialize, Serialize};

use super::super::handle::CommandError;
use crate::backup::manifest::Manifest;
use crate::backup::request::What;
use crate::config::Role;
use crate::units::human_bytes;
use crate::volume::Name;

/// What is restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "lowercase")]
pub enum Scope {
    /// All datastores and volumes of the backup, with the passwords of that time.
    Everything,
    /// One datastore.
    Datastore {
        /// Which one.
        role: Role,
    },
    /// One volume.
    Volume {
        /// Its name.
        name: Name,
    },
    /// A collection, an index or keys, into the running datastore.
    Piece {
        /// Which one.
        what: What,
    },
}

/// A restore that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The repository; the first of the configuration without one.
    #[serde(default)]
    pub repository: Option<String>,
    /// Id of the backup, or `latest`.
    pub backup: String,
    /// What of it.
    #[serde(flatten)]
    pub scope: Scope,
    /// The documents as of this moment, RFC 3339; for that datastore alone.
    #[serde(default)]
    pub at: Option<String>,
    /// Repeats what is replaced.
    #[serde(default)]
    pub confirm: Option<String>,
    /// Only says what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

impl Scope {
    /// What has to be repeated, where something is replaced.
    pub(super) fn replaces(&self) -> Option<String> {
        match self {
            Self::Everything => Some("everything".to_owned()),
            Self::Datastore { role } => Some(role.name().to_owned()),
            Self::Volume { name } => Some(name.to_string()),
            Self::Piece {
                what: What::Keys { prefix },
            } => Some(prefix.clone()),
            Self::Piece { .. } => None,
        }
    }
}

/// Seconds since 1970 of a moment that documents can be restored to.
pub(super) fn moment(at: &str, scope: &Scope) -> Result<u32, CommandError> {
    if *scope
        != (Scope::Datastore {
            role: Role::Document,
        })
    {
        return Err(CommandError::Invalid(
            "a moment can be had of the document store alone: restore datastore document --at …"
                .to_owned(),
        ));
    }
    let time: Result<jiff::Timestamp, _> = at.parse();
    let seconds = time
        .ok()
        .and_then(|time| u32::try_from(time.as_second()).ok());
    seconds.ok_or_else(|| {
        CommandError::Invalid(format!(
            "{at:?} is no moment; write it as 2026-11-27T14:30:00Z or 2026-11-27T15:30:00+01:00"
        ))
    })
}

pub(super) fn names(manifest: &Manifest) -> String {
    let names: Vec<_> = manifest
        .parts
        .iter()
        .map(|part| part.name.as_str())
        .collect();
    names.join(", ")
}

/// What a restore would do.
pub(super) fn describe(manifest: &Manifest, scope: &Scope) -> Result<String, String> {
    let part = |name: &str| {
        manifest.part(name).ok_or_else(|| {
            format!(
                "backup {} has no {name}; it has {}",
                manifest.id,
                names(manifest)
            )
        })
    };
    let said = match scope {
        Scope::Everything => format!("everything ({})", names(manifest)),
        Scope::Datastore { role } => {
            let part = part(role.name())?;
            format!("{role}, {}", human_bytes(part.bytes))
        }
        Scope::Volume { name } => {
            let part = part(&format!("volume:{name}"))?;
            format!("volume {name}, {}", human_bytes(part.bytes))
        }
        Scope::Piece { what } => format!("{what:?}"),
    };
    Ok(format!(
        "backup {} of {} by Lucid {} would be restored: {said}; nothing was changed",
        manifest.id, manifest.taken, manifest.lucid
    ))
}

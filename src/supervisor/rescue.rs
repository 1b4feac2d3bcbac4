//! Rescue: the appliance without its datastores, by the button at power-on. It lasts until the
//! board is restarted, over any number of supervisors.

use serde::{Deserialize, Serialize};

use super::power;
use super::records::boot_id;
use super::registry::Registry;
use crate::config::Role;
use crate::fsx;
use crate::journal::{self, Event};
use crate::paths::Paths;
use crate::status::{Alert, RESCUE_ALERT, Severity, StatusHub};

/// How this boot was begun.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    boot_id: String,
    rescue: bool,
}

/// Whether this boot is a rescue; `None` when this is its first supervisor, which has to find out.
pub fn remembered(paths: &Paths) -> Option<bool> {
    let text = fsx::read_text(&paths.boot_mark(), 4096).ok()?;
    let mark: Mark = serde_json::from_str(&text).ok()?;
    (mark.boot_id == boot_id()).then_some(mark.rescue)
}

/// For the supervisors to come in this boot.
pub fn remember(paths: &Paths, rescue: bool) {
    let mark = Mark {
        boot_id: boot_id(),
        rescue,
    };
    let text = serde_json::to_vec(&mark).unwrap_or_default();
    if let Err(error) = fsx::write_volatile(&paths.boot_mark(), &text, 0o644) {
        tracing::warn!("{error}; the next supervisor of this boot looks at the button again");
    }
}

/// The datastores are there and stopped; a person starts them one by one, if at all.
pub(super) async fn enter(hub: &StatusHub, registry: &Registry, roles: &[Role]) {
    for role in roles {
        registry.set_stopped(*role, true);
    }
    let message = "started in rescue, since the button was held: no datastore runs";
    let action = "look around with ssh; `lucid datastore start NAME` starts one, a restart of the \
                  board starts all";
    hub.raise(Alert::new(
        RESCUE_ALERT,
        Severity::Critical,
        "appliance",
        message,
        action,
    ));
    let text = format!("{message}; {action}");
    journal::emit(Event::RescueStarted, "appliance", &text);
    power::open_ssh().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rescue_is_remembered_until_the_board_is_restarted() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        fsx::create_dir(&paths.run(), 0o755).unwrap();
        assert_eq!(remembered(&paths), None);
        remember(&paths, true);
        assert_eq!(remembered(&paths), Some(true));
        let other = r#"{"boot_id": "another", "rescue": true}"#;
        fsx::write_volatile(&paths.boot_mark(), other.as_bytes(), 0o644).unwrap();
        assert_eq!(remembered(&paths), None);
    }
}

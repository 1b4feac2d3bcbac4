//! The values found before tuning, kept so that they can be put back, also by a later process.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fsx::{self, FsError};

/// Form of the file; another one is not understood.
const VERSION: u32 = 1;
/// A plan has some dozens of knobs of some hundred bytes each.
const LIMIT: u64 = 256 * 1024;

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    version: u32,
    /// `kernel.random.boot_id`: after a restart of the machine the values are the kernel's again.
    pub(super) boot_id: String,
    /// Knobs written, by name.
    pub(super) knobs: BTreeMap<String, Saved>,
    /// The zram device made, such as `zram1`.
    pub(super) zram: Option<String>,
}

/// One knob that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    /// File, relative to the root of the machine.
    pub(super) path: PathBuf,
    /// Whether it holds a choice of words with one in brackets.
    pub(super) choice: bool,
    /// Value found before the first change.
    pub(super) before: String,
    /// Value that was set.
    pub(super) set: String,
    /// Where another file has to be written to get the value back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) restore: Option<Restore>,
}

/// See [`Saved::restore`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Restore {
    /// File, relative to the root of the machine.
    pub(super) path: PathBuf,
    /// Its value before the first change.
    pub(super) value: String,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FsError),
    /// It is not of the documented form.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl State {
    /// Nothing written yet since this boot.
    pub(super) fn new(boot_id: &str) -> Self {
        Self {
            version: VERSION,
            boot_id: boot_id.to_owned(),
            knobs: BTreeMap::new(),
            zram: None,
        }
    }

    /// Reads the file; `None` when there is none or it is of an earlier boot.
    pub(super) fn load(path: &Path, boot_id: &str) -> Result<Option<Self>, StateError> {
        match fsx::read_text(path, LIMIT) {
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
            Ok(text) => parse(&text, boot_id).map_err(|reason| StateError::Damaged {
                path: path.into(),
                reason,
            }),
        }
    }

    /// Writes the file, and its directory where that is missing.
    pub(super) fn save(&self, path: &Path) -> Result<(), FsError> {
        if let Some(dir) = path.parent() {
            fsx::create_dir(dir, 0o755)?;
        }
        // Strings, booleans and maps with string keys always serialize.
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        fsx::write_atomic(path, &text, 0o644)
    }

    /// Removes the file; a missing one is no error.
    pub(super) fn remove(path: &Path) -> Result<(), FsError> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(FsError::wrap("remove", path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Understands a state file. The paths in it are written to as root, so only knobs are let in.
fn parse(text: &str, boot_id: &str) -> Result<Option<State>, String> {
    let state: State = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if state.version != VERSION {
        return Err(format!("version {}, expected {VERSION}", state.version));
    }
    let restores = state.knobs.values().filter_map(|k| k.restore.as_ref());
    let paths = state.knobs.values().map(|knob| &knob.path);
    if let Some(path) = paths
        .chain(restores.map(|restore| &restore.path))
        .find(|path| !is_knob(path))
    {
        return Err(format!("{} is not a kernel knob", path.display()));
    }
    if let Some(device) = &state.zram
        && !super::zram::is_device(device)
    {
        return Err(format!("{device:?} is not a zram device"));
    }
    Ok((state.boot_id == boot_id).then_some(state))
}

fn is_knob(path: &Path) -> bool {
    (path.starts_with("proc/sys") || path.starts_with("sys"))
        && path
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn saved(path: &str) -> Saved {
        Saved {
            path: path.into(),
            choice: false,
            before: "60".to_owned(),
            set: "133".to_owned(),
            restore: None,
        }
    }

    fn with(path: &str) -> State {
        let mut state = State::new("boot");
        state.knobs.insert("vm.x".to_owned(), saved(path));
        state
    }

    #[test]
    fn a_saved_state_is_read_in_the_same_boot_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/tuning-before.json");
        assert!(State::load(&path, "boot").unwrap().is_none());
        let mut state = with("proc/sys/vm/swappiness");
        state.zram = Some("zram1".to_owned());
        state.save(&path).unwrap();
        assert_eq!(State::load(&path, "boot").unwrap(), Some(state));
        assert!(State::load(&path, "later boot").unwrap().is_none());
        State::remove(&path).unwrap();
        State::remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_names_anything_but_knobs_is_refused() {
        for path in [
            "etc/shadow",
            "/proc/sys/vm/swappiness",
            "proc/sys/../../etc/shadow",
            "sys/../etc/shadow",
            "proc/sysrq-trigger",
        ] {
            let text = serde_json::to_string(&with(path)).unwrap();
            assert!(parse(&text, "boot").is_err(), "{path}");
        }
        let mut state = State::new("boot");
        state.zram = Some("../sda".to_owned());
        let text = serde_json::to_string(&state).unwrap();
        assert!(parse(&text, "boot").is_err());
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tuning-before.json");
        fsx::write_atomic(&path, b"{\"version\": 1", 0o644).unwrap();
        let error = State::load(&path, "boot").unwrap_err();
        assert!(error.to_string().contains("tuning-before.json"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,300}") {
            let _ = parse(&text, "boot");
        }

        #[test]
        fn every_state_comes_back(
            names in prop::collection::btree_map("[a-z.]{1,20}", ("[a-z_]{1,12}", ".{0,20}"), 0..8),
            zram in prop::option::of(0_u32..1000),
        ) {
            let mut state = State::new("boot");
            for (name, (leaf, before)) in names {
                let mut knob = saved(&format!("proc/sys/vm/{leaf}"));
                knob.before = before;
                state.knobs.insert(name, knob);
            }
            state.zram = zram.map(|n| format!("zram{n}"));
            let text = serde_json::to_string(&state).unwrap();
            prop_assert_eq!(parse(&text, "boot"), Ok(Some(state)));
        }

        #[test]
        fn a_cut_file_is_never_taken_for_a_whole_one(cut in 0_usize..200) {
            let text = serde_json::to_string(&with("proc/sys/vm/swappiness")).unwrap();
            if cut < text.len() {
                prop_assert!(parse(&text[..cut], "boot").is_err());
            }
        }
    }
}

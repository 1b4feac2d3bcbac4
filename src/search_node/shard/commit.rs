//! What of an index is saved: its segments, their live documents, and up to which operation.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bits::Bits;
use super::files::verify;
use super::segment::Segment;
use super::view::Part;
use crate::fsx;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::Schema;

const NAME: &str = "commit.json";

/// Larger descriptions are none: a thousand segments take about 150 KB.
const MAX_COMMIT: u64 = 16 << 20;

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Commit {
    /// Counts up with each.
    pub generation: u64,
    /// All operations below this sequence number are in the segments.
    pub saved: u64,
    /// The next segment's number.
    pub next_segment: u64,
    /// Oldest first.
    pub segments: Vec<Saved>,
}

/// A segment on the disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Saved {
    /// Its number.
    pub id: u64,
    /// Its file's name.
    pub file: String,
    /// The file with its live documents; none when all are.
    pub live: Option<String>,
}

impl Commit {
    /// Reads what is saved in `dir`; the default when nothing is.
    pub(super) fn load(dir: &Path) -> Outcome<Self> {
        let path = dir.join(NAME);
        if !path.exists() {
            return Ok(Self {
                next_segment: 1,
                ..Self::default()
            });
        }
        let text = fsx::read_text(&path, MAX_COMMIT)?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::internal(format!(
                "{}: {error}; delete the index and index its documents again",
                path.display()
            ))
        })
    }

    /// Opens the segments.
    pub(super) fn open(&self, dir: &Path, schema: &Schema) -> Outcome<Vec<Part>> {
        self.segments
            .iter()
            .map(|saved| {
                // What is damaged must not be searched: tantivy trusts its files.
                verify(&dir.join(&saved.file))?;
                let segment = Segment::load(saved.id, &dir.join(&saved.file), schema)?;
                let live = saved.load_live(dir, segment.max_doc())?;
                Ok(Part::new(Arc::new(segment), Arc::new(live)))
            })
            .collect()
    }

    /// Saves this description, atomically. The files that it names are on the disk already.
    pub(super) fn save(&self, dir: &Path) -> Outcome<()> {
        let text = serde_json::to_vec(self).map_err(|e| Failure::internal(e.to_string()))?;
        fsx::write_atomic(&dir.join(NAME), &text, 0o600)?;
        Ok(())
    }

    /// Removes the files in `dir` that this description does not name.
    pub(super) fn clean(&self, dir: &Path) {
        let kept: HashSet<&str> = self
            .segments
            .iter()
            .flat_map(|saved| [Some(saved.file.as_str()), saved.live.as_deref()])
            .flatten()
            .collect();
        let Ok(entries) = std::fs::read_dir(dir) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let ours = name.to_str().is_some_and(|name| {
                let suffix = |suffix| Path::new(name).extension().is_some_and(|e| e == suffix);
                (suffix("segment") || suffix("live")) && !kept.contains(name)
            });
            if ours {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

impl Saved {
    /// The live documents of this segment in `dir`, which has `max_doc` ones.
    pub(super) fn load_live(&self, dir: &Path, max_doc: u32) -> Outcome<Bits> {
        let Some(name) = &self.live else {
            return Ok(Bits::full(max_doc));
        };
        let path = dir.join(name);
        match Bits::from_bytes(&std::fs::read(&path)?) {
            Some(bits) if bits.len() == max_doc => Ok(bits),
            _ => Err(Failure::internal(format!(
                "{} is damaged; delete the index and index its documents again",
                path.display()
            ))),
        }
    }
}

/// Name of a segment's file.
pub(super) fn segment_file(id: u64) -> String {
    format!("{id:08x}.segment")
}

/// Writes the live documents of segment `id`; `None` when all are.
pub(super) fn save_live(
    dir: &Path,
    id: u64,
    generation: u64,
    live: &Bits,
) -> Outcome<Option<String>> {
    if live.count() == live.len() {
        return Ok(None);
    }
    let name = format!("{id:08x}-{generation:08x}.live");
    let path: PathBuf = dir.join(&name);
    fsx::write_atomic(&path, &live.to_bytes(), 0o600)?;
    Ok(Some(name))
}

//! What of an index is saved: its segments, their live documents, and up to which operation.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bits::Bits;
use super::files::verify;
use super::segment::Segment;
use super::view::Part;
use crate::fsx::{self, FsError};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::Schema;
use crate::search_node::stored;

const NAME: &str = "commit.json";

/// What to do when an index cannot be opened.
const REMEDY: &str = "check the disk, then restore the volume from a backup, or delete the index \
                      and index its documents again";

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
    /// How many documents are not.
    pub dead: u32,
}

impl Commit {
    /// Describes an index without segments, so that a missing description is damage.
    pub(super) fn create(dir: &Path) -> Outcome<()> {
        let empty = Self {
            next_segment: 1,
            ..Self::default()
        };
        empty.save(dir)
    }

    /// Reads what is saved in `dir`.
    pub(super) fn load(dir: &Path) -> Outcome<Self> {
        let path = dir.join(NAME);
        stored::load(&path, REMEDY)?
            .ok_or_else(|| Failure::internal(format!("{} is missing; {REMEDY}", path.display())))
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
        stored::save(&dir.join(NAME), self)
    }

    /// The names of all files that this description names.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.segments
            .iter()
            .flat_map(|saved| [Some(saved.file.as_str()), saved.live.as_deref()])
            .flatten()
    }

    /// Removes the files in `dir` that this description does not name.
    pub(super) fn clean(&self, dir: &Path) {
        let kept: HashSet<&str> = self.files().collect();
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
    /// A new segment with these live documents; nothing is written.
    pub(super) fn whole(id: u64) -> Self {
        Self {
            id,
            file: segment_file(id),
            live: None,
            dead: 0,
        }
    }

    /// Writes `live` when it has changed: documents only ever die.
    pub(super) fn save_live(&mut self, dir: &Path, generation: u64, live: &Bits) -> Outcome<()> {
        let dead = live.len() - live.count();
        if dead == self.dead {
            return Ok(());
        }
        let name = format!("{:08x}-{generation:08x}.live", self.id);
        fsx::write_atomic(&dir.join(&name), &live.to_bytes(), 0o600)?;
        self.live = Some(name);
        self.dead = dead;
        Ok(())
    }

    /// The live documents of this segment in `dir`, which has `max_doc` ones.
    pub(super) fn load_live(&self, dir: &Path, max_doc: u32) -> Outcome<Bits> {
        let Some(name) = &self.live else {
            return Ok(Bits::full(max_doc));
        };
        let path = dir.join(name);
        let bytes = std::fs::read(&path).map_err(FsError::wrap("read", &path))?;
        match Bits::from_bytes(&bytes) {
            Some(bits) if bits.len() == max_doc => Ok(bits),
            _ => Err(Failure::internal(format!(
                "{} is damaged; {REMEDY}",
                path.display()
            ))),
        }
    }
}

/// Name of a segment's file.
pub(super) fn segment_file(id: u64) -> String {
    format!("{id:08x}.segment")
}

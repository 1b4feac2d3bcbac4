//! A write: what it changes, what it demands, and what follows from the document as it is.

use std::sync::Arc;

use crate::search_node::PRIMARY_TERM;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::ParsedDoc;

/// What to do with a document.
#[derive(Debug)]
pub(crate) enum Change {
    /// Put this one in its place.
    Index {
        /// As it came.
        source: Arc<[u8]>,
        /// As it is indexed.
        parsed: ParsedDoc,
    },
    /// Take it away.
    Delete,
}

/// What must hold for a write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Condition {
    /// There is no document with this id yet.
    pub create: bool,
    /// Its last change has this sequence number and primary term.
    pub unchanged: Option<(u64, u64)>,
    /// The version given by the caller; it must be higher, or not lower when the flag is set.
    pub external: Option<(u64, bool)>,
    /// The id was just made: nobody else can have it.
    pub fresh: bool,
}

/// One write.
#[derive(Debug)]
pub(crate) struct Write {
    /// The document's id.
    pub id: String,
    /// What to do.
    pub change: Change,
    /// What must hold.
    pub condition: Condition,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// Its sequence number.
    pub seq: u64,
    /// The document's version after it.
    pub version: u64,
    /// Whether there was a document before.
    pub existed: bool,
}

/// What is known of a document before a write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Current {
    pub(super) seq: u64,
    pub(super) version: u64,
    pub(super) exists: bool,
}

impl Write {
    /// What this write does as the operation `seq` on a document that is as `current` says, or why
    /// it may not.
    pub(super) fn decide(&self, current: Option<Current>, seq: u64) -> Outcome<Written> {
        let condition = self.condition;
        let existing = current.filter(|current| current.exists);
        if condition.create
            && let Some(existing) = existing
        {
            return Err(conflict(
                &self.id,
                &format!(
                    "document already exists (current version [{}])",
                    existing.version
                ),
            ));
        }
        if let Some((wanted, term)) = condition.unchanged {
            let found = existing.map(|existing| existing.seq);
            if found != Some(wanted) || term != PRIMARY_TERM {
                let found = match found {
                    Some(seq) => format!(
                        "current document has seqNo [{seq}] and primary term [{PRIMARY_TERM}]"
                    ),
                    None => "but no document was found".to_owned(),
                };
                return Err(conflict(
                    &self.id,
                    &format!("required seqNo [{wanted}], primary term [{term}]. {found}"),
                ));
            }
        }
        let version = match condition.external {
            None => current.map_or(1, |current| current.version + 1),
            Some((version, or_equal)) => {
                if let Some(current) = current {
                    let fits = version > current.version || or_equal && version == current.version;
                    if !fits {
                        return Err(conflict(
                            &self.id,
                            &format!(
                                "current version [{}] is higher or equal to the one provided \
                                 [{version}]",
                                current.version
                            ),
                        ));
                    }
                }
                version
            }
        };
        Ok(Written {
            seq,
            version,
            existed: existing.is_some(),
        })
    }
}

fn conflict(id: &str, why: &str) -> Failure {
    Failure::new(
        409,
        "version_conflict_engine_exception",
        format!("[{id}]: version conflict, {why}"),
    )
}

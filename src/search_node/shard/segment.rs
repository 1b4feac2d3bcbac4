//! One immutable part of an index.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tantivy::columnar::Column;
use tantivy::directory::error::OpenReadError;
use tantivy::schema::{IndexRecordOption, Value as _};
use tantivy::store::StoreReader;
use tantivy::{DocId, DocSet, Index, SegmentReader, TERMINATED, TantivyDocument, Term};

use super::bits::Bits;
use super::files::Files;
use crate::fsx::FsError;
use crate::search_node::analysis;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Schema, SystemFields};

/// Unpacked blocks of stored documents kept per segment; 16 KiB each.
const CACHED_BLOCKS: usize = 4;

/// See the module.
pub(crate) struct Segment {
    /// Never used twice in an index.
    pub id: u64,
    /// For queries.
    pub reader: SegmentReader,
    /// For merges.
    pub(super) tantivy: tantivy::Segment,
    pub(super) files: Files,
    /// Where it lies on the disk; `None` while it is in memory only.
    pub file: Option<PathBuf>,
    /// Size of its files.
    pub bytes: u64,
    store: StoreReader,
    seq: Column<u64>,
    version: Column<u64>,
    /// The documents that are no instances of nested objects; `None` when all are.
    pub roots: Option<Arc<Bits>>,
    /// Number of the nested object of each document.
    pub nest: Option<Column<u64>>,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment")
            .field("id", &self.id)
            .field("docs", &self.reader.max_doc())
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// A document as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// `_id`.
    pub id: String,
    /// `_source` as it came.
    pub source: Vec<u8>,
}

impl Segment {
    /// Opens `files` under `schema`, which may have more fields than when they were written.
    pub(crate) fn open(
        id: u64,
        files: Files,
        file: Option<PathBuf>,
        schema: &Schema,
    ) -> Outcome<Self> {
        renew_schema(&files, schema)?;
        let bytes = files.bytes();
        let mut index = Index::open(files.clone())?;
        index.set_tokenizers(analysis::manager());
        let Some(tantivy) = index.searchable_segments()?.into_iter().next() else {
            return Err(Failure::internal(format!(
                "segment {id} holds no documents"
            )));
        };
        let reader = SegmentReader::open(&tantivy)?;
        let store = reader.get_store_reader(CACHED_BLOCKS)?;
        let columns = reader.fast_fields();
        let seq = columns.u64(SystemFields::SEQ_COLUMN)?;
        let version = columns.u64(SystemFields::VERSION_COLUMN)?;
        let nest = columns.column_opt::<u64>(SystemFields::NEST_COLUMN)?;
        let roots = nest.as_ref().map(|nest| {
            let mut roots = Bits::empty(reader.max_doc());
            for doc in 0..reader.max_doc() {
                if nest.first(doc).is_none() {
                    roots.insert(doc);
                }
            }
            Arc::new(roots)
        });
        Ok(Self {
            id,
            reader,
            tantivy,
            files,
            file,
            bytes,
            store,
            seq,
            version,
            roots,
            nest,
        })
    }

    /// Opens the file at `path`.
    pub(crate) fn load(id: u64, path: &Path, schema: &Schema) -> Outcome<Self> {
        let files = Files::open(path).map_err(FsError::wrap("open segment", path))?;
        Self::open(id, files, Some(path.to_path_buf()), schema)
    }

    /// The same segment under a mapping with more fields.
    pub(crate) fn reopened(&self, schema: &Schema) -> Outcome<Self> {
        Self::open(self.id, self.files.clone(), self.file.clone(), schema)
    }

    /// How many documents it has, instances of nested objects and deleted ones included.
    pub(crate) fn max_doc(&self) -> u32 {
        self.reader.max_doc()
    }

    /// All live documents with this `_id`: instances of its nested objects, then itself.
    pub(crate) fn find(&self, id: &str, live: &Bits) -> Outcome<Vec<DocId>> {
        let index = self.reader.inverted_index(SystemFields::ID)?;
        let term = Term::from_field_text(SystemFields::ID, id);
        let mut docs = Vec::new();
        if let Some(mut postings) = index.read_postings(&term, IndexRecordOption::Basic)? {
            let mut doc = postings.doc();
            while doc != TERMINATED {
                if live.contains(doc) {
                    docs.push(doc);
                }
                doc = postings.advance();
            }
        }
        Ok(docs)
    }

    /// `_seq_no` and `_version` of a document.
    pub(crate) fn seq_version(&self, doc: DocId) -> (u64, u64) {
        (
            self.seq.first(doc).unwrap_or(0),
            self.version.first(doc).unwrap_or(0),
        )
    }

    /// The stored document.
    pub(crate) fn stored(&self, doc: DocId) -> Outcome<Stored> {
        let stored: TantivyDocument = self.store.get(doc)?;
        let id = stored.get_first(SystemFields::ID).and_then(|v| v.as_str());
        let source = stored
            .get_first(SystemFields::SOURCE)
            .and_then(|v| v.as_bytes());
        match (id, source) {
            (Some(id), Some(source)) => Ok(Stored {
                id: id.to_owned(),
                source: source.to_vec(),
            }),
            _ => Err(Failure::internal(format!(
                "document {doc} of segment {} has no source",
                self.id
            ))),
        }
    }
}

/// Puts the present schema into the segment's own description: tantivy numbers fields by
/// position, positions never change, and fields that the segment lacks are empty to it.
fn renew_schema(files: &Files, schema: &Schema) -> Outcome<()> {
    const META: &str = "meta.json";
    let broken = |why: String| Failure::internal(format!("segment description: {why}"));
    let bytes = match tantivy::Directory::atomic_read(files, Path::new(META)) {
        Ok(bytes) => bytes,
        Err(OpenReadError::FileDoesNotExist(_)) => return Err(broken("is missing".to_owned())),
        Err(error) => return Err(broken(error.to_string())),
    };
    let mut meta: Value =
        serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    let wanted =
        serde_json::to_value(&schema.tantivy).map_err(|error| broken(error.to_string()))?;
    if meta["schema"] != wanted {
        meta["schema"] = wanted;
        files.set(META, meta.to_string().into_bytes());
    }
    Ok(())
}

/// Documents are packed by the thread that adds them: a thread for each segment in the making
/// would be one more thing that can fail.
fn settings() -> tantivy::IndexSettings {
    tantivy::IndexSettings {
        docstore_compress_dedicated_thread: false,
        ..tantivy::IndexSettings::default()
    }
}

/// Builds a segment in memory, document by document.
pub(super) struct Builder {
    writer: tantivy::SingleSegmentIndexWriter,
    files: Files,
    docs: u32,
}

/// Memory that sizes tantivy's table of terms; the table grows when it must.
const TABLE_MEMORY: usize = 1 << 20;

impl Builder {
    /// An empty segment under `schema`.
    pub(super) fn new(schema: &Schema) -> Outcome<Self> {
        let files = Files::default();
        let writer = Index::builder()
            .schema(schema.tantivy.clone())
            .settings(settings())
            .tokenizers(analysis::manager())
            .single_segment_index_writer(files.clone(), TABLE_MEMORY)?;
        Ok(Self {
            writer,
            files,
            docs: 0,
        })
    }

    /// Adds a document; returns its number.
    pub(super) fn add(&mut self, doc: TantivyDocument) -> Outcome<DocId> {
        self.writer.add_document(doc)?;
        self.docs += 1;
        Ok(self.docs - 1)
    }

    /// How many there are.
    pub(super) fn docs(&self) -> u32 {
        self.docs
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        let finished = usize::try_from(self.files.written()).unwrap_or(usize::MAX);
        self.writer.mem_usage().saturating_add(finished)
    }

    /// The finished files.
    pub(super) fn finish(self) -> Outcome<Files> {
        self.writer.finalize()?;
        Ok(self.files)
    }
}

/// Puts segments together, leaving out the documents that are not in `kept`. All must be open
/// under the same schema.
pub(super) fn merge(segments: &[(Arc<Segment>, Arc<Bits>)]) -> Outcome<Files> {
    let files = Files::default();
    let sources: Vec<_> = segments
        .iter()
        .map(|(segment, _)| segment.tantivy.clone())
        .collect();
    let kept = segments
        .iter()
        .map(|(_, kept)| kept.to_tantivy().map(Some))
        .collect::<io::Result<Vec<_>>>()?;
    tantivy::indexer::merge_filtered_segments(&sources, settings(), kept, files.clone())?;
    Ok(files)
}

//! Where a repository lies: a directory, or a bucket of an S3 service. Layout and names are restic's,
//! so that any restic reads it.

mod local;
mod rate;
mod s3;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rustic_core::{
    BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend,
};
use serde::{Deserialize, Serialize};

use super::BackupError;

/// Where a repository lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Place {
    /// A directory of this machine.
    Directory {
        /// Absolute.
        path: PathBuf,
    },
    /// A bucket.
    S3(Bucket),
}

/// A bucket of a service that speaks S3.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Such as `https://s3.eu-central-1.amazonaws.com`.
    pub endpoint: String,
    /// Name of the bucket.
    pub bucket: String,
    /// Path in the bucket, without slashes around it; may be empty.
    pub prefix: String,
    /// Such as `eu-central-1`; most other services take any.
    pub region: String,
    /// Key id.
    pub access_key: String,
    /// Key.
    pub secret_key: String,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory { path } => write!(f, "{}", path.display()),
            Self::S3(bucket) => write!(
                f,
                "s3:{}/{}/{}",
                bucket.endpoint.trim_end_matches('/'),
                bucket.bucket,
                bucket.prefix
            ),
        }
    }
}

impl Place {
    /// Its files, read and written with so many bytes a second at most.
    pub(super) fn files(
        &self,
        bandwidth: Option<u64>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Arc<dyn Files>, BackupError> {
        let rate = rate::Rate::new(bandwidth);
        Ok(match self {
            Self::Directory { path } => Arc::new(local::Local::new(path.clone(), rate)),
            Self::S3(bucket) => Arc::new(s3::S3::new(bucket, rate, runtime.clone())?),
        })
    }
}

/// Why a file of a repository was not read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {cause}")]
pub(super) struct FileFault {
    pub(super) what: &'static str,
    pub(super) path: String,
    pub(super) cause: String,
    pub(super) is_missing: bool,
}

pub(super) type FileResult<T> = Result<T, FileFault>;

/// The files of a repository, by their paths in it; `/` separates.
pub(super) trait Files: Send + Sync + std::fmt::Debug + 'static {
    /// As a person would write it.
    fn location(&self) -> String;
    /// Makes what has to be there before the first file.
    fn create(&self) -> FileResult<()>;
    /// Names and sizes of all files below a directory, at any depth; none where it is not there.
    fn list(&self, dir: &str) -> FileResult<Vec<(String, u64)>>;
    /// A file, or `range` (offset, length) of it.
    fn read(&self, path: &str, range: Option<(u32, u32)>) -> FileResult<Bytes>;
    /// Writes a file as a whole. It is durable then, and so is every one before; a pack, when the
    /// next file of another kind is.
    fn write(&self, path: &str, content: Vec<Bytes>) -> FileResult<()>;
    /// Removes one; that it is not there is no fault.
    fn remove(&self, path: &str) -> FileResult<()>;
}

/// The same files, as `rustic_core` wants them.
#[derive(Debug)]
pub(super) struct Adapter(pub(super) Arc<dyn Files>);

/// Where a file lies in the repository.
fn path_of(kind: FileType, id: &Id) -> String {
    match kind {
        FileType::Config => "config".to_owned(),
        FileType::Pack => {
            let id = id.to_hex();
            format!("data/{}/{}", id.get(..2).unwrap_or_default(), id.as_str())
        }
        other => format!("{}/{}", other.dirname(), id.to_hex().as_str()),
    }
}

impl From<FileFault> for Box<RusticError> {
    fn from(fault: FileFault) -> Self {
        let (what, path) = (fault.what, fault.path.clone());
        RusticError::with_source(ErrorKind::Backend, "cannot {what} `{path}`", fault)
            .attach_context("what", what)
            .attach_context("path", path)
    }
}

impl ReadBackend for Adapter {
    fn location(&self) -> String {
        self.0.location()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let size = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
        if kind == FileType::Config {
            let found = self.0.list("")?;
            let config = found.into_iter().find(|(name, _)| name == "config");
            return Ok(config
                .map(|(_, bytes)| (Id::default(), size(bytes)))
                .into_iter()
                .collect());
        }
        // Anything else that lies there is nobody's.
        let found = self.0.list(kind.dirname())?;
        Ok(found
            .into_iter()
            .filter_map(|(name, bytes)| Some((name.parse().ok()?, size(bytes))))
            .collect())
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        Ok(self.0.read(&path_of(kind, id), None)?)
    }

    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        Ok(self.0.read(&path_of(kind, id), Some((offset, length)))?)
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        path_of(kind, id)
    }
}

impl WriteBackend for Adapter {
    fn create(&self) -> RusticResult<()> {
        Ok(self.0.create()?)
    }

    fn write_bytes(
        &self,
        kind: FileType,
        id: &Id,
        _cacheable: bool,
        content: BytesList,
    ) -> RusticResult<()> {
        Ok(self.0.write(&path_of(kind, id), content.into_vec())?)
    }

    fn remove(&self, kind: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        Ok(self.0.remove(&path_of(kind, id))?)
    }
}

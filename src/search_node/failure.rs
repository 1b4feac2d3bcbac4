//! Errors in Elasticsearch's shape.

use serde_json::{Map, Value, json};

/// What a request failed by: an HTTP status, Elasticsearch's name of the error, and the cause.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{kind}: {reason}")]
pub(super) struct Failure {
    /// HTTP status.
    pub status: u16,
    /// Elasticsearch's name of the error, such as `parsing_exception`.
    pub kind: &'static str,
    /// What is wrong, with the name of the thing, and the way out where there is one.
    pub reason: String,
    /// Further members of the error object, such as `index`.
    pub more: Option<Box<Map<String, Value>>>,
    /// The error that this one follows from.
    pub caused_by: Option<Box<Failure>>,
}

/// Result of a request.
pub(super) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// An error of the given status, name and cause.
    pub(super) fn new(status: u16, kind: &'static str, reason: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            reason: reason.into(),
            more: None,
            caused_by: None,
        }
    }

    /// 400: a value is not acceptable.
    pub(super) fn illegal(reason: impl Into<String>) -> Self {
        Self::new(400, "illegal_argument_exception", reason)
    }

    /// 400: the body cannot be read.
    pub(super) fn parsing(reason: impl Into<String>) -> Self {
        Self::new(400, "parsing_exception", reason)
    }

    /// 400: a document does not fit its index.
    pub(super) fn document(reason: impl Into<String>) -> Self {
        Self::new(400, "document_parsing_exception", reason)
    }

    /// 400: a mapping cannot be taken.
    pub(super) fn mapping(reason: impl Into<String>) -> Self {
        Self::new(400, "mapper_parsing_exception", reason)
    }

    /// 400: Elasticsearch has it, this node does not. Never answered wrongly in silence.
    pub(super) fn unsupported(what: impl std::fmt::Display) -> Self {
        Self::new(
            400,
            "unsupported_operation_exception",
            format!("{what} is not supported by the lucid search node"),
        )
    }

    /// 404: no such index.
    pub(super) fn no_index(name: &str) -> Self {
        Self::new(
            404,
            "index_not_found_exception",
            format!("no such index [{name}]"),
        )
        .with("index", name)
        .with("index_uuid", "_na_")
        .with("resource.type", "index_or_alias")
        .with("resource.id", name)
    }

    /// 404: no such thing of another kind.
    pub(super) fn missing(reason: impl Into<String>) -> Self {
        Self::new(404, "resource_not_found_exception", reason)
    }

    /// 500: a fault of the node itself.
    pub(super) fn internal(reason: impl Into<String>) -> Self {
        Self::new(500, "exception", reason)
    }

    /// Whether it came of a full disk.
    pub(super) fn is_full(&self) -> bool {
        self.status == 429 && self.kind == "cluster_block_exception"
    }

    /// Adds a member to the error object.
    #[must_use]
    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        let more = self.more.get_or_insert_with(Box::default);
        more.insert(key.to_owned(), value.into());
        self
    }

    /// Adds the error that this one follows from.
    #[must_use]
    pub(super) fn because(mut self, cause: Failure) -> Self {
        self.caused_by = Some(Box::new(cause));
        self
    }

    /// The error object alone, as it stands in an item of a bulk answer.
    pub(super) fn object(&self) -> Value {
        let mut object = Map::new();
        object.insert("type".to_owned(), self.kind.into());
        object.insert("reason".to_owned(), self.reason.clone().into());
        if let Some(more) = &self.more {
            object.extend((**more).clone());
        }
        if let Some(cause) = &self.caused_by {
            object.insert("caused_by".to_owned(), cause.object());
        }
        Value::Object(object)
    }

    /// The whole answer.
    pub(super) fn body(&self) -> Value {
        let mut object = self.object();
        object["root_cause"] = json!([self.object()]);
        json!({"error": object, "status": self.status})
    }
}

impl From<tantivy::TantivyError> for Failure {
    fn from(error: tantivy::TantivyError) -> Self {
        Self::internal(format!("the index could not be read: {error}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if is_full(&error) {
            return Self::full(&error);
        }
        Self::new(500, "i_o_exception", error.to_string())
    }
}

impl From<crate::fsx::FsError> for Failure {
    fn from(error: crate::fsx::FsError) -> Self {
        if is_full(&error.source) {
            return Self::full(&error.source);
        }
        Self::new(500, "i_o_exception", error.to_string())
    }
}

impl Failure {
    fn full(error: &std::io::Error) -> Self {
        Self::new(
            429,
            "cluster_block_exception",
            format!(
                "disk full: nothing was written ({error}); delete indices or enlarge the volume, \
                 writes then work again without a restart"
            ),
        )
    }
}

/// Whether the file system or its quota is used up.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(nix::libc::ENOSPC | nix::libc::EDQUOT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_elasticsearchs_shape() {
        let body = Failure::no_index("logs").body();
        assert_eq!(body["status"], 404);
        assert_eq!(body["error"]["type"], "index_not_found_exception");
        assert_eq!(body["error"]["index"], "logs");
        assert_eq!(
            body["error"]["root_cause"][0]["reason"],
            "no such index [logs]"
        );
    }

    #[test]
    fn a_full_disk_is_429_with_the_cause_and_the_way_out() {
        let failure = Failure::from(std::io::Error::from_raw_os_error(nix::libc::ENOSPC));
        assert_eq!(failure.status, 429);
        assert!(failure.reason.contains("enlarge the volume"), "{failure}");
    }
}

//! Parameters that are refused because this node has nothing like them, not because they are wrong.

/// Parameters that Elasticsearch has for some requests; one that does not know them here refuses
/// them as unsupported.
const PARAMETERS: &[&str] = &[
    "copy_settings",
    "dry_run",
    "explain",
    "fields",
    "force_synthetic_source",
    "full_id",
    "help",
    "include_segment_file_sizes",
    "min_compatible_shard_node",
    "min_score",
    "retry_failed",
    "slices",
    "source",
    "source_content_type",
    "stats",
    "stored_fields",
    "suggest_field",
    "suggest_mode",
    "suggest_size",
    "suggest_text",
    "terminate_after",
    "ts",
];

/// Whether Elasticsearch has a parameter of this name, where it is not known here.
pub(super) fn has(parameter: &str) -> bool {
    PARAMETERS.contains(&parameter)
}

//! One field that holds values, as its mapping defines it.

use serde_json::{Map, Value};

use super::kind::{Kind, parse_kind};
use crate::search_node::analysis::Analyzer;
use crate::search_node::dates::Formats;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::text;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    /// Full path, such as `user.name.keyword`.
    pub path: String,
    /// Type.
    pub kind: Kind,
    /// Number of its column and terms in the index; never reused.
    pub slot: u32,
    /// For indexing.
    pub analyzer: Analyzer,
    /// For queries.
    pub search_analyzer: Analyzer,
    /// Whether it can be searched.
    pub index: bool,
    /// Whether it can be sorted and aggregated by.
    pub doc_values: bool,
    /// Whether the length of a text counts for its score.
    pub norms: bool,
    /// Longer keywords are not indexed; characters.
    pub ignore_above: usize,
    /// Stands for an explicit null.
    pub null_value: Option<Value>,
    /// Whether texts are read as numbers and fractions cut off.
    pub coerce: bool,
    /// Whether a value that cannot be read is left out instead of refusing the document.
    pub ignore_malformed: bool,
    /// Whether a keyword is lower-cased (normalizer `lowercase`).
    pub lowercase: bool,
    /// Paths that get its values too.
    pub copy_to: Vec<String>,
    /// Of a date.
    pub formats: Formats,
    /// Of a scaled float.
    pub scaling: f64,
    /// Longest input of a completion, in UTF-16 units; longer ones are cut.
    pub max_input: usize,
    /// Whether a completion tells where one word ends and the next begins.
    pub keeps_separators: bool,
    /// Whether a completion tells where words were left out.
    pub keeps_positions: bool,
    /// The nested object it stands in.
    pub nested: Option<String>,
    /// Names of its multi-fields.
    pub multi: Vec<String>,
}

/// Parameters that a kind takes besides `type`, `fields` and `meta`.
fn allowed(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Text => &[
            "analyzer",
            "copy_to",
            "eager_global_ordinals",
            "fielddata",
            "index",
            "index_options",
            "norms",
            "position_increment_gap",
            "search_analyzer",
            "similarity",
            "store",
            "term_vector",
        ],
        Kind::Keyword => &[
            "copy_to",
            "doc_values",
            "eager_global_ordinals",
            "ignore_above",
            "index",
            "index_options",
            "norms",
            "normalizer",
            "null_value",
            "similarity",
            "store",
        ],
        Kind::Date => &[
            "copy_to",
            "doc_values",
            "format",
            "ignore_malformed",
            "index",
            "null_value",
            "store",
        ],
        Kind::Boolean | Kind::Ip => &[
            "copy_to",
            "doc_values",
            "ignore_malformed",
            "index",
            "null_value",
            "store",
        ],
        Kind::ScaledFloat => &[
            "coerce",
            "copy_to",
            "doc_values",
            "ignore_malformed",
            "index",
            "null_value",
            "scaling_factor",
            "store",
        ],
        Kind::Completion => &[
            "analyzer",
            "max_input_length",
            "preserve_position_increments",
            "preserve_separators",
            "search_analyzer",
        ],
        _ => &[
            "coerce",
            "copy_to",
            "doc_values",
            "ignore_malformed",
            "index",
            "null_value",
            "store",
        ],
    }
}

/// Parameters whose only supported value is the default.
const FIXED: &[(&str, &[&str])] = &[
    ("store", &["false"]),
    ("fielddata", &["false"]),
    ("similarity", &["BM25"]),
    ("term_vector", &["no"]),
    ("position_increment_gap", &["100"]),
    ("index_options", &["docs", "freqs", "positions"]),
];

impl Leaf {
    /// Reads the definition of the field at `path`.
    pub(crate) fn parse(
        path: &str,
        definition: &Map<String, Value>,
        slot: u32,
        nested: Option<&str>,
    ) -> Outcome<Self> {
        let name = match definition.get("type") {
            Some(Value::String(name)) => name.as_str(),
            _ => {
                return Err(Failure::mapping(format!(
                    "No type specified for field [{path}]"
                )));
            }
        };
        let kind = parse_kind(path, name)?;
        let read = Params { path, definition };
        read.check(kind)?;
        let default_analyzer = match kind {
            Kind::Completion => Analyzer::Simple,
            Kind::Text => Analyzer::Standard,
            _ => Analyzer::Keyword,
        };
        let analyzer = read.analyzer("analyzer")?.unwrap_or(default_analyzer);
        let formats = match definition.get("format") {
            Some(Value::String(spec)) => Formats::parse_spec(spec).map_err(|error| {
                Failure::mapping(format!(
                    "Invalid format: [{spec}] on field [{path}]: {error}"
                ))
            })?,
            _ => Formats::default(),
        };
        let scaling = match (kind, definition.get("scaling_factor").and_then(number)) {
            (Kind::ScaledFloat, Some(factor)) if factor > 0.0 => factor,
            (Kind::ScaledFloat, _) => {
                return Err(Failure::mapping(format!(
                    "Field [{path}] misses required parameter [scaling_factor], a number above 0"
                )));
            }
            _ => 1.0,
        };
        Ok(Self {
            path: path.to_owned(),
            kind,
            slot,
            search_analyzer: read.analyzer("search_analyzer")?.unwrap_or(analyzer),
            analyzer,
            index: read.flag("index", true)?,
            doc_values: read.flag("doc_values", kind != Kind::Text)?,
            norms: read.flag("norms", kind == Kind::Text)?,
            ignore_above: read.count("ignore_above")?.unwrap_or(usize::MAX),
            null_value: definition.get("null_value").cloned(),
            coerce: read.flag("coerce", true)?,
            ignore_malformed: read.flag("ignore_malformed", false)?,
            lowercase: definition.contains_key("normalizer"),
            copy_to: read.texts("copy_to")?,
            formats,
            scaling,
            max_input: match read.count("max_input_length")? {
                Some(0) => {
                    return Err(read.bad("max_input_length", "0", "a whole number of at least 1"));
                }
                given => given.unwrap_or(50),
            },
            keeps_separators: read.flag("preserve_separators", true)?,
            keeps_positions: read.flag("preserve_position_increments", true)?,
            nested: nested.map(str::to_owned),
            multi: Vec::new(),
        })
    }

    /// The name of its tantivy field; paths may hold characters that tantivy gives a meaning.
    pub(crate) fn column(&self) -> String {
        format!("f{}", self.slot)
    }

    /// The tantivy field.
    pub(crate) fn field(&self) -> tantivy::schema::Field {
        tantivy::schema::Field::from_field_id(self.slot + super::SystemFields::COUNT)
    }
}

struct Params<'a> {
    path: &'a str,
    definition: &'a Map<String, Value>,
}

impl Params<'_> {
    fn check(&self, kind: Kind) -> Outcome<()> {
        let path = self.path;
        for (key, value) in self.definition {
            let key = key.as_str();
            if ["type", "fields", "meta"].contains(&key) {
                continue;
            }
            if kind == Kind::Completion && key == "contexts" {
                return Err(Failure::unsupported(format!(
                    "[contexts] on field [{path}] of type [completion]"
                )));
            }
            if !allowed(kind).contains(&key) {
                return Err(Failure::mapping(format!(
                    "unknown parameter [{key}] on mapper [{path}] of type [{}]",
                    kind.name()
                )));
            }
            if let Some((_, values)) = FIXED.iter().find(|(name, _)| *name == key)
                && !values.contains(&text(value).as_str())
            {
                return Err(Failure::unsupported(format!(
                    "[{key}: {}] on field [{path}]",
                    text(value)
                )));
            }
            if key == "normalizer" && value != "lowercase" {
                return Err(Failure::unsupported(format!(
                    "normalizer [{}] on field [{path}] (there is [lowercase])",
                    text(value)
                )));
            }
        }
        Ok(())
    }

    fn flag(&self, key: &str, default: bool) -> Outcome<bool> {
        match self.definition.get(key) {
            None => Ok(default),
            Some(value) => match text(value).as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                other => Err(self.bad(key, other, "[true] or [false]")),
            },
        }
    }

    fn count(&self, key: &str) -> Outcome<Option<usize>> {
        match self.definition.get(key) {
            None => Ok(None),
            Some(value) => match text(value).parse() {
                Ok(count) => Ok(Some(count)),
                Err(_) => Err(self.bad(key, &text(value), "a whole number of at least 0")),
            },
        }
    }

    fn texts(&self, key: &str) -> Outcome<Vec<String>> {
        match self.definition.get(key) {
            None => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one.clone()]),
            Some(Value::Array(many)) if many.iter().all(Value::is_string) => {
                Ok(many.iter().map(text).collect())
            }
            Some(other) => Err(self.bad(key, &text(other), "a field name or a list of them")),
        }
    }

    fn analyzer(&self, key: &str) -> Outcome<Option<Analyzer>> {
        let Some(name) = self.definition.get(key).map(text) else {
            return Ok(None);
        };
        match Analyzer::from_name(&name) {
            Some(analyzer) => Ok(Some(analyzer)),
            None if Analyzer::is_elsewhere(&name) => Err(Failure::unsupported(format!(
                "analyzer [{name}] of field [{}]",
                self.path
            ))),
            None => Err(Failure::mapping(format!(
                "analyzer [{name}] has not been configured in mappings of field [{}]; there are \
                 standard, simple, whitespace, english and keyword",
                self.path
            ))),
        }
    }

    fn bad(&self, key: &str, found: &str, wanted: &str) -> Failure {
        Failure::mapping(format!(
            "parameter [{key}] of field [{}] is [{found}], it must be {wanted}",
            self.path
        ))
    }
}

fn number(value: &Value) -> Option<f64> {
    text(value).parse().ok()
}

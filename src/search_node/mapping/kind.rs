//! Types of fields.

use crate::search_node::failure::{Failure, Outcome};

/// Type of a field that holds values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Analysed text.
    Text,
    /// One exact term.
    Keyword,
    /// 64-bit integer.
    Long,
    /// 32-bit integer.
    Integer,
    /// 16-bit integer.
    Short,
    /// 8-bit integer.
    Byte,
    /// 64-bit float.
    Double,
    /// 32-bit float.
    Float,
    /// 16-bit float, kept as 32-bit.
    HalfFloat,
    /// Integer times a factor.
    ScaledFloat,
    /// True or false.
    Boolean,
    /// Milliseconds since the epoch.
    Date,
    /// IPv4 or IPv6 address.
    Ip,
    /// Inputs of the completion suggester.
    Completion,
}

/// How values lie in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// Terms with positions.
    Text,
    /// Terms and a column of ordinals.
    Term,
    /// A column of signed integers.
    Int,
    /// A column of floats.
    Float,
    /// A column of addresses.
    Ip,
    /// Terms of a completion.
    Completion,
}

const NAMES: &[(&str, Kind)] = &[
    ("text", Kind::Text),
    ("keyword", Kind::Keyword),
    ("long", Kind::Long),
    ("integer", Kind::Integer),
    ("short", Kind::Short),
    ("byte", Kind::Byte),
    ("double", Kind::Double),
    ("float", Kind::Float),
    ("half_float", Kind::HalfFloat),
    ("scaled_float", Kind::ScaledFloat),
    ("boolean", Kind::Boolean),
    ("date", Kind::Date),
    ("ip", Kind::Ip),
    ("completion", Kind::Completion),
];

impl Kind {
    /// The kind named `name` in a mapping.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, kind)| *kind)
    }

    /// Its name in a mapping.
    pub(crate) fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(name, _)| name)
    }

    /// How its values lie in the index.
    pub(crate) const fn storage(self) -> Storage {
        match self {
            Kind::Text => Storage::Text,
            Kind::Keyword => Storage::Term,
            Kind::Long | Kind::Integer | Kind::Short | Kind::Byte | Kind::Boolean | Kind::Date => {
                Storage::Int
            }
            Kind::Double | Kind::Float | Kind::HalfFloat | Kind::ScaledFloat => Storage::Float,
            Kind::Ip => Storage::Ip,
            Kind::Completion => Storage::Completion,
        }
    }

    /// Whether values are numbers for aggregations and sorting.
    pub(crate) const fn is_numeric(self) -> bool {
        matches!(self.storage(), Storage::Int | Storage::Float)
    }

    /// Bounds of an integer type.
    pub(crate) const fn integer_range(self) -> Option<(i64, i64)> {
        match self {
            Kind::Long => Some((i64::MIN, i64::MAX)),
            Kind::Integer => Some((i32::MIN as i64, i32::MAX as i64)),
            Kind::Short => Some((i16::MIN as i64, i16::MAX as i64)),
            Kind::Byte => Some((i8::MIN as i64, i8::MAX as i64)),
            _ => None,
        }
    }
}

/// The names of Elasticsearch's types that this node does not have.
const REFUSED: &[&str] = &[
    "alias",
    "aggregate_metric_double",
    "annotated_text",
    "binary",
    "constant_keyword",
    "date_nanos",
    "date_range",
    "dense_vector",
    "double_range",
    "flattened",
    "float_range",
    "geo_point",
    "geo_shape",
    "histogram",
    "integer_range",
    "ip_range",
    "join",
    "long_range",
    "match_only_text",
    "murmur3",
    "percolator",
    "point",
    "rank_feature",
    "rank_features",
    "search_as_you_type",
    "shape",
    "sparse_vector",
    "token_count",
    "unsigned_long",
    "version",
    "wildcard",
];

/// The kind that field `path` asks for with `name`.
pub(super) fn parse_kind(path: &str, name: &str) -> Outcome<Kind> {
    if let Some(kind) = Kind::from_name(name) {
        return Ok(kind);
    }
    if REFUSED.contains(&name) {
        return Err(Failure::unsupported(format!(
            "type [{name}] of field [{path}]"
        )));
    }
    Err(Failure::mapping(format!(
        "The mapper type [{name}] declared on field [{path}] does not exist"
    )))
}

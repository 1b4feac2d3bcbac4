//! The query languages that people type: Lucene's query string, and Elasticsearch's simple
//! query string. Both become the same tree, which knows nothing of mappings or of an index.

mod flags;
mod lexer;
mod parser;
mod simple;
#[cfg(test)]
mod tests;

pub(super) use flags::Flags;
pub(super) use parser::parse;
pub(super) use simple::parse_simple;

/// How deep queries may nest.
pub(super) const MAX_DEPTH: usize = 50;

/// How many terms, phrases, ranges and the like one query may hold.
pub(super) const MAX_CLAUSES: usize = 1024;

/// A parsed query.
///
/// A `field` of `None` stands for the default fields of the request. Field names are unescaped,
/// and may hold wildcards.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Clauses that must, should and must not match. With neither `must` nor `should` it matches
    /// everything but `must_not`, and scores nothing.
    Bool {
        /// All of these match.
        must: Vec<Node>,
        /// Without `must`, at least one of these matches; otherwise they only score.
        should: Vec<Node>,
        /// None of these match.
        must_not: Vec<Node>,
    },
    /// A term or a phrase, unescaped and not analysed. Where analysis leaves nothing of it (a
    /// lone `-`, a stop word), Lucene leaves out the clause.
    Text {
        /// Where to search.
        field: Option<String>,
        /// What to search for.
        text: String,
        /// Whether it was quoted: its terms then form a phrase.
        quoted: bool,
        /// How far apart the terms of the phrase may be, if the query says so.
        slop: Option<u32>,
        /// How much the term may differ; never set for a phrase.
        fuzzy: Option<Fuzzy>,
        /// The factor on its score.
        boost: f32,
    },
    /// A term with `*` for any characters and `?` for any one.
    Wildcard {
        /// Where to search.
        field: Option<String>,
        /// The pattern; a backslash before a character takes that character literally.
        pattern: String,
        /// The factor on its score.
        boost: f32,
    },
    /// Terms that start with a text.
    Prefix {
        /// Where to search.
        field: Option<String>,
        /// The start of the terms, unescaped.
        prefix: String,
        /// The factor on its score.
        boost: f32,
    },
    /// Terms that a regular expression matches as a whole.
    Regex {
        /// Where to search.
        field: Option<String>,
        /// The expression between the slashes, with its escapes.
        pattern: String,
        /// The factor on its score.
        boost: f32,
    },
    /// Values between two bounds.
    Range {
        /// Where to search.
        field: Option<String>,
        /// The lower bound and whether it belongs to the range; `None` if open.
        from: Option<(String, bool)>,
        /// The upper bound and whether it belongs to the range; `None` if open.
        to: Option<(String, bool)>,
        /// The factor on its score.
        boost: f32,
    },
    /// Documents with any value in a field.
    Exists {
        /// The field.
        field: String,
    },
    /// Every document.
    All,
    /// A query whose score is multiplied.
    Boosted {
        /// The query.
        node: Box<Node>,
        /// The factor on its score.
        boost: f32,
    },
    /// No document: the query was blank.
    Nothing,
}

/// How much a term may differ from what was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fuzzy {
    /// As many edits as suit the term's length, or as the request says.
    Auto,
    /// At most this many edits: 0, 1 or 2.
    Edits(u8),
}

/// What joins clauses that no operator joins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Operator {
    /// All must match.
    And,
    /// Any may match.
    #[default]
    Or,
}

/// Why a query could not be parsed. Positions count characters from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SyntaxError {
    /// Something does not belong where it stands.
    #[error("syntax error at character {position}: found {found}, expected {expected}")]
    Unexpected {
        /// Where it stands.
        position: usize,
        /// What was found.
        found: String,
        /// What could stand there.
        expected: &'static str,
    },
    /// More than [`MAX_DEPTH`] levels.
    #[error("the query nests deeper than {MAX_DEPTH} levels at character {position}")]
    TooDeep {
        /// Where the level too many starts.
        position: usize,
    },
    /// More than [`MAX_CLAUSES`] clauses.
    #[error("the query has more than {MAX_CLAUSES} clauses, at character {position}")]
    TooManyClauses {
        /// Where the clause too many starts.
        position: usize,
    },
}

#[cfg(test)]
impl SyntaxError {
    fn position(&self) -> usize {
        match self {
            Self::Unexpected { position, .. }
            | Self::TooDeep { position }
            | Self::TooManyClauses { position } => *position,
        }
    }
}

impl Node {
    /// A term as it was typed.
    fn term(text: String) -> Self {
        Self::Text {
            field: None,
            text,
            quoted: false,
            slop: None,
            fuzzy: None,
            boost: 1.0,
        }
    }

    /// This query with its score multiplied.
    fn boosted(mut self, factor: f32) -> Self {
        match &mut self {
            Self::Text { boost, .. }
            | Self::Wildcard { boost, .. }
            | Self::Prefix { boost, .. }
            | Self::Regex { boost, .. }
            | Self::Range { boost, .. }
            | Self::Boosted { boost, .. } => {
                *boost *= factor;
                self
            }
            // Most clauses have no boost: no wrapper for those.
            _ if (factor - 1.0).abs() < f32::EPSILON => self,
            Self::Bool { .. } | Self::Exists { .. } | Self::All => Self::Boosted {
                node: Box::new(self),
                boost: factor,
            },
            Self::Nothing => self,
        }
    }
}

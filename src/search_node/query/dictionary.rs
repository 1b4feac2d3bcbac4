//! Queries for terms that fit a pattern: the dictionary of a field is walked.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tantivy::postings::Postings;
use tantivy::query::{
    BitSetDocSet, ConstScorer, DfaWrapper, EmptyScorer, EnableScoring, Explanation, Query, Scorer,
    Weight,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{BitSet, DocId, DocSet, Score, SegmentReader, TERMINATED, TantivyError};
use tantivy_fst::Regex;

use super::{Built, Context, Marked, boosted, field_params, none};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Leaf, Storage, SystemFields};

/// What tantivy's error says when the request ran too long.
pub(crate) const TIMED_OUT: &str = "the request ran longer than its time limit";

/// Terms between two looks at the clock.
const CLOCK_EVERY: usize = 256;

/// Longest pattern, in characters, as `index.max_regex_length`.
const MAX_PATTERN: usize = 1000;

/// Which terms fit.
#[derive(Clone)]
enum Terms {
    Prefix(Vec<u8>),
    Regex(Arc<Regex>),
    /// Those that differ little from one, and begin with this text.
    Near(Arc<DfaWrapper>, String),
}

/// See the module.
#[derive(Clone)]
struct DictionaryQuery {
    field: Field,
    terms: Terms,
    deadline: Instant,
}

impl std::fmt::Debug for DictionaryQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DictionaryQuery")
            .field("field", &self.field)
            .finish_non_exhaustive()
    }
}

impl Query for DictionaryQuery {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for DictionaryQuery {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let index = reader.inverted_index(self.field)?;
        let mut docs = BitSet::with_max_value(reader.max_doc());
        let mut any = false;
        let mut seen = 0;
        let mut add = |info: &tantivy::postings::TermInfo| -> tantivy::Result<()> {
            seen += 1;
            if seen % CLOCK_EVERY == 0 && Instant::now() > self.deadline {
                return Err(TantivyError::InternalError(TIMED_OUT.to_owned()));
            }
            any = true;
            let mut postings = index.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
            debug_assert!(postings.doc() == TERMINATED || postings.term_freq() > 0);
            let mut doc = postings.doc();
            while doc != TERMINATED {
                docs.insert(doc);
                doc = postings.advance();
            }
            Ok(())
        };
        match &self.terms {
            Terms::Prefix(prefix) => {
                let mut stream = index.terms().range().ge(prefix).into_stream()?;
                while stream.advance() && stream.key().starts_with(prefix) {
                    add(stream.value())?;
                }
            }
            Terms::Near(automaton, prefix) => {
                let mut stream = index.terms().search(&**automaton).into_stream()?;
                while stream.advance() {
                    if stream.key().starts_with(prefix.as_bytes()) {
                        add(stream.value())?;
                    }
                }
            }
            Terms::Regex(regex) => {
                let mut stream = index.terms().search(&**regex).into_stream()?;
                while stream.advance() {
                    add(stream.value())?;
                }
            }
        }
        if !any {
            return Ok(Box::new(EmptyScorer));
        }
        Ok(Box::new(ConstScorer::new(BitSetDocSet::from(docs), boost)))
    }

    fn explain(&self, _: &SegmentReader, _: DocId) -> tantivy::Result<Explanation> {
        Ok(Explanation::new("terms that fit a pattern", 1.0))
    }
}

fn query(ctx: &Context<'_>, field: Field, terms: Terms) -> Built {
    Box::new(DictionaryQuery {
        field,
        terms,
        deadline: ctx.deadline,
    })
}

/// Terms that `automaton` takes and that begin with `prefix`.
pub(super) fn near(
    ctx: &Context<'_>,
    field: Field,
    automaton: DfaWrapper,
    prefix: String,
) -> Built {
    query(ctx, field, Terms::Near(Arc::new(automaton), prefix))
}

fn regex(pattern: &str) -> Outcome<Arc<Regex>> {
    if pattern.chars().count() > MAX_PATTERN {
        return Err(Failure::illegal(format!(
            "The length of the pattern [{}] has exceeded the allowed maximum of [{MAX_PATTERN}]",
            pattern.chars().count()
        )));
    }
    Regex::new(pattern).map(Arc::new).map_err(|error| {
        Failure::illegal(format!(
            "the pattern [{pattern}] cannot be used: {error}; it may be malformed, or need too \
             much memory"
        ))
    })
}

/// The terms of the field, when it has terms; `_id` is one too.
pub(super) fn field_of<'a>(
    ctx: &'a Context<'_>,
    name: &str,
    path: &str,
) -> Outcome<Option<(Field, Option<&'a Leaf>)>> {
    if path == "_id" {
        return Ok(Some((SystemFields::ID, None)));
    }
    let Some(leaf) = ctx.searchable(path)? else {
        return Ok(None);
    };
    match leaf.kind.storage() {
        Storage::Text | Storage::Term => Ok(Some((leaf.field(), Some(leaf)))),
        _ => Err(Failure::new(
            400,
            "query_shard_exception",
            format!(
                "failed to create query: Can only use {name} queries on keyword, text and wildcard \
                 fields - not on [{path}] which is of type [{}]",
                leaf.kind.name()
            ),
        )),
    }
}

fn lowered(leaf: Option<&Leaf>, text: String) -> String {
    match leaf {
        Some(leaf) if leaf.lowercase => text.to_lowercase(),
        _ => text,
    }
}

pub(super) fn prefix(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let (path, params) = field_params("prefix", "value", body)?;
    let boost = params.boost()?;
    let fold = params.flag("case_insensitive", false)?;
    let value = params.need_text("value")?;
    params.ignore(&["rewrite"]);
    params.finish()?;
    Ok(boosted(prefix_of(ctx, path, value, fold)?, boost))
}

/// Documents with a term in `path` that begins with `text`.
pub(super) fn prefix_of(ctx: &Context<'_>, path: &str, text: String, fold: bool) -> Outcome<Built> {
    let Some((field, leaf)) = field_of(ctx, "prefix", path)? else {
        return Ok(none());
    };
    let text = lowered(leaf, text);
    if let Some(leaf) = leaf {
        ctx.mark(leaf, Marked::Prefix(text.clone()));
    }
    let terms = if fold {
        let pattern = format!("(?i){}(?s:.*)", escape(&text));
        Terms::Regex(regex(&pattern)?)
    } else {
        Terms::Prefix(text.into_bytes())
    };
    Ok(query(ctx, field, terms))
}

/// Documents with the term `text` in any case.
pub(super) fn folded(ctx: &Context<'_>, leaf: &Leaf, text: &str) -> Outcome<Built> {
    let terms = Terms::Regex(regex(&format!("(?i){}", escape(text)))?);
    Ok(query(ctx, leaf.field(), terms))
}

pub(super) fn wildcard(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let (path, params) = field_params("wildcard", "value", body)?;
    let boost = params.boost()?;
    let fold = params.flag("case_insensitive", false)?;
    let value = match params.text("wildcard")? {
        Some(value) => value,
        None => params.need_text("value")?,
    };
    params.ignore(&["rewrite"]);
    params.finish()?;
    Ok(boosted(wildcard_of(ctx, path, value, fold)?, boost))
}

/// Documents with a term in `path` that fits `pattern` of `*` and `?`.
pub(super) fn wildcard_of(
    ctx: &Context<'_>,
    path: &str,
    pattern: String,
    fold: bool,
) -> Outcome<Built> {
    let Some((field, leaf)) = field_of(ctx, "wildcard", path)? else {
        return Ok(none());
    };
    let pattern = lowered(leaf, pattern);
    if let Some(leaf) = leaf {
        ctx.mark(leaf, Marked::Wildcard(pattern.clone()));
    }
    let flags = if fold { "(?i)" } else { "" };
    let terms = Terms::Regex(regex(&format!("{flags}{}", wildcard_regex(&pattern)))?);
    Ok(query(ctx, field, terms))
}

/// A pattern of `*` and `?`, in which a backslash takes the next character as it is, as a regular
/// expression.
fn wildcard_regex(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() * 2);
    let mut chars = pattern.chars();
    let mut star = false;
    while let Some(c) = chars.next() {
        // Stars in a row are one: each costs states.
        if c == '*' && star {
            continue;
        }
        star = c == '*';
        match c {
            '*' => out.push_str("(?s:.*)"),
            '?' => out.push_str("(?s:.)"),
            '\\' => out.push_str(&escape(
                chars.next().unwrap_or('\\').encode_utf8(&mut [0; 4]),
            )),
            other => out.push_str(&escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

pub(super) fn regexp(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let (path, params) = field_params("regexp", "value", body)?;
    let boost = params.boost()?;
    let fold = params.flag("case_insensitive", false)?;
    let value = params.need_text("value")?;
    if let Some(flags) = params.text("flags")?
        && !["ALL", "NONE"].contains(&flags.as_str())
    {
        return Err(Failure::unsupported(format!(
            "[flags: {flags}] of query [regexp]"
        )));
    }
    params.ignore(&["rewrite", "max_determinized_states"]);
    params.finish()?;
    Ok(boosted(regex_of(ctx, path, &value, fold)?, boost))
}

/// Documents with a term in `path` that the expression fits as a whole.
pub(super) fn regex_of(ctx: &Context<'_>, path: &str, pattern: &str, fold: bool) -> Outcome<Built> {
    let Some((field, _)) = field_of(ctx, "regexp", path)? else {
        return Ok(none());
    };
    let mut escaped = false;
    for c in pattern.chars() {
        if !escaped && "~&@<".contains(c) {
            return Err(Failure::unsupported(format!(
                "operator [{c}] in a regular expression; put a backslash before it to search for \
                 the character"
            )));
        }
        escaped = c == '\\' && !escaped;
    }
    // Lucene's expressions have no anchors: these two are characters.
    let pattern = pattern.replace('^', "\\^").replace('$', "\\$");
    // A character class may still begin with one.
    let pattern = pattern.replace("[\\^", "[^");
    let flags = if fold { "(?i)" } else { "" };
    let terms = Terms::Regex(regex(&format!("{flags}{pattern}"))?);
    Ok(query(ctx, field, terms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_as_a_wildcard_is_a_pattern_or_an_error(text in ".{0,40}") {
            let _ = regex(&wildcard_regex(&text));
            prop_assert!(regex(&escape(&text)).is_ok(), "{text:?}");
        }
    }
}

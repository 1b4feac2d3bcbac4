//! Queries for terms that fit a pattern: the dictionary of a field is walked.

use std::collections::BTreeSet;
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
use tantivy_fst::{Automaton, Regex};

use super::patterns::{compile, escape, lucene_regex, wildcard_regex};
use super::{Built, Context, Marked, boosted, field_params, none};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Leaf, Storage, SystemFields};

/// 429: the request ran too long, and what to ask instead.
pub(crate) fn timed_out(advice: &str) -> Failure {
    Failure::new(
        429,
        "es_rejected_execution_exception",
        format!("{TIMED_OUT}; {advice}"),
    )
}

/// What tantivy's error says when the request ran too long.
pub(crate) const TIMED_OUT: &str = "the request ran longer than its time limit";

/// Terms between two looks at the clock.
const CLOCK_EVERY: usize = 256;

/// Which terms fit.
#[derive(Clone)]
pub(crate) enum Terms {
    /// Those that begin so.
    Prefix(Vec<u8>),
    /// Those that an expression fits as a whole.
    Regex(Arc<Regex>),
    /// Those that differ little from one, and begin with this text.
    Near(Arc<DfaWrapper>, String),
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Terms::Prefix(_) => "Prefix",
            Terms::Regex(_) => "Regex",
            Terms::Near(..) => "Near",
        })
    }
}

impl Terms {
    /// Whether `term` fits.
    pub(crate) fn fit(&self, term: &str) -> bool {
        match self {
            Terms::Prefix(prefix) => term.as_bytes().starts_with(prefix),
            Terms::Regex(regex) => accepts(&**regex, term),
            Terms::Near(automaton, prefix) => {
                term.starts_with(prefix.as_str()) && accepts(&**automaton, term)
            }
        }
    }
}

pub(super) fn accepts<A: Automaton>(automaton: &A, term: &str) -> bool {
    let state = term.bytes().fold(automaton.start(), |state, byte| {
        automaton.accept(&state, byte)
    });
    automaton.is_match(&state)
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

fn query(ctx: &Context<'_>, field: Field, leaf: Option<&Leaf>, terms: Terms) -> Built {
    if let Some(leaf) = leaf {
        ctx.mark(leaf, Marked::Fitting(terms.clone()));
    }
    Box::new(DictionaryQuery {
        field,
        terms,
        deadline: ctx.deadline,
    })
}

/// Documents of `leaf` with a term that fits.
pub(super) fn fitting(ctx: &Context<'_>, leaf: &Leaf, terms: Terms) -> Built {
    query(ctx, leaf.field(), Some(leaf), terms)
}

/// The first terms of `leaf` that begin with `prefix`, at most `limit`.
pub(super) fn beginning(
    ctx: &Context<'_>,
    leaf: &Leaf,
    prefix: &str,
    limit: usize,
) -> Outcome<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for part in &ctx.view.parts {
        let index = part.segment.reader.inverted_index(leaf.field())?;
        let mut stream = index.terms().range().ge(prefix).into_stream()?;
        let mut here = 0;
        while here < limit && stream.advance() && stream.key().starts_with(prefix.as_bytes()) {
            found.insert(String::from_utf8_lossy(stream.key()).into_owned());
            here += 1;
        }
    }
    while found.len() > limit {
        found.pop_last();
    }
    Ok(found)
}

fn regex(ctx: &Context<'_>, pattern: &str) -> Outcome<Arc<Regex>> {
    ctx.count_pattern()?;
    compile(pattern)
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
    params.only("rewrite", "constant_score")?;
    params.finish()?;
    Ok(boosted(prefix_of(ctx, path, value, fold)?, boost))
}

/// Documents with a term in `path` that begins with `text`.
pub(super) fn prefix_of(ctx: &Context<'_>, path: &str, text: String, fold: bool) -> Outcome<Built> {
    let Some((field, leaf)) = field_of(ctx, "prefix", path)? else {
        return Ok(none());
    };
    let text = lowered(leaf, text);
    let terms = if fold {
        let pattern = format!("(?i){}(?s:.*)", escape(&text));
        Terms::Regex(regex(ctx, &pattern)?)
    } else {
        Terms::Prefix(text.into_bytes())
    };
    Ok(query(ctx, field, leaf, terms))
}

/// Documents with the term `text` in any case.
pub(super) fn folded(ctx: &Context<'_>, leaf: &Leaf, text: &str) -> Outcome<Built> {
    let terms = Terms::Regex(regex(ctx, &format!("(?i){}", escape(text)))?);
    Ok(fitting(ctx, leaf, terms))
}

pub(super) fn wildcard(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let (path, params) = field_params("wildcard", "value", body)?;
    let boost = params.boost()?;
    let fold = params.flag("case_insensitive", false)?;
    let value = match params.text("wildcard")? {
        Some(value) => value,
        None => params.need_text("value")?,
    };
    params.only("rewrite", "constant_score")?;
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
    let flags = if fold { "(?i)" } else { "" };
    let terms = Terms::Regex(regex(ctx, &format!("{flags}{}", wildcard_regex(&pattern)))?);
    Ok(query(ctx, field, leaf, terms))
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
    params.only("rewrite", "constant_score")?;
    params.ignore(&["max_determinized_states"]);
    params.finish()?;
    Ok(boosted(regex_of(ctx, path, &value, fold)?, boost))
}

/// Documents with a term in `path` that the expression fits as a whole.
pub(super) fn regex_of(ctx: &Context<'_>, path: &str, pattern: &str, fold: bool) -> Outcome<Built> {
    let Some((field, leaf)) = field_of(ctx, "regexp", path)? else {
        return Ok(none());
    };
    let flags = if fold { "(?i)" } else { "" };
    let pattern = lucene_regex(pattern)?;
    let terms = Terms::Regex(regex(ctx, &format!("{flags}(?s){pattern}"))?);
    Ok(query(ctx, field, leaf, terms))
}

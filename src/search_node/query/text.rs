//! Full-text queries: what is searched for is analysed as the field is.

use serde_json::Value;
use tantivy::Term;
use tantivy::query::PhraseQuery;

use super::compound::{best_of, combine, minimum_should_match};
use super::dictionary::{beginning, prefix_of};
use super::fuzzy::{Fuzziness, fuzzy_term, read_fuzziness};
use super::params::Params;
use super::terms::{exact, term_query};
use super::{Built, Context, Marked, all, boosted, field_params, none, object_of};
use crate::search_node::analysis::{Analyzer, Tok};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::plain;
use crate::search_node::mapping::{Kind, Leaf, Storage};

/// Words that the last one of a phrase may begin, at most.
const MAX_EXPANSIONS: usize = 1024;

/// How a text is matched.
#[derive(Debug, Clone)]
pub(super) struct Matching {
    /// Whether all terms must match.
    pub(super) and: bool,
    pub(super) minimum: Option<String>,
    pub(super) fuzziness: Option<Fuzziness>,
    pub(super) analyzer: Option<Analyzer>,
    /// Whether a value that the field cannot take matches nothing instead of being an error.
    pub(super) lenient: bool,
    /// What a text without any term matches.
    pub(super) zero_terms_all: bool,
    pub(super) slop: u32,
    /// How many words the last one of a phrase may begin.
    pub(super) expansions: usize,
    pub(super) kind: Phrase,
}

/// Whether the terms' order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phrase {
    /// It does not.
    No,
    /// It does.
    Yes,
    /// It does, and the last term is the beginning of one.
    Prefix,
    /// It does not, and the last term is the beginning of one.
    BoolPrefix,
}

impl Matching {
    pub(super) fn plain(kind: Phrase) -> Self {
        Self {
            and: false,
            minimum: None,
            fuzziness: None,
            analyzer: None,
            lenient: false,
            zero_terms_all: false,
            slop: 0,
            expansions: 50,
            kind,
        }
    }

    fn read(params: &Params<'_>, kind: Phrase) -> Outcome<Self> {
        let phrase = matches!(kind, Phrase::Yes | Phrase::Prefix);
        let mut matching = Self::plain(kind);
        if let Some(name) = params.text("analyzer")? {
            matching.analyzer = Some(analyzer(&name)?);
        }
        matching.zero_terms_all = match params.text("zero_terms_query")?.as_deref() {
            None | Some("none") => false,
            Some("all") => true,
            Some(other) => {
                return Err(Failure::parsing(format!(
                    "Unsupported zero_terms_query value [{other}]"
                )));
            }
        };
        if phrase {
            let slop = params.count("slop")?.unwrap_or(0);
            matching.slop =
                u32::try_from(slop).map_err(|_| Failure::illegal("[slop] is too large"))?;
            if kind == Phrase::Prefix
                && let Some(wanted) = params.count("max_expansions")?
            {
                matching.expansions = wanted.min(MAX_EXPANSIONS);
            }
            return Ok(matching);
        }
        matching.and = match params
            .text("operator")?
            .map(|text| text.to_lowercase())
            .as_deref()
        {
            None | Some("or") => false,
            Some("and") => true,
            Some(other) => {
                return Err(Failure::illegal(format!(
                    "operator needs to be either AND or OR, but not [{other}]"
                )));
            }
        };
        matching.minimum = params.text("minimum_should_match")?;
        if kind == Phrase::BoolPrefix
            && let Some(wanted @ ..50) = params.count("max_expansions")?
        {
            // All beginnings of words count here.
            return Err(Failure::unsupported(format!(
                "[max_expansions: {wanted}] of a last word"
            )));
        }
        matching.fuzziness = read_fuzziness(params, None)?;
        matching.lenient = params.flag("lenient", false)?;
        params.ignore(&["auto_generate_synonyms_phrase_query", "fuzzy_rewrite"]);
        Ok(matching)
    }

    /// Matches `text` in one field; `None` when analysis leaves nothing of it.
    pub(super) fn field(
        &self,
        ctx: &Context<'_>,
        path: &str,
        text: &Value,
    ) -> Outcome<Option<Built>> {
        let Some(leaf) = ctx.searchable(path)? else {
            return match path {
                "_id" | "_index" => exact(ctx, path, text).map(Some),
                _ => Ok(Some(none())),
            };
        };
        let Some(words) = plain(text) else {
            return Err(Failure::parsing(format!(
                "the text for field [{path}] must be a plain value, found [{text}]"
            )));
        };
        match leaf.kind.storage() {
            Storage::Text | Storage::Term => self.terms(ctx, leaf, &words),
            _ => match exact(ctx, path, text) {
                Err(_) if self.lenient => Ok(Some(none())),
                result => result.map(Some),
            },
        }
    }

    fn terms(&self, ctx: &Context<'_>, leaf: &Leaf, text: &str) -> Outcome<Option<Built>> {
        let analyzer = self.analyzer.unwrap_or(leaf.search_analyzer);
        let mut tokens = analyzer.tokens(text);
        if leaf.lowercase {
            for token in &mut tokens {
                token.text = token.text.to_lowercase();
            }
        }
        if tokens.is_empty() {
            return Ok(None);
        }
        ctx.count(tokens.len())?;
        match self.kind {
            Phrase::Yes => Ok(Some(phrase(ctx, leaf, &tokens, self.slop))),
            Phrase::Prefix => self.phrase_prefix(ctx, leaf, &tokens).map(Some),
            Phrase::No => self.words(ctx, leaf, &tokens, None).map(Some),
            Phrase::BoolPrefix => {
                let last = tokens.pop();
                self.words(ctx, leaf, &tokens, last).map(Some)
            }
        }
    }

    fn words(
        &self,
        ctx: &Context<'_>,
        leaf: &Leaf,
        tokens: &[Tok],
        prefix: Option<Tok>,
    ) -> Outcome<Built> {
        let mut clauses: Vec<Built> = tokens
            .iter()
            .map(|token| {
                if let Some(fuzziness) = self.fuzziness {
                    fuzzy_term(ctx, leaf, &token.text, fuzziness)
                } else {
                    ctx.mark(leaf, Marked::Term(token.text.clone()));
                    Ok(term_query(leaf, &token.text))
                }
            })
            .collect::<Outcome<_>>()?;
        if let Some(token) = prefix {
            clauses.push(prefix_of(ctx, &leaf.path, token.text, false)?);
        }
        if clauses.len() == 1 {
            return Ok(clauses.pop().unwrap_or_else(none));
        }
        if self.and {
            return Ok(combine(clauses, Vec::new(), Vec::new(), Vec::new(), 0));
        }
        let wanted = match &self.minimum {
            None => 1,
            Some(spec) => minimum_should_match(spec, clauses.len())?.max(1),
        };
        Ok(combine(Vec::new(), Vec::new(), clauses, Vec::new(), wanted))
    }

    fn phrase_prefix(&self, ctx: &Context<'_>, leaf: &Leaf, tokens: &[Tok]) -> Outcome<Built> {
        positions(leaf)?;
        if let [only] = tokens {
            return prefix_of(ctx, &leaf.path, only.text.clone(), false);
        }
        let Some((last, before)) = tokens.split_last() else {
            return Ok(none());
        };
        let words = beginning(ctx, leaf, &last.text, self.expansions)?;
        ctx.count(words.len())?;
        let phrases = words.into_iter().map(|text| {
            let last = Tok {
                text,
                ..last.clone()
            };
            phrase(ctx, leaf, &[before, &[last]].concat(), self.slop)
        });
        Ok(best_of(phrases.collect(), 0.0))
    }
}

/// Whether the field knows where its terms stand.
fn positions(leaf: &Leaf) -> Outcome<()> {
    if leaf.kind.storage() == Storage::Text {
        return Ok(());
    }
    Err(Failure::new(
        400,
        "query_shard_exception",
        format!(
            "failed to create query: Can only use phrase prefix queries on text fields - not on \
             [{}] which is of type [{}]",
            leaf.path,
            leaf.kind.name()
        ),
    ))
}

fn offsets(leaf: &Leaf, tokens: &[Tok]) -> Vec<(usize, Term)> {
    let first = tokens.first().map_or(0, |token| token.position);
    tokens
        .iter()
        .map(|token| {
            (
                token.position - first,
                Term::from_field_text(leaf.field(), &token.text),
            )
        })
        .collect()
}

pub(super) fn phrase(ctx: &Context<'_>, leaf: &Leaf, tokens: &[Tok], slop: u32) -> Built {
    for token in tokens {
        ctx.mark(leaf, Marked::Term(token.text.clone()));
    }
    match tokens {
        [] => none(),
        [one] => term_query(leaf, &one.text),
        _ if leaf.kind.storage() == Storage::Text => Box::new(
            PhraseQuery::new_with_offset_and_slop(offsets(leaf, tokens), slop),
        ),
        _ => none(),
    }
}

/// The analyzer of this name; one that only Elasticsearch has is refused as such.
pub(crate) fn analyzer(name: &str) -> Outcome<Analyzer> {
    Analyzer::from_name(name).ok_or_else(|| {
        if Analyzer::is_elsewhere(name) {
            return Failure::unsupported(format!("analyzer [{name}]"));
        }
        Failure::illegal(format!(
            "analyzer [{name}] not found; there are standard, simple, whitespace, english and \
             keyword"
        ))
    })
}

pub(super) fn matching(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    single(ctx, "match", body, Phrase::No)
}

pub(super) fn match_phrase(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    single(ctx, "match_phrase", body, Phrase::Yes)
}

pub(super) fn match_phrase_prefix(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    single(ctx, "match_phrase_prefix", body, Phrase::Prefix)
}

pub(super) fn match_bool_prefix(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    single(ctx, "match_bool_prefix", body, Phrase::BoolPrefix)
}

fn single(ctx: &Context<'_>, name: &'static str, body: &Value, kind: Phrase) -> Outcome<Built> {
    let (path, params) = field_params(name, "query", body)?;
    let boost = params.boost()?;
    let text = params.need("query")?;
    let matching = Matching::read(&params, kind)?;
    params.finish()?;
    let built = matching.field(ctx, path, text)?;
    Ok(boosted(
        built.unwrap_or_else(|| empty(matching.zero_terms_all)),
        boost,
    ))
}

fn empty(zero_terms_all: bool) -> Built {
    if zero_terms_all { all() } else { none() }
}

/// `["title^2", "b*"]` as fields with their factors; without any, all that hold text.
pub(super) fn fields(ctx: &Context<'_>, given: Option<&Value>) -> Outcome<Vec<(String, f32)>> {
    let list: Vec<String> = match given {
        None => vec!["*".to_owned()],
        Some(Value::Array(many)) => many.iter().filter_map(plain).collect(),
        Some(one) => plain(one).into_iter().collect(),
    };
    let mut found = Vec::new();
    for item in list {
        let (pattern, boost) = match item.split_once('^') {
            None => (item.as_str(), 1.0),
            Some((pattern, boost)) => match boost.parse::<f32>() {
                Ok(boost) if boost.is_finite() && boost >= 0.0 => (pattern, boost),
                _ => {
                    return Err(Failure::illegal(format!(
                        "the factor of field [{item}] is no number of at least 0"
                    )));
                }
            },
        };
        if pattern.contains('*') {
            for leaf in ctx.mapping().matching(pattern) {
                let in_scope = leaf.nested.as_deref() == ctx.scope.borrow().as_deref();
                if leaf.index && leaf.kind != Kind::Completion && in_scope {
                    found.push((leaf.path.clone(), boost));
                }
            }
        } else {
            found.push((pattern.to_owned(), boost));
        }
    }
    ctx.count(found.len())?;
    Ok(found)
}

pub(super) fn multi_match(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let params = Params::from_map("multi_match", object_of("multi_match", body)?);
    let boost = params.boost()?;
    let text = params.need("query")?;
    let given = params.get("fields");
    let kind = params
        .text("type")?
        .unwrap_or_else(|| "best_fields".to_owned());
    let (phrase, sum) = match kind.as_str() {
        "best_fields" => (Phrase::No, false),
        "most_fields" => (Phrase::No, true),
        "phrase" => (Phrase::Yes, false),
        "phrase_prefix" => (Phrase::Prefix, false),
        "bool_prefix" => (Phrase::BoolPrefix, true),
        "cross_fields" => {
            return Err(Failure::unsupported(
                "[type: cross_fields] of query [multi_match]",
            ));
        }
        other => {
            return Err(Failure::parsing(format!(
                "failed to parse [multi_match] query type [{other}]. unknown type."
            )));
        }
    };
    let tie = params.float("tie_breaker", 0.0)?;
    let mut matching = Matching::read(&params, phrase)?;
    // A phrase has no such flag of its own.
    matching.lenient |= params.flag("lenient", false)?;
    params.finish()?;
    // Without a list, fields that cannot take the text do not count.
    let everywhere = given.is_none();
    matching.lenient |= everywhere;
    let mut queries = Vec::new();
    for (path, factor) in fields(ctx, given)? {
        let text_only = everywhere && phrase == Phrase::Prefix;
        if text_only
            && ctx
                .mapping()
                .leaf(&path)
                .is_some_and(|leaf| leaf.kind.storage() != Storage::Text)
        {
            continue;
        }
        if let Some(query) = matching.field(ctx, &path, text)? {
            queries.push(boosted(query, factor));
        }
    }
    if queries.is_empty() {
        return Ok(empty(matching.zero_terms_all));
    }
    let query = if sum {
        combine(Vec::new(), Vec::new(), queries, Vec::new(), 1)
    } else {
        best_of(queries, tie)
    };
    Ok(boosted(query, boost))
}

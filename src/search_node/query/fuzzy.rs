//! Queries for terms that differ little.

use std::sync::Arc;

use serde_json::Value;
use tantivy::query::{ConstScoreQuery, DfaWrapper, FuzzyTermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::{Score, Term};

use super::blended::BlendedQuery;
use super::dictionary::{Terms, accepts, field_of};
use super::params::Params;
use super::{Built, Context, Marked, boosted, field_params, none};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::plain;
use crate::search_node::mapping::{Leaf, Storage};

/// Longest fuzzy term, in characters: what is compared with takes memory for each.
const MAX_FUZZY: usize = 255;

/// Terms near one that count, where a query does not say (Lucene's `FuzzyQuery`).
const MAX_EXPANSIONS: usize = 50;

/// As many as a `bool` has clauses.
const MOST_EXPANSIONS: usize = 1024;

/// Terms that are kept while others are looked at.
const MANY: usize = 4096;

/// Terms between two looks at the clock.
const CLOCK_EVERY: usize = 256;

/// How much a term may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fuzziness {
    /// By the term's length: below the first no edit, below the second one, else two.
    pub(super) auto: Option<(usize, usize)>,
    pub(super) edits: u8,
    pub(super) prefix_length: usize,
    pub(super) transpositions: bool,
    /// How many terms near it count, at most.
    pub(super) expansions: usize,
}

impl Fuzziness {
    pub(super) const AUTO: Self = Self {
        auto: Some((3, 6)),
        edits: 2,
        prefix_length: 0,
        transpositions: true,
        expansions: MAX_EXPANSIONS,
    };

    pub(super) const fn edits(edits: u8) -> Self {
        Self {
            auto: None,
            edits,
            ..Self::AUTO
        }
    }

    pub(super) fn parse(text: &str) -> Outcome<Self> {
        let bad = || {
            Failure::illegal(format!(
                "fuzziness [{text}] must be 0, 1, 2, AUTO or AUTO:low,high"
            ))
        };
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::AUTO);
        }
        let lower = text.to_ascii_lowercase();
        if let Some(limits) = lower.strip_prefix("auto:") {
            let (low, high) = limits.split_once(',').ok_or_else(bad)?;
            let low = low.trim().parse().map_err(|_| bad())?;
            let high = high.trim().parse().map_err(|_| bad())?;
            if low > high {
                return Err(bad());
            }
            return Ok(Self {
                auto: Some((low, high)),
                ..Self::AUTO
            });
        }
        match text.parse::<f32>() {
            Ok(edits) if (0.0..=2.0).contains(&edits) && edits.fract() == 0.0 =>
            {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                Ok(Self::edits(edits as u8))
            }
            _ => Err(bad()),
        }
    }

    fn for_term(self, term: &str) -> u8 {
        match self.auto {
            None => self.edits,
            Some((low, high)) => match term.chars().count() {
                length if length < low => 0,
                length if length < high => 1,
                _ => 2,
            },
        }
    }
}

pub(super) fn fuzzy(ctx: &Context<'_>, body: &Value) -> Outcome<Built> {
    let (path, params) = field_params("fuzzy", "value", body)?;
    let boost = params.boost()?;
    let value = plain(params.need("value")?).unwrap_or_default();
    let fuzziness = read_fuzziness(&params, Some(Fuzziness::AUTO))?.unwrap_or(Fuzziness::AUTO);
    let constant = match params.text("rewrite")?.as_deref() {
        None => false,
        Some("constant_score") => true,
        Some(other) => {
            return Err(Failure::unsupported(format!(
                "[rewrite: {other}] of a fuzzy query"
            )));
        }
    };
    params.finish()?;
    let Some((_, Some(leaf))) = field_of(ctx, "fuzzy", path)? else {
        return Ok(none());
    };
    let mut query = fuzzy_term(ctx, leaf, &value, fuzziness)?;
    if constant {
        query = Box::new(ConstScoreQuery::new(query, 1.0));
    }
    Ok(boosted(query, boost))
}

/// How many terms near one count, from parameter `name`.
pub(super) fn read_expansions(params: &Params<'_>, name: &str) -> Outcome<usize> {
    let expansions = params.count(name)?.unwrap_or(MAX_EXPANSIONS);
    if !(1..=MOST_EXPANSIONS).contains(&expansions) {
        return Err(Failure::illegal(format!(
            "[{name}] must be between 1 and {MOST_EXPANSIONS}, found [{expansions}]"
        )));
    }
    Ok(expansions)
}

/// `fuzziness`, `prefix_length` and the transpositions flag of a query; `default` is what terms may
/// differ by when the query does not say.
pub(super) fn read_fuzziness(
    params: &Params<'_>,
    default: Option<Fuzziness>,
) -> Outcome<Option<Fuzziness>> {
    let prefix_length = params.count("prefix_length")?.unwrap_or(0);
    let transpositions =
        params.flag("fuzzy_transpositions", true)? && params.flag("transpositions", true)?;
    let expansions = read_expansions(params, "max_expansions")?;
    let given = params.text("fuzziness")?;
    let given = given.as_deref().map(Fuzziness::parse).transpose()?;
    Ok(given.or(default).map(|fuzziness| Fuzziness {
        prefix_length,
        transpositions,
        expansions,
        ..fuzziness
    }))
}

/// Documents with a term that differs little from `text`.
pub(super) fn fuzzy_term(
    ctx: &Context<'_>,
    leaf: &Leaf,
    text: &str,
    fuzziness: Fuzziness,
) -> Outcome<Built> {
    let edits = fuzziness.for_term(text);
    if edits == 0 {
        ctx.mark(leaf, Marked::Term(text.to_owned()));
        return Ok(super::terms::term_query(leaf, text));
    }
    if text.chars().count() > MAX_FUZZY {
        return Err(Failure::illegal(format!(
            "a fuzzy term may have at most {MAX_FUZZY} characters; search for it without fuzziness"
        )));
    }
    ctx.count_pattern()?;
    let start: String = text.chars().take(fuzziness.prefix_length).collect();
    let automata: Vec<Arc<DfaWrapper>> = (1..=edits)
        .map(|edits| {
            let term = Term::from_field_text(leaf.field(), text);
            FuzzyTermQuery::new(term, edits, fuzziness.transpositions)
                .automaton()
                .map(Arc::new)
        })
        .collect::<tantivy::Result<_>>()?;
    let Some(widest) = automata.last() else {
        return Ok(none());
    };
    let mut found = near_terms(ctx, leaf, text, &start, &automata)?;
    let near = Terms::Near(Arc::clone(widest), start);
    ctx.mark(leaf, Marked::Fitting(near));
    best_first(&mut found, fuzziness.expansions);
    if found.is_empty() {
        return Ok(none());
    }
    let record = match leaf.kind.storage() {
        Storage::Text => IndexRecordOption::WithFreqs,
        _ => IndexRecordOption::Basic,
    };
    let spellings = found.into_iter().map(|(term, boost)| {
        let term = Term::from_field_text(leaf.field(), &term);
        (term, boost)
    });
    Ok(Box::new(BlendedQuery {
        spellings: spellings.collect(),
        record,
    }))
}

/// The nearest terms, those that come first of equally near ones.
fn best_first(found: &mut Vec<(String, Score)>, keep: usize) {
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    found.dedup();
    found.truncate(keep);
}

/// Terms near `text` that begin with `start`, each with how near it is, from 0 to 1; `automata`
/// accept those within one edit, two edits and so on. At least the nearest are among them.
fn near_terms(
    ctx: &Context<'_>,
    leaf: &Leaf,
    text: &str,
    start: &str,
    automata: &[Arc<DfaWrapper>],
) -> Outcome<Vec<(String, Score)>> {
    let mut found = Vec::new();
    let mut seen = 0usize;
    let Some(widest) = automata.last() else {
        return Ok(found);
    };
    for part in &ctx.view.parts {
        let index = part.segment.reader.inverted_index(leaf.field())?;
        let mut stream = index.terms().search(&**widest).into_stream()?;
        while stream.advance() {
            seen += 1;
            if seen.is_multiple_of(CLOCK_EVERY) {
                ctx.on_time()?;
            }
            let Ok(term) = std::str::from_utf8(stream.key()) else {
                continue;
            };
            if !term.starts_with(start) {
                continue;
            }
            let within = |automaton: &Arc<DfaWrapper>| accepts(&**automaton, term);
            let edits = if term == text {
                0
            } else {
                1 + automata.iter().position(within).unwrap_or(automata.len())
            };
            let shorter = term.chars().count().min(text.chars().count()).max(1);
            // As Lucene's FuzzyTermsEnum; what is as long as the edits is worth nothing, yet found.
            let boost = 1.0 - edits as f32 / shorter as f32;
            found.push((term.to_owned(), boost.max(0.0)));
            if found.len() > MANY {
                best_first(&mut found, MANY / 2);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzziness_follows_the_length() {
        let auto = Fuzziness::parse("AUTO").unwrap();
        for (term, edits) in [("ab", 0), ("abc", 1), ("abcde", 1), ("abcdef", 2)] {
            assert_eq!(auto.for_term(term), edits, "{term}");
        }
        assert_eq!(Fuzziness::parse("auto:2,4").unwrap().for_term("abcd"), 2);
        assert_eq!(Fuzziness::parse("1").unwrap().for_term("a"), 1);
        for bad in ["3", "-1", "x", "auto:", "auto:5,2", "0.5"] {
            assert!(Fuzziness::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_stays_the_same_holds_without_a_fuzziness() {
        let body = serde_json::json!({"prefix_length": 2, "transpositions": false});
        let read = |default| read_fuzziness(&Params::of("fuzzy", &body).unwrap(), default);
        let found = read(Some(Fuzziness::AUTO)).unwrap().unwrap();
        assert_eq!((found.prefix_length, found.transpositions), (2, false));
        assert_eq!(found.auto, Fuzziness::AUTO.auto);
        assert_eq!(read(None).unwrap(), None);
    }
}

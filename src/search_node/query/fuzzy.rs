//! Queries for terms that differ little.

use std::sync::Arc;

use serde_json::Value;
use tantivy::Term;
use tantivy::query::FuzzyTermQuery;

use super::dictionary::{Terms, field_of, fitting};
use super::params::Params;
use super::{Built, Context, Marked, boosted, field_params, none};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::plain;
use crate::search_node::mapping::Leaf;

/// Longest fuzzy term, in characters: what is compared with takes memory for each.
const MAX_FUZZY: usize = 255;

/// How much a term may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fuzziness {
    /// By the term's length: below the first no edit, below the second one, else two.
    pub(super) auto: Option<(usize, usize)>,
    pub(super) edits: u8,
    pub(super) prefix_length: usize,
    pub(super) transpositions: bool,
}

impl Fuzziness {
    pub(super) const AUTO: Self = Self {
        auto: Some((3, 6)),
        edits: 2,
        prefix_length: 0,
        transpositions: true,
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
    params.only("rewrite", "constant_score")?;
    expansions(&params)?;
    params.finish()?;
    let Some((_, Some(leaf))) = field_of(ctx, "fuzzy", path)? else {
        return Ok(none());
    };
    Ok(boosted(fuzzy_term(ctx, leaf, &value, fuzziness)?, boost))
}

/// Lucene stops at this many near terms; here all count, so that only a lower wish is refused.
pub(super) fn expansions(params: &Params<'_>) -> Outcome<()> {
    match params.count("max_expansions")? {
        Some(wanted) if wanted < 50 => Err(Failure::unsupported(format!(
            "[max_expansions: {wanted}] of fuzzy terms"
        ))),
        _ => Ok(()),
    }
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
    let given = params.text("fuzziness")?;
    let given = given.as_deref().map(Fuzziness::parse).transpose()?;
    Ok(given.or(default).map(|fuzziness| Fuzziness {
        prefix_length,
        transpositions,
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
    let term = Term::from_field_text(leaf.field(), text);
    let automaton = FuzzyTermQuery::new(term, edits, fuzziness.transpositions).automaton()?;
    let start: String = text.chars().take(fuzziness.prefix_length).collect();
    Ok(fitting(ctx, leaf, Terms::Near(Arc::new(automaton), start)))
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

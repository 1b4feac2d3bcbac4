//! Suggester `completion`: documents with an input that begins as the text does, by weight.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use tantivy::postings::TermInfo;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocId, DocSet, InvertedIndexReader, TERMINATED};

use super::near::{Near, Unit};
use super::parse::{CompletionOptions, Fuzzy};
use super::{Asked, Clock, Work};
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Completion, Kind, Leaf};
use crate::search_node::shard::Part;

/// Longest beginning that may differ, in characters: what is compared with takes memory for each.
const MAX_FUZZY: usize = 255;

/// A document with an input that fits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    /// The input.
    pub text: String,
    /// Its weight; times what it has in common with the text, when it may differ.
    pub score: f32,
    /// Number of the index.
    pub source: usize,
    /// Number of the part in it.
    pub part: usize,
    /// Number of the document in that.
    pub doc: DocId,
}

impl Choice {
    /// Best first.
    fn order(&self, other: &Self) -> Ordering {
        let place = |one: &Self| (one.source, one.part, one.doc);
        other
            .score
            .total_cmp(&self.score)
            .then_with(|| self.text.cmp(&other.text))
            .then_with(|| place(self).cmp(&place(other)))
    }
}

/// The best inputs that begin with `text`, each document once.
pub(super) fn run(
    options: &CompletionOptions,
    text: &str,
    asked: &[Asked<'_>],
    work: &mut Work,
) -> Outcome<Vec<Choice>> {
    let mut best = Best {
        keep: options.size,
        skip_duplicates: options.skip_duplicates,
        choices: Vec::new(),
        worst: None,
    };
    for (source, one) in asked.iter().enumerate() {
        work.word()?;
        let leaf = one.leaf(&options.field)?;
        check(leaf, one.index)?;
        let analyzer = options.analyzer.unwrap_or(leaf.search_analyzer);
        let Some(key) = leaf.completion_key(analyzer, text) else {
            continue;
        };
        let looked = Beginning::new(key, options.fuzzy)?;
        for (at, part) in one.view.parts.iter().enumerate() {
            let index = part.segment.reader.inverted_index(leaf.field())?;
            let walk = Walk {
                source,
                at,
                part,
                index: &index,
            };
            walk.run(&looked, &mut best, &mut work.clock)?;
        }
    }
    best.trim();
    work.keep(best.choices.len())?;
    Ok(best.choices)
}

fn check(leaf: &Leaf, index: &str) -> Outcome<()> {
    if leaf.kind != Kind::Completion {
        return Err(Failure::illegal(format!(
            "Field [{}] is not a completion suggest field",
            leaf.path
        ))
        .with("index", index));
    }
    if leaf.nested.is_some() {
        return Err(Failure::unsupported(format!(
            "suggester [completion] on [{}], a field of nested objects,",
            leaf.path
        )));
    }
    Ok(())
}

/// What inputs must begin with.
#[derive(Debug)]
struct Beginning {
    key: String,
    /// What it may differ by; with it, the key in its units.
    near: Option<(Near, Vec<u32>)>,
}

impl Beginning {
    fn new(key: String, fuzzy: Option<Fuzzy>) -> Outcome<Self> {
        let Some(fuzzy) = fuzzy else {
            return Ok(Self { key, near: None });
        };
        if key.chars().count() > MAX_FUZZY {
            return Err(Failure::illegal(format!(
                "a fuzzy [prefix] may have at most {MAX_FUZZY} characters; leave [fuzzy] away"
            )));
        }
        let unit = if fuzzy.unicode_aware {
            Unit::Char
        } else {
            Unit::Byte
        };
        let units = unit.of(&key);
        let edits = if units.len() < fuzzy.min_length {
            0
        } else {
            fuzzy.edits
        };
        let near = Near::new(
            &units,
            fuzzy.prefix_length,
            edits,
            fuzzy.transpositions,
            unit,
            true,
        );
        Ok(Self {
            key,
            near: Some((near, units)),
        })
    }

    /// The score of an input that fits. Lucene's: the weight, times the length of what is equal
    /// at the beginning when the text may differ.
    fn score(&self, found: &Completion<'_>) -> f32 {
        let weight = found.weight as f32;
        let Some((near, units)) = &self.near else {
            return weight;
        };
        let taken = near.beginning(found.key).unwrap_or(0);
        let bytes = found.key.bytes().take(taken);
        let common = units
            .iter()
            .zip(bytes)
            .take_while(|(unit, byte)| **unit == u32::from(*byte))
            .count();
        match (common, found.weight) {
            (0, _) => weight,
            (common, 0) => common as f32,
            (common, _) => weight * common as f32,
        }
    }
}

/// One segment.
struct Walk<'a> {
    source: usize,
    at: usize,
    part: &'a Part,
    index: &'a InvertedIndexReader,
}

impl Walk<'_> {
    fn run(&self, looked: &Beginning, best: &mut Best, clock: &mut Clock) -> Outcome<()> {
        match &looked.near {
            None => {
                let prefix = looked.key.as_bytes();
                let mut stream = self.index.terms().range().ge(prefix).into_stream()?;
                while stream.advance() && stream.key().starts_with(prefix) {
                    self.term(looked, stream.key(), stream.value(), best, clock)?;
                }
            }
            Some((near, _)) => {
                let mut stream = self.index.terms().search(near).into_stream()?;
                while stream.advance() {
                    self.term(looked, stream.key(), stream.value(), best, clock)?;
                }
            }
        }
        Ok(())
    }

    fn term(
        &self,
        looked: &Beginning,
        term: &[u8],
        info: &TermInfo,
        best: &mut Best,
        clock: &mut Clock,
    ) -> Outcome<()> {
        clock.tick()?;
        let Some(found) = Completion::read(term) else {
            return Ok(());
        };
        let score = looked.score(&found);
        if !best.takes(score, found.shown) {
            return Ok(());
        }
        let index = self.index;
        let mut postings = index.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
        let mut taken = 0;
        let mut doc = postings.doc();
        // Documents of one term are equally good: more of them than are shown are not needed.
        while doc != TERMINATED && taken < best.keep {
            clock.tick()?;
            if self.part.roots.contains(doc) {
                taken += 1;
                best.add(Choice {
                    text: found.shown.to_owned(),
                    score,
                    source: self.source,
                    part: self.at,
                    doc,
                });
            }
            doc = postings.advance();
        }
        Ok(())
    }
}

/// The best so far.
#[derive(Debug)]
struct Best {
    keep: usize,
    skip_duplicates: bool,
    choices: Vec<Choice>,
    /// Score and text of the last one when as many are there as are kept.
    worst: Option<(f32, String)>,
}

impl Best {
    /// Whether an input may still be among the best.
    fn takes(&self, score: f32, text: &str) -> bool {
        match &self.worst {
            None => true,
            Some((worst, shown)) => score
                .total_cmp(worst)
                .then_with(|| shown.as_str().cmp(text))
                .is_ge(),
        }
    }

    fn add(&mut self, choice: Choice) {
        self.choices.push(choice);
        // Twice the number before the rest is cut off: cheap on average.
        if self.choices.len() >= self.keep.saturating_mul(2).max(64) {
            self.trim();
        }
    }

    /// Leaves the best, each document once, and each text once when that is wanted.
    fn trim(&mut self) {
        self.choices.sort_by(Choice::order);
        let mut docs = BTreeSet::new();
        let mut texts = BTreeSet::new();
        let skip_duplicates = self.skip_duplicates;
        self.choices.retain(|choice| {
            docs.insert((choice.source, choice.part, choice.doc))
                && (!skip_duplicates || texts.insert(choice.text.clone()))
        });
        self.choices.truncate(self.keep);
        if self.choices.len() == self.keep {
            let last = self.choices.last();
            self.worst = last.map(|last| (last.score, last.text.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(text: &str, score: f32, doc: DocId) -> Choice {
        Choice {
            text: text.to_owned(),
            score,
            source: 0,
            part: 0,
            doc,
        }
    }

    fn best(keep: usize, skip_duplicates: bool) -> Best {
        Best {
            keep,
            skip_duplicates,
            choices: Vec::new(),
            worst: None,
        }
    }

    #[test]
    fn the_best_are_kept_and_a_document_counts_once() {
        let mut all = best(2, false);
        for number in 0..200 {
            all.add(choice("x", number as f32, number % 50));
        }
        all.trim();
        assert_eq!(
            all.choices,
            [choice("x", 199.0, 49), choice("x", 198.0, 48)]
        );
        assert!(!all.takes(197.0, "x"));
        assert!(all.takes(198.0, "a"));
        let mut single = best(2, true);
        for choice in [
            choice("x", 3.0, 1),
            choice("x", 2.0, 2),
            choice("a", 1.0, 3),
        ] {
            single.add(choice);
        }
        single.trim();
        assert_eq!(single.choices, [choice("x", 3.0, 1), choice("a", 1.0, 3)]);
    }

    #[test]
    fn a_fuzzy_input_scores_by_what_it_has_in_common() {
        let fuzzy = Fuzzy {
            edits: 1,
            transpositions: true,
            min_length: 3,
            prefix_length: 1,
            unicode_aware: false,
        };
        let looked = Beginning::new("nirv".to_owned(), Some(fuzzy)).unwrap();
        let score = |key: &str, weight: u32| {
            let shown = "";
            looked.score(&Completion { key, weight, shown })
        };
        assert_eq!(score("nirvana", 10).to_bits(), 30f32.to_bits());
        assert_eq!(score("norvana", 10).to_bits(), 10f32.to_bits());
        assert_eq!(score("nirvana", 0).to_bits(), 3f32.to_bits());
    }
}

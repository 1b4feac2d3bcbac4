//! Suggester `term`: for each word of a text, the words of a field that differ little from it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tantivy::Term;
use tantivy::query::Bm25StatisticsProvider;
use tantivy::schema::Field;

use super::near::{Near, Unit};
use super::parse::{Mode, Sort, TermOptions};
use super::{Asked, Clock, Work};
use crate::search_node::analysis::Tok;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Leaf, Storage};
use crate::search_node::shard::View;

/// Longer words are left alone, in characters: what is compared with takes memory for each.
const MAX_WORD: usize = 255;

/// A word of the text, and others for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The word as its field has it.
    pub text: String,
    /// Where it begins in the text, in UTF-16 units.
    pub offset: usize,
    /// How long it is there, in UTF-16 units.
    pub length: usize,
    /// Best first.
    pub options: Vec<Word>,
}

/// Another word.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Word {
    /// The word.
    pub text: String,
    /// How alike the two are, from 0 to 1.
    pub score: f32,
    /// Documents that it occurs in, deleted ones that still lie in segments included.
    pub freq: u64,
}

/// Suggests for every word of `text`; each index by itself, as a shard of its own.
pub(super) fn run(
    options: &TermOptions,
    text: &str,
    asked: &[Asked<'_>],
    work: &mut Work,
) -> Outcome<Vec<Entry>> {
    let mut merged: Option<Vec<Entry>> = None;
    for one in asked {
        let leaf = one.leaf(&options.field)?;
        let has_words = matches!(leaf.kind.storage(), Storage::Text | Storage::Term);
        if !has_words || !leaf.index {
            return Err(Failure::illegal(format!(
                "suggester [term] is for indexed fields of type [text] and [keyword]; [{}] is not \
                 one of them",
                leaf.path
            ))
            .with("index", one.index));
        }
        let analyzer = options.analyzer.unwrap_or(leaf.search_analyzer);
        let words = Words {
            options,
            leaf,
            view: one.view,
        };
        let mut entries = Vec::new();
        for token in analyzer.tokens(text) {
            work.word()?;
            let entry = words.entry(text, &token, &mut work.clock)?;
            work.keep(entry.options.len())?;
            entries.push(entry);
        }
        merged = Some(match merged {
            None => entries,
            Some(before) => merge(before, entries)?,
        });
    }
    let mut entries = merged.unwrap_or_default();
    for entry in &mut entries {
        entry.options.sort_by(|a, b| options.order(a, b));
        entry.options.truncate(options.size);
    }
    Ok(entries)
}

/// Puts the words of two indices together.
fn merge(before: Vec<Entry>, more: Vec<Entry>) -> Outcome<Vec<Entry>> {
    let same = |a: &Entry, b: &Entry| (&a.text, a.offset) == (&b.text, b.offset);
    if before.len() != more.len() || !before.iter().zip(&more).all(|(a, b)| same(a, b)) {
        return Err(Failure::illegal(
            "the indices analyse the text of [suggest] differently; name an [analyzer] for it, or \
             ask them one by one",
        ));
    }
    let both = before.into_iter().zip(more);
    Ok(both
        .map(|(mut entry, more)| {
            let mut words: BTreeMap<String, Word> = BTreeMap::new();
            for word in entry.options.into_iter().chain(more.options) {
                match words.get_mut(&word.text) {
                    Some(known) => {
                        known.freq += word.freq;
                        known.score = known.score.max(word.score);
                    }
                    None => {
                        words.insert(word.text.clone(), word);
                    }
                }
            }
            entry.options = words.into_values().collect();
            entry
        })
        .collect())
}

impl TermOptions {
    /// Best first.
    fn order(&self, a: &Word, b: &Word) -> Ordering {
        let score = b.score.total_cmp(&a.score);
        let freq = b.freq.cmp(&a.freq);
        match self.sort {
            Sort::Score => score.then(freq),
            Sort::Frequency => freq.then(score),
        }
        .then_with(|| a.text.cmp(&b.text))
    }
}

/// The words of one field of one index.
struct Words<'a> {
    options: &'a TermOptions,
    leaf: &'a Leaf,
    view: &'a View,
}

impl Words<'_> {
    fn entry(&self, text: &str, token: &Tok, clock: &mut Clock) -> Outcome<Entry> {
        let word = if self.leaf.lowercase {
            token.text.to_lowercase()
        } else {
            token.text.clone()
        };
        let units = |text: Option<&str>| text.map_or(0, |text| text.encode_utf16().count());
        let options = self.similar(&word, clock)?;
        Ok(Entry {
            text: word,
            offset: units(text.get(..token.from)),
            length: units(text.get(token.from..token.to)),
            options,
        })
    }

    /// Words in place of `word`, best first, as many as one index gives.
    fn similar(&self, word: &str, clock: &mut Clock) -> Outcome<Vec<Word>> {
        let options = self.options;
        let wanted = Unit::Char.of(word);
        if wanted.len() < options.min_word_length || wanted.len() > MAX_WORD {
            return Ok(Vec::new());
        }
        let term = Term::from_field_text(self.leaf.field(), word);
        let docs = self.view.total_num_docs()?;
        let occurs = self.view.doc_freq(&term)?;
        let is_frequent = occurs as f32 > limit(options.max_term_freq, docs).ceil();
        if options.mode == Mode::Missing && occurs > 0 || is_frequent {
            return Ok(Vec::new());
        }
        let mut least = match options.mode {
            Mode::Popular => occurs as f32,
            Mode::Missing | Mode::Always => 0.0,
        };
        if options.min_doc_freq >= 1.0 {
            least = least.max(options.min_doc_freq);
        } else if options.min_doc_freq > 0.0 {
            least = least.max((options.min_doc_freq * docs as f32).trunc() - 1.0);
        }
        let mut found = self.within(word, &wanted, 1, least, clock)?;
        if options.max_edits > 1 && found.len() < options.inspections {
            let more = self.within(word, &wanted, options.max_edits, least, clock)?;
            let known: BTreeSet<String> = found.iter().map(|word| word.text.clone()).collect();
            let new = |word: &Word| !known.contains(&word.text);
            found.extend(more.into_iter().filter(new));
        }
        found.sort_by(|a, b| options.order(a, b));
        found.truncate(options.shard_size);
        Ok(found)
    }

    /// Words within so many edits that occur in more than `least` documents; at most as many as
    /// are inspected, the most alike ones.
    fn within(
        &self,
        word: &str,
        wanted: &[u32],
        edits: u8,
        least: f32,
        clock: &mut Clock,
    ) -> Outcome<Vec<Word>> {
        let options = self.options;
        // Two edits may not change the first character.
        let fixed = options.prefix_length.max(usize::from(edits) - 1);
        let near = Near::new(wanted, fixed, edits, true, Unit::Char, false);
        let mut best: Vec<Word> = Vec::new();
        let keep = options.inspections;
        let trim = |best: &mut Vec<Word>| {
            if best.len() > keep {
                let alike = |a: &Word, b: &Word| b.score.total_cmp(&a.score);
                best.sort_by(|a, b| alike(a, b).then_with(|| a.text.cmp(&b.text)));
                best.truncate(keep);
            }
        };
        walk(self.view, self.leaf.field(), &near, clock, |text, freq| {
            if text == word || freq as f32 <= least {
                return;
            }
            let score = options.distance.likeness(wanted, &Unit::Char.of(text));
            if score < options.accuracy {
                return;
            }
            best.push(Word {
                text: text.to_owned(),
                score,
                freq,
            });
            if best.len() >= keep.saturating_mul(2).max(64) {
                trim(&mut best);
            }
        })?;
        trim(&mut best);
        Ok(best)
    }
}

/// A number of documents: as it is, or as a share of all.
fn limit(frequency: f32, docs: u64) -> f32 {
    if frequency >= 1.0 {
        frequency
    } else {
        frequency * docs as f32
    }
}

/// Goes through the terms of all segments that `near` accepts, in order, each with the documents
/// that it occurs in.
fn walk(
    view: &View,
    field: Field,
    near: &Near,
    clock: &mut Clock,
    mut take: impl FnMut(&str, u64),
) -> Outcome<()> {
    let mut indexes = Vec::with_capacity(view.parts.len());
    for part in &view.parts {
        indexes.push(part.segment.reader.inverted_index(field)?);
    }
    let mut streams = Vec::with_capacity(indexes.len());
    for index in &indexes {
        let mut stream = index.terms().search(near).into_stream()?;
        if stream.advance() {
            streams.push(stream);
        }
    }
    let mut term = Vec::new();
    while let Some(first) = streams
        .iter()
        .map(tantivy::termdict::TermStreamer::key)
        .min()
    {
        clock.tick()?;
        term.clear();
        term.extend_from_slice(first);
        let mut freq = 0;
        let mut at = 0;
        while let Some(stream) = streams.get_mut(at) {
            if stream.key() != term.as_slice() {
                at += 1;
                continue;
            }
            freq += u64::from(stream.value().doc_freq);
            if stream.advance() {
                at += 1;
            } else {
                streams.swap_remove(at);
            }
        }
        if let Ok(text) = std::str::from_utf8(&term) {
            take(text, freq);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str, score: f32, freq: u64) -> Word {
        Word {
            text: text.to_owned(),
            score,
            freq,
        }
    }

    fn entry(text: &str, options: Vec<Word>) -> Entry {
        Entry {
            text: text.to_owned(),
            offset: 0,
            length: text.len(),
            options,
        }
    }

    #[test]
    fn words_of_several_indices_add_up() {
        let merged = merge(
            vec![entry("aple", vec![word("apple", 0.75, 2)])],
            vec![entry(
                "aple",
                vec![word("ample", 0.75, 1), word("apple", 0.75, 3)],
            )],
        )
        .unwrap();
        let options = vec![word("ample", 0.75, 1), word("apple", 0.75, 5)];
        assert_eq!(merged, [entry("aple", options)]);
        assert!(merge(vec![entry("a", vec![])], vec![entry("b", vec![])]).is_err());
        assert!(merge(vec![entry("a", vec![])], vec![]).is_err());
    }
}

//! Suggestions: words in place of those that were typed, and inputs that begin as they do.

mod completion;
mod distance;
mod near;
mod parse;
mod term;

use std::sync::Arc;
use std::time::Instant;

use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::Leaf;
use crate::search_node::query::timed_out;
use crate::search_node::shard::View;

pub(super) use completion::Choice;
pub(super) use parse::Suggest;
pub(super) use term::{Entry, Word};

use parse::Kind;

/// Words of one request that others are looked for, at most: each walks the dictionaries.
const MAX_WORDS: usize = 1000;

/// Suggestions of one request at most, each of some hundred bytes.
const MAX_KEPT: usize = 100_000;

/// Terms between two looks at the clock.
const CLOCK_EVERY: u32 = 256;

/// One index that is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Its name.
    pub index: &'a str,
    /// Its documents.
    pub view: &'a View,
    /// Whether an alias shows some of its documents only.
    pub is_filtered: bool,
}

/// What is suggested for one text.
#[derive(Debug)]
pub(super) enum Suggested {
    /// Other words, for each word of it.
    Words(Vec<Entry>),
    /// Documents with an input that begins so, best first.
    Documents(Vec<Choice>),
}

impl Suggest {
    /// What `asked` suggest, with each suggestion's name and text; gives up at `deadline`.
    pub(super) fn run<'s>(
        &'s self,
        asked: &[Asked<'_>],
        deadline: Instant,
    ) -> Outcome<Vec<(&'s str, &'s str, Suggested)>> {
        if let Some(filtered) = asked.iter().find(|asked| asked.is_filtered) {
            return Err(Failure::unsupported(format!(
                "[suggest] by an alias with a filter, which suggestions of index [{}] would not \
                 heed,",
                filtered.index
            )));
        }
        let clock = Clock { deadline, seen: 0 };
        let mut work = Work {
            clock,
            words: MAX_WORDS,
            kept: MAX_KEPT,
        };
        let one = |suggestion: &'s parse::Suggestion| {
            let found = match &suggestion.kind {
                Kind::Term(options) => {
                    Suggested::Words(term::run(options, &suggestion.text, asked, &mut work)?)
                }
                Kind::Completion(options) => Suggested::Documents(completion::run(
                    options,
                    &suggestion.text,
                    asked,
                    &mut work,
                )?),
            };
            Ok((suggestion.name.as_str(), suggestion.text.as_str(), found))
        };
        self.list.iter().map(one).collect()
    }
}

impl Asked<'_> {
    /// The field at `path`, which must be there.
    fn leaf(&self, path: &str) -> Outcome<&Arc<Leaf>> {
        self.view.mapping.leaf(path).ok_or_else(|| {
            Failure::illegal(format!("no mapping found for field [{path}]"))
                .with("index", self.index)
        })
    }
}

/// What one request may still do.
#[derive(Debug)]
struct Work {
    clock: Clock,
    words: usize,
    /// Suggestions that may still be kept until the answer.
    kept: usize,
}

impl Work {
    /// Takes one word.
    fn word(&mut self) -> Outcome<()> {
        self.words = self.words.checked_sub(1).ok_or_else(|| {
            Failure::illegal(format!(
                "the texts of [suggest] may have at most {MAX_WORDS} words in all, each counted \
                 once an index"
            ))
        })?;
        self.clock.check()
    }

    /// Takes `count` suggestions that are kept until the answer.
    fn keep(&mut self, count: usize) -> Outcome<()> {
        self.kept = self.kept.checked_sub(count).ok_or_else(|| {
            Failure::new(
                429,
                "circuit_breaking_exception",
                format!(
                    "more than {MAX_KEPT} suggestions in one request; ask with a smaller [size] or \
                     [shard_size], or for fewer words"
                ),
            )
        })?;
        Ok(())
    }
}

/// When a request has to end.
#[derive(Debug)]
struct Clock {
    deadline: Instant,
    seen: u32,
}

impl Clock {
    /// Counts a term or document, and looks at the time now and then.
    fn tick(&mut self) -> Outcome<()> {
        self.seen = self.seen.wrapping_add(1);
        if self.seen.is_multiple_of(CLOCK_EVERY) {
            return self.check();
        }
        Ok(())
    }

    fn check(&self) -> Outcome<()> {
        if Instant::now() > self.deadline {
            return Err(timed_out(
                "give a longer beginning, or a larger [prefix_length], which must be equal",
            ));
        }
        Ok(())
    }
}

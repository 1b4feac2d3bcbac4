//! What is suggested, as an answer shows it.

use std::time::Instant;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Budget, Hit, Place, Request, Source, fetch};
use crate::search_node::failure::Outcome;
use crate::search_node::suggest::{Asked, Suggested, Word};

/// Suggestions by name, in the order of the request.
#[derive(Debug)]
pub(crate) struct Suggestions(Vec<(String, Vec<Entry>)>);

impl Serialize for Suggestions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, entries) in &self.0 {
            map.serialize_entry(name, entries)?;
        }
        map.end()
    }
}

/// A part of the text, and what may stand for it.
#[derive(Debug, Serialize)]
struct Entry {
    text: String,
    offset: usize,
    length: usize,
    options: Vec<Choice>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Choice {
    Word(Word),
    Document {
        text: String,
        #[serde(flatten)]
        hit: Box<Hit>,
    },
}

/// What `sources` suggest; `None` when nothing was asked for.
pub(super) fn run(
    sources: &[Source],
    request: &Request,
    budget: &mut Budget,
    deadline: Instant,
) -> Outcome<Option<Suggestions>> {
    let Some(suggest) = &request.suggest else {
        return Ok(None);
    };
    let asked: Vec<Asked<'_>> = sources
        .iter()
        .map(|source| Asked {
            index: &source.index.name,
            view: &source.view,
            is_filtered: !source.filters.is_empty(),
        })
        .collect();
    let mut shown = Vec::new();
    for (name, text, found) in suggest.run(&asked, deadline)? {
        let entries = match found {
            Suggested::Words(entries) => entries
                .into_iter()
                .map(|entry| Entry {
                    text: entry.text,
                    offset: entry.offset,
                    length: entry.length,
                    options: entry.options.into_iter().map(Choice::Word).collect(),
                })
                .collect(),
            Suggested::Documents(choices) => {
                let mut options = Vec::with_capacity(choices.len());
                for choice in choices {
                    let place = Place {
                        source: choice.source,
                        part: choice.part,
                        doc: choice.doc,
                        score: choice.score,
                        keys: Vec::new(),
                    };
                    let hit = fetch::document(sources, request, &place)?;
                    budget.take_hit(&hit)?;
                    options.push(Choice::Document {
                        text: choice.text,
                        hit: Box::new(hit),
                    });
                }
                vec![Entry {
                    text: text.to_owned(),
                    offset: 0,
                    length: text.encode_utf16().count(),
                    options,
                }]
            }
        };
        shown.push((name.to_owned(), entries));
    }
    Ok(Some(Suggestions(shown)))
}

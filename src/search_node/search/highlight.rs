//! Passages of a document with what was found marked in them.

use serde_json::{Map, Value};

use crate::search_node::analysis::Analyzer;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::mapping::{Kind, Leaf, Mapping};
use crate::search_node::query::{Mark, Marked, Params};

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Highlight {
    fields: Vec<(String, Options)>,
    require_field_match: bool,
}

#[derive(Debug, Clone)]
struct Options {
    before: String,
    after: String,
    size: usize,
    number: usize,
    no_match: usize,
    by_score: bool,
}

impl Highlight {
    pub(super) fn parse(body: &Value) -> Outcome<Self> {
        let params = Params::of("highlight", body)?;
        let common = options(&params, None)?;
        let require_field_match = params.flag("require_field_match", true)?;
        let mut fields = Vec::new();
        let mut add = |list: &Map<String, Value>| -> Outcome<()> {
            for (path, body) in list {
                let params = Params::of("highlight field", body)?;
                fields.push((path.clone(), options(&params, Some(&common))?));
                params.finish()?;
            }
            Ok(())
        };
        match params.need("fields")? {
            Value::Object(list) => add(list)?,
            Value::Array(lists) => {
                for list in lists.iter().filter_map(Value::as_object) {
                    add(list)?;
                }
            }
            other => return Err(params.bad("fields", other, "an object")),
        }
        params.finish()?;
        Ok(Self {
            fields,
            require_field_match,
        })
    }

    pub(super) fn passages(
        &self,
        mapping: &Mapping,
        marks: &[Mark],
        source: &[u8],
    ) -> Outcome<Option<Value>> {
        let json: Value = serde_json::from_slice(source)
            .map_err(|error| Failure::internal(format!("stored source: {error}")))?;
        let mut shown = Map::new();
        for (pattern, options) in &self.fields {
            for leaf in mapping.matching(pattern) {
                if !matches!(leaf.kind, Kind::Text | Kind::Keyword) {
                    continue;
                }
                let wanted: Vec<&Marked> = marks
                    .iter()
                    .filter(|mark| !self.require_field_match || mark.path == leaf.path)
                    .map(|mark| &mark.what)
                    .collect();
                let mut texts = Vec::new();
                values_at(&json, source_path(mapping, leaf), &mut texts);
                let found = options.field(leaf, &wanted, &texts);
                if !found.is_empty() {
                    shown.insert(leaf.path.clone(), found.into());
                }
            }
        }
        Ok((!shown.is_empty()).then_some(Value::Object(shown)))
    }
}

/// A multi-field has the values of the field that it belongs to.
fn source_path<'a>(mapping: &Mapping, leaf: &'a Leaf) -> &'a str {
    match leaf.path.rsplit_once('.') {
        Some((parent, _)) if mapping.leaf(parent).is_some() => parent,
        _ => &leaf.path,
    }
}

fn values_at(json: &Value, path: &str, texts: &mut Vec<String>) {
    match json {
        Value::Array(values) => values
            .iter()
            .for_each(|value| values_at(value, path, texts)),
        Value::Object(object) => {
            for (key, value) in object {
                if key == path {
                    values_at(value, "", texts);
                } else if let Some(rest) = path
                    .strip_prefix(key.as_str())
                    .and_then(|rest| rest.strip_prefix('.'))
                {
                    values_at(value, rest, texts);
                }
            }
        }
        Value::String(text) if path.is_empty() => texts.push(text.clone()),
        Value::Number(number) if path.is_empty() => texts.push(number.to_string()),
        _ => {}
    }
}

fn options(params: &Params<'_>, common: Option<&Options>) -> Outcome<Options> {
    let tag = |key: &str, default: String| -> Outcome<String> {
        match params.get(key) {
            None => Ok(default),
            Some(Value::Array(tags)) => Ok(tags
                .first()
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()),
            Some(Value::String(tag)) => Ok(tag.clone()),
            Some(other) => Err(params.bad(key, other, "a list of tags")),
        }
    };
    let of = |get: fn(&Options) -> usize, default: usize| common.map_or(default, get);
    let by_score = match params.text("order")?.as_deref() {
        None => common.is_some_and(|common| common.by_score),
        Some("none") => false,
        Some("score") => true,
        Some(other) => {
            return Err(Failure::illegal(format!(
                "unknown highlight order [{other}]"
            )));
        }
    };
    params.only("encoder", "default")?;
    params.ignore(&[
        "type",
        "boundary_scanner",
        "boundary_scanner_locale",
        "boundary_chars",
        "boundary_max_scan",
        "fragmenter",
        "max_analyzed_offset",
        "phrase_limit",
    ]);
    if params.get("highlight_query").is_some() || params.get("matched_fields").is_some() {
        return Err(Failure::unsupported(
            "[highlight_query] and [matched_fields] of a highlight",
        ));
    }
    Ok(Options {
        before: tag(
            "pre_tags",
            common.map_or_else(|| "<em>".to_owned(), |c| c.before.clone()),
        )?,
        after: tag(
            "post_tags",
            common.map_or_else(|| "</em>".to_owned(), |c| c.after.clone()),
        )?,
        size: params
            .count("fragment_size")?
            .unwrap_or(of(|c| c.size, 100)),
        number: params
            .count("number_of_fragments")?
            .unwrap_or(of(|c| c.number, 5)),
        no_match: params
            .count("no_match_size")?
            .unwrap_or(of(|c| c.no_match, 0)),
        by_score,
    })
}

impl Options {
    fn field(&self, leaf: &Leaf, wanted: &[&Marked], texts: &[String]) -> Vec<String> {
        let analyzer = if leaf.kind == Kind::Text {
            leaf.analyzer
        } else {
            Analyzer::Keyword
        };
        let mut passages: Vec<(usize, String)> = Vec::new();
        for text in texts {
            let spans: Vec<(usize, usize)> = analyzer
                .tokens(text)
                .into_iter()
                .filter(|token| wanted.iter().any(|marked| is_marked(marked, &token.text)))
                .map(|token| (token.from, token.to))
                .collect();
            if spans.is_empty() {
                continue;
            }
            if self.number == 0 {
                passages.push((spans.len(), self.marked(text, 0, text.len(), &spans)));
                continue;
            }
            let mut rest = spans.as_slice();
            while let Some((first, _)) = rest.first() {
                let (from, to) = self.window(text, *first);
                let inside = rest.iter().take_while(|(_, end)| *end <= to).count().max(1);
                let to = to.max(rest[inside - 1].1);
                passages.push((inside, self.marked(text, from, to, &rest[..inside])));
                rest = &rest[inside..];
            }
        }
        if self.by_score {
            passages.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        }
        if self.number > 0 {
            passages.truncate(self.number);
        }
        if passages.is_empty()
            && self.no_match > 0
            && let Some(text) = texts.first()
        {
            return vec![text.chars().take(self.no_match).collect()];
        }
        passages.into_iter().map(|(_, passage)| passage).collect()
    }

    /// The passage around byte `at`: from the beginning of its sentence or word, about as long as
    /// asked for, up to the end of a word.
    fn window(&self, text: &str, at: usize) -> (usize, usize) {
        let sentence = text[..at]
            .rfind(['.', '!', '?', '\n'])
            .map_or(0, |end| end + 1);
        let nearest = text[..at]
            .char_indices()
            .rev()
            .take(self.size / 2)
            .last()
            .map_or(at, |(from, _)| from);
        let mut from = sentence.max(nearest);
        if from > sentence {
            // Not in the middle of a word.
            from += text[from..at].find(char::is_whitespace).unwrap_or(0);
        }
        from += text[from..at].len() - text[from..at].trim_start().len();
        let end = text[from..]
            .char_indices()
            .nth(self.size)
            .map_or(text.len(), |(end, _)| from + end);
        let to = match text[end..].find(char::is_whitespace) {
            Some(more) => end + more,
            None => text.len(),
        };
        (from, to)
    }

    fn marked(&self, text: &str, from: usize, to: usize, spans: &[(usize, usize)]) -> String {
        let mut out = String::new();
        let mut at = from;
        for (start, end) in spans {
            out.push_str(&text[at..*start]);
            out.push_str(&self.before);
            out.push_str(&text[*start..*end]);
            out.push_str(&self.after);
            at = *end;
        }
        out.push_str(&text[at..to]);
        out
    }
}

fn is_marked(marked: &Marked, token: &str) -> bool {
    match marked {
        Marked::Term(term) => term == token,
        Marked::Fitting(terms) => terms.fit(token),
    }
}

//! `suggest` in the body of a search.

use serde_json::Value;

use super::distance::Distance;
use crate::search_node::analysis::Analyzer;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::query::{self, Params};

/// Suggestions of one request at most.
const MAX_SUGGESTIONS: usize = 100;

/// Options of one suggestion at most, and candidates that are looked at for them.
const MAX_SIZE: usize = 10_000;

/// Candidates for one word at most.
const MAX_INSPECTIONS: usize = 100_000;

/// Largest distance of a word.
const MAX_EDITS: usize = 2;

/// What is suggested beside the hits.
#[derive(Debug)]
pub(crate) struct Suggest {
    /// In the order of the request.
    pub(super) list: Vec<Suggestion>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Suggestion {
    /// Its name in the answer.
    pub name: String,
    /// What was typed.
    pub text: String,
    /// How it is gone on with.
    pub kind: Kind,
}

/// See [`Suggestion`].
#[derive(Debug)]
pub(super) enum Kind {
    /// Other words for each word.
    Term(TermOptions),
    /// Inputs that begin so.
    Completion(CompletionOptions),
}

/// When a word is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// When it does not occur.
    Missing,
    /// By words that occur in more documents.
    Popular,
    /// Always.
    Always,
}

/// Which of the words comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// The most alike.
    Score,
    /// The most frequent.
    Frequency,
}

/// Suggester `term`.
#[derive(Debug)]
pub(super) struct TermOptions {
    pub field: String,
    pub analyzer: Option<Analyzer>,
    pub size: usize,
    pub shard_size: usize,
    pub sort: Sort,
    pub mode: Mode,
    /// Least likeness.
    pub accuracy: f32,
    pub max_edits: u8,
    /// Characters that must be equal at the beginning.
    pub prefix_length: usize,
    /// Shorter words are left alone; characters.
    pub min_word_length: usize,
    /// Candidates that are looked at for a word.
    pub inspections: usize,
    /// Documents that a word must occur in; a share of all below 1.
    pub min_doc_freq: f32,
    /// Words that occur in more documents are left alone; a share of all below 1.
    pub max_term_freq: f32,
    pub distance: Distance,
}

/// Suggester `completion`.
#[derive(Debug)]
pub(super) struct CompletionOptions {
    pub field: String,
    pub analyzer: Option<Analyzer>,
    pub size: usize,
    pub skip_duplicates: bool,
    pub fuzzy: Option<Fuzzy>,
}

/// How a beginning may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fuzzy {
    pub edits: u8,
    pub transpositions: bool,
    /// Shorter beginnings must be equal.
    pub min_length: usize,
    /// So much of it must be equal.
    pub prefix_length: usize,
    /// Whether all that is counted in characters instead of bytes.
    pub unicode_aware: bool,
}

impl Suggest {
    /// Reads `{"text": …, "name": {"text": …, "term": {…}}}`.
    pub(crate) fn parse(body: &Value) -> Outcome<Self> {
        let Some(object) = body.as_object() else {
            return Err(Failure::parsing(format!(
                "[suggest] must be an object, found [{body}]"
            )));
        };
        let mut shared = None;
        let mut given = Vec::new();
        for (name, value) in object {
            match (name.as_str(), value) {
                ("text", Value::String(text)) => shared = Some(text.as_str()),
                (_, Value::Object(_)) => given.push((name, value)),
                _ => {
                    return Err(Failure::parsing(format!(
                        "[suggest] does not support [{name}]: it has [text] and suggestions, which \
                         are objects"
                    )));
                }
            }
        }
        if given.len() > MAX_SUGGESTIONS {
            return Err(Failure::illegal(format!(
                "a search may have at most {MAX_SUGGESTIONS} suggestions; send several searches"
            )));
        }
        let read = |(name, body): (&String, &Value)| Suggestion::parse(name, body, shared);
        Ok(Self {
            list: given.into_iter().map(read).collect::<Outcome<_>>()?,
        })
    }
}

impl Suggestion {
    fn parse(name: &str, body: &Value, shared: Option<&str>) -> Outcome<Self> {
        let params = Params::of(name, body)?;
        let text = params.text("text")?;
        let prefix = params.text("prefix")?;
        if params.get("regex").is_some() {
            return Err(Failure::unsupported(format!(
                "[regex] of suggestion [{name}]"
            )));
        }
        let members = body.as_object().into_iter().flatten();
        let mut kinds = members.filter(|(key, _)| *key != "text" && *key != "prefix");
        let (kind, body) = match (kinds.next(), kinds.next()) {
            (Some((kind, body)), None) => (kind.as_str(), body),
            (None, _) => return Err(Failure::illegal("missing suggestion object")),
            (Some((first, _)), Some((second, _))) => {
                return Err(Failure::parsing(format!(
                    "suggestion [{name}] has [{first}] and [{second}]; it may have one suggester"
                )));
            }
        };
        params.get(kind);
        params.finish()?;
        let text = match kind {
            "completion" => prefix.or(text),
            _ => text.or(prefix),
        };
        let kind = match kind {
            "term" => Kind::Term(TermOptions::parse(body)?),
            "completion" => Kind::Completion(CompletionOptions::parse(body)?),
            "phrase" => return Err(Failure::unsupported("suggester [phrase]")),
            other => return Err(Failure::parsing(format!("unknown suggester [{other}]"))),
        };
        Ok(Self {
            name: name.to_owned(),
            text: text
                .or_else(|| shared.map(str::to_owned))
                .ok_or_else(|| Failure::illegal("The required text option is missing"))?,
            kind,
        })
    }
}

fn analyzer(params: &Params<'_>) -> Outcome<Option<Analyzer>> {
    let name = params.text("analyzer")?;
    name.as_deref().map(query::analyzer).transpose()
}

/// A number of options or candidates.
fn size(params: &Params<'_>, key: &str, default: usize) -> Outcome<usize> {
    let size = params.count(key)?.unwrap_or(default);
    if size == 0 {
        return Err(Failure::illegal(format!("[{key}] must be positive")));
    }
    if size > MAX_SIZE {
        return Err(Failure::illegal(format!(
            "[{key}] of a suggestion may be at most {MAX_SIZE}, found [{size}]"
        )));
    }
    Ok(size)
}

/// A number of documents, or a share of all.
fn frequency(params: &Params<'_>, key: &str, default: f32) -> Outcome<f32> {
    let frequency = params.float(key, default)?;
    if frequency < 0.0 {
        return Err(Failure::illegal(format!("[{key}] must be positive")));
    }
    if frequency >= 1.0 && frequency.fract() != 0.0 {
        return Err(Failure::illegal(format!(
            "Fractional absolute document frequencies are not allowed: [{key}] is [{frequency}]"
        )));
    }
    Ok(frequency)
}

impl TermOptions {
    fn parse(body: &Value) -> Outcome<Self> {
        let params = Params::of("term", body)?;
        let wanted = size(&params, "size", 5)?;
        let shard_size = size(&params, "shard_size", wanted.max(5))?;
        let edits = params.count("max_edits")?.unwrap_or(MAX_EDITS);
        let max_edits = u8::try_from(edits)
            .ok()
            .filter(|edits| (1..=2).contains(edits));
        let max_edits = max_edits.ok_or_else(|| {
            Failure::illegal(format!("maxEdits must be between 1 and 2, found [{edits}]"))
        })?;
        let min_word_length = params.count("min_word_length")?.unwrap_or(4);
        if min_word_length == 0 {
            return Err(Failure::illegal(
                "minWordLength must be greater or equal to 1",
            ));
        }
        let accuracy = params.float("accuracy", 0.5)?;
        if !(0.0..=1.0).contains(&accuracy) {
            return Err(Failure::illegal("accuracy must be between 0 and 1"));
        }
        let inspections = params.count("max_inspections")?.unwrap_or(5);
        let inspections = inspections.saturating_mul(shard_size);
        if inspections > MAX_INSPECTIONS {
            return Err(Failure::illegal(format!(
                "[max_inspections] times [shard_size] may be at most {MAX_INSPECTIONS}, found \
                 [{inspections}]"
            )));
        }
        let options = Self {
            field: params.need_text("field")?,
            analyzer: analyzer(&params)?,
            size: wanted,
            shard_size,
            sort: match params.text("sort")?.as_deref() {
                None | Some("score") => Sort::Score,
                Some("frequency") => Sort::Frequency,
                Some(other) => return Err(Failure::illegal(format!("Illegal sort {other}"))),
            },
            mode: match params.text("suggest_mode")?.as_deref() {
                None | Some("missing") => Mode::Missing,
                Some("popular") => Mode::Popular,
                Some("always") => Mode::Always,
                Some(other) => {
                    return Err(Failure::illegal(format!("Illegal suggest mode {other}")));
                }
            },
            accuracy,
            max_edits,
            prefix_length: params.count("prefix_length")?.unwrap_or(1),
            min_word_length,
            inspections,
            min_doc_freq: frequency(&params, "min_doc_freq", 0.0)?,
            max_term_freq: frequency(&params, "max_term_freq", 0.01)?,
            distance: match params.text("string_distance")? {
                None => Distance::Internal,
                Some(name) => Distance::from_name(&name)?,
            },
        };
        params.finish()?;
        Ok(options)
    }
}

impl CompletionOptions {
    fn parse(body: &Value) -> Outcome<Self> {
        let params = Params::of("completion", body)?;
        if params.get("contexts").is_some() {
            return Err(Failure::unsupported("[contexts] of suggester [completion]"));
        }
        // Of candidates on a shard: all are looked at here.
        size(&params, "shard_size", 5)?;
        let options = Self {
            field: params.need_text("field")?,
            analyzer: analyzer(&params)?,
            size: size(&params, "size", 5)?,
            skip_duplicates: params.flag("skip_duplicates", false)?,
            fuzzy: match params.get("fuzzy") {
                None | Some(Value::Bool(false)) => None,
                Some(Value::Bool(true)) => Some(Fuzzy::DEFAULT),
                Some(body) => Some(Fuzzy::parse(body)?),
            },
        };
        params.finish()?;
        Ok(options)
    }
}

impl Fuzzy {
    const DEFAULT: Self = Self {
        edits: 1,
        transpositions: true,
        min_length: 3,
        prefix_length: 1,
        unicode_aware: false,
    };

    fn parse(body: &Value) -> Outcome<Self> {
        let params = Params::of("fuzzy", body)?;
        let edits = match params.text("fuzziness")?.map(|text| text.to_lowercase()) {
            None => Self::DEFAULT.edits,
            // The length of a beginning says nothing of the word that it will be.
            Some(text) if text == "auto" || text.starts_with("auto:") => Self::DEFAULT.edits,
            Some(text) => match text.as_str() {
                "0" | "0.0" => 0,
                "1" | "1.0" => 1,
                "2" | "2.0" => 2,
                other => {
                    return Err(Failure::illegal(format!(
                        "fuzziness must be between 0 and 2, found [{other}]"
                    )));
                }
            },
        };
        params.ignore(&["max_determinized_states"]);
        let fuzzy = Self {
            edits,
            transpositions: params.flag("transpositions", Self::DEFAULT.transpositions)?,
            min_length: params
                .count("min_length")?
                .unwrap_or(Self::DEFAULT.min_length),
            prefix_length: params
                .count("prefix_length")?
                .unwrap_or(Self::DEFAULT.prefix_length),
            unicode_aware: params.flag("unicode_aware", Self::DEFAULT.unicode_aware)?,
        };
        params.finish()?;
        Ok(fuzzy)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_suggestion_has_a_text_of_its_own_or_the_shared_one() {
        let suggest = Suggest::parse(&json!({
            "text": "shared",
            "a": {"term": {"field": "f"}},
            "b": {"text": "own", "term": {"field": "f"}},
            "c": {"prefix": "begun", "completion": {"field": "f", "fuzzy": {"fuzziness": "AUTO"}}}
        }))
        .unwrap();
        let texts: Vec<_> = suggest
            .list
            .iter()
            .map(|one| (one.name.as_str(), one.text.as_str()))
            .collect();
        assert_eq!(texts, [("a", "shared"), ("b", "own"), ("c", "begun")]);
        let Kind::Completion(options) = &suggest.list[2].kind else {
            panic!("no completion");
        };
        assert_eq!(options.fuzzy, Some(Fuzzy::DEFAULT));
    }

    #[test]
    fn what_is_unknown_or_out_of_bounds_is_refused_by_name() {
        let term = |options: Value| {
            let mut options = options;
            options["field"] = "f".into();
            json!({"a": {"text": "x", "term": options}})
        };
        let completion = |options: Value| {
            let mut options = options;
            options["field"] = "f".into();
            json!({"a": {"prefix": "x", "completion": options}})
        };
        for (body, said) in [
            (json!({"a": {"term": {"field": "f"}}}), "text option"),
            (json!({"a": {"text": "x"}}), "missing suggestion"),
            (json!({"a": {"text": "x", "term": {}}}), "[field]"),
            (json!({"a": {"text": "x", "phrase": {}}}), "[phrase]"),
            (json!({"a": {"text": "x", "spell": {}}}), "[spell]"),
            (json!({"a": {"regex": "x", "completion": {}}}), "[regex]"),
            (json!({"a": "x"}), "[a]"),
            (json!([]), "object"),
            (term(json!({"max_edits": 3})), "between 1 and 2"),
            (term(json!({"size": 0})), "[size]"),
            (term(json!({"size": 100_000})), "[size]"),
            (term(json!({"max_inspections": 1_000_000})), "inspections"),
            (term(json!({"min_word_length": 0})), "minWordLength"),
            (term(json!({"max_term_freq": 1.5})), "max_term_freq"),
            (term(json!({"min_doc_freq": -1})), "min_doc_freq"),
            (term(json!({"string_distance": "x"})), "distance option x"),
            (term(json!({"suggest_mode": "x"})), "suggest mode x"),
            (term(json!({"sort": "x"})), "sort x"),
            (term(json!({"analyzer": "x"})), "[x]"),
            (term(json!({"other": 1})), "[other]"),
            (completion(json!({"contexts": {}})), "[contexts]"),
            (completion(json!({"fuzzy": {"fuzziness": 3}})), "between 0"),
            (completion(json!({"fuzzy": {"other": 3}})), "[other]"),
        ] {
            let failure = Suggest::parse(&body).unwrap_err();
            assert_eq!(failure.status, 400);
            assert!(failure.reason.contains(said), "{body}: {failure}");
        }
    }
}

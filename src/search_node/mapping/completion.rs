//! Fields of type `completion`: inputs with weights, as terms that a suggester walks.
//!
//! A term is the analysed input, its weight, and the input as it is shown. What is analysed comes
//! first, so that the inputs that begin alike lie together.

use std::borrow::Cow;

use serde_json::Value;

use super::kind::Kind;
use super::leaf::Leaf;
use crate::search_node::analysis::Analyzer;
use crate::search_node::json::text;

/// Stands between the parts of a term; no input has it.
const END: char = '\0';

/// Stands between the tokens of an analysed input, twice where one was left out; no input has it.
const BETWEEN: char = '\u{1f}';

/// Characters that an input may not have: they mean something in Lucene's terms.
const RESERVED: [char; 3] = [END, '\u{1e}', BETWEEN];

/// Largest weight.
const MAX_WEIGHT: i64 = i32::MAX as i64;

/// A term, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Completion<'a> {
    /// The analysed input.
    pub key: &'a str,
    /// Its weight.
    pub weight: u32,
    /// The input as it is shown.
    pub shown: &'a str,
}

impl<'a> Completion<'a> {
    /// Reads a term; `None` when it is none of these.
    pub(crate) fn read(term: &'a [u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(term).ok()?.split(END);
        Some(Self {
            key: parts.next()?,
            weight: parts.next()?.parse().ok()?,
            shown: parts.next()?,
        })
    }
}

impl Leaf {
    /// What `text` is looked up by under `analyzer`: its tokens one after the other; `None` when
    /// it has none.
    pub(crate) fn completion_key(&self, analyzer: Analyzer, text: &str) -> Option<String> {
        let tokens = analyzer.tokens(text);
        let last = tokens.last()?.position;
        let mut key = String::with_capacity(text.len());
        let separate = |key: &mut String, count: usize| {
            if self.keeps_separators {
                key.extend(std::iter::repeat_n(BETWEEN, count));
            }
        };
        let mut next = 0;
        for (number, token) in tokens.iter().enumerate() {
            let gap = token.position.saturating_sub(next);
            let left_out = if self.keeps_positions { gap } else { 0 };
            separate(&mut key, left_out + usize::from(number > 0));
            key.push_str(&token.text);
            next = token.position + 1;
        }
        if analyzer == Analyzer::English && self.keeps_positions {
            // The only analyzer that leaves words out: those at the end count as well.
            let words = Analyzer::Standard.tokens(text).len();
            separate(&mut key, words.saturating_sub(last + 1));
        }
        Some(key)
    }

    /// The term of an input; `None` when nothing of it is left to look up. The error says what is
    /// wrong with it.
    pub(super) fn completion_term(
        &self,
        input: &str,
        weight: u32,
    ) -> Result<Option<String>, String> {
        if let Some((position, bad)) = input
            .chars()
            .enumerate()
            .find(|(_, c)| RESERVED.contains(c))
        {
            return Err(format!(
                "Illegal input [{}] UTF-16 codepoint  [0x{:x}] at position {position} is a \
                 reserved character",
                input.escape_debug(),
                u32::from(bad)
            ));
        }
        let mut units = 0;
        let cut: String = input
            .chars()
            .take_while(|c| {
                let before = units;
                units += c.len_utf16();
                before < self.max_input
            })
            .collect();
        let key = self.completion_key(self.analyzer, &cut);
        Ok(key.map(|key| format!("{key}{END}{weight}{END}{cut}")))
    }
}

/// Inputs and weights of one value: a text, or `{"input": …, "weight": …}`. The error says what is
/// wrong with it.
pub(super) fn inputs(leaf: &Leaf, value: &Value) -> Result<Vec<(String, u32)>, String> {
    let object = match value {
        Value::String(input) => return Ok(vec![(input.clone(), 1)]),
        Value::Object(object) => object,
        other => {
            return Err(format!(
                "failed to parse [{}]: expected text or object, but got [{other}]",
                leaf.path
            ));
        }
    };
    let mut inputs = Vec::new();
    let mut weight = 1;
    for (key, value) in object {
        match (key.as_str(), value) {
            ("input", Value::String(input)) => inputs.push(input.clone()),
            ("input", Value::Array(many)) => {
                for input in many {
                    let Value::String(input) = input else {
                        return Err(format!(
                            "input array must have string values, but was [{input}]"
                        ));
                    };
                    inputs.push(input.clone());
                }
            }
            ("input", other) => {
                return Err(format!(
                    "input must be a string or array, but was [{other}]"
                ));
            }
            ("weight", value) => weight = read_weight(value)?,
            ("contexts", _) => {
                return Err(format!(
                    "contexts field is not supported for field: [{}]",
                    leaf.path
                ));
            }
            (other, _) => {
                return Err(format!(
                    "unknown field name [{other}], must be one of [input, weight, contexts]"
                ));
            }
        }
    }
    Ok(inputs.into_iter().map(|input| (input, weight)).collect())
}

fn read_weight(value: &Value) -> Result<u32, String> {
    let whole = match value {
        Value::Number(_) | Value::String(_) => text(value).parse::<i64>(),
        other => {
            return Err(format!(
                "weight must be a number or string, but was [{other}]"
            ));
        }
    };
    let whole =
        whole.map_err(|_| format!("weight must be an integer, but was [{}]", text(value)))?;
    match u32::try_from(whole) {
        Ok(weight) if whole <= MAX_WEIGHT => Ok(weight),
        _ => Err(format!(
            "weight must be in the interval [0..{MAX_WEIGHT}], but was [{whole}]"
        )),
    }
}

/// What a multi-field of `leaf` gets of `value`: the inputs alone when it is no completion itself.
pub(super) fn for_multi<'a>(leaf: &Leaf, field: &Leaf, value: &'a Value) -> Cow<'a, Value> {
    if leaf.kind != Kind::Completion || field.kind == Kind::Completion {
        return Cow::Borrowed(value);
    }
    let values = match value {
        Value::Array(values) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    // What cannot be read was refused before.
    let inputs = values.iter().filter_map(|value| inputs(leaf, value).ok());
    Cow::Owned(inputs.flatten().map(|(input, _)| input).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn leaf(definition: &Value) -> Leaf {
        let mut definition = definition.as_object().unwrap().clone();
        definition.insert("type".to_owned(), json!("completion"));
        Leaf::parse("s", &definition, 0, None).unwrap()
    }

    #[test]
    fn a_key_is_the_tokens_with_marks_for_words_left_out() {
        let english = json!({"analyzer": "english"});
        let no_positions = json!({"analyzer": "english", "preserve_position_increments": false});
        let no_separators = json!({"preserve_separators": false});
        for (definition, text, key) in [
            (json!({}), "Foo  Fighters", Some("foo\u{1f}fighters")),
            (json!({}), "foo ", Some("foo")),
            (json!({}), "1 2", None),
            (english.clone(), "The Beatles", Some("\u{1f}beatl")),
            (
                english.clone(),
                "rock and roll",
                Some("rock\u{1f}\u{1f}roll"),
            ),
            (english.clone(), "rock the", Some("rock\u{1f}")),
            (english, "the", None),
            (no_positions, "The Beatles", Some("beatl")),
            (no_separators, "Foo Fighters", Some("foofighters")),
        ] {
            let leaf = leaf(&definition);
            let found = leaf.completion_key(leaf.analyzer, text);
            assert_eq!(found.as_deref(), key, "{definition} {text}");
        }
    }

    #[test]
    fn a_term_is_read_as_it_was_written_and_long_inputs_are_cut() {
        let leaf = leaf(&json!({"max_input_length": 5}));
        let term = leaf.completion_term("Nirvana", 7).unwrap().unwrap();
        let read = Completion::read(term.as_bytes()).unwrap();
        assert_eq!((read.key, read.weight, read.shown), ("nirva", 7, "Nirva"));
        assert!(leaf.completion_term("a\u{1f}b", 1).is_err());
        assert_eq!(leaf.completion_term(" ", 1), Ok(None));
        assert_eq!(Completion::read(b"nirvana"), None);
    }

    #[test]
    fn values_are_texts_or_objects_with_inputs_and_a_weight() {
        let leaf = leaf(&json!({}));
        let read = |value: Value| inputs(&leaf, &value);
        assert_eq!(read(json!("a")), Ok(vec![("a".to_owned(), 1)]));
        assert_eq!(
            read(json!({"weight": "3", "input": ["a", "b"]})),
            Ok(vec![("a".to_owned(), 3), ("b".to_owned(), 3)])
        );
        for (value, said) in [
            (json!(1), "expected text or object"),
            (json!({"input": "a", "weight": -1}), "interval"),
            (
                json!({"input": "a", "weight": 2_147_483_648_u64}),
                "interval",
            ),
            (json!({"input": "a", "weight": 1.5}), "integer"),
            (json!({"input": "a", "weight": true}), "number or string"),
            (json!({"input": [1]}), "string values"),
            (json!({"input": 1}), "string or array"),
            (json!({"input": "a", "contexts": {}}), "contexts"),
            (json!({"inputs": "a"}), "unknown field name [inputs]"),
        ] {
            let why = read(value).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
    }
}

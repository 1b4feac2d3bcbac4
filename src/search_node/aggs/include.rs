//! Which terms become buckets: the parameters `include` and `exclude`.

use serde_json::Value;
use tantivy_fst::{Automaton, Regex};

use super::codes::Coded;
use super::key::Key;
use super::params::Params;
use super::target::Target;
use crate::search_node::dates::Formats;
use crate::search_node::failure::{Failure, Outcome};
use crate::search_node::json::plain;
use crate::search_node::mapping::{Kind, Leaf, Number, parse_ip, parse_number};

/// Longest pattern, in characters, as `index.max_regex_length`.
const MAX_PATTERN: usize = 1000;

/// See the module.
#[derive(Debug)]
pub(super) struct Include {
    include: Option<Set>,
    exclude: Option<Set>,
}

enum Set {
    Exact(Vec<Value>),
    Pattern(Box<Regex>),
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Set::Exact(values) => f.debug_tuple("Exact").field(values).finish(),
            Set::Pattern(_) => f.write_str("Pattern"),
        }
    }
}

impl Include {
    /// Reads both parameters; `None` when there are none.
    pub(super) fn parse(params: &Params<'_>) -> Outcome<Option<Self>> {
        let include = params.get("include");
        let include = include
            .map(|set| parse(params, "include", set))
            .transpose()?;
        let exclude = params.get("exclude");
        let exclude = exclude
            .map(|set| parse(params, "exclude", set))
            .transpose()?;
        Ok((include.is_some() || exclude.is_some()).then_some(Self { include, exclude }))
    }

    /// Takes away the values that do not become buckets.
    pub(super) fn apply(
        &self,
        coded: &mut Coded,
        leaf: Option<&Leaf>,
        target: &Target,
    ) -> Outcome<()> {
        let distinct = coded.distinct();
        let keys = coded.decode.keys(&distinct)?;
        let include = self.include.as_ref().map(|set| set.test(leaf, target));
        let include = include.transpose()?;
        let exclude = self.exclude.as_ref().map(|set| set.test(leaf, target));
        let exclude = exclude.transpose()?;
        let kept: Vec<bool> = keys
            .iter()
            .map(|key| {
                include.as_ref().is_none_or(|test| test.has(key))
                    && !exclude.as_ref().is_some_and(|test| test.has(key))
            })
            .collect();
        coded.values.retain(|code| {
            let at = distinct.binary_search(&code);
            at.is_ok_and(|at| kept[at])
        });
        Ok(())
    }
}

fn parse(params: &Params<'_>, key: &'static str, set: &Value) -> Outcome<Set> {
    match set {
        Value::Array(values) if values.iter().all(|value| plain(value).is_some()) => {
            Ok(Set::Exact(values.clone()))
        }
        Value::String(pattern) => pattern_of(pattern).map(Set::Pattern),
        Value::Object(_) => Err(Failure::unsupported(format!(
            "[{key}] by partitions in aggregation [{}]",
            params.name
        ))),
        other => Err(params.bad(key, other, "a list of values or a pattern")),
    }
}

fn pattern_of(pattern: &str) -> Outcome<Box<Regex>> {
    let length = pattern.chars().count();
    if length > MAX_PATTERN {
        return Err(Failure::illegal(format!(
            "The length of the pattern [{length}] has exceeded the allowed maximum of \
             [{MAX_PATTERN}]"
        )));
    }
    let mut translated = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                // A class, or a character that means nothing by itself to the engine.
                Some(c @ ('d' | 'D' | 's' | 'S' | 'w' | 'W')) => translated.extend(['\\', c]),
                Some(c) => literal(&mut translated, c),
                None => literal(&mut translated, '\\'),
            },
            '"' => {
                for c in chars.by_ref().take_while(|c| *c != '"') {
                    literal(&mut translated, c);
                }
            }
            // Any character, line breaks included.
            '.' => translated.push_str("(?s:.)"),
            '^' if !translated.ends_with('[') => literal(&mut translated, c),
            '$' => literal(&mut translated, c),
            '~' | '&' | '<' | '@' | '#' => {
                return Err(Failure::unsupported(format!(
                    "operator [{c}] in the pattern [{pattern}]"
                )));
            }
            '(' if chars.peek() == Some(&'?') => {
                return Err(Failure::illegal(format!(
                    "the pattern [{pattern}] has a quantifier without anything before it"
                )));
            }
            c => translated.push(c),
        }
    }
    Regex::new(&translated).map(Box::new).map_err(|error| {
        Failure::illegal(format!(
            "the pattern [{pattern}] cannot be used: {error}; it may be malformed, or need too \
             much memory"
        ))
    })
}

/// A character as itself.
fn literal(out: &mut String, c: char) {
    if c.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(c);
}

/// A set for the values of one field.
enum Test<'a> {
    /// Sorted.
    Exact(Vec<Key>),
    Pattern(&'a Regex),
}

impl Set {
    fn test(&self, leaf: Option<&Leaf>, target: &Target) -> Outcome<Test<'_>> {
        match self {
            Set::Exact(values) => {
                let keys = values.iter().map(|value| key_of(value, leaf, target));
                let mut keys = keys.collect::<Outcome<Vec<_>>>()?;
                keys.sort_unstable_by(Key::order);
                Ok(Test::Exact(keys))
            }
            Set::Pattern(regex) => match leaf.map(|leaf| leaf.kind) {
                None | Some(Kind::Keyword) => Ok(Test::Pattern(regex)),
                Some(_) => Err(Failure::illegal(format!(
                    "Aggregation cannot support regular expression style include/exclude settings \
                     as they can only be applied to string fields. Use an array of values for \
                     include/exclude clauses, here of field [{}]",
                    target.field
                ))),
            },
        }
    }
}

impl Test<'_> {
    fn has(&self, key: &Key) -> bool {
        match self {
            Test::Exact(keys) => keys.binary_search_by(|one| one.order(key)).is_ok(),
            Test::Pattern(regex) => {
                let Key::Text(text) = key else {
                    return false;
                };
                let mut state = regex.start();
                for byte in text.bytes() {
                    state = regex.accept(&state, byte);
                }
                regex.is_match(&state)
            }
        }
    }
}

/// A value of the request as a key of the field.
pub(super) fn key_of(value: &Value, leaf: Option<&Leaf>, target: &Target) -> Outcome<Key> {
    let text = plain(value).unwrap_or_default();
    let Some(leaf) = leaf else {
        return Ok(Key::Text(text.into()));
    };
    let key = match leaf.kind {
        Kind::Keyword => Ok(Key::Text(text.into())),
        Kind::Ip => parse_ip(value).map(|ip| Key::Ip(ip.into())),
        Kind::Date => {
            let formats: Formats = target.formats(Some(leaf))?;
            return target.date(value, &formats, 0).map(Key::Int);
        }
        _ => parse_number(leaf, value).map(|number| match number {
            Number::Int(number) => Key::Int(number),
            Number::Float(number) => Key::Float(number),
        }),
    };
    key.map_err(|why| Failure::illegal(format!("a value for field [{}]: {why}", leaf.path)))
}

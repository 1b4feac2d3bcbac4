//! Patterns of wildcards and Lucene's regular expressions, as those of the term dictionary.

use std::sync::Arc;

use tantivy_fst::Regex;

use crate::search_node::failure::{Failure, Outcome};

/// Longest pattern, in characters, as `index.max_regex_length`.
const MAX_PATTERN: usize = 1000;

pub(super) fn compile(pattern: &str) -> Outcome<Arc<Regex>> {
    if pattern.chars().count() > MAX_PATTERN {
        return Err(Failure::illegal(format!(
            "The length of the pattern [{}] has exceeded the allowed maximum of [{MAX_PATTERN}]",
            pattern.chars().count()
        )));
    }
    Regex::new(pattern).map(Arc::new).map_err(|error| {
        Failure::illegal(format!(
            "the pattern [{pattern}] cannot be used: {error}; it may be malformed, or need too \
             much memory"
        ))
    })
}

/// A pattern of `*` and `?`, in which a backslash takes the next character as it is, as a regular
/// expression.
pub(super) fn wildcard_regex(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() * 2);
    let mut chars = pattern.chars();
    let mut star = false;
    while let Some(c) = chars.next() {
        // Stars in a row are one: each costs states.
        if c == '*' && star {
            continue;
        }
        star = c == '*';
        match c {
            '*' => out.push_str("(?s:.*)"),
            '?' => out.push_str("(?s:.)"),
            '\\' => out.push_str(&escape(
                chars.next().unwrap_or('\\').encode_utf8(&mut [0; 4]),
            )),
            other => out.push_str(&escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    out
}

pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// One of Lucene's expressions as one of ours: it has no anchors, so that `^` and `$` are
/// characters but at the beginning of a class.
pub(super) fn lucene_regex(pattern: &str) -> Outcome<String> {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    let mut class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(kind @ ('d' | 'D' | 'w' | 'W' | 's' | 'S')) => out.extend(['\\', kind]),
                other => out.push_str(&escape(other.unwrap_or(c).encode_utf8(&mut [0; 4]))),
            },
            '[' if !class => {
                class = true;
                out.push(c);
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            ']' => {
                class = false;
                out.push(c);
            }
            '~' | '&' | '@' | '<' | '#' | '"' if !class => {
                return Err(Failure::unsupported(format!(
                    "operator [{c}] in a regular expression; put a backslash before it to search \
                     for the character"
                )));
            }
            '^' | '$' | '[' | '~' | '&' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Terms;
    use super::*;

    #[test]
    fn expressions_mean_what_they_mean_in_lucene() {
        for (pattern, term, fits) in [
            ("a.c", "abc", true),
            ("a.c", "a\nc", true),
            (r"\$[0-9]+", "$12", true),
            ("a$", "a$", true),
            ("a$", "a", false),
            (r"a\^b", "a^b", true),
            (r"[\^a]", "^", true),
            ("[^a]", "b", true),
            ("[^a]", "a", false),
            (r"\d+", "12", true),
            ("ab", "abc", false),
        ] {
            let regex = compile(&format!("(?s){}", lucene_regex(pattern).unwrap())).unwrap();
            assert_eq!(Terms::Regex(regex).fit(term), fits, "{pattern} {term}");
        }
        for pattern in ["a~b", "a&b", "a@", "<1-2>", "a#", "\"a\""] {
            assert!(lucene_regex(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn wildcards_stand_for_any_text_and_any_character() {
        for (pattern, term, fits) in [
            ("a*", "abc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*b*", "abc", true),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            ("*", "", true),
        ] {
            let regex = compile(&wildcard_regex(pattern)).unwrap();
            assert_eq!(Terms::Regex(regex).fit(term), fits, "{pattern} {term}");
        }
    }

    proptest! {
        #[test]
        fn any_text_as_a_wildcard_is_a_pattern_or_an_error(text in ".{0,40}") {
            let _ = compile(&wildcard_regex(&text));
            prop_assert!(compile(&escape(&text)).is_ok(), "{text:?}");
        }
    }
}

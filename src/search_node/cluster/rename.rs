//! New names of indices by pattern and replacement, which mean what they mean in Java.

use regex::Regex;

use crate::search_node::failure::{Failure, Outcome};

/// See the module.
#[derive(Debug)]
pub(super) struct Rename {
    pattern: Regex,
    replacement: Vec<Piece>,
}

/// A piece of a replacement.
#[derive(Debug, PartialEq)]
enum Piece {
    Text(char),
    Group(usize),
}

impl Rename {
    /// Reads both. What Rust's regular expressions lack, such as look-around, is refused.
    pub(super) fn parse(pattern: &str, replacement: &str) -> Outcome<Self> {
        let pattern = Regex::new(pattern).map_err(|error| {
            Failure::illegal(format!(
                "[rename_pattern] [{pattern}] cannot be used, or is not supported by the lucid \
                 search node: {error}"
            ))
        })?;
        let replacement = pieces(&pattern, replacement).ok_or_else(|| {
            Failure::illegal(format!(
                "[rename_replacement] [{replacement}] names a group that [rename_pattern] [{}] does \
                 not have",
                pattern.as_str()
            ))
        })?;
        Ok(Self {
            pattern,
            replacement,
        })
    }

    /// The new name; every match is replaced.
    pub(super) fn apply(&self, name: &str) -> String {
        let mut new = String::new();
        let mut at = 0;
        let mut copied = 0;
        // As in Java, an empty match may follow another one directly.
        while let Some(found) = self.pattern.captures_at(name, at) {
            let Some(whole) = found.get(0) else { break };
            new.push_str(name.get(copied..whole.start()).unwrap_or_default());
            for piece in &self.replacement {
                match piece {
                    Piece::Text(c) => new.push(*c),
                    Piece::Group(group) => {
                        new.push_str(found.get(*group).map_or("", |m| m.as_str()));
                    }
                }
            }
            copied = whole.end();
            at = whole.end();
            if whole.is_empty() {
                let next = name.get(at..).and_then(|rest| rest.chars().next());
                let Some(next) = next else { break };
                at += next.len_utf8();
            }
        }
        new.push_str(name.get(copied..).unwrap_or_default());
        new
    }
}

/// The pieces of `replacement`; `None` when it is malformed.
fn pieces(pattern: &Regex, replacement: &str) -> Option<Vec<Piece>> {
    let groups = pattern.captures_len();
    let mut pieces = Vec::new();
    let mut chars = replacement.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => pieces.push(Piece::Text(chars.next()?)),
            '$' if chars.peek() == Some(&'{') => {
                chars.next();
                let name: String = chars.by_ref().take_while(|c| *c != '}').collect();
                let group = pattern.capture_names().position(|n| n == Some(&name))?;
                pieces.push(Piece::Group(group));
            }
            '$' => {
                let digit = |c: &char| c.to_digit(10).map(|digit| digit as usize);
                let mut group = chars.peek().and_then(digit).filter(|g| *g < groups)?;
                chars.next();
                // More digits belong to the number as long as there is such a group.
                while let Some(longer) = chars.peek().and_then(digit) {
                    let longer = group * 10 + longer;
                    if longer >= groups {
                        break;
                    }
                    group = longer;
                    chars.next();
                }
                pieces.push(Piece::Group(group));
            }
            c => pieces.push(Piece::Text(c)),
        }
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_as_java_would_change_them() {
        for (pattern, replacement, name, new) in [
            ("(.+)", "restored-$1", "logs", "restored-logs"),
            ("logs-(\\d+)", "old-$1x", "logs-17", "old-17x"),
            ("logs", "x", "a-logs-logs", "a-x-x"),
            ("(a)(b)", "$2$1$10", "ab", "baa0"),
            ("(?<n>a)", "${n}${n}", "ab", "aab"),
            ("a", "\\$1", "a", "$1"),
            ("z", "y", "abc", "abc"),
            // Java finds an empty match at the end too.
            ("(.*)", "r-$1", "a", "r-ar-"),
            ("x*", "-", "äb", "-ä-b-"),
        ] {
            let rename = Rename::parse(pattern, replacement).unwrap();
            assert_eq!(rename.apply(name), new, "{pattern} {replacement}");
        }
        for (pattern, replacement) in [
            ("(", "x"),
            ("(?=a)", "x"),
            ("a", "$1"),
            ("a", "$"),
            ("a", "${n}"),
            ("a", "\\"),
        ] {
            assert!(
                Rename::parse(pattern, replacement).is_err(),
                "{pattern} {replacement}"
            );
        }
    }
}

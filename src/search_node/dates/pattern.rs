//! Patterns of `java.time.format.DateTimeFormatter`: their letters. Text is
//! read by them in [`super::read`] and written in [`super::print`].

use super::DateError;
use super::zone::OffsetStyle;

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(super) const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// As many digits as a number can have: more than any value needs.
const UNBOUNDED: usize = 18;

/// A component that is written as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Year,
    /// The last two digits of a year of 2000 to 2099.
    ShortYear,
    Month,
    Day,
    DayOfYear,
    Hour,
    HourOfHalf,
    Minute,
    Second,
}

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Number {
        number: Number,
        /// Fewest digits, when read and when written.
        min: usize,
        /// Most digits, when read.
        max: usize,
        /// Fewest digits when written.
        width: usize,
        /// Digits to leave to the numbers that follow without a separator.
        reserve: usize,
    },
    /// A fraction of a second, written with `width` digits.
    Fraction {
        min: usize,
        max: usize,
        width: usize,
    },
    Month {
        full: bool,
    },
    Weekday {
        full: bool,
    },
    HalfOfDay,
    Offset {
        style: OffsetStyle,
        /// Whether no offset is `Z`.
        zulu: bool,
        /// Whether any style and a zone's name are read as well.
        any: bool,
    },
    /// A zone's name, written in short (`CET`) or in full (`Europe/Berlin`).
    Zone {
        short: bool,
    },
    Literal(String),
    /// A part in brackets, which may be absent from a text.
    Optional(Vec<Item>),
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pub items: Vec<Item>,
}

impl Pattern {
    /// Compiles a pattern that a user wrote.
    pub(super) fn compile(pattern: &str) -> Result<Pattern, DateError> {
        let chars: Vec<char> = pattern.chars().collect();
        let mut compiler = Compiler {
            pattern,
            chars: &chars,
            at: 0,
        };
        let items = compiler.items(0)?;
        Ok(Pattern { items })
    }

    /// Makes a built-in format of a pattern: fractions and offsets are taken
    /// in any form and, in a lenient format, numbers with fewer digits.
    pub(super) fn relax(mut self, lenient: bool) -> Pattern {
        relax(&mut self.items, lenient);
        self
    }
}

fn relax(items: &mut [Item], lenient: bool) {
    for item in items {
        match item {
            Item::Number { min, .. } if lenient => *min = 1,
            Item::Fraction { min, max, .. } => (*min, *max) = (1, 9),
            Item::Offset { any, .. } => *any = true,
            Item::Optional(inner) => relax(inner, lenient),
            _ => {}
        }
    }
}

struct Compiler<'a> {
    pattern: &'a str,
    chars: &'a [char],
    at: usize,
}

impl Compiler<'_> {
    /// Compiles up to the end of the pattern or, inside of brackets, of them.
    fn items(&mut self, depth: usize) -> Result<Vec<Item>, DateError> {
        // Nesting is limited so that a hostile pattern cannot exhaust the stack.
        if depth > 16 {
            return Err(self.invalid("too many nested optional sections"));
        }
        let mut items = Vec::new();
        let mut closed = false;
        while let Some(&next) = self.chars.get(self.at) {
            match next {
                'a'..='z' | 'A'..='Z' => {
                    let count = self.chars[self.at..]
                        .iter()
                        .take_while(|c| **c == next)
                        .count();
                    self.at += count;
                    items.push(self.letter(next, count)?);
                }
                '\'' => literal(&mut items, &self.quoted()?),
                '[' => {
                    self.at += 1;
                    items.push(Item::Optional(self.items(depth + 1)?));
                }
                ']' => {
                    self.at += 1;
                    closed = true;
                    break;
                }
                '{' | '}' | '#' => {
                    return Err(self.invalid(&format!("'{next}' is reserved for future use")));
                }
                other => {
                    self.at += 1;
                    literal(&mut items, other.encode_utf8(&mut [0; 4]));
                }
            }
        }
        // Java closes brackets that are still open at the end by itself.
        if closed && depth == 0 {
            return Err(self.invalid("Pattern invalid as it contains ] without previous ["));
        }
        reserve_digits(&mut items);
        Ok(items)
    }

    /// Reads a literal in quotes, in which a quote is doubled.
    fn quoted(&mut self) -> Result<String, DateError> {
        let mut text = String::new();
        self.at += 1;
        loop {
            let next = self.chars.get(self.at).copied();
            let after = self.chars.get(self.at + 1).copied();
            match (next, after) {
                (Some('\''), Some('\'')) => {
                    text.push('\'');
                    self.at += 2;
                }
                (Some('\''), _) => {
                    self.at += 1;
                    // Two quotes are one quote.
                    return Ok(if text.is_empty() {
                        "'".to_owned()
                    } else {
                        text
                    });
                }
                (Some(other), _) => {
                    text.push(other);
                    self.at += 1;
                }
                (None, _) => {
                    return Err(self.invalid("Pattern ends with an incomplete string literal"));
                }
            }
        }
    }

    fn letter(&self, letter: char, count: usize) -> Result<Item, DateError> {
        let fixed = |number, width| Item::Number {
            number,
            min: width,
            max: width,
            width,
            reserve: 0,
        };
        let open = |number, min, max| Item::Number {
            number,
            min,
            max,
            width: min,
            reserve: 0,
        };
        let offset = |style, zulu| Item::Offset {
            style,
            zulu,
            any: false,
        };
        Ok(match (letter, count) {
            ('y' | 'u', 1 | 3) => open(Number::Year, count, UNBOUNDED),
            ('y' | 'u', 2) => fixed(Number::ShortYear, 2),
            ('y' | 'u', 4) => fixed(Number::Year, 4),
            ('M' | 'L', 1) => open(Number::Month, 1, 2),
            ('M' | 'L', 2) => fixed(Number::Month, 2),
            ('M' | 'L', 3 | 4) => Item::Month { full: count == 4 },
            ('d', 1) => open(Number::Day, 1, 2),
            ('d', 2) => fixed(Number::Day, 2),
            ('D', 1 | 2) => open(Number::DayOfYear, count, 3),
            ('D', 3) => fixed(Number::DayOfYear, 3),
            ('H', 1) => open(Number::Hour, 1, 2),
            ('H', 2) => fixed(Number::Hour, 2),
            ('h', 1) => open(Number::HourOfHalf, 1, 2),
            ('h', 2) => fixed(Number::HourOfHalf, 2),
            ('m', 1) => open(Number::Minute, 1, 2),
            ('m', 2) => fixed(Number::Minute, 2),
            ('s', 1) => open(Number::Second, 1, 2),
            ('s', 2) => fixed(Number::Second, 2),
            ('S', 1..=9) => Item::Fraction {
                min: count,
                max: count,
                width: count,
            },
            ('a', 1) => Item::HalfOfDay,
            ('E', 1..=3) => Item::Weekday { full: false },
            ('E', 4) => Item::Weekday { full: true },
            ('X', 1) => offset(OffsetStyle::Short, true),
            ('X', 2) => offset(OffsetStyle::Basic, true),
            ('X', 3) | ('Z', 5) => offset(OffsetStyle::Extended, true),
            ('x', 1) => offset(OffsetStyle::Short, false),
            ('x', 2) | ('Z', 1..=3) => offset(OffsetStyle::Basic, false),
            ('x', 3) => offset(OffsetStyle::Extended, false),
            ('z', 1..=3) => Item::Zone { short: true },
            ('V', 2) => Item::Zone { short: false },
            (
                'y' | 'u' | 'M' | 'L' | 'd' | 'D' | 'H' | 'h' | 'm' | 's' | 'S' | 'a' | 'E' | 'X'
                | 'x' | 'Z' | 'z' | 'V',
                _,
            ) => {
                return Err(self.invalid(&format!(
                    "Unsupported number of pattern letters: {}",
                    String::from(letter).repeat(count.min(32))
                )));
            }
            _ => {
                return Err(DateError::UnknownLetter {
                    format: self.pattern.to_owned(),
                    letter,
                });
            }
        })
    }

    fn invalid(&self, reason: &str) -> DateError {
        DateError::InvalidFormat {
            format: self.pattern.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

fn literal(items: &mut Vec<Item>, text: &str) {
    if let Some(Item::Literal(last)) = items.last_mut() {
        last.push_str(text);
    } else {
        items.push(Item::Literal(text.to_owned()));
    }
}

/// Lets a number of open width, as in `yMMdd`, end where the numbers of fixed
/// width that follow it begin.
fn reserve_digits(items: &mut [Item]) {
    let mut following = 0;
    for item in items.iter_mut().rev() {
        following = match item {
            Item::Number {
                min, max, reserve, ..
            } if *min < *max => {
                *reserve = following;
                0
            }
            Item::Number { width, .. } | Item::Fraction { width, .. } => following + *width,
            _ => 0,
        };
    }
}

/// A month's or a weekday's name as a pattern shows it.
pub(super) fn shown(name: &str, full: bool) -> &str {
    if full {
        name
    } else {
        name.get(..3).unwrap_or(name)
    }
}

#[cfg(test)]
mod tests {
    use crate::search_node::dates::{DateError, Formats};

    #[test]
    fn an_unsupported_letter_is_named_with_its_format() {
        let error = Formats::parse_spec("yyyy-MM-dd||YYYY-'W'ww").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Invalid format: [YYYY-'W'ww]: Unknown pattern letter: Y"
        );
        for wrong in [
            "yyyyy", "ddd", "yyyy'T", "yyyy]", "{yyyy}", "V", "a a aa", "", "yyyy||",
        ] {
            let error = Formats::parse_spec(wrong).unwrap_err();
            assert!(
                matches!(error, DateError::InvalidFormat { .. }),
                "{wrong}: {error}"
            );
        }
        assert!(Formats::parse_spec(&"[".repeat(100_000)).is_err());
    }
}

//! Finds the words of a text: UAX #29 boundaries, as Lucene's `StandardTokenizer` draws them.

use unicode_segmentation::{UnicodeSegmentation, UnicodeWordIndices};

/// The longest token, in UTF-16 units as Lucene counts; longer words are cut into pieces.
pub(super) const MAX_TOKEN_LENGTH: usize = 255;

/// What a byte means to the word boundary rules.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    /// `_` joins letters and digits, but is no word alone.
    Underscore,
    /// `:` joins two letters.
    MidLetter,
    /// `,` and `;` join two digits.
    MidNumber,
    /// `.` and `'` join two letters or two digits.
    Mid,
    Other,
    NonAscii,
    /// Beyond the text.
    End,
}

static CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0_u8;
    loop {
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            b'_' => Class::Underscore,
            b':' => Class::MidLetter,
            b',' | b';' => Class::MidNumber,
            b'.' | b'\'' => Class::Mid,
            0x80.. => Class::NonAscii,
            _ => Class::Other,
        };
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

impl Class {
    #[inline]
    fn at(bytes: &[u8], at: usize) -> Self {
        bytes
            .get(at)
            .map_or(Self::End, |byte| CLASSES[usize::from(*byte)])
    }

    /// Whether this class, between two characters of class `side`, makes one word of them.
    fn joins(self, side: Self) -> bool {
        match self {
            Self::Mid => matches!(side, Self::Letter | Self::Digit),
            Self::MidLetter => side == Self::Letter,
            Self::MidNumber => side == Self::Digit,
            _ => false,
        }
    }
}

/// What the ASCII scanner met.
enum Scanned {
    Word(usize, usize),
    /// A character beyond ASCII that may belong to what starts at this offset.
    NonAscii(usize),
    End,
}

/// A stretch of text that the Unicode tables segment.
struct Stretch<'a> {
    base: usize,
    end: usize,
    words: UnicodeWordIndices<'a>,
}

/// The words of a text as byte ranges.
///
/// ASCII is scanned by a byte table. At the first other character the Unicode tables take over
/// up to the next boundary that no context can move, so one accent does not slow a whole text.
pub(super) struct Words<'a> {
    text: &'a str,
    at: usize,
    stretch: Option<Stretch<'a>>,
    /// What is left of a word that is too long for one token.
    long: Option<(usize, usize)>,
}

impl<'a> Words<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            stretch: None,
            long: None,
        }
    }

    /// The next word, whatever its length.
    #[inline]
    fn word(&mut self) -> Option<(usize, usize)> {
        loop {
            if let Some(stretch) = &mut self.stretch {
                if let Some((offset, word)) = stretch.words.next() {
                    let from = stretch.base + offset;
                    return Some((from, from + word.len()));
                }
                self.at = stretch.end;
                self.stretch = None;
            }
            match self.next_scanned() {
                Scanned::Word(from, to) => {
                    self.at = to;
                    return Some((from, to));
                }
                Scanned::NonAscii(base) => {
                    let end = stretch_end(self.text.as_bytes(), base);
                    self.stretch = Some(Stretch {
                        base,
                        end,
                        words: self.text[base..end].unicode_word_indices(),
                    });
                }
                Scanned::End => return None,
            }
        }
    }

    /// Looks for a word from `self.at`, which is always a word boundary.
    #[inline]
    fn next_scanned(&self) -> Scanned {
        let bytes = self.text.as_bytes();
        let mut from = self.at;
        loop {
            let mut side = Class::at(bytes, from);
            match side {
                Class::End => return Scanned::End,
                Class::NonAscii => return Scanned::NonAscii(self.back(from)),
                Class::Letter | Class::Digit | Class::Underscore => {}
                _ => {
                    from += 1;
                    continue;
                }
            }
            let mut blank = side == Class::Underscore;
            let mut to = from + 1;
            loop {
                let class = Class::at(bytes, to);
                match class {
                    Class::Letter | Class::Digit => {
                        blank = false;
                        side = class;
                        to += 1;
                    }
                    Class::Underscore => {
                        side = class;
                        to += 1;
                    }
                    Class::NonAscii => return Scanned::NonAscii(from),
                    _ if class.joins(side) => match Class::at(bytes, to + 1) {
                        // It may be a combining mark, which the rules look through.
                        Class::NonAscii => return Scanned::NonAscii(from),
                        next if next == side => to += 2,
                        _ => break,
                    },
                    _ => break,
                }
            }
            if !blank {
                return Scanned::Word(from, to);
            }
            from = to;
        }
    }

    /// Where the character before `at` starts to matter: marks attach to it, and spaces to one
    /// another.
    fn back(&self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        let mut from = at;
        if from > self.at {
            from -= 1;
            while bytes[from] == b' ' && from > self.at && bytes[from - 1] == b' ' {
                from -= 1;
            }
        }
        from
    }

    /// The first piece of a long word, as if the scanner's buffer ended after
    /// [`MAX_TOKEN_LENGTH`]; the rest is then scanned as a text of its own.
    fn piece(&mut self, mut from: usize, to: usize) -> Option<(usize, usize)> {
        while from < to {
            let window = head(&self.text[from..to]);
            match window.unicode_word_indices().next() {
                None => from += window.len(),
                Some((0, word)) => {
                    let end = from + word.len();
                    self.long = (end < to).then_some((end, to));
                    return Some((from, end));
                }
                Some((offset, _)) => from += offset,
            }
        }
        None
    }
}

impl Iterator for Words<'_> {
    type Item = (usize, usize);

    #[inline]
    fn next(&mut self) -> Option<(usize, usize)> {
        loop {
            if let Some((from, to)) = self.long.take()
                && let Some(piece) = self.piece(from, to)
            {
                return Some(piece);
            }
            let (from, to) = self.word()?;
            if to - from <= MAX_TOKEN_LENGTH || head(&self.text[from..to]).len() == to - from {
                return Some((from, to));
            }
            self.long = Some((from, to));
        }
    }
}

/// As much of `text` as fits one token.
fn head(text: &str) -> &str {
    let mut units = 0;
    for (offset, c) in text.char_indices() {
        units += c.len_utf16();
        if units > MAX_TOKEN_LENGTH {
            return &text[..offset];
        }
    }
    text
}

/// The first boundary after the first non-ASCII character from `base` that holds in any context:
/// before a space that follows another ASCII character, or before a line's end.
fn stretch_end(bytes: &[u8], base: usize) -> usize {
    let mut foreign = false;
    let mut before = 0_u8;
    for (offset, byte) in bytes[base..].iter().enumerate() {
        let boundary = match *byte {
            b' ' => before.is_ascii() && before != b' ',
            b'\n' => before != b'\r',
            _ => false,
        };
        if foreign && boundary {
            return base + offset;
        }
        foreign |= !byte.is_ascii();
        before = *byte;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<&str> {
        Words::new(text).map(|(from, to)| &text[from..to]).collect()
    }

    /// The Unicode tables alone: the crate's own `unicode_word_indices` has an ASCII path too.
    fn by_tables(text: &str) -> Vec<(usize, usize)> {
        text.split_word_bound_indices()
            .filter(|(_, word)| word.chars().any(char::is_alphanumeric))
            .map(|(from, word)| (from, from + word.len()))
            .collect()
    }

    #[test]
    fn words_end_where_uax29_says() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            (" .,;:' \r\n_ __", &[]),
            (
                "The 2 QUICK Brown-Foxes",
                &["The", "2", "QUICK", "Brown", "Foxes"],
            ),
            ("dog's can't 'quoted'", &["dog's", "can't", "quoted"]),
            (
                "e.g. 3.14 1,000,000 1.a",
                &["e.g", "3.14", "1,000,000", "1", "a"],
            ),
            ("a:b 1:2 a;b 1;2", &["a:b", "1", "2", "a", "b", "1;2"]),
            ("snake_case _x_ a_1.5", &["snake_case", "_x_", "a_1.5"]),
            ("me@example.com", &["me", "example.com"]),
            ("a..b a.'b", &["a", "b", "a", "b"]),
            (
                "caf\u{e9} au lait.\u{e9}t\u{e9}",
                &["café", "au", "lait.été"],
            ),
            ("e\u{301}a a.\u{301}b", &["e\u{301}a", "a.\u{301}b"]),
            ("日本 カタカナ 한국어", &["日", "本", "カタカナ", "한국어"]),
            ("don\u{2019}t \u{1f600} go", &["don\u{2019}t", "go"]),
        ];
        for (text, expected) in table {
            assert_eq!(words(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn long_words_are_cut_at_255_units_like_lucene() {
        let table = [
            ("a".repeat(255), vec![255]),
            ("a".repeat(256), vec![255, 1]),
            ("a".repeat(600), vec![255, 255, 90]),
            ("\u{e9}".repeat(256), vec![510, 2]),
            // Two UTF-16 units each.
            ("\u{1d400}".repeat(128), vec![127 * 4, 4]),
            // The apostrophe cannot end the first piece, and starts no word.
            (format!("{}'s", "a".repeat(254)), vec![254, 1]),
            (format!("{}'s", "a".repeat(253)), vec![255]),
        ];
        for (text, lengths) in table {
            let found: Vec<_> = words(&text).iter().map(|word| word.len()).collect();
            assert_eq!(found, lengths);
        }
    }

    #[test]
    fn a_very_long_word_takes_linear_time() {
        let text = "a".repeat(1 << 20);
        assert_eq!(words(&text).len(), (1 << 20) / 255 + 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ascii_text_gives_the_words_of_the_unicode_tables(text in "[\\x00-\\x7f]{0,120}") {
            prop_assert_eq!(Words::new(&text).collect::<Vec<_>>(), by_tables(&text));
        }

        #[test]
        fn joining_ascii_gives_the_words_of_the_unicode_tables(text in "[ab12_.,:;' \\r\\n-]{0,40}") {
            prop_assert_eq!(Words::new(&text).collect::<Vec<_>>(), by_tables(&text));
        }

        #[test]
        fn any_text_gives_the_words_of_the_unicode_tables(text in "\\PC{0,60}") {
            prop_assert_eq!(Words::new(&text).collect::<Vec<_>>(), by_tables(&text));
        }

        #[test]
        fn mixed_text_gives_the_words_of_the_unicode_tables(
            text in "[aB1_.:,' \\t\\r\\n\"\u{e9}\u{301}\u{93e}\u{200d}\u{ad}\u{2019}\u{5d0}\u{65e5}\u{30ab}\u{3042}\u{1f1e9}\u{1f1ea}\u{1f600}\u{2003}\u{3000}\u{2028}\u{85}\u{e01}]{0,30}"
        ) {
            prop_assert_eq!(Words::new(&text).collect::<Vec<_>>(), by_tables(&text));
        }
    }
}

//! Tokenizers that only ask of each character whether it belongs to a token.

use tantivy::tokenizer::{Token, Tokenizer};

use super::spans::SpanStream;
use super::words::MAX_TOKEN_LENGTH;

/// Makes a token of each run of characters of one kind.
#[derive(Clone)]
pub(super) struct CharTokenizer {
    keeps: fn(char) -> bool,
    lower: bool,
    token: Token,
}

impl CharTokenizer {
    /// Runs of letters, lower-cased.
    pub(super) fn letters() -> Self {
        Self {
            keeps: char::is_alphabetic,
            lower: true,
            token: Token::default(),
        }
    }

    /// Runs of anything but whitespace, in their own case.
    pub(super) fn words() -> Self {
        Self {
            keeps: |c| !is_whitespace(c),
            lower: false,
            token: Token::default(),
        }
    }
}

impl Tokenizer for CharTokenizer {
    type TokenStream<'a> = SpanStream<'a, Runs<'a>>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Self::TokenStream<'a> {
        let runs = Runs {
            text,
            at: 0,
            keeps: self.keeps,
        };
        SpanStream::new(text, runs, self.lower, &mut self.token)
    }
}

/// Where the runs of one text lie, see [`CharTokenizer`].
pub(super) struct Runs<'a> {
    text: &'a str,
    at: usize,
    keeps: fn(char) -> bool,
}

impl Iterator for Runs<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let from = self.at + self.text[self.at..].find(self.keeps)?;
        let rest = &self.text[from..];
        let mut units = 0;
        let length = rest
            .char_indices()
            .find(|(_, c)| {
                units += c.len_utf16();
                units > MAX_TOKEN_LENGTH || !(self.keeps)(*c)
            })
            .map_or(rest.len(), |(offset, _)| offset);
        self.at = from + length;
        Some((from, self.at))
    }
}

/// Whitespace as Java has it: the no-break spaces join words, the separator controls part them.
fn is_whitespace(c: char) -> bool {
    match c {
        '\u{1c}'..='\u{1f}' => true,
        '\u{85}' | '\u{a0}' | '\u{2007}' | '\u{202f}' => false,
        c => c.is_whitespace(),
    }
}

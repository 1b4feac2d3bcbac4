//! Tokenizers that only ask of each character whether it belongs to a token.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

use super::standard::push_lower;
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

/// The tokens of one text, see [`CharTokenizer`].
pub(super) struct CharTokenStream<'a> {
    text: &'a str,
    at: usize,
    keeps: fn(char) -> bool,
    lower: bool,
    token: &'a mut Token,
}

impl Tokenizer for CharTokenizer {
    type TokenStream<'a> = CharTokenStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> CharTokenStream<'a> {
        self.token.reset();
        CharTokenStream {
            text,
            at: 0,
            keeps: self.keeps,
            lower: self.lower,
            token: &mut self.token,
        }
    }
}

impl TokenStream for CharTokenStream<'_> {
    fn advance(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let Some(skipped) = rest.find(self.keeps) else {
            return false;
        };
        let rest = &rest[skipped..];
        let mut units = 0;
        let length = rest
            .char_indices()
            .find(|(_, c)| {
                units += c.len_utf16();
                units > MAX_TOKEN_LENGTH || !(self.keeps)(*c)
            })
            .map_or(rest.len(), |(offset, _)| offset);
        let from = self.at + skipped;
        self.at = from + length;
        self.token.position = self.token.position.wrapping_add(1);
        self.token.offset_from = from;
        self.token.offset_to = self.at;
        self.token.text.clear();
        if self.lower {
            push_lower(&mut self.token.text, &rest[..length]);
        } else {
            self.token.text.push_str(&rest[..length]);
        }
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
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

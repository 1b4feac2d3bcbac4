//! The tokenizer of the `standard` analyzer.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

use super::words::Words;

/// Splits a text into UAX #29 words and lower-cases them.
#[derive(Clone, Default)]
pub(super) struct StandardTokenizer {
    token: Token,
}

/// The tokens of one text, see [`StandardTokenizer`].
pub(super) struct StandardTokenStream<'a> {
    text: &'a str,
    words: Words<'a>,
    token: &'a mut Token,
}

impl Tokenizer for StandardTokenizer {
    type TokenStream<'a> = StandardTokenStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> StandardTokenStream<'a> {
        self.token.reset();
        StandardTokenStream {
            text,
            words: Words::new(text),
            token: &mut self.token,
        }
    }
}

impl TokenStream for StandardTokenStream<'_> {
    #[inline]
    fn advance(&mut self) -> bool {
        let Some((from, to)) = self.words.next() else {
            return false;
        };
        self.token.position = self.token.position.wrapping_add(1);
        self.token.offset_from = from;
        self.token.offset_to = to;
        self.token.text.clear();
        push_lower(&mut self.token.text, &self.text[from..to]);
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

/// Appends `word` in lower case to `out`, which must be empty or lower case.
#[inline]
pub(super) fn push_lower(out: &mut String, word: &str) {
    if word.is_ascii() {
        out.push_str(word);
        out.make_ascii_lowercase();
    } else {
        // Character by character, as Java does: no final sigma, and a dotted capital I gives
        // a plain i, so that terms equal those of Lucene.
        out.extend(word.chars().filter_map(|c| c.to_lowercase().next()));
    }
}

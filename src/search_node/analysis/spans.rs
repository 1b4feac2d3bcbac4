//! Tokens from the places where a text is to be split.

use tantivy::tokenizer::{Token, TokenStream};

/// The tokens at `spans` of one text.
pub(super) struct SpanStream<'a, I> {
    text: &'a str,
    spans: I,
    lower: bool,
    token: &'a mut Token,
}

impl<'a, I> SpanStream<'a, I> {
    /// `spans` are byte positions of beginning and end; `lower` says whether tokens are
    /// lower-cased.
    pub(super) fn new(text: &'a str, spans: I, lower: bool, token: &'a mut Token) -> Self {
        token.reset();
        Self {
            text,
            spans,
            lower,
            token,
        }
    }
}

impl<I: Iterator<Item = (usize, usize)>> TokenStream for SpanStream<'_, I> {
    #[inline]
    fn advance(&mut self) -> bool {
        let Some((from, to)) = self.spans.next() else {
            return false;
        };
        self.token.position = self.token.position.wrapping_add(1);
        self.token.offset_from = from;
        self.token.offset_to = to;
        self.token.text.clear();
        let word = &self.text[from..to];
        if self.lower {
            push_lower(&mut self.token.text, word);
        } else {
            self.token.text.push_str(word);
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

/// Appends `word` in lower case to `out`, which must be empty or lower case.
#[inline]
fn push_lower(out: &mut String, word: &str) {
    if word.is_ascii() {
        out.push_str(word);
        out.make_ascii_lowercase();
    } else {
        // Character by character, as Java does: no final sigma, and a dotted capital I gives
        // a plain i, so that terms equal those of Lucene.
        out.extend(word.chars().filter_map(|c| c.to_lowercase().next()));
    }
}

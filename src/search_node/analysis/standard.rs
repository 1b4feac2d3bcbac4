//! The tokenizer of the `standard` analyzer.

use tantivy::tokenizer::{Token, Tokenizer};

use super::spans::SpanStream;
use super::words::Words;

/// Splits a text into UAX #29 words and lower-cases them.
#[derive(Clone, Default)]
pub(super) struct StandardTokenizer {
    token: Token,
}

impl Tokenizer for StandardTokenizer {
    type TokenStream<'a> = SpanStream<'a, Words<'a>>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Self::TokenStream<'a> {
        SpanStream::new(text, Words::new(text), true, &mut self.token)
    }
}

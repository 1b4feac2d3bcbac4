//! What the `english` analyzer does to words before they are stemmed.

use tantivy::tokenizer::{Token, TokenFilter, TokenStream, Tokenizer};

/// Lucene's English stop words, sorted.
const STOP_WORDS: [&str; 33] = [
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it",
    "no", "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these",
    "they", "this", "to", "was", "will", "with",
];

/// Removes the possessive `'s` of lower-case words, and then the stop words.
///
/// The words left keep their positions, so that a phrase still knows of the gap.
#[derive(Clone)]
pub(super) struct EnglishWords;

impl TokenFilter for EnglishWords {
    type Tokenizer<T: Tokenizer> = EnglishWordsFilter<T>;

    fn transform<T: Tokenizer>(self, tokenizer: T) -> EnglishWordsFilter<T> {
        EnglishWordsFilter { inner: tokenizer }
    }
}

/// A tokenizer whose words go through [`EnglishWords`].
#[derive(Clone)]
pub(super) struct EnglishWordsFilter<T> {
    inner: T,
}

impl<T: Tokenizer> Tokenizer for EnglishWordsFilter<T> {
    type TokenStream<'a> = EnglishWordsStream<T::TokenStream<'a>>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Self::TokenStream<'a> {
        EnglishWordsStream {
            tail: self.inner.token_stream(text),
        }
    }
}

/// The tokens of one text, see [`EnglishWords`].
pub(super) struct EnglishWordsStream<T> {
    tail: T,
}

impl<T: TokenStream> TokenStream for EnglishWordsStream<T> {
    fn advance(&mut self) -> bool {
        while self.tail.advance() {
            let text = &mut self.tail.token_mut().text;
            if let Some(owner) = owner(text) {
                text.truncate(owner);
            }
            if !is_stop_word(text) {
                return true;
            }
        }
        false
    }

    fn token(&self) -> &Token {
        self.tail.token()
    }

    fn token_mut(&mut self) -> &mut Token {
        self.tail.token_mut()
    }
}

/// The length of the word without its possessive `'s`, if it has one.
fn owner(word: &str) -> Option<usize> {
    word.strip_suffix('s')?
        .strip_suffix(['\'', '\u{2019}', '\u{ff07}'])
        .map(str::len)
}

fn is_stop_word(word: &str) -> bool {
    // No stop word is longer: most words need no search.
    word.len() <= 5 && STOP_WORDS.binary_search(&word).is_ok()
}

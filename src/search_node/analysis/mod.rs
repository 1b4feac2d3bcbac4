//! Analyzers: how the text of a field, or of a query, becomes terms.
//!
//! They follow Elasticsearch's built-in analyzers of the same names, so that the same text gives
//! the same terms.

mod chars;
mod english;
mod spans;
mod standard;
#[cfg(test)]
mod tests;
mod words;

use tantivy::tokenizer::{
    Language, RawTokenizer, Stemmer, TextAnalyzer, TokenStream, TokenizerManager,
};

use chars::CharTokenizer;
use english::EnglishWords;
use standard::StandardTokenizer;

/// A built-in analyzer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Analyzer {
    /// Words by Unicode's boundaries (UAX #29), in lower case.
    Standard,
    /// Runs of letters, in lower case.
    Simple,
    /// Whatever stands between whitespace, as it is.
    Whitespace,
    /// Standard words without possessives and stop words, stemmed.
    English,
    /// The whole text as one term.
    Keyword,
}

/// A term found in a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tok {
    /// The term.
    pub text: String,
    /// The byte of the original text at which the token starts.
    pub from: usize,
    /// The byte of the original text after the token.
    pub to: usize,
    /// The count of words before it, removed ones included.
    pub position: usize,
}

impl Analyzer {
    /// All analyzers there are.
    pub(super) const ALL: [Self; 5] = [
        Self::Standard,
        Self::Simple,
        Self::Whitespace,
        Self::English,
        Self::Keyword,
    ];

    /// The analyzer of this name, as mappings and requests write it.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|analyzer| analyzer.name() == name)
    }

    /// Whether Elasticsearch has an analyzer of this name, and this node has not.
    pub(super) fn is_elsewhere(name: &str) -> bool {
        ELSEWHERE.contains(&name)
    }

    /// The name that mappings and requests use.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Simple => "simple",
            Self::Whitespace => "whitespace",
            Self::English => "english",
            Self::Keyword => "keyword",
        }
    }

    /// The name under which [`manager`] registers it; it becomes part of an index's schema.
    pub(super) fn tokenizer_name(self) -> &'static str {
        self.name()
    }

    /// The terms of a text, in order.
    pub(super) fn tokens(self, text: &str) -> Vec<Tok> {
        let mut analyzer = self.text_analyzer();
        let mut stream = analyzer.token_stream(text);
        let mut tokens = Vec::new();
        while stream.advance() {
            let token = stream.token();
            tokens.push(Tok {
                text: token.text.clone(),
                from: token.offset_from,
                to: token.offset_to,
                position: token.position,
            });
        }
        tokens
    }

    /// The analyzer in tantivy's form; cheap to make.
    pub(super) fn text_analyzer(self) -> TextAnalyzer {
        match self {
            Self::Standard => StandardTokenizer::default().into(),
            Self::Simple => CharTokenizer::letters().into(),
            Self::Whitespace => CharTokenizer::words().into(),
            Self::English => TextAnalyzer::builder(StandardTokenizer::default())
                .filter(EnglishWords)
                .filter(Stemmer::new(Language::English))
                .build(),
            Self::Keyword => RawTokenizer::default().into(),
        }
    }
}

/// Analyzers that Elasticsearch comes with and this node does not.
const ELSEWHERE: &[&str] = &[
    "arabic",
    "armenian",
    "basque",
    "bengali",
    "brazilian",
    "bulgarian",
    "catalan",
    "cjk",
    "czech",
    "danish",
    "dutch",
    "estonian",
    "fingerprint",
    "finnish",
    "french",
    "galician",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "latvian",
    "lithuanian",
    "norwegian",
    "pattern",
    "persian",
    "portuguese",
    "romanian",
    "russian",
    "sorani",
    "spanish",
    "stop",
    "swedish",
    "thai",
    "turkish",
];

/// Tokenizers for an index: all analyzers, beside those that tantivy's own field types name.
pub(super) fn manager() -> TokenizerManager {
    let manager = TokenizerManager::default();
    for analyzer in Analyzer::ALL {
        manager.register(analyzer.tokenizer_name(), analyzer.text_analyzer());
    }
    manager
}

use proptest::prelude::*;

use super::*;

fn terms(analyzer: Analyzer, text: &str) -> Vec<String> {
    let tokens = analyzer.tokens(text);
    tokens.into_iter().map(|token| token.text).collect()
}

#[test]
fn analyzers_give_the_terms_elasticsearch_gives() {
    use Analyzer::{English, Keyword, Simple, Standard, Whitespace};
    // The sentence of Elasticsearch's own manual.
    let fox = "The 2 QUICK Brown-Foxes jumped over the lazy dog's bone.";
    let table: &[(Analyzer, &str, &[&str])] = &[
        (
            Standard,
            fox,
            &[
                "the", "2", "quick", "brown", "foxes", "jumped", "over", "the", "lazy", "dog's",
                "bone",
            ],
        ),
        (
            Simple,
            fox,
            &[
                "the", "quick", "brown", "foxes", "jumped", "over", "the", "lazy", "dog", "s",
                "bone",
            ],
        ),
        (
            Whitespace,
            fox,
            &[
                "The",
                "2",
                "QUICK",
                "Brown-Foxes",
                "jumped",
                "over",
                "the",
                "lazy",
                "dog's",
                "bone.",
            ],
        ),
        (
            English,
            fox,
            &[
                "2", "quick", "brown", "fox", "jump", "over", "lazi", "dog", "bone",
            ],
        ),
        (Keyword, fox, &[fox]),
        (Standard, "", &[]),
        (Standard, " -- ", &[]),
        (Standard, "ÉTÉ ΣΑΣ İ", &["été", "σασ", "i"]),
        (Simple, "a1b ÉÉ", &["a", "b", "éé"]),
        (Whitespace, "a\u{a0}b\u{3000}c\td", &["a\u{a0}b", "c", "d"]),
        (English, "It's the DOG\u{2019}S", &["dog"]),
        (English, "the and of", &[]),
        (English, "running flies", &["run", "fli"]),
        (Keyword, " A b ", &[" A b "]),
    ];
    for (analyzer, text, expected) in table {
        assert_eq!(terms(*analyzer, text), *expected, "{analyzer:?} {text:?}");
    }
}

#[test]
fn a_removed_stop_word_leaves_a_hole() {
    let found: Vec<_> = Analyzer::English
        .tokens("the quick and the dead")
        .into_iter()
        .map(|token| (token.text, token.from, token.to, token.position))
        .collect();
    let expected = [
        ("quick".to_owned(), 4, 9, 1),
        ("dead".to_owned(), 18, 22, 4),
    ];
    assert_eq!(found, expected);
}

#[test]
fn offsets_count_bytes_of_the_original_text() {
    for (analyzer, text, expected) in [
        (Analyzer::Standard, "Été FOX's", vec![(0, 5), (6, 11)]),
        (Analyzer::English, "Été FOX's", vec![(0, 5), (6, 11)]),
        (
            Analyzer::Simple,
            "Été FOX's",
            vec![(0, 5), (6, 9), (10, 11)],
        ),
        (Analyzer::Whitespace, "Été FOX's", vec![(0, 5), (6, 11)]),
        (Analyzer::Keyword, "Été FOX's", vec![(0, 11)]),
    ] {
        let tokens = analyzer.tokens(text);
        let found: Vec<_> = tokens.iter().map(|token| (token.from, token.to)).collect();
        assert_eq!(found, expected, "{analyzer:?}");
    }
}

#[test]
fn long_tokens_are_cut_at_255_except_keywords() {
    let long = "a".repeat(300);
    for analyzer in [Analyzer::Standard, Analyzer::Simple, Analyzer::Whitespace] {
        let tokens = analyzer.tokens(&long);
        let found: Vec<_> = tokens
            .iter()
            .map(|token| (token.text.len(), token.from, token.to, token.position))
            .collect();
        assert_eq!(found, [(255, 0, 255, 0), (45, 255, 300, 1)], "{analyzer:?}");
    }
    assert_eq!(terms(Analyzer::Keyword, &long), [long.as_str()]);
}

#[test]
fn names_lead_back_to_their_analyzers() {
    for analyzer in Analyzer::ALL {
        assert_eq!(Analyzer::from_name(analyzer.name()), Some(analyzer));
    }
    assert_eq!(Analyzer::from_name("klingon"), None);
}

#[test]
fn every_analyzer_is_registered_and_reusable() {
    let manager = manager();
    for analyzer in Analyzer::ALL {
        let mut registered = manager.get(analyzer.tokenizer_name()).unwrap();
        for text in ["Two Dogs", "One Cat"] {
            let mut found = Vec::new();
            registered
                .token_stream(text)
                .process(&mut |token| found.push((token.text.clone(), token.position)));
            let expected = analyzer.tokens(text);
            let expected: Vec<_> = expected
                .into_iter()
                .map(|token| (token.text, token.position))
                .collect();
            assert_eq!(found, expected, "{analyzer:?}");
        }
    }
    assert!(manager.get("raw").is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tokens_are_in_order_and_within_the_text(text in any::<String>()) {
        for analyzer in Analyzer::ALL {
            let mut end = 0;
            let mut next = 0;
            for token in analyzer.tokens(&text) {
                prop_assert!(token.from >= end && token.position >= next);
                prop_assert!(text.get(token.from..token.to).is_some());
                end = token.to;
                next = token.position + 1;
            }
        }
    }
}

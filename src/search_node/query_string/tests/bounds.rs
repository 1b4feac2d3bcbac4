use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Generous for a busy machine, yet far below what more than linear time would take.
const SOON: Duration = Duration::from_secs(20);

fn nested(levels: usize) -> String {
    format!("{}a{}", "(".repeat(levels), ")".repeat(levels))
}

fn both(text: &str) -> [Result<Node, SyntaxError>; 2] {
    [
        parse(text, Operator::Or),
        parse_simple(text, Operator::Or, Flags::ALL),
    ]
}

#[test]
fn nesting_beyond_50_levels_is_an_error() {
    for result in both(&nested(MAX_DEPTH)) {
        assert_eq!(result, Ok(Node::term("a".to_owned())));
    }
    for result in both(&nested(MAX_DEPTH + 1)) {
        let error = result.unwrap_err();
        assert_eq!(error, SyntaxError::TooDeep { position: 50 });
        assert!(error.to_string().contains("deeper than 50 levels"));
    }
}

#[test]
fn alternating_simple_operators_count_as_nesting() {
    let text = |pairs: usize| format!("a{}", " + b | c".repeat(pairs));
    assert!(parse_simple(&text(25), Operator::Or, Flags::ALL).is_ok());
    let error = parse_simple(&text(26), Operator::Or, Flags::ALL).unwrap_err();
    assert!(matches!(error, SyntaxError::TooDeep { .. }));
}

#[test]
fn more_than_1024_clauses_are_an_error() {
    for clause in ["a ", "(a) ", "\"a b\" "] {
        for result in both(&clause.repeat(MAX_CLAUSES)) {
            let Ok(Node::Bool { should, .. }) = result else {
                panic!("{result:?}");
            };
            assert_eq!(should.len(), MAX_CLAUSES);
        }
        for result in both(&clause.repeat(MAX_CLAUSES + 1)) {
            let error = result.unwrap_err();
            assert!(matches!(error, SyntaxError::TooManyClauses { .. }));
            assert!(error.to_string().contains("more than 1024 clauses"));
        }
    }
}

#[test]
fn repeated_syntax_takes_no_more_than_linear_time() {
    let started = Instant::now();
    for piece in [
        "(",
        ")",
        "()",
        "(a",
        "((a) ",
        "\"",
        "\\",
        "\\\"",
        "\"(",
        "-",
        "+",
        "--(",
        "!",
        "*",
        "?",
        "a*",
        "~",
        "a~",
        "^",
        "a^2",
        "[",
        "[a TO",
        "[a TO b] ",
        "{",
        "/",
        "/a",
        ":",
        "a:",
        "a:(",
        "AND ",
        "NOT ",
        "a AND ",
        "a | ",
        "a + b | ",
        "\"a\"~",
        "\"\"",
        "\\u",
        "\u{3000}",
        "(\"",
        "\")",
        ">",
    ] {
        let text = piece.repeat(50_000);
        for flags in [Flags::ALL, Flags::NONE] {
            let _ = parse_simple(&text, Operator::And, flags);
        }
        let _ = parse(&text, Operator::Or);
    }
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}

/// Texts of the pieces that mean something, so that they are often well-formed.
fn pieces() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "a",
        "b",
        "é",
        "f:",
        "_exists_:",
        "*",
        "?",
        "(",
        ")",
        "\"",
        "\"a b\"",
        " ",
        " ",
        " AND ",
        " OR ",
        " NOT ",
        "+",
        "-",
        "!",
        "|",
        "&&",
        "||",
        "~",
        "~1",
        "^2",
        "^",
        "[a TO b]",
        "{",
        "}",
        "[",
        "]",
        " TO ",
        "/",
        "\\",
        "\\u0041",
        ">=",
        "<",
        "1",
        ".",
        ":",
        "\u{3000}",
        "\u{1f600}",
    ]);
    prop::collection::vec(pieces, 0..60).prop_map(|pieces| pieces.concat())
}

fn holds_for(text: &str) -> Result<(), TestCaseError> {
    let started = Instant::now();
    let length = text.chars().count();
    for operator in [Operator::Or, Operator::And] {
        if let Err(error) = parse(text, operator) {
            prop_assert!(error.position() <= length, "{error}");
            prop_assert!(!error.to_string().is_empty());
        }
        for flags in [
            "ALL",
            "NONE",
            "AND|NOT|PHRASE",
            "PRECEDENCE|SLOP|PHRASE|FUZZY",
        ] {
            let result = parse_simple(text, operator, Flags::from_names(flags).unwrap());
            let bounded = matches!(
                result,
                Ok(_) | Err(SyntaxError::TooDeep { .. } | SyntaxError::TooManyClauses { .. })
            );
            prop_assert!(bounded, "{result:?}");
        }
    }
    prop_assert!(started.elapsed() < SOON);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_parsed_or_refused(text in any::<String>()) {
        holds_for(&text)?;
    }

    #[test]
    fn any_syntax_is_parsed_or_refused(text in pieces()) {
        holds_for(&text)?;
    }

    #[test]
    fn escaped_text_is_one_term(text in "[^u]{1,20}") {
        let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
        let expected = Node::term(text.clone());
        prop_assert_eq!(parse(&escaped, Operator::Or), Ok(expected.clone()));
        prop_assert_eq!(parse_simple(&escaped, Operator::Or, Flags::ALL), Ok(expected));
    }
}

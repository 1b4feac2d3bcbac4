use super::*;

fn with(text: &str, operator: Operator, flags: &str) -> String {
    let flags = Flags::from_names(flags).unwrap();
    show(&parse_simple(text, operator, flags).unwrap())
}

#[test]
fn operators_join_in_order() {
    let table = [
        ("", "nothing", "nothing"),
        (" ", "nothing", "nothing"),
        ("*", "all", "all"),
        (" * ", "all", "all"),
        ("a", "a", "a"),
        ("a b", "(a b)", "(+a +b)"),
        ("a + b", "(+a +b)", "(+a +b)"),
        ("a+b", "(+a +b)", "(+a +b)"),
        ("a | b", "(a b)", "(a b)"),
        ("a + b + c", "(+a +b +c)", "(+a +b +c)"),
        ("a + b | c", "((+a +b) c)", "((+a +b) c)"),
        ("a | b + c", "(+(a b) +c)", "(+(a b) +c)"),
        ("a b + c", "(+(a b) +c)", "(+a +b +c)"),
        ("a + b c", "((+a +b) c)", "(+a +b +c)"),
        ("a + (b | c)", "(+a +(b c))", "(+a +(b c))"),
        ("-a", "(all -a)", "(all -a)"),
        ("a -b", "(a (all -b))", "(+a +(all -b))"),
        ("a + -b", "(+a +(all -b))", "(+a +(all -b))"),
        ("--a", "a", "a"),
        ("- a", "a", "a"),
        ("a-b", "a-b", "a-b"),
        ("-(a b)", "(all -(a b))", "(all -(+a +b))"),
        ("-\"a b\"", "(all -\"a b\")", "(all -\"a b\")"),
        ("((a))", "a", "a"),
        ("(a b) c", "((a b) c)", "(+(+a +b) +c)"),
    ];
    for (text, with_or, with_and) in table {
        assert_eq!(with(text, Operator::Or, "ALL"), with_or, "{text} with OR");
        assert_eq!(
            with(text, Operator::And, "ALL"),
            with_and,
            "{text} with AND"
        );
    }
}

#[test]
fn terms_and_phrases_take_their_suffixes() {
    let table = [
        ("\"a b\"", "\"a b\""),
        ("\"a b\"~3", "\"a b\"~3"),
        ("\"a b\"~3 c", "(\"a b\"~3 c)"),
        ("\"a b\"~3+c", "(+\"a b\"~3 +c)"),
        ("\"a b\"~", "\"a b\""),
        ("\"a b\"~ c", "(\"a b\"~2 c)"),
        ("\"a b\"~x", "\"a b\"~0"),
        (r#""a \"b""#, r#""a \"b""#),
        ("a~", "a~2"),
        ("a~1", "a~1"),
        ("a~0", "a"),
        ("a~9", "a~2"),
        ("a~x", "a"),
        ("a~-1", "a"),
        ("a~1 b", "(a~1 b)"),
        ("a*", "prefix(a)"),
        ("a*b", "a*b"),
        ("a**", "prefix(a*)"),
        (r"a\*", "a*"),
        (r"a*\", "a*"),
        (r"\+a \(b", "(+a (b)"),
        (r"a\ b", "a b"),
        ("f:a", "f:a"),
        ("a^2 [b TO c] /d/", "(a^2 [b TO c] /d/)"),
    ];
    for (text, expected) in table {
        assert_eq!(with(text, Operator::Or, "ALL"), expected, "{text}");
    }
}

#[test]
fn malformed_syntax_is_left_out_or_taken_as_text() {
    let table = [
        ("+", "nothing"),
        ("| + -", "nothing"),
        ("+a", "a"),
        ("a +", "a"),
        ("a + | b", "(+a +b)"),
        ("a | + b", "(a b)"),
        ("(a", "a"),
        ("a)", "a"),
        (")a(", "a"),
        ("((a) b", "(a b)"),
        ("()", "nothing"),
        ("a + () b", "(a b)"),
        ("a + ( ) b", "(+a +b)"),
        ("\"a", "a"),
        ("\"\"", "nothing"),
        ("\"\"~2", "nothing"),
        ("a + \"\" b", "(a b)"),
        ("\"a b", "(a b)"),
        ("(\"a) b\"", "(a b)"),
        ("~2", "~2"),
        (r"\", "nothing"),
        (r"a\", "a"),
        ("a * b", "(a * b)"),
    ];
    for (text, expected) in table {
        assert_eq!(with(text, Operator::Or, "ALL"), expected, "{text}");
    }
}

#[test]
fn operators_without_their_flag_are_text() {
    let table = [
        ("a + b*", "NONE", "a + b*"),
        ("a + b", "WHITESPACE", "(a + b)"),
        ("a+b", "OR", "a+b"),
        ("a|b", "AND", "a|b"),
        ("-a", "AND|OR", "-a"),
        ("a*", "AND", "a*"),
        ("\"a\"", "AND", "\"a\""),
        ("(a)", "AND", "(a)"),
        (r"a\+b", "AND", r"(+a\ +b)"),
        ("a~1", "PREFIX", "a~1"),
        ("\"a\"~1", "PHRASE", "(\"a\" ~1)"),
        ("\"a\"~1", "PHRASE|SLOP", "\"a\"~1"),
        ("\"a\"~1", "phrase | near", "\"a\"~1"),
        ("a + b", "", "(+a +b)"),
    ];
    for (text, flags, expected) in table {
        assert_eq!(with(text, Operator::Or, flags), expected, "{text} {flags}");
    }
}

#[test]
fn unknown_flags_are_errors() {
    assert_eq!(Flags::from_names("ALL"), Ok(Flags::ALL));
    assert_eq!(Flags::from_names("NONE"), Ok(Flags::NONE));
    assert_eq!(Flags::from_names("AND|ALL"), Ok(Flags::ALL));
    let all = "AND|OR|NOT|PREFIX|PHRASE|PRECEDENCE|ESCAPE|WHITESPACE|FUZZY|SLOP";
    assert_eq!(Flags::from_names(all), Ok(Flags::ALL));
    for names in ["XOR", "AND|", "AND|XOR", "AND,OR"] {
        assert!(Flags::from_names(names).is_err(), "{names}");
    }
    let error = Flags::from_names("AND|XOR").unwrap_err();
    assert_eq!(error.to_string(), "unknown simple_query_string flag [XOR]");
}

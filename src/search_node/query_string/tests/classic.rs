use super::*;

fn or(text: &str) -> String {
    parse(text, Operator::Or).map_or_else(|error| error.to_string(), |node| show(&node))
}

fn and(text: &str) -> String {
    parse(text, Operator::And).map_or_else(|error| error.to_string(), |node| show(&node))
}

fn check(table: &[(&str, &str)]) {
    for (text, expected) in table {
        assert_eq!(or(text), *expected, "{text}");
    }
}

#[test]
fn operators_modify_the_clauses_beside_them_as_in_lucene() {
    // Text, with OR as the default operator, with AND.
    let table = [
        ("a", "a", "a"),
        ("a b", "(a b)", "(+a +b)"),
        ("a b c", "(a b c)", "(+a +b +c)"),
        ("a AND b", "(+a +b)", "(+a +b)"),
        ("a && b", "(+a +b)", "(+a +b)"),
        ("a OR b", "(a b)", "(a b)"),
        ("a || b", "(a b)", "(a b)"),
        ("a AND b OR c", "(+a +b c)", "(+a b c)"),
        ("a OR b AND c", "(+b +c a)", "(+b +c a)"),
        ("a OR b c", "(a b c)", "(+c a b)"),
        ("a b OR c", "(a b c)", "(+a b c)"),
        ("a b AND c", "(+b +c a)", "(+a +b +c)"),
        ("a AND b c", "(+a +b c)", "(+a +b +c)"),
        ("+a", "(+a)", "(+a)"),
        ("-a", "(-a)", "(-a)"),
        ("NOT a", "(-a)", "(-a)"),
        ("!a", "(-a)", "(-a)"),
        ("+a b", "(+a b)", "(+a +b)"),
        ("a -b", "(a -b)", "(+a -b)"),
        ("a NOT b", "(a -b)", "(+a -b)"),
        ("a AND NOT b", "(+a -b)", "(+a -b)"),
        ("a AND !b", "(+a -b)", "(+a -b)"),
        ("a OR NOT b", "(a -b)", "(a -b)"),
        ("a OR -b", "(a -b)", "(a -b)"),
        ("NOT a AND b", "(+b -a)", "(+b -a)"),
        ("-a OR b", "(b -a)", "(b -a)"),
        ("+a OR b", "(+a b)", "(a b)"),
        ("a OR +b", "(+b a)", "(a b)"),
        ("a AND +b", "(+a +b)", "(+a +b)"),
        ("a AND (b OR c)", "(+a +(b c))", "(+a +(b c))"),
        ("(a OR b) AND c", "(+(a b) +c)", "(+(a b) +c)"),
        ("(a b) c", "((a b) c)", "(+(+a +b) +c)"),
        ("((a))", "a", "a"),
        ("(-a)", "(-a)", "(-a)"),
        ("a (-b)", "(a (-b))", "(+a +(-b))"),
        ("a-b a+b", "(a-b a+b)", "(+a-b +a+b)"),
        ("a - b", "(a - b)", "(+a +- +b)"),
        ("a!b", "(a -b)", "(+a -b)"),
        ("a&&b c||d &", "(a&&b c||d &)", "(+a&&b +c||d +&)"),
        (
            "and or not ANDy",
            "(and or not ANDy)",
            "(+and +or +not +ANDy)",
        ),
    ];
    for (text, with_or, with_and) in table {
        assert_eq!(or(text), with_or, "{text} with OR");
        assert_eq!(and(text), with_and, "{text} with AND");
    }
}

#[test]
fn fields_reach_over_their_value_or_group_only() {
    check(&[
        ("f:a", "f:a"),
        ("f:a b", "(f:a b)"),
        ("f: a", "f:a"),
        ("f:(a OR b) c", "((f:a f:b) c)"),
        ("f:(a g:b c)", "(f:a g:b f:c)"),
        ("f:(a (b AND c))", "(f:a (+f:b +f:c))"),
        ("a.b.c:d", "a.b.c:d"),
        ("f:\"a b\"", "f:\"a b\""),
        ("+f:a -g:b", "(+f:a -g:b)"),
        (r"first\ name:Alice", "first name:Alice"),
        (r"a\:b:c", "a:b:c"),
        ("name.*:x", "name.*:x"),
        (r"name.\*:(x y)", "(name.*:x name.*:y)"),
        ("n?me:x", "n?me:x"),
        ("*:x", "*:x"),
    ]);
}

#[test]
fn stars_alone_ask_for_all_or_for_existence() {
    check(&[
        ("*", "all"),
        ("*:*", "all"),
        ("a AND *", "(+a +all)"),
        ("*^2", "all^2"),
        ("f:*", "exists(f)"),
        ("f:(a *)", "(f:a exists(f))"),
        ("a.*:*", "exists(a.*)"),
        ("f:*^3", "exists(f)^3"),
        ("_exists_:f", "exists(f)"),
        ("_exists_:a.b", "exists(a.b)"),
        ("_exists_:\"a b\"", "exists(a b)"),
        ("NOT _exists_:f", "(-exists(f))"),
        ("**", "wild(**)"),
    ]);
}

#[test]
fn phrases_keep_operators_as_text() {
    check(&[
        ("\"a b\"", "\"a b\""),
        ("\"\"", "\"\""),
        ("\"a AND (b*\"", "\"a AND (b*\""),
        (r#""a \"b\" c""#, r#""a \"b\" c""#),
        ("\"a b\"~3", "\"a b\"~3"),
        ("\"a b\"~2.7", "\"a b\"~2"),
        ("\"a b\"~", "\"a b\""),
        ("\"a b\"^2", "\"a b\"^2"),
        ("\"a b\"~3^2", "\"a b\"~3^2"),
        ("\"a b\"^2~3", "\"a b\"~3^2"),
        ("a\"b\"c", "(a \"b\" c)"),
        ("f:\">5\"", "f:\">5\""),
    ]);
}

#[test]
fn boosts_and_fuzziness_follow_what_they_modify() {
    check(&[
        ("a^2", "a^2"),
        ("a^2.5", "a^2.5"),
        ("a^0", "a^0"),
        ("a ^2", "a^2"),
        ("a~", "a~auto"),
        ("a~AUTO", "a~auto"),
        ("a~0", "a~0"),
        ("a~1", "a~1"),
        ("a~2.0", "a~2"),
        ("a~1^3", "a~1^3"),
        ("a^3~1", "a~1^3"),
        ("a~ b", "(a~auto b)"),
        ("(a b)^2", "(a b)^2"),
        ("(a)^2", "a^2"),
        ("(a^2)^3", "a^6"),
        ("((a b)^2)^3", "(a b)^6"),
        ("f:(a b)^2 c", "((f:a f:b)^2 c)"),
        ("a*~1", "prefix(a)"),
    ]);
}

#[test]
fn wildcards_are_patterns_unless_escaped() {
    check(&[
        ("a*", "prefix(a)"),
        ("f:a*^2", "f:prefix(a)^2"),
        (r"a\-b*", "prefix(a-b)"),
        ("*a", "wild(*a)"),
        ("a*b", "wild(a*b)"),
        ("a?", "wild(a?)"),
        ("?", "wild(?)"),
        ("a**", "wild(a**)"),
        ("?*", "wild(?*)"),
        (r"a\*", "a*"),
        (r"a\?b", "a?b"),
        (r"a\*b*", "prefix(a*b)"),
        (r"a\*b*c", r"wild(a\*b*c)"),
        (r"a*\*", r"wild(a*\*)"),
        (r"a\\*", r"prefix(a\)"),
        ("qu?ck bro*", "(wild(qu?ck) prefix(bro))"),
    ]);
}

#[test]
fn regular_expressions_stand_between_slashes() {
    check(&[
        ("/a.*b/", "/a.*b/"),
        ("f:/joh?n(ath[oa]n)/", "f:/joh?n(ath[oa]n)/"),
        (r"/a\/b/", r"/a\/b/"),
        (r"/a\\/ b", r"(/a\\/ b)"),
        ("/a b/^2", "/a b/^2"),
        ("//", "//"),
        (r"a\/b", "a/b"),
        ("a/b/c", "(a /b/ c)"),
    ]);
}

#[test]
fn ranges_include_or_exclude_their_bounds() {
    check(&[
        ("f:[1 TO 5]", "f:[1..5]"),
        ("f:{1 TO 5}", "f:{1..5}"),
        ("f:[1 TO 5}", "f:[1..5}"),
        ("f:{1 TO 5]", "f:{1..5]"),
        ("[a TO b]", "[a..b]"),
        ("f:[* TO 5}", "f:*..5}"),
        ("f:{1 TO *}", "f:{1..*"),
        ("f:[* TO *]", "f:*..*"),
        ("f:[\"a b\" TO \"c d\"]", "f:[a b..c d]"),
        (
            "f:[2020-01-01T10:00:00 TO now-1d/d]",
            "f:[2020-01-01T10:00:00..now-1d/d]",
        ),
        ("f:[ 1  TO  5 ]^2", "f:[1..5]^2"),
        ("f:[TO TO TO]", "f:[TO..TO]"),
        (r"f:[a\ b TO c\]]", "f:[a b..c]]"),
        ("f:[-5 TO -1] a", "(f:[-5..-1] a)"),
        ("f:>10", "f:{10..*"),
        ("f:>=10", "f:[10..*"),
        ("f:<10", "f:*..10}"),
        ("f:<=10^2", "f:*..10]^2"),
        ("f:>-5", "f:{-5..*"),
        ("f:(>=10 AND <20)", "(+f:[10..* +f:*..20})"),
        ("f:(+>=10 +<20)", "(+f:[10..* +f:*..20})"),
        (r"f:\>10", "f:>10"),
        ("f:>", "f:>"),
        ("f:>=", "f:>="),
        (">10", ">10"),
    ]);
}

#[test]
fn escapes_take_characters_literally() {
    check(&[
        (r"\(1\+1\)\:2", "(1+1):2"),
        (r"a\ b", "a b"),
        (r"\AND", "AND"),
        (r"\u0041\u00e9", "Aé"),
        (r"a\\b", r"a\b"),
        (r"\-a", "-a"),
        ("ça\u{3000}日本", "(ça 日本)"),
    ]);
}

#[test]
fn blank_queries_match_nothing() {
    check(&[("", "nothing"), (" \t\n", "nothing")]);
}

#[test]
fn errors_name_position_found_and_expected() {
    let table = [
        ("a AND", 5, "the end of the query", "a term"),
        ("AND a", 0, "AND", "a term"),
        ("a OR OR b", 5, "OR", "a term"),
        ("a +", 3, "the end of the query", "a term"),
        ("+-a", 1, "\"-\"", "a term"),
        ("NOT NOT a", 4, "NOT", "a term"),
        ("(a", 2, "the end of the query", "\")\""),
        ("(a AND)", 6, "\")\"", "a term"),
        ("()", 1, "\")\"", "a term"),
        ("a)", 1, "\")\"", "the end of the query"),
        ("f:", 2, "the end of the query", "a term"),
        ("f:a:b", 3, "\":\"", "a term"),
        (":a", 0, "\":\"", "a term"),
        ("é \"a", 2, "an unclosed '\"'", "a closing quote"),
        ("/a", 0, "an unclosed '/'", "a closing \"/\""),
        ("a]", 1, "']'", "the start of a range"),
        ("[a b]", 3, "the text \"b\"", "TO"),
        ("[a TO", 5, "the end of the query", "a bound"),
        ("[a TO b", 7, "the end of the query", "\"]\" or \"}\""),
        ("[]", 1, "\"]\"", "a bound"),
        ("a^", 2, "the end of the query", "a positive number"),
        ("a^x", 2, "'x'", "a positive number"),
        ("a^-1", 2, "'-'", "a positive number"),
        ("a^2^3", 3, "\"^\"", "a term"),
        ("^2", 0, "\"^\"", "a term"),
        ("a~3", 1, "\"~3\"", "~2"),
        ("a~0.5", 1, "\"~0.5\"", "~2"),
        ("~2", 0, "\"~2\"", "a term"),
        ("\"a\"~x", 3, "\"~x\"", "the slop"),
        (r"ab\u00", 2, "\"\\\\u00\"", "four hexadecimal digits"),
        (r"C:\users", 2, "\"\\\\users\"", "four hexadecimal digits"),
        (r"a\", 1, "a backslash", "a character after"),
    ];
    for (text, position, found, expected) in table {
        for operator in [Operator::Or, Operator::And] {
            let error = parse(text, operator).unwrap_err();
            assert_eq!(error.position(), position, "{text}: {error}");
            let message = error.to_string();
            let start = format!("syntax error at character {position}: found {found}, expected ");
            assert!(message.starts_with(&start), "{text}: {message}");
            assert!(
                message[start.len()..].contains(expected),
                "{text}: {message}"
            );
        }
    }
}

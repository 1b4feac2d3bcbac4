//! Names and patterns of names.

use std::borrow::Cow;

use jiff::tz::TimeZone;

use crate::search_node::dates::{self, DateError, Formats, Round, parse_zone};
use crate::search_node::failure::{Failure, Outcome};

/// How dates stand in names when nothing is said.
const DATE_FORMAT: &str = "yyyy.MM.dd";

/// Longest name of an index, in bytes, as Elasticsearch has it.
const MAX_NAME: usize = 255;

/// Whether `name` fits `pattern`, in which `*` stands for any text.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Checks the name of an index or alias by Elasticsearch's rules.
pub(super) fn check(name: &str) -> Outcome<()> {
    let refuse = |why: &str| {
        Err(Failure::new(
            400,
            "invalid_index_name_exception",
            format!("Invalid index name [{name}], {why}"),
        )
        .with("index", name)
        .with("index_uuid", "_na_"))
    };
    if name.is_empty() {
        return refuse("must not be empty");
    }
    if name == "." || name == ".." {
        return refuse("must not be '.' or '..'");
    }
    if name.chars().any(char::is_uppercase) {
        return refuse("must be lowercase");
    }
    if let Some(bad) = name
        .chars()
        .find(|c| " \"*\\<|,>/?#:".contains(*c) || c.is_control())
    {
        return refuse(&format!(
            "must not contain the following characters ['\\','/','*','?','\"','<','>','|',' ',\
             ',','#',':']; found [{}]",
            bad.escape_debug()
        ));
    }
    if name.starts_with(['_', '-', '+']) {
        return refuse("must not start with '_', '-', or '+'");
    }
    if name.len() > MAX_NAME {
        return refuse(&format!(
            "index name is too long, ({} > {MAX_NAME})",
            name.len()
        ));
    }
    Ok(())
}

/// A name with its date math put in: `<logs-{now/d}-000001>` is `logs-2026.11.26-000001`, and
/// `{now/M{yyyy.MM|+02:00}}` has a format and a zone. Other names stay as they are.
///
/// # Errors
/// 400: what stands in `<...>` cannot be read.
pub(super) fn dated(name: &str, now_millis: i64) -> Outcome<Cow<'_, str>> {
    let inside = name
        .strip_prefix('<')
        .and_then(|name| name.strip_suffix('>'));
    let Some(inside) = inside else {
        return Ok(Cow::Borrowed(name));
    };
    let wrong = |why: &str| {
        Failure::new(
            400,
            "parse_exception",
            format!("invalid dynamic name expression [{inside}]: {why}"),
        )
    };
    let mut out = String::new();
    let mut math: Option<String> = None;
    let mut depth = 0_u32;
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match (c, &mut math) {
            ('\\', None) => match chars.next() {
                Some(escaped @ ('{' | '}')) => out.push(escaped),
                _ => return Err(wrong("a backslash stands before { or }")),
            },
            ('{', None) => {
                depth = 1;
                math = Some(String::new());
            }
            ('}', None) => return Err(wrong("a } without a {")),
            (c, None) => out.push(c),
            ('}', Some(text)) if depth == 1 => {
                let date =
                    read_math(text, now_millis).map_err(|error| wrong(&error.to_string()))?;
                out.push_str(&date);
                math = None;
            }
            (c, Some(text)) => {
                depth += u32::from(c == '{');
                depth -= u32::from(c == '}');
                text.push(c);
            }
        }
    }
    if math.is_some() {
        return Err(wrong("a } is missing"));
    }
    Ok(Cow::Owned(out))
}

/// `now/M{yyyy.MM|+02:00}` as a date.
fn read_math(text: &str, now_millis: i64) -> Result<String, DateError> {
    let (math, format) = match text.split_once('{') {
        None => (text, DATE_FORMAT),
        Some((math, format)) => (math, format.strip_suffix('}').unwrap_or(format)),
    };
    let (format, zone) = match format.split_once('|') {
        None => (format, TimeZone::UTC),
        Some((format, zone)) => (format, parse_zone(zone)?),
    };
    let format = Formats::parse_spec(format)?;
    let millis = dates::resolve(math, &Formats::default(), now_millis, Round::Down, &zone)?;
    Ok(format.format(millis, &zone))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("*", "x", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ab", false),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn names_that_elasticsearch_refuses_are_refused() {
        for name in [
            "", ".", "..", "A", "a b", "a*", "_a", "-a", "+a", "a/b", "a#", "a:b", "a,b",
        ] {
            assert!(check(name).is_err(), "{name}");
        }
        assert!(check(&"a".repeat(256)).is_err());
        for name in [".lucid-health", "lucid-sessions-2025.10", "ä", "1"] {
            assert!(check(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn date_math_in_names_is_put_in() {
        // 2026-11-26T23:30:00Z
        let now = 1_795_735_800_000;
        for (name, dated_as) in [
            ("logs", "logs"),
            ("<logs>", "logs"),
            ("<logs-{now/d}-000001>", "logs-2026.11.26-000001"),
            ("<logs-{now/M{yyyy.MM}}>", "logs-2026.11"),
            ("<logs-{now/M-1M{yyyy.MM}}>", "logs-2026.10"),
            ("<logs-{now/d{yyyy.MM.dd|+02:00}}>", "logs-2026.11.27"),
            ("<{now/y{yyyy}}-{now/M{MM}}>", "2026-11"),
            (r"<a\{b\}>", "a{b}"),
        ] {
            assert_eq!(dated(name, now).unwrap(), dated_as, "{name}");
        }
        for name in [
            "<a{now>",
            "<a}>",
            "<a{nowish}>",
            "<a{now/q}>",
            r"<a\b>",
            "<{}>",
        ] {
            assert!(dated(name, now).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn date_math_never_panics(name in "<[-a{}now/dMy|.\\\\+1:]{0,16}>") {
            let _ = dated(&name, 1_795_735_800_000);
        }

        #[test]
        fn matching_never_panics_and_a_name_fits_itself(name in "[^*]{0,12}", pattern in ".{0,12}") {
            prop_assert!(matches(&name, &name));
            let _ = matches(&pattern, &name);
        }
    }
}

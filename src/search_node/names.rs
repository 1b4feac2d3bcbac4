//! Names and patterns of names.

use crate::search_node::failure::{Failure, Outcome};

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

    proptest! {
        #[test]
        fn matching_never_panics_and_a_name_fits_itself(name in "[^*]{0,12}", pattern in ".{0,12}") {
            prop_assert!(matches(&name, &name));
            let _ = matches(&pattern, &name);
        }
    }
}

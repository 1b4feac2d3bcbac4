//! How a found value is judged, and what is written when it falls short.

/// The comparison of one file's content with what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// This number and no other.
    Exact(u64),
    /// This number or more; a higher one is never lowered.
    AtLeast(u64),
    /// A choice of words with the selected one in brackets, as THP and the I/O scheduler have.
    /// Any of these satisfies; the first one offered is written.
    OneOf(&'static [&'static str]),
}

impl Rule {
    /// The value that is written where the kernel takes it.
    pub fn wanted(&self) -> String {
        match self {
            Rule::Exact(number) | Rule::AtLeast(number) => number.to_string(),
            Rule::OneOf(words) => words.first().copied().unwrap_or_default().to_owned(),
        }
    }

    /// The value in a file's content: the number, or the selected word. `None` if there is none.
    pub fn value(&self, content: &str) -> Option<String> {
        match self {
            Rule::Exact(_) | Rule::AtLeast(_) => {
                content.trim().parse::<u64>().ok().map(|n| n.to_string())
            }
            Rule::OneOf(_) => selected(content).map(str::to_owned),
        }
    }

    /// Whether a value (see [`Rule::value`]) satisfies.
    pub fn satisfied(&self, value: &str) -> bool {
        match self {
            Rule::Exact(wanted) => value.parse() == Ok(*wanted),
            Rule::AtLeast(wanted) => value.parse::<u64>().is_ok_and(|found| found >= *wanted),
            Rule::OneOf(words) => words.contains(&value),
        }
    }

    /// What to write into a file with this content; `None` when the kernel offers nothing wanted.
    pub fn to_write(&self, content: &str) -> Option<String> {
        match self {
            Rule::Exact(_) | Rule::AtLeast(_) => Some(self.wanted()),
            Rule::OneOf(words) => words
                .iter()
                .find(|word| offered(content).any(|offer| offer == **word))
                .map(|word| (*word).to_owned()),
        }
    }

    /// Whether the file holds a choice of words.
    pub(super) const fn is_choice(&self) -> bool {
        matches!(self, Rule::OneOf(_))
    }
}

/// The word in brackets; a lone word without brackets is selected too (`none` of a block device
/// without schedulers on older kernels).
pub(super) fn selected(content: &str) -> Option<&str> {
    let mut words = content.split_whitespace();
    if let Some(word) = words.clone().find_map(bracketed) {
        return Some(word);
    }
    match (words.next(), words.next()) {
        (Some(only), None) if !only.contains(['[', ']']) => Some(only),
        _ => None,
    }
}

/// Every word of the choice.
pub(super) fn offered(content: &str) -> impl Iterator<Item = &str> {
    content
        .split_whitespace()
        .map(|word| bracketed(word).unwrap_or(word))
}

fn bracketed(word: &str) -> Option<&str> {
    word.strip_prefix('[')?
        .strip_suffix(']')
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THP: &str = "always defer defer+madvise [madvise] never\n";

    #[test]
    fn the_selected_word_stands_in_brackets() {
        assert_eq!(selected(THP), Some("madvise"));
        assert_eq!(selected("[none] mq-deadline kyber bfq\n"), Some("none"));
        assert_eq!(selected("none\n"), Some("none"));
        for unclear in ["", "a b", "[]", "[a", "a]", "[] b"] {
            assert_eq!(selected(unclear), None, "{unclear:?}");
        }
    }

    #[test]
    fn the_first_offered_word_of_the_wish_is_written() {
        let rule = Rule::OneOf(&["mq-deadline", "bfq"]);
        assert_eq!(
            rule.to_write("[none] mq-deadline bfq").as_deref(),
            Some("mq-deadline")
        );
        assert_eq!(rule.to_write("[none] bfq").as_deref(), Some("bfq"));
        assert_eq!(rule.to_write("[none]"), None);
        assert!(rule.satisfied("bfq") && !rule.satisfied("none"));
    }

    #[test]
    fn a_floor_is_satisfied_by_more_and_an_exact_number_is_not() {
        assert!(Rule::AtLeast(10).satisfied("11"));
        assert!(!Rule::AtLeast(10).satisfied("9"));
        assert!(!Rule::Exact(10).satisfied("11"));
        assert_eq!(Rule::Exact(10).value(" 12\n").as_deref(), Some("12"));
        assert_eq!(Rule::Exact(10).value("12 13"), None);
    }

    proptest! {
        #[test]
        fn any_content_is_survived(content in ".{0,200}") {
            let rule = Rule::OneOf(&["madvise", "never"]);
            if let Some(word) = selected(&content) {
                prop_assert!(offered(&content).any(|offer| offer == word));
            }
            if let Some(word) = rule.to_write(&content) {
                prop_assert!(content.contains(&word));
            }
            let _ = Rule::AtLeast(1).value(&content);
        }

        #[test]
        fn what_the_kernel_prints_is_read(
            words in prop::collection::vec("[a-z][a-z+-]{0,12}", 1..8),
            pick in any::<prop::sample::Index>(),
        ) {
            let chosen = pick.index(words.len());
            let printed: Vec<String> = words
                .iter()
                .enumerate()
                .map(|(i, w)| if i == chosen { format!("[{w}]") } else { w.clone() })
                .collect();
            let line = format!("{}\n", printed.join(" "));
            prop_assert_eq!(selected(&line), Some(words[chosen].as_str()));
            prop_assert_eq!(offered(&line).collect::<Vec<_>>(), words);
        }
    }
}

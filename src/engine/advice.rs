//! Looking up what an engine's last words mean.

use super::Advice;

/// The first row of `table` with a word in any of the lines.
pub(super) fn find(table: &[(&[&str], &str, &str)], last_lines: &[String]) -> Option<Advice> {
    table
        .iter()
        .find(|(words, ..)| {
            last_lines
                .iter()
                .rev()
                .any(|line| words.iter().any(|word| line.contains(word)))
        })
        .map(|(_, cause, remedy)| Advice {
            cause: (*cause).to_owned(),
            remedy: (*remedy).to_owned(),
        })
}

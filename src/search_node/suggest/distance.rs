//! How alike two words are, as Lucene's string distances have it: from 0 to 1 for equal ones.

use crate::search_node::failure::{Failure, Outcome};

/// Below this much of Jaro's measure a common beginning does not count.
const WINKLER_FROM: f32 = 0.7;

/// Which measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distance {
    /// Edits of characters, neighbours that change places being one, by the shorter length.
    Internal,
    /// Edits of characters, by the longer length.
    Levenshtein,
    /// Characters in common and their order, more for a common beginning.
    JaroWinkler,
    /// Pairs of characters in common.
    Ngram,
}

impl Distance {
    /// From its name in a request.
    pub(super) fn from_name(name: &str) -> Outcome<Self> {
        match name {
            "internal" | "damerau_levenshtein" => Ok(Self::Internal),
            "levenshtein" => Ok(Self::Levenshtein),
            "jaro_winkler" => Ok(Self::JaroWinkler),
            "ngram" => Ok(Self::Ngram),
            other => Err(Failure::illegal(format!(
                "Illegal distance option {other}: there are internal, damerau_levenshtein, \
                 levenshtein, jaro_winkler and ngram"
            ))),
        }
    }

    /// How alike `a` and `b` are.
    pub(super) fn likeness(self, a: &[u32], b: &[u32]) -> f32 {
        match self {
            Self::Internal => {
                let shorter = a.len().min(b.len());
                1.0 - ratio(edits(a, b, true), shorter)
            }
            Self::Levenshtein => 1.0 - ratio(edits(a, b, false), a.len().max(b.len())),
            Self::JaroWinkler => jaro_winkler(a, b),
            Self::Ngram => pairs(a, b),
        }
    }
}

/// Words are short: their lengths are exact as floats.
fn ratio(part: usize, whole: usize) -> f32 {
    if whole == 0 {
        return if part == 0 { 0.0 } else { 1.0 };
    }
    part as f32 / whole as f32
}

/// Edits from `a` to `b`; with `transpositions`, neighbours that change places are one.
pub(super) fn edits(a: &[u32], b: &[u32], transpositions: bool) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (j, unit) in b.iter().enumerate() {
        let mut next = vec![j + 1];
        for (i, wanted) in a.iter().enumerate() {
            let mut cost = (row[i] + usize::from(wanted != unit))
                .min(row[i + 1] + 1)
                .min(next[i] + 1);
            if transpositions && i > 0 && j > 0 && *wanted == b[j - 1] && a[i - 1] == *unit {
                cost = cost.min(before[i - 1] + 1);
            }
            next.push(cost);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

fn jaro_winkler(a: &[u32], b: &[u32]) -> f32 {
    let (long, short) = if a.len() > b.len() { (a, b) } else { (b, a) };
    let reach = (long.len() / 2).saturating_sub(1);
    let mut taken = vec![false; long.len()];
    let mut common = Vec::new();
    for (at, unit) in short.iter().enumerate() {
        let window = at.saturating_sub(reach)..(at + reach + 1).min(long.len());
        if let Some(place) = window.into_iter().find(|n| !taken[*n] && long[*n] == *unit) {
            taken[place] = true;
            common.push(*unit);
        }
    }
    if common.is_empty() {
        return 0.0;
    }
    let in_long = long.iter().zip(&taken).filter(|(_, taken)| **taken);
    let misplaced = in_long.zip(&common).filter(|((a, _), b)| a != b).count();
    let start = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let m = common.len();
    let jaro = (ratio(m, a.len()) + ratio(m, b.len()) + ratio(m - misplaced / 2, m)) / 3.0;
    if jaro < WINKLER_FROM {
        return jaro;
    }
    jaro + ratio(1, long.len()).min(0.1) * start as f32 * (1.0 - jaro)
}

/// Edits of pairs of neighbours, of which half may be equal.
fn pairs(a: &[u32], b: &[u32]) -> f32 {
    let longer = a.len().max(b.len());
    if a.is_empty() || b.is_empty() {
        return if longer == 0 { 1.0 } else { 0.0 };
    }
    if a.len() < 2 || b.len() < 2 {
        return ratio(a.iter().zip(b).filter(|(a, b)| a == b).count(), longer);
    }
    // The first unit of a word makes a pair with nothing before it.
    let pair = |word: &[u32], at: usize| (at.checked_sub(1).map(|at| word[at]), word[at]);
    let mut row: Vec<f32> = (0..=a.len()).map(|n| n as f32).collect();
    for j in 0..b.len() {
        let (b_left, b_right) = pair(b, j);
        let mut next = vec![(j + 1) as f32];
        for i in 0..a.len() {
            let (a_left, a_right) = pair(a, i);
            let other = usize::from(a_left != b_left) + usize::from(a_right != b_right);
            let counted = if a_left.is_none() && b_left.is_none() {
                1
            } else {
                2
            };
            let cost = row[i] + ratio(other, counted);
            next.push(cost.min(row[i + 1] + 1.0).min(next[i] + 1.0));
        }
        row = next;
    }
    1.0 - row.last().copied().unwrap_or(0.0) / longer as f32
}

#[cfg(test)]
mod tests {
    use super::super::near::Unit;
    use super::*;

    #[test]
    fn words_are_as_alike_as_lucene_finds_them() {
        for (distance, a, b, expected) in [
            (Distance::Internal, "amsterdam", "amsterdam", 1.0),
            (Distance::Internal, "abcd", "abdc", 0.75),
            (Distance::Internal, "abcde", "abcd", 0.75),
            (Distance::Levenshtein, "abcd", "abdc", 0.5),
            (Distance::Levenshtein, "abcde", "abcd", 0.8),
            (Distance::JaroWinkler, "al", "al", 1.0),
            (Distance::JaroWinkler, "martha", "marhta", 0.961_111_1),
            (Distance::JaroWinkler, "jones", "johnson", 0.832_381),
            (Distance::JaroWinkler, "abcvwxyz", "cabvwxyz", 0.958_333_3),
            (Distance::JaroWinkler, "dwayne", "duane", 0.84),
            (Distance::JaroWinkler, "dixon", "dicksonx", 0.813_333_3),
            (Distance::JaroWinkler, "fvie", "ten", 0.0),
            (Distance::Ngram, "al", "al", 1.0),
            (Distance::Ngram, "a", "a", 1.0),
            (Distance::Ngram, "b", "a", 0.0),
            (Distance::Ngram, "a", "aa", 0.5),
            (Distance::Ngram, "contiguous", "contagious", 0.8),
            (Distance::Ngram, "natural", "contrary", 0.25),
            (Distance::Ngram, "abcvwxyz", "cabvwxyz", 0.625),
            (Distance::Ngram, "dwayne", "duane", 0.583_333_3),
        ] {
            let found = distance.likeness(&Unit::Char.of(a), &Unit::Char.of(b));
            assert!(
                (found - expected).abs() < 0.002,
                "{distance:?} {a} {b}: {found}"
            );
        }
        assert!(Distance::from_name("soundex").is_err());
    }
}

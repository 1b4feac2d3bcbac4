//! The name of the index that follows another.
//!
//! `logs-000001` is followed by `logs-000002`, and `<logs-{now/d}-000001>` by
//! `<logs-{now/d}-000002>`, as in Elasticsearch. An extension of this node: an index of a month,
//! `logs-2026.11`, is followed by that of the present month, and within the month by
//! `logs-2026.11-000002`. Those have the month's name as the name that they were given
//! (`index.provided_name`), by which they are followed by the next month's. Date math without a
//! number at its end stands for the name that came of it.

use jiff::tz::TimeZone;

use crate::search_node::dates::Formats;
use crate::search_node::failure::{Failure, Outcome};

/// Indices of one month at most.
const MAX_OF_MONTH: u32 = 999_999;

/// The name of an index to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NextName {
    /// A name, or date math in `<...>`.
    pub name: String,
    /// What counts as the name that it was given.
    pub provided: String,
}

/// The index that follows `index`, which was made as `provided`; `exists` says whether there is
/// an index or an alias of a name.
///
/// # Errors
/// 400: the name ends neither in a number nor in a month.
pub(crate) fn next_name(
    index: &str,
    provided: &str,
    now_millis: i64,
    exists: impl Fn(&str) -> bool,
) -> Outcome<NextName> {
    let numbered = |math: &str| {
        math.trim_end_matches('>')
            .ends_with(|c: char| c.is_ascii_digit())
    };
    let provided = if provided.starts_with('<') && !numbered(provided) {
        index
    } else {
        provided
    };
    if let Some((base, month)) = split_month(provided) {
        let present = month_of(now_millis)?;
        // A clock that was set back leads to no month of the past.
        if present.as_str() > month {
            let name = format!("{base}-{present}");
            if !exists(&name) {
                return Ok(NextName {
                    provided: name.clone(),
                    name,
                });
            }
        }
        let provided = format!("{base}-{}", month.max(present.as_str()));
        let last = index
            .strip_prefix(&format!("{provided}-"))
            .and_then(|number| number.parse::<u32>().ok())
            .unwrap_or(1);
        let free = (last.saturating_add(1)..=MAX_OF_MONTH)
            .map(|number| format!("{provided}-{number:06}"))
            .find(|name| !exists(name));
        let name =
            free.ok_or_else(|| Failure::illegal(format!("no name is left after [{index}]")))?;
        return Ok(NextName { name, provided });
    }
    let (inside, end) = match provided.strip_suffix('>') {
        Some(inside) if provided.starts_with('<') => (inside, ">"),
        _ => (provided, ""),
    };
    let digits = inside.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = inside[digits.len()..].parse::<u64>().ok();
    match (
        digits.strip_suffix('-'),
        number.and_then(|n| n.checked_add(1)),
    ) {
        (Some(base), Some(number)) => {
            let name = format!("{base}-{number:06}{end}");
            Ok(NextName {
                provided: name.clone(),
                name,
            })
        }
        _ => Err(Failure::illegal(format!(
            "index name [{provided}] does not match pattern '^.*-\\d+$', nor does it end in a \
             month such as [-2026.11]; name the new index: POST /ALIAS/_rollover/NEW_INDEX"
        ))),
    }
}

/// `logs` and `2026.11` of `logs-2026.11`.
fn split_month(name: &str) -> Option<(&str, &str)> {
    let (base, month) = name.rsplit_once('-')?;
    let (year, number) = month.split_once('.')?;
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    let is_month = digits(year, 4) && digits(number, 2) && ("01"..="12").contains(&number);
    (is_month && !base.is_empty()).then_some((base, month))
}

fn month_of(millis: i64) -> Outcome<String> {
    let format = Formats::parse_spec("yyyy.MM").map_err(|e| Failure::internal(e.to_string()))?;
    Ok(format.format(millis, &TimeZone::UTC))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // 2026-11-26T15:00:00Z
    const NOW: i64 = 1_795_705_200_000;

    fn next(index: &str, provided: &str, taken: &[&str]) -> Option<(String, String)> {
        let next = next_name(index, provided, NOW, |name| taken.contains(&name)).ok()?;
        Some((next.name, next.provided))
    }

    #[test]
    fn numbers_are_counted_up_also_in_date_math() {
        for (provided, name) in [
            ("logs-000001", Some("logs-000002")),
            ("logs-9", Some("logs-000010")),
            ("logs-999999", Some("logs-1000000")),
            ("<logs-{now/d}-000001>", Some("<logs-{now/d}-000002>")),
            ("logs-2026.10-000001", Some("logs-2026.10-000002")),
            ("logs", None),
            ("logs1", None),
            ("<logs-{now/d}>", None),
            ("logs-99999999999999999999", None),
        ] {
            let found = next(provided, provided, &[]).map(|(name, _)| name);
            assert_eq!(found.as_deref(), name, "{provided}");
        }
    }

    #[test]
    fn a_month_is_followed_by_the_present_one() {
        let both = |name: &str| Some((name.to_owned(), name.to_owned()));
        assert_eq!(next("s-2026.09", "s-2026.09", &[]), both("s-2026.11"));
        let math = "<s-{now/M{yyyy.MM}}>";
        assert_eq!(next("s-2026.10", math, &[]), both("s-2026.11"));
        // What was made within a month is followed by a month again.
        assert_eq!(
            next("s-2026.10-000002", "s-2026.10", &[]),
            both("s-2026.11")
        );
    }

    #[test]
    fn within_a_month_indices_are_numbered() {
        let within = |name: &str, month: &str| Some((name.to_owned(), month.to_owned()));
        assert_eq!(
            next("s-2026.11", "s-2026.11", &["s-2026.11"]),
            within("s-2026.11-000002", "s-2026.11")
        );
        assert_eq!(
            next("s-2026.11-000002", "s-2026.11", &["s-2026.11-000002"]),
            within("s-2026.11-000003", "s-2026.11")
        );
        // The month's index is there already, for another reason.
        assert_eq!(
            next("s-2026.10", "s-2026.10", &["s-2026.11", "s-2026.11-000002"]),
            within("s-2026.11-000003", "s-2026.11")
        );
    }

    #[test]
    fn a_clock_that_was_set_back_leads_to_no_month_of_the_past() {
        assert_eq!(
            next("s-2027.01", "s-2027.01", &["s-2027.01"]),
            Some(("s-2027.01-000002".to_owned(), "s-2027.01".to_owned()))
        );
    }

    #[test]
    fn what_only_looks_like_a_month_is_none() {
        for name in ["s-2026.13", "s-2026.00", "s-26.11", "-2026.11", "s.2026.11"] {
            assert_eq!(next(name, name, &[]), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_new_name_is_never_taken(base in "[a-z]{1,5}", year in 2000..2040, month in 1..13, count in 0..5_u32) {
            let provided = format!("{base}-{year}.{month:02}");
            let mut taken = vec![provided.clone()];
            for _ in 0..count {
                let last = taken.last().cloned().unwrap();
                let next = next_name(&last, &provided, NOW, |name| taken.iter().any(|t| t == name)).unwrap();
                prop_assert!(!taken.contains(&next.name));
                taken.push(next.name);
            }
        }

        #[test]
        fn no_name_makes_it_panic(name in ".{0,20}") {
            let _ = next_name(&name, &name, NOW, |_| false);
        }
    }
}

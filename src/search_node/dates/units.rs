//! Lengths of time with a unit, as in settings and fixed intervals.

use super::DateError;
use super::civil::{DAY, HOUR, MINUTE, SECOND};

/// Nanoseconds in a millisecond.
const NANOS: u64 = 1_000_000;

/// Reads a fixed interval (`90s`, `2d`) in milliseconds; it has a unit of ms,
/// s, m, h or d and is longer than nothing.
pub(crate) fn fixed_millis(text: &str) -> Result<i64, DateError> {
    let wrong = || DateError::FixedInterval(text.to_owned());
    let (digits, unit) = split(text);
    let unit = match unit {
        "ms" => 1,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _ => return Err(wrong()),
    };
    if digits.is_empty() {
        return Err(wrong());
    }
    let too_large = || DateError::TimeValueTooLarge(text.to_owned());
    let number: i64 = digits.parse().map_err(|_| too_large())?;
    if number == 0 {
        return Err(DateError::EmptyInterval(text.to_owned()));
    }
    number.checked_mul(unit).ok_or_else(too_large)
}

/// Reads the offset of a date histogram (`+6h`, `-1d`, `30m`) in milliseconds.
pub(crate) fn parse_offset(text: &str) -> Result<i64, DateError> {
    let (negative, length) = match text.strip_prefix('-') {
        Some(length) => (true, length),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    // A second sign is not an offset below zero, it is a mistake.
    if length.starts_with('-') {
        return Err(DateError::TimeValue(text.to_owned()));
    }
    let millis = i64::try_from(duration(length, text)?)
        .map_err(|_| DateError::TimeValueTooLarge(text.to_owned()))?;
    Ok(if negative { -millis } else { millis })
}

/// Reads a duration of a setting (`30d`, `100micros`) in milliseconds, rounded
/// down. Its unit is d, h, m, s, ms, micros or nanos; only `0` needs none.
pub(crate) fn parse_duration_millis(text: &str) -> Result<u64, DateError> {
    duration(text, text)
}

/// Reads a duration; errors name `whole`, which it may be a part of.
fn duration(text: &str, whole: &str) -> Result<u64, DateError> {
    let text = text.trim();
    if let Some(length) = text.strip_prefix('-') {
        let is_number = length.starts_with(|first: char| first.is_ascii_digit());
        let whole = whole.to_owned();
        return Err(if is_number {
            DateError::NegativeTimeValue(whole)
        } else {
            DateError::TimeValue(whole)
        });
    }
    let (digits, unit) = split(text);
    if digits.is_empty() {
        return Err(DateError::TimeValue(whole.to_owned()));
    }
    let number = digits.parse::<u64>();
    let lower = unit.to_ascii_lowercase();
    let factor = match lower.trim_start() {
        "d" => DAY.unsigned_abs(),
        "h" => HOUR.unsigned_abs(),
        // A capital M is a month elsewhere.
        "m" if unit.ends_with('m') => MINUTE.unsigned_abs(),
        "s" => SECOND.unsigned_abs(),
        "ms" => 1,
        "micros" => return divide(number, NANOS / 1_000, whole),
        "nanos" => return divide(number, NANOS, whole),
        "" if number == Ok(0) => 1,
        _ if unit.starts_with('.') => {
            return Err(DateError::FractionalTimeValue(whole.to_owned()));
        }
        _ => return Err(DateError::TimeValue(whole.to_owned())),
    };
    let millis = number.ok().and_then(|number| number.checked_mul(factor));
    millis.ok_or_else(|| DateError::TimeValueTooLarge(whole.to_owned()))
}

fn divide<E>(number: Result<u64, E>, by: u64, whole: &str) -> Result<u64, DateError> {
    number
        .map(|number| number / by)
        .map_err(|_| DateError::TimeValueTooLarge(whole.to_owned()))
}

/// The digits at the start of a text, and what follows them.
fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_intervals_are_a_number_and_a_unit_of_fixed_length() {
        assert_eq!(fixed_millis("500ms"), Ok(500));
        assert_eq!(fixed_millis("90s"), Ok(90_000));
        assert_eq!(fixed_millis("30m"), Ok(1_800_000));
        assert_eq!(fixed_millis("12h"), Ok(43_200_000));
        assert_eq!(fixed_millis("2d"), Ok(172_800_000));
        for wrong in [
            "1w", "1M", "1q", "1y", "month", "", "5", "d", "1.5h", "-1d", "1micros",
        ] {
            let error = fixed_millis(wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("[{wrong}]")), "{error}");
            assert!(error.contains("ms, s, m, h or d"), "{error}");
        }
        assert_eq!(
            fixed_millis("0d"),
            Err(DateError::EmptyInterval("0d".to_owned()))
        );
        for large in ["9223372036854775807d", "99999999999999999999ms"] {
            assert_eq!(
                fixed_millis(large),
                Err(DateError::TimeValueTooLarge(large.to_owned()))
            );
        }
    }

    #[test]
    fn offsets_may_have_a_sign() {
        assert_eq!(parse_offset("+6h"), Ok(21_600_000));
        assert_eq!(parse_offset("-1d"), Ok(-86_400_000));
        assert_eq!(parse_offset("30m"), Ok(1_800_000));
        assert_eq!(parse_offset("0"), Ok(0));
        for wrong in ["", "+", "--1d", "+-1d", "1w", "6", "9999999999999999d"] {
            let error = parse_offset(wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("[{wrong}]")), "{error}");
        }
    }

    #[test]
    fn durations_are_in_milliseconds_rounded_down() {
        for (text, millis) in [
            ("30d", 2_592_000_000),
            ("1h", 3_600_000),
            ("5m", 300_000),
            ("1s", 1_000),
            ("10ms", 10),
            ("100micros", 0),
            ("2500micros", 2),
            ("1nanos", 0),
            ("0", 0),
            (" 1H ", 3_600_000),
        ] {
            assert_eq!(parse_duration_millis(text), Ok(millis), "{text}");
        }
    }

    #[test]
    fn durations_without_a_usable_number_and_unit_are_refused() {
        let error = |text: &str| parse_duration_millis(text).unwrap_err().to_string();
        assert_eq!(
            error("12"),
            "failed to parse [12] as a time value: unit is missing or unrecognized"
        );
        assert!(error("-1").contains("negative"));
        assert!(error("-1d").contains("negative"));
        assert!(error("1.5d").contains("fractional"));
        assert!(error("1M").contains("unrecognized"));
        assert!(error("").contains("unrecognized"));
        assert!(error("99999999999999999999d").contains("too large"));
        assert!(error("9999999999999999999d").contains("too large"));
    }
}

//! Date math: `now-1d/d`, `2025-01-01||+1M/d`.

use super::civil::{self, DAY, Date, HOUR, MINUTE, SECOND};
use super::{Calendar, DateError, Formats, Round};
use jiff::tz::TimeZone;

/// Resolves a date with optional math, in milliseconds since the epoch.
///
/// The anchor is `now`, which is `now_millis`, or a date in one of the formats
/// that `||` separates from the math. A date without math is completed as
/// `round` says, one with math always with the lowest values; then it is each
/// `/unit` that goes to the first or to the last millisecond of the unit.
/// Units start, and years to days are added, in the local time of the zone.
pub(crate) fn resolve(
    text: &str,
    formats: &Formats,
    now_millis: i64,
    round: Round,
    zone: &TimeZone,
) -> Result<i64, DateError> {
    let (anchor, math) = if let Some(math) = text.strip_prefix("now") {
        (now_millis, math)
    } else if let Some((date, math)) = text.split_once("||") {
        (formats.parse(date, Round::Down, zone)?, math)
    } else {
        return formats.parse(text, round, zone);
    };
    apply(anchor, math, round, zone, text)
}

fn apply(
    anchor: i64,
    math: &str,
    round: Round,
    zone: &TimeZone,
    text: &str,
) -> Result<i64, DateError> {
    let out_of_range = || DateError::OutOfRange(text.to_owned());
    let mut millis = anchor;
    let mut chars = math.chars().peekable();
    while let Some(operator) = chars.next() {
        if !matches!(operator, '+' | '-' | '/') {
            return Err(DateError::MathOperator(math.to_owned()));
        }
        let mut number: Option<i64> = None;
        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
            // A number that does not fit is larger than any date allows.
            let value = number
                .unwrap_or(0)
                .saturating_mul(10)
                .saturating_add(i64::from(digit));
            number = Some(value);
            chars.next();
        }
        let unit = chars
            .next()
            .ok_or_else(|| DateError::MathTruncated(math.to_owned()))?;
        let calendar = unit_of(unit).ok_or_else(|| DateError::MathUnit {
            unit,
            math: math.to_owned(),
        })?;
        let number = number.unwrap_or(1);
        if !(civil::MIN_MILLIS..=civil::MAX_MILLIS).contains(&millis) {
            return Err(out_of_range());
        }
        millis = if operator == '/' {
            if number != 1 {
                return Err(DateError::MathRounding(math.to_owned()));
            }
            round_to(millis, calendar, round, zone)
        } else {
            let number = if operator == '-' { -number } else { number };
            add(millis, number, calendar, zone).ok_or_else(out_of_range)?
        };
        if !(civil::MIN_MILLIS..=civil::MAX_MILLIS).contains(&millis) {
            return Err(out_of_range());
        }
    }
    Ok(millis)
}

fn unit_of(unit: char) -> Option<Calendar> {
    Some(match unit {
        'y' => Calendar::Year,
        'M' => Calendar::Month,
        'w' => Calendar::Week,
        'd' => Calendar::Day,
        'h' | 'H' => Calendar::Hour,
        'm' => Calendar::Minute,
        's' => Calendar::Second,
        _ => return None,
    })
}

fn add(millis: i64, number: i64, unit: Calendar, zone: &TimeZone) -> Option<i64> {
    let clock = |unit: i64| number.checked_mul(unit)?.checked_add(millis);
    let offset = civil::offset_at(millis, zone);
    let local = millis + offset;
    let days = local.div_euclid(DAY);
    let days = match unit {
        Calendar::Second => return clock(SECOND),
        Calendar::Minute => return clock(MINUTE),
        Calendar::Hour => return clock(HOUR),
        Calendar::Day => days.checked_add(number)?,
        Calendar::Week => days.checked_add(number.checked_mul(7)?)?,
        Calendar::Month | Calendar::Quarter | Calendar::Year => {
            let months = match unit {
                Calendar::Year => number.checked_mul(12)?,
                Calendar::Quarter => number.checked_mul(3)?,
                _ => number,
            };
            // More than this leaves the supported years from anywhere in them.
            if months.abs() > 12 * 20_000 {
                return None;
            }
            Date::from_days(days).plus_months(months).days()
        }
    };
    let moved = days.checked_mul(DAY)?.checked_add(local.rem_euclid(DAY))?;
    Some(civil::to_utc(moved, zone, Some(offset)))
}

fn round_to(millis: i64, unit: Calendar, round: Round, zone: &TimeZone) -> i64 {
    let floor = unit.floor(millis, zone);
    match round {
        Round::Down => floor,
        Round::Up => unit.next(floor, zone).saturating_sub(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search_node::dates::parse_zone;

    const NOW: &str = "2025-03-30T12:34:56.789Z";

    fn run(text: &str, round: Round, zone: &str) -> Result<String, DateError> {
        let formats = Formats::default();
        let utc = TimeZone::UTC;
        let now = formats.parse(NOW, Round::Down, &utc).unwrap();
        resolve(text, &formats, now, round, &parse_zone(zone).unwrap())
            .map(|millis| formats.format(millis, &utc))
    }

    #[test]
    fn math_adds_and_subtracts_from_now_and_from_dates() {
        for (text, expected) in [
            ("now", NOW),
            ("now+1y", "2026-03-30T12:34:56.789Z"),
            ("now-1M", "2025-02-28T12:34:56.789Z"),
            ("now-w", "2025-03-23T12:34:56.789Z"),
            ("now-1d", "2025-03-29T12:34:56.789Z"),
            ("now+1h-30m", "2025-03-30T13:04:56.789Z"),
            ("now+2H+5s", "2025-03-30T14:35:01.789Z"),
            ("2025-01-31||+1M", "2025-02-28T00:00:00.000Z"),
            ("2025-01-01||+1M/d", "2025-02-01T00:00:00.000Z"),
            ("2024-02-29||+1y", "2025-02-28T00:00:00.000Z"),
            ("1000||+1s", "1000-01-01T00:00:01.000Z"),
            ("2025||", "2025-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(
                run(text, Round::Down, "UTC").as_deref(),
                Ok(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn rounding_goes_to_the_first_or_last_millisecond_of_the_unit() {
        for (text, down, up) in [
            (
                "now/y",
                "2025-01-01T00:00:00.000Z",
                "2025-12-31T23:59:59.999Z",
            ),
            (
                "now/M",
                "2025-03-01T00:00:00.000Z",
                "2025-03-31T23:59:59.999Z",
            ),
            (
                "now/w",
                "2025-03-24T00:00:00.000Z",
                "2025-03-30T23:59:59.999Z",
            ),
            (
                "now/d",
                "2025-03-30T00:00:00.000Z",
                "2025-03-30T23:59:59.999Z",
            ),
            (
                "now/h",
                "2025-03-30T12:00:00.000Z",
                "2025-03-30T12:59:59.999Z",
            ),
            (
                "now/m",
                "2025-03-30T12:34:00.000Z",
                "2025-03-30T12:34:59.999Z",
            ),
            (
                "now/s",
                "2025-03-30T12:34:56.000Z",
                "2025-03-30T12:34:56.999Z",
            ),
            (
                "now/1d",
                "2025-03-30T00:00:00.000Z",
                "2025-03-30T23:59:59.999Z",
            ),
            (
                "now-1d/d",
                "2025-03-29T00:00:00.000Z",
                "2025-03-29T23:59:59.999Z",
            ),
            (
                "now/d+1h",
                "2025-03-30T01:00:00.000Z",
                "2025-03-31T00:59:59.999Z",
            ),
            (
                "2014-11-18||/M",
                "2014-11-01T00:00:00.000Z",
                "2014-11-30T23:59:59.999Z",
            ),
        ] {
            assert_eq!(run(text, Round::Down, "UTC").as_deref(), Ok(down), "{text}");
            assert_eq!(run(text, Round::Up, "UTC").as_deref(), Ok(up), "{text}");
        }
    }

    #[test]
    fn only_a_date_without_math_is_completed_upwards() {
        assert_eq!(
            run("2025-02", Round::Up, "UTC").unwrap(),
            "2025-02-01T23:59:59.999Z"
        );
        assert_eq!(
            run("2025-02||+1d", Round::Up, "UTC").unwrap(),
            "2025-02-02T00:00:00.000Z"
        );
    }

    #[test]
    fn days_are_those_of_the_zone() {
        for (text, down, up) in [
            // The clocks go forward that night, so that the day has 23 hours.
            (
                "now/d",
                "2025-03-29T23:00:00.000Z",
                "2025-03-30T21:59:59.999Z",
            ),
            // 14:34:56 on both days, 23 hours apart.
            (
                "now-1d",
                "2025-03-29T13:34:56.789Z",
                "2025-03-29T13:34:56.789Z",
            ),
            (
                "now-24h",
                "2025-03-29T12:34:56.789Z",
                "2025-03-29T12:34:56.789Z",
            ),
            (
                "now/M",
                "2025-02-28T23:00:00.000Z",
                "2025-03-31T21:59:59.999Z",
            ),
            (
                "2025-03-29T02:30:00||+1d",
                "2025-03-30T01:30:00.000Z",
                "2025-03-30T01:30:00.000Z",
            ),
        ] {
            assert_eq!(
                run(text, Round::Down, "Europe/Berlin").unwrap(),
                down,
                "{text}"
            );
            assert_eq!(run(text, Round::Up, "Europe/Berlin").unwrap(), up, "{text}");
        }
    }

    #[test]
    fn wrong_math_says_what_is_wrong() {
        for (text, message) in [
            ("now*1d", "operator not supported for date math [*1d]"),
            ("nowx", "operator not supported for date math [x]"),
            ("now+", "truncated date math [+]"),
            ("now+12", "truncated date math [+12]"),
            (
                "now/2d",
                "rounding `/` can only be used on single unit types [/2d]",
            ),
            ("now+1q", "unit [q] not supported for date math [+1q]"),
            (
                "now+1\u{e9}",
                "unit [\u{e9}] not supported for date math [+1\u{e9}]",
            ),
            (
                "xyz||/d",
                "failed to parse date field [xyz] with format \
                 [strict_date_optional_time||epoch_millis]",
            ),
        ] {
            assert_eq!(
                run(text, Round::Down, "UTC").unwrap_err().to_string(),
                message
            );
        }
    }

    #[test]
    fn math_that_leaves_the_supported_years_is_an_error() {
        for text in [
            "now+999999999y",
            "now-999999999y",
            "now+99999999999999999999999999s",
            "now+9223372036854775807d",
            "now-9223372036854775807w",
            "now+8000y",
            "9999-12-31||+2d",
            "9223372036854775807||/d",
            "-9223372036854775808||+1s",
        ] {
            let error = run(text, Round::Up, "Europe/Berlin").unwrap_err();
            assert_eq!(error, DateError::OutOfRange(text.to_owned()));
        }
    }
}

//! The buckets of date histograms.

use super::DateError;
use super::civil::{self, DAY, Date, HOUR, MINUTE, SECOND, WEEK};
use jiff::tz::TimeZone;

/// A unit of the calendar, as the interval of a date histogram. Units from the
/// day on start at local midnight, whatever their length in hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Calendar {
    /// One second.
    Second,
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// One day.
    Day,
    /// A week, from Monday on.
    Week,
    /// One month.
    Month,
    /// Three months, from January, April, July or October on.
    Quarter,
    /// One year.
    Year,
}

impl Calendar {
    /// Reads a unit's name or `1` and its letter: `month` or `1M`.
    pub(crate) fn parse(text: &str) -> Result<Calendar, DateError> {
        Ok(match text {
            "second" | "1s" => Calendar::Second,
            "minute" | "1m" => Calendar::Minute,
            "hour" | "1h" => Calendar::Hour,
            "day" | "1d" => Calendar::Day,
            "week" | "1w" => Calendar::Week,
            "month" | "1M" => Calendar::Month,
            "quarter" | "1q" => Calendar::Quarter,
            "year" | "1y" => Calendar::Year,
            _ => {
                let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
                let known = matches!(unit, "s" | "m" | "h" | "d" | "w" | "M" | "q" | "y");
                return Err(if known && unit.len() < text.len() {
                    DateError::CalendarMultiple(text.to_owned())
                } else {
                    DateError::CalendarInterval(text.to_owned())
                });
            }
        })
    }

    /// The start of the bucket that an instant is in, in milliseconds since
    /// the epoch.
    pub(crate) fn floor(self, millis: i64, zone: &TimeZone) -> i64 {
        if let Some(unit) = self.clock_millis() {
            return floor_clock(millis, unit, zone);
        }
        if civil::is_utc(zone) {
            match self {
                Calendar::Day => return millis.saturating_sub(millis.rem_euclid(DAY)),
                // The epoch is the fourth day of its week.
                Calendar::Week => {
                    let elapsed = (millis.rem_euclid(WEEK) + 3 * DAY) % WEEK;
                    return millis.saturating_sub(elapsed);
                }
                _ => {}
            }
        }
        let local = millis.saturating_add(civil::offset_at(millis, zone));
        let start = self.first_day(local.div_euclid(DAY));
        // Local midnight occurs twice or never where clocks change at it.
        civil::first_instant(start.saturating_mul(DAY), zone)
    }

    /// The start of the bucket after the one that starts at `floored`, in
    /// milliseconds since the epoch.
    pub(crate) fn next(self, floored: i64, zone: &TimeZone) -> i64 {
        if let Some(unit) = self.clock_millis() {
            let next = floored.saturating_add(unit);
            if civil::is_utc(zone) {
                return next;
            }
            let start = floor_clock(next, unit, zone);
            // A bucket is longer when it holds a change of the clocks by less
            // than the unit.
            return if start > floored {
                start
            } else {
                floor_clock(next.saturating_add(unit), unit, zone)
            };
        }
        let local = floored.saturating_add(civil::offset_at(floored, zone));
        let days = self.first_day(local.div_euclid(DAY));
        let days = match self {
            Calendar::Week => days + 7,
            Calendar::Month => Date::from_days(days).plus_months(1).days(),
            Calendar::Quarter => Date::from_days(days).plus_months(3).days(),
            Calendar::Year => Date::from_days(days).plus_months(12).days(),
            _ => days + 1,
        };
        civil::first_instant(days.saturating_mul(DAY), zone)
    }

    /// The length of the units that are parts of a day, in milliseconds.
    fn clock_millis(self) -> Option<i64> {
        match self {
            Calendar::Second => Some(SECOND),
            Calendar::Minute => Some(MINUTE),
            Calendar::Hour => Some(HOUR),
            _ => None,
        }
    }

    /// The first day of the unit that a day is in; both count from 1970-01-01.
    fn first_day(self, days: i64) -> i64 {
        let date = Date::from_days(days);
        match self {
            Calendar::Week => days - civil::weekday(days),
            Calendar::Month => days - date.day + 1,
            Calendar::Quarter => civil::days_from_civil(date.year, (date.month - 1) / 3 * 3 + 1, 1),
            Calendar::Year => civil::days_from_civil(date.year, 1, 1),
            _ => days,
        }
    }
}

/// Floors local time to a unit of the clock. An hour that occurs twice is two
/// buckets; a unit whose start a change of the clocks skips, or sets back to
/// the middle of the unit, belongs to the bucket before the change.
fn floor_clock(millis: i64, unit: i64, zone: &TimeZone) -> i64 {
    if civil::is_utc(zone) {
        return millis.saturating_sub(millis.rem_euclid(unit));
    }
    let mut instant = millis;
    loop {
        let offset = civil::offset_at(instant, zone);
        let local = instant.saturating_add(offset);
        let floor = instant.saturating_sub(local.rem_euclid(unit));
        if civil::offset_at(floor, zone) == offset {
            return floor;
        }
        match civil::transition_until(instant, zone) {
            Some(change) if change > floor && change <= instant => instant = change - 1,
            _ => return floor,
        }
    }
}

/// The start of the bucket of a fixed length that an instant is in. All but
/// the zone are in milliseconds, the result since the epoch.
///
/// Buckets are counted in local time from 1970-01-01T00:00 on and moved by
/// `offset`. One that starts in a gap of local time starts at the gap. An
/// interval below 1 floors nothing.
pub(crate) fn fixed_floor(millis: i64, interval: i64, offset: i64, zone: &TimeZone) -> i64 {
    if interval < 1 {
        return millis;
    }
    let shifted = millis.saturating_sub(offset);
    fixed_floor_local(shifted, interval, zone).saturating_add(offset)
}

fn fixed_floor_local(millis: i64, interval: i64, zone: &TimeZone) -> i64 {
    if civil::is_utc(zone) {
        return millis.saturating_sub(millis.rem_euclid(interval));
    }
    let floor_of = |local: i64| local.saturating_sub(local.rem_euclid(interval));
    let offset = civil::offset_at(millis, zone);
    let local = floor_of(millis.saturating_add(offset));
    let floor = local.saturating_sub(offset);
    if civil::offset_at(floor, zone) == offset {
        return floor;
    }
    let change = match civil::transition_until(millis, zone) {
        Some(change) if change > floor => change,
        _ => return floor,
    };
    let before = civil::offset_at(change.saturating_sub(1), zone);
    let local = if before > offset {
        // What follows an overlap before its local time is new again stays in
        // the bucket that the overlap ended in, so that buckets keep order.
        floor_of(change.saturating_add(before).saturating_sub(1))
    } else {
        local
    };
    // Read with the rules of before the change, unless it is in the gap.
    let earlier = local.saturating_sub(before);
    if earlier < change && civil::offset_at(earlier, zone) == before {
        return earlier;
    }
    civil::last_instant(local, zone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search_node::dates::{Formats, Round, parse_zone};

    fn at(text: &str) -> i64 {
        Formats::default()
            .parse(text, Round::Down, &TimeZone::UTC)
            .unwrap()
    }

    fn text(millis: i64, zone: &TimeZone) -> String {
        Formats::default().format(millis, zone)
    }

    fn bucket(unit: &str, instant: &str, zone: &str) -> (String, String) {
        let (unit, zone) = (Calendar::parse(unit).unwrap(), parse_zone(zone).unwrap());
        let floor = unit.floor(at(instant), &zone);
        (text(floor, &zone), text(unit.next(floor, &zone), &zone))
    }

    #[test]
    fn units_of_utc_start_where_the_calendar_says() {
        for (unit, start, next) in [
            ("1s", "2025-05-14T10:20:30.000Z", "2025-05-14T10:20:31.000Z"),
            (
                "minute",
                "2025-05-14T10:20:00.000Z",
                "2025-05-14T10:21:00.000Z",
            ),
            ("1h", "2025-05-14T10:00:00.000Z", "2025-05-14T11:00:00.000Z"),
            (
                "day",
                "2025-05-14T00:00:00.000Z",
                "2025-05-15T00:00:00.000Z",
            ),
            ("1w", "2025-05-12T00:00:00.000Z", "2025-05-19T00:00:00.000Z"),
            (
                "month",
                "2025-05-01T00:00:00.000Z",
                "2025-06-01T00:00:00.000Z",
            ),
            ("1q", "2025-04-01T00:00:00.000Z", "2025-07-01T00:00:00.000Z"),
            (
                "year",
                "2025-01-01T00:00:00.000Z",
                "2026-01-01T00:00:00.000Z",
            ),
        ] {
            let found = bucket(unit, "2025-05-14T10:20:30.400Z", "UTC");
            assert_eq!(found, (start.to_owned(), next.to_owned()), "{unit}");
        }
        let found = bucket("week", "1969-12-31T23:59:59.999Z", "UTC").0;
        assert_eq!(found, "1969-12-29T00:00:00.000Z");
    }

    #[test]
    fn a_day_of_23_or_25_hours_is_one_bucket() {
        for (zone, instant, start, next, hours) in [
            (
                "Europe/Berlin",
                "2025-03-30T12:00:00Z",
                "2025-03-30T00:00:00.000+01:00",
                "2025-03-31T00:00:00.000+02:00",
                23,
            ),
            (
                "Europe/Berlin",
                "2025-10-26T12:00:00Z",
                "2025-10-26T00:00:00.000+02:00",
                "2025-10-27T00:00:00.000+01:00",
                25,
            ),
            (
                "America/New_York",
                "2025-03-09T12:00:00Z",
                "2025-03-09T00:00:00.000-05:00",
                "2025-03-10T00:00:00.000-04:00",
                23,
            ),
            (
                "America/New_York",
                "2025-11-02T12:00:00Z",
                "2025-11-02T00:00:00.000-04:00",
                "2025-11-03T00:00:00.000-05:00",
                25,
            ),
        ] {
            let found = bucket("1d", instant, zone);
            assert_eq!(found, (start.to_owned(), next.to_owned()));
            assert_eq!(at(&found.1) - at(&found.0), hours * HOUR);
        }
    }

    #[test]
    fn months_and_weeks_start_at_local_midnight() {
        let month = bucket("1M", "2025-10-31T23:30:00Z", "Europe/Berlin");
        assert_eq!(month.0, "2025-11-01T00:00:00.000+01:00");
        let month = bucket("1M", "2025-10-31T22:30:00Z", "Europe/Berlin");
        assert_eq!(month.0, "2025-10-01T00:00:00.000+02:00");
        assert_eq!(month.1, "2025-11-01T00:00:00.000+01:00");
        let week = bucket("1w", "2025-03-09T12:00:00Z", "America/New_York");
        assert_eq!(week.0, "2025-03-03T00:00:00.000-05:00");
        assert_eq!(week.1, "2025-03-10T00:00:00.000-04:00");
    }

    #[test]
    fn a_day_whose_midnight_is_skipped_starts_at_the_gap() {
        let found = bucket("1d", "2018-11-04T12:00:00Z", "America/Sao_Paulo");
        assert_eq!(found.0, "2018-11-04T01:00:00.000-02:00");
        assert_eq!(found.1, "2018-11-05T00:00:00.000-02:00");
        // Samoa left out the whole of 2011-12-30.
        let found = bucket("1d", "2011-12-29T20:00:00Z", "Pacific/Apia");
        assert_eq!(found.1, "2011-12-31T00:00:00.000+14:00");
    }

    #[test]
    fn an_hour_that_occurs_twice_is_two_buckets() {
        let first = bucket("1h", "2025-10-26T00:30:00Z", "Europe/Berlin");
        assert_eq!(first.0, "2025-10-26T02:00:00.000+02:00");
        assert_eq!(first.1, "2025-10-26T02:00:00.000+01:00");
        let second = bucket("1h", "2025-10-26T01:30:00Z", "Europe/Berlin");
        assert_eq!(second.0, "2025-10-26T02:00:00.000+01:00");
        assert_eq!(second.1, "2025-10-26T03:00:00.000+01:00");
        let skipped = bucket("1h", "2025-03-30T00:30:00Z", "Europe/Berlin");
        assert_eq!(skipped.1, "2025-03-30T03:00:00.000+02:00");
        // Lord Howe sets its clocks back by half an hour.
        let long = bucket("1h", "2025-04-05T15:10:00Z", "Australia/Lord_Howe");
        assert_eq!(long.0, "2025-04-06T01:00:00.000+11:00");
        assert_eq!(long.1, "2025-04-06T02:00:00.000+10:30");
    }

    #[test]
    fn calendar_intervals_take_no_other_number_than_1() {
        for wrong in ["2d", "0d", "12M", "01h"] {
            let error = Calendar::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("only 1 is supported"), "{error}");
            assert!(error.contains(&format!("[{wrong}]")), "{error}");
        }
        for wrong in ["", "1", "d", "fortnight", "1x", "1D", "-1d"] {
            let error = DateError::CalendarInterval(wrong.to_owned());
            assert_eq!(Calendar::parse(wrong), Err(error));
        }
    }

    #[test]
    fn fixed_intervals_count_in_local_time() {
        let floor = |instant: &str, interval, offset, zone: &str| {
            let zone = parse_zone(zone).unwrap();
            text(fixed_floor(at(instant), interval, offset, &zone), &zone)
        };
        let instant = "2025-05-14T10:20:30Z";
        assert_eq!(
            floor(instant, 12 * HOUR, 0, "UTC"),
            "2025-05-14T00:00:00.000Z"
        );
        assert_eq!(
            floor(instant, DAY, 6 * HOUR, "UTC"),
            "2025-05-14T06:00:00.000Z"
        );
        assert_eq!(floor(instant, DAY, -DAY, "UTC"), "2025-05-14T00:00:00.000Z");
        assert_eq!(
            floor(instant, 90 * SECOND, 0, "UTC"),
            "2025-05-14T10:19:30.000Z"
        );
        assert_eq!(
            floor("1969-12-31T23:00:00Z", DAY, 0, "UTC"),
            "1969-12-31T00:00:00.000Z"
        );
        let berlin = "Europe/Berlin";
        assert_eq!(
            floor(instant, DAY, 0, berlin),
            "2025-05-14T00:00:00.000+02:00"
        );
        // Days of both lengths, and across the change of the clocks.
        let short = floor("2025-03-30T12:00:00Z", DAY, 0, berlin);
        assert_eq!(short, "2025-03-30T00:00:00.000+01:00");
        let long = floor("2025-10-26T22:30:00Z", DAY, 0, berlin);
        assert_eq!(long, "2025-10-26T00:00:00.000+02:00");
        // 02:30 starts a bucket of 90 minutes, but not on that day.
        let gap = floor("2025-03-30T01:20:00Z", 30 * MINUTE + HOUR, 0, berlin);
        assert_eq!(gap, "2025-03-30T03:00:00.000+02:00");
    }

    #[test]
    fn fixed_buckets_keep_the_order_of_instants_over_changes_of_the_clocks() {
        for (zone, day) in [
            ("Europe/Berlin", "2025-03-30"),
            ("Europe/Berlin", "2025-10-26"),
            ("America/New_York", "2025-11-02"),
            ("Australia/Lord_Howe", "2025-04-05"),
            ("Australia/Lord_Howe", "2025-10-04"),
        ] {
            let (zone, start) = (parse_zone(zone).unwrap(), at(day) - 12 * HOUR);
            for minutes in [1, 7, 20, 30, 60, 90, 180, 720, 1_440, 10_080] {
                let mut last = i64::MIN;
                for instant in (start..start + 2 * DAY).step_by(300_000) {
                    let floor = fixed_floor(instant, minutes * MINUTE, 0, &zone);
                    assert!(floor <= instant && floor >= last, "{day} {minutes}");
                    last = floor;
                }
            }
        }
    }
}

//! The proleptic Gregorian calendar, and local time against UTC.

use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

pub(super) const SECOND: i64 = 1_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;
pub(super) const WEEK: i64 = 7 * DAY;

/// First millisecond of the year -9999, in UTC.
pub(super) const MIN_MILLIS: i64 = days_from_civil(-9_999, 1, 1) * DAY;
/// Last millisecond of the year 9999, in UTC.
pub(super) const MAX_MILLIS: i64 = days_from_civil(10_000, 1, 1) * DAY - 1;

/// A day of the calendar; month and day count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    pub year: i64,
    pub month: i64,
    pub day: i64,
}

impl Date {
    /// The day that many days after 1970-01-01.
    pub(super) fn from_days(days: i64) -> Date {
        // Years are counted from March so that the leap day is the last one.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let in_era = shifted.rem_euclid(146_097);
        let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
        let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * in_year + 2) / 153;
        let day = in_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Date { year, month, day }
    }

    /// Days since 1970-01-01.
    pub(super) fn days(self) -> i64 {
        days_from_civil(self.year, self.month, self.day)
    }

    /// The same day of another month, or that month's last day.
    pub(super) fn plus_months(self, months: i64) -> Date {
        let total = (self.year * 12 + self.month - 1).saturating_add(months);
        let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
        Date {
            year,
            month,
            day: self.day.min(days_in_month(year, month)),
        }
    }
}

/// Days from 1970-01-01 to a day of the calendar.
pub(super) const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let in_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + in_year;
    era * 146_097 + in_era - 719_468
}

pub(super) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub(super) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since Monday, 0 to 6.
pub(super) fn weekday(days: i64) -> i64 {
    (days.rem_euclid(7) + 3) % 7
}

pub(super) fn is_utc(zone: &TimeZone) -> bool {
    *zone == TimeZone::UTC
}

/// Milliseconds to add to UTC to get the zone's local time at an instant.
pub(super) fn offset_at(millis: i64, zone: &TimeZone) -> i64 {
    if is_utc(zone) {
        0
    } else {
        offset_millis(zone.to_offset(timestamp(millis)))
    }
}

/// The instant of a local time as `java.time` picks it: a local time that a
/// gap skips moves on by the gap's length, and one that occurs twice is the
/// first, unless the second has the offset `prefer`.
pub(super) fn to_utc(local: i64, zone: &TimeZone, prefer: Option<i64>) -> i64 {
    if is_utc(zone) {
        return local;
    }
    let offset = match local_offsets(local, zone) {
        AmbiguousOffset::Unambiguous { offset } => offset_millis(offset),
        AmbiguousOffset::Gap { before, .. } => offset_millis(before),
        AmbiguousOffset::Fold { before, after } => {
            let after = offset_millis(after);
            if prefer == Some(after) {
                after
            } else {
                offset_millis(before)
            }
        }
    };
    local.saturating_sub(offset)
}

/// The first instant that shows the local time or, if a gap skips it, the
/// instant of the gap.
pub(super) fn first_instant(local: i64, zone: &TimeZone) -> i64 {
    instant(local, zone, false)
}

/// As [`first_instant`], but the second pass of a local time that occurs twice.
pub(super) fn last_instant(local: i64, zone: &TimeZone) -> i64 {
    instant(local, zone, true)
}

fn instant(local: i64, zone: &TimeZone, later: bool) -> i64 {
    if is_utc(zone) {
        return local;
    }
    let offset = match local_offsets(local, zone) {
        AmbiguousOffset::Unambiguous { offset } => offset,
        AmbiguousOffset::Gap { before, after } => {
            // Read with the offset of after the gap, the time lies before it.
            let early = local.saturating_sub(offset_millis(after));
            let gap = zone.following(timestamp(early)).next();
            let fallback = local.saturating_sub(offset_millis(before));
            return gap.map_or(fallback, |gap| gap.timestamp().as_millisecond());
        }
        AmbiguousOffset::Fold { before, after } => {
            if later {
                after
            } else {
                before
            }
        }
    };
    local.saturating_sub(offset_millis(offset))
}

/// The last change of the zone's rules at or before an instant.
pub(super) fn transition_until(millis: i64, zone: &TimeZone) -> Option<i64> {
    let change = zone.preceding(timestamp(millis.saturating_add(1))).next()?;
    Some(change.timestamp().as_millisecond())
}

fn local_offsets(local: i64, zone: &TimeZone) -> AmbiguousOffset {
    zone.to_ambiguous_timestamp(Offset::UTC.to_datetime(timestamp(local)))
        .offset()
}

pub(super) fn offset_millis(offset: Offset) -> i64 {
    i64::from(offset.seconds()) * SECOND
}

/// The instant, or the nearest one that jiff can hold: outside of its years a
/// zone keeps the offset it has at the end of them.
pub(super) fn timestamp(millis: i64) -> Timestamp {
    let limit = if millis < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    if (MIN_MILLIS..=MAX_MILLIS).contains(&millis) {
        Timestamp::from_millisecond(millis).unwrap_or(limit)
    } else {
        limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_convert_both_ways() {
        for (year, month, day, days) in [
            (1970, 1, 1, 0),
            (1969, 12, 31, -1),
            (2000, 2, 29, 11_016),
            (2025, 1, 31, 20_119),
            (1, 1, 1, -719_162),
            (9999, 12, 31, 2_932_896),
        ] {
            assert_eq!(days_from_civil(year, month, day), days);
            assert_eq!(Date::from_days(days), Date { year, month, day });
        }
        for days in (-3_000_000..3_000_000).step_by(97) {
            assert_eq!(Date::from_days(days).days(), days);
        }
    }

    #[test]
    fn adding_months_keeps_to_the_last_day_of_a_shorter_month() {
        let date = Date {
            year: 2024,
            month: 1,
            day: 31,
        };
        assert_eq!(
            date.plus_months(1),
            Date {
                year: 2024,
                month: 2,
                day: 29
            }
        );
        assert_eq!(
            date.plus_months(-2),
            Date {
                year: 2023,
                month: 11,
                day: 30
            }
        );
        assert_eq!(
            date.plus_months(13),
            Date {
                year: 2025,
                month: 2,
                day: 28
            }
        );
    }

    #[test]
    fn the_epoch_is_a_thursday() {
        assert_eq!(weekday(0), 3);
        assert_eq!(weekday(-3), 0);
        assert_eq!(weekday(i64::MAX / DAY), 6);
    }

    #[test]
    fn gaps_and_overlaps_resolve_as_in_java() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        // 2025-03-30T02:30 does not exist: 03:30+02:00, the gap is at 01:00Z.
        let gap = days_from_civil(2025, 3, 30) * DAY;
        assert_eq!(to_utc(gap + 150 * MINUTE, &berlin, None), gap + 90 * MINUTE);
        assert_eq!(first_instant(gap + 150 * MINUTE, &berlin), gap + HOUR);
        // 2025-10-26T02:30 occurs twice.
        let fold = days_from_civil(2025, 10, 26) * DAY;
        assert_eq!(
            to_utc(fold + 150 * MINUTE, &berlin, None),
            fold + 30 * MINUTE
        );
        assert_eq!(
            to_utc(fold + 150 * MINUTE, &berlin, Some(HOUR)),
            fold + 90 * MINUTE
        );
        assert_eq!(
            last_instant(fold + 150 * MINUTE, &berlin),
            fold + 90 * MINUTE
        );
        assert_eq!(transition_until(fold + HOUR, &berlin), Some(fold + HOUR));
    }
}

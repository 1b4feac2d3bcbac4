//! What a parser has read of a date, and how that becomes an instant.

use super::Round;
use super::civil::{self, DAY, HOUR, MINUTE, SECOND};
use jiff::tz::TimeZone;

/// The zone a text names, if it does.
#[derive(Clone, Debug, Default)]
pub(super) enum ZoneField {
    #[default]
    Absent,
    /// Seconds east of UTC.
    Offset(i64),
    Named(TimeZone),
}

/// The components a text gave; the numbers are not yet checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub year: Option<i64>,
    pub month: Option<i64>,
    pub day: Option<i64>,
    pub day_of_year: Option<i64>,
    /// Days since Monday.
    pub weekday: Option<i64>,
    pub hour: Option<i64>,
    /// 1 to 12, to be read with `afternoon`.
    pub hour_of_half: Option<i64>,
    pub afternoon: Option<bool>,
    pub minute: Option<i64>,
    pub second: Option<i64>,
    /// Milliseconds of the second.
    pub milli: Option<i64>,
    pub zone: ZoneField,
}

impl Fields {
    /// The instant, or `None` when there is no such date or time.
    pub(super) fn resolve(&self, round: Round, zone: &TimeZone) -> Option<i64> {
        let local = self.days()? * DAY + self.time(round)?;
        Some(match &self.zone {
            ZoneField::Offset(seconds) => local - seconds * SECOND,
            ZoneField::Named(named) => civil::to_utc(local, named, None),
            ZoneField::Absent => civil::to_utc(local, zone, None),
        })
    }

    fn is_afternoon(&self) -> bool {
        self.afternoon == Some(true)
    }

    /// A missing month or day is the first one, whichever way times are rounded: so does
    /// Elasticsearch (range query, "missing date components").
    fn days(&self) -> Option<i64> {
        // Formats of a time alone are of the epoch's day, hence of its year.
        let year = within(self.year.unwrap_or(1970), 0, 9_999)?;
        let days = if let Some(day) = self.day_of_year {
            let last = 365 + i64::from(civil::is_leap(year));
            civil::days_from_civil(year, 1, 1) + within(day, 1, last)? - 1
        } else {
            let month = within(self.month.unwrap_or(1), 1, 12)?;
            let last = civil::days_in_month(year, month);
            civil::days_from_civil(year, month, within(self.day.unwrap_or(1), 1, last)?)
        };
        (self
            .weekday
            .is_none_or(|weekday| weekday == civil::weekday(days)))
        .then_some(days)
    }

    fn time(&self, round: Round) -> Option<i64> {
        let fill = |highest: i64| if round == Round::Up { highest } else { 0 };
        let half = match self.hour_of_half {
            Some(hour) => Some(within(hour, 1, 12)? % 12 + 12 * i64::from(self.is_afternoon())),
            None => None,
        };
        let hour = within(self.hour.or(half).unwrap_or(fill(23)), 0, 23)?;
        if self.hour.is_some()
            && self
                .afternoon
                .is_some_and(|afternoon| afternoon != (hour >= 12))
        {
            return None;
        }
        let minute = within(self.minute.unwrap_or(fill(59)), 0, 59)?;
        let second = within(self.second.unwrap_or(fill(59)), 0, 59)?;
        let milli = self.milli.unwrap_or(fill(999));
        Some(hour * HOUR + minute * MINUTE + second * SECOND + milli)
    }
}

fn within(value: i64, low: i64, high: i64) -> Option<i64> {
    (low..=high).contains(&value).then_some(value)
}

/// A position in a text.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub rest: &'a [u8],
}

impl Cursor<'_> {
    /// Steps over one byte if it is that one.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        if found {
            self.skip(1);
        }
        found
    }

    /// Steps over a whole text if it comes next.
    pub(super) fn eat_text(&mut self, text: &str) -> bool {
        let found = self.rest.starts_with(text.as_bytes());
        if found {
            self.skip(text.len());
        }
        found
    }

    pub(super) fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// How many digits come next, counted up to a limit.
    pub(super) fn digits_ahead(&self, limit: usize) -> usize {
        self.rest
            .iter()
            .take(limit)
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    }

    /// Reads as many digits as there are, from `min` to `max`, of which there
    /// can be 18.
    pub(super) fn number(&mut self, min: usize, max: usize) -> Option<i64> {
        let max = max.min(18);
        let mut value = 0;
        let mut count = 0;
        while let Some(byte @ b'0'..=b'9') = self.rest.get(count) {
            if count == max {
                break;
            }
            value = value * 10 + i64::from(byte - b'0');
            count += 1;
        }
        if count < min {
            return None;
        }
        self.skip(count);
        Some(value)
    }

    /// Reads a fraction of a second of `min` to `max` digits, as milliseconds
    /// rounded down.
    pub(super) fn fraction(&mut self, min: usize, max: usize) -> Option<i64> {
        let count = self.digits_ahead(max);
        if count < min {
            return None;
        }
        let digit = |at: usize| match self.rest.get(at) {
            Some(byte) if at < count => i64::from(byte - b'0'),
            _ => 0,
        };
        let millis = digit(0) * 100 + digit(1) * 10 + digit(2);
        self.skip(count);
        Some(millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_days_are_the_first_and_missing_times_the_end_that_is_asked_for() {
        let fields = Fields {
            year: Some(2024),
            month: Some(2),
            ..Fields::default()
        };
        let start = civil::days_from_civil(2024, 2, 1) * DAY;
        assert_eq!(fields.resolve(Round::Down, &TimeZone::UTC), Some(start));
        assert_eq!(
            fields.resolve(Round::Up, &TimeZone::UTC),
            Some(start + DAY - 1)
        );
    }

    #[test]
    fn a_time_alone_is_on_the_first_day_of_the_epoch() {
        let fields = Fields {
            hour: Some(10),
            ..Fields::default()
        };
        assert_eq!(fields.resolve(Round::Down, &TimeZone::UTC), Some(10 * HOUR));
        assert_eq!(
            fields.resolve(Round::Up, &TimeZone::UTC),
            Some(11 * HOUR - 1)
        );
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        let fields = |year, month, day| Fields {
            year,
            month,
            day,
            ..Fields::default()
        };
        for wrong in [
            fields(Some(2025), Some(2), Some(29)),
            fields(Some(2025), Some(13), Some(1)),
            fields(Some(2025), Some(0), Some(1)),
            fields(Some(10_000), Some(1), Some(1)),
            Fields {
                hour: Some(24),
                ..Fields::default()
            },
            Fields {
                hour_of_half: Some(13),
                ..Fields::default()
            },
            Fields {
                hour: Some(9),
                afternoon: Some(true),
                ..Fields::default()
            },
            Fields {
                second: Some(60),
                ..Fields::default()
            },
            Fields {
                day_of_year: Some(366),
                year: Some(2025),
                ..Fields::default()
            },
            Fields {
                weekday: Some(0),
                ..Fields::default()
            },
        ] {
            assert_eq!(
                wrong.resolve(Round::Down, &TimeZone::UTC),
                None,
                "{wrong:?}"
            );
        }
    }
}

//! Writing instants by a [`Pattern`].

use super::civil::{self, DAY, Date, HOUR, MINUTE, SECOND};
use super::iso;
use super::pattern::{Item, MONTHS, Number, Pattern, WEEKDAYS, shown};
use super::zone;
use jiff::tz::TimeZone;
use std::fmt::Write as _;

struct Moment<'a> {
    millis: i64,
    zone: &'a TimeZone,
    offset: i64,
    days: i64,
    date: Date,
    /// Milliseconds since local midnight.
    time: i64,
}

/// Writes an instant with its local time in a zone.
pub(super) fn print(pattern: &Pattern, millis: i64, zone: &TimeZone) -> String {
    let offset = civil::offset_at(millis, zone);
    let local = millis.saturating_add(offset);
    let days = local.div_euclid(DAY);
    let date = Date::from_days(days);
    let moment = Moment {
        millis,
        zone,
        offset,
        days,
        date,
        time: local.rem_euclid(DAY),
    };
    let mut out = String::with_capacity(32);
    moment.write_items(&mut out, &pattern.items);
    out
}

impl Moment<'_> {
    fn write_items(&self, out: &mut String, items: &[Item]) {
        for item in items {
            self.write_item(out, item);
        }
    }

    fn write_item(&self, out: &mut String, item: &Item) {
        match item {
            Item::Number {
                number: Number::Year,
                width,
                ..
            } => {
                iso::write_year(out, self.date.year, *width);
            }
            Item::Number { number, width, .. } => {
                let (value, width) = (self.number(*number), *width);
                // Writing to a string cannot fail.
                let _ = write!(out, "{value:0width$}");
            }
            Item::Fraction { width, .. } => {
                let digits = format!("{:03}000000", self.time % SECOND);
                out.push_str(digits.get(..*width).unwrap_or(&digits));
            }
            Item::Month { full } => name(out, &MONTHS, self.date.month - 1, *full),
            Item::Weekday { full } => name(out, &WEEKDAYS, civil::weekday(self.days), *full),
            Item::HalfOfDay => out.push_str(if self.time < DAY / 2 { "AM" } else { "PM" }),
            Item::Offset { style, zulu, .. } => zone::write_offset(out, self.offset, *style, *zulu),
            Item::Zone { short } => self.write_zone(out, *short),
            Item::Literal(text) => out.push_str(text),
            Item::Optional(items) => self.write_items(out, items),
        }
    }

    fn number(&self, number: Number) -> i64 {
        match number {
            Number::Year => self.date.year,
            Number::ShortYear => self.date.year.rem_euclid(100),
            Number::Month => self.date.month,
            Number::Day => self.date.day,
            Number::DayOfYear => self.days - civil::days_from_civil(self.date.year, 1, 1) + 1,
            Number::Hour => self.time / HOUR,
            Number::HourOfHalf => (self.time / HOUR + 11) % 12 + 1,
            Number::Minute => self.time / MINUTE % 60,
            Number::Second => self.time / SECOND % 60,
        }
    }

    fn write_zone(&self, out: &mut String, short: bool) {
        match self.zone.iana_name() {
            Some(_) if short => {
                let info = self.zone.to_offset_info(civil::timestamp(self.millis));
                out.push_str(info.abbreviation());
            }
            // Java prints the id it was given, which is `Z` for plain UTC.
            Some("UTC") => out.push('Z'),
            Some(name) => out.push_str(name),
            None => zone::write_offset(out, self.offset, zone::OffsetStyle::Extended, true),
        }
    }
}

fn name(out: &mut String, names: &[&str], place: i64, full: bool) {
    let name = usize::try_from(place)
        .ok()
        .and_then(|place| names.get(place));
    out.push_str(name.map_or("", |name| shown(name, full)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search_node::dates::{DateError, Formats, Round, parse_zone};

    /// 2025-01-31T14:05:09.087Z, a Friday.
    const MILLIS: i64 = 1_738_332_309_087;

    fn parse(pattern: &str, text: &str) -> Result<i64, DateError> {
        Formats::parse_spec(pattern)
            .unwrap()
            .parse(text, Round::Down, &TimeZone::UTC)
    }

    #[test]
    fn patterns_print_as_java_does_and_read_what_they_print() {
        for (pattern, text) in [
            ("yyyy-MM-dd HH:mm:ss.SSS", "2025-01-31 14:05:09.087"),
            ("y-M-d H:m:s.SSS", "2025-1-31 14:5:9.087"),
            ("yyyyMMddHHmmssSSS", "20250131140509087"),
            ("yMMddHHmmssSSS", "20250131140509087"),
            (
                "dd/MMM/yyyy:HH:mm:ss.SSS Z",
                "31/Jan/2025:14:05:09.087 +0000",
            ),
            (
                "EEE, d MMMM uuuu h:mm:ss.SSS a",
                "Fri, 31 January 2025 2:05:09.087 PM",
            ),
            (
                "EEEE dd MM yy hh:mm:ss.SSS a",
                "Friday 31 01 25 02:05:09.087 PM",
            ),
            (
                "uuuu-DDD'T'HH:mm:ss.SSSSSSSSSXXX",
                "2025-031T14:05:09.087000000Z",
            ),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSx", "2025-01-31T14:05:09.087+00"),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSXX", "2025-01-31T14:05:09.087Z"),
            (
                "yyyy-MM-dd 'o''clock' '' HH:mm:ss.SSS",
                "2025-01-31 o'clock ' 14:05:09.087",
            ),
            ("yyyy-MM-dd HH:mm:ss.SSS z", "2025-01-31 14:05:09.087 UTC"),
            ("yyyy-MM-dd HH:mm:ss.SSS VV", "2025-01-31 14:05:09.087 Z"),
            ("yyyy年MM月dd日 HH:mm:ss.SSS", "2025年01月31日 14:05:09.087"),
            ("yyyy-MM-dd['T'HH:mm:ss[.SSS]]", "2025-01-31T14:05:09.087"),
        ] {
            let formats = Formats::parse_spec(pattern).unwrap();
            assert_eq!(formats.format(MILLIS, &TimeZone::UTC), text, "{pattern}");
            assert_eq!(parse(pattern, text), Ok(MILLIS), "{pattern}");
        }
    }

    #[test]
    fn patterns_print_the_zone_that_is_asked_for() {
        let berlin = parse_zone("Europe/Berlin").unwrap();
        for (pattern, text) in [
            ("HH:mm X", "15:05 +01"),
            ("HH:mm XX", "15:05 +0100"),
            ("HH:mm xxx", "15:05 +01:00"),
            ("HH:mm z", "15:05 CET"),
            ("HH:mm VV", "15:05 Europe/Berlin"),
        ] {
            assert_eq!(
                Formats::parse_spec(pattern)
                    .unwrap()
                    .format(MILLIS, &berlin),
                text
            );
        }
        let india = parse_zone("+05:30").unwrap();
        assert_eq!(
            Formats::parse_spec("HH:mm X")
                .unwrap()
                .format(MILLIS, &india),
            "19:35 +0530"
        );
        assert_eq!(
            Formats::parse_spec("HH VV").unwrap().format(MILLIS, &india),
            "19 +05:30"
        );
    }
}

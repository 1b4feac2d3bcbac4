//! `date_optional_time` by hand: the format of nearly every document.

use super::Round;
use super::civil::{self, DAY, Date, HOUR, MINUTE, SECOND};
use super::fields::{Cursor, Fields, ZoneField};
use super::zone::{self, OffsetStyle};
use jiff::tz::TimeZone;
use std::fmt::Write as _;

/// Reads `yyyy[-MM[-dd]]['T'[HH[:mm[:ss[.S]]]][zone]]`. Strict text has two
/// digits where lenient text may have one, and four for the year.
pub(super) fn parse(text: &[u8], strict: bool) -> Option<Fields> {
    let mut cursor = Cursor { rest: text };
    let two = if strict { 2 } else { 1 };
    let mut fields = Fields {
        year: Some(cursor.number(if strict { 4 } else { 1 }, 4)?),
        ..Fields::default()
    };
    if cursor.eat(b'-') {
        fields.month = Some(cursor.number(two, 2)?);
        if cursor.eat(b'-') {
            fields.day = Some(cursor.number(two, 2)?);
        }
    }
    if cursor.rest.is_empty() {
        return Some(fields);
    }
    if !cursor.eat(b'T') {
        return None;
    }
    // Elasticsearch takes a T that nothing follows.
    if cursor.rest.is_empty() {
        return Some(fields);
    }
    fields.hour = Some(cursor.number(two, 2)?);
    if cursor.eat(b':') {
        fields.minute = Some(cursor.number(two, 2)?);
        if cursor.eat(b':') {
            fields.second = Some(cursor.number(two, 2)?);
            if cursor.eat(b'.') || cursor.eat(b',') {
                fields.milli = Some(cursor.fraction(1, 9)?);
            }
        }
    }
    fields.zone = match cursor.rest {
        [] => ZoneField::Absent,
        b"Z" => ZoneField::Offset(0),
        _ => {
            let zone = zone::zone_prefix(&mut cursor)?;
            if !cursor.rest.is_empty() {
                return None;
            }
            zone
        }
    };
    Some(fields)
}

/// Reads the form that most documents have, `2025-01-31T10:20:30[.000]Z`, in
/// one go; [`parse`] agrees with it. Text without a zone is taken when it is of
/// UTC.
pub(super) fn parse_utc(text: &[u8], round: Round, is_utc: bool) -> Option<i64> {
    let (head, tail) = text.split_first_chunk::<19>()?;
    let [
        y0,
        y1,
        y2,
        y3,
        b'-',
        m0,
        m1,
        b'-',
        d0,
        d1,
        b'T',
        h0,
        h1,
        b':',
        n0,
        n1,
        b':',
        s0,
        s1,
    ] = *head
    else {
        return None;
    };
    let year = pair(y0, y1)? * 100 + pair(y2, y3)?;
    let (month, day) = (pair(m0, m1)?, pair(d0, d1)?);
    let (hour, minute, second) = (pair(h0, h1)?, pair(n0, n1)?, pair(s0, s1)?);
    let zoneless = tail.strip_suffix(b"Z").or(is_utc.then_some(tail))?;
    let milli = match *zoneless {
        [] => 999 * i64::from(round == Round::Up),
        [b'.', f0, f1, f2] => pair(f0, f1)? * 10 + pair(b'0', f2)?,
        _ => return None,
    };
    let is_date = (1..=12).contains(&month)
        && day >= 1
        && (day <= 28 || day <= civil::days_in_month(year, month));
    if !is_date || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = civil::days_from_civil(year, month, day);
    Some(days * DAY + hour * HOUR + minute * MINUTE + second * SECOND + milli)
}

/// The value of two digits.
fn pair(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// Writes an instant as `2025-01-31T10:20:30.000Z`.
pub(super) fn format(millis: i64, zone: &TimeZone) -> String {
    let offset = civil::offset_at(millis, zone);
    let local = millis.saturating_add(offset);
    let mut out = String::with_capacity(29);
    write_date(&mut out, Date::from_days(local.div_euclid(DAY)));
    let time = local.rem_euclid(DAY);
    let (hour, minute) = (time / HOUR, time / MINUTE % 60);
    let (second, milli) = (time / SECOND % 60, time % SECOND);
    // Writing to a string cannot fail.
    let _ = write!(out, "T{hour:02}:{minute:02}:{second:02}.{milli:03}");
    zone::write_offset(&mut out, offset, OffsetStyle::Extended, true);
    out
}

fn write_date(out: &mut String, date: Date) {
    write_year(out, date.year, 4);
    // Writing to a string cannot fail.
    let _ = write!(out, "-{:02}-{:02}", date.month, date.day);
}

/// Writes a year of at least `width` digits, signed as in ISO 8601 when it is
/// negative or has more.
pub(super) fn write_year(out: &mut String, year: i64, width: usize) {
    if year < 0 {
        out.push('-');
    } else if width >= 4 && year > 9_999 {
        out.push('+');
    }
    // Writing to a string cannot fail.
    let _ = write!(out, "{:0width$}", year.unsigned_abs());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, strict: bool) -> Option<String> {
        let fields = parse(text.as_bytes(), strict)?;
        Some(format(
            fields.resolve(Round::Down, &TimeZone::UTC)?,
            &TimeZone::UTC,
        ))
    }

    #[test]
    fn strict_text_may_end_after_any_component() {
        for (text, expected) in [
            ("2025", "2025-01-01T00:00:00.000Z"),
            ("2025-02", "2025-02-01T00:00:00.000Z"),
            ("2025-02-03", "2025-02-03T00:00:00.000Z"),
            ("2025-02-03T", "2025-02-03T00:00:00.000Z"),
            ("2025-02-03T10", "2025-02-03T10:00:00.000Z"),
            ("2025-02-03T10:20", "2025-02-03T10:20:00.000Z"),
            ("2025-02-03T10:20:30", "2025-02-03T10:20:30.000Z"),
            ("2025-02-03T10:20:30.1", "2025-02-03T10:20:30.100Z"),
            ("2025-02-03T10:20:30,12", "2025-02-03T10:20:30.120Z"),
            ("2025-02-03T10:20:30.123456789", "2025-02-03T10:20:30.123Z"),
            ("2025-02-03T10:20:30.999999999Z", "2025-02-03T10:20:30.999Z"),
            ("2025-02-03T10:20:30+01:00", "2025-02-03T09:20:30.000Z"),
            ("2025-02-03T10:20:30+0100", "2025-02-03T09:20:30.000Z"),
            ("2025-02-03T10:20:30-01", "2025-02-03T11:20:30.000Z"),
            ("2025-02-03T10Z", "2025-02-03T10:00:00.000Z"),
            ("2025-07-03T10:00Europe/Berlin", "2025-07-03T08:00:00.000Z"),
            ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
            ("0000-01-01", "0000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(read(text, true).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn strict_text_needs_every_digit_and_nothing_more() {
        for text in [
            "",
            "25",
            "20250",
            "2025-2",
            "2025-02-3",
            "2025-02-30",
            "2025-02-03T1",
            "2025-02-03T10:2",
            "2025-02-03T24:00",
            "2025-02-03T10:20:60",
            "2025-02-03T10:20:30.",
            "2025-02-03T10:20:30.1234567890",
            "2025-02-03T10:20:30.1ZZ",
            "2025-02-03T10:20:30+1",
            "2025-02-03T10:20:30+01:",
            "2025-02-03T10:20:30+0100x",
            "2025-02-03 10:20:30",
            "2025-02-",
            "2025-02-03Z",
            "-2025",
            " 2025",
            "2025\u{e9}",
        ] {
            assert_eq!(read(text, true), None, "{text}");
        }
    }

    #[test]
    fn lenient_text_may_have_single_digits() {
        assert_eq!(
            read("2025-2-3T1:2:3.5Z", false).unwrap(),
            "2025-02-03T01:02:03.500Z"
        );
        assert_eq!(read("25-02", false).unwrap(), "0025-02-01T00:00:00.000Z");
        assert_eq!(read("20250", false), None);
    }

    #[test]
    fn text_shows_the_offset_and_years_of_any_length() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(format(0, &berlin), "1970-01-01T01:00:00.000+01:00");
        assert_eq!(format(-1, &TimeZone::UTC), "1969-12-31T23:59:59.999Z");
        assert_eq!(
            format(i64::MAX, &TimeZone::UTC),
            "+292278994-08-17T07:12:55.807Z"
        );
        assert_eq!(
            format(i64::MIN, &TimeZone::UTC),
            "-292275055-05-16T16:47:04.192Z"
        );
    }

    proptest! {
        #[test]
        fn the_short_way_agrees_with_the_long_one(
            text in "[0-9]{3}[0-9x]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]([.,][0-9]{2,4})?(Z|[+]01)?",
            round in prop_oneof![Just(Round::Down), Just(Round::Up)],
        ) {
            let long = parse(text.as_bytes(), true)
                .and_then(|fields| fields.resolve(round, &TimeZone::UTC));
            let short = parse_utc(text.as_bytes(), round, true);
            prop_assert!(short.is_none() || short == long, "{text} {short:?} {long:?}");
            if long.is_some() && text.len() == 24 && text.contains('.') && text.ends_with('Z') {
                prop_assert!(short.is_some(), "{text}");
            }
        }
    }
}

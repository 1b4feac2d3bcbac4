//! Time zones and offsets in text.

use super::DateError;
use super::fields::{Cursor, ZoneField};
use jiff::tz::{Offset, TimeZone};
use std::fmt::Write as _;

/// How an offset is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OffsetStyle {
    /// `+01`, with the minutes, as in `+0130`, only when there are any.
    Short,
    /// `+0100`.
    Basic,
    /// `+01:00`.
    Extended,
}

/// The zone that a name (`Europe/Berlin`, `UTC`, `Z`) or an offset (`+01:00`,
/// `-0530`, `+1`, `UTC+01:00`) stands for.
pub(crate) fn parse_zone(text: &str) -> Result<TimeZone, DateError> {
    find_zone(text).ok_or_else(|| DateError::Zone(text.to_owned()))
}

fn find_zone(text: &str) -> Option<TimeZone> {
    if matches!(text, "Z" | "UTC" | "GMT" | "UT" | "Etc/UTC") {
        return Some(TimeZone::UTC);
    }
    let tail = ["UTC", "GMT", "UT"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix));
    let offset = tail.unwrap_or(text);
    if offset.starts_with(['+', '-']) {
        let mut cursor = Cursor {
            rest: offset.as_bytes(),
        };
        let seconds = offset_prefix(&mut cursor, None).or_else(|| hour_alone(offset))?;
        if !cursor.rest.is_empty() && offset.len() != 2 {
            return None;
        }
        let seconds = i32::try_from(seconds).ok()?;
        return Offset::from_seconds(seconds).ok().map(TimeZone::fixed);
    }
    TimeZone::get(text).ok().filter(|zone| !zone.is_unknown())
}

/// The seconds of an offset of a sign and one digit.
fn hour_alone(text: &str) -> Option<i64> {
    match text.as_bytes() {
        [b'+', digit @ b'0'..=b'9'] => Some(i64::from(digit - b'0') * 3_600),
        [b'-', digit @ b'0'..=b'9'] => Some(i64::from(digit - b'0') * -3_600),
        _ => None,
    }
}

/// Reads an offset in the style, or in any one, and gives it in seconds. As in
/// Java it is at most 18 hours.
pub(super) fn offset_prefix(cursor: &mut Cursor<'_>, style: Option<OffsetStyle>) -> Option<i64> {
    let mut ahead = *cursor;
    let negative = ahead.eat(b'-');
    if !negative && !ahead.eat(b'+') {
        return None;
    }
    let hours = ahead.number(2, 2)?;
    let colon = style != Some(OffsetStyle::Basic)
        && style != Some(OffsetStyle::Short)
        && ahead.rest.first() == Some(&b':');
    let sixtieths = |ahead: &mut Cursor<'_>| {
        let mut further = *ahead;
        if colon && !further.eat(b':') {
            return None;
        }
        let value = further.number(2, 2)?;
        *ahead = further;
        Some(value)
    };
    let minutes = match style {
        Some(OffsetStyle::Extended) if !colon => return None,
        Some(OffsetStyle::Basic | OffsetStyle::Extended) => sixtieths(&mut ahead)?,
        None if colon => sixtieths(&mut ahead)?,
        Some(OffsetStyle::Short) | None => sixtieths(&mut ahead).unwrap_or(0),
    };
    let seconds = if style.is_none() {
        sixtieths(&mut ahead).unwrap_or(0)
    } else {
        0
    };
    let total = hours * 3_600 + minutes * 60 + seconds;
    if minutes > 59 || seconds > 59 || total > 18 * 3_600 {
        return None;
    }
    *cursor = ahead;
    Some(if negative { -total } else { total })
}

/// Reads `Z`, an offset of any style or a zone's name.
pub(super) fn zone_prefix(cursor: &mut Cursor<'_>) -> Option<ZoneField> {
    if matches!(cursor.rest.first(), Some(b'+' | b'-')) {
        return offset_prefix(cursor, None).map(ZoneField::Offset);
    }
    let is_part = |byte: &&u8| {
        byte.is_ascii_alphanumeric() || matches!(**byte, b'/' | b'_' | b'+' | b'-' | b':')
    };
    let length = cursor.rest.iter().take_while(is_part).count();
    let name = std::str::from_utf8(cursor.rest.get(..length)?).ok()?;
    let zone = match name {
        "" => return None,
        "Z" => ZoneField::Offset(0),
        _ => ZoneField::Named(find_zone(name)?),
    };
    cursor.skip(length);
    Some(zone)
}

/// Writes an offset of milliseconds, as `Z` when it is none and `zulu` is set.
/// Seconds, which only local mean times have, are left out.
pub(super) fn write_offset(out: &mut String, offset: i64, style: OffsetStyle, zulu: bool) {
    if offset == 0 && zulu {
        out.push('Z');
        return;
    }
    let sign = if offset < 0 { '-' } else { '+' };
    let minutes = offset.abs() / super::civil::MINUTE;
    let (hours, minutes) = (minutes / 60, minutes % 60);
    // Writing to a string cannot fail.
    let _ = match style {
        OffsetStyle::Short if minutes == 0 => write!(out, "{sign}{hours:02}"),
        OffsetStyle::Short | OffsetStyle::Basic => write!(out, "{sign}{hours:02}{minutes:02}"),
        OffsetStyle::Extended => write!(out, "{sign}{hours:02}:{minutes:02}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_offsets_are_zones() {
        for utc in ["Z", "UTC", "GMT", "+00:00", "-0000", "UTC+0", "Etc/UTC"] {
            assert_eq!(parse_zone(utc), Ok(TimeZone::UTC), "{utc}");
        }
        for (text, seconds) in [
            ("+01:00", 3_600),
            ("-0530", -19_800),
            ("+01", 3_600),
            ("-5", -18_000),
            ("UTC+01:30", 5_400),
            ("+01:00:30", 3_630),
            ("+18:00", 64_800),
        ] {
            let zone = parse_zone(text).unwrap();
            assert_eq!(zone.to_fixed_offset().unwrap().seconds(), seconds, "{text}");
        }
        assert_eq!(
            parse_zone("Europe/Berlin").unwrap().iana_name(),
            Some("Europe/Berlin")
        );
    }

    #[test]
    fn what_is_no_zone_is_named_in_the_error() {
        for text in [
            "",
            "Europe/Nowhere",
            "+",
            "+1:",
            "+25:00",
            "+01:60",
            "+18:01",
            "+01:0",
            "1",
        ] {
            let error = parse_zone(text).unwrap_err().to_string();
            assert!(error.contains(&format!("[{text}]")), "{error}");
        }
    }

    #[test]
    fn an_offset_must_be_in_the_style_that_is_asked_for() {
        let read = |text: &str, style| {
            let mut cursor = Cursor {
                rest: text.as_bytes(),
            };
            offset_prefix(&mut cursor, style).filter(|_| cursor.rest.is_empty())
        };
        assert_eq!(read("+01:30", Some(OffsetStyle::Extended)), Some(5_400));
        assert_eq!(read("+0130", Some(OffsetStyle::Extended)), None);
        assert_eq!(read("+0130", Some(OffsetStyle::Basic)), Some(5_400));
        assert_eq!(read("+01", Some(OffsetStyle::Basic)), None);
        assert_eq!(read("+01", Some(OffsetStyle::Short)), Some(3_600));
        assert_eq!(read("-0130", Some(OffsetStyle::Short)), Some(-5_400));
    }
}

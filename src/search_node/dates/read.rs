//! Reading text by a [`Pattern`].

use super::fields::{Cursor, Fields, ZoneField};
use super::pattern::{Item, MONTHS, Number, Pattern, WEEKDAYS, shown};
use super::zone;

/// Reads a whole text, or gives `None` when it does not fit the pattern.
pub(super) fn read(pattern: &Pattern, text: &str) -> Option<Fields> {
    let mut cursor = Cursor {
        rest: text.as_bytes(),
    };
    let mut fields = Fields::default();
    read_items(&pattern.items, &mut cursor, &mut fields)?;
    cursor.rest.is_empty().then_some(fields)
}

fn read_items(items: &[Item], cursor: &mut Cursor<'_>, fields: &mut Fields) -> Option<()> {
    for item in items {
        if let Item::Optional(inner) = item {
            let (mut ahead, mut tried) = (*cursor, fields.clone());
            // A part that does not fit is absent, and what it read is dropped.
            if read_items(inner, &mut ahead, &mut tried).is_some() {
                *cursor = ahead;
                *fields = tried;
            }
        } else {
            read_item(item, cursor, fields)?;
        }
    }
    Some(())
}

fn read_item(item: &Item, cursor: &mut Cursor<'_>, fields: &mut Fields) -> Option<()> {
    match item {
        Item::Number {
            number,
            min,
            max,
            reserve,
            ..
        } => {
            let most = if *reserve == 0 {
                *max
            } else {
                let digits = cursor.digits_ahead(max.saturating_add(*reserve));
                digits.saturating_sub(*reserve).clamp(*min, *max)
            };
            let value = cursor.number(*min, most)?;
            let field = match number {
                Number::Year | Number::ShortYear => &mut fields.year,
                Number::Month => &mut fields.month,
                Number::Day => &mut fields.day,
                Number::DayOfYear => &mut fields.day_of_year,
                Number::Hour => &mut fields.hour,
                Number::HourOfHalf => &mut fields.hour_of_half,
                Number::Minute => &mut fields.minute,
                Number::Second => &mut fields.second,
            };
            *field = Some(if *number == Number::ShortYear {
                2_000 + value
            } else {
                value
            });
        }
        Item::Fraction { min, max, .. } => fields.milli = Some(cursor.fraction(*min, *max)?),
        Item::Month { full } => fields.month = Some(read_name(&MONTHS, *full, cursor)? + 1),
        Item::Weekday { full } => fields.weekday = Some(read_name(&WEEKDAYS, *full, cursor)?),
        Item::HalfOfDay => {
            let afternoon = cursor.eat_text("PM");
            if !afternoon && !cursor.eat_text("AM") {
                return None;
            }
            fields.afternoon = Some(afternoon);
        }
        Item::Offset { any: true, .. } | Item::Zone { .. } => {
            fields.zone = zone::zone_prefix(cursor)?;
        }
        Item::Offset {
            style,
            zulu,
            any: false,
        } => {
            fields.zone = ZoneField::Offset(if *zulu && cursor.eat(b'Z') {
                0
            } else {
                zone::offset_prefix(cursor, Some(*style))?
            });
        }
        Item::Literal(text) => {
            if !cursor.eat_text(text) {
                return None;
            }
        }
        Item::Optional(_) => {}
    }
    Some(())
}

/// Reads one of the names, or its first three letters, and gives its place.
fn read_name(names: &[&str], full: bool, cursor: &mut Cursor<'_>) -> Option<i64> {
    let place = names
        .iter()
        .position(|name| cursor.eat_text(shown(name, full)))?;
    i64::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use crate::search_node::dates::civil::{DAY, HOUR, SECOND};
    use crate::search_node::dates::{DateError, Formats, Round};
    use jiff::tz::TimeZone;

    fn parse(pattern: &str, text: &str) -> Result<i64, DateError> {
        Formats::parse_spec(pattern)
            .unwrap()
            .parse(text, Round::Down, &TimeZone::UTC)
    }

    #[test]
    fn parts_in_brackets_may_be_absent() {
        let pattern = "yyyy-MM-dd['T'HH:mm[:ss]]";
        assert_eq!(parse(pattern, "1970-01-02"), Ok(DAY));
        assert_eq!(parse(pattern, "1970-01-02T01:00"), Ok(DAY + HOUR));
        assert_eq!(
            parse(pattern, "1970-01-02T01:00:01"),
            Ok(DAY + HOUR + SECOND)
        );
        assert!(parse(pattern, "1970-01-02T01").is_err());
    }

    #[test]
    fn text_must_match_the_widths_the_names_and_the_weekday() {
        for (pattern, text) in [
            ("yyyy-MM-dd", "2025-1-31"),
            ("yyyy-MM-dd", "25-01-31"),
            ("yyyy-MM-dd", "2025-02-30"),
            ("yyyy-MM-dd", "2025-01-31 "),
            ("dd MMM yyyy", "31 jan 2025"),
            ("EEE yyyy-MM-dd", "Mon 2025-01-31"),
            ("ss.SSS", "09.08"),
            ("HH:mm XXX", "14:05 +0100"),
            ("hh a", "13 PM"),
        ] {
            assert!(parse(pattern, text).is_err(), "{pattern} {text}");
        }
    }
}

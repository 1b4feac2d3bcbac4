//! Format specifications of date fields: alternatives that are tried in turn.

use super::civil::{self, SECOND};
use super::fields::Cursor;
use super::pattern::Pattern;
use super::{DateError, Round, iso, print, read};
use jiff::tz::TimeZone;

const DEFAULT_SPEC: &str = "strict_date_optional_time||epoch_millis";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Format {
    Iso { strict: bool },
    EpochMillis,
    EpochSecond,
    Pattern(Pattern),
}

/// The formats of a date field, as its mapping gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Formats {
    spec: String,
    formats: Vec<Format>,
}

impl Default for Formats {
    /// `strict_date_optional_time||epoch_millis`.
    fn default() -> Formats {
        Formats {
            spec: DEFAULT_SPEC.to_owned(),
            formats: vec![Format::Iso { strict: true }, Format::EpochMillis],
        }
    }
}

impl Formats {
    /// Compiles built-in names and `DateTimeFormatter` patterns that are
    /// separated by `||`.
    pub(crate) fn parse_spec(spec: &str) -> Result<Formats, DateError> {
        let formats = spec.split("||").map(compile).collect::<Result<_, _>>()?;
        Ok(Formats {
            spec: spec.to_owned(),
            formats,
        })
    }

    /// Reads a text by the first format that it is in, in milliseconds since
    /// the epoch. Components that it leaves out take their lowest or highest
    /// value, finer fractions than milliseconds are cut off, and `zone` holds
    /// for text that names no zone or offset.
    pub(crate) fn parse(
        &self,
        text: &str,
        round: Round,
        zone: &TimeZone,
    ) -> Result<i64, DateError> {
        if text.is_empty() {
            return Err(DateError::Empty);
        }
        self.formats
            .iter()
            .find_map(|format| parse_one(format, text, round, zone))
            .ok_or_else(|| self.failed(text))
    }

    /// Reads a number as its decimal text is read, in milliseconds since the epoch: so does
    /// Elasticsearch, to which 2025 is a year by the default formats.
    pub(crate) fn parse_number(&self, number: i64) -> Result<i64, DateError> {
        self.parse(&number.to_string(), Round::Down, &TimeZone::UTC)
    }

    /// Writes milliseconds since the epoch in the first format, with the local
    /// time of the zone.
    pub(crate) fn format(&self, millis: i64, zone: &TimeZone) -> String {
        match self.formats.first() {
            None | Some(Format::Iso { .. }) => iso::format(millis, zone),
            Some(Format::EpochMillis) => millis.to_string(),
            Some(Format::EpochSecond) => format_seconds(millis),
            Some(Format::Pattern(pattern)) => print::print(pattern, millis, zone),
        }
    }

    fn failed(&self, text: &str) -> DateError {
        DateError::Parse {
            text: text.to_owned(),
            format: self.spec.clone(),
        }
    }
}

fn compile(format: &str) -> Result<Format, DateError> {
    // A leading 8 marked java.time patterns while Joda's were still in use.
    let format = format.strip_prefix('8').unwrap_or(format);
    if format.is_empty() {
        let reason = "No date pattern provided".to_owned();
        return Err(DateError::InvalidFormat {
            format: String::new(),
            reason,
        });
    }
    if let Some(built_in) = built_in(format) {
        return built_in;
    }
    Pattern::compile(format).map(Format::Pattern)
}

fn built_in(name: &str) -> Option<Result<Format, DateError>> {
    let (strict, plain) = match name.strip_prefix("strict_") {
        Some(plain) => (true, plain),
        None => (false, name),
    };
    let pattern = match (plain, strict) {
        ("date_optional_time", _) => return Some(Ok(Format::Iso { strict })),
        ("date_optional_time_nanos", true) | ("iso8601", false) => {
            return Some(Ok(Format::Iso { strict: true }));
        }
        ("epoch_millis", false) => return Some(Ok(Format::EpochMillis)),
        ("epoch_second", false) => return Some(Ok(Format::EpochSecond)),
        ("date" | "year_month_day", _) => "uuuu-MM-dd",
        ("year_month", _) => "uuuu-MM",
        ("year", _) => "uuuu",
        ("ordinal_date", _) => "uuuu-DDD",
        ("date_time", _) => "uuuu-MM-dd'T'HH:mm:ss[.SSS]XXX",
        ("date_time_no_millis", _) => "uuuu-MM-dd'T'HH:mm:ssXXX",
        ("date_hour", _) => "uuuu-MM-dd'T'HH",
        ("date_hour_minute", _) => "uuuu-MM-dd'T'HH:mm",
        ("date_hour_minute_second", _) => "uuuu-MM-dd'T'HH:mm:ss",
        ("date_hour_minute_second_millis" | "date_hour_minute_second_fraction", _) => {
            "uuuu-MM-dd'T'HH:mm:ss.SSS"
        }
        ("basic_date", false) => "uuuuMMdd",
        ("basic_date_time", false) => "uuuuMMdd'T'HHmmss.SSSXXX",
        ("basic_date_time_no_millis", false) => "uuuuMMdd'T'HHmmssXXX",
        _ => return None,
    };
    // The basic formats have nothing between their numbers that could end one.
    let lenient = !strict && !plain.starts_with("basic_");
    Some(Pattern::compile(pattern).map(|pattern| Format::Pattern(pattern.relax(lenient))))
}

fn parse_one(format: &Format, text: &str, round: Round, zone: &TimeZone) -> Option<i64> {
    match format {
        Format::Iso { strict } => iso::parse_utc(text.as_bytes(), round, civil::is_utc(zone))
            .or_else(|| iso::parse(text.as_bytes(), *strict)?.resolve(round, zone)),
        Format::EpochMillis => Some(parse_epoch(text)?.whole),
        Format::EpochSecond => {
            let seconds = parse_epoch(text)?;
            let missing = if round == Round::Up { 999 } else { 0 };
            let sign = if seconds.negative { -1 } else { 1 };
            let millis = seconds.fraction.map_or(missing, |millis| sign * millis);
            seconds.whole.checked_mul(SECOND)?.checked_add(millis)
        }
        Format::Pattern(pattern) => read::read(pattern, text)?.resolve(round, zone),
    }
}

struct Epoch {
    whole: i64,
    negative: bool,
    /// Thousandths.
    fraction: Option<i64>,
}

/// Reads a decimal number of up to nine fractional digits.
fn parse_epoch(text: &str) -> Option<Epoch> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    // What i64 itself reads may also start with a plus.
    let negative = whole.starts_with('-');
    if !whole[usize::from(negative)..].starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let fraction = match fraction {
        Some(digits) => {
            let mut cursor = Cursor {
                rest: digits.as_bytes(),
            };
            let fraction = cursor.fraction(1, 9)?;
            if !cursor.rest.is_empty() {
                return None;
            }
            Some(fraction)
        }
        None => None,
    };
    Some(Epoch {
        whole: whole.parse().ok()?,
        negative,
        fraction,
    })
}

fn format_seconds(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let (seconds, millis) = (millis.unsigned_abs() / 1_000, millis.unsigned_abs() % 1_000);
    if millis == 0 {
        return format!("{sign}{seconds}");
    }
    format!("{sign}{seconds}.{millis:03}")
        .trim_end_matches('0')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search_node::dates::parse_zone;

    fn parse(spec: &str, text: &str, round: Round) -> Result<i64, DateError> {
        Formats::parse_spec(spec)
            .unwrap()
            .parse(text, round, &TimeZone::UTC)
    }

    fn read(spec: &str, text: &str, round: Round) -> String {
        iso::format(parse(spec, text, round).unwrap(), &TimeZone::UTC)
    }

    #[test]
    fn the_default_reads_iso_text_and_epoch_milliseconds() {
        let formats = Formats::default();
        assert_eq!(Formats::parse_spec(DEFAULT_SPEC), Ok(formats.clone()));
        assert_eq!(formats.spec, DEFAULT_SPEC);
        let read = |text| formats.parse(text, Round::Down, &TimeZone::UTC);
        assert_eq!(read("1970-01-01T00:00:01Z"), Ok(1_000));
        assert_eq!(read("1738332309087"), Ok(1_738_332_309_087));
        assert_eq!(read("-5"), Ok(-5));
        assert_eq!(read("12.9"), Ok(12));
        assert_eq!(
            formats.format(0, &TimeZone::UTC),
            "1970-01-01T00:00:00.000Z"
        );
    }

    #[test]
    fn rounding_up_fills_in_the_highest_time() {
        for (text, expected) in [
            ("2025", "2025-01-01T23:59:59.999Z"),
            ("2025-02", "2025-02-01T23:59:59.999Z"),
            ("2025-02-03", "2025-02-03T23:59:59.999Z"),
            ("2025-02-03T10", "2025-02-03T10:59:59.999Z"),
            ("2025-02-03T10:20", "2025-02-03T10:20:59.999Z"),
            ("2025-02-03T10:20:30", "2025-02-03T10:20:30.999Z"),
            ("2025-02-03T10:20:30.5", "2025-02-03T10:20:30.500Z"),
            ("2025-02-03T10+01:00", "2025-02-03T09:59:59.999Z"),
        ] {
            assert_eq!(read(DEFAULT_SPEC, text, Round::Up), expected, "{text}");
        }
        assert_eq!(parse("epoch_second", "5", Round::Up), Ok(5_999));
        assert_eq!(parse("epoch_millis", "5", Round::Up), Ok(5));
    }

    #[test]
    fn the_zone_holds_only_for_text_without_an_offset() {
        let berlin = parse_zone("Europe/Berlin").unwrap();
        let formats = Formats::default();
        let read = |text| iso::format(formats.parse(text, Round::Up, &berlin).unwrap(), &berlin);
        assert_eq!(read("2025-07-01"), "2025-07-01T23:59:59.999+02:00");
        assert_eq!(
            read("2025-07-01T10:00:00.000Z"),
            "2025-07-01T12:00:00.000+02:00"
        );
        assert_eq!(
            read("2025-03-30T02:30:00.000"),
            "2025-03-30T03:30:00.000+02:00"
        );
        assert_eq!(
            read("2025-10-26T02:30:00.000"),
            "2025-10-26T02:30:00.000+02:00"
        );
    }

    #[test]
    fn errors_name_the_text_and_every_format() {
        assert_eq!(
            parse(DEFAULT_SPEC, "xyz", Round::Down)
                .unwrap_err()
                .to_string(),
            "failed to parse date field [xyz] with format \
             [strict_date_optional_time||epoch_millis]"
        );
        assert_eq!(parse(DEFAULT_SPEC, "", Round::Down), Err(DateError::Empty));
        for text in [
            "99999999999999999999",
            "+5",
            "-",
            "1.",
            "1.x",
            "0x10",
            "- 5",
            "1e3",
        ] {
            assert!(parse(DEFAULT_SPEC, text, Round::Down).is_err(), "{text}");
            assert!(parse("epoch_second", text, Round::Down).is_err(), "{text}");
        }
    }

    #[test]
    fn built_in_names_read_and_print_their_form() {
        let millis = 1_738_332_309_087;
        for (name, text) in [
            ("strict_date_optional_time", "2025-01-31T14:05:09.087Z"),
            ("date_optional_time", "2025-01-31T14:05:09.087Z"),
            (
                "strict_date_optional_time_nanos",
                "2025-01-31T14:05:09.087Z",
            ),
            ("iso8601", "2025-01-31T14:05:09.087Z"),
            ("epoch_millis", "1738332309087"),
            ("epoch_second", "1738332309.087"),
            ("date", "2025-01-31"),
            ("strict_date_time", "2025-01-31T14:05:09.087Z"),
            ("date_time_no_millis", "2025-01-31T14:05:09Z"),
            ("strict_date_hour", "2025-01-31T14"),
            ("date_hour_minute", "2025-01-31T14:05"),
            ("date_hour_minute_second", "2025-01-31T14:05:09"),
            ("date_hour_minute_second_millis", "2025-01-31T14:05:09.087"),
            (
                "strict_date_hour_minute_second_fraction",
                "2025-01-31T14:05:09.087",
            ),
            ("basic_date", "20250131"),
            ("basic_date_time", "20250131T140509.087Z"),
            ("basic_date_time_no_millis", "20250131T140509Z"),
            ("strict_ordinal_date", "2025-031"),
            ("year", "2025"),
            ("strict_year_month", "2025-01"),
            ("year_month_day", "2025-01-31"),
        ] {
            let formats = Formats::parse_spec(name).unwrap();
            assert_eq!(formats.format(millis, &TimeZone::UTC), text, "{name}");
            let low = formats.parse(text, Round::Down, &TimeZone::UTC).unwrap();
            let high = formats.parse(text, Round::Up, &TimeZone::UTC).unwrap();
            assert!(low <= high && low <= millis, "{name}");
        }
        for wrong in [
            "strict_epoch_millis",
            "strict_basic_date",
            "strict_iso8601",
            "basic_time",
        ] {
            assert!(Formats::parse_spec(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_lenient_names_take_fewer_digits() {
        assert_eq!(
            read("date", "2025-2-3", Round::Down),
            "2025-02-03T00:00:00.000Z"
        );
        assert_eq!(
            read("date_hour", "2025-2-3T4", Round::Down),
            "2025-02-03T04:00:00.000Z"
        );
        assert_eq!(
            read("date_time", "2025-2-3T4:5:6+0100", Round::Up),
            "2025-02-03T03:05:06.999Z"
        );
        assert_eq!(
            read("ordinal_date", "2025-3", Round::Down),
            "2025-01-03T00:00:00.000Z"
        );
        for (spec, text) in [
            ("strict_date", "2025-2-3"),
            ("strict_date_hour", "2025-02-03T4"),
            ("strict_ordinal_date", "2025-3"),
            ("basic_date", "202523"),
        ] {
            assert!(parse(spec, text, Round::Down).is_err(), "{spec}");
        }
    }

    #[test]
    fn numbers_are_read_as_their_digits() {
        let read = |spec, number| Formats::parse_spec(spec).unwrap().parse_number(number);
        assert_eq!(read(DEFAULT_SPEC, 2_025), Ok(1_735_689_600_000));
        assert_eq!(read(DEFAULT_SPEC, 20_250), Ok(20_250));
        assert_eq!(read(DEFAULT_SPEC, -1), Ok(-1));
        assert_eq!(read("epoch_second||epoch_millis", -2), Ok(-2_000));
        assert_eq!(read("yyyyMMdd", 19_700_102), Ok(86_400_000));
        assert_eq!(read("year", 1_970), Ok(0));
        assert!(read("yyyy-MM-dd", 5).is_err());
        assert!(read("epoch_second", i64::MAX).is_err());
        assert_eq!(parse("epoch_second", "-1.5", Round::Down), Ok(-1_500));
        assert_eq!(format_seconds(-1_500), "-1.5");
    }
}
